"""Structured output: a member that can be held to a schema by its provider is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable
    from pydantic import BaseModel

    from langchain_moa.members.member import Member


def json_kwargs(member: Member, schema: type[BaseModel]) -> dict[str, Any]:
    """Return the keyword arguments of a call whose text is to be JSON of a schema.

    They are those that the model's own `with_structured_output` binds. The parser that comes with it is left out: the text
    is read as strictly as one by a model that was asked in words alone.

    Args:
        member: Who is called.
        schema: The schema.

    Returns:
        The arguments; none where the model's profile does not say that it has structured output.
    """
    model = _model_of(member.runnable)
    if model is None or not (model.profile or {}).get("structured_output"):
        return {}
    try:
        # As a plain schema: with the class, some clients validate the text themselves, and raise what could be put right.
        bound: Any = model.with_structured_output(schema.model_json_schema(), method="json_schema")
    except Exception:  # noqa: BLE001  # whatever a provider has against the schema or the method: words will do
        return {}
    first = bound.first if isinstance(bound, RunnableSequence) else bound
    if not isinstance(first, RunnableBinding) or first.bound is not model or "tools" in first.kwargs:
        return {}  # a call of a tool has no text
    return dict(first.kwargs)


def _model_of(runnable: Runnable[Any, Any]) -> BaseChatModel | None:
    """Return the one chat model that is called; `None` where it may be another's turn, which would not know the arguments."""
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    return runnable if isinstance(runnable, BaseChatModel) else None
