"""One description of a mixture, which the graph, the chat model, a YAML file and the command line all read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from langchain_moa.data.redaction import secrets_of
from langchain_moa.limits.retry import Retry
from langchain_moa.members.self_moa import TEMPERATURES, sample
from langchain_moa.mixture.lineup import (
    MemberLike,
    Members,
    coerce_aggregator,
    coerce_proposers,
    resolve_members,
)
from langchain_moa.mixture.resilience import Resilience, closings
from langchain_moa.prompting.prompts import Prompt, resolve_prompt
from langchain_moa.strategies.resolved import Strategies, described, resolve_aggregation, resolve_filters, resolve_stop

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_moa.members.member import Member
    from langchain_moa.members.proposer import Proposer


_logger = logging.getLogger("langchain_moa")


class Mixture(Resilience):
    """A Mixture-of-Agents: who proposes, in how many layers, who aggregates, and how (arXiv 2406.04692, section 2).

    `create_moa` builds a graph from one; `ChatMoA` is one, and a chat model besides. Everything is checked when it is
    made: an unknown field, a missing key or package, an impossible shape is an error that names the field and the remedy.

    Attributes:
        proposers: One list, the same set in every layer, or a list of lists, a set for each layer. A member is a string
            `provider:model`, a chat model, another Runnable, or a `Proposer`. One model may stand there many times.
        aggregator: The member that writes the final answer; it may be left out where the aggregation asks no model.
        num_layers: Proposer layers, at least 1; the aggregator comes on top. The paper counts the aggregator, so its
            3-layer MoA is `num_layers=2` and its MoA-Lite is `num_layers=1`. Default: 2, or the number of lists.
        prompt: How references are shown. `paper` (default), the paper's instruction and layout; `hardened`, for members that
            you do not trust; an instruction in your own words for the paper's layout; or a callable from messages and
            references to messages.
        max_reference_tokens: Tokens, at least 16 and counted as four characters each, to which each reference is cut when it
            is shown to a member or to a model that a strategy asks, at a sentence where there is one and with a mark.
            Default: shown whole, unless the prompt would not fit into the reader's context window.
        min_references: How many good references a layer needs, at least 1. A layer with fewer falls back on those of the
            layer before it; the first one, which has none to fall back on, raises `ProposersFailedError`. Default: 1.
        aggregation: How the last references become the answer: a name (`synthesize`, the default, or another module of
            `langchain_moa.aggregation`), a mapping of one to its arguments, a callable `(messages, references)` to a text,
            a message or one of the references, or an object that adds nodes of its own
            (`langchain_moa.strategies.Aggregation`).
        reference_filters: What is done, in order, with the references of each layer before anyone reads them: names, or
            callables from a `ClosedLayer` to references. One that keeps none is passed over: the next reader gets what was
            there before. Default: nothing.
        stop_when: When a closed layer is enough: a name, or a callable from a `ClosedLayer` to a truth value, or to the
            reason in words. It is asked after every layer but the last. Default: after the last layer.
        aggregator_fallbacks, retry, proposer_timeout, deadline, quorum, quorum_grace: What happens when a member fails or is
            slow; see `Resilience`.
        temperature: For every call, before the members' own. Default: each member's own.
        max_tokens: The longest answer of every call, in tokens. Default: each member's own. The verdicts that strategies ask
            for (a ranker's, a judge's, an analyst's) have no such limit: one that is cut cannot be read.
        stop: Stop words of every call, verdicts excepted. Default: each member's own.
        max_cost_usd: US dollars after which no further layer is begun: when a layer closes and the answer has cost as much,
            the aggregator writes it from what is there. Calls whose price is not known count as nothing. Default: no limit.
        max_concurrency: How many calls run at once, over all answers of this mixture; sync and async ones are counted apart.
            Default: as many as there are.
        timeout: Seconds that the clients of members given as strings wait for an answer. Default: the provider's.
        max_retries: How often those clients try again. Default: the provider's.
        api_key: Key for those clients. Default, and the better way: the provider's environment variable.

    Raises:
        ValueError: As `pydantic.ValidationError`, which names the field.
        ImportError: A provider's package is missing; the text has the pip command.

    Example:
        ```python
        from langchain_moa import Mixture, create_moa

        mixture = Mixture(proposers=["local:smollm2-135m", "local:gemma3-270m"], aggregator="local:smollm2-135m")
        graph = create_moa(mixture).compile()
        ```
    """

    # A value may be a secret put into the wrong field; the errors of this class say what they must of it.
    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, protected_namespaces=())

    proposers: Annotated[Sequence[MemberLike] | Sequence[Sequence[MemberLike]], PlainValidator(coerce_proposers)]
    aggregator: Annotated[MemberLike | None, PlainValidator(coerce_aggregator)] = None
    num_layers: int = 2
    prompt: str | Callable[..., Any] = "paper"
    max_reference_tokens: int | None = Field(default=None, ge=16)
    min_references: int = Field(default=1, ge=1)
    aggregation: Annotated[Any, PlainValidator(resolve_aggregation)] = "synthesize"
    reference_filters: Annotated[Sequence[Any], PlainValidator(resolve_filters)] = ()
    stop_when: Annotated[Any, PlainValidator(resolve_stop)] = None
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[str] | None = None
    max_concurrency: int | None = Field(default=None, ge=1)
    max_cost_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    timeout: float | None = Field(default=None, gt=0)
    max_retries: int | None = Field(default=None, ge=0)
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)

    _resolved: tuple[tuple[Any, ...], Members, Strategies] | None = PrivateAttr(default=None)
    _known: tuple[Members, tuple[str, ...]] | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name in values:
                if name not in cls.model_fields:
                    close = get_close_matches(str(name), cls.model_fields, n=1)
                    remedy = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(Mixture.model_fields)}"
                    msg = f"unknown field {name!r}; {remedy}"
                    raise ValueError(msg)
        return values

    @field_validator("num_layers")
    @classmethod
    def _at_least_one_layer(cls, value: int) -> int:
        if value < 1:
            msg = f"{value} is too small: a mixture has at least 1 layer of proposers; the aggregator is extra"
            raise ValueError(msg)
        return value

    @field_validator("prompt")
    @classmethod
    def _known_prompt(cls, value: str | Prompt) -> str | Prompt:
        resolve_prompt(value)
        return value

    @model_validator(mode="after")
    def _agree_on_layers(self) -> Self:
        sets = [item for item in self.proposers if isinstance(item, tuple)]
        if sets and "num_layers" in self.model_fields_set and self.num_layers != len(sets):
            msg = f"num_layers is {self.num_layers}, but proposers has {len(sets)} lists; leave num_layers out"
            raise ValueError(msg)
        if sets:
            self.__dict__["num_layers"] = len(sets)
        return self

    @model_validator(mode="after")
    def _resolve_members(self) -> Self:
        # A missing key or package is found here, not by the first question.
        closings(self, map(len, self.members.layers), enough=self.min_references)
        if (what := self.strategies.without_effect(len(self.members.layers))) is not None:
            _logger.warning("%s", what)
        return self

    @classmethod
    def from_config(cls, path: str | Path, **overrides: Any) -> Self:
        """Read a mixture from a YAML file.

        Args:
            path: The file; its keys are this class's fields, `api_key` excepted: keys come from the environment only.
            **overrides: Fields that go before the file's.

        Raises:
            ValueError: The file is missing, no mapping, holds a key, or describes no mixture; the text names the file.
        """
        from langchain_moa.mixture.config import read_config

        return read_config(cls, path, overrides)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """Make a mixture that comes with the package.

        Args:
            name: The preset; `langchain_moa.presets()` lists them.
            **overrides: Fields that go before the preset's.

        Raises:
            ValueError: There is no such preset, or one of its providers has no key.
        """
        from langchain_moa.mixture.config import read_preset

        return read_preset(cls, name, overrides)

    @classmethod
    def self_moa(
        cls,
        model: MemberLike,
        samples: int = 6,
        *,
        temperatures: tuple[float, float] | None = TEMPERATURES,
        seed: int | None = 1,
        window: int | None = None,
        **options: Any,
    ) -> Self:
        """Make a mixture of samples of one model, which the same model synthesizes (Self-MoA, arXiv 2502.00674).

        Args:
            model: Whatever may stand for a proposer.
            samples: How many samples, at least 1.
            temperatures: The lowest and the highest; the samples are spread evenly between. `None`, or a `temperature` among
                the options, leaves each call its own; so does a reasoning model that takes none.
            seed: The first sample's; the others count up, so that even at one temperature they differ. `None` leaves it out,
                and so does a model that takes none.
            window: How many texts are synthesized at once (Self-MoA-Seq), so that any number of samples fits a small context.
                Default: all of them. It is short for `aggregation={"sequential": {"window": ...}}`, and cannot stand beside
                an `aggregation`.
            **options: The other fields; `num_layers` is 1 and `aggregator` is the model unless they are given.

        A chain, an agent or a graph takes neither temperature nor seed: it is asked as often, as it is, and its samples
        differ only as far as its own model makes them.

        Raises:
            ValueError: As for `Mixture` itself; `samples` or `temperatures` is wrong; or there is a `window` beside an
                `aggregation`.

        Example:
            ```python
            from langchain_moa import ChatMoA

            moa = ChatMoA.self_moa("local:smollm2-135m", samples=6)
            long = ChatMoA.self_moa("local:smollm2-135m", samples=30, window=6)
            ```
        """
        client = {name: options[name] for name in ("timeout", "max_retries", "api_key") if options.get(name) is not None}
        if options.get("temperature") is not None:
            temperatures = None
        proposers = sample(model, samples, temperatures=temperatures, seed=seed, client=client)
        if window is not None and "aggregation" in options:
            msg = "window: it makes the aggregation 'sequential'; leave it out, or leave the aggregation out"
            raise ValueError(msg)
        windowed = {} if window is None else {"aggregation": {"sequential": {"window": window}}}
        return cls(**{"aggregator": model, "num_layers": 1, **windowed, **options, "proposers": proposers})

    @property
    def members(self) -> Members:
        """The proposers of each layer and the aggregator, resolved."""
        return self._parts()[0]

    def with_members(self, members: Members) -> Self:
        """Return a copy that calls these members in place of those that its fields describe, until a field changes.

        Args:
            members: The members, in the shape of the mixture's own.
        """
        copy = self.model_copy()
        _, strategies = copy._parts()  # noqa: SLF001  # of this very class
        key = copy._resolved[0] if copy._resolved is not None else ()  # noqa: SLF001  # as above
        copy._resolved = (key, members, strategies)  # noqa: SLF001  # as above
        return copy

    @property
    def strategies(self) -> Strategies:
        """How it aggregates, filters and stops, with every name resolved."""
        return self._parts()[1]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that no text about a run of this mixture may show: those of all whom it may call."""
        members, strategies = self._parts()
        if self._known is None or self._known[0] is not members:
            all_members = (*(each for layer in members.layers for each in layer), members.aggregator, *members.fallbacks)
            of_members = [each for member in (*all_members, *(other for _, other in members.others)) for each in member.secrets]
            self._known = (members, tuple(dict.fromkeys([*of_members, *secrets_of(strategies)])))
        return self._known[1]

    @property
    def may_stop(self) -> bool:
        """Whether the layers can end early."""
        return self.strategies.may_stop or self.max_cost_usd is not None

    def member(self, model: Proposer | None) -> Member:
        """Return the member that a strategy calls.

        Args:
            model: What the strategy's field holds, or the `spec` of a member of the mixture; `None` is the aggregator.

        Raises:
            ValueError: The mixture does not know the model.
        """
        if model is None:
            return self.members.aggregator
        own = ((member.spec, member) for layer in self.members.layers for member in layer)
        for proposer, member in (*self.members.others, *own):
            if proposer is model:
                return member
        msg = f"a strategy asks {model!r}, which it has not declared; give it an attribute `models` with the Proposer in it"
        raise ValueError(msg)

    @property
    def shown(self) -> Prompt:
        """How references are shown to whoever reads them."""
        return resolve_prompt(self.prompt, max_reference_tokens=self.max_reference_tokens)

    @property
    def call_kwargs(self) -> dict[str, Any]:
        """The keyword arguments that the mixture adds to every model call."""
        given = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": self.stop}
        return {key: value for key, value in given.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Return the mixture as plain data: everything that bears on its answers, and no secret."""
        apart = {"proposers", "aggregator", "aggregator_fallbacks", "api_key", "aggregation", "reference_filters", "stop_when"}
        options = [name for name in Mixture.model_fields if name not in apart]
        return {
            **{name: _plain(getattr(self, name)) for name in options},
            "proposers": [[member.describe() for member in layer] for layer in self.members.layers],
            "aggregator": None if self.aggregator is None else self.members.aggregator.describe(),
            "aggregator_fallbacks": [member.describe() for member in self.members.fallbacks],
            **{name: described(value, self.member) for name, value in self.strategies._asdict().items()},
        }

    def _parts(self) -> tuple[Members, Strategies]:
        # Keyed on the fields, so that a copy with another aggregator, or an assignment, is never answered by the old one.
        key = (
            *(self.proposers, self.aggregator, self.num_layers, self.timeout, self.max_retries, self.api_key),
            *(
                self.aggregation,
                self.reference_filters,
                self.stop_when,
                self.aggregator_fallbacks,
                self.retry,
                self.max_concurrency,
            ),
        )
        if self._resolved is None or any(old is not new for old, new in zip(self._resolved[0], key, strict=True)):
            # Once more: a `model_copy(update=...)` brings values that no validator has seen.
            strategies = Strategies(
                resolve_aggregation(self.aggregation), resolve_filters(self.reference_filters), resolve_stop(self.stop_when)
            )
            self._resolved = (key, resolve_members(self, strategies), strategies)
        return self._resolved[1:]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the fields; what was built from them is built again."""
        return super(Mixture, self._unbuilt()).__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle the fields; what was built from them is built again."""
        return super(Mixture, self._unbuilt()).__getstate__()

    def _unbuilt(self) -> Self:
        """Return a copy without anything that was built from the fields, which is what the private attributes hold."""
        fresh = self.__copy__()
        for name in fresh.__private_attributes__:
            setattr(fresh, name, None)
        return fresh


def _plain(value: Any) -> Any:
    if isinstance(value, Retry):
        return asdict(value)
    # Two functions may share a name; the id keeps what one of them shaped from being taken for the other's.
    return f"{type(value).__name__} at {id(value):#x}" if callable(value) else value
