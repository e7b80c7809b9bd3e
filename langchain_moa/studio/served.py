"""A served mixture, with a cached graph for each context."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from langchain_moa.data.validation import at, explain
from langchain_moa.engine.graph import build_graph
from langchain_moa.members.proposer import Proposer
from langchain_moa.mixture.mixture import Mixture
from langchain_moa.strategies.registry import name_of, names
from langchain_moa.studio.context import NONE, MemberContext, MixtureContext, context_schema
from langchain_moa.studio.served_graph import ServedGraph
from langchain_moa.studio.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from langgraph.graph import StateGraph
    from langgraph.pregel import Pregel

    from langchain_moa.data.state import MoAContext, MoAState

_OWN_FIELDS = ("num_layers", "prompt", "quorum", "deadline", "temperature", "max_tokens")


class Served:
    """A mixture and its variants by context."""

    def __init__(self, make: Callable[[], Mixture], *, models: Sequence[str] | None = None) -> None:
        """Create it for a mixture.

        Args:
            make: Creates the configured mixture. It is called once, in a thread, for the first graph.
            models: The models that contexts may use in addition to the mixture's own members; see `graph_factory`.
        """
        self._make = make
        self._models = models
        self._mixture: Shelf[Mixture] = Shelf(size=1)
        self._graphs: Shelf[Pregel[Any, Any, Any, Any]] = Shelf()

    async def graph(self, context: MixtureContext) -> Pregel[Any, Any, Any, Any]:
        """Return the graph for a context.

        Args:
            context: The context.

        Raises:
            ValueError: The context describes no valid mixture, or uses a model that the server does not offer.
        """
        if (found := self._graphs.find(context.key)) is not None:
            return found
        # In a thread, because clients and configuration are read from disk, which would block the event loop.
        return await asyncio.to_thread(self._graphs.get, context.key, lambda: self._build(context))

    def _build(self, context: MixtureContext) -> Pregel[Any, Any, Any, Any]:
        base = self._mixture.get("", self._make)
        mixture = self._mixed(base, context) if context.set_fields else base
        builder = build_graph(mixture)
        # The mixture's graph, except that its context sets fields of the mixture instead of call arguments.
        schema: Any = context_schema(_defaults(mixture), _nodes(builder))
        builder.context_schema = schema
        graph = builder.compile()
        # LangGraph creates the object itself and does not accept a subclass.
        graph.__class__ = ServedGraph
        return graph

    def _mixed(self, base: Mixture, context: MixtureContext) -> Mixture:
        """Create the mixture that a context describes."""
        fields = {name: getattr(base, name) for name in base.model_fields_set & Mixture.model_fields.keys()}
        wanted = context.set_fields
        fields |= {name: wanted[name] for name in _OWN_FIELDS if name in wanted}
        fields |= _chosen_strategies(base, wanted)
        proposers: Any = base.proposers
        if context.proposers is not None:
            with at("context: proposers"):
                proposers = self._layers(base, context.proposers)
        if isinstance(proposers[0], (list, tuple)):
            if "num_layers" not in wanted:
                fields.pop("num_layers", None)
        else:
            fields.setdefault("num_layers", base.num_layers)
        if context.proposer_system_prompt is not None:
            proposers = _each(proposers, lambda spec: replace(spec, system_prompt=context.proposer_system_prompt))
        aggregator: Any = base.aggregator
        if context.aggregator is not None:
            with at("context: aggregator"):
                aggregator = self._member(context.aggregator, _by_name([base.aggregator, *_flat(base.proposers)]), Counter())
        if context.aggregator_system_prompt is not None and aggregator is not None:
            aggregator = replace(aggregator, system_prompt=context.aggregator_system_prompt)
        try:
            return Mixture(**{**fields, "proposers": proposers, "aggregator": aggregator})
        except ValidationError as error:
            msg = f"context: {explain(error)}"
            raise ValueError(msg) from error

    def _layers(self, base: Mixture, wanted: list[Any]) -> list[Any]:
        known = _by_name([*_flat(base.proposers), base.aggregator])
        if isinstance(wanted[0], list):
            return [[self._member(each, known, seen) for each in layer] for layer in wanted for seen in [Counter[str]()]]
        seen = Counter[str]()
        return [self._member(each, known, seen) for each in wanted]

    def _member(self, wanted: MemberContext, known: dict[str, list[Proposer]], seen: Counter[str]) -> Proposer:
        """Return the configured member with a name, taking members with the same name in turn, or a new one for a model id."""
        name = wanted.model
        if name in known:
            spec = known[name][min(seen[name], len(known[name]) - 1)]
            seen[name] += 1
        else:
            self._require_offered(name, known)
            spec = Proposer(name)
        return replace(spec, name=wanted.name or spec.name, system_prompt=wanted.system_prompt or spec.system_prompt)

    def _require_offered(self, model: str, known: dict[str, list[Proposer]]) -> None:
        patterns = ["*"] if self._models is None else self._models
        if not any(_offers(pattern, model) for pattern in patterns):
            offered = [*known, *(pattern for pattern in patterns if pattern != "*")]
            if "*" in patterns:
                offered += [f"{provider}:*" for provider in sorted(_HOSTED) if _has_key(provider)]
            msg = f"this server does not offer {model!r}; it has {', '.join(offered)}"
            raise ValueError(msg)


def _chosen_strategies(base: Mixture, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the strategies that a context names. A configured strategy with the same name keeps its arguments."""
    chosen: dict[str, Any] = {}
    if (name := wanted.get("aggregation")) is not None and name != name_of(base.strategies.aggregation):
        chosen["aggregation"] = name
    if (name := wanted.get("stop_when")) is not None and name != _stop_name(base):
        chosen["stop_when"] = None if name == NONE else name
    if (filters := wanted.get("reference_filters")) is not None:
        configured = {name_of(each): each for each in base.reference_filters}
        chosen["reference_filters"] = [configured.get(each, each) for each in filters if each != NONE]
    return chosen


def _of_package(package: str, name: str | None) -> str | None:
    return name if name in names(f"langchain_moa.{package}") else None


def _stop_name(base: Mixture) -> str | None:
    return None if base.stop_when is None else name_of(base.stop_when)


# Hosted providers, with the environment variables of their keys. Models of others (`huggingface:`, `local:`) would be loaded on
# this server, from its disk or from a repository that the client chooses.
_HOSTED = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "cohere": ("COHERE_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "google_genai": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistralai": ("MISTRAL_API_KEY",),
    "nvidia": ("NVIDIA_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PPLX_API_KEY", "PERPLEXITY_API_KEY"),
    "together": ("TOGETHER_API_KEY",),
    "xai": ("XAI_API_KEY",),
}


def _has_key(provider: str) -> bool:
    return any(os.environ.get(variable) for variable in _HOSTED[provider])


def _offers(pattern: str, model: str) -> bool:
    """Return whether a pattern allows clients to use a model."""
    kind, _, name = model.partition(":")
    # Clients must not read files of the server.
    if kind in {"replay", "config"}:
        return False
    if kind == "local" and (any(sign in name for sign in "/\\~#") or name.lower().endswith(".gguf")):
        return False
    # `*` matches only hosted providers with a key; others must be named explicitly.
    if "*" in pattern.partition(":")[0] and not (kind in _HOSTED and _has_key(kind)):
        return False
    return fnmatchcase(model, pattern)


def _flat(proposers: Iterable[Any]) -> list[Proposer]:
    return [spec for item in proposers for spec in (item if isinstance(item, tuple) else (item,))]


def _each(proposers: Iterable[Any], change: Callable[[Proposer], Proposer]) -> list[Any]:
    return [[change(spec) for spec in item] if isinstance(item, (list, tuple)) else change(item) for item in proposers]


def _by_name(specs: Iterable[Any]) -> dict[str, list[Proposer]]:
    known: dict[str, list[Proposer]] = {}
    for spec in specs:
        if spec is not None:
            known.setdefault(_name(spec), []).append(spec)
    return known


def _name(spec: Proposer) -> str:
    return spec.name or spec.id


def _defaults(mixture: Mixture) -> dict[str, Any]:
    """Return the default of each field of a context."""
    written: Any = mixture.proposers
    proposers = [[_name(spec) for spec in item] if isinstance(item, tuple) else _name(item) for item in written]
    roles = {spec.system_prompt for spec in _flat(written)}
    aggregator: Any = mixture.aggregator
    filters = [_of_package("filters", name_of(each)) for each in mixture.reference_filters]
    return {
        "proposers": proposers,
        "aggregator": None if aggregator is None else _name(aggregator),
        "num_layers": mixture.num_layers,
        "prompt": mixture.prompt if isinstance(mixture.prompt, str) else None,
        # There is no default if the proposers' prompts differ.
        "proposer_system_prompt": roles.pop() if len(roles) == 1 else None,
        "aggregator_system_prompt": None if aggregator is None else aggregator.system_prompt,
        # Custom strategies have no name that a context could use.
        "aggregation": _of_package("aggregation", name_of(mixture.strategies.aggregation)),
        "reference_filters": None if None in filters else filters or None,
        "stop_when": _of_package("stopping", _stop_name(mixture)),
        "quorum": mixture.quorum,
        "deadline": mixture.deadline,
        "temperature": mixture.temperature,
        "max_tokens": mixture.max_tokens,
    }


def _nodes(builder: StateGraph[MoAState, MoAContext]) -> dict[str, list[str]]:
    """Return the nodes that each field of a context affects."""
    layers = {name: (node.metadata or {}).get("layer") for name, node in builder.nodes.items()}
    proposers = [name for name, node in builder.nodes.items() if "proposer" in (node.metadata or {})]
    merges = [name for name, layer in layers.items() if layer is not None and name not in proposers]
    last = [name for name, layer in layers.items() if layer is None]
    return {
        "proposers": proposers,
        "aggregator": last,
        "num_layers": merges,
        "prompt": [*(name for name in proposers if layers[name] != 1), *last],
        "proposer_system_prompt": proposers,
        "aggregator_system_prompt": last,
        "aggregation": last,
        "reference_filters": merges,
        "stop_when": merges,
        "quorum": proposers,
        "deadline": [*proposers, *last],
        "temperature": [*proposers, *last],
        "max_tokens": [*proposers, *last],
    }
