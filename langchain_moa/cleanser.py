"""Keep keys out of what providers raise, before anybody else is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables.config import var_child_runnable_config

from langchain_moa.secrets import masked, redact

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from langchain_core.runnables import RunnableConfig


class Cleanser(BaseCallbackHandler):
    """Masks a member's keys in its errors, in place, and in what traces are told of its models.

    Some servers say in their errors what they were shown. The text of such an error reaches tracers by LangChain's callbacks
    before it reaches whoever made the call; so this is the first of the callbacks. Of a model they are told all parameters,
    headers included, where it is called.
    """

    run_inline = True
    ignore_custom_event = True

    def __init__(self, secrets: Sequence[str]) -> None:
        """Make it for one member.

        Args:
            secrets: The values that no error may show.
        """
        self._secrets = secrets

    def __hash__(self) -> int:
        """Return what keeps it in front: LangChain merges the callbacks of two configs as sets, and those begin with 0."""
        return 0

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same one."""
        return self is other

    def on_chat_model_start(self, serialized: Any, *_: Any, invocation_params: Any = None, **__: Any) -> None:
        """Cleanse what the other handlers are told of a chat model; the call itself goes by other objects."""
        self._cleanse_start(serialized, invocation_params)

    def on_llm_start(self, serialized: Any, *_: Any, invocation_params: Any = None, **__: Any) -> None:
        """Cleanse what they are told of any other model."""
        self._cleanse_start(serialized, invocation_params)

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        """Cleanse what a chain, a graph or a function raises."""
        cleanse(error, self._secrets)

    def on_tool_error(self, error: BaseException, **_: Any) -> None:
        """Cleanse what a tool raises."""
        cleanse(error, self._secrets)

    def on_retriever_error(self, error: BaseException, **_: Any) -> None:
        """Cleanse what a retriever raises."""
        cleanse(error, self._secrets)

    def on_llm_error(self, error: BaseException, *, response: LLMResult | None = None, **_: Any) -> None:
        """Cleanse the error, and what LangChain has made of the server's response, before the other handlers see them."""
        cleanse(error, self._secrets)
        for generation in (each for several in (response.generations if response else ()) for each in several):
            if isinstance(generation, ChatGeneration):
                message = generation.message
                message.response_metadata = _cleansed(message.response_metadata, tuple(self._secrets))

    def _cleanse_start(self, *told: Any) -> None:
        for each in told:
            # The outermost dict is made for the callbacks; what is in it is the model's own, and only replaced.
            for name, value in list(each.items()) if isinstance(each, dict) else ():
                each[name] = masked(value, self._secrets)


def in_front(handler: BaseCallbackHandler, callbacks: Any) -> Any:
    """Return a config's callbacks with a handler in front, which they themselves do not get."""
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        manager.handlers = [handler, *manager.handlers]
        manager.inheritable_handlers = [handler, *manager.inheritable_handlers]
        return manager
    return [handler, *(callbacks or ())]


@contextmanager
def surrounding(config: RunnableConfig) -> Generator[None]:
    """Have a call's config be the one that is found by whoever looks around, as graphs and bindings do.

    Else they would merge the callbacks of the node's, which have no cleanser, with those that they are given.

    Args:
        config: The call's config.
    """
    token = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def handlers_of(callbacks: Any) -> list[BaseCallbackHandler]:
    """Return the handlers of a config's callbacks."""
    return list(callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ())


def cleanse(error: BaseException, secrets: Iterable[str]) -> None:
    """Mask secrets in an exception, and in all that caused it; one that shows none is left as it is.

    Args:
        error: The exception.
        secrets: Values known to be secret, beside those of the environment.
    """
    known, seen = tuple(secrets), set[int]()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__, *(each.exceptions if isinstance(each, BaseExceptionGroup) else ())]
        arguments = _cleansed(each.args, known)
        if arguments != each.args:
            each.args = arguments
        # Their types may refuse to be compared or set; only what is plain data is touched.
        for name, value in list(vars(each).items()):
            if isinstance(value, (str, Mapping, list, tuple)) and (clean := _cleansed(value, known)) != value:
                vars(each)[name] = clean


def _cleansed(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, Mapping):
        return {key: _cleansed(item, secrets) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_cleansed(item, secrets) for item in value)
    return value
