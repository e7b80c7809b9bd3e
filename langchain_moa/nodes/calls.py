"""What every node needs around a call: the run's context, its name in traces, and events on the custom stream."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from langgraph.runtime import get_runtime

from langchain_moa.cleanser import Cleanser, in_front
from langchain_moa.errors import StrategyFailedError
from langchain_moa.prompting.budget import fit
from langchain_moa.prompting.own import PromptError
from langchain_moa.prompting.window import room_for_messages
from langchain_moa.secrets import describe, is_secret_name, secrets_of
from langchain_moa.state import MoAContext, references_of
from langchain_moa.watcher import watchers_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.prompting.prompts import Prompt
    from langchain_moa.reference import Reference
    from langchain_moa.state import RunState

_logger = logging.getLogger("langchain_moa")

_NOTHING_BROUGHT = MoAContext()


def context_of() -> MoAContext:
    """Return the run's context; the default one inside a graph of the user's, whose context is of another type."""
    context: object = get_runtime().context
    return context if isinstance(context, MoAContext) else _NOTHING_BROUGHT


def called(config: RunnableConfig | None, name: str, member: Member) -> RunnableConfig:
    """Return the config for a call, named for traces.

    Args:
        config: The node's config.
        name: The name.
        member: Who is called, so that watchers know, and no tracer sees its keys in an error of its server.
    """
    named: RunnableConfig = {**(config or {}), "run_name": name}
    for watcher in watchers_of(config):
        named["callbacks"] = in_front(watcher.watch_call(named, name, member), named.get("callbacks"))
    brought = _keys_of_call(named)
    cleanser = Cleanser([*member.secrets, *brought]) if brought else member.cleanser
    named["callbacks"] = in_front(cleanser, named.get("callbacks"))
    return named


def _keys_of_call(config: RunnableConfig) -> list[str]:
    """Return the keys that a call brings along: for a configurable model, or as headers of every model's call."""
    configured = (config.get("configurable") or {}).items()
    # What else stands there is LangGraph's own.
    keys = [value for name, value in configured if isinstance(value, str) and is_secret_name(name)]
    kwargs = context_of().model_kwargs
    return [*keys, *(secrets_of(kwargs) if kwargs else ())]


def introduce(config: RunnableConfig | None, mixture: Mixture) -> None:
    """Tell those who watch a run which mixture it is."""
    if config is not None:
        for watcher in watchers_of(config):
            watcher.watch_mixture(config, mixture)


def share_of(deadline: float, state: RunState, *, parts: int) -> float:
    """Return when one of so many equal parts of what is left of the deadline is over, on the clock of `time.monotonic`.

    Args:
        deadline: Seconds for the whole answer.
        state: The graph's state, which says when the answer was begun; a run that is resumed begins anew.
        parts: How many parts what is left has.
    """
    now = monotonic()
    return now + ((state.get("started") or now) + deadline - now) / parts


def emit(event: str, **data: Any) -> None:
    """Write an event to the graph's `custom` stream: a dict whose `moa` key names it."""
    get_runtime().stream_writer({"moa": event, **data})


class Shown(NamedTuple):
    """What a member is sent.

    Attributes:
        messages: The messages.
        trimmed: What had to be left out, in words; none where everything fitted into the context window.
    """

    messages: list[BaseMessage]
    trimmed: list[str]


def shown(
    member: Member,
    messages: list[BaseMessage],
    references: Sequence[Reference],
    prompt: Prompt,
    *,
    kwargs: Mapping[str, Any],
    state: RunState,
) -> Shown:
    """Return the prompt that shows a member the conversation and the references, inside its context window.

    What had to be left out is told by an event and in the log; see `budget.fit` for what goes first.

    Args:
        member: Who is asked.
        messages: The conversation as it is in the state: what belongs together is seen there.
        references: What it is to read, if anything.
        prompt: From these to what the member is sent.
        kwargs: What else the call sends.
        state: The graph's state, whose references are paid for.

    Raises:
        StrategyFailedError: A prompt of the user's own failed: a mistake that no other member would mend.
    """
    window = room_for_messages(member.chat_model, {**member.bound, **kwargs})
    try:
        sent, trimmed = fit(messages, references, prompt, window=window)
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
