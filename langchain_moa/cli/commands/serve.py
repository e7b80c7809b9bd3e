"""`serve`: serve mixtures over HTTP to clients of OpenAI's API."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from langchain_moa.cli.arguments import Aggregator, Configs, Debug, Layers, Presets, Proposers, Quiet, Settings
from langchain_moa.cli.console import note
from langchain_moa.cli.exit_codes import EXIT_CODES, UsageError, explain, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from langchain_moa.chat_model.chat_model import ChatMoA

app = typer.Typer()

_SERVER = "Server"
_LIMITS = "Limits"
_VARIABLE = "LANGCHAIN_MOA_API_KEY"

Host = Annotated[
    str,
    typer.Option(
        "--host", metavar="HOST", help="Address to listen on; a public address needs an API key.", rich_help_panel=_SERVER
    ),
]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.", rich_help_panel=_SERVER)
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        metavar="FILE",
        help="API keys, 'KEY' or 'NAME: KEY' on each line; clients must send one of them.",
        rich_help_panel=_SERVER,
    ),
]
CorsOrigins = Annotated[
    list[str] | None,
    typer.Option(
        "--cors-origin",
        metavar="ORIGIN",
        help="Origin of web pages that may use the server, https://chat.example.com; repeat it for each.",
        rich_help_panel=_SERVER,
    ),
]
LinkDomains = Annotated[
    list[str] | None,
    typer.Option(
        "--link-domain",
        metavar="DOMAIN",
        help="Domain that messages may link to for images and files; repeat it for each. Default: none.",
        rich_help_panel=_SERVER,
    ),
]
TaskModels = Annotated[
    list[str] | None,
    typer.Option(
        "--task-model",
        metavar="[NAME=]MODEL",
        help="A model for small tasks, such as titles of chats, offered as NAME#task; without NAME for all mixtures.",
        rich_help_panel=_SERVER,
    ),
]
Breakdown = Annotated[
    bool,
    typer.Option("--breakdown/--no-breakdown", help="Show clients the calls behind an answer.", rich_help_panel=_SERVER),
]
Progress = Annotated[
    str,
    typer.Option(
        "--progress", metavar="none|reasoning", help="Stream the members' progress as reasoning.", rich_help_panel=_SERVER
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Reject unknown parameters instead of ignoring them.", rich_help_panel=_SERVER),
]
MaxRequests = Annotated[
    int,
    typer.Option("--max-requests", metavar="N", min=1, help="Maximum number of concurrent answers.", rich_help_panel=_LIMITS),
]
MaxPerKey = Annotated[
    int | None,
    typer.Option(
        "--max-requests-per-key",
        metavar="N",
        min=1,
        help="Maximum number of concurrent answers for each API key.",
        rich_help_panel=_LIMITS,
    ),
]
MaxConnections = Annotated[
    int,
    typer.Option(
        "--max-connections", metavar="N", min=1, help="Maximum number of concurrent connections.", rich_help_panel=_LIMITS
    ),
]
MaxBody = Annotated[
    int, typer.Option("--max-body", metavar="MIB", min=1, help="Maximum size of a request in MiB.", rich_help_panel=_LIMITS)
]
MaxMessages = Annotated[
    int,
    typer.Option(
        "--max-messages", metavar="N", min=1, help="Maximum number of messages of a conversation.", rich_help_panel=_LIMITS
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", help="Time limit of one request.", rich_help_panel=_LIMITS)
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace",
        metavar="SECONDS",
        min=0,
        help="Time for running answers to finish when the server is stopped.",
        rich_help_panel=_LIMITS,
    ),
]


@app.command(epilog=EXIT_CODES)
def serve(
    *,
    config: Configs = None,
    preset: Presets = None,
    proposers: Proposers = None,
    aggregator: Aggregator = None,
    layers: Layers = None,
    settings: Settings = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key_file: KeyFile = None,
    cors_origin: CorsOrigins = None,
    link_domain: LinkDomains = None,
    task_model: TaskModels = None,
    breakdown: Breakdown = True,
    progress: Progress = "none",
    strict: Strict = False,
    max_requests: MaxRequests = 64,
    max_requests_per_key: MaxPerKey = None,
    max_connections: MaxConnections = 1024,
    max_body: MaxBody = 16,
    max_messages: MaxMessages = 2048,
    timeout: Timeout = 600.0,
    grace: Grace = 30.0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Serve mixtures to clients of OpenAI's API.

    Each file, each mixture in a file and each preset is a model under its name.
    The address and a line for each request go to standard error. Stop the server
    with Ctrl-C. LANGCHAIN_MOA_API_KEY can hold API keys, separated by commas.

    [dim]$[/dim] langchain-moa serve --config fast.yaml --config careful.yaml
    [dim]$[/dim] curl http://127.0.0.1:8000/v1/models
    """
    with explained(debug=debug):
        keys = _keys(api_key_file)
        several = [
            MixtureArguments(
                config=file,
                preset=name,
                proposers=proposers,
                aggregator=aggregator,
                layers=layers,
                settings=settings,
            )
            for file, name in _sources(config or (), preset or ())
        ]
        if len(several) > 1 and (proposers or aggregator or layers or settings):
            msg = "--proposer, --aggregator, --layers and --set change one mixture; give them with one --config or --preset"
            raise UsageError(msg)
        try:
            from langchain_moa.serving import make_app, server
        except ImportError as error:
            raise UsageError(explain(error)) from error
        mixtures = _named(several, quiet=quiet)
        with server.listen(host, port) as listener:
            if not keys and not server.is_loopback(listener):
                _refuse_public(listener)
            try:
                application = make_app(
                    mixtures,
                    api_keys=keys,
                    allowed_hosts=None if keys else server.LOOPBACK_NAMES,
                    cors_origins=cors_origin or (),
                    link_domains=link_domain or (),
                    task_models=_task_models(task_model or (), mixtures),
                    breakdown=breakdown,
                    progress=progress,  # type: ignore[arg-type]  # checked there
                    strict=strict,
                    max_requests=max_requests,
                    max_requests_per_key=max_requests_per_key,
                    max_body_bytes=max_body << 20,
                    max_messages=max_messages,
                    timeout=timeout,
                )
            except (ValueError, ImportError) as error:
                raise UsageError(explain(error)) from None
            _log(quiet=quiet)
            if not quiet:
                note(f"serving {', '.join(mixtures)} at {server.url_of(listener)} (stop it with Ctrl-C)")
            server.run(application, listener, grace=grace, max_connections=max_connections)


def _sources(files: Sequence[Path], presets: Sequence[str]) -> list[tuple[Path | None, str | None]]:
    """Return a pair of file and preset for each mixture, one of which is `None`; both are `None` if no option names any."""
    return [*((file, None) for file in files), *((None, name) for name in presets)] or [(None, None)]


def _named(several: Sequence[MixtureArguments], *, quiet: bool) -> dict[str, ChatMoA]:
    mixtures: dict[str, ChatMoA] = {}
    for options in several:
        for name, mixture in options.served(quiet=quiet).items():
            if name in mixtures:
                msg = f"two mixtures have the name {name!r}; rename a file, or put them under `mixtures` in one file"
                raise UsageError(msg)
            mixtures[name] = mixture
    return mixtures


def _task_models(given: Sequence[str], mixtures: Mapping[str, ChatMoA]) -> dict[str, str]:
    """Return the task model of each mixture."""
    models: dict[str, str] = {}
    for text in given:
        name, separator, model = text.partition("=")
        if separator and name not in mixtures:
            msg = f"--task-model: there is no mixture {name!r}; there are {', '.join(mixtures)}"
            raise UsageError(msg)
        models |= {name: model} if separator else dict.fromkeys(mixtures, text)
    return models


def _keys(file: Path | None) -> list[str]:
    """Return the API keys from a file or the environment. There is no option for keys: other users can see command lines."""
    if file is None:
        return [key for part in os.environ.get(_VARIABLE, "").split(",") if (key := part.strip())]
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"--api-key-file: cannot read {str(file)!r}: {getattr(error, 'strerror', None) or 'it is not text'}"
        raise UsageError(msg) from None
    keys = [key for line in lines if (key := line.strip()) and not key.startswith("#")]
    if not keys:
        msg = f"--api-key-file: there is no key in {str(file)!r}; write one key per line"
        raise UsageError(msg)
    return keys


def _refuse_public(listener: socket.socket) -> NoReturn:
    msg = (
        f"{listener.getsockname()[0]} can be reached from other machines, and every caller could spend your money; "
        f"set {_VARIABLE} or give --api-key-file, or remove --host"
    )
    raise UsageError(msg)


def _log(*, quiet: bool) -> None:
    """Set up logging to standard error: a line for each request, errors, and degraded answers."""
    logger = logging.getLogger("langchain_moa")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    logger.propagate = False
