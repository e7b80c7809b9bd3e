"""Definition: what makes a class a strategy with settings."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, PlainValidator
from pydantic.dataclasses import dataclass

from langchain_moa.members.proposer import Proposer

C = TypeVar("C", bound=type)


def _coerce_model(value: Any) -> Proposer | None:
    return None if value is None else Proposer.coerce(value)


_MADE_BY = PlainValidator(_coerce_model)

Model: TypeAlias = Annotated[Any, _MADE_BY]
"""A model that a strategy calls: whatever may stand for a proposer, kept as a `Proposer`; `None` for the aggregator."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def strategy(cls: C) -> C:
    """Make a strategy's class one of settings: keyword-only, checked as they are given, frozen.

    Objects of such a class are plain data: they are equal if their settings are, can be pickled, and say in a mixture's
    description, and in the key of LangChain's cache, how they are set. The types of the settings are pydantic's, and `Model`,
    `Similarity` and `Extract`. Models among the settings are made and checked together with the mixture; which they are is
    said in `models`, unless the class says so itself.

    Args:
        cls: The class; its annotated attributes are the settings.

    Example:
        ```python
        from pydantic import Field

        from langchain_moa import ChatMoA, ClosedLayer
        from langchain_moa.strategies import strategy


        @strategy
        class Shortest:
            \"\"\"Keep the shortest references.\"\"\"

            keep: int = Field(default=2, ge=1)

            def __call__(self, layer: ClosedLayer):
                return sorted(layer.references, key=lambda each: len(each["text"]))[: self.keep]


        moa = ChatMoA.from_preset("local", reference_filters=[Shortest(keep=1)])
        ```
    """
    config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, protected_namespaces=(), extra="forbid")
    made: Any = dataclass(kw_only=True, frozen=True, config=config)(cls)
    own = [name for name, field in made.__pydantic_fields__.items() if _MADE_BY in field.metadata]
    if own and not hasattr(made, "models"):
        made.models = property(lambda self: tuple(getattr(self, name) for name in own))
    return made  # type: ignore[no-any-return]  # pydantic returns the class, typed as one of its own
