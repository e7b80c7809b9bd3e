"""Keep keys out of what providers raise, before anybody else is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_moa.secrets import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Cleanser(BaseCallbackHandler):
    """Masks a member's keys in its errors, in place.

    Some servers say in their errors what they were shown. The text of such an error reaches tracers by LangChain's callbacks
    before it reaches whoever made the call; so this is the first of the callbacks.
    """

    run_inline = True
    ignore_chat_model = True
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    def __init__(self, secrets: Sequence[str]) -> None:
        """Make it for one member.

        Args:
            secrets: The values that no error may show.
        """
        self._secrets = secrets

    def on_llm_error(self, error: BaseException, *, response: LLMResult | None = None, **_: Any) -> None:
        """Cleanse the error, and what LangChain has made of the server's response, before the other handlers see them."""
        cleanse(error, self._secrets)
        for generation in (each for several in (response.generations if response else ()) for each in several):
            if isinstance(generation, ChatGeneration):
                message = generation.message
                message.response_metadata = _cleansed(message.response_metadata, tuple(self._secrets))


def in_front(handler: BaseCallbackHandler, callbacks: Any) -> Any:
    """Return a config's callbacks with a handler in front, which they themselves do not get."""
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        manager.handlers = [handler, *manager.handlers]
        manager.inheritable_handlers = [handler, *manager.inheritable_handlers]
        return manager
    return [handler, *(callbacks or ())]


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
