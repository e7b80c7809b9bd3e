"""`ChatMoA`: a mixture as a LangChain chat model, with one stream and one message per call."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from uuid import uuid4

from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables.config import ensure_config
from pydantic import PrivateAttr
from typing_extensions import override

from langchain_moa._compat import ScopedChatModel
from langchain_moa.chat_model.binding import AGGREGATOR_ONLY, MARK, rebound
from langchain_moa.chat_model.inner_run import (
    Engine,
    InnerRun,
    OuterRun,
    StreamReader,
    TurnReferences,
    configured,
    counts_usage,
    entered,
    is_event,
    isolated,
    outer_run,
)
from langchain_moa.data.state import MoAContext
from langchain_moa.engine.graph import build_aggregator, build_graph
from langchain_moa.limits.portal import iterate
from langchain_moa.mixture.mixture import Mixture
from langchain_moa.strategies.aggregation import refuse_unusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.language_models.model_profile import ModelProfile
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
    from langchain_core.runnables import Runnable, RunnableConfig
    from langchain_core.tools import BaseTool


# LangGraph's default recursion limit is too low for a deep mixture, and the graph has no loops.
_NO_LIMIT = 10_000


class ChatMoA(Mixture, ScopedChatModel):
    """A Mixture-of-Agents as a LangChain chat model (Wang et al., arXiv 2406.04692).

    It runs the graph of `create_moa` internally. Agents, chains and handlers see one chat model that starts and ends once
    and streams only the final answer; tracers see the whole tree. Tools and structured output are the aggregator's.

    `usage_metadata` has the tokens of the aggregator's call, which agents and middleware use as the size of the
    conversation. `response_metadata["moa"]` has the sum over all calls (`usage`), their price (`cost_usd`), and each call.

    The arguments are those of `Mixture` and of every chat model (`cache`, `rate_limiter`, `callbacks`, ...).

    Attributes:
        references_per: How often the proposers are called: at every `call` (default), or once per `turn`. An agent calls its
            model at every step of its loop. With `turn`, the steps up to the user's next message share the references of the
            first step and cost one call each. The latest 128 turns are kept in memory.
        streaming: Whether `invoke` streams the aggregator, for handlers that need tokens. Default: only if a handler asks
            for it.

    Raises:
        ValueError: At construction, as `pydantic.ValidationError`: a field is invalid, or a key is missing.
        ImportError: At construction: a provider's package is missing; the message has the pip command.
        MoAError: While it runs: too few proposers answered, or the aggregator failed.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(
            proposers=["local:smollm2-135m", "local:gemma3-270m"],
            aggregator="local:smollm2-135m",
            num_layers=1,
        )
        print(moa.invoke("Why is the sky blue?").text)
        ```
    """

    any_loop: ClassVar[bool] = True

    references_per: Literal["call", "turn"] = "call"
    streaming: bool = False

    _built: tuple[tuple[Any, ...], Engine] | None = PrivateAttr(default=None)

    @override
    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # The profile would make errors and logs too long.
        return [(name, value) for name, value in super().__repr_args__() if name != "profile"]

    def _repr_html_(self) -> str | None:
        """Return the drawing of the graph for notebooks."""
        from langchain_moa.drawing.svg import drawing_html

        return drawing_html(build_graph(self))

    @property
    def _llm_type(self) -> str:
        return "moa"

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        if update and "profile" not in update and self.profile == self.members.aggregator.profile:
            # The profile is derived from the aggregator, which the update may replace.
            update = {"profile": None, **update}
        return super().model_copy(update=update, deep=deep)

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return self.describe()

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        # Not the aggregator's name, with whose price a tracer would compute the cost of the mixture.
        params.setdefault("ls_model_name", f"moa/{self.members.aggregator.id}")
        if stop or self.stop:
            params["ls_stop"] = stop or self.stop or []
        return params

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        return self.members.aggregator.profile

    # --- tools and structured output: the aggregator's ---

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to the aggregator. The proposers get a description of the tools.

        Args:
            tools: The tools, as the aggregator's `bind_tools` takes them.
            tool_choice: Which tool to call, as the aggregator's `bind_tools` takes it.
            **kwargs: The other arguments of the aggregator's `bind_tools`.

        Raises:
            ValueError: The aggregation does not have a model write the answer, so no model could call the tools.
        """
        refuse_unusable(self.strategies.aggregation, ["tools"])
        chosen = {"tool_choice": tool_choice} if tool_choice is not None else {}
        return rebound(self, lambda model: model.bind_tools(tools, **chosen, **kwargs))

    @override
    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a Runnable in which the aggregator's answer is parsed to a schema.

        Args:
            schema: The schema, as the aggregator's `with_structured_output` takes it.
            include_raw: Whether to return the message and a parsing error in addition to the parsed answer.
            **kwargs: The other arguments of the aggregator's `with_structured_output` (`method`, `strict`, ...).

        Raises:
            ValueError: The aggregation does not have a model write the answer, or the aggregator is a configurable model.
        """
        refuse_unusable(self.strategies.aggregation, ["a schema"])

        def bind(model: Any) -> Runnable[Any, Any]:
            bound: Runnable[Any, Any] = model.with_structured_output(schema, include_raw=include_raw, **kwargs)
            return bound

        return rebound(self, bind, parses=True)

    # --- running the graph ---

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run = self._prepare(messages, stop, kwargs)
        state: Mapping[str, Any] = {}
        with closing(iterate(run.steps)) as steps:
            for mode, data in steps:
                if mode == "values":
                    state = data
                elif is_event(mode, data):
                    run.outer.tell(data)
        return _result(run, state)

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run = self._prepare(messages, stop, kwargs)
        state: Mapping[str, Any] = {}
        async with aclosing(run.steps()) as steps:
            async for mode, data in steps:
                if mode == "values":
                    state = data
                elif is_event(mode, data):
                    await run.outer.atell(data)
        return _result(run, state)

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        run = self._prepare(messages, stop, kwargs, stream=True, run_manager=run_manager)
        reader = StreamReader(run)
        with closing(iterate(run.steps)) as steps:
            for mode, data in steps:
                if is_event(mode, data):
                    run.outer.tell(data)
                yield from reader.read(mode, data)
        yield reader.last()

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        run = self._prepare(messages, stop, kwargs, stream=True, run_manager=run_manager)
        # Not closed here, because the event loop closes all generators at exit and closing one twice is an error.
        reader = StreamReader(run)
        async for mode, data in run.steps():
            if is_event(mode, data):
                await run.outer.atell(data)
            for chunk in reader.read(mode, data):
                yield chunk
        yield reader.last()

    def _prepare(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: dict[str, Any],
        *,
        stream: bool = False,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None = None,
    ) -> InnerRun:
        outer = outer_run.get() if run_manager is None else _look_inside(run_manager)
        only = AGGREGATOR_ONLY | set(kwargs.pop(MARK, ()))
        shared = {key: value for key, value in kwargs.items() if key not in only}
        if stop is not None:
            shared["stop"] = stop
        context = MoAContext(
            model_kwargs=shared,
            aggregator_kwargs={key: value for key, value in kwargs.items() if key in only},
            stream_answer=stream,
        )
        # Check before any call is made.
        refuse_unusable(self.strategies.aggregation, context.aggregator_kwargs)
        config: RunnableConfig = {"callbacks": outer.callbacks(), "recursion_limit": _NO_LIMIT}
        engine = self._engine()
        if self.references_per == "call":
            return InnerRun(engine.graph, {"messages": messages}, config, context, None, outer)
        references = engine.turns.find(messages, shared)
        if references is None:
            return InnerRun(engine.graph, {"messages": messages}, config, context, engine.turns, outer)
        return InnerRun(engine.tail, {"messages": messages, "merged": references}, config, context, engine.turns, outer)

    def _engine(self) -> Engine:
        """Return the compiled graphs. They are built at the first call, and again after a field has changed."""
        key = tuple(getattr(self, name) for name in Mixture.model_fields)
        if self._built is None or any(old is not new for old, new in zip(self._built[0], key, strict=True)):
            # The inner run is not checkpointed, even if the caller's graph is.
            graph, tail = (build(self).compile(checkpointer=False, name="mixture") for build in (build_graph, build_aggregator))
            self._built = (key, Engine(graph, tail, TurnReferences()))
        return self._built[1]

    # --- passing the outer run to `_stream` ---

    @override
    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        if not self._should_stream(async_api=False, **{**kwargs, "stream": True}):
            yield from super().stream(input, config, stop=stop, **kwargs)
            return
        config, run = _with_run(config)
        with closing(super().stream(input, config, stop=stop, **kwargs)) as chunks:  # type: ignore[type-var]  # a generator, typed as an iterator
            # The run starts in the first step, in which `_stream` reads it.
            with entered(run), isolated():
                first = next(chunks)
            yield first
            yield from chunks

    @override
    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        if not self._should_stream(async_api=True, **{**kwargs, "stream": True}):
            async for chunk in super().astream(input, config, stop=stop, **kwargs):
                yield chunk
            return
        config, run = _with_run(config)
        chunks = super().astream(input, config, stop=stop, **kwargs)
        with entered(run), isolated():
            first = await anext(chunks)
        yield first
        async for chunk in chunks:
            yield chunk

    @override
    def scope(
        self, run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None
    ) -> AbstractContextManager[None]:
        """Set the run that `_stream` belongs to during a call.

        Args:
            run_manager: The run manager of the call.
        """
        return entered(_look_inside(run_manager))


def _result(run: InnerRun, state: Mapping[str, Any]) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=run.answer(state))])


def _with_run(config: RunnableConfig | None) -> tuple[RunnableConfig, OuterRun]:
    """Return a config that has a run id, and the run with this id."""
    config = ensure_config(config)
    run_id = config.get("run_id") or uuid4()
    callbacks, run = configured(config, run_id)
    return {**config, "callbacks": callbacks, "run_id": run_id}, run


def _look_inside(run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None) -> OuterRun:
    """Return the run of a run manager. Its usage counters are moved to the inner run, where they count the members' calls."""
    if run_manager is None:
        return OuterRun()
    run = OuterRun.of(run_manager.handlers, run_manager.run_id, tags=run_manager.tags, metadata=run_manager.metadata)
    run_manager.handlers = [handler for handler in run_manager.handlers if not counts_usage(handler)]
    return run
