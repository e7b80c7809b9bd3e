"""The calls of a run over many prompts, and members whose calls go through a journal."""

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
from langchain_moa.data.usage import with_counts
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
    """Return a hash of JSON-like data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class CallSite:
    """A member's place in a mixture.

    Attributes:
        place: A description of the position: `layer 1, proposer 2`, `aggregator`, ...
        layer: The layer of a proposer; `None` for other members.
        model: The model id.
        identity: The settings that affect the member's answer, as JSON-like data.
        origin: A hash of the place, the identity, and all members whose answers it reads. Equal origins make equal calls.
    """

    place: str
    layer: int | None
    model: str
    identity: Mapping[str, Any]
    origin: str


@dataclass(frozen=True, kw_only=True)
class FailedCall:
    """A call that failed.

    Attributes:
        place: The position of the member.
        layer: The layer of a proposer; `None` for other members.
        model: The model id.
        failure: The error, with secrets redacted.
    """

    place: str
    layer: int | None
    model: str
    failure: Failure

    @property
    def who(self) -> str:
        """The member's position and model id."""
        return f"{self.place} ({self.model})"

    @property
    def reason(self) -> str:
        """The error on one line."""
        return f"{self.failure['kind']}: {self.failure['message']}"


@dataclass(kw_only=True, eq=False)
class QuestionRun:
    """The run of a mixture or a member on one question.

    Attributes:
        question: The question's id.
        about: A hash of the messages.
        epoch: The repetition of the question, from 1.
        records: The answered calls, recorded or new.
        made: How many of them are new.
        failed: The calls that failed, by their key.
        is_halted: Whether a call was not made because the run is ending.
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
        """Create the run of a question.

        Args:
            question: The question's id.
            messages: The messages to send.
            epoch: The repetition of the question, from 1.
        """
        return cls(question=question, about=about(messages), epoch=epoch)

    @contextmanager
    def repeat(self, key: str) -> Iterator[int]:
        """Yield the number of this call among identical calls of the run, from 1. Failed calls do not count.

        Args:
            key: The key of the call.
        """
        self._repeats[key] += 1
        try:
            yield self._repeats[key]
        except BaseException:
            self._repeats[key] -= 1
            raise


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """A call to look up in the journal, or to make.

    Attributes:
        run: The run that the call belongs to.
        site: The member's place in the mixture.
        content: Everything that affects the answer, as JSON-like data.
        max_tokens: The limit of output tokens, or `None`.
        repeat: The number of the call among identical calls of the run, from 1: several samples are several calls.
    """

    run: QuestionRun
    site: CallSite
    content: Any
    max_tokens: int | None = None
    repeat: int = 1

    @cached_property
    def key(self) -> str:
        """A hash of the member, its input and the repetition. Calls with the same key share an answer."""
        return digest([self.run.epoch, self.site.place, self.site.model, self.content, self.repeat])


def about(messages: Sequence[BaseMessage]) -> str:
    """Return a hash of messages."""
    return digest([[message.type, message.content] for message in messages])


# Members are hashed separately, and the settings of how calls are made do not affect answers.
_APART = {*MixtureFields.model_fields} - {*fields_for(Use.ANSWER)}

_current: ContextVar[QuestionRun] = ContextVar("run that calls belong to")


@contextmanager
def belonging_to(run: QuestionRun) -> Iterator[QuestionRun]:
    """Attribute the calls made inside this context to a run."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


class JournaledRunnable(RunnableBindingBase[Any, Any]):
    """A member's Runnable that returns recorded answers from the journal.

    It is a binding, so that the profile, tools and parameters of the Runnable stay visible.
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
                return with_counts(output)
            answer = read_answer(output, seen=len(messages))
            message = answer["message"]
            # The account of a mixture inside an agent is that of its last call only.
            said = {key: value for key, value in message.response_metadata.items() if key != "moa"}
            if (cost := answer.get("cost_usd")) is not None:
                said["cost_usd"] = cost
            return message.model_copy(update={"usage_metadata": answer["usage"], "response_metadata": said})

        journal: CallJournal = self.journal
        site: CallSite = self.site
        content = [site.identity, kwargs, [[message.type, message.content] for message in messages]]
        call = CallRequest(run=run, site=site, content=content, max_tokens=kwargs.get("max_tokens"))
        with run.repeat(call.key) as repeat:
            call = replace(call, repeat=repeat)
            try:
                record = await journal.answer(call, ask)
            except HaltedError:
                # The mixture continues without the member, as after a failure. The answer is discarded.
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
        prefix: A prefix of the members' positions. It keeps the samples of two mixtures apart that have the same model in the
            same position.
    """
    made_of = {name: value for name, value in mixture.describe().items() if name not in _APART}
    before: list[Any] = []

    def wrapped(member: Member, place: str, *, layer: int | None = None) -> Member:
        # The first layer and blind layers read only the question.
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
    """Return a member whose calls go through a journal. The placeholder of a missing aggregator is returned unchanged.

    Args:
        member: The member.
        journal: The journal.
        place: A description of its position.
        layer: The layer of a proposer; `None` for other members.
        upstream: The settings that affect what it reads, as JSON-like data. Default: it reads only the question.
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
    """Return the call site of a member whose calls go through a journal, or `None`."""
    runnable: Any = member.runnable
    return runnable.site if isinstance(runnable, JournaledRunnable) else None


def _identity(member: Member) -> dict[str, Any]:
    identity = member.describe()
    if "runnable" in identity:
        # Its `repr` has its memory address, which differs between processes.
        identity["runnable"] = type(member.runnable).__name__
    return identity


def fingerprint(mixture: Mixture, journal: CallJournal) -> str:
    """Return a hash of everything that affects a mixture's answers. It is the same in every process.

    Args:
        mixture: The mixture, with or without a journal.
        journal: Any journal; no call is made.
    """
    described = {name: value for name, value in mixture.describe().items() if name not in _APART}
    members = with_journal(mixture, journal).members
    proposers = [member for layer in members.layers for member in layer]
    others = [other for _, other in members.others]
    sites = map(call_site_of, [*proposers, members.aggregator, *members.fallbacks, *others])
    whole = json.dumps([described, *(site.identity if site else None for site in sites)], sort_keys=True, default=str)
    # The memory address of a function differs between processes.
    return digest(re.sub(r" at 0x[0-9a-f]+", "", whole))


def reason_of(error: MoAError) -> str:
    """Return, on one line, why a mixture or a single member failed."""
    if isinstance(error, AggregatorFailedError) and error.failures:
        return "; then ".join(map(_words, error.failures))
    failed = [reference["error"] for reference in error.references if reference["error"] is not None]
    return "; ".join(dict.fromkeys(map(_words, failed))) or str(error)


def _words(failure: Failure) -> str:
    return f"{failure['kind']}: {failure['message']}"
