"""Runs strategies (functions, Runnables and inquiries) in a node, and records the model calls that they make as steps."""

from __future__ import annotations

import inspect
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.utils import is_async_callable
from langgraph.errors import GraphBubbleUp
from langgraph.pregel.protocol import PregelProtocol
from typing_extensions import override

from langchain_moa.data.answer import read_answer
from langchain_moa.data.errors import StrategyFailedError, aggregator_failed, paid_for
from langchain_moa.data.redaction import cleanse, describe
from langchain_moa.data.state import references_of, steps_of, turn_of
from langchain_moa.engine.asking import Asking
from langchain_moa.engine.node import Node, NodeSettings, share_of
from langchain_moa.engine.progress import RunState, progress_of
from langchain_moa.engine.tracing import introduce
from langchain_moa.limits.deadline import Limit, call_within
from langchain_moa.limits.portal import in_worker, iterate_in_worker
from langchain_moa.members.clients import callable_here
from langchain_moa.members.member import surrounding
from langchain_moa.strategies.inquiry import Ask, Compare, conduct
from langchain_moa.strategies.registry import name_of
from langchain_moa.strategies.similarity import compare, name_of_embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from langchain_core.outputs import LLMResult

    from langchain_moa.data.errors import OutOfTimeError
    from langchain_moa.data.reference import Failure, Step
    from langchain_moa.engine.streaming import AnswerStream
    from langchain_moa.limits.quorum import Closing, LayerRound
    from langchain_moa.strategies.inquiry import Inquiry
    from langchain_moa.strategies.similarity import Matrix


class _OpenCall(NamedTuple):
    name: str
    model: str
    started: float


class CallCounter(BaseCallbackHandler):
    """A callback handler that records each chat model's run as a step.

    It sees the models that are called with the node's config. LangChain passes the config on to everything that is called in
    the same context. Embeddings have no callbacks and are not counted.
    """

    # Called inline in async code; in a thread, steps could arrive after the node has read them.
    run_inline = True

    def __init__(self, *, turn: str, node: str, secrets: Sequence[str] = ()) -> None:
        """Make a counter.

        Args:
            turn: The turn to record in the steps.
            node: The node to record in the steps.
            secrets: Values that must not appear in a step.
        """
        self._secrets = secrets
        self._turn = turn
        self._node = node
        self._runs: dict[UUID, _OpenCall] = {}
        self.steps: list[Step] = []

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        said = metadata or {}
        name = kwargs.get("name") or said.get("ls_model_name") or "chat model"
        model = f"{said.get('ls_provider')}:{said['ls_model_name']}" if said.get("ls_model_name") else name
        self._runs[run_id] = _OpenCall(name, model, perf_counter())

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        message = generation.message if isinstance(generation, ChatGeneration) else None
        if isinstance(message, AIMessage):
            answer = read_answer(message)
            paid = {"usage": answer["usage"], "cost_usd": answer.get("cost_usd")}
            self._close(run_id, text=answer["text"], status="ok", error=None, **paid)
        else:
            self._close(run_id, text=generation.text if generation else "", status="ok", error=None, usage=None)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._close(run_id, text="", status="failed", error=describe(error, self._secrets), **paid_for(error))

    def _close(self, run_id: UUID, **outcome: Any) -> None:
        if run := self._runs.pop(run_id, None):
            place = {"turn": self._turn, "node": self._node, "name": run.name, "model": run.model}
            self.steps.append(cast("Step", {**place, **outcome, "seconds": round(perf_counter() - run.started, 6)}))


@dataclass(frozen=True)
class Consultation:
    """Runs a node's strategies and records their calls.

    Attributes:
        settings: The settings of the mixture's nodes.
        state: The graph's state.
        config: The node's config, which every call inherits.
        node: The node's name.
        steps: The calls so far.
        parts: Number of equal shares of the remaining `deadline` that are reserved for what follows this node, including the
            answer.
        round: The round of nodes that stop waiting for each other, in which all calls take part, or `None`.
    """

    settings: NodeSettings
    state: RunState
    config: RunnableConfig
    node: str
    steps: list[Step] = field(default_factory=list)
    parts: int = 1
    round: LayerRound | None = None

    async def run(self, strategy: Any, *args: Any, given: Any, name: str, stream: AnswerStream | None = None) -> Any:
        """Run a strategy and return its result.

        Args:
            strategy: A Runnable, or a sync or async callable, which may return an inquiry.
            *args: The arguments for a callable.
            given: The input for a Runnable.
            name: The name of the strategy in traces.
            stream: Receives the chunks of text or messages that a Runnable streams. Default: the Runnable is not streamed.

        Raises:
            OutOfTimeError: The strategy exceeded its share of the `deadline`.
        """
        limit = self._until(name)
        with self._counted(name) as config:
            if isinstance(strategy, Runnable):
                return await call_within(limit, lambda: _read(strategy, given, config, stream))
            result = await call_within(limit, lambda: _call(strategy, args))
            if not _is_inquiry(result, name):
                return result
            return await conduct(result, partial(self._answer, limit=limit))

    @contextmanager
    def _counted(self, name: str) -> Iterator[RunnableConfig]:
        """Yield a config for a strategy, and record the chat model runs made with it as steps."""
        counter = CallCounter(turn=self.turn, node=self.node, secrets=self.settings.secrets)
        try:
            config = merge_configs(self.config, {"callbacks": [counter], "run_name": name})
            with surrounding(config):
                yield config
        finally:
            self.steps.extend(counter.steps)

    @cached_property
    def _asking(self) -> Asking:
        return Asking(self.settings, self.state, self.config, self.node, self.steps, max(self.parts, 1), self.round)

    @property
    def turn(self) -> str:
        """Id of the message that is being answered."""
        return turn_of(self.state["messages"])

    @property
    def all_steps(self) -> list[Step]:
        """The steps of the turn so far, including those of earlier nodes."""
        return [*steps_of(self.state), *self.steps]

    @contextmanager
    def failing(self, name: str) -> Iterator[None]:
        """Within the context, turn an error of the aggregation into an `AggregatorFailedError` with the calls so far.

        Args:
            name: The name of the aggregation.
        """
        try:
            yield
        except GraphBubbleUp:  # LangGraph handles interrupts
            raise
        except Exception as error:
            references = references_of(self.state)
            if isinstance(error, StrategyFailedError) and error.references == tuple(references):
                # The error of this mixture's prompt, rather than of a nested mixture.
                error.steps = tuple(self.all_steps)
                raise
            cleanse(error, self.settings.secrets)
            reason = describe(error, self.settings.secrets)
            raise aggregator_failed([(name, reason, error)], references, self.all_steps) from error

    def _until(self, name: str) -> Limit | None:
        """Return the time limit of the strategy's own code, or `None` without a deadline. Its `Ask`s have their own limits."""
        if (deadline := self.settings.deadline) is None:
            return None
        at = share_of(deadline, self.config, parts=self.parts + 1)
        return Limit(at, "deadline", f"{name} exceeded its share of the deadline ({deadline:g} s)")

    async def _answer(self, request: Any, *, limit: Limit | None) -> Any:
        if isinstance(request, Compare):
            return await self._compare(request, limit)
        return await self._asking.ask(_checked(request))

    async def _compare(self, request: Compare, limit: Limit | None) -> Matrix | None:
        began = perf_counter()
        try:
            return await call_within(limit, lambda: compare(request.texts, request.by))
        except Exception as error:
            if not isinstance(request.by, Embeddings):
                raise  # an error in the user's similarity function
            self._not_compared(request.by, error, began)
            return None

    def gave_up(self, name: str, error: OutOfTimeError) -> None:
        """Record that a strategy ran out of time and is skipped.

        Args:
            name: The name of the strategy.
            error: The error that it raised.
        """
        self._failed(name, name, describe(error, self.settings.secrets), sent=False)

    def _not_compared(self, by: Embeddings, error: Exception, began: float) -> None:
        """Record that embeddings failed."""
        self._failed(
            "embeddings", name_of_embeddings(by), describe(error, self.settings.secrets), seconds=perf_counter() - began
        )

    def _failed(self, name: str, model: str, failure: Failure, *, seconds: float = 0.0, **more: Any) -> None:
        place = {"turn": self.turn, "node": self.node, "name": name, "model": model}
        outcome = {"text": "", "status": "failed", "error": failure, "usage": None, "seconds": round(seconds, 6)}
        self.steps.append(cast("Step", {**place, **outcome, **more}))


async def _read(strategy: Runnable[Any, Any], given: Any, config: RunnableConfig, stream: AnswerStream | None) -> Any:
    """Return the result of a Runnable, and send its chunks to `stream` if one is given."""
    runnable, is_async = await callable_here(strategy)
    if stream is None or isinstance(strategy, PregelProtocol):
        return await (runnable.ainvoke(given, config) if is_async else in_worker(lambda: runnable.invoke(given, config)))
    last = None
    items: Any = runnable.astream(given, config) if is_async else iterate_in_worker(lambda: runnable.stream(given, config))
    async with aclosing(items):
        async for last in items:
            _send(stream, last)
    return last


async def _call(strategy: Any, args: Sequence[Any]) -> Any:
    """Return the result of a callable, sync or async."""
    result = strategy(*args) if is_async_callable(strategy) else await in_worker(lambda: strategy(*args))
    # A plain function may return an awaitable, such as a lambda around an async function.
    return await result if inspect.isawaitable(result) else result


def _send(stream: AnswerStream, item: Any) -> None:
    # Other items, such as a reference, are not chunks of an answer.
    if isinstance(item, (str, AIMessageChunk)):
        stream.send(item)


def _is_inquiry(result: Any, name: str) -> bool:
    if inspect.isasyncgen(result):
        msg = f"{name!r} is an async generator; make it a sync generator: its requests do not block"
        raise TypeError(msg)
    return inspect.isgenerator(result)


def _checked(request: Any) -> Ask:
    if isinstance(request, Ask):
        return request
    msg = f"a strategy yielded {type(request).__name__}; yield Ask or Compare, and return the result"
    raise TypeError(msg)


class Consult(Node):
    """A node of an aggregation. Runs a function, which may be an inquiry, and records its calls as steps."""

    def __init__(
        self,
        work: Callable[[RunState], Inquiry[Any] | Any],
        settings: NodeSettings,
        *,
        node: str,
        closing: Closing | None = None,
    ) -> None:
        """Make the node.

        Args:
            work: Returns the update of the state, directly or as an inquiry.
            settings: The settings of the mixture's nodes.
            node: The node's name.
            closing: The rules by which the nodes that run together, such as rankers, stop waiting for each other. With
                rules, a result other than `None` counts as an answer, and the result does not update the state. Default: none.
        """
        self._work = work
        self._settings = settings
        self._node = node
        self._closing = closing
        self._name = name_of(settings.strategies.aggregation)

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Run the function and return its update of the state, together with the steps."""
        introduce(config, self._settings.mixture)
        if self._closing is not None:
            return await self._in_round(self._closing, input, config)
        consultation = Consultation(self._settings, input, config or {}, self._node)
        with consultation.failing(self._name):
            update = await consultation.run(self._work, input, given=input, name=self._node)
            return {**update, "steps": consultation.steps}

    async def _in_round(self, closing: Closing, state: RunState, config: RunnableConfig | None) -> dict[str, Any]:
        current = progress_of(config).round("ranking", closing) if closing.is_needed else None
        consultation = Consultation(self._settings, state, config or {}, self._node, round=current)
        with consultation.failing(self._name):
            found = await consultation.run(self._work, state, given=state, name=self._node)
        if current is not None and found is not None:
            current.answered()
        return {"steps": consultation.steps}
