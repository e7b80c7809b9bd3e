"""The retries of a member: the policy that goes for it, and what its own client does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables.retry import RunnableRetry

from langchain_moa.inside import parts_of
from langchain_moa.members.member import Member
from langchain_moa.members.models import chat_model_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

    from langchain_moa.resilience.retry import Retry


def policy_for(runnable: Runnable[Any, Any], *, own: Retry | None, shared: Retry | None) -> Retry | None:
    """Return the policy for a member that was given as an object.

    Args:
        runnable: The member.
        own: The policy of its `Proposer`.
        shared: The policy of the mixture.

    Raises:
        ValueError: It has a policy of its own, and tries again by itself.
    """
    model = chat_model_of(runnable)
    if not retries_itself(runnable):
        # An agent may have done half its work, and the members of a mixture have policies of their own; all of them are asked
        # again only where that is wanted.
        return own or (None if model is None or _is_mixture(model) else shared)
    if own is not None:
        msg = (
            "retry is given for a model that tries again by itself; make the model, and every model inside a chain, a fallback "
            "or an agent, with max_retries=0 and without with_retry(), or leave retry out"
        )
        raise ValueError(msg)
    return None


def without_retries(model: BaseChatModel) -> dict[str, Any]:
    """Return the settings with which a model of this class does not try again by itself; none if it never does."""
    return {"max_retries": _no_retries(model)} if "max_retries" in type(model).model_fields else {}


def retries_itself(runnable: Runnable[Any, Any]) -> bool:
    """Tell whether a member, or the client of any model inside it, may try again without anybody seeing it."""
    from langchain_moa.members.proposer import Proposer  # which asks this module

    # The members of a mixture inside it go by the policies of that mixture.
    parts = parts_of(runnable, enters=lambda part: not isinstance(part, (Member, Proposer)))
    return any(_repeats(part) for _, part in parts)


def _repeats(part: Any) -> bool:
    if isinstance(part, RunnableRetry):
        return True
    if isinstance(part, BaseLanguageModel):
        has_setting = "max_retries" in type(part).model_fields and not _is_mixture(part)
        retries, none = getattr(part, "max_retries", None), _no_retries(part)
    else:
        # What `init_chat_model` returns where the model is chosen by the call; it is made when it is called.
        settings = getattr(part, "_default_config", None)
        has_setting = isinstance(settings, dict)
        retries, none = settings.get("max_retries") if isinstance(settings, dict) else None, 0
    # None leaves it to the client, and every client that has the setting tries again by default.
    return has_setting and (retries is None or retries > none)


def _is_mixture(model: BaseLanguageModel[Any]) -> bool:
    return getattr(model, "_llm_type", None) == "moa"  # how a model says what it is


def _no_retries(model: BaseLanguageModel[Any]) -> int:
    # Google's models count attempts under that name, and take 0 for "as many as you like".
    return 1 if type(model).__module__.startswith("langchain_google") else 0
