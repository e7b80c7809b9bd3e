"""A mixture to look at: its members have their names and are nobody, since to make the clients of models takes seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

from langchain_core.runnables import Runnable

from langchain_moa.members.proposer import Proposer
from langchain_moa.mixture.mixture import Mixture

_MEMBERS = ("proposers", "aggregator", "aggregator_fallbacks")


class _Unasked(Runnable[Any, Any]):
    """Stands for the model that a string names."""

    def __init__(self, model: str) -> None:
        self.name = model

    def invoke(self, *_: Any, **__: Any) -> NoReturn:
        msg = f"{self.name!r} stands on a sketch, and cannot be asked"
        raise NotImplementedError(msg)


def sketched(**fields: Any) -> Mixture:
    """Make a mixture that is drawn as the one of these fields, and cannot be asked.

    Nobody looks whether its models exist, or whether there are keys for them. Everything else is checked.

    Args:
        **fields: The fields of a mixture, as a file has them.

    Raises:
        ValueError: A field is wrong; the text names it and the remedy.
    """
    return Mixture(**{name: _sketched(value) if name in _MEMBERS else value for name, value in fields.items()})


def _sketched(written: Any) -> Any:
    if isinstance(written, (list, tuple)):
        return [_sketched(item) for item in written]
    try:
        member = Proposer.coerce(written)
    except ValueError:
        return written  # the mixture says what is wrong with it, and where
    return replace(member, model=_Unasked(member.model), settings={}) if isinstance(member.model, str) else member
