"""What every node of a mixture's graph needs: its name, settings, context, and a prompt that fits."""

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
from langchain_moa.data.state import MoAContext, emit, references_of
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
    """What nodes need to know of their mixture.

    Attributes:
        mixture: The mixture, for handlers that record which one a run belongs to.
        members: Its members, resolved.
        strategies: Its strategies, resolved.
        prompt: How references are shown, as the mixture's field has it.
        references_at: Where they are shown.
        blind: The numbers of the layers that do not see the layers before.
        call_kwargs: The mixture's parameters for every model call.
        max_reference_tokens: Tokens to which each reference is cut when it is shown.
        min_references: How many good references a layer needs.
        proposer_timeout: Seconds for a proposer's answer.
        deadline: Seconds for the whole answer.
        max_cost_usd: US dollars after which no further layer starts.
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
        """Values that must not appear in any text about a run of the mixture."""
        return self.mixture.secrets

    def adjusted(self, context: MoAContext) -> list[dict[str, Any]]:
        """Return which common parameters of a call were not sent to members, or not as given, once for each member.

        Args:
            context: The run's context.
        """
        if not (self.call_kwargs or context.model_kwargs):
            return []
        entries: dict[str, dict[str, Any]] = {}
        members = (*(each for layer in self.members.layers for each in layer), self.members.aggregator)
        # The layers may have the same members.
        for member in {id(member): member for member in members}.values():
            own = context.aggregator_kwargs if member is self.members.aggregator else {}
            for each in member.adjusted(member.parameters(self.call_kwargs, context.model_kwargs), own):
                named = {} if member.name == member.id else {"name": member.name}
                entry = {**named, "model": member.id, **each}
                entries.setdefault(repr(entry), entry)
        return list(entries.values())

    def member(self, model: Proposer | None) -> Member:
        """Return the member that a strategy calls; `None` is the aggregator."""
        return self.mixture.member(model)

    def place(self, member: Member) -> ReferencePlace:
        """Return where the references stand in a member's prompt."""
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
        """Return how the references are shown to a member.

        Args:
            member: Who reads them.
            layer: The layer whose proposer it is. Default: it is the aggregator, or a strategy asks it.
        """
        return resolve_prompt(
            prompt_of(self.prompt, layer),
            place=self.place(member),
            max_reference_tokens=self.max_reference_tokens,
            shows_checks=self.strategies.examine is not None,
        )


class Node(Runnable[RunState, dict[str, Any]]):
    """A node of the graph, written once: `ainvoke` does the work, and `invoke` waits for it on the portal's loop."""

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Do the work and wait for it."""
        return wait_for(self.ainvoke, input, config)


def context_of() -> MoAContext:
    """Return the run's context; the default one inside a graph of the user's, whose context is of another type."""
    context: object = get_runtime().context
    return context if isinstance(context, MoAContext) else _DEFAULT_CONTEXT


def secrets_of_call(member: Member, config: RunnableConfig | None) -> tuple[str, ...]:
    """Return the values that must not appear in any text about a call: the member's secrets, and the call's.

    The latter are keys for a configurable model, and headers of every model's call.

    Args:
        member: The member that is called.
        config: The call's config.
    """
    # The other entries are LangGraph's own.
    configured = {name: value for name, value in ((config or {}).get("configurable") or {}).items() if isinstance(value, str)}
    kwargs = context_of().model_kwargs
    return (*member.secrets, *secrets_of([configured, kwargs] if kwargs else configured))


def share_of(deadline: float, config: RunnableConfig | None, *, parts: int) -> float:
    """Return when one of several equal parts of what is left of the deadline is over, on the clock of `time.monotonic`.

    Args:
        deadline: Seconds for the whole answer.
        config: The node's config; the run knows when the answer was begun, and a run that is resumed begins anew.
        parts: How many parts what is left has.
    """
    now = monotonic()
    return now + ((progress_of(config).started or now) + deadline - now) / parts


class Shown(NamedTuple):
    """What a member is sent.

    Attributes:
        messages: The messages.
        trimmed: What had to be left out, in words; empty where everything fitted into the context window.
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
    """Return the prompt that shows a member the conversation and the references, inside its context window.

    What is left out is reported by an event and in the log; see `budget.fit` for what is left out first.

    Args:
        member: Who is asked.
        messages: The conversation as it is in the state.
        references: What it is to read, if anything.
        prompt: From these to what the member is sent.
        place: Where the references stand in its prompt.
        kwargs: What else the call sends.
        state: The graph's state, whose references are paid for.

    Raises:
        StrategyFailedError: A prompt of the user's own failed: a mistake that no other member would mend.
    """
    window = room_for_messages(member.chat_model, {**member.bound, **kwargs})

    def adapted(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
        return place.adapt(prompt(messages, references))

    # The reference code of the paper strips every answer.
    stripped: list[Reference] = [{**reference, "text": reference["text"].strip()} for reference in references]
    try:
        sent, trimmed = fit(messages, stripped, adapted, window=window)
    except PromptError as error:
        cause = error.__cause__ or error
        reason = describe(cause, member.secrets)
        msg = f"the prompt {str(error)!r} failed for {member.name}: {reason['kind']}: {reason['message']}"
        raise StrategyFailedError(msg, references=references_of(state)) from cause
    if trimmed:
        emit("trimmed", name=member.name, model=member.id, trimmed=trimmed)
        most = (member.profile or {}).get("max_input_tokens")
        told = shown_line(f"the prompt for {member.name} did not fit into {most} tokens: {'; '.join(trimmed)}")
        _logger.warning("%s", told)
    return Shown(sent, trimmed)


_PROPOSER = re.compile(r"layer_(\d+)_proposer_(\d+)")
_MERGE = re.compile(r"merge_(\d+)")


class Place(NamedTuple):
    """The place of a node in the graph.

    Attributes:
        layer: The layer, from 1; `None` behind the layers.
        proposer: The proposer's place in its layer, from 1; `None` for other nodes.
    """

    layer: int | None = None
    proposer: int | None = None


def proposer_node(layer: int, proposer: int, *, layers: int, proposers: int) -> str:
    """Return the name of a proposer's node.

    Args:
        layer: Its layer, from 1.
        proposer: Its place in the layer, from 1.
        layers: How many layers there are.
        proposers: How many proposers the layer has.
    """
    return f"layer_{_padded(layer, layers)}_proposer_{_padded(proposer, proposers)}"


def merge_node(layer: int, *, layers: int) -> str:
    """Return the name of the node that closes a layer.

    Args:
        layer: The layer, from 1.
        layers: How many layers there are.
    """
    return f"merge_{_padded(layer, layers)}"


def place_of(node: str) -> Place:
    """Return the layer and the position of the node of a name."""
    if found := _PROPOSER.fullmatch(node):
        return Place(int(found[1]), int(found[2]))
    if found := _MERGE.fullmatch(node):
        return Place(int(found[1]))
    return Place()


def _padded(number: int, most: int) -> str:
    # LangGraph applies parallel writes in the order of names.
    return f"{number:0{len(str(most))}}"
