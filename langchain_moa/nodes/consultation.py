"""A consultation: a node runs a strategy, makes the calls that it asks for, and keeps the account of them."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import merge_configs, run_in_executor, set_config_context
from langchain_core.runnables.utils import coro_with_context, is_async_callable
from langgraph.pregel.protocol import PregelProtocol

from langchain_moa.cleanser import Cleanser, in_front, surrounding
from langchain_moa.nodes.asking import Asking
from langchain_moa.nodes.calls import share_of
from langchain_moa.nodes.counting import CallCounter
from langchain_moa.resilience.abandonment import abandoned_on_error, given_up
from langchain_moa.resilience.deadline import Limit, OutOfTimeError, acall_within, call_within
from langchain_moa.secrets import describe
from langchain_moa.state import RunState, turn_of
from langchain_moa.strategies.embeddings import name_of_embeddings
from langchain_moa.strategies.inquiry import Ask, Compare, aconduct, conduct
from langchain_moa.strategies.similarity import acompare, compare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextvars import Context

    from langchain_core.runnables import RunnableConfig

    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.nodes.outgoing import Outgoing
    from langchain_moa.reference import Failure
    from langchain_moa.step import Step
    from langchain_moa.strategies.similarity import Matrix


@dataclass(frozen=True)
class Consultation:
    """Runs a node's strategies, the user's or the package's.

    Attributes:
        mixture: Whose strategies they are.
        state: The graph's state.
        config: The node's config, which every call inherits.
        node: The node's name.
        steps: The calls so far.
        parts: How many parts of the mixture's `deadline` are to come after this node, the answer among them.
        limit: Until when all calls together may take, if that is limited beyond the mixture's own limits.
    """

    mixture: Mixture
    state: RunState
    config: RunnableConfig
    node: str
    steps: list[Step] = field(default_factory=list)
    parts: int = 1
    limit: Limit | None = None

    def run(self, strategy: Any, *args: Any, given: Any, name: str, outgoing: Outgoing | None = None) -> Any:
        """Run a strategy to its result.

        Args:
            strategy: A callable, whose result may be an inquiry, or a Runnable.
            *args: What a callable takes.
            given: What a Runnable takes.
            name: What it is called in traces.
            outgoing: Where the pieces go of a text or message that a Runnable streams. Default: it is not streamed.

        Raises:
            OutOfTimeError: Its part of the `deadline` was over.
        """
        with self._counted(name) as config, given_up(self._until(name)) as limit:
            if isinstance(strategy, Runnable):
                return call_within(limit, lambda: _read(strategy, given, config, outgoing))
            with set_config_context(config) as context:
                # In a copy: a call that is given up is still in its context, which nobody else can then enter.
                result = call_within(limit, lambda: context.copy().run(strategy, *args))
                if inspect.isawaitable(result):
                    if inspect.iscoroutine(result):
                        result.close()
                    msg = f"{name!r} is async; call the mixture with `ainvoke`, `astream` or `abatch`, or give a plain function"
                    raise TypeError(msg)
                answer = partial(self._answer, limit=limit)
                return conduct(result, answer, context) if _is_inquiry(result, name) else result

    async def arun(self, strategy: Any, *args: Any, given: Any, name: str, outgoing: Outgoing | None = None) -> Any:
        """Run a strategy to its result without blocking; the arguments are those of `run`."""
        limit = self._until(name)
        with self._counted(name) as config, abandoned_on_error():
            if isinstance(strategy, Runnable):
                return await acall_within(limit, lambda: _aread(strategy, given, config, outgoing))
            with set_config_context(config) as context:
                result = await acall_within(limit, lambda: _acall(strategy, args, config, context))
                answer = partial(self._aanswer, limit=limit)
                return await aconduct(result, answer, context) if _is_inquiry(result, name) else result

    @contextmanager
    def _counted(self, name: str) -> Iterator[RunnableConfig]:
        """Count the calls of models that are made with this config."""
        counter = CallCounter(turn=self.turn, node=self.node)
        try:
            config = merge_configs(self.config, {"callbacks": [counter], "run_name": name})
            # What a strategy calls by itself is no member, but may have keys all the same.
            config["callbacks"] = in_front(Cleanser(self.mixture.secrets), config["callbacks"])
            with surrounding(config):
                yield config
        finally:
            self.steps.extend(counter.steps)

    @cached_property
    def _asking(self) -> Asking:
        return Asking(self.mixture, self.state, self.config, self.node, self.steps, max(self.parts, 1), self.limit)

    @property
    def turn(self) -> str:
        """The turn that is being answered."""
        return turn_of(self.state["messages"])

    def _until(self, name: str) -> Limit | None:
        """Return how long a strategy has for what it does beside the calls that it asks for, if that is limited."""
        if (deadline := self.mixture.deadline) is None:
            return None
        at = share_of(deadline, self.state, parts=self.parts + 1)
        return Limit(at, "deadline", f"{name} was not done in its part of the deadline ({deadline:g} s)")

    def _answer(self, request: Any, *, limit: Limit | None) -> Any:
        return self._compare(request, limit) if isinstance(request, Compare) else self._asking.ask(_checked(request))

    async def _aanswer(self, request: Any, *, limit: Limit | None) -> Any:
        if isinstance(request, Compare):
            return await self._acompare(request, limit)
        return await self._asking.aask(_checked(request))

    def _compare(self, request: Compare, limit: Limit | None) -> Matrix | None:
        began = perf_counter()
        try:
            return call_within(limit, lambda: compare(request.texts, request.by))
        except Exception as error:
            if not isinstance(request.by, Embeddings):
                raise  # a function of the user's, which has to be mended
            self._not_compared(request.by, error, began)
            return None

    async def _acompare(self, request: Compare, limit: Limit | None) -> Matrix | None:
        began = perf_counter()
        try:
            return await acall_within(limit, lambda: acompare(request.texts, request.by))
        except Exception as error:
            if not isinstance(request.by, Embeddings):
                raise  # as above
            self._not_compared(request.by, error, began)
            return None

    def gave_up(self, name: str, error: OutOfTimeError) -> None:
        """Record that a strategy was out of time and is passed over.

        Args:
            name: The strategy's.
            error: Why.
        """
        self._failed(name, name, describe(error))

    def _not_compared(self, by: Embeddings, error: Exception, began: float) -> None:
        """Record that embeddings have failed: the inquiry decides what comes of it."""
        self._failed(
            "embeddings", name_of_embeddings(by), describe(error, self.mixture.secrets), seconds=perf_counter() - began
        )

    def _failed(self, name: str, model: str, failure: Failure, *, seconds: float = 0.0) -> None:
        place = {"turn": self.turn, "node": self.node, "name": name, "model": model}
        outcome = {"text": "", "status": "failed", "error": failure, "usage": None, "seconds": round(seconds, 6)}
        self.steps.append(cast("Step", {**place, **outcome}))


def _read(strategy: Runnable[Any, Any], given: Any, config: RunnableConfig, outgoing: Outgoing | None) -> Any:
    """Return what a Runnable comes to, and pass on what it streams."""
    if outgoing is None or isinstance(strategy, PregelProtocol):
        return strategy.invoke(given, config)
    last = None
    for last in strategy.stream(given, config):
        _send(outgoing, last)
    return last


async def _aread(strategy: Runnable[Any, Any], given: Any, config: RunnableConfig, outgoing: Outgoing | None) -> Any:
    if outgoing is None or isinstance(strategy, PregelProtocol):
        return await strategy.ainvoke(given, config)
    last = None
    async for last in strategy.astream(given, config):
        _send(outgoing, last)
    return last


async def _acall(strategy: Any, args: Sequence[Any], config: RunnableConfig, context: Context) -> Any:
    """Return what a callable, sync or async, comes to."""
    if is_async_callable(strategy):
        result = strategy(*args)
    else:
        # In a thread, as LangChain does with plain functions: what it computes must not hold up the loop.
        # In a copy of the context, as above.
        result = await run_in_executor(config, context.copy().run, strategy, *args)
    if inspect.iscoroutine(result):
        # Of a plain function, too, such as a lambda around an async one.
        result = await coro_with_context(result, context, create_task=True)
    return result


def _send(outgoing: Outgoing, item: Any) -> None:
    # Anything else, such as a reference, comes as a whole.
    if isinstance(item, (str, AIMessageChunk)):
        outgoing.send(item)


def _is_inquiry(result: Any, name: str) -> bool:
    if inspect.isasyncgen(result):
        msg = f"{name!r} is an async generator; make it a plain one: what it yields is done without blocking all the same"
        raise TypeError(msg)
    return inspect.isgenerator(result)


def _checked(request: Any) -> Ask:
    if isinstance(request, Ask):
        return request
    msg = f"a strategy yielded {type(request).__name__}; it may yield Ask and Compare, and returns its result"
    raise TypeError(msg)
