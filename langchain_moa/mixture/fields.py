"""The fields of a mixture. Each is declared once, with what it affects; all lists of fields are derived from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from enum import Flag, auto
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import Runnable
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, SecretStr, field_validator, model_validator

from langchain_moa.data.validation import each
from langchain_moa.limits.retry import Retry
from langchain_moa.members.proposer import Proposer
from langchain_moa.prompting.place import ReferencesAt
from langchain_moa.prompting.prompts import Prompt, require_prompts
from langchain_moa.strategies.resolved import resolve_aggregation, resolve_filters, resolve_stop

MemberLike = str | Runnable[Any, Any] | Mapping[str, Any] | Proposer
"""Any form in which you can give a proposer or an aggregator."""


def coerce_proposers(value: Any) -> tuple[Proposer | tuple[Proposer, ...], ...]:
    """Coerce `proposers`: one list that every layer uses, or a list for each layer."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        msg = f"give a list of proposers, or a list of lists with one for each layer, not {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's name
    if not value:
        msg = "there are no proposers; give at least one"
        raise ValueError(msg)
    nested = [isinstance(item, Sequence) and not isinstance(item, str) for item in value]
    if all(nested):
        for number, layer in enumerate(value, start=1):
            if not layer:
                msg = f"layer {number} has no proposers; give at least one, or leave the layer out"
                raise ValueError(msg)
        return tuple(each(layer, Proposer.coerce, place=f"layer {number}, ") for number, layer in enumerate(value, start=1))
    if any(nested):
        msg = f"item {nested.index(True) + 1} is a list, other items are not; give one list for all layers, or a list for each"
        raise ValueError(msg)
    return each(value, Proposer.coerce)


def coerce_aggregator(value: Any) -> Proposer | None:
    """Coerce `aggregator`, which is optional."""
    return None if value is None else Proposer.coerce(value)


class Use(Flag):
    """What a field of a mixture affects.

    Attributes:
        ANSWER: The content of the answers, not only which models answer or how they are called. The field is part of the key
            under which an evaluation stores a call.
        CALL: The field is a keyword argument of every model call.
        CLIENT: The field is a constructor argument of models that are given as strings.
        SHARED: The Self-MoA baseline copies the field from the mixture that it is compared with.
        STUDIO: Assistants in LangGraph Studio can set the field.
        RESOLVED: Descriptions show the members or strategies that the field resolves to, not its value.
    """

    ANSWER = auto()
    CALL = auto()
    CLIENT = auto()
    SHARED = auto()
    STUDIO = auto()
    RESOLVED = auto()


def _coerce_fallbacks(value: Any) -> tuple[Proposer, ...]:
    # A single fallback can be given without a list.
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return each(items, Proposer.coerce)


def _secret(value: str | SecretStr | None) -> SecretStr | None:
    return SecretStr(value) if isinstance(value, str) else value


_SAMPLING = Use.ANSWER | Use.CALL | Use.SHARED


# pydantic converts `true` to 1, so `quorum: true` would close a layer after one answer.
_NUMBERS = (
    *("num_layers", "max_reference_tokens", "min_references", "proposer_timeout", "deadline", "quorum", "quorum_grace"),
    *("temperature", "max_tokens", "max_concurrency", "max_cost_usd", "timeout", "max_retries"),
)


class MixtureFields(BaseModel):
    """The fields of a mixture and their checks; see `Mixture` for what they mean."""

    # Values are hidden in errors, as they may be secrets in the wrong field.
    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, protected_namespaces=())

    proposers: Annotated[
        Sequence[MemberLike | Sequence[MemberLike]],
        PlainValidator(coerce_proposers),
        Use.RESOLVED | Use.STUDIO,
    ]
    aggregator: Annotated[MemberLike | None, PlainValidator(coerce_aggregator), Use.RESOLVED | Use.STUDIO] = None
    num_layers: Annotated[int, Use.STUDIO] = 2
    prompt: Annotated[str | Callable[..., Any] | Mapping[int | str, Any], Use.ANSWER | Use.SHARED | Use.STUDIO] = "paper"
    references_at: Annotated[ReferencesAt, Use.ANSWER | Use.SHARED] = "system"
    max_reference_tokens: Annotated[int | None, Field(ge=16), Use.ANSWER | Use.SHARED] = None
    min_references: Annotated[int, Field(ge=1), Use.ANSWER] = 1
    aggregation: Annotated[Any, PlainValidator(resolve_aggregation), Use.ANSWER | Use.RESOLVED | Use.STUDIO] = "synthesize"
    reference_filters: Annotated[Sequence[Any], PlainValidator(resolve_filters), Use.ANSWER | Use.RESOLVED | Use.STUDIO] = ()
    stop_when: Annotated[Any, PlainValidator(resolve_stop), Use.ANSWER | Use.RESOLVED | Use.STUDIO] = None
    aggregator_fallbacks: Annotated[Sequence[Any], PlainValidator(_coerce_fallbacks), Use.RESOLVED] = ()
    retry: Annotated[Retry | Mapping[str, Any] | None, PlainValidator(Retry.coerce), Use.SHARED] = None
    proposer_timeout: Annotated[float | None, Field(gt=0, allow_inf_nan=False), Use(0)] = 600.0
    deadline: Annotated[float | None, Field(gt=0, allow_inf_nan=False), Use.STUDIO] = None
    quorum: Annotated[int | float | None, Use.ANSWER | Use.STUDIO] = None
    quorum_grace: Annotated[float, Field(ge=0, allow_inf_nan=False), Use.ANSWER] = 1.0
    temperature: Annotated[float | None, Field(ge=0), _SAMPLING | Use.STUDIO] = None
    max_tokens: Annotated[int | None, Field(ge=1), _SAMPLING | Use.STUDIO] = None
    stop: Annotated[list[str] | None, _SAMPLING] = None
    max_concurrency: Annotated[int | None, Field(ge=1), Use(0)] = None
    max_cost_usd: Annotated[float | None, Field(gt=0, allow_inf_nan=False), Use(0)] = None
    timeout: Annotated[float | None, Field(gt=0), Use.CLIENT | Use.SHARED] = None
    max_retries: Annotated[int | None, Field(ge=0), Use.CLIENT | Use.SHARED] = None
    # The type is that of the argument; the value is a SecretStr.
    api_key: Annotated[str | SecretStr | None, AfterValidator(_secret), Use.CLIENT | Use.SHARED | Use.RESOLVED] = Field(
        default=None, exclude=True, repr=False
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name in values:
                if name not in cls.model_fields:
                    close = get_close_matches(str(name), cls.model_fields, n=1)
                    remedy = (
                        f"did you mean {close[0]!r}?" if close else f"choose one of: {', '.join(MixtureFields.model_fields)}"
                    )
                    msg = f"unknown field {name!r}; {remedy}"
                    raise ValueError(msg)
        return values

    @field_validator(*_NUMBERS, mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            msg = f"{str(value).lower()} is not a number; give a number, or leave the field out"
            raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's name
        return value

    @field_validator("num_layers")
    @classmethod
    def _at_least_one_layer(cls, value: int) -> int:
        if value < 1:
            msg = f"{value} is too small; give at least 1 layer of proposers, not counting the aggregator"
            raise ValueError(msg)
        return value

    @field_validator("prompt")
    @classmethod
    def _known_prompt(cls, value: str | Prompt | Mapping[int | str, Any]) -> str | Prompt | Mapping[int | str, Any]:
        require_prompts(value)
        return value


def fields_for(use: Use) -> tuple[str, ...]:
    """Return the names of the fields with a use, in the order in which they are declared."""
    return tuple(name for name, field in MixtureFields.model_fields.items() if use in _use_of(field.metadata))


def _use_of(metadata: Sequence[Any]) -> Use:
    return next((each for each in metadata if isinstance(each, Use)), Use(0))


class MixtureOptions(TypedDict, total=False):
    """The fields of `Mixture` except `proposers` and `aggregator`; see `Mixture` for what they mean."""

    num_layers: int
    prompt: str | Callable[..., Any] | Mapping[int | str, Any]
    references_at: ReferencesAt
    max_reference_tokens: int | None
    min_references: int
    aggregation: Any
    reference_filters: Sequence[Any]
    stop_when: Any
    aggregator_fallbacks: Sequence[Any]
    retry: Retry | Mapping[str, Any] | None
    proposer_timeout: float | None
    deadline: float | None
    quorum: int | float | None
    quorum_grace: float
    temperature: float | None
    max_tokens: int | None
    stop: list[str] | None
    max_concurrency: int | None
    max_cost_usd: float | None
    timeout: float | None
    max_retries: int | None
    api_key: str | SecretStr | None
