"""Self-MoA: proposers that are several samples of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_moa.members.proposer import Proposer

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPERATURES = (0.5, 0.9)
"""Default range of temperatures, around the paper's 0.7."""


def sample(
    model: Any, samples: int, *, temperatures: tuple[float, float] | None, seed: int | None, client: Mapping[str, Any]
) -> list[Proposer]:
    """Return proposers that are samples of one model, with different temperatures and seeds.

    The settings of a `Proposer` override these. A Runnable other than a chat model, and a model whose profile says that it
    takes no temperature, is repeated unchanged.

    Args:
        model: A string, a Runnable, a mapping or a `Proposer`.
        samples: The number of samples, at least 1.
        temperatures: The lowest and the highest temperature; those of the samples are spread evenly. `None` to set none.
        seed: The seed of the first sample; it is incremented for each further one. `None` to set none.
        client: Arguments for the constructor of a model that is given as a string.

    Raises:
        ValueError: `samples` or `temperatures` is invalid, or the model cannot be made.
    """
    count: Any = samples
    if not isinstance(count, int) or count < 1:
        msg = f"samples: {samples!r} is not a number of samples; give a whole number of at least 1"
        raise ValueError(msg)
    if temperatures is not None and not _is_range(temperatures):
        msg = f"temperatures: {temperatures!r} is not a range; give the lowest and the highest, such as {TEMPERATURES}"
        raise ValueError(msg)
    spec = Proposer.coerce(model)
    member = spec.resolve(client)
    takes = type(member.chat_model).model_fields if member.chat_model is not None else {}
    if (member.profile or {}).get("temperature") is False:
        takes = {}  # reasoning models reject these parameters, and their samples differ anyway
    name = spec.name or "sample"
    made = []
    for place in range(samples):
        wanted = {"temperature": _between(temperatures, place, samples), "seed": None if seed is None else seed + place}
        settings = {key: value for key, value in wanted.items() if value is not None and key in takes}
        numbered = replace(spec, name=f"{name} {place + 1}")
        if isinstance(spec.model, str):
            made.append(replace(numbered, settings={**settings, **spec.settings}))
        else:
            # Bound instead of copied, so that all samples share the object's client and connections.
            sent = {} if member.chat_model is None else member.kwargs(settings)
            made.append(replace(numbered, model=spec.model.bind(**sent) if sent else spec.model))
    return made


def without_history(model: Any) -> Any:
    """Return a proposer without `history`, for use as an aggregator, which reads the whole conversation.

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
