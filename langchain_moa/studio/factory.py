"""The graph factories that a server calls."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

# Imported at run time, because the server reads the annotations of a factory.
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph_sdk.runtime import ServerRuntime

from langchain_moa.mixture.mixture import Mixture
from langchain_moa.studio.context import MixtureContext, refuse_secrets
from langchain_moa.studio.served import Served

if TYPE_CHECKING:
    from collections.abc import Sequence

Factory: TypeAlias = Callable[[RunnableConfig, ServerRuntime[Any]], Awaitable[Pregel[Any, Any, Any, Any]]]

CONFIG = "LANGCHAIN_MOA_CONFIG"
PRESET = "LANGCHAIN_MOA_PRESET"
MODELS = "LANGCHAIN_MOA_MODELS"

_logger = logging.getLogger("langchain_moa")


def graph_factory(mixture: Mixture | Callable[[], Mixture] | None = None, *, models: Sequence[str] | None = None) -> Factory:
    """Create a graph factory for `langgraph.json`, a function that returns the graph of a mixture to a server.

    Assistants and runs can set proposers, aggregator, layers and prompts in their context. The graph for each context is built
    once and cached. A context refers to the mixture's own members by name, with their configuration, or to other models as
    `provider:model`, for which the server needs the keys.

    Args:
        mixture: The default mixture, or a function that creates it when it is first needed. Default: the YAML file in the
            environment variable `LANGCHAIN_MOA_CONFIG`, or the preset in `LANGCHAIN_MOA_PRESET`, or `./moa.yaml` if it exists,
            or the preset `local`.
        models: Patterns of the models that contexts may use in addition to the mixture's own members, for example `openai:*`.
            An empty list allows only these members. A pattern that starts with `*` matches only hosted providers whose key is
            in the server's environment; models that would be loaded on the server (`local:*`, `huggingface:*`) must be named
            explicitly. Default: the comma-separated patterns in `LANGCHAIN_MOA_MODELS`, or `*`; none if the mixture has an
            `api_key`, which must not be sent to other providers.

    Returns:
        The factory, an async function that builds graphs in a thread.

    Example:
        ```python
        from langchain_moa import Mixture
        from langchain_moa.studio import graph_factory

        make_graph = graph_factory(Mixture(proposers=["local:smollm2-135m"] * 3, aggregator="local:smollm2-135m"))
        ```
    """
    if models is None and isinstance(mixture, Mixture) and mixture.api_key is not None:
        models = ()
    served = Served(_maker(mixture), models=_models() if models is None else models)

    async def make_graph(config: RunnableConfig, runtime: ServerRuntime[Any]) -> Pregel[Any, Any, Any, Any]:
        # To read or update a thread, or to draw an assistant, the server passes the assistant's context in the config.
        settled = config.get("configurable") or {}
        running = runtime.execution_runtime
        if running is None:
            return await _shown(served, settled)
        context: Any = settled if running.context is None else running.context
        given = dict(context) if isinstance(context, Mapping) else vars(context)
        refuse_secrets(given)
        try:
            return await served.graph(MixtureContext.read(given))
        except ImportError as error:
            # The server shows clients the message of a ValueError; any other error becomes an "internal error".
            raise ValueError(str(error)) from error

    return make_graph


async def _shown(served: Served, given: Mapping[str, Any]) -> Pregel[Any, Any, Any, Any]:
    """Return the graph to show. For an invalid context this is the default graph, so that Studio can show its form."""
    try:
        return await served.graph(MixtureContext.read(given))
    except (ValueError, ImportError) as error:
        _logger.warning("showing the configured mixture instead of an assistant's: %s", error)
        return await served.graph(MixtureContext())


def _maker(mixture: Mixture | Callable[[], Mixture] | None) -> Callable[[], Mixture]:
    if mixture is None:
        return configured
    return (lambda: mixture) if isinstance(mixture, Mixture) else mixture


def configured() -> Mixture:
    """Create the mixture that the environment variables describe.

    Raises:
        ValueError: Both variables are set, or the mixture is invalid.
    """
    config, preset = os.environ.get(CONFIG), os.environ.get(PRESET)
    if config and preset:
        msg = f"set either {CONFIG} or {PRESET}, not both"
        raise ValueError(msg)
    if not config and not preset and Path("moa.yaml").is_file():
        config = "moa.yaml"
    return Mixture.from_config(config) if config else Mixture.from_preset(preset or "local")


def _models() -> Sequence[str] | None:
    given = os.environ.get(MODELS)
    return None if given is None else [pattern.strip() for pattern in given.split(",") if pattern.strip()]


make_graph = graph_factory()
"""The factory of the mixture that the environment variables describe, for `langgraph.json`."""
