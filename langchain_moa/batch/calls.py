"""The calls of a run over many prompts: which member is asked what, for which prompt, and members that use a journal."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables.base import RunnableBindingBase
from typing_extensions import override

from langchain_moa.batch.limits import HaltedError
from langchain_moa.data.answer import read_answer
from langchain_moa.data.errors import AggregatorFailedError
from langchain_moa.data.redaction import describe
from langchain_moa.members.member import NoAggregator
from langchain_moa.mixture.fields import MixtureFields, Use, fields_for
from langchain_moa.prompting.prompts import is_blind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_moa.batch.call_journal import CallJournal, CallRecord
    from langchain_moa.data.errors import MoAError
    from langchain_moa.data.reference import Failure
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


def digest(content: Any) -> str:
    """Return a hash of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class CallSite:
    """A member's place in a mixture.

    Attributes:
        place: Its position, in words: `layer 1, proposer 2`, `aggregator`, ...
        layer: The layer, whose proposers are asked at the same time; `None` for one that is asked by itself.
        model: The model id.
        identity: The settings that affect the member's answer, as plain data.
        origin: A hash of that, and of all members whose answers it reads: while it is the same, so is the call.
    """

    place: str
    layer: int | None
    model: str
    identity: Mapping[str, Any]
    origin: str


@dataclass(frozen=True, kw_only=True)
class FailedCall:
    """A call that has no answer.

    Attributes:
        place: Who was asked.
        layer: The layer, if it is one of its proposers.
        model: The model id.
        failure: Why, without secrets.
    """

    place: str
    layer: int | None
    model: str
    failure: Failure

    @property
    def who(self) -> str:
        """Who was asked, with the model id."""
        return f"{self.place} ({self.model})"

    @property
    def reason(self) -> str:
        """Why there is no answer, in a line."""
        return f"{self.failure['kind']}: {self.failure['message']}"


@dataclass(kw_only=True, eq=False)
class QuestionRun:
    """One answer to one question, under way.

    Attributes:
        question: The question's id.
        about: A hash of what is asked.
        epoch: Which time it is asked, from 1.
        records: The calls that it took, answered now or before.
        made: How many of them were made now.
        failed: The calls that have no answer, by what was asked.
        is_halted: Whether a call was not made because the run is to end.
    """

    question: str
    about: str
    epoch: int = 1
    records: list[CallRecord] = field(default_factory=list)
    made: int = 0
    failed: dict[str, FailedCall] = field(default_factory=dict)
    is_halted: bool = False
    _repeats: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, question: str, messages: Sequence[BaseMessage], *, epoch: int = 1) -> QuestionRun:
        """Begin a run.

        Args:
            question: The question's id.
            messages: What is asked.
            epoch: Which time, from 1.
        """
        return cls(question=question, about=about(messages), epoch=epoch)

    @contextmanager
    def repeat(self, key: str) -> Iterator[int]:
        """Say which such call of the run this is, from 1; one that fails does not count.

        Args:
            key: What is asked of whom.
        """
        self._repeats[key] += 1
        try:
            yield self._repeats[key]
        except BaseException:
            self._repeats[key] -= 1
            raise


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """A call that is to be made, unless the journal has its answer.

    Attributes:
        run: What it is for.
        site: Who is asked.
        content: Everything that bears on the answer, as plain data.
        max_tokens: The longest that the answer may be, if there is a limit.
        repeat: Which such call of the run it is, from 1; samples of one prompt are as many calls.
    """

    run: QuestionRun
    site: CallSite
    content: Any
    max_tokens: int | None = None
    repeat: int = 1

    @cached_property
    def key(self) -> str:
        """A hash of what is asked of whom: the same call has the same answer."""
        return digest([self.run.epoch, self.site.place, self.site.model, self.content, self.repeat])


def about(messages: Sequence[BaseMessage]) -> str:
    """Return a hash of what is asked."""
    return digest([[message.type, message.content] for message in messages])


# The members are hashed by themselves, and how calls are made changes no answer.
_APART = {*MixtureFields.model_fields} - {*fields_for(Use.ANSWER)}

_current: ContextVar[QuestionRun] = ContextVar("run that calls belong to")


@contextmanager
def belonging_to(run: QuestionRun) -> Iterator[QuestionRun]:
    """Have the calls that are made inside belong to a run."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


class JournaledRunnable(RunnableBindingBase[Any, Any]):
    """A member's Runnable that returns recorded answers from the journal.

    A binding, so that the profile, the tools and the parameters of the Runnable stay visible.
    """

    journal: Any
    site: Any
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

        journal: CallJournal = self.journal
        site: CallSite = self.site
        content = [site.identity, kwargs, [[message.type, message.content] for message in messages]]
        call = CallRequest(run=run, site=site, content=content, max_tokens=kwargs.get("max_tokens"))
        with run.repeat(call.key) as repeat:
            call = replace(call, repeat=repeat)
            try:
                record = await journal.answer(call, ask)
            except HaltedError:
                # The mixture continues without the member, as after a failure; that answer is not used.
                run.is_halted = True
                raise
            except Exception as error:
                failure = describe(error, self.secrets)
                run.failed[call.key] = FailedCall(place=site.place, layer=site.layer, model=site.model, failure=failure)
                raise
        run.failed.pop(call.key, None)
        run.records.append(record)
        return record.answer


def with_journal(mixture: Mixture, journal: CallJournal, *, prefix: str = "") -> Mixture:
    """Return a copy of a mixture whose calls go through a journal.

    Args:
        mixture: The mixture.
        journal: The journal.
        prefix: A prefix for the positions of its members, so that the samples of two mixtures with the same model in the
            same position differ.
    """
    made_of = {name: value for name, value in mixture.describe().items() if name not in _APART}
    before: list[Any] = []

    def wrapped(member: Member, place: str, *, layer: int | None = None) -> Member:
        # The first layer, and a blind one, read the question and nothing else, whatever is made of the answers.
        is_blind_layer = layer is not None and is_blind(mixture.prompt, layer)
        upstream = [made_of, *before] if before and not is_blind_layer else []
        return member_with_journal(member, journal, f"{prefix}{place}", layer=layer, upstream=upstream)

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


def member_with_journal(
    member: Member, journal: CallJournal, place: str, *, layer: int | None = None, upstream: list[Any] | None = None
) -> Member:
    """Return a member whose calls go through a journal; where a mixture has no aggregator, it still has none.

    Args:
        member: The member.
        journal: The journal.
        place: Its position, in words.
        layer: The layer, if it is one of its proposers.
        upstream: What bears on what it reads, as plain data. Default: it reads the question alone.
    """
    if isinstance(member.runnable, NoAggregator):
        return member
    identity = _identity(member)
    site = CallSite(
        place=place, layer=layer, model=member.id, identity=identity, origin=digest([place, identity, upstream or []])
    )
    fallbacks = [
        member_with_journal(each, journal, f"{place}, fallback {number}", layer=layer, upstream=upstream)
        for number, each in enumerate(member.fallbacks, start=1)
    ]
    bound = JournaledRunnable(bound=member.runnable, journal=journal, site=site, secrets=member.secrets)
    return replace(member, runnable=bound, fallbacks=tuple(fallbacks))


def call_site_of(member: Member) -> CallSite | None:
    """Return the call site of a member whose calls go through a journal; `None` of any other."""
    runnable: Any = member.runnable
    return runnable.site if isinstance(runnable, JournaledRunnable) else None


def _identity(member: Member) -> dict[str, Any]:
    identity = member.describe()
    if "runnable" in identity:
        # Its `repr` has its address in memory, which differs in the next process.
        identity["runnable"] = type(member.runnable).__name__
    return identity


def fingerprint(mixture: Mixture, journal: CallJournal) -> str:
    """Return a hash of all that bears on a mixture's answers; it is the same in another process.

    Args:
        mixture: The mixture, with or without a journal.
        journal: Any journal; nothing is asked.
    """
    described = {name: value for name, value in mixture.describe().items() if name not in _APART}
    members = with_journal(mixture, journal).members
    proposers = [member for layer in members.layers for member in layer]
    others = [other for _, other in members.others]
    sites = map(call_site_of, [*proposers, members.aggregator, *members.fallbacks, *others])
    whole = json.dumps([described, *(site.identity if site else None for site in sites)], sort_keys=True, default=str)
    # A function's address in memory differs in the next process.
    return digest(re.sub(r" at 0x[0-9a-f]+", "", whole))


def reason_of(error: MoAError) -> str:
    """Return in a line why a mixture, or a member alone, has not answered."""
    if isinstance(error, AggregatorFailedError) and error.failures:
        return "; then ".join(map(_words, error.failures))
    failed = [reference["error"] for reference in error.references if reference["error"] is not None]
    return "; ".join(dict.fromkeys(map(_words, failed))) or str(error)


def _words(failure: Failure) -> str:
    return f"{failure['kind']}: {failure['message']}"
