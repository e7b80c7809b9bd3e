"""The retries of a member: the policy that goes for it, and what its own client does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.retry import RunnableRetry

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
    if model is not None and model._llm_type == "moa":  # noqa: SLF001  # how a chat model says what it is
        # The members of a mixture have policies of their own; all of them are asked again only where that is wanted.
        return own
    if not retries_itself(runnable):
        return own or (None if model is None else shared)
    if own is not None:
        msg = "retry is given for a model that tries again by itself; make the model with max_retries=0, or leave retry out"
        raise ValueError(msg)
    return None


def without_retries(model: BaseChatModel) -> dict[str, Any]:
    """Return the settings with which a model of this class does not try again by itself; none if it never does."""
    return {"max_retries": _no_retries(model)} if "max_retries" in type(model).model_fields else {}


def retries_itself(runnable: Runnable[Any, Any]) -> bool:
    """Tell whether a member, or the client of its model, may try again without anybody seeing it."""
    model = chat_model_of(runnable)
    while isinstance(runnable, RunnableBindingBase):
        if isinstance(runnable, RunnableRetry):
            return True
        runnable = runnable.bound
    if model is None or "max_retries" not in type(model).model_fields:
        return False
    retries = getattr(model, "max_retries", None)
    # None leaves it to the client, and every client that has the setting tries again by default.
    return retries is None or retries > _no_retries(model)


def _no_retries(model: BaseChatModel) -> int:
    # Google's models count attempts under that name, and take 0 for "as many as you like".
    return 1 if type(model).__module__.startswith("langchain_google") else 0
