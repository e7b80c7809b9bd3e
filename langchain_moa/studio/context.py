"""The context of a served mixture: the fields that an assistant or a run may set."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
)

from langchain_moa.data.redaction import names_secret
from langchain_moa.data.validation import explain
from langchain_moa.strategies.registry import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

# Limits for clients, because the server builds a node for each proposer of each layer.
_MOST_LAYERS = 10
_MOST_PROPOSERS = 32


class MemberContext(BaseModel):
    """A proposer or an aggregator in a context, if a string is not enough.

    It has no `settings`, because the server would send its key to a base URL in them.

    Attributes:
        model: The name of a member of the configured mixture, or a model as `provider:model`.
        name: The name in drawings, events and reports. Default: the member's own name, or the model.
        system_prompt: The system prompt. Default: the member's own.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: Annotated[str, Field(min_length=1)]
    name: str | None = None
    system_prompt: str | None = None


def _unset(value: Any) -> Any:
    """Treat a cleared field of a form as unset."""
    return None if value in ("", []) else value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        msg = f"{str(value).lower()} is not a number; give a number, or leave the field out"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's name
    return _unset(value)


def _member(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


def _shape(value: Any) -> str:
    return "layers" if isinstance(value, list) and value and isinstance(value[0], list) else "list"


_Cleared = BeforeValidator(_unset)
_Number = BeforeValidator(_number)
_Member = Annotated[MemberContext, BeforeValidator(_member)]
_Layer = Annotated[list[_Member], Field(min_length=1, max_length=_MOST_PROPOSERS)]
_Layers = Annotated[list[_Layer], Field(min_length=1, max_length=_MOST_LAYERS)]
_Proposers = Annotated[Annotated[_Layer, Tag("list")] | Annotated[_Layers, Tag("layers")], Discriminator(_shape)]
# Studio's forms support only plain types; code may use the other notations.
_LIST = WithJsonSchema({"type": "array", "items": {"type": "string"}})
_TEXT = WithJsonSchema({"type": "string"})
_NUMBER = WithJsonSchema({"type": "number", "minimum": 0})
_PROMPT = {"langgraph_type": "prompt"}

NONE = "none"
"""The value for no filters, or for no stop condition, if the configured mixture has some."""


def _known(package: str, *others: str) -> tuple[str, ...]:
    return (*others, *names(f"langchain_moa.{package}"))


def _one_of(package: str, *others: str) -> AfterValidator:
    """Return a validator for the name of a strategy.

    Arguments are not allowed, because they may name models, and functions that the server would import.
    """
    known = _known(package, *others)

    def check(value: str | None) -> str | None:
        if value is None or value in known:
            return value
        msg = f"unknown name {value!r}; choose one of: {', '.join(known)}"
        raise ValueError(msg)

    return AfterValidator(check)


def _choice(package: str, *others: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(_known(package, *others))}


_Aggregation = Annotated[str | None, _one_of("aggregation"), _Cleared, WithJsonSchema(_choice("aggregation"))]
_Stop = Annotated[str | None, _one_of("stopping", NONE), _Cleared, WithJsonSchema(_choice("stopping", NONE))]
_Filters = Annotated[
    list[Annotated[str, _one_of("filters", NONE)]] | None,
    _Cleared,
    WithJsonSchema({"type": "array", "items": _choice("filters", NONE)}),
]


class MixtureContext(BaseModel):
    """The mixture of an assistant, or of one run. The server's configuration has the default of each field.

    Attributes:
        proposers: The proposers of every layer: names of the configured mixture's members, models as `provider:model`, or
            mappings with `model`, `name` and `system_prompt`. A list of lists sets each layer separately.
        aggregator: The aggregator, in the same notations.
        num_layers: The number of layers of proposers, without the aggregator.
        prompt: The prompt for references: `paper`, `hardened`, or your own instruction.
        proposer_system_prompt: The system prompt of every proposer; it overrides the proposers' own.
        aggregator_system_prompt: The system prompt of the aggregator; it overrides the aggregator's own.
        aggregation: The name of the aggregation strategy.
        reference_filters: The names of the reference filters, or `none`.
        stop_when: The name of the stop condition, or `none`.
        quorum: The number of good answers, or the share of proposers, after which a layer ends early.
        deadline: The time limit of the whole answer, in seconds.
        temperature: The temperature of every call.
        max_tokens: The limit of output tokens of every call.
    """

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    proposers: Annotated[_Proposers | None, _Cleared, _LIST] = Field(
        default=None,
        description="Who proposes: names of the configured mixture's members, or models as provider:model. "
        "In JSON also {model, name, system_prompt}, and a list of lists for different layers.",
    )
    aggregator: Annotated[_Member | None, _Cleared, _TEXT] = Field(
        default=None,
        title="Aggregator",
        description="Who writes the answer: the name of a member, or a model as provider:model.",
    )
    num_layers: Annotated[int | None, _Number, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": _MOST_LAYERS})] = (
        Field(default=None, ge=1, le=_MOST_LAYERS, description="Layers of proposers; the aggregator is extra.")
    )
    prompt: Annotated[str | None, _Cleared, _TEXT] = Field(
        default=None,
        description="How references are shown: paper, hardened, or an instruction in your own words.",
        json_schema_extra={**_PROMPT},
    )
    proposer_system_prompt: Annotated[str | None, _Cleared, _TEXT] = Field(
        default=None, description="A role for every proposer; it overrides the proposer's own.", json_schema_extra={**_PROMPT}
    )
    aggregator_system_prompt: Annotated[str | None, _Cleared, _TEXT] = Field(
        default=None, description="A role for the aggregator; it overrides the aggregator's own.", json_schema_extra={**_PROMPT}
    )
    aggregation: _Aggregation = Field(default=None, description="How the answer is made of the references.")
    reference_filters: _Filters = Field(default=None, description="Which references are passed on; none: all of them.")
    stop_when: _Stop = Field(default=None, description="When no further layer is asked; none: never.")
    quorum: Annotated[int | float | None, _Number, _NUMBER] = Field(
        default=None, gt=0, description="How many good answers close a layer early: a number, or a share such as 0.75."
    )
    deadline: Annotated[float | None, _Number, _NUMBER] = Field(default=None, gt=0, description="Seconds for the whole answer.")
    temperature: Annotated[float | None, _Number, _NUMBER] = Field(default=None, ge=0, description="For every call.")
    max_tokens: Annotated[int | None, _Number, WithJsonSchema({"type": "integer", "minimum": 1})] = Field(
        default=None, ge=1, description="The longest answer of every call, in tokens; a model's thoughts count."
    )

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Validate the context that a server passes to a graph factory.

        Args:
            given: The context, or the `configurable` part of a config. Other entries of that are ignored.

        Raises:
            ValueError: A field is invalid, misspelled, or has a key. The message names the field.
        """
        for name in given:
            if name not in cls.model_fields and (close := get_close_matches(name, cls.model_fields, n=1, cutoff=0.8)):
                msg = f"context: unknown field {name!r}; did you mean {close[0]!r}?"
                raise ValueError(msg)
        own = {name: value for name, value in given.items() if name in cls.model_fields}
        if (secret := names_secret(own)) is not None:
            raise ValueError(_no_secrets(secret))
        try:
            return cls(**own)
        except ValidationError as error:
            msg = f"context: {explain(error)}"
            raise ValueError(msg) from None

    @property
    def set_fields(self) -> dict[str, Any]:
        """The fields that are set, as JSON-like data."""
        return self.model_dump(exclude_none=True)

    @property
    def key(self) -> str:
        """A key that identifies the mixture of this context."""
        return json.dumps(self.set_fields, sort_keys=True)


def refuse_secrets(given: Mapping[str, Any]) -> None:
    """Check that a context has no key at any depth: the server stores contexts and shows them to its users.

    Args:
        given: The context that the client sent.

    Raises:
        ValueError: The context has a key. The message names the field.
    """
    # A `configurable` also has entries of the server, which clients cannot set.
    of_client = {name: value for name, value in given.items() if not name.startswith(("__", "langgraph_"))}
    if (secret := names_secret(of_client)) is not None:
        raise ValueError(_no_secrets(secret))


def _no_secrets(name: str) -> str:
    return (
        f"context: {name!r} has a key. Contexts must not have keys, because the server stores them with its assistants and "
        "runs. Remove it, and set the provider's environment variable on the server"
    )


def context_schema(defaults: Mapping[str, Any], nodes: Mapping[str, list[str]]) -> type[MixtureContext]:
    """Return the schema of Studio's form, with the configured defaults and the nodes that each field affects.

    Args:
        defaults: The default of each field.
        nodes: The nodes that each field affects.
    """

    class Context(MixtureContext):
        @classmethod
        def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
            schema = handler(core_schema)
            form = handler.resolve_ref_schema(schema)
            form["description"] = form["description"].partition("\n")[0]
            for name, field in form["properties"].items():
                field.pop("default", None)
                if defaults.get(name) is not None:
                    field["default"] = defaults[name]
                field["langgraph_nodes"] = nodes[name]
            return schema

    Context.__name__ = Context.__qualname__ = MixtureContext.__name__
    Context.__doc__ = MixtureContext.__doc__
    return Context
