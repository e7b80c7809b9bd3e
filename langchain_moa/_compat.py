"""Every private or undocumented name of another package that this one needs, each with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from langchain_core.language_models import BaseChatModel

    Close = Callable[[], Awaitable[Any]]
    MakeClient = Callable[[Hashable, Callable[[], Any]], Any]


def read_channel(config: Mapping[str, Any] | None, name: str) -> Any:
    """Return the value of a channel of the running graph.

    LangGraph hands a node the channels of its input schema, and shows that input in its `tasks` and `debug` streams. What the
    nodes of a run share beside the state is no business of these, so it is read here. Private: the key in `configurable`.

    Args:
        config: The node's config.
        name: The channel's name.

    Returns:
        The value; `None` outside of a run, or in a graph that has no such channel.
    """
    read = ((config or {}).get("configurable") or {}).get("__pregel_read")
    if read is None:
        return None
    try:
        return read(name)
    except KeyError:
        return None


def copy_for_loop(model: BaseChatModel, client: MakeClient, on_close: Callable[[Close], None]) -> BaseChatModel | None:
    """Return a copy of a chat model whose async side has an HTTP client that belongs to the running event loop.

    LangChain's packages keep one async HTTP client per address for the whole process. Its connections belong to the loop that
    opened them, and fail on any other with "bound to a different event loop". Private: where each package keeps its client.

    Args:
        model: The model; it is not changed.
        client: Returns the loop's HTTP client for a key, made by the function that it is given if there is none yet.
        on_close: Registers what closes a client of the copy's own when the loop ends.

    Returns:
        The copy; the model itself where the user has given the HTTP client; `None` for a package that is not known here.
    """
    for recipe in (_copy_openai, _copy_anthropic, _copy_ollama):
        if (copy := recipe(model, client, on_close)) is not None:
            return copy
    return None


def _copy_openai(model: Any, client: MakeClient, _: Callable[[Close], None]) -> BaseChatModel | None:
    """OpenAI's SDK: OpenAI, Azure, Together, DeepSeek, xAI and others."""
    from langchain_openai.chat_models import _client_utils as utils
    from langchain_openai.chat_models.base import BaseChatOpenAI

    if not isinstance(model, BaseChatOpenAI):
        return None
    # A proxied client is langchain-openai's own, kept in the field where a user's would be.
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
    """Anthropic's SDK."""
    if type(model).__module__.partition(".")[0] != "langchain_anthropic" and not _inherits(model, "langchain_anthropic"):
        return None
    import anthropic

    cached = model._async_client
    proxy = getattr(model, "anthropic_proxy", None)
    http_client = client(("anthropic", proxy), lambda: anthropic.DefaultAsyncHttpxClient(**({"proxy": proxy} if proxy else {})))
    copy: BaseChatModel = model.model_copy()
    # A cached property: what stands in `__dict__` is what it returns.
    copy.__dict__["_async_client"] = cached.copy(http_client=http_client)
    return copy


def _copy_ollama(model: Any, _: MakeClient, on_close: Callable[[Close], None]) -> BaseChatModel | None:
    """Ollama's SDK, whose clients are made by a validator of the model."""
    if not _inherits(model, "langchain_ollama"):
        return None
    copy: Any = model.model_copy(update={"validate_model_on_init": False})
    copy._set_clients()
    on_close(copy._async_client.close)
    return copy  # type: ignore[no-any-return]


def _inherits(model: Any, package: str) -> bool:
    return any(base.__module__.partition(".")[0] == package for base in type(model).__mro__)
