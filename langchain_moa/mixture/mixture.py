"""One description of a mixture, which the graph, the chat model, a YAML file and the command line all read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from pydantic import PrivateAttr, model_validator
from typing_extensions import override

from langchain_moa._compat import llm_type
from langchain_moa.data.redaction import secrets_of
from langchain_moa.data.usage import unpriced
from langchain_moa.limits.retry import Retry
from langchain_moa.members.self_moa import TEMPERATURES, sample, without_history
from langchain_moa.mixture.fields import MemberLike, MixtureFields, Use, fields_for
from langchain_moa.mixture.lineup import Members, closings, resolve_members
from langchain_moa.prompting.prompts import AGGREGATOR
from langchain_moa.strategies.resolved import Strategies, described, resolve_aggregation

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_moa.members.member import Member
    from langchain_moa.members.proposer import Proposer


# Chat models whose answers say what they cost: mixtures, and recorded answers.
_PRICED_INSIDE = {"moa", "replay"}

_logger = logging.getLogger("langchain_moa")


class Mixture(MixtureFields):
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
            you do not trust; `blind`: later layers do not see the earlier answers (the aggregator does, as in the paper); an
            instruction in your own words for the paper's layout; or a callable from messages and references to messages. A
            mapping has a prompt for each reader: `{2: "blind", "aggregator": "hardened"}`, from a layer's number, or
            `aggregator`, to its prompt; readers that are not in it have the paper's. A blind layer adds its answers to those
            that it did not see: the next layer and the aggregator see both.
        references_at: Where a prompt shows the references. `system` (default): in the system message, as in the paper. `end`:
            after the last message, so that the beginning of a prompt stays the same from call to call and the providers'
            prompt caches work; the instruction, which never changes, stays in the system message. A `Proposer` may say it for
            itself. A `prompt` that is a callable puts the references where it will.
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
        aggregator_fallbacks: Members that replace the aggregator, in this order, when it raises, answers nothing, is cut by
            a content filter, or calls an unknown tool; in a stream as long as nothing has been streamed. If the last of them
            fails, too, what a filter has left and such a call are passed on. A refusal is an answer, but in a
            stream, where OpenAI's chat client leaves it out, an empty one. All three are told as the `error` of the
            aggregator's entry in `response_metadata["moa"]`, and in `degraded`. They also replace it where a strategy asks
            the aggregator (a ranker, a judge, a moderator) and it has nothing usable to say. Default: none.
        retry: How a failed call is tried again; see `Retry` on how it gets along with the retries of the members' own
            clients. Default: those alone.
        proposer_timeout: Seconds that a proposer has for its answer, retries included, from the moment that it is asked: the
            wait for a place (`max_concurrency`) does not count. After that it has failed. A verdict that a strategy asks of a
            model (a ranker's, a judge's, a moderator's) has as many. `None` is as many as it takes. Default: 600.
        deadline: Seconds for the whole answer, from the moment that the first proposer is asked, or, in a run that is resumed,
            from there. What is left at any time is shared equally by the layers to come and the aggregator; a layer
            whose share is over goes on with the good answers that it has, if they are enough, and its stragglers are late.
            A filter or stop condition whose share is over is passed over, and the answer says so. An aggregator that outlasts
            it has failed. Default: as many as it takes.
        quorum: How many good answers close a layer early: a number of its proposers, or a share of them (0.75), rounded up.
            The stragglers are cancelled, and recorded as late. Default: all are waited for.
        quorum_grace: Seconds that the stragglers have once the quorum is there. Default: 1.
        temperature: Sampling temperature of every call. A `Proposer`'s settings override it; it overrides what a model object
            was made with. Default: each member's own.
        max_tokens: The longest answer of every call, in tokens. Default: each member's own. The verdicts that strategies ask
            for (a ranker's, a judge's, an analyst's) have no such limit: one that is cut cannot be read.
        stop: Stop words of every call, verdicts excepted. Default: each member's own.
        max_cost_usd: US dollars after which no further layer is begun: when a layer closes and the answer has cost as much,
            the aggregator writes it from what is there. Calls whose price is not known do not count: a warning in the log
            names their models when the mixture is made, and each answer does in `degraded`. Default: no limit.
        max_concurrency: How many calls run at once, over all answers of this mixture; sync and async ones are counted apart.
            A `Proposer` has a `max_concurrency` for its server. Default: as many as there are.
        timeout: Seconds that the clients of members given as strings wait for an answer. Default: the provider's.
        max_retries: How often those clients try again. Default: the provider's.
        api_key: Key for those clients that name none of their own: a text or a SecretStr, or `${NAME}` for an environment
            variable. It is sent to every provider among them. Default, and the better way: the provider's environment
            variable, whose key is sent to the provider's own address only.

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

    _resolved: tuple[tuple[Any, ...], Members, Strategies] | None = PrivateAttr(default=None)
    _known: tuple[Members, tuple[str, ...]] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _agree_on_layers(self) -> Self:
        sets = [item for item in self.proposers if isinstance(item, tuple)]
        if sets and "num_layers" in self.model_fields_set and self.num_layers != len(sets):
            msg = f"num_layers is {self.num_layers}, but proposers has {len(sets)} lists; leave num_layers out"
            raise ValueError(msg)
        if sets:
            self.__dict__["num_layers"] = len(sets)
        if isinstance(self.prompt, Mapping):
            late = [int(each) for each in self.prompt if each != AGGREGATOR and int(each) > self.num_layers]
            if late:
                msg = f"prompt names layer {min(late)}, but the mixture has {self.num_layers}; leave it out, or add the layer"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _resolve_members(self) -> Self:
        # A missing key or package is found here, not by the first question.
        closings(self, map(len, self.members.layers), enough=self.min_references)
        names = list(dict.fromkeys(member.name for layer in self.members.layers for member in layer))
        if unknown := [name for name in getattr(self.strategies.aggregation, "trust", None) or () if name not in names]:
            msg = f"aggregation: trust names {unknown[0]!r}, which is no proposer; there are {', '.join(names)}"
            raise ValueError(msg)
        if (what := self.strategies.without_effect(len(self.members.layers))) is not None:
            _logger.warning("%s", what)
        if self.max_cost_usd is not None and (unknown := unpriced(self._models_before_the_answer())):
            _logger.warning("max_cost_usd: the price of %s is not known; these calls will not count", ", ".join(unknown))
        return self

    def _models_before_the_answer(self) -> list[str]:
        """Return the ids of the models that the layers call, without those whose answers say what they cost."""
        members = self.members
        before = [*(each for layer in members.layers for each in layer), *(other for _, other in members.others)]
        everyone = [one for member in before for one in (member, *member.fallbacks)]
        return [each.id for each in everyone if each.chat_model is not None and llm_type(each.chat_model) not in _PRICED_INSIDE]

    @classmethod
    def from_config(cls, path: str | Path, **overrides: Any) -> Self:
        """Read a mixture from a YAML file.

        Args:
            path: The file; its keys are this class's fields. A key in clear is refused: `api_key: ${NAME}` refers to an
                environment variable.
            **overrides: Fields that override the file's.

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
            **overrides: Fields that override the preset's.

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
        client = {name: options[name] for name in fields_for(Use.CLIENT) if options.get(name) is not None}
        if options.get("temperature") is not None:
            temperatures = None
        proposers = sample(model, samples, temperatures=temperatures, seed=seed, client=client)
        if window is not None and "aggregation" in options:
            msg = "window: it makes the aggregation 'sequential'; leave it out, or leave the aggregation out"
            raise ValueError(msg)
        windowed = {} if window is None else {"aggregation": {"sequential": {"window": window}}}
        return cls(**{"aggregator": without_history(model), "num_layers": 1, **windowed, **options, "proposers": proposers})

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
        key = copy._resolved[0] if copy._resolved is not None else ()  # noqa: SLF001  # of this very class
        copy._resolved = (key, members, strategies)  # noqa: SLF001  # of this very class
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
            of_members = [secret for member in members.everyone for secret in member.secrets]
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
    def call_kwargs(self) -> dict[str, Any]:
        """The keyword arguments that the mixture adds to every model call."""
        given = {name: getattr(self, name) for name in fields_for(Use.CALL)}
        return {key: value for key, value in given.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Return the mixture as plain data: everything that bears on its answers, and no secret."""
        resolved = fields_for(Use.RESOLVED)
        options = [name for name in MixtureFields.model_fields if name not in resolved]
        return {
            **{name: _plain(getattr(self, name)) for name in options},
            "proposers": [[member.describe() for member in layer] for layer in self.members.layers],
            "aggregator": None if self.aggregator is None else self.members.aggregator.describe(),
            "aggregator_fallbacks": [member.describe() for member in self.members.fallbacks],
            **{name: described(value, self.member) for name, value in self.strategies._asdict().items()},
        }

    def _parts(self) -> tuple[Members, Strategies]:
        # Keyed on the fields, so that after an assignment, nothing is answered by the old ones.
        key = tuple(getattr(self, name) for name in MixtureFields.model_fields)
        if self._resolved is None or any(old is not new for old, new in zip(self._resolved[0], key, strict=True)):
            # The default is a name.
            strategies = Strategies(resolve_aggregation(self.aggregation), tuple(self.reference_filters), self.stop_when)
            self._resolved = (key, resolve_members(self, strategies), strategies)
        return self._resolved[1:]

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the mixture; unlike pydantic's own, this checks the fields that are changed.

        Args:
            update: Fields to change.
            deep: Whether to copy the values, too.

        Raises:
            ValueError: As `pydantic.ValidationError`: a field is wrong.
        """
        if not update:
            return super().model_copy(deep=deep)
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if "proposers" in update:
            # Lists of proposers bring their own number of layers.
            given.pop("num_layers", None) if _is_nested(update["proposers"]) else given.setdefault(
                "num_layers", self.num_layers
            )
        return type(self)(**{**given, **update})

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a field is checked by itself, and what it means for the others when the mixture is next used."""
        if name in MixtureFields.model_fields:
            fields = MixtureFields.model_construct(**{each: getattr(self, each) for each in MixtureFields.model_fields})
            MixtureFields.__pydantic_validator__.validate_assignment(fields, name, value)
            value = getattr(fields, name)
        super().__setattr__(name, value)

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


def _is_nested(proposers: Any) -> bool:
    return isinstance(proposers, Sequence) and any(isinstance(each, (list, tuple)) for each in proposers)


def _plain(value: Any) -> Any:
    if isinstance(value, Retry):
        return asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    # Two functions may share a name; the id keeps what one of them shaped from being taken for the other's.
    return f"{type(value).__name__} at {id(value):#x}" if callable(value) else value
