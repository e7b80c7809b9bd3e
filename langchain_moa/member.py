"""A member that can be called: how messages become its input and its output an answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langgraph.pregel.protocol import PregelProtocol

from langchain_moa.models import chat_model_of
from langchain_moa.reference import Answer, read_answer
from langchain_moa.secrets import redact, secrets_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable, RunnableConfig

    from langchain_moa.proposer import Proposer


@dataclass(frozen=True, repr=False)
class Member:
    """A proposer or an aggregator, resolved.

    Attributes:
        spec: What the user wrote.
        runnable: What is called.
        id: The model id.
    """

    spec: Proposer
    runnable: Runnable[Any, Any]
    id: str

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
    def has_tools(self) -> bool:
        """Whether the user has bound tools to the model."""
        runnable: Any = self.runnable
        while runnable is not None:
            if (getattr(runnable, "kwargs", None) or {}).get("tools"):
                return True
            runnable = getattr(runnable, "bound", None) or getattr(runnable, "runnable", None)
        return False

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Values that no text about this member may show."""
        return secrets_of(self.chat_model)

    def describe(self) -> dict[str, Any]:
        """Return as plain data, without secrets, what bears on this member's answers."""
        spec = self.spec
        described = {
            "model": self.id,
            "name": spec.name,
            "system_prompt": spec.system_prompt,
            "settings": dict(spec.settings),
        }
        if self.chat_model is None:
            # Nothing tells two such Runnables apart but that they are two.
            return {**described, "runnable": f"{type(self.runnable).__name__} at {id(self.runnable):#x}"}
        described["params"] = dict(self.chat_model._identifying_params)  # noqa: SLF001  # LangChain's own cache key
        if self.runnable is not self.chat_model:
            described["bound"] = redact(repr(getattr(self.runnable, "kwargs", id(self.runnable))), self.secrets)
        return described

    def input(self, messages: Sequence[BaseMessage]) -> Any:
        """Return the messages in the form that this member takes."""
        return {"messages": list(messages)} if isinstance(self.runnable, PregelProtocol) else list(messages)

    def kwargs(self, *layers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call; of those given twice, the last one counts.

        A Runnable that is no chat model takes none: what it would do with them is its own affair.

        Args:
            *layers: Keyword arguments from the most general to the most specific.
        """
        if self.chat_model is None:
            return {}
        return {key: value for layer in layers for key, value in layer.items()}

    def defaults(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the mixture's parameters that this member has not set for itself."""
        return {key: value for key, value in call.items() if key not in self.spec.settings}

    def invoke(self, messages: Sequence[BaseMessage], config: RunnableConfig, kwargs: Mapping[str, Any]) -> Answer:
        """Call the member and read its answer."""
        return read_answer(self.runnable.invoke(self.input(messages), config, **kwargs), seen=len(messages))

    async def ainvoke(self, messages: Sequence[BaseMessage], config: RunnableConfig, kwargs: Mapping[str, Any]) -> Answer:
        """Call the member without blocking, and read its answer."""
        return read_answer(await self.runnable.ainvoke(self.input(messages), config, **kwargs), seen=len(messages))
