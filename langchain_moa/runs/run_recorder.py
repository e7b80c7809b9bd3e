"""Record one run as a `MoARun`: its nodes, its calls, and which references were used."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage

from langchain_moa.data.answer import read_answer
from langchain_moa.data.finish_reasons import finish_reason_of
from langchain_moa.data.redaction import describe
from langchain_moa.data.reference import Failure
from langchain_moa.data.usage import cost_of_call
from langchain_moa.engine.aggregate import AGGREGATOR
from langchain_moa.engine.node import context_of, place_of, proposer_node
from langchain_moa.members.proposer import retries_itself
from langchain_moa.runs.call_recorder import CallRecorder, is_cancellation, since
from langchain_moa.runs.run import CallRecord, CallRole, MessageRecord, MoARun
from langchain_moa.runs.serialization import Serializer, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal
    from uuid import UUID

    from langchain_moa.data.reference import Reference, Step
    from langchain_moa.mixture.mixture import Mixture

# The parts of an answer's `response_metadata["moa"]` that the calls already have.
_SAID_BY_CALLS = {"layers", "aggregator", "steps", "calls", "uncounted", "cost_usd"}

# Calls without a layer are sorted after all layers.
_LAST = 1_000_000


@dataclass
class ReadReferences:
    """The references that were passed to the nodes of a run, in particular those that the answer was written from.

    They are read from the state at the start of a node and not from the merge nodes, because a person may remove or edit
    references between two nodes.
    """

    _of_layer: dict[int, list[Reference]] = field(default_factory=dict)
    _last: list[Reference] | None = None

    @property
    def places(self) -> list[tuple[int, int]] | None:
        """The layer and proposer of each reference that the answer was written from, or `None` before the aggregation."""
        return None if self._last is None else [(each["layer"], each["proposer"]) for each in self._last]

    @property
    def references(self) -> list[Reference]:
        """All references that were passed to a node."""
        return [*(each for layer in self._of_layer.values() for each in layer), *(self._last or ())]

    def closed(self, layer: int, merged: list[Reference]) -> None:
        """Record the references that the merge node of a layer kept."""
        self._of_layer[layer] = merged

    def began(self, node: str, state: Any) -> None:
        """Record the references in the input of a node.

        Args:
            node: The node's name.
            state: The node's input.
        """
        merged = state.get("merged") if isinstance(state, dict) else None
        place = place_of(node)
        if not merged or (place.layer is not None and place.proposer is None):
            return
        if place.layer is not None:
            if place.layer > 1:
                self._of_layer[place.layer - 1] = merged
        # An intermediate synthesis has no proposer; then the answer comes from the references of the first window.
        elif self._last is None or all(each["proposer"] for each in merged):
            closed = max((each["layer"] for each in state.get("references") or merged), default=1)
            self._last = self._of_layer[closed] = [each for each in merged if each["proposer"]]

    def kept(self, layer: int | None, proposer: int | None) -> bool | None:
        """Return whether a proposer's answer was passed on, or `None` if that is unknown."""
        if layer is None or proposer is None or layer not in self._of_layer:
            return None
        return any((each["layer"], each["proposer"]) == (layer, proposer) for each in self._of_layer[layer])

    def shown_as(self, layer: int | None, proposer: int | None, text: str) -> str | None:
        """Return the text that was passed on instead of a proposer's answer, or `None` if the answer was not changed.

        Args:
            layer: The layer.
            proposer: The proposer's position in the layer.
            text: The proposer's answer.
        """
        if layer is None or proposer is None:
            return None
        readers = (self._last or (), self._of_layer.get(layer, ()))
        read = (
            each["text"] for several in readers for each in several if (each["layer"], each["proposer"]) == (layer, proposer)
        )
        shown = next(read, text)
        return None if shown == text else shown


@dataclass(eq=False)
class RunRecorder:
    """Records one run of a mixture. Times are those of `time.perf_counter`.

    Attributes:
        id: The run id of the graph.
        began: The start time.
        described: The mixture's description, if the run is that of a `ChatMoA`.
        calls: The calls so far.
        call: The call of the outer mixture that this run is nested in, or `None`.
    """

    id: UUID
    began: float
    described: Mapping[str, Any] | None = None
    calls: list[CallRecorder] = field(default_factory=list)
    call: CallRecorder | None = None
    _mixture: Mixture | None = None
    _parameters: dict[str, Any] = field(default_factory=dict)
    _question: list[Any] = field(default_factory=list)
    _message: AIMessage | None = None
    _read: ReadReferences = field(default_factory=ReadReferences)
    _others: list[Step] = field(default_factory=list)

    def introduce(self, mixture: Mixture) -> None:
        """Record the mixture, and the parameters of the call."""
        self._mixture = mixture
        context = context_of()
        self._parameters = {**context.model_kwargs, **context.aggregator_kwargs}

    def ask(self, inputs: Any) -> None:
        """Record the conversation from the input of the first node."""
        if isinstance(inputs, dict):
            self._question = [*inputs.get("messages", ())]

    def node_ended(
        self, node: str, inputs: Any, calls: list[CallRecorder], outputs: Any, *, error: BaseException | None
    ) -> None:
        """Record the end of a node.

        Args:
            node: The node's name.
            inputs: Its input.
            calls: The calls that it made.
            outputs: Its update of the state.
            error: Its error, or `None`.
        """
        for call in calls:
            call.end()
        self._read.began(node, inputs)
        if error is not None or not isinstance(outputs, dict):
            return
        place = place_of(node)
        if place.layer is not None and "merged" in outputs:
            self._read.closed(place.layer, outputs["merged"])
        # The last call of a proposer's node wrote its reference; earlier ones failed and were followed by a fallback.
        for reference, call in zip(outputs.get("references") or (), calls[::-1], strict=False):
            call.outcome = dict(reference)
        waiting = self._stepped([call for call in calls if call.outcome is None], outputs.get("steps") or ())
        answers = [message for message in outputs.get("messages") or () if isinstance(message, AIMessage)]
        if answers:
            self._message = answers[-1]
            if waiting and (entry := self._account().get("aggregator")):
                waiting[-1].outcome = {**entry, "text": read_answer(self._message)["text"]}

    def _stepped(self, calls: list[CallRecorder], steps: Iterable[Step]) -> list[CallRecorder]:
        """Match the steps of a node to its calls, and return the calls without a step."""
        # Calls and steps are in the same order, but a user's function may have made additional calls.
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
        """Return the record of the run.

        Args:
            outputs: The output of the graph.
            error: Its error, or `None`.
        """
        ended = perf_counter()
        for call in self.calls:
            call.end()
        serializer = Serializer(self._secrets())
        calls = [self._call(call, serializer, error) for call in self.calls]
        calls += [_call_of_step(step, serializer) for step in self._others]
        calls += self._earlier(calls, outputs, serializer)
        seconds = since(self.began, ended)
        message = None if error is not None else self._message
        answer = None if message is None else serializer.message(message)
        mixture = self._mixture
        return MoARun(
            id=str(self.id),
            started=datetime.now(UTC) - timedelta(seconds=seconds),
            seconds=seconds,
            status=_status(answer, error),
            error=None if error is None else _reason(error, serializer, self._secrets()),
            finish_reason=None if message is None else serializer.optional_text(finish_reason_of(message.response_metadata)),
            question=serializer.messages(self._question),
            answer=answer,
            calls=sorted(calls, key=_place),
            read=self._read.places,
            outcome=serializer.mapping({key: value for key, value in self._account().items() if key not in _SAID_BY_CALLS}),
            mixture=serializer.mapping(mixture.describe() if mixture is not None else self.described) or None,
            config=None if mixture is None else serializer.config(mixture),
            parameters=serializer.mapping(self._parameters),
            graph=None if mixture is None else serializer.outline(mixture),
            versions=versions(),
        )

    def _account(self) -> dict[str, Any]:
        found = {} if self._message is None else self._message.response_metadata.get("moa")
        return found if isinstance(found, dict) else {}

    def _secrets(self) -> list[str]:
        of_mixture = () if self._mixture is None else self._mixture.secrets
        return [*of_mixture, *(secret for call in self.calls for secret in call.member.secrets)]

    def _call(self, call: CallRecorder, serializer: Serializer, error: BaseException | None) -> CallRecord:
        outcome = call.outcome or _broken_off(call, error)
        ended = call.ended or call.queued
        last = call.attempts[-1] if call.attempts else None
        was_waited_for = outcome["status"] not in ("late", "cancelled")
        done = last.done if last is not None and last.done is not None and was_waited_for else ended
        layer, place = place_of(call.node)
        role = _role(call)
        # A failed call that was followed by a fallback has the place of the fallback's answer, but is not a reference.
        read_as = (layer, place) if role == "proposer" else (layer, None)
        text = outcome.get("text") or call.text
        usage = outcome.get("usage")
        failure = outcome.get("error")
        return CallRecord(
            node=call.node,
            role=role,
            layer=layer,
            proposer=place,
            name=serializer.text(outcome.get("name") or call.member.name),
            model=serializer.text(call.member.id),
            queued=since(self.began, call.queued),
            first_token=None if last is None or last.first_token is None else since(self.began, last.first_token),
            done=since(self.began, done),
            seconds=outcome.get("seconds", since(call.queued, done)),
            attempts=[each.record(self.began, serializer) for each in call.attempts],
            hides_attempts=not call.runs and retries_itself(call.member.runnable),
            status=outcome["status"],
            error=None if failure is None else serializer.failure(failure),
            finish_reason=serializer.optional_text(call.finish_reason),
            kept=self._read.kept(*read_as),
            text=serializer.text(text),
            shown_as=serializer.optional_text(self._read.shown_as(*read_as, text)),
            usage=None if usage is None else serializer.mapping(usage),
            cost_usd=cost_of_call({"model": call.member.id, **outcome}),
            prompt=serializer.messages(_messages(call.sent)),
            settings=serializer.mapping(call.sent_settings),
            runs=list(call.runs),
        )

    def _earlier(self, calls: list[CallRecord], outputs: Any, serializer: Serializer) -> list[CallRecord]:
        """Return the calls made before the graph was resumed, as far as they are in its state."""
        known = {(call.layer, call.proposer) for call in calls}
        nodes = {call.node for call in calls}
        state = outputs if isinstance(outputs, dict) else {}
        references = state.get("references") or ()
        if not references:
            return []  # they belong to an earlier run, such as an agent's earlier step
        turn = references[-1]["turn"]
        of_turn = [each for each in references if each["turn"] == turn]
        # References that a person added were passed on, too, although no proposer wrote them.
        places = {(each["layer"], each["proposer"]): each for each in (*self._read.references, *of_turn)}
        found = [self._call_of_reference(each, serializer) for place, each in places.items() if place not in known]
        steps = (step for step in state.get("steps") or () if step["turn"] == turn and step["node"] not in nodes)
        return found + [_call_of_step(step, serializer) for step in steps]

    def _call_of_reference(self, reference: Reference, serializer: Serializer) -> CallRecord:
        layer, proposer, usage = reference["layer"], reference["proposer"], reference["usage"]
        return CallRecord(
            node=self._node(layer, proposer),
            role="proposer",
            layer=layer,
            proposer=proposer,
            name=serializer.text(reference["name"]),
            model=serializer.text(reference["model"]),
            seconds=reference["seconds"],
            status=reference["status"],
            error=reference["error"],
            kept=self._read.kept(layer, proposer),
            text=serializer.text(reference["text"]),
            shown_as=serializer.optional_text(self._read.shown_as(layer, proposer, reference["text"])),
            usage=None if usage is None else serializer.mapping(usage),
            cost_usd=cost_of_call(reference),
        )

    def _node(self, layer: int, proposer: int) -> str:
        layers = self._mixture.members.layers if self._mixture is not None else ()
        proposers = len(layers[layer - 1]) if layer <= len(layers) else proposer
        return proposer_node(layer, proposer, layers=len(layers) or layer, proposers=proposers)


def _call_of_step(step: Step, serializer: Serializer) -> CallRecord:
    usage = step["usage"]
    return CallRecord(
        node=step["node"],
        role="step",
        layer=place_of(step["node"]).layer,
        name=serializer.text(step["name"]),
        model=serializer.text(step["model"]),
        seconds=step["seconds"],
        status=step["status"],
        error=step["error"],
        text=serializer.text(step["text"]),
        usage=None if usage is None else serializer.mapping(usage),
        cost_usd=cost_of_call(step),
    )


def _broken_off(call: CallRecorder, error: BaseException | None) -> dict[str, Any]:
    """Return the outcome of a call whose node ended before it wrote one."""
    last = call.attempts[-1] if call.attempts else None
    if last is not None and last.error is not None and not last.is_cancelled:
        return {"status": "failed", "error": last.error}
    if error is None or is_cancellation(error) or last is None or last.done is None:
        return {"status": "cancelled", "error": Failure(kind="cancelled", message="the run ended before it answered")}
    return {"status": "failed", "error": describe(error, call.member.secrets)}


def _status(answer: MessageRecord | None, error: BaseException | None) -> Literal["ok", "failed", "cancelled", "interrupted"]:
    if error is not None:
        return "cancelled" if is_cancellation(error) else "failed"
    return "interrupted" if answer is None else "ok"


def _reason(error: BaseException, serializer: Serializer, secrets: list[str]) -> Failure:
    if is_cancellation(error):
        return Failure(kind="cancelled", message="the caller left before there was an answer")
    return serializer.failure(describe(error, secrets))


def _role(call: CallRecorder) -> CallRole:
    if place_of(call.node).proposer is not None and "node" not in (call.outcome or {}):
        return "proposer"
    return "aggregator" if call.node == AGGREGATOR and call.name == f"aggregator: {call.member.name}" else "step"


def _messages(sent: Any) -> list[Any]:
    if sent is None:
        return []
    return list(sent) if isinstance(sent, (list, tuple)) else [sent if isinstance(sent, (str, BaseMessage)) else str(sent)]


def _place(call: CallRecord) -> tuple[int, int, int, float]:
    """Return the sort key of a call: by layer and proposer, the aggregator last."""
    kind = {"proposer": 0, "step": 1, "aggregator": 2}[call.role]
    return call.layer or _LAST, kind, call.proposer or 0, call.queued or 0.0
