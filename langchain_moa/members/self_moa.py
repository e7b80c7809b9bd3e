"""Self-MoA: samples of one model in place of many models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_moa.members.proposer import Proposer

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPERATURES = (0.5, 0.9)
"""Around the paper's 0.7."""


def sample(
    model: Any, samples: int, *, temperatures: tuple[float, float] | None, seed: int | None, client: Mapping[str, Any]
) -> list[Proposer]:
    """Return proposers that are samples of one model, each with its own temperature and seed where the model has such.

    The settings of a `Proposer` override them. A Runnable that is no chat model, and a model whose profile says that it
    takes no temperature, is repeated as it is.

    Args:
        model: A string, a Runnable, a mapping or a `Proposer`.
        samples: How many, at least 1.
        temperatures: The lowest and the highest, the others evenly between. `None` leaves them alone.
        seed: The first one's, counted up for the others. `None` leaves them alone.
        client: Arguments for the constructor of a model that is given as a string.

    Raises:
        ValueError: `samples` or the temperatures are wrong, or the model cannot be made.
    """
    count: Any = samples
    if not isinstance(count, int) or count < 1:
        msg = f"samples: {samples!r} is no number of samples; give a whole number of at least 1"
        raise ValueError(msg)
    if temperatures is not None and not _is_range(temperatures):
        msg = f"temperatures: {temperatures!r} is no range; give the lowest and the highest, such as {TEMPERATURES}"
        raise ValueError(msg)
    spec = Proposer.coerce(model)
    member = spec.resolve(client)
    takes = type(member.chat_model).model_fields if member.chat_model is not None else {}
    if (member.profile or {}).get("temperature") is False:
        takes = {}  # a reasoning model: it refuses such parameters, and its samples differ by themselves
    name = spec.name or "sample"
    made = []
    for place in range(samples):
        wanted = {"temperature": _between(temperatures, place, samples), "seed": None if seed is None else seed + place}
        settings = {key: value for key, value in wanted.items() if value is not None and key in takes}
        numbered = replace(spec, name=f"{name} {place + 1}")
        if isinstance(spec.model, str):
            made.append(replace(numbered, settings={**settings, **spec.settings}))
        else:
            # Bound, not copied: all samples share the object's client and connections.
            sent = {} if member.chat_model is None else member.kwargs(settings)
            made.append(replace(numbered, model=spec.model.bind(**sent) if sent else spec.model))
    return made


def without_history(model: Any) -> Any:
    """Return a proposer as an aggregator, which is shown all of the conversation.

    Args:
        model: A string, a Runnable, a mapping or a `Proposer`.
    """
    spec = Proposer.coerce(model)
    if all(each.history is None for each in (spec, *spec.fallbacks)):
        return model
    return replace(spec, history=None, fallbacks=[replace(each, history=None) for each in spec.fallbacks])


def _is_range(value: Any) -> bool:
    if not isinstance(value, Sequence) or len(value) != len(TEMPERATURES):
        return False
    return all(isinstance(each, (int, float)) for each in value) and 0 <= value[0] <= value[1]


def _between(temperatures: tuple[float, float] | None, place: int, samples: int) -> float | None:
    if temperatures is None:
        return None
    low, high = temperatures
    share = place / (samples - 1) if samples > 1 else 0.5
    return round(low + share * (high - low), 4)
