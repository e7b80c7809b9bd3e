"""What all nodes of a mixture's graph share: settings, the run's context, node names, and prompts that fit the window."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import get_runtime

from langchain_moa.data.errors import StrategyFailedError
from langchain_moa.data.redaction import describe, secrets_of
from langchain_moa.data.sanitizing import shown_line
from langchain_moa.data.state import MoAContext, emit, references_of, steps_of
from langchain_moa.engine.progress import RunState, progress_of
from langchain_moa.limits.portal import wait_for
from langchain_moa.prompting.budget import fit, room_for_messages
from langchain_moa.prompting.place import ReferencePlace
from langchain_moa.prompting.prompts import PlacedPrompt, Prompt, PromptError, is_blind, prompt_of, resolve_prompt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.members.member import Member
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.mixture.lineup import Members
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.prompting.place import ReferencesAt
    from langchain_moa.strategies.resolved import Strategies

_logger = logging.getLogger("langchain_moa")

_DEFAULT_CONTEXT = MoAContext()


@dataclass(frozen=True)
class NodeSettings:
    """The settings that a mixture's nodes use.

    Attributes:
        mixture: The mixture, for handlers that record which mixture a run belongs to.
        members: The mixture's resolved members.
        strategies: The mixture's resolved strategies.
        prompt: The mixture's `prompt` field: how references are shown.
        references_at: The mixture's `references_at` field: where references are shown.
        blind: The numbers of the layers that do not see the layers before.
        call_kwargs: The mixture's parameters for all model calls.
        max_reference_tokens: Maximum number of tokens of each reference in a prompt, or `None`.
        min_references: Minimum number of good references of a layer.
        proposer_timeout: Seconds for the answer of a proposer, or `None`.
        deadline: Seconds for the whole answer, or `None`.
        max_cost_usd: US dollars after which no further layer starts, or `None`.
    """

    mixture: Mixture
    members: Members
    strategies: Strategies
    prompt: str | Prompt | Mapping[Any, Any]
    references_at: ReferencesAt
    blind: frozenset[int]
    call_kwargs: Mapping[str, Any]
    max_reference_tokens: int | None
    min_references: int
    proposer_timeout: float | None
    deadline: float | None
    max_cost_usd: float | None

    @classmethod
    def of(cls, mixture: Mixture) -> NodeSettings:
        """Return the settings of a mixture's nodes."""
        numbers = range(1, len(mixture.members.layers) + 1)
        return cls(
            mixture=mixture,
            members=mixture.members,
            strategies=mixture.strategies,
            prompt=mixture.prompt,
            references_at=mixture.references_at,
            blind=frozenset(number for number in numbers if is_blind(mixture.prompt, number)),
            call_kwargs=mixture.call_kwargs,
            max_reference_tokens=mixture.max_reference_tokens,
            min_references=mixture.min_references,
            proposer_timeout=mixture.proposer_timeout,
            deadline=mixture.deadline,
            max_cost_usd=mixture.max_cost_usd,
        )

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Values to redact from texts about a run of the mixture."""
        return self.mixture.secrets

    def adjusted(self, context: MoAContext) -> list[dict[str, Any]]:
        """Return which common parameters were changed or not sent, for each member.

        Args:
            context: The run's context.
        """
        if not (self.call_kwargs or context.model_kwargs):
            return []
        entries: dict[str, dict[str, Any]] = {}
        members = (*(each for layer in self.members.layers for each in layer), self.members.aggregator)
        # A member may be in several layers.
        for member in {id(member): member for member in members}.values():
            own = context.aggregator_kwargs if member is self.members.aggregator else {}
            for each in member.adjusted(member.parameters(self.call_kwargs, context.model_kwargs), own):
                named = {} if member.name == member.id else {"name": member.name}
                entry = {**named, "model": member.id, **each}
                entries.setdefault(repr(entry), entry)
        return list(entries.values())

    def member(self, model: Proposer | None) -> Member:
        """Return the member for one of a strategy's models; for `None`, the aggregator."""
        return self.mixture.member(model)

    def place(self, member: Member) -> ReferencePlace:
        """Return the place of the references in a member's prompt."""
        spec = member.spec
        at = spec.references_at or self.references_at
        return ReferencePlace.of(
            member.chat_model,
            member.id,
            at=at,
            has_system_role=spec.system_role,
            has_user_after_tools=member.dialect.user_after_tool,
        )

    def prompt_for(self, member: Member, layer: int | None = None) -> PlacedPrompt:
        """Return the prompt that shows the references to a member.

        Args:
            member: The member that reads them.
            layer: The layer of a proposer. Default: `None`, for the aggregator and for calls of strategies.
        """
        return resolve_prompt(
            prompt_of(self.prompt, layer),
            place=self.place(member),
            max_reference_tokens=self.max_reference_tokens,
            shows_checks=self.strategies.examine is not None,
        )


class Node(Runnable[RunState, dict[str, Any]]):
    """Base class of the graph's nodes. Subclasses implement `ainvoke`; `invoke` waits for it on the portal's loop."""

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Run `ainvoke` on the portal's loop and wait for its result."""
        return wait_for(self.ainvoke, input, config)


def context_of() -> MoAContext:
    """Return the run's context, or the default one if the mixture runs inside a graph with another type of context."""
    context: object = get_runtime().context
    return context if isinstance(context, MoAContext) else _DEFAULT_CONTEXT


def secrets_of_call(member: Member, config: RunnableConfig | None) -> tuple[str, ...]:
    """Return the values to redact from texts about a call: the secrets of the member and those of the call.

    The secrets of a call are keys in the config of a configurable model, and headers in the run's `model_kwargs`.

    Args:
        member: The member that is called.
        config: The config of the call.
    """
    # Entries that are not strings are LangGraph's own.
    configured = {name: value for name, value in ((config or {}).get("configurable") or {}).items() if isinstance(value, str)}
    kwargs = context_of().model_kwargs
    return (*member.secrets, *secrets_of([configured, kwargs] if kwargs else configured))


def share_of(deadline: float, config: RunnableConfig | None, *, parts: int) -> float:
    """Return when the next of several equal shares of the remaining deadline ends, on the clock of `time.monotonic`.

    Args:
        deadline: Seconds for the whole answer. They count from the start of the run; a resumed run starts anew.
        config: The node's config, from which the start of the run is read.
        parts: The number of shares.
    """
    now = monotonic()
    return now + ((progress_of(config).started or now) + deadline - now) / parts


class Shown(NamedTuple):
    """The messages for a member, fitted into its context window.

    Attributes:
        messages: The messages to send.
        trimmed: Descriptions of what was left out; empty if everything fits.
    """

    messages: list[BaseMessage]
    trimmed: list[str]


def shown(
    member: Member,
    messages: list[BaseMessage],
    references: Sequence[Reference],
    prompt: Prompt,
    *,
    place: ReferencePlace,
    kwargs: Mapping[str, Any],
    state: RunState,
) -> Shown:
    """Return the messages that show a member the conversation and the references, fitted into its context window.

    What is left out is reported as an event and in the log. `budget.fit` decides what is left out first.

    Args:
        member: The member to call.
        messages: The conversation from the state.
        references: The references that the member reads; may be empty.
        prompt: Makes the messages to send from the conversation and the references.
        place: The place of the references in the member's prompt.
        kwargs: The keyword arguments of the call.
        state: The graph's state, for the references and steps of the error.

    Raises:
        StrategyFailedError: The user's prompt function failed. No fallback is called, as the prompt would fail again.
    """
    window = room_for_messages(member.chat_model, {**member.bound, **kwargs})

    def adapted(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
        return place.adapt(prompt(messages, references))

    # The paper's code strips each reference.
    stripped: list[Reference] = [{**reference, "text": reference["text"].strip()} for reference in references]
    try:
        sent, trimmed = fit(messages, stripped, adapted, window=window)
    except PromptError as error:
        cause = error.__cause__ or error
        reason = describe(cause, member.secrets)
        msg = f"the prompt {str(error)!r} failed for {member.name}: {reason['kind']}: {reason['message']}"
        raise StrategyFailedError(msg, references=references_of(state), steps=steps_of(state)) from cause
    if trimmed:
        emit("trimmed", name=member.name, model=member.id, trimmed=trimmed)
        most = (member.profile or {}).get("max_input_tokens")
        told = "; ".join(trimmed)
        _logger.warning("the prompt for %s did not fit into %s tokens: %s", shown_line(member.name), most, shown_line(told))
    return Shown(sent, trimmed)


_PROPOSER = re.compile(r"layer_(\d+)_proposer_(\d+)")
_MERGE = re.compile(r"merge_(\d+)")


class Place(NamedTuple):
    """The place of a node in the graph.

    Attributes:
        layer: The number of the layer, from 1; `None` for nodes after the layers.
        proposer: The number of the proposer in its layer, from 1; `None` for other nodes.
    """

    layer: int | None = None
    proposer: int | None = None


def proposer_node(layer: int, proposer: int, *, layers: int, proposers: int) -> str:
    """Return the name of a proposer's node.

    Args:
        layer: The number of the layer, from 1.
        proposer: The number of the proposer in its layer, from 1.
        layers: The number of layers.
        proposers: The number of proposers in the layer.
    """
    return f"layer_{_padded(layer, layers)}_proposer_{_padded(proposer, proposers)}"


def merge_node(layer: int, *, layers: int) -> str:
    """Return the name of a merge node.

    Args:
        layer: The number of the layer, from 1.
        layers: The number of layers.
    """
    return f"merge_{_padded(layer, layers)}"


def place_of(node: str) -> Place:
    """Return the place that a node's name stands for."""
    if found := _PROPOSER.fullmatch(node):
        return Place(int(found[1]), int(found[2]))
    if found := _MERGE.fullmatch(node):
        return Place(int(found[1]))
    return Place()


def _padded(number: int, most: int) -> str:
    # LangGraph applies parallel writes in the order of the node names.
    return f"{number:0{len(str(most))}}"
