"""A member that can be called: how messages become its input and its output an answer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol

from langchain_moa._compat import identifying_params, llm_type
from langchain_moa.data.answer import Answer, read_answer
from langchain_moa.data.redaction import masked, redact, secrets_of
from langchain_moa.limits.concurrency import CallLimiter
from langchain_moa.limits.portal import in_worker, iterate_in_worker
from langchain_moa.limits.retry import Retry, retrying
from langchain_moa.members.clients import callable_here
from langchain_moa.members.dialects import Dialect, dialect_of
from langchain_moa.members.history import fingerprint
from langchain_moa.members.models import addresses_of, chat_model_of, model_id, server_of_model
from langchain_moa.members.parameters import COMMON, Sent, spelled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from langchain_core.language_models.model_profile import ModelProfile
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig
    from pydantic import BaseModel

    from langchain_moa.limits.deadline import Limit
    from langchain_moa.members.proposer import Proposer


@contextmanager
def surrounding(config: RunnableConfig) -> Generator[None]:
    """Make a call's config the one that models inherit which are called without a config, inside a function for example.

    Args:
        config: The call's config.
    """
    token = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


class Nobody(Runnable[Any, Any]):
    """Stands where a mixture has no aggregator, and says so to whoever wants something of it."""

    def invoke(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        self._refuse("asked")

    def bind_tools(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        self._refuse("given tools")

    def with_structured_output(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        self._refuse("given a schema")

    def _refuse(self, action: str) -> NoReturn:
        msg = f"this mixture has no aggregator that could be {action}: its answer is chosen, not written; give `aggregator`"
        raise ValueError(msg)


def kwargs_of_standin(member: Member, kwargs: Mapping[str, Any], *, of: Member) -> Mapping[str, Any]:
    """Return the keyword arguments of a call, formatted for whoever stands in.

    Tools and their choice were formatted by the aggregator's own `bind_tools`. A model of the same class takes them as they
    are; for any other they are bound again, which every provider does from the formats of the others.

    Args:
        member: Who is called.
        kwargs: What was bound to the aggregator.
        of: The aggregator.
    """
    model, other = member.chat_model, of.chat_model
    if not kwargs or member is of or model is None or other is None or type(model) is type(other):
        return kwargs
    # What else another provider's client would make of its own arguments, no other one knows.
    rest = {key: value for key, value in kwargs.items() if key in {"response_format", "parallel_tool_calls"}}
    if not kwargs.get("tools"):
        return rest
    choice = _choice(kwargs.get("tool_choice"))
    try:
        bound: Any = model.bind_tools(list(kwargs["tools"]), **({} if choice is None else {"tool_choice": choice}))
    except Exception:  # noqa: BLE001  # a model that can have no tools says so when it is called, and has then failed
        return kwargs
    return {**rest, **bound.kwargs}


def _choice(value: Any) -> str | None:
    """Return a provider's `tool_choice` in the words that every `bind_tools` takes: a tool's name, `any` or `auto`."""
    match value:
        case None | "auto" | {"type": "auto"}:
            return None
        case "required" | "any" | {"type": "any" | "required"}:
            return "any"
        case {"function": {"name": str(name)}} | {"type": "tool", "name": str(name)}:
            return name
        case str(name):
            return name
    return None


def json_kwargs(member: Member, schema: type[BaseModel]) -> dict[str, Any]:
    """Return the keyword arguments of a call whose text is to be JSON of a schema.

    They are those that the model's own `with_structured_output` binds. The parser that comes with it is left out: the text
    is read as strictly as one by a model that was asked in words alone.

    Args:
        member: Who is called.
        schema: The schema.

    Returns:
        The arguments; none where the model's profile does not say that it has structured output.
    """
    model = _model_of(member.runnable)
    if model is None or not (model.profile or {}).get("structured_output"):
        return {}
    try:
        # As a plain schema: with the class, some clients validate the text themselves, and raise what could be put right.
        bound: Any = model.with_structured_output(schema.model_json_schema(), method="json_schema")
    except Exception:  # noqa: BLE001  # whatever a provider has against the schema or the method: words will do
        return {}
    first = bound.first if isinstance(bound, RunnableSequence) else bound
    if not isinstance(first, RunnableBinding) or first.bound is not model or "tools" in first.kwargs:
        return {}  # a call of a tool has no text
    return dict(first.kwargs)


def _model_of(runnable: Runnable[Any, Any]) -> BaseChatModel | None:
    """Return the one chat model that is called; `None` where it may be another's turn, which would not know the arguments."""
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    return runnable if isinstance(runnable, BaseChatModel) else None


@dataclass(frozen=True, repr=False)
class Member:
    """A proposer or an aggregator, resolved.

    Attributes:
        spec: What the user wrote.
        runnable: What is called.
        id: The model id.
        retry: How its calls are tried again; `None` if they are not, or if its client sees to it.
        fallbacks: Who is asked, in this order, when it fails.
        limiter: The places that its calls share with those of other members.
    """

    spec: Proposer
    runnable: Runnable[Any, Any]
    id: str
    retry: Retry | None = None
    fallbacks: tuple[Member, ...] = ()
    limiter: CallLimiter = field(default_factory=lambda: CallLimiter(None))
    _of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, bool]] = field(
        default_factory=WeakKeyDictionary, init=False, compare=False
    )

    def __repr__(self) -> str:
        """Show what the user wrote, which holds no secret."""
        return repr(self.spec)

    @cached_property
    def name(self) -> str:
        """What drawings, events and reports call it."""
        return self.spec.name or self.id

    @cached_property
    def chat_model(self) -> BaseChatModel | None:
        """The chat model inside, if it is one; only chat models take call-time parameters."""
        return chat_model_of(self.runnable)

    @cached_property
    def server(self) -> str:
        """Whose calls count together where a limit is set for the member: those to one address, or of one Runnable."""
        return f"{id(self.runnable):#x}" if self.chat_model is None else server_of_model(self.chat_model)

    @cached_property
    def profile(self) -> ModelProfile | None:
        """What the model says it can take; `None` where it says nothing."""
        return self.chat_model.profile if self.chat_model is not None else None

    @cached_property
    def dialect(self) -> Dialect:
        """What its client takes."""
        return dialect_of(self.chat_model)

    @cached_property
    def author(self) -> str | None:
        """What tells its answers from those of every other model: class, address and model id, as one short text.

        `None` where an answer may be another model's (fallbacks, models chosen by the call, chains, agents).
        """
        model = _model_of(self.runnable)
        if model is None or self.is_mixture:
            return None
        return f"{type(model).__name__}:{fingerprint(type(model).__module__, *addresses_of(model), model_id(model))}"

    @cached_property
    def is_mixture(self) -> bool:
        """Whether it is itself a mixture, as a chat model."""
        return self.chat_model is not None and llm_type(self.chat_model) == "moa"

    @cached_property
    def is_graph(self) -> bool:
        """Whether it is a compiled graph, which takes and returns a state; one with retries or fallbacks is still one."""
        runnable = self.runnable
        while isinstance(runnable, (RunnableBindingBase, RunnableWithFallbacks)):
            runnable = runnable.bound if isinstance(runnable, RunnableBindingBase) else runnable.runnable
        return isinstance(runnable, PregelProtocol)

    @cached_property
    def is_remote(self) -> bool:
        """Whether it is a graph on a server, by LangGraph's `RemoteGraph`."""
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
            # The outer ones win.
            bound = {**(getattr(runnable, "kwargs", None) or {}), **bound}
            runnable = getattr(runnable, "bound", None) or getattr(runnable, "runnable", None)
        return bound

    @cached_property
    def has_tools(self) -> bool:
        """Whether the user has bound tools to the model."""
        return bool(self.bound.get("tools"))

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Values that no text about this member may show."""
        of_fallbacks = (secret for fallback in self.fallbacks for secret in fallback.secrets)
        return tuple(dict.fromkeys([*secrets_of(self.runnable), *of_fallbacks]))

    def describe(self) -> dict[str, Any]:
        """Return as plain data, without secrets, what bears on this member's answers."""
        spec = self.spec
        described = {
            "model": self.id,
            "name": spec.name,
            "system_prompt": spec.system_prompt,
            "settings": masked(spec.settings, self.secrets),
            **({} if spec.history is None else {"history": spec.history}),
            **({"fallbacks": [each.describe() for each in self.fallbacks]} if self.fallbacks else {}),
        }
        # Only where they are given, so that the keys of what was kept before stay the same.
        placed = {"references_at": spec.references_at, "system_role": spec.system_role}
        described |= {key: value for key, value in placed.items() if value is not None}
        if self.chat_model is None:
            # Nothing tells two such Runnables apart but that they are two.
            return {**described, "runnable": f"{type(self.runnable).__name__} at {id(self.runnable):#x}"}
        params = identifying_params(self.chat_model)
        described["params"] = masked(params, self.secrets)
        if self.runnable is not self.chat_model:
            described["bound"] = redact(repr(masked(getattr(self.runnable, "kwargs", id(self.runnable)))), self.secrets)
        return described

    def input(self, messages: Sequence[BaseMessage]) -> Any:
        """Return the messages in the form that this member takes."""
        return {"messages": list(messages)} if self.is_graph else list(messages)

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config that this member takes.

        A run on a server is one of its own: on the thread of ours it would find the conversation twice, and the names of its
        nodes would stand in our stream beside our own.

        Args:
            config: The call's config.
        """
        return {} if self.is_remote else config

    def kwargs(self, call: Mapping[str, Any], *own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call, in the spelling of the member's client.

        A Runnable that is no chat model takes none of them: what it would do with them is its own affair. A mixture takes
        them as they are, for members of its own.

        Args:
            call: The common parameters of the call, by their common names.
            *own: Keyword arguments that are for this member alone; of those given twice, the last one counts.
        """
        if self.is_remote:
            # By default a server goes on with a run that nobody waits for.
            return {"on_disconnect": "cancel"}
        if self.chat_model is None:
            return {}
        others = {key: value for layer in own for key, value in layer.items()}
        if self.retry is not None:
            others = {**self.dialect.no_retries, **others}
        return {**self._spelled(call, others).kwargs, **others}

    def adjusted(self, call: Mapping[str, Any], *own: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what of a call's common parameters this member is not sent, or not as it was given.

        Args:
            call: The common parameters of the call.
            *own: Keyword arguments that are for this member alone.
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
            mixture: The mixture's own, which the settings of the member override.
            call: The call's, which override both.
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
        """Call the member, again if its `retry` says so, and read its answer.

        Args:
            messages: What it is asked.
            config: The call's config.
            kwargs: The call's keyword arguments.
            limit: The time that all attempts have together. Default: as much as they take.

        Raises:
            OutOfTimeError: The time was over before there was an answer.
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
        """Call the member once and yield the pieces of its answer as they come.

        Args:
            messages: What it is asked.
            config: The call's config.
            kwargs: The call's keyword arguments.
            limit: How long the call may take; its own seconds begin when the call does.
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
        """Return what to call on the running loop, and whether by its async side."""
        loop = asyncio.get_running_loop()
        if (found := self._of_loops.get(loop)) is None:
            found = self._of_loops[loop] = await callable_here(self.runnable)
        return found
