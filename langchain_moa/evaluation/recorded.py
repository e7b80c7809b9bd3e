"""A mixture whose calls go through a ledger."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables.base import RunnableBindingBase
from typing_extensions import override

from langchain_moa.evaluation.ledger import Call, Entry, Ledger
from langchain_moa.members.absent import Nobody
from langchain_moa.reference import read_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.runnables import RunnableConfig

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


@dataclass(kw_only=True, eq=False)
class Run:
    """One variant's answer to one question, under way.

    Attributes:
        question: The question's id.
        epoch: The how-manieth time it is asked.
        entries: The calls that it took, answered now or before.
    """

    question: str
    epoch: int
    entries: list[Entry] = field(default_factory=list)
    _repeats: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def repeat(self, call: Call) -> Iterator[int]:
        """Say the how-manieth such call of the run this is; one that fails does not count."""
        key = call.key
        self._repeats[key] += 1
        try:
            yield self._repeats[key]
        except BaseException:
            self._repeats[key] -= 1
            raise


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
    place: str
    model: str
    identity: dict[str, Any]

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

        content = [self.identity, kwargs, [[message.type, message.content] for message in messages]]
        ledger: Ledger = self.ledger
        call = Call(question=run.question, epoch=run.epoch, place=self.place, model=self.model, content=content, run=run)
        with run.repeat(call) as repeat:
            entry = await ledger.answer(replace(call, repeat=repeat), ask)
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

    def wrapped(member: Member, place: str) -> Member:
        if isinstance(member.runnable, Nobody):
            return member
        return replace(member, runnable=_recorded(member, ledger, f"{prefix}{place}"))

    members = mixture.members
    changed = members._replace(
        layers=tuple(
            tuple(wrapped(member, f"layer {layer}, proposer {place}") for place, member in enumerate(row, start=1))
            for layer, row in enumerate(members.layers, start=1)
        ),
        aggregator=wrapped(members.aggregator, "aggregator"),
        fallbacks=tuple(wrapped(member, f"fallback {place}") for place, member in enumerate(members.fallbacks, start=1)),
        others=tuple((spec, wrapped(member, "strategy")) for spec, member in members.others),
    )
    return mixture.with_members(changed)


def recorded_model(member: Member, ledger: Ledger, place: str) -> Recorded:
    """Return one model whose calls go through a ledger.

    Args:
        member: The model.
        ledger: The ledger.
        place: What it is called there.
    """
    return _recorded(member, ledger, place)


def _recorded(member: Member, ledger: Ledger, place: str) -> Recorded:
    identity = member.describe()
    if "runnable" in identity:
        # Where it lies in memory is another place in the next process.
        identity["runnable"] = type(member.runnable).__name__
    return Recorded(bound=member.runnable, ledger=ledger, place=place, model=member.id, identity=identity)
