"""The functions that a server calls for a graph."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

# These are real imports, because the server reads a factory's annotations at run time.
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph_sdk.runtime import ServerRuntime

from langchain_moa.data.sanitizing import shown_line
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
    """Make what `langgraph.json` names: a function that gives a server the graph of a mixture.

    Assistants and runs set proposers, aggregator, layers and prompts in their context; the graph is built for what they set,
    once, and kept. A context names the mixture's own members by name, with all that is configured of them, or other models
    as `provider:model`, for which the server has the keys.

    Args:
        mixture: The mixture where no context says otherwise, or a function that makes it when it is first needed. Default:
            the YAML file that the environment variable `LANGCHAIN_MOA_CONFIG` names, or the preset that
            `LANGCHAIN_MOA_PRESET` names, or `./moa.yaml` if it is there, or the preset `local`.
        models: Patterns of the models that contexts may name beside the mixture's own members, `openai:*` for example; an
            empty list leaves them these members alone. A pattern that begins with `*` is for providers that run models on
            their own servers, as far as the server has their key in its environment; models that would be loaded here
            (`local:*`, `huggingface:*`) have to be named. Default: those of `LANGCHAIN_MOA_MODELS`, with commas between,
            or `*`; none if the mixture has an `api_key`, which is not for other providers.

    Returns:
        The function. It is async, and builds in a thread.

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
        # A server that reads or changes a thread, or draws an assistant, hands on the assistant's context in its config.
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
            # The server shows callers the text of a wrong value; any other error is "internal" to it.
            raise ValueError(str(error)) from error

    return make_graph


async def _shown(served: Served, given: Mapping[str, Any]) -> Pregel[Any, Any, Any, Any]:
    """Return the graph to look at: a wrong context cannot be mended in a form that it keeps from being shown."""
    try:
        return await served.graph(MixtureContext.read(given))
    except (ValueError, ImportError) as error:
        _logger.warning("showing the configured mixture instead of an assistant's: %s", shown_line(error))
        return await served.graph(MixtureContext())


def _maker(mixture: Mixture | Callable[[], Mixture] | None) -> Callable[[], Mixture]:
    if mixture is None:
        return configured
    return (lambda: mixture) if isinstance(mixture, Mixture) else mixture


def configured() -> Mixture:
    """Make the mixture that the environment names.

    Raises:
        ValueError: Both variables are set, or what they name is no mixture.
    """
    config, preset = os.environ.get(CONFIG), os.environ.get(PRESET)
    if config and preset:
        msg = f"{CONFIG} and {PRESET} name two mixtures; set one of them"
        raise ValueError(msg)
    if not config and not preset and Path("moa.yaml").is_file():
        config = "moa.yaml"
    return Mixture.from_config(config) if config else Mixture.from_preset(preset or "local")


def _models() -> Sequence[str] | None:
    given = os.environ.get(MODELS)
    return None if given is None else [pattern.strip() for pattern in given.split(",") if pattern.strip()]


make_graph = graph_factory()
"""The factory that `langgraph.json` names where the environment names the mixture."""
