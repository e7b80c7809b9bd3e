"""`Member`: a resolved proposer or aggregator that can be called."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol

from langchain_moa._compat import identifying_params, llm_type
from langchain_moa.data.answer import Answer, read_answer
from langchain_moa.data.redaction import masked, redact, secrets_of
from langchain_moa.limits.concurrency import CallLimiter, PerLoop
from langchain_moa.limits.portal import in_worker, iterate_in_worker
from langchain_moa.limits.retry import Retry, retrying
from langchain_moa.members.clients import callable_here
from langchain_moa.members.dialects import Dialect, dialect_of
from langchain_moa.members.history import fingerprint
from langchain_moa.members.models import addresses_of, chat_model_of, model_id, server_of_model, single_model_of
from langchain_moa.members.parameters import COMMON, Sent, spelled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.language_models.model_profile import ModelProfile
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_moa.limits.deadline import Limit
    from langchain_moa.members.proposer import Proposer


_in_mixture: ContextVar[bool] = ContextVar("in_mixture", default=False)


def is_in_mixture() -> bool:
    """Return whether this code runs inside a call of a member or a strategy, so that a mixture here is nested."""
    return _in_mixture.get()


@contextmanager
def surrounding(config: RunnableConfig) -> Generator[None]:
    """Within the context, set the config that models inherit when they are called without one.

    Args:
        config: The config of the call.
    """
    token, inside = var_child_runnable_config.set(config), _in_mixture.set(True)
    try:
        yield
    finally:
        _in_mixture.reset(inside)
        var_child_runnable_config.reset(token)


class NoAggregator(Runnable[Any, Any]):
    """Placeholder aggregator of a mixture whose aggregation asks no model. Calling or binding it raises a `ValueError`."""

    def invoke(self, *_: Any, **__: Any) -> NoReturn:
        """Raise a `ValueError`."""
        self._refuse("asked")

    def bind_tools(self, *_: Any, **__: Any) -> NoReturn:
        """Raise a `ValueError`."""
        self._refuse("given tools")

    def with_structured_output(self, *_: Any, **__: Any) -> NoReturn:
        """Raise a `ValueError`."""
        self._refuse("given a schema")

    def _refuse(self, action: str) -> NoReturn:
        msg = f"this mixture has no aggregator that could be {action}: its answer is chosen, not written; give `aggregator`"
        raise ValueError(msg)


@dataclass(frozen=True, repr=False)
class Member:
    """A resolved proposer or aggregator.

    Attributes:
        spec: The proposer as the user specified it.
        runnable: The Runnable that is called.
        id: The model id.
        retry: The retry policy; `None` for no retries, or if the client retries by itself.
        fallbacks: The members that are called, in order, if this one fails.
        limiter: Limits simultaneous calls, shared with other members.
    """

    spec: Proposer
    runnable: Runnable[Any, Any]
    id: str
    retry: Retry | None = None
    fallbacks: tuple[Member, ...] = ()
    limiter: CallLimiter = field(default_factory=lambda: CallLimiter(None))
    _of_loops: PerLoop[tuple[Any, bool]] = field(default_factory=PerLoop, init=False, compare=False)

    def __repr__(self) -> str:
        """Return the repr of the specification, which has no secrets."""
        return repr(self.spec)

    @cached_property
    def name(self) -> str:
        """The name in drawings, events and reports."""
        return self.spec.name or self.id

    @cached_property
    def chat_model(self) -> BaseChatModel | None:
        """The chat model inside the Runnable, or `None`. Only chat models take call-time parameters."""
        return chat_model_of(self.runnable)

    @cached_property
    def server(self) -> str:
        """The server of the calls, by which members share a limit of calls. Each other Runnable counts as its own server."""
        return f"{id(self.runnable):#x}" if self.chat_model is None else server_of_model(self.chat_model)

    @cached_property
    def profile(self) -> ModelProfile | None:
        """The capabilities of the model, or `None` if they are unknown."""
        return self.chat_model.profile if self.chat_model is not None else None

    @cached_property
    def dialect(self) -> Dialect:
        """What the model's client takes."""
        return dialect_of(self.chat_model)

    @cached_property
    def author(self) -> str | None:
        """The identity of the model that writes the answers: its class and a fingerprint of its address and model id.

        `None` if different models may write an answer, as with fallbacks, configurable models, chains and agents.
        """
        model = single_model_of(self.runnable)
        if model is None or self.is_mixture:
            return None
        place = [*addresses_of(model), str(getattr(model, "region_name", None) or "")]
        return f"{type(model).__name__}:{fingerprint(type(model).__module__, *place, model_id(model))}"

    @cached_property
    def is_mixture(self) -> bool:
        """Whether the member is a `ChatMoA`."""
        return self.chat_model is not None and llm_type(self.chat_model) == "moa"

    @cached_property
    def is_graph(self) -> bool:
        """Whether the member is a compiled graph, possibly with retries or fallbacks. Graphs take and return a state."""
        runnable = self.runnable
        while isinstance(runnable, (RunnableBindingBase, RunnableWithFallbacks)):
            runnable = runnable.bound if isinstance(runnable, RunnableBindingBase) else runnable.runnable
        return isinstance(runnable, PregelProtocol)

    @cached_property
    def is_remote(self) -> bool:
        """Whether the member is a LangGraph `RemoteGraph`."""
        if not self.is_graph or isinstance(self.runnable, Pregel):
            return False
        from langgraph.pregel.remote import RemoteGraph

        return isinstance(self.runnable, RemoteGraph)

    @cached_property
    def bound(self) -> dict[str, Any]:
        """The keyword arguments that the user has bound to the model."""
        runnable: Any = self.runnable
        bound: dict[str, Any] = {}
        while runnable is not None:
            # Outer bindings override inner ones.
            bound = {**(getattr(runnable, "kwargs", None) or {}), **bound}
            runnable = getattr(runnable, "bound", None) or getattr(runnable, "runnable", None)
        return bound

    @cached_property
    def has_tools(self) -> bool:
        """Whether the user has bound tools to the model."""
        return bool(self.bound.get("tools"))

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Values to redact from texts about this member and its fallbacks."""
        of_fallbacks = (secret for fallback in self.fallbacks for secret in fallback.secrets)
        return tuple(dict.fromkeys([*secrets_of(self.runnable), *of_fallbacks]))

    def describe(self) -> dict[str, Any]:
        """Return everything that affects this member's answers as plain data, without secrets."""
        spec = self.spec
        described = {
            "model": self.id,
            "name": spec.name,
            "system_prompt": spec.system_prompt,
            "settings": masked(spec.settings, self.secrets),
            **({} if spec.history is None else {"history": spec.history}),
            **({"fallbacks": [each.describe() for each in self.fallbacks]} if self.fallbacks else {}),
        }
        # Only if given, so that existing cache keys stay valid.
        placed = {"references_at": spec.references_at, "system_role": spec.system_role}
        described |= {key: value for key, value in placed.items() if value is not None}
        if self.chat_model is None:
            # Other Runnables can only be told apart by their identity.
            return {**described, "runnable": f"{type(self.runnable).__name__} at {id(self.runnable):#x}"}
        params = identifying_params(self.chat_model)
        described["params"] = masked(params, self.secrets)
        if self.runnable is not self.chat_model:
            described["bound"] = redact(repr(masked(getattr(self.runnable, "kwargs", id(self.runnable)))), self.secrets)
        return described

    def input(self, messages: Sequence[BaseMessage]) -> Any:
        """Return the member's input for messages: a state for a graph, or else a list."""
        return {"messages": list(messages)} if self.is_graph else list(messages)

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config for a call of this member.

        A remote graph gets an empty config. With the caller's thread id, it would see the conversation twice, and its nodes
        would appear in the caller's stream.

        Args:
            config: The config of the call.
        """
        return {} if self.is_remote else config

    def kwargs(self, call: Mapping[str, Any], *own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call in the spelling of the member's client.

        Runnables that are not chat models get none, because the names may have another meaning for them. A mixture gets the
        common names, for its own members.

        Args:
            call: The common parameters of the call, by their common names.
            *own: Further keyword arguments for this member only. Later ones override earlier ones.
        """
        if self.is_remote:
            # By default, a LangGraph server continues a run after its client has disconnected.
            return {"on_disconnect": "cancel"}
        if self.chat_model is None:
            return {}
        others = {key: value for layer in own for key, value in layer.items()}
        if self.retry is not None:
            others = {**self.dialect.no_retries, **others}
        return {**self._spelled(call, others).kwargs, **others}

    def adjusted(self, call: Mapping[str, Any], *own: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return which common parameters of a call are changed or not sent to this member.

        Args:
            call: The common parameters of the call, by their common names.
            *own: Further keyword arguments for this member only.
        """
        if self.chat_model is None:
            return []
        return self._spelled(call, {key: value for layer in own for key, value in layer.items()}).adjusted

    def _spelled(self, call: Mapping[str, Any], own: Mapping[str, Any]) -> Sent:
        wanted = {key: value for key, value in call.items() if key not in self._never_sent}
        if self.chat_model is None or self.is_mixture:
            return Sent(wanted, [])
        return spelled(self.chat_model, wanted, bound={**self.bound, **own})

    @cached_property
    def _never_sent(self) -> set[str]:
        return {name for name, value in self.spec.settings.items() if value is None}

    def parameters(self, mixture: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the common parameters of a call to this member, by their common names.

        Args:
            mixture: The mixture's parameters. The member's settings override them.
            call: The keyword arguments of the call. Common parameters among them override both.
        """
        return {
            **{key: value for key, value in mixture.items() if key not in self.spec.settings},
            **{key: value for key, value in call.items() if key in COMMON},
        }

    async def ainvoke(
        self,
        messages: Sequence[BaseMessage],
        config: RunnableConfig,
        kwargs: Mapping[str, Any],
        *,
        limit: Limit | None = None,
    ) -> Answer:
        """Call the member with its retry policy, and read its answer.

        Args:
            messages: The messages to send.
            config: The config of the call.
            kwargs: The keyword arguments of the call.
            limit: Time limit of all attempts together. This method only starts its timeout and bounds the retries; to cancel
                the call at the limit, use `call_within`.

        Raises:
            OutOfTimeError: The limit had passed before an attempt was made.
        """
        runnable, is_async = await self._callable_here()

        async def call() -> Answer:
            async with self.limiter.taken(limit):
                with surrounding(config):
                    given = self.input(messages), self.config(config)
                    if is_async:
                        output = await runnable.ainvoke(*given, **kwargs)
                    else:
                        output = await in_worker(partial(runnable.invoke, *given, **kwargs))
                return read_answer(output, seen=len(messages))

        return await retrying(self.retry, call, limit=limit)

    async def astream(
        self, messages: Sequence[BaseMessage], config: RunnableConfig, kwargs: Mapping[str, Any], *, limit: Limit | None = None
    ) -> AsyncGenerator[Any]:
        """Call the member once, without retries, and yield the items of its stream.

        Args:
            messages: The messages to send.
            config: The config of the call.
            kwargs: The keyword arguments of the call.
            limit: Time limit of the call. Its timeout starts when the call is made.
        """
        runnable, is_async = await self._callable_here()
        given = self.input(messages), self.config(config)
        async with self.limiter.taken(limit):
            with surrounding(config):
                if is_async:
                    items = runnable.astream(*given, **kwargs)
                else:
                    items = iterate_in_worker(lambda: runnable.stream(*given, **kwargs))
                async with aclosing(items):
                    async for item in items:
                        yield item

    async def _callable_here(self) -> tuple[Any, bool]:
        """Return the Runnable to call on the running loop, and whether to call its async methods."""
        return self._of_loops.get() or self._of_loops.set(await callable_here(self.runnable))
