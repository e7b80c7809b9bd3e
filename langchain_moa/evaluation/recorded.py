"""A mixture whose calls go through a ledger."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables.base import RunnableBindingBase
from typing_extensions import override

from langchain_moa.data.answer import read_answer
from langchain_moa.data.redaction import describe
from langchain_moa.evaluation.call import Call, FailedCall, Part, Run, digest
from langchain_moa.evaluation.gate import HaltedError
from langchain_moa.members.member import Nobody
from langchain_moa.mixture.fields import MixtureFields, Use, fields_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.runnables import RunnableConfig

    from langchain_moa.evaluation.ledger import Ledger
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

# What of a mixture says who answers, and how it is run, has no part in what is answered.
_APART = {*MixtureFields.model_fields} - {*fields_for(Use.ANSWER)}

_current: ContextVar[Run] = ContextVar("run of an evaluation")


@contextmanager
def under(run: Run) -> Iterator[Run]:
    """Have the calls that are made inside belong to a run."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


class Recorded(RunnableBindingBase[Any, Any]):
    """A member's Runnable that answers from the ledger what stands there.

    A binding, so that what the Runnable is (its profile, its tools, what parameters it takes) can still be seen.
    """

    ledger: Any
    part: Any
    secrets: tuple[str, ...] = ()

    @override
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        run = _current.get()
        messages = input["messages"] if isinstance(input, dict) else input

        async def ask() -> AIMessage:
            output = await self.bound.ainvoke(input, config, **kwargs)
            if isinstance(output, AIMessage):
                return output
            answer = read_answer(output, seen=len(messages))
            return answer["message"].model_copy(update={"usage_metadata": answer["usage"]})

        ledger: Ledger = self.ledger
        part: Part = self.part
        content = [part.identity, kwargs, [[message.type, message.content] for message in messages]]
        call = Call(run=run, part=part, content=content, max_tokens=kwargs.get("max_tokens"))
        with run.repeat(call.key) as repeat:
            call = replace(call, repeat=repeat)
            try:
                entry = await ledger.answer(call, ask)
            except HaltedError:
                # The member goes for one that failed, and the mixture on without it: its answer is none.
                run.is_halted = True
                raise
            except Exception as error:
                failure = describe(error, self.secrets)
                run.failed[call.key] = FailedCall(place=part.place, layer=part.layer, model=part.model, failure=failure)
                raise
        run.failed.pop(call.key, None)
        run.entries.append(entry)
        return entry.answer


def recorded(mixture: Mixture, ledger: Ledger, *, prefix: str = "") -> Mixture:
    """Return a copy of a mixture whose calls go through a ledger.

    Args:
        mixture: The mixture.
        ledger: The ledger.
        prefix: What stands before the places of its members, so that another mixture's samples of the same model at the
            same place are others.
    """
    made_of = {name: value for name, value in mixture.describe().items() if name not in _APART}
    before: list[Any] = []

    def wrapped(member: Member, place: str, *, layer: int | None = None) -> Member:
        # The first layer reads the question and nothing else, whatever is made of its answers.
        upstream = [made_of, *before] if before else []
        return recorded_member(member, ledger, f"{prefix}{place}", layer=layer, upstream=upstream)

    members = mixture.members
    layers = []
    for number, row in enumerate(members.layers, start=1):
        layers.append(
            tuple(
                wrapped(member, f"layer {number}, proposer {place}", layer=number) for place, member in enumerate(row, start=1)
            )
        )
        before.append([_identity(member) for member in row])
    changed = members._replace(
        layers=tuple(layers),
        aggregator=wrapped(members.aggregator, "aggregator"),
        fallbacks=tuple(wrapped(member, f"fallback {place}") for place, member in enumerate(members.fallbacks, start=1)),
        others=tuple((spec, wrapped(member, "strategy")) for spec, member in members.others),
    )
    return mixture.with_members(changed)


def recorded_member(
    member: Member, ledger: Ledger, place: str, *, layer: int | None = None, upstream: list[Any] | None = None
) -> Member:
    """Return a member whose calls go through a ledger; nobody stays nobody.

    Args:
        member: The member.
        ledger: The ledger.
        place: Where it stands, in words.
        layer: The layer, if it is one of its proposers.
        upstream: What bears on what it reads, as plain data. Default: it reads the question alone.
    """
    if isinstance(member.runnable, Nobody):
        return member
    identity = _identity(member)
    part = Part(place=place, layer=layer, model=member.id, identity=identity, origin=digest([place, identity, upstream or []]))
    return replace(member, runnable=Recorded(bound=member.runnable, ledger=ledger, part=part, secrets=member.secrets))


def part_of(member: Member) -> Part | None:
    """Return the part of a member whose calls go through a ledger; `None` of any other."""
    runnable: Any = member.runnable
    return runnable.part if isinstance(runnable, Recorded) else None


def _identity(member: Member) -> dict[str, Any]:
    identity = member.describe()
    if "runnable" in identity:
        # Where it lies in memory is another place in the next process.
        identity["runnable"] = type(member.runnable).__name__
    return identity
