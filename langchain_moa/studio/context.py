"""The fields of a served mixture that an assistant or a run may set."""

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

# What clients ask for is built on the server: each proposer of each layer is a node.
_MOST_LAYERS = 10
_MOST_PROPOSERS = 32


class MemberContext(BaseModel):
    """A proposer or an aggregator in a context, where a name alone does not say enough.

    There are no `settings` here: an address in them would have the server's key sent there.

    Attributes:
        model: A member of the configured mixture, by its name, or a model as `provider:model`.
        name: What drawings, events and reports call it. Default: the member's own name, or the model.
        system_prompt: Its role. Default: the member's own.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: Annotated[str, Field(min_length=1)]
    name: str | None = None
    system_prompt: str | None = None


def _unset(value: Any) -> Any:
    """Read a cleared field of a form as unset."""
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
# Studio's forms take plain types only; code may use the other spellings.
_LIST = WithJsonSchema({"type": "array", "items": {"type": "string"}})
_TEXT = WithJsonSchema({"type": "string"})
_NUMBER = WithJsonSchema({"type": "number", "minimum": 0})
_PROMPT = {"langgraph_type": "prompt"}

NONE = "none"
"""What a form sends for no filter, or for no stop condition, where the configured mixture has one."""


def _known(package: str, *others: str) -> tuple[str, ...]:
    return (*others, *names(f"langchain_moa.{package}"))


def _one_of(package: str, *others: str) -> AfterValidator:
    """Return a check for the name of a strategy.

    By name only: arguments of strategies may name models, and functions that the server would import.
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
        proposers: Who proposes, in each layer: names of the configured mixture's members, models as `provider:model`, or
            mappings with `model`, `name` and `system_prompt`. A list of such lists sets each layer apart.
        aggregator: Who writes the answer, in the same words.
        num_layers: Layers of proposers; the aggregator is extra.
        prompt: How references are shown: `paper`, `hardened`, or an instruction in your own words.
        proposer_system_prompt: A role for every proposer; it overrides the proposer's own.
        aggregator_system_prompt: A role for the aggregator; it overrides the aggregator's own.
        aggregation: How the answer is made of the references: the name of a strategy.
        reference_filters: Which references are passed on: names of filters, or `none`.
        stop_when: When no further layer is asked: the name of a stop condition, or `none`.
        quorum: How many good answers close a layer early, or which share of its proposers.
        deadline: Seconds for the whole answer.
        temperature: For every call.
        max_tokens: The longest answer of every call, in tokens.
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
        """Read what a server hands a graph factory.

        Args:
            given: The context, or the `configurable` part of a config, whose other entries are the server's.

        Raises:
            ValueError: A field is wrong or mistyped, or holds a key; the text names it.
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
        """What has been set, as plain data."""
        return self.model_dump(exclude_none=True)

    @property
    def key(self) -> str:
        """What tells this mixture from others."""
        return json.dumps(self.set_fields, sort_keys=True)


def refuse_secrets(given: Mapping[str, Any]) -> None:
    """Refuse a context that holds a key at any depth: the server keeps contexts, and shows them to those who may look.

    Args:
        given: The context as the client has sent it.

    Raises:
        ValueError: There is one; the text names the field.
    """
    # A `configurable` has entries of the server's own, which no client sets.
    of_client = {name: value for name, value in given.items() if not name.startswith(("__", "langgraph_"))}
    if (secret := names_secret(of_client)) is not None:
        raise ValueError(_no_secrets(secret))


def _no_secrets(name: str) -> str:
    return (
        f"context: {name!r} has a key. Contexts must not have keys, because the server stores them with its assistants and "
        "runs. Remove it, and set the provider's environment variable on the server"
    )


def context_schema(defaults: Mapping[str, Any], nodes: Mapping[str, list[str]]) -> type[MixtureContext]:
    """Return the schema that Studio makes a form of: it shows what is configured, and at which nodes it counts.

    Args:
        defaults: The default of each field.
        nodes: The nodes that each field belongs to.
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
