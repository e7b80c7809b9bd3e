"""What every node of a mixture's graph needs: its name, settings, context, a prompt that fits, a traced call, watchers."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.runtime import get_runtime

from langchain_moa.data.errors import OutOfTimeError, StrategyFailedError
from langchain_moa.data.redaction import describe, secrets_of
from langchain_moa.data.state import MoAContext, emit, references_of
from langchain_moa.engine.progress import RunState, progress_of
from langchain_moa.limits.deadline import Limit, call_within
from langchain_moa.limits.portal import wait_for
from langchain_moa.prompting.budget import fit, room_for_messages
from langchain_moa.prompting.place import ReferencePlace
from langchain_moa.prompting.prompts import PlacedPrompt, Prompt, PromptError, is_blind, prompt_of, resolve_prompt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.members.member import Member
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.mixture.lineup import Members
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.prompting.place import ReferencesAt

T = TypeVar("T")

_logger = logging.getLogger("langchain_moa")

_DEFAULT_CONTEXT = MoAContext()


@dataclass(frozen=True)
class NodeSettings:
    """What nodes need to know of their mixture.

    Attributes:
        mixture: The mixture, for handlers that record which one a run belongs to.
        members: Its members, resolved.
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
        """Values that no text about a run of the mixture may show."""
        return self.mixture.secrets

    def adjusted(self, context: MoAContext) -> list[dict[str, Any]]:
        """Return which common parameters of a call members were not sent, or not as they were given; each member stands once.

        Args:
            context: The run's context.
        """
        entries: dict[str, dict[str, Any]] = {}
        members = (*(each for layer in self.members.layers for each in layer), self.members.aggregator)
        for member in members:
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
            layer: The layer of proposers that it stands in. Default: it is the aggregator, or a strategy asks it.
        """
        return resolve_prompt(
            prompt_of(self.prompt, layer),
            place=self.place(member),
            max_reference_tokens=self.max_reference_tokens,
            shows_checks=hasattr(self.mixture.strategies.aggregation, "examine"),
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


def called(config: RunnableConfig | None, name: str, member: Member) -> RunnableConfig:
    """Return the config for a call, named for traces.

    Args:
        config: The node's config.
        name: The name.
        member: Who is called, so that watchers know.
    """
    named: RunnableConfig = {**(config or {}), "run_name": name}
    for watcher in watchers_of(config):
        named["callbacks"] = _with_handler(watcher.watch_call(named, name, member), named.get("callbacks"))
    return named


def secrets_of_call(member: Member, config: RunnableConfig | None) -> tuple[str, ...]:
    """Return the values that no text about a call may show: the member's secrets, and those that come with the call.

    The latter are keys for a configurable model, and headers of every model's call.

    Args:
        member: The member that is called.
        config: The call's config.
    """
    # The other entries are LangGraph's own.
    configured = {name: value for name, value in ((config or {}).get("configurable") or {}).items() if isinstance(value, str)}
    kwargs = context_of().model_kwargs
    return (*member.secrets, *secrets_of([configured, kwargs] if kwargs else configured))


def handlers_of(callbacks: Any) -> list[BaseCallbackHandler]:
    """Return the handlers of a config's callbacks."""
    return list(callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ())


def _with_handler(handler: BaseCallbackHandler, callbacks: Any) -> Any:
    """Return a config's callbacks and one handler more; the config's own are not changed."""
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        manager.add_handler(handler)
        return manager
    return [handler, *(callbacks or ())]


def introduce(config: RunnableConfig | None, settings: NodeSettings) -> None:
    """Tell the handlers that record a run which mixture it belongs to."""
    if config is not None:
        for watcher in watchers_of(config):
            watcher.watch_mixture(config, settings.mixture)


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

    What had to be left out is told by an event and in the log; see `budget.fit` for what is left out first.

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
        _logger.warning("the prompt for %s did not fit into %s tokens: %s", member.name, most, "; ".join(trimmed))
    return Shown(sent, trimmed)


class OpenRuns(BaseCallbackHandler):
    """Knows which runs of models have begun and not ended.

    LangChain tells no handler of a model's run that is cancelled: a tracer would show it as running for ever.
    """

    run_inline = True
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    def __init__(self) -> None:
        """Start with none."""
        self._runs: dict[UUID, UUID | None] = {}

    def on_chat_model_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Take a chat model's run down."""
        self._runs[run_id] = parent_run_id

    def on_llm_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Take another model's run down."""
        self._runs[run_id] = parent_run_id

    def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Strike a run that has ended."""
        self._runs.pop(run_id, None)

    def on_llm_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Strike a run that has failed."""
        self._runs.pop(run_id, None)

    async def aend(self, callbacks: Any, error: Exception) -> None:
        """Tell the callbacks that the runs still going have failed.

        Args:
            callbacks: Those of the call's config.
            error: Why.
        """
        handlers = handlers_of(callbacks)
        while self._runs:
            run_id, parent = self._runs.popitem()
            run = AsyncCallbackManagerForLLMRun(run_id=run_id, handlers=handlers, inheritable_handlers=[], parent_run_id=parent)
            await run.on_llm_error(error)


async def call_traced(limit: Limit | None, config: RunnableConfig, call: Callable[[RunnableConfig], Awaitable[T]]) -> T:
    """Call within a limit, and end the call in traces if it is given up.

    Args:
        limit: Until when; `None`: as long as it takes.
        config: The call's config.
        call: What to do with it.

    Raises:
        OutOfTimeError: The time was over before the call was.
    """
    if limit is None:
        return await call(config)
    callbacks = config.get("callbacks")
    if not handlers_of(callbacks):
        # No handler traces.
        return await call_within(limit, lambda: call(config))
    unfinished = OpenRuns()
    watched: RunnableConfig = {**config, "callbacks": _with_handler(unfinished, callbacks)}
    try:
        return await call_within(limit, lambda: call(watched))
    except OutOfTimeError as error:
        await unfinished.aend(callbacks, error)
        raise


class RunWatcher(BaseCallbackHandler):
    """A handler that sees more of a mixture than the runs of models in it: which call is whose.

    Nothing in a model's run says which member of which mixture was asked, or which runs are attempts at the same call; the
    nodes know. A `ChatMoA` hands its watchers on to the run inside.
    """

    @abstractmethod
    def watch_mixture(self, config: RunnableConfig, mixture: Mixture) -> None:
        """Be told which mixture a node belongs to.

        Args:
            config: The node's config.
            mixture: The mixture.
        """

    @abstractmethod
    def watch_call(self, config: RunnableConfig, name: str, member: Member) -> BaseCallbackHandler:
        """Be told that a node is about to call a member.

        Args:
            config: The node's config.
            name: What the call is named in traces.
            member: Who is called.

        Returns:
            A handler for this call alone; the runs that it sees below the node's are the attempts.
        """


def watchers_of(config: RunnableConfig | None) -> list[RunWatcher]:
    """Return the watchers of the run that a node's config belongs to."""
    return [handler for handler in handlers_of((config or {}).get("callbacks")) if isinstance(handler, RunWatcher)]


_PROPOSER = re.compile(r"layer_(\d+)_proposer_(\d+)")
_MERGE = re.compile(r"merge_(\d+)")


class Place(NamedTuple):
    """Where a node stands.

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
    """Return where the node of a name stands."""
    if found := _PROPOSER.fullmatch(node):
        return Place(int(found[1]), int(found[2]))
    if found := _MERGE.fullmatch(node):
        return Place(int(found[1]))
    return Place()


def _padded(number: int, most: int) -> str:
    # LangGraph applies parallel writes in the order of names.
    return f"{number:0{len(str(most))}}"
