"""Compatibility: all private or undocumented names of other packages that this package uses, each with the reason.

`tests/unit_tests/test_compat.py` has a test for each that says what breaks when a release changes it. Methods that LangChain
documents for overriding (`_generate`, `_stream`, `_llm_type`, `_identifying_params`, ...) are listed only if this package reads
them from other classes, not if it overrides them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
    from contextvars import ContextVar

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackHandler, CallbackManagerForLLMRun
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult

    Close = Callable[[], Awaitable[Any]]
    MakeClient = Callable[[Hashable, Callable[[], Any]], Any]


# A handler of this class makes `invoke` stream the model, which a recorder needs for the time to the first token. Private: the
# class; langchain-core checks for nothing else.
StreamingCallbackHandler = _StreamingCallbackHandler


def read_channel(config: Mapping[str, Any] | None, name: str) -> Any:
    """Return the value of a channel of the running graph.

    LangGraph passes a node the channels of its input schema and shows them in its `tasks` and `debug` streams. Objects that the
    nodes of a run share must not appear there, so they are read here. Private: the key in `configurable`.

    Args:
        config: The node's config.
        name: The channel's name.

    Returns:
        The value; `None` outside of a run, or if the graph has no such channel.
    """
    read = ((config or {}).get("configurable") or {}).get("__pregel_read")
    if read is None:
        return None
    try:
        return read(name)
    except KeyError:
        return None


def streams_tokens(handler: BaseCallbackHandler) -> bool:
    """Return whether a handler streams the tokens of models to a user.

    These handlers are the tracers behind `astream_log`, `astream_events` and LangGraph's `messages` stream. Inside a mixture,
    they would show the proposers' tokens. Private: their base classes.

    Args:
        handler: The handler.
    """
    return isinstance(handler, (StreamingCallbackHandler, _V2StreamingCallbackHandler))


def inherited_context() -> Sequence[ContextVar[Any]]:
    """Return the context variables from which a run inherits config and handlers when it starts inside another run.

    A mixture hides them from its members: the caller's config, and handlers such as `get_usage_metadata_callback`. Private: the
    list of hooks. Undocumented: the variable of the config.
    """
    from langchain_core.runnables.config import var_child_runnable_config
    from langchain_core.tracers.context import _configure_hooks

    return [var_child_runnable_config, *(hook[0] for hook in _configure_hooks)]


def is_run_id(message_id: str | None) -> bool:
    """Return whether LangChain made a message's id from the run id, because the provider sent none.

    Undocumented: the prefix of these ids.

    Args:
        message_id: The id; `None` if the message has none.
    """
    from langchain_core.utils.utils import LC_ID_PREFIX

    return (message_id or "").startswith(LC_ID_PREFIX)


def tracing_params(model: BaseChatModel) -> LangSmithParams:
    """Return the provider and the name of a model, as reported to tracers.

    This is the only description that all providers' classes have. Private: the method; there is no public one.

    Args:
        model: The model.
    """
    return model._get_ls_params()


def identifying_params(model: BaseChatModel) -> dict[str, Any]:
    """Return the parameters that tell two models apart, as LangChain's cache uses them.

    LangChain documents how to override this property, but has no public way to read it.

    Args:
        model: The model.
    """
    return dict(model._identifying_params)


def llm_type(model: Any) -> str | None:
    """Return the type that a model reports (`moa`, `openai-chat`, ...); `None` if it reports none.

    LangChain documents how to override this property, but has no public way to read it.

    Args:
        model: The model.
    """
    found = getattr(model, "_llm_type", None)
    return found if isinstance(found, str) else None


def has_async_methods(model: BaseChatModel) -> bool:
    """Return whether a model's class implements async calls instead of running its sync ones in a thread.

    LangChain documents how to override these methods, but has no public way to check whether a class does so.

    Args:
        model: The model.
    """
    kind = type(model)
    return kind._agenerate is not BaseChatModel._agenerate or kind._astream is not BaseChatModel._astream


def default_settings(runnable: Any) -> Mapping[str, Any] | None:
    """Return the settings of a configurable model, which `init_chat_model` makes at call time; `None` for other Runnables.

    They show whether the model's client retries. Private: the attribute that stores them.

    Args:
        runnable: Any Runnable.
    """
    settings = getattr(runnable, "_default_config", None)
    return settings if isinstance(settings, dict) else None


def remote_headers(graph: Any) -> Mapping[str, str]:
    """Return the HTTP headers that a `RemoteGraph` sends; an empty mapping for any other graph.

    Its `api_key` is stored only in these headers. Undocumented: the attributes from the graph to its HTTP client.

    Args:
        graph: A graph on a server.
    """
    client = getattr(getattr(getattr(graph, "client", None), "http", None), "client", None)
    return getattr(client, "headers", None) or {}


class ScopedChatModel(BaseChatModel):
    """A chat model that enters a context around each of its calls.

    If `invoke` streams, LangChain calls `_stream` without the run manager. Private: the method around that call, which is the
    only one that gets the run manager.
    """

    def scope(
        self,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,  # noqa: ARG002  # for subclasses
    ) -> AbstractContextManager[None]:
        """Return the context manager to enter around a call.

        Args:
            run_manager: The run manager of the call.
        """
        return nullcontext()

    @override
    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self.scope(run_manager):
            return super()._generate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    @override
    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self.scope(run_manager):
            return await super()._agenerate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)


def provider_packages() -> dict[str, str]:
    """Return the providers that `init_chat_model` knows, each with the package to install for it.

    Errors about unknown providers list them. Private: the registry; the public function shows it only in the text of an error.
    """
    from langchain.chat_models.base import _BUILTIN_PROVIDERS

    return {name: found[0].partition(".")[0].replace("_", "-") for name, found in _BUILTIN_PROVIDERS.items()}


def provider_of(name: str) -> str | None:
    """Return the provider that `init_chat_model` uses for a model string; `None` if it finds none.

    Private: the function that infers the provider of a name without one, such as `gpt-4o`.

    Args:
        name: `provider:model`, or the name of a model.
    """
    from langchain.chat_models.base import _attempt_infer_model_provider

    provider, colon, _ = name.partition(":")
    return provider if colon and provider in provider_packages() else _attempt_infer_model_provider(name)


def ollama_options(model: BaseChatModel) -> dict[str, Any]:
    """Return the Ollama options that are set in a model's fields.

    `options` given at call time replace all of the model's own. Private: which fields are options.
    """
    names = (
        *("mirostat", "mirostat_eta", "mirostat_tau", "num_ctx", "num_gpu", "num_thread", "num_predict", "repeat_last_n"),
        *("repeat_penalty", "temperature", "seed", "stop", "tfs_z", "top_k", "top_p"),
    )
    found = {name: getattr(model, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def copy_for_loop(model: BaseChatModel, client: MakeClient, on_close: Callable[[Close], None]) -> BaseChatModel | None:
    """Return a copy of a chat model whose async HTTP client belongs to the running event loop.

    LangChain's packages keep one async HTTP client per address for the whole process. Its connections belong to the loop that
    opened them, and fail on any other with "bound to a different event loop". Private: where each package keeps its client.

    Args:
        model: The model; it is not modified.
        client: Returns the loop's HTTP client for a key. If there is none yet, it calls the given function to make one.
        on_close: Registers a function that closes the copy's own client when the loop ends.

    Returns:
        The copy; the model itself if its HTTP client was given by the user; `None` for models of other packages.
    """
    for recipe in (_copy_openai, _copy_anthropic, _copy_ollama, _copy_cohere, _copy_groq):
        if (copy := recipe(model, client, on_close)) is not None:
            return copy
    return None


def sdk_client(model: Any) -> Any:
    """Return the async client of OpenAI's, Anthropic's or Groq's SDK that a chat model uses; `None` for others.

    Private: where langchain-anthropic and langchain-groq keep their clients. In langchain-openai, it is a public field.

    Args:
        model: The model.
    """
    if _inherits(model, "langchain_openai"):
        return model.root_async_client
    if _inherits(model, "langchain_groq"):
        return getattr(model.async_client, "_client", None)
    return model._async_client if _inherits(model, "langchain_anthropic") else None


def with_sdk_client(model: Any, client: Any) -> Any:
    """Return a copy of a chat model that uses another async client of the same SDK.

    Private: where langchain-anthropic keeps its client.

    Args:
        model: A model that `sdk_client` knows.
        client: The client.
    """
    if _inherits(model, "langchain_openai"):
        return model.model_copy(update={"root_async_client": client, "async_client": client.chat.completions})
    if _inherits(model, "langchain_groq"):
        return model.model_copy(update={"async_client": client.chat.completions})
    copy = model.model_copy()
    # A cached property returns the value in `__dict__`.
    copy.__dict__["_async_client"] = client
    return copy


def _copy_openai(model: Any, client: MakeClient, _: Callable[[Close], None]) -> BaseChatModel | None:
    """Copy a model of OpenAI's SDK: OpenAI, Azure, Together, DeepSeek, xAI and others."""
    from langchain_openai.chat_models import _client_utils as utils
    from langchain_openai.chat_models.base import BaseChatOpenAI

    if not isinstance(model, BaseChatOpenAI):
        return None
    # With a proxy, the client in this field is langchain-openai's own and not the user's.
    if model.http_async_client is not None and not model.openai_proxy:
        return model
    root = model.root_async_client or getattr(model.async_client, "_client", None)
    if root is None:
        return None
    bypassed = utils._should_bypass_socket_options_for_proxy_env(
        http_socket_options=model.http_socket_options,
        http_client=None,
        http_async_client=None,
        openai_proxy=model.openai_proxy,
    )
    options = () if bypassed else utils._resolve_socket_options(model.http_socket_options)

    def make() -> Any:
        if model.openai_proxy:
            from langchain_openai.chat_models.base import global_ssl_context

            return utils._build_proxied_async_httpx_client(model.openai_proxy, global_ssl_context, options)
        return utils._build_async_httpx_client(str(root.base_url), root.timeout, options)

    http_client = client(("openai", str(root.base_url), repr(root.timeout), model.openai_proxy, options), make)
    own = root.copy(http_client=http_client)
    return model.model_copy(update={"root_async_client": own, "async_client": own.chat.completions})


def _copy_anthropic(model: Any, client: MakeClient, _: Callable[[Close], None]) -> BaseChatModel | None:
    """Copy a model of Anthropic's SDK."""
    if type(model).__module__.partition(".")[0] != "langchain_anthropic" and not _inherits(model, "langchain_anthropic"):
        return None
    import anthropic

    cached = model._async_client
    proxy = getattr(model, "anthropic_proxy", None)
    http_client = client(("anthropic", proxy), lambda: anthropic.DefaultAsyncHttpxClient(**({"proxy": proxy} if proxy else {})))
    copy: BaseChatModel = model.model_copy()
    # A cached property returns the value in `__dict__`.
    copy.__dict__["_async_client"] = cached.copy(http_client=http_client)
    return copy


def _copy_ollama(model: Any, _: MakeClient, on_close: Callable[[Close], None]) -> BaseChatModel | None:
    """Copy a model of Ollama's SDK, whose clients are made by a validator of the model."""
    if not _inherits(model, "langchain_ollama"):
        return None
    copy: Any = model.model_copy(update={"validate_model_on_init": False})
    copy._set_clients()
    on_close(copy._async_client.close)
    return copy  # type: ignore[no-any-return]


def _copy_cohere(model: Any, _: MakeClient, on_close: Callable[[Close], None]) -> BaseChatModel | None:
    """Copy a model of Cohere's SDK, whose clients are made by a validator of the model."""
    if not _inherits(model, "langchain_cohere"):
        return None
    copy: Any = model.model_copy()
    copy.validate_environment()
    on_close(copy.async_client._client_wrapper.httpx_client.httpx_client.aclose)
    return copy  # type: ignore[no-any-return]


def _copy_groq(model: Any, client: MakeClient, _: Callable[[Close], None]) -> BaseChatModel | None:
    """Copy a model of Groq's SDK."""
    if not _inherits(model, "langchain_groq"):
        return None
    if model.http_async_client is not None:
        return model  # type: ignore[no-any-return]
    import groq

    root = model.async_client._client
    http_client = client(("groq", str(root.base_url)), groq.DefaultAsyncHttpxClient)
    own = root.copy(http_client=http_client)
    return model.model_copy(update={"async_client": own.chat.completions})  # type: ignore[no-any-return]


def _inherits(model: Any, package: str) -> bool:
    return any(base.__module__.partition(".")[0] == package for base in type(model).__mro__)
