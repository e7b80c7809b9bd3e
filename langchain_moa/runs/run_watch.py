"""One answer under way: what its nodes have said so far, and the run that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage

from langchain_moa.data.answer import read_answer
from langchain_moa.data.redaction import describe
from langchain_moa.data.reference import Failure
from langchain_moa.data.usage import cost_of_call
from langchain_moa.engine.aggregate import AGGREGATOR
from langchain_moa.engine.names import place_of, proposer_node
from langchain_moa.engine.node import context_of
from langchain_moa.members.proposer import retries_itself
from langchain_moa.runs.call import Call, Role
from langchain_moa.runs.call_watch import CallWatch, is_cancellation, since
from langchain_moa.runs.earlier import call_of_reference, call_of_step
from langchain_moa.runs.message import Message, messages_of
from langchain_moa.runs.outline import Outline
from langchain_moa.runs.plain import Plain
from langchain_moa.runs.reading import Reading
from langchain_moa.runs.run import MoARun
from langchain_moa.runs.settings import config_of, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal
    from uuid import UUID

    from langchain_moa.data.reference import Step
    from langchain_moa.mixture.mixture import Mixture

# Of an answer's breakdown, what the calls already say.
_SAID_BY_CALLS = {"layers", "aggregator", "steps", "calls", "uncounted", "cost_usd"}

# Where a call without a layer stands: behind all that have one.
_LAST = 1_000_000


class Node(NamedTuple):
    """A node of the graph: its name, and the state that it was given."""

    name: str
    inputs: Any


@dataclass(eq=False)
class RunWatch:
    """An answer under way; times are those of `time.perf_counter`.

    Attributes:
        id: The graph's run.
        began: When it began.
        described: The mixture's description, where a `ChatMoA` has given it.
        calls: The calls so far.
        call: The call of another mixture that this answer is given in.
    """

    id: UUID
    began: float
    described: Mapping[str, Any] | None = None
    calls: list[CallWatch] = field(default_factory=list)
    call: CallWatch | None = None
    _mixture: Mixture | None = None
    _parameters: dict[str, Any] = field(default_factory=dict)
    _question: list[Any] = field(default_factory=list)
    _message: AIMessage | None = None
    _reading: Reading = field(default_factory=Reading)
    _others: list[Step] = field(default_factory=list)

    def introduce(self, mixture: Mixture) -> None:
        """Take down whose answer it is."""
        self._mixture = mixture
        context = context_of()
        self._parameters = {**context.model_kwargs, **context.aggregator_kwargs}

    def ask(self, inputs: Any) -> None:
        """Take down the conversation, which the first node has been given."""
        if isinstance(inputs, dict):
            self._question = [*inputs.get("messages", ())]

    def node_ended(self, node: Node, calls: list[CallWatch], outputs: Any, error: BaseException | None) -> None:
        """Take down what a node came to.

        Args:
            node: Which node, and what it was given.
            calls: The calls that it made.
            outputs: What it writes.
            error: What it raised.
        """
        for call in calls:
            call.end()
        self._reading.began(node.name, node.inputs)
        if error is not None or not isinstance(outputs, dict):
            return
        place = place_of(node.name)
        if place.layer is not None and "merged" in outputs:
            self._reading.closed(place.layer, outputs["merged"])
        for reference, call in zip(outputs.get("references") or (), calls, strict=False):
            call.outcome = dict(reference)
        waiting = self._stepped([call for call in calls if call.outcome is None], outputs.get("steps") or ())
        answers = [message for message in outputs.get("messages") or () if isinstance(message, AIMessage)]
        if answers:
            self._message = answers[-1]
            if waiting and (entry := self._moa().get("aggregator")):
                waiting[-1].outcome = {**entry, "text": read_answer(self._message)["text"]}

    def _stepped(self, calls: list[CallWatch], steps: Iterable[Step]) -> list[CallWatch]:
        """Take down the steps of a node, and return the calls that none of them is about."""
        # Of one node, the calls and the steps are in the same order; a function of the user's may have made more.
        waiting = list(calls)
        for step in steps:
            call = next((each for each in waiting if each.member.id == step["model"]), None)
            if call is None:
                self._others.append(step)
            else:
                waiting.remove(call)
                call.outcome = dict(step)
        return waiting

    def run(self, outputs: Any, error: BaseException | None) -> MoARun:
        """Return the run.

        Args:
            outputs: What the graph came to.
            error: What it raised.
        """
        ended = perf_counter()
        for call in self.calls:
            call.end()
        plain = Plain(self._secrets())
        calls = [self._call(call, plain, error) for call in self.calls]
        calls += [call_of_step(step, plain) for step in self._others]
        calls += self._earlier(calls, outputs, plain)
        seconds = since(self.began, ended)
        answer = None if self._message is None or error is not None else Message.of(self._message, plain)
        mixture = self._mixture
        return MoARun(
            id=str(self.id),
            started=datetime.now(UTC) - timedelta(seconds=seconds),
            seconds=seconds,
            status=_status(answer, error),
            error=None if error is None else _reason(error, plain, self._secrets()),
            question=messages_of(self._question, plain),
            answer=answer,
            calls=sorted(calls, key=_place),
            read=self._reading.places,
            outcome=plain.mapping({key: value for key, value in self._moa().items() if key not in _SAID_BY_CALLS}),
            mixture=plain.mapping(mixture.describe() if mixture is not None else self.described) or None,
            config=None if mixture is None else config_of(mixture, plain),
            parameters=plain.mapping(self._parameters),
            graph=None if mixture is None else Outline.of(mixture, plain),
            versions=versions(),
        )

    def _moa(self) -> dict[str, Any]:
        found = {} if self._message is None else self._message.response_metadata.get("moa")
        return found if isinstance(found, dict) else {}

    def _secrets(self) -> list[str]:
        of_mixture = () if self._mixture is None else self._mixture.secrets
        return [*of_mixture, *(secret for call in self.calls for secret in call.member.secrets)]

    def _call(self, call: CallWatch, plain: Plain, error: BaseException | None) -> Call:
        outcome = call.outcome or _unsaid(call, error)
        ended = call.ended or call.queued
        last = call.attempts[-1] if call.attempts else None
        done = last.done if last is not None and last.done is not None and outcome["status"] != "late" else ended
        layer, place = place_of(call.node)
        text = outcome.get("text") or _said(call)
        shown = self._reading.shown_as(layer, place, text)
        usage = outcome.get("usage")
        failure = outcome.get("error")
        return Call(
            node=call.node,
            role=_role(call),
            layer=layer,
            proposer=place,
            name=plain.text(outcome.get("name") or call.member.name),
            model=plain.text(call.member.id),
            queued=since(self.began, call.queued),
            first_token=None if last is None or last.first_token is None else since(self.began, last.first_token),
            done=since(self.began, done),
            seconds=outcome.get("seconds", since(call.queued, done)),
            attempts=[each.attempt(self.began) for each in call.attempts],
            hides_attempts=not call.runs and retries_itself(call.member.runnable),
            status=outcome["status"],
            error=None if failure is None else Failure(kind=failure["kind"], message=plain.text(failure["message"])),
            kept=self._reading.kept(layer, place),
            text=plain.text(text),
            shown_as=None if shown is None else plain.text(shown),
            usage=None if usage is None else plain.mapping(usage),
            cost_usd=cost_of_call({"model": call.member.id, **outcome}),
            prompt=messages_of(_messages(call.sent), plain),
            settings=plain.mapping(call.sent_settings),
            runs=list(call.runs),
        )

    def _earlier(self, calls: list[Call], outputs: Any, plain: Plain) -> list[Call]:
        """Return the calls that were made before the graph was resumed, as far as its state tells."""
        known = {(call.layer, call.proposer) for call in calls}
        nodes = {call.node for call in calls}
        state = outputs if isinstance(outputs, dict) else {}
        references = state.get("references") or ()
        if not references:
            return []  # what the writer has read was paid for in another run, an agent's step before this one
        turn = references[-1]["turn"]
        of_turn = [each for each in references if each["turn"] == turn]
        # What a person has added was read, too, though no proposer has said it.
        places = {(each["layer"], each["proposer"]): each for each in (*self._reading.references, *of_turn)}
        found = [
            call_of_reference(each, self._node(*place), self._reading, plain)
            for place, each in places.items()
            if place not in known
        ]
        steps = (step for step in state.get("steps") or () if step["turn"] == turn and step["node"] not in nodes)
        return found + [call_of_step(step, plain) for step in steps]

    def _node(self, layer: int, proposer: int) -> str:
        layers = self._mixture.members.layers if self._mixture is not None else ()
        proposers = len(layers[layer - 1]) if layer <= len(layers) else proposer
        return proposer_node(layer, proposer, layers=len(layers) or layer, proposers=proposers)


def _unsaid(call: CallWatch, error: BaseException | None) -> dict[str, Any]:
    """Return the outcome of a call that its node has said nothing of, because it was broken off."""
    last = call.attempts[-1] if call.attempts else None
    if last is not None and last.error is not None and not last.is_cancelled:
        return {"status": "failed", "error": last.error}
    if error is None or is_cancellation(error) or last is None or last.done is None:
        return {"status": "cancelled", "error": Failure(kind="cancelled", message="the run ended before it had answered")}
    return {"status": "failed", "error": describe(error, call.member.secrets)}


def _status(answer: Message | None, error: BaseException | None) -> Literal["ok", "failed", "cancelled", "interrupted"]:
    if error is not None:
        return "cancelled" if is_cancellation(error) else "failed"
    return "interrupted" if answer is None else "ok"


def _reason(error: BaseException, plain: Plain, secrets: list[str]) -> Failure:
    if is_cancellation(error):
        return Failure(kind="cancelled", message="its caller left before it had answered")
    reason = describe(error, secrets)
    return Failure(kind=reason["kind"], message=plain.text(reason["message"]))


def _role(call: CallWatch) -> Role:
    if place_of(call.node).proposer is not None:
        return "proposer"
    return "aggregator" if call.node == AGGREGATOR and call.name == f"aggregator: {call.member.name}" else "step"


def _said(call: CallWatch) -> str:
    """Return what a call that failed has said all the same."""
    output = call.attempts[-1].output if call.attempts else None
    return "" if output is None else read_answer(output)["text"]


def _messages(sent: Any) -> list[Any]:
    if sent is None:
        return []
    return list(sent) if isinstance(sent, (list, tuple)) else [sent if isinstance(sent, (str, BaseMessage)) else str(sent)]


def _place(call: Call) -> tuple[int, int, int, float]:
    """Return where a call stands: by layer and proposer, the aggregator last."""
    kind = {"proposer": 0, "step": 1, "aggregator": 2}[call.role]
    return call.layer or _LAST, kind, call.proposer or 0, call.queued or 0.0
