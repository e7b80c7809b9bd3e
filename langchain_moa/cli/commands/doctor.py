"""`doctor`: check packages, keys and addresses, and call each member of a mixture once."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from langchain_moa.cli.arguments import Debug, with_arguments
from langchain_moa.cli.console import console_on, elided, emit, is_terminal, one_line, say
from langchain_moa.cli.exit_codes import EXIT_CODES, FAILED, UsageError, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="Time limit for each member.")]

# Prefixes of the names of the packages to show, including those of providers.
_PACKAGES = ("langchain", "langgraph")
_OTHER_PACKAGES = {"openai", "inspect-ai", "ray", "xllamacpp"}

_QUESTION = "Reply with the word OK."

_CAPABILITIES = {
    "tool_calling": "tools",
    "structured_output": "JSON",
    "image_inputs": "images",
    "reasoning_output": "reasoning",
}

# Remedies by the text of the error; the first match is used. Connection errors already have a remedy.
_REMEDIES = {
    "(at ": None,
    "quota": "check your plan and your credit at the provider",
    "401": "check the key in the provider's environment variable, or in that of `api_key`",
    "402": "check your plan and your credit at the provider",
    "403": "check that the key may use this model",
    "404": "check the model's name and the address",
    "429": "wait, or raise your limit at the provider",
    "connect": "start the server, or correct the address or the proxy settings",
    "timed out": "the server is slow or loads the model; try --timeout with more seconds",
    "500": "the server failed; look at its log, or try again later",
    "502": "the server failed; look at its log, or try again later",
    "503": "the server is overloaded or loads the model; try again later",
    "529": "the server is overloaded; try again later",
}


@dataclass(frozen=True, kw_only=True)
class MemberCheck:
    """The result of a short call to a member.

    Attributes:
        model: The model id.
        address: The base URL; `None` for the provider's default, or if it is unknown.
        ok: Whether it answered.
        seconds: The duration of the call; `None` if the model could not be created.
        can: The features that its profile lists.
        window: The size of its context window in tokens, or `None` if it is unknown.
        error: The error, or `None`.
        remedy: What to do about the error, or `None`.
    """

    model: str
    address: str | None
    ok: bool
    seconds: float | None
    can: list[str] = field(default_factory=list)
    window: int | None = None
    error: str | None = None
    remedy: str | None = None


@app.command(epilog=EXIT_CODES)
@with_arguments
def doctor(*, mixture: MixtureArguments, timeout: Timeout = 60.0, as_json: AsJson = False, debug: Debug = False) -> None:
    """Check packages and keys, and call each member of a mixture once.

    Each member gets one short question, all at the same time. The exit code is
    1 if a member does not answer. Only the names of keys are shown.

    [dim]$[/dim] langchain-moa doctor --config moa.yaml
    """
    with explained(debug=debug):
        from langchain_moa.cli.signals import run_until_signalled

        packages, variables = _packages(), _variables()
        if not as_json:
            # Before the mixture is created, because that fails if a package or a key is missing.
            _show_environment(packages, variables)
        found: list[Member | MemberCheck] = []
        try:
            found += _members(mixture.load(quiet=as_json))
        except UsageError:
            # A member that cannot be made is a result of the check, and the others are still called.
            found += _one_by_one(mixture)
            if not any(isinstance(one, MemberCheck) for one in found):
                raise
        checks = run_until_signalled(_check(found, timeout))
        if as_json:
            document = {"packages": packages, "variables": variables, "members": [asdict(check) for check in checks]}
            emit(json.dumps(document, indent=2))
        else:
            _show(checks)
        if not all(check.ok for check in checks):
            raise typer.Exit(FAILED)


def _packages() -> dict[str, str]:
    """Return the versions of the relevant installed packages."""
    found = {str(each.name).lower().replace("_", "-"): each.version for each in distributions()}
    return {name: found[name] for name in sorted(found) if name.startswith(_PACKAGES) or name in _OTHER_PACKAGES}


def _variables() -> list[str]:
    """Return the names of the environment variables with keys and addresses of providers."""
    from langchain_moa.members.keys import known_variables

    known = known_variables()
    return sorted(name for name, value in os.environ.items() if value and (name in known or name.endswith("_API_KEY")))


def _members(mixture: Mixture) -> list[Member]:
    """Return the members of a mixture, each once, in however many layers it is."""
    members = mixture.members
    everyone = [*(member for layer in members.layers for member in layer), *members.fallbacks]
    everyone += [member for _, member in members.others]
    if mixture.aggregator is not None:
        everyone.append(members.aggregator)
    everyone = [one for member in everyone for one in (member, *member.fallbacks)]
    return list({(member.id, repr(member.spec.settings)): member for member in everyone}.values())


def _one_by_one(mixture: MixtureArguments) -> list[Member | MemberCheck]:
    """Return the proposers, the aggregator and its fallbacks, each made or with the reason why it cannot be.

    Raises:
        UsageError: The fields of the mixture cannot be read.
    """
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.mixture.fields import Use, fields_for

    fields = mixture.written()
    client = {name: fields[name] for name in fields_for(Use.CLIENT) if fields.get(name) is not None}
    written = [fields.get("proposers") or [], fields.get("aggregator"), fields.get("aggregator_fallbacks") or []]
    found: dict[str, Member | MemberCheck] = {}
    for one in _flat(written):
        try:
            proposer = Proposer.coerce(one)
        except ValueError:
            return []  # the error about the whole mixture names the field
        key = f"{proposer.id} {proposer.settings!r}"
        if key in found:
            continue
        try:
            found[key] = proposer.resolve(client)
        except (ValueError, ImportError) as error:
            said = one_line(str(error)).removeprefix(f"cannot make the model {proposer.model!r}: ")
            found[key] = MemberCheck(model=proposer.id, address=None, ok=False, seconds=None, error=said)
    return list(found.values())


def _flat(written: Any) -> Iterator[Any]:
    """Yield the members in a list of members, or of lists of them."""
    if isinstance(written, list):
        for each in written:
            yield from _flat(each)
    elif written is not None:
        yield written


async def _check(found: Sequence[Member | MemberCheck], seconds: float) -> list[MemberCheck]:
    return list(await asyncio.gather(*(_check_member(one, seconds) for one in found)))


async def _check_member(member: Member | MemberCheck, seconds: float) -> MemberCheck:
    """Call a member once. The result of a member that could not be made is returned as it is."""
    from langchain_core.messages import HumanMessage

    from langchain_moa.data.redaction import describe

    if isinstance(member, MemberCheck):
        return member
    profile: Any = member.profile or {}
    started = perf_counter()
    error: str | None = None
    try:
        async with asyncio.timeout(seconds):
            await member.runnable.ainvoke(member.input([HumanMessage(_QUESTION)]))
    except TimeoutError:
        error = f"timed out after {seconds:g} s"
    except Exception as raised:  # noqa: BLE001  # any error is the result of the check
        failure = describe(raised, member.secrets)
        error = f"{failure['kind']}: {failure['message']}"
    return MemberCheck(
        model=member.id,
        address=_address(member),
        ok=error is None,
        seconds=round(perf_counter() - started, 2),
        can=[word for name, word in _CAPABILITIES.items() if profile.get(name)],
        window=profile.get("max_input_tokens"),
        error=error,
        remedy=None if error is None else _remedy(error, member),
    )


def _address(member: Member) -> str | None:
    from langchain_moa.data.redaction import redact
    from langchain_moa.members.keys import usual_address
    from langchain_moa.members.models import addresses_of

    addresses = [] if member.chat_model is None else addresses_of(member.chat_model)
    address = addresses[0] if addresses else usual_address(member.id.partition(":")[0])
    return redact(address, member.secrets) if address else None


def _remedy(error: str, member: Member) -> str | None:
    provider, _, name = member.id.partition(":")
    if provider == "ollama" and "not found" in error.lower():
        return f"ollama pull {name}"
    if (remedy := _remedy_of_address(error, member)) is not None:
        return remedy
    return next((remedy for sign, remedy in _REMEDIES.items() if sign in error.lower()), None)


def _remedy_of_address(error: str, member: Member) -> str | None:
    """Return what to do if a server of OpenAI's protocol was given no key, or an address without `/v1`."""
    from langchain_openai.chat_models.base import BaseChatOpenAI
    from pydantic import SecretStr

    from langchain_moa.members.keys import NO_KEY

    model = member.chat_model
    if not isinstance(model, BaseChatOpenAI):
        return None
    key = model.openai_api_key
    if "401" in error and isinstance(key, SecretStr) and key.get_secret_value() == NO_KEY:
        return 'no key is sent to this address; name the variable that has one: `settings: {api_key: "${NAME}"}`'
    address = _address(member) or ""
    if "404" in error and urlsplit(address).path in ("", "/"):
        return f"check the model's name; the address usually ends in /v1: {address.rstrip('/')}/v1"
    return None


def _show_environment(packages: dict[str, str], variables: list[str]) -> None:
    say(f"Python {platform.python_version()}")
    say(f"packages: {', '.join(f'{name} {number}' for name, number in packages.items())}")
    say(f"keys and addresses in the environment: {', '.join(variables) or 'none'}")
    say("")


def _show(checks: list[MemberCheck]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not is_terminal(sys.stdout):
        for check in checks:
            emit("\t".join(one_line(cell) for cell in ("ok" if check.ok else "failed", check.model, *_findings(check))))
        return
    output = console_on(sys.stdout)
    table = Table.grid(padding=(0, 1))
    for check in checks:
        sign = Text("✓", "green") if check.ok else Text("✗", "red")
        table.add_row(sign, elided(check.model, cells=max(output.width // 3, 12)), Text(" · ".join(_findings(check))))
    output.print(table)


def _findings(check: MemberCheck) -> list[str]:
    here = "this machine" if check.model.startswith("local:") else "the provider's own address"
    findings = [] if check.seconds is None else [f"{check.seconds:.1f} s", check.address or here]
    if check.error is not None:
        return [*findings, one_line(check.error), *([check.remedy] if check.remedy else [])]
    window = [f"reads {check.window:,} tokens"] if check.window else []
    return [*findings, *([", ".join(check.can)] if check.can else []), *window]
