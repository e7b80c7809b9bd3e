"""Model strings, and what a chat model says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from pydantic import SecretStr

from langchain_moa.secrets import is_secret_name, redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable

_LOCAL = "local:"


def resolve_model(name: str, settings: Mapping[str, Any]) -> BaseChatModel:
    """Make the chat model that a string names.

    Args:
        name: `provider:model` as `langchain.chat_models.init_chat_model` takes it, or `local:` and the name of a model on
            this machine.
        settings: Arguments of the model's constructor.

    Returns:
        The model, ready to be called.

    Raises:
        ValueError: The provider is unknown, a key is missing, or a setting is wrong; the text names the remedy.
        ImportError: The provider's package is not installed; the text names the pip command.
    """
    try:
        if name.startswith(_LOCAL):
            from langchain_moa.local import ChatLocal

            return ChatLocal(model=name.removeprefix(_LOCAL), **settings)
        from langchain.chat_models import init_chat_model

        model = init_chat_model(name, **settings)
    except ImportError:
        raise
    except Exception as error:
        msg = f"cannot make the model {name!r}: {redact(str(error), _values(settings))}"
        # Providers raise what their client raises; one type, with their text, is what a caller can handle.
        raise ValueError(msg) from error
    _require_key(name, model)
    return model


def chat_model_of(runnable: Runnable[Any, Any]) -> BaseChatModel | None:
    """Return the chat model inside a binding, a retry, a fallback or a configurable model; `None` if there is none."""
    while not isinstance(runnable, BaseChatModel):
        if isinstance(runnable, RunnableBindingBase):
            runnable = runnable.bound
        elif isinstance(runnable, RunnableWithFallbacks):
            runnable = runnable.runnable
        elif isinstance(runnable, DynamicRunnable):
            runnable = runnable.default
        else:
            return None
    return runnable


def model_id(runnable: Runnable[Any, Any]) -> str:
    """Return `provider:model` of a chat model, or the name of any other Runnable."""
    model = chat_model_of(runnable)
    if model is None:
        return runnable.get_name()
    params = model._get_ls_params()  # noqa: SLF001  # the only description that every provider gives of itself
    name = params.get("ls_model_name")
    return f"{params.get('ls_provider')}:{name}" if name else model.get_name()


def _require_key(name: str, model: BaseChatModel) -> None:
    """Refuse a model whose provider takes a key and has none: the first call would fail, and only then."""
    for attribute, variable in model.lc_secrets.items():
        if not attribute.endswith("api_key") or not hasattr(model, attribute):
            continue
        value = getattr(model, attribute)
        if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
            msg = f"cannot make the model {name!r}: no key. Set the environment variable {variable}."
            raise ValueError(msg)


def _values(settings: Mapping[str, Any]) -> list[str]:
    return [str(value) for key, value in settings.items() if is_secret_name(key)]
