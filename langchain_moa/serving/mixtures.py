"""The mixtures of a server: each runs its graph for a request, tells of its progress, and keeps what failed answers cost.

This is the only module of the package that runs the engine.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_openai.chat_models.base import BaseChatOpenAI
from openai import LengthFinishReasonError

from langchain_moa.chat_model.binding import MARK
from langchain_moa.chat_model.chat_model import ChatMoA
from langchain_moa.data.errors import AggregatorFailedError, MoAError
from langchain_moa.data.redaction import redact
from langchain_moa.data.state import MoAContext
from langchain_moa.data.usage import account, calls_of
from langchain_moa.engine.graph import build_aggregator, build_graph
from langchain_moa.limits.portal import iterate, iterate_in_worker
from langchain_moa.serving.errors import ApiError
from langchain_moa.strategies.aggregation import refuse_unusable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

    from langchain_moa.data.reference import Reference

# A mixture's shape bounds the steps of its graph; LangGraph's default limit is below that of a deep mixture.
_NO_LIMIT = 10_000

MANY_MESSAGES = 256
"""Conversations with more messages are answered in a thread, one at a time."""

_KEPT_ANSWERS = 128
_KEPT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """What a request asks of a mixture, in whichever API.

    Attributes:
        messages: The conversation.
        shared: Keyword arguments of every call.
        own: Keyword arguments of the aggregator's call alone, in the form of chat completions.
        stream: Whether the answer is streamed.
        owner: The name of the client's key.
    """

    messages: list[BaseMessage]
    shared: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    owner: str = "-"


class ProgressLine(NamedTuple):
    """A line about what the members do."""

    text: str


class FinalAnswer(NamedTuple):
    """The end of a run.

    Attributes:
        message: The answer, with the account of all calls in its `response_metadata["moa"]`.
        by_tool: Whether the answer in a schema is the arguments of a tool call, as with some providers.
    """

    message: AIMessage
    by_tool: bool


class ServedMixture:
    """A mixture, ready to answer requests.

    Attributes:
        name: Its name as a model.
        is_alias: Whether it is a model of a mixture that is asked alone.
    """

    def __init__(self, name: str, moa: ChatMoA, *, alone: bool = False, breakdown: bool = True) -> None:
        """Make it.

        Args:
            name: Its name as a model.
            moa: The mixture.
            alone: Whether its aggregator answers without the proposers.
            breakdown: Whether its progress names the members.
        """
        self.name = name
        self.is_alias = alone
        self._moa = moa
        self._breakdown = breakdown
        self._graph = build_graph(moa).compile(checkpointer=False, name="mixture")
        self._tail = build_aggregator(moa).compile(checkpointer=False, name="mixture")
        self._kept = _KeptReferences(per_turn=moa.references_per == "turn")

    def aliases(self, task_model: Any = None) -> dict[str, ServedMixture]:
        """Return the models of this mixture that can be asked alone.

        Args:
            task_model: A model for small tasks, such as the titles that chat interfaces ask for; it becomes `name#task`.
        """
        found = {}
        if self._moa.aggregator is not None:
            name = f"{self.name}#aggregator"
            found[name] = ServedMixture(name, _aggregator_of(self._moa), alone=True, breakdown=self._breakdown)
        if task_model is not None:
            name = f"{self.name}#task"
            moa = ChatMoA(proposers=[task_model], aggregator=task_model, num_layers=1)
            found[name] = ServedMixture(name, moa, alone=True, breakdown=self._breakdown)
        return found

    def bound(self, prompting: Prompting) -> _Bound:
        """Prepare a run: format tools and schema as the aggregator's provider does.

        Raises:
            ApiError: The aggregator takes no tools, or no schema.
        """
        wanted = prompting.own
        if not wanted:
            return _Bound({}, by_tool=False, streams=prompting.stream)
        try:
            refuse_unusable(self._moa.strategies.aggregation, wanted)
        except ValueError as error:
            _refuse(next(iter(wanted)), str(error))
        model = self._moa.members.aggregator.chat_model
        if model is None:
            _refuse(next(iter(wanted)), "the aggregator of this mixture is not a chat model")
        if isinstance(model, BaseChatOpenAI):
            # Its own form. With a schema it is streamed, since LangChain's client parses a whole answer, and raises where
            # tools are not strict or the answer is cut; clients of this server parse for themselves.
            return _Bound(wanted, by_tool=False, streams=prompting.stream or "response_format" in wanted)
        own, by_tool = _translated(self._moa, wanted)
        return _Bound(own, by_tool=by_tool, streams=prompting.stream)

    async def run(
        self, prompting: Prompting, bound: _Bound, paid: Callable[[Sequence[Mapping[str, Any]]], None]
    ) -> AsyncGenerator[ProgressLine | AIMessageChunk | FinalAnswer]:
        """Run the mixture.

        Args:
            prompting: What is asked.
            bound: The same, prepared.
            paid: Is called at the end, however the run ends, with an entry for each call that was made.

        Yields:
            Lines about its progress, the chunks of the answer where it is streamed, and the outcome.
        """
        kept = [] if self.is_alias else self._kept.find(prompting)
        graph: CompiledStateGraph[Any, Any, Any, Any] = self._graph if kept is None else self._tail
        state: dict[str, Any] = {"messages": prompting.messages} | ({} if kept is None else {"merged": kept})
        context = MoAContext(model_kwargs=prompting.shared, aggregator_kwargs=bound.own, stream_answer=bound.streams)
        config: RunnableConfig = {
            "callbacks": self._moa.callbacks,
            "tags": self._moa.tags or [],
            "metadata": self._moa.metadata or {},
            "recursion_limit": _NO_LIMIT,
            "run_name": self.name,
        }
        teller = _Teller(self._moa, names=self._breakdown)
        if not self.is_alias:
            yield ProgressLine(teller.first(reused=kept is not None))
        calls: Sequence[Mapping[str, Any]] = ()
        closed: list[Reference] | None = None
        try:
            run = _in_thread if len(prompting.messages) > MANY_MESSAGES else _on_loop
            async with aclosing(run(graph, state, config, context)) as steps:
                async for mode, data in steps:
                    if mode == "values":
                        state = data
                        calls = [*state.get("references", ()), *state.get("steps", ())]
                        if teller.layers_are_closed:
                            closed = state.get("merged")
                    elif isinstance(data, AIMessageChunk):
                        yield data
                    elif not self.is_alias and (line := teller.read(data)) is not None:
                        yield ProgressLine(line)
            message = state["messages"][-1]
            calls = calls_of(message.response_metadata["moa"])
            self._kept.succeeded(prompting, closed)
            yield FinalAnswer(message, bound.by_tool)
            closed = None
        except MoAError as error:
            calls = [*error.references, *error.steps]
            if (message := _cut_answer(error, self._moa)) is None:
                raise
            calls = calls_of(message.response_metadata["moa"])
            closed = None
            yield FinalAnswer(message, bound.by_tool)
        finally:
            if closed:
                self._kept.failed(prompting, closed)
            paid(calls)


async def _on_loop(
    graph: CompiledStateGraph[Any, Any, Any, Any], state: Any, config: RunnableConfig, context: MoAContext
) -> AsyncGenerator[tuple[str, Any]]:
    """Run a graph on this event loop, and yield the items of its stream."""
    run = graph.astream(state, config, context=context, stream_mode=["custom", "values"])
    async with aclosing(run) as steps:  # type: ignore[type-var]  # a generator, typed as an iterator
        async for mode, data in steps:
            yield str(mode), data


def _in_thread(
    graph: CompiledStateGraph[Any, Any, Any, Any], state: Any, config: RunnableConfig, context: MoAContext
) -> AsyncGenerator[tuple[str, Any]]:
    """Run a graph on the loop of sync code, where a client that leaves cancels its calls as well.

    Clients of providers convert each message for each call, which takes seconds in long conversations.
    """

    def run() -> Any:
        return graph.astream(state, config, context=context, stream_mode=["custom", "values"])

    return iterate_in_worker(lambda: iterate(run))


class _Bound(NamedTuple):
    """The aggregator's keyword arguments in its provider's form.

    Attributes:
        own: The arguments.
        by_tool: Whether an answer in a schema comes as the arguments of a tool call.
        streams: Whether the aggregator is streamed.
    """

    own: dict[str, Any]
    by_tool: bool
    streams: bool


def _translated(moa: ChatMoA, wanted: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return tools or a schema in the form of another provider, and whether the schema became a tool."""
    tools, form, choice = (wanted.get(name) for name in ("tools", "response_format", "tool_choice"))
    if tools and form:
        _refuse("response_format", "the aggregator of this mixture takes no schema beside tools; give one of them")
    if form:
        own = _arguments(lambda: _structured(moa, form), "response_format")
        return own, bool(own.get("tools"))
    if choice == "none":
        return {}, False
    more: dict[str, Any] = {}
    if isinstance(choice, dict):
        more["tool_choice"] = choice["function"]["name"]
    elif choice == "required":
        more["tool_choice"] = "any"
    if (parallel := wanted.get("parallel_tool_calls")) is not None:
        more["parallel_tool_calls"] = parallel
    return _arguments(lambda: moa.bind_tools(tools or [], **more), "tools"), False


def _structured(moa: ChatMoA, form: dict[str, Any]) -> Any:
    if form["type"] == "json_object":
        return moa.with_structured_output({}, method="json_mode")
    name, schema = form["json_schema"]["name"], form["json_schema"].get("schema") or {}
    description = form["json_schema"].get("description") or "The answer."
    return moa.with_structured_output({"title": name, "description": description, **schema})


def _arguments(bind: Callable[[], Any], param: str) -> dict[str, Any]:
    """Return the keyword arguments that LangChain binds to a model for tools or a schema."""
    try:
        bound = bind()
    except NotImplementedError:
        _refuse(param, "the aggregator of this mixture cannot take it")
    except (TypeError, ValueError) as error:
        _refuse(param, redact(str(error)))
    # A schema is followed by a parser; clients of this server parse for themselves.
    first = bound.first if isinstance(bound, RunnableSequence) else bound
    if not isinstance(first, RunnableBinding):
        _refuse(param, "the aggregator of this mixture cannot take it")
    return {name: first.kwargs[name] for name in first.kwargs.get(MARK, ()) if name in first.kwargs}


def _refuse(param: str, why: str) -> NoReturn:
    raise ApiError(400, f"{param}: {why}", code="unsupported_parameter", param=param)


def _aggregator_of(moa: ChatMoA) -> ChatMoA:
    """Return a mixture whose answers its aggregator writes, whatever its aggregation is."""
    if moa.describe()["aggregation"] == "synthesize":
        return moa
    names = ("aggregator_fallbacks", "temperature", "max_tokens", "stop", "deadline", "timeout", "max_retries", "api_key")
    fields = {name: value for name in names if (value := getattr(moa, name)) is not None}
    return ChatMoA(proposers=[moa.aggregator], aggregator=moa.aggregator, num_layers=1, **fields)  # type: ignore[arg-type]  # checked by the model


def _cut_answer(error: MoAError, moa: ChatMoA) -> AIMessage | None:
    """Return an answer in a schema that was cut for its length: OpenAI's client raises, and clients of this server want it."""
    causes = error.causes if isinstance(error, AggregatorFailedError) else ()
    cut = causes[-1] if causes else None
    if not isinstance(cut, LengthFinishReasonError):
        return None
    usage: UsageMetadata | None = None
    if (counted := cut.completion.usage) is not None:
        usage = UsageMetadata(
            input_tokens=counted.prompt_tokens, output_tokens=counted.completion_tokens, total_tokens=counted.total_tokens
        )
    member = moa.members.aggregator
    entry = {"name": member.name, "model": member.id, "status": "ok", "usage": usage}
    steps = [step for step in error.steps if step["error"] is None or step["error"]["kind"] != type(cut).__name__]
    metadata = {"finish_reason": "length", "moa": account(error.references, entry, steps=steps, stopped=None)}
    text = cut.completion.choices[0].message.content or ""
    return AIMessage(text, usage_metadata=usage, response_metadata=metadata)


class _Teller:
    """Turns the events of a run into lines for people.

    Attributes:
        layers_are_closed: Whether all proposers are done.
    """

    def __init__(self, moa: ChatMoA, *, names: bool) -> None:
        self._sizes = [len(layer) for layer in moa.members.layers]
        self._names = names
        self._layer = 1
        self.layers_are_closed = False

    def first(self, *, reused: bool) -> str:
        return "reusing the references of the attempt before" if reused else self._asking(1)

    def read(self, event: Any) -> str | None:
        match event:
            case {"moa": "proposing", "layer": layer} if layer > self._layer:
                self._layer = layer
                return self._asking(layer)
            case {"moa": "proposed", "status": status, "seconds": seconds, "error": error}:
                kind = f" ({error['kind']})" if error and self._names else ""
                return f"{self._who(event)}: {'done' if status == 'ok' else f'failed{kind}'}, {seconds:.1f} s"
            case {"moa": "merged", "layer": layer, "stopped": stopped}:
                self.layers_are_closed = bool(stopped) or layer == len(self._sizes)
                return f"layer {layer} is enough: {stopped}" if stopped and self._names else None
            case {"moa": "aggregating"}:
                return f"{self._who(event)} writes the answer" if self._names else "writing the answer"
        return None

    def _asking(self, layer: int) -> str:
        size, many = self._sizes[layer - 1], len(self._sizes)
        return f"asking {size} model{'' if size == 1 else 's'}, layer {layer} of {many}"

    def _who(self, event: Mapping[str, Any]) -> str:
        return str(event.get("name")) if self._names else f"model {event.get('proposer')}"


class _KeptReferences:
    """References of conversations, so that proposers are not paid again.

    Those of an answer that failed, or that nobody waited for, are kept for the same request, for ten minutes. With
    `references_per="turn"`, those of a turn are kept for its later steps.
    """

    def __init__(self, *, per_turn: bool) -> None:
        self._per_turn = per_turn
        self._kept: OrderedDict[str, tuple[float, list[Reference]]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, prompting: Prompting) -> list[Reference] | None:
        """Return references for a request; `None` if there are none."""
        if not self._kept:
            return None
        keys = [_digest("answer", prompting, prompting.messages)]
        if self._is_later_step(prompting):
            keys.append(_digest("turn", prompting, _turn(prompting.messages)))
        with self._lock:
            now = time.monotonic()
            for key in keys:
                until, references = self._kept.get(key, (0.0, []))
                if references and now < until:
                    self._kept.move_to_end(key)
                    return references
        return None

    def succeeded(self, prompting: Prompting, references: list[Reference] | None) -> None:
        """Keep the references of an answer for its turn, and forget those for another attempt at it."""
        if self._kept:
            with self._lock:
                self._kept.pop(_digest("answer", prompting, prompting.messages), None)
        if self._per_turn and references:
            self._keep(_digest("turn", prompting, _turn(prompting.messages)), references, float("inf"))

    def failed(self, prompting: Prompting, references: list[Reference]) -> None:
        """Keep the references of an answer that failed."""
        self._keep(_digest("answer", prompting, prompting.messages), references, time.monotonic() + _KEPT_SECONDS)

    def _keep(self, key: str, references: list[Reference], until: float) -> None:
        with self._lock:
            self._kept[key] = (until, references)
            self._kept.move_to_end(key)
            if len(self._kept) > _KEPT_ANSWERS:
                self._kept.popitem(last=False)

    def _is_later_step(self, prompting: Prompting) -> bool:
        return self._per_turn and bool(prompting.messages) and not isinstance(prompting.messages[-1], HumanMessage)


def _turn(messages: list[BaseMessage]) -> list[BaseMessage]:
    """Return a conversation up to the user's last message."""
    users = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
    return messages[: users[-1] + 1] if users else messages


def _digest(kind: str, prompting: Prompting, messages: Sequence[BaseMessage]) -> str:
    # Without ids, which change from request to request, and for each key apart: no client learns what others ask.
    digest = sha256(repr((kind, prompting.owner, sorted(prompting.shared.items()))).encode())
    for message in messages:
        said = (message.type, message.content, getattr(message, "tool_calls", None), getattr(message, "tool_call_id", None))
        digest.update(repr(said).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
