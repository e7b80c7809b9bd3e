"""The description of a mixture that the graph, the chat model, YAML files and the command line share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from pydantic import PrivateAttr, model_validator
from typing_extensions import override

from langchain_moa._compat import llm_type
from langchain_moa.data.redaction import secrets_of
from langchain_moa.data.sanitizing import shown_line
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


# Types of chat models that report the cost of their answers: mixtures and recorded answers.
_PRICED_INSIDE = {"moa", "replay"}

_logger = logging.getLogger("langchain_moa")


class Mixture(MixtureFields):
    """A Mixture-of-Agents: its proposers, layers, aggregator and options (arXiv 2406.04692, section 2).

    `create_moa` builds a graph from a mixture; `ChatMoA` is a mixture and a chat model at the same time. All fields are
    checked at construction: an unknown field, a missing key or package, or an inconsistent value raises an error that names
    the field and the remedy.

    Attributes:
        proposers: A list of members that every layer uses, or a list of lists, one for each layer. A member is a string
            `provider:model`, a chat model, another Runnable, or a `Proposer`. The same model can appear several times.
        aggregator: The member that writes the final answer. Optional if the aggregation does not call it.
        num_layers: Number of proposer layers, at least 1, not counting the aggregator. The paper counts the aggregator, so
            its 3-layer MoA is `num_layers=2` and its MoA-Lite is `num_layers=1`. Default: 2, or the number of lists.
        prompt: How members are shown the references. `paper` (default) is the paper's instruction and layout; `hardened` is
            for members that you do not trust; with `blind`, later layers do not see the earlier answers, while the
            aggregator reads them as in the paper. You can also give your own instruction, which is used in the paper's
            layout, or a callable from messages and references to messages. A mapping sets a prompt for each reader, keyed by
            layer number or `aggregator`: `{2: "blind", "aggregator": "hardened"}`; readers that it does not list get the
            paper's prompt. A blind layer adds its answers to the earlier ones, so the next layer and the aggregator read both.
        references_at: Where prompts show the references. `system` (default): in the system message, as in the paper. `end`:
            after the last message; the system message keeps the instruction, which never changes, so the beginning of the
            prompt is the same in every call and the providers' prompt caches work. A `Proposer` can override it. A callable
            `prompt` decides for itself where the references go.
        max_reference_tokens: Maximum length of each reference in tokens, at least 16, counting four characters as one token.
            Longer references are cut, at the end of a sentence if possible, and marked as cut, for members and for models
            that strategies ask. Default: references are cut only if the prompt does not fit into the reader's context window.
        min_references: How many good references a layer needs, at least 1. A layer with fewer falls back to the references
            of the previous layer. If there is no previous layer, it raises `ProposersFailedError`. Default: 1.
        aggregation: How the last references become the answer: a name (`synthesize`, the default, or another module of
            `langchain_moa.aggregation`), a mapping from a name to its arguments, a callable `(messages, references)` that
            returns a string, a message or one of the references, or an object that adds its own nodes
            (`langchain_moa.strategies.Aggregation`).
        reference_filters: Filters that are applied in order to the references of each layer before other members read them:
            names, or callables from a `ClosedLayer` to references. A filter that returns no references is skipped: the
            references from before it are used. Default: none.
        stop_when: Stop condition, checked after every layer except the last: a name, or a callable that takes a
            `ClosedLayer` and returns a bool, or the reason to stop as a string. Default: all layers run.
        aggregator_fallbacks: Members that replace the aggregator, in this order, if it raises an error, returns an empty
            answer, is cut by a content filter, or calls an unknown tool; when streaming, only until the first chunk. If the
            last fallback fails as well, the part that the content filter left, or the call of the unknown tool, is returned.
            A refusal counts as an answer; when streaming, OpenAI's chat client drops its text, so it counts as an empty one.
            Filtered answers, unknown tool calls and refusals that are returned are reported as the `error` of the
            aggregator's entry in `response_metadata["moa"]`, and in `degraded`. The fallbacks also replace the aggregator
            when a strategy asks it (as a ranker, judge or moderator) and gets no usable reply. Default: none.
        retry: How failed calls are retried; see `Retry` for how this combines with the retries of the members' own clients.
            Default: only the clients retry.
        proposer_timeout: Seconds that each proposer has for its answer, including retries, starting when its call starts:
            time spent waiting for a slot (`max_concurrency`) does not count. A proposer that exceeds it has failed. The same
            limit holds for each verdict that a strategy asks for (from a ranker, judge or moderator). `None` disables it.
            Default: 600.
        deadline: Seconds for the whole answer, starting when the first proposer is called; a resumed run starts anew. The
            remaining time is always split equally between the remaining layers and the aggregator. When a layer's share is
            used up, it continues with the good answers it has, if they are enough, and its other proposers are late. A
            filter or stop condition that exceeds its share is skipped, which the answer reports. An aggregator that exceeds
            the deadline has failed. Default: no deadline.
        quorum: How many good answers close a layer early: a number of proposers, or a share of them (0.75), rounded up. The
            remaining calls are cancelled and recorded as late. Default: wait for all proposers.
        quorum_grace: Seconds to wait for the remaining proposers once the quorum is reached. Default: 1.
        temperature: Sampling temperature of every call. It overrides the temperature of model objects; a `Proposer`'s
            settings override it. Default: each member's own.
        max_tokens: Maximum length of every answer, in tokens. It does not limit the verdicts that strategies ask for (from a
            ranker, judge or analyst), since a verdict that is cut cannot be parsed. Default: each member's own.
        stop: Stop words of every call, except those that ask for a verdict. Default: each member's own.
        max_cost_usd: Cost in US dollars at which no further layer starts: when a layer closes and the answer has cost this
            much, the aggregator writes it from the references so far. Calls without a known price do not count; a warning in
            the log names their models at construction, and each answer lists them in `degraded`. Default: no limit.
        max_concurrency: Maximum number of concurrent calls, over all answers of this mixture; sync and async calls are
            counted separately. The `max_concurrency` of a `Proposer` limits the calls to its server. Default: no limit.
        timeout: Request timeout in seconds, for the clients of members given as strings. Default: the provider's.
        max_retries: Number of retries, for the clients of members given as strings. Default: the provider's.
        api_key: API key for the members given as strings that do not set their own: a string, a SecretStr, or `${NAME}` for
            an environment variable. It is sent to all of their providers. Default, and recommended: the provider's
            environment variable, whose key is sent only to the provider's own address.

    Raises:
        ValueError: A field is invalid. The error is a `pydantic.ValidationError` and names the field.
        ImportError: A provider's package is not installed; the message has the pip command.

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
    def _resolve_members(self) -> Self:
        # Resolving the members raises at construction, not at the first call, if a key or package is missing.
        closings(self, map(len, self.members.layers), enough=self.min_references)
        names = list(dict.fromkeys(member.name for layer in self.members.layers for member in layer))
        if unknown := [name for name in getattr(self.strategies.aggregation, "trust", None) or () if name not in names]:
            msg = f"aggregation: trust names {unknown[0]!r}, which is not a proposer; the proposers are {', '.join(names)}"
            raise ValueError(msg)
        if (what := self.strategies.without_effect(len(self.members.layers))) is not None:
            _logger.warning("%s", shown_line(what))
        if self.max_cost_usd is not None and (unknown := unpriced(self._models_before_the_answer())):
            _logger.warning(
                "max_cost_usd: the price of %s is not known; their calls do not count", shown_line(", ".join(unknown))
            )
        return self

    def _models_before_the_answer(self) -> list[str]:
        """Return the ids of the models that are called before the answer, except those that report their own cost."""
        members = self.members
        before = [*(each for layer in members.layers for each in layer), *(other for _, other in members.others)]
        everyone = [one for member in before for one in (member, *member.fallbacks)]
        return [each.id for each in everyone if each.chat_model is not None and llm_type(each.chat_model) not in _PRICED_INSIDE]

    @classmethod
    def from_config(cls, path: str | Path, **overrides: Any) -> Self:
        """Read a mixture from a YAML file.

        Args:
            path: The file; its keys are this class's fields. A file that contains an API key is rejected; refer to an
                environment variable instead: `api_key: ${NAME}`.
            **overrides: Fields that override the file's.

        Raises:
            ValueError: The file does not exist, is not a mapping, contains an API key, or has an invalid field. The message
                names the file.
        """
        from langchain_moa.mixture.config import read_config

        return read_config(cls, path, overrides)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """Make a mixture from one of the presets that come with the package.

        Args:
            name: The preset's name; `langchain_moa.presets()` lists them.
            **overrides: Fields that override the preset's.

        Raises:
            ValueError: There is no preset with this name, or the key of one of its providers is not set.
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
        """Make a mixture that samples one model several times and has the same model aggregate (Self-MoA, arXiv 2502.00674).

        Chains, agents and graphs take no temperature and no seed: they are called unchanged for each sample, and the samples
        differ only if their own model samples.

        Args:
            model: The model, in any form that `proposers` accepts.
            samples: Number of samples, at least 1.
            temperatures: The lowest and the highest temperature; the samples are spread evenly between them. With `None`, or
                with `temperature` in the options, no temperatures are set; nor for a reasoning model that takes none.
            seed: Seed of the first sample; it increases by one for each further sample, so that samples differ even at the
                same temperature. With `None`, or for a model that takes no seed, no seeds are set.
            window: How many texts are synthesized at once (Self-MoA-Seq), so that any number of samples fits into a small
                context window. Default: all of them. Short for `aggregation={"sequential": {"window": ...}}`; you cannot give
                both `window` and `aggregation`.
            **options: Other fields of the mixture. Here, `num_layers` defaults to 1 and `aggregator` to the model.

        Raises:
            ValueError: A field is invalid, as for `Mixture`; `samples` or `temperatures` is invalid; or both `window` and
                `aggregation` are given.

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
            msg = "window sets the aggregation to 'sequential'; give either window or aggregation"
            raise ValueError(msg)
        windowed = {} if window is None else {"aggregation": {"sequential": {"window": window}}}
        return cls(**{"aggregator": without_history(model), "num_layers": 1, **windowed, **options, "proposers": proposers})

    @property
    def members(self) -> Members:
        """The proposers of each layer and the aggregator, resolved."""
        return self._parts()[0]

    def with_members(self, members: Members) -> Self:
        """Return a copy that calls the given members instead of those in its fields, until a field changes.

        Args:
            members: The members, in the same layers and roles as the mixture's own.
        """
        copy = self.model_copy()
        _, strategies = copy._parts()  # noqa: SLF001  # another instance of this class
        key = copy._resolved[0] if copy._resolved is not None else ()  # noqa: SLF001  # another instance of this class
        copy._resolved = (key, members, strategies)  # noqa: SLF001  # another instance of this class
        return copy

    @property
    def strategies(self) -> Strategies:
        """The aggregation, filters and stop condition, resolved from their names."""
        return self._parts()[1]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets of all members and strategies, to redact from texts about a run of this mixture."""
        members, strategies = self._parts()
        if self._known is None or self._known[0] is not members:
            of_members = [secret for member in members.everyone for secret in member.secrets]
            self._known = (members, tuple(dict.fromkeys([*of_members, *secrets_of(strategies)])))
        return self._known[1]

    @property
    def may_stop(self) -> bool:
        """Whether the mixture can stop before its last layer."""
        return self.strategies.may_stop or self.max_cost_usd is not None

    def member(self, model: Proposer | None) -> Member:
        """Return the member that a strategy calls.

        Args:
            model: The value of the strategy's field, or the `spec` of a proposer of the mixture; `None` is the aggregator.

        Raises:
            ValueError: The model is neither declared by a strategy nor a proposer of the mixture.
        """
        if model is None:
            return self.members.aggregator
        own = ((member.spec, member) for layer in self.members.layers for member in layer)
        for proposer, member in (*self.members.others, *own):
            if proposer is model:
                return member
        msg = f"a strategy asks {model!r} without declaring it; give the strategy an attribute `models` that contains it"
        raise ValueError(msg)

    @property
    def call_kwargs(self) -> dict[str, Any]:
        """The keyword arguments that the mixture adds to every model call."""
        given = {name: getattr(self, name) for name in fields_for(Use.CALL)}
        return {key: value for key, value in given.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Return everything that affects the mixture's answers as plain data, without secrets."""
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
        # Keyed on the fields, so that they are checked and resolved again after an assignment.
        self._agree_on_layers()
        key = tuple(getattr(self, name) for name in MixtureFields.model_fields)
        if self._resolved is None or any(old is not new for old, new in zip(self._resolved[0], key, strict=True)):
            # Defaults are not validated, so the aggregation can still be a name here.
            strategies = Strategies(resolve_aggregation(self.aggregation), tuple(self.reference_filters), self.stop_when)
            self._resolved = (key, resolve_members(self, strategies), strategies)
        return self._resolved[1:]

    def _agree_on_layers(self) -> None:
        if sets := len(self.proposers) if _is_nested(self.proposers) else 0:
            if "num_layers" in self.model_fields_set and self.num_layers != sets:
                msg = f"num_layers is {self.num_layers}, but proposers has {sets} lists; leave num_layers out"
                raise ValueError(msg)
            self.__dict__["num_layers"] = sets
        if isinstance(self.prompt, Mapping):
            late = [int(each) for each in self.prompt if each != AGGREGATOR and int(each) > self.num_layers]
            if late:
                msg = f"prompt names layer {min(late)}, but num_layers is {self.num_layers}; remove the entry, or add the layer"
                raise ValueError(msg)

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the mixture; unlike pydantic's own method, this checks the changed fields.

        Args:
            update: Fields to change.
            deep: Whether to copy the values as well.

        Raises:
            ValueError: A field is invalid. The error is a `pydantic.ValidationError`.
        """
        if not update:
            return super().model_copy(deep=deep)
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if "proposers" in update:
            # The number of lists sets the number of layers.
            given.pop("num_layers", None) if _is_nested(update["proposers"]) else given.setdefault(
                "num_layers", self.num_layers
            )
        return type(self)(**{**given, **update})

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. A field is checked at once on its own, and against other fields when the mixture is next used."""
        if name in MixtureFields.model_fields:
            fields = MixtureFields.model_construct(**{each: getattr(self, each) for each in MixtureFields.model_fields})
            MixtureFields.__pydantic_validator__.validate_assignment(fields, name, value)
            value = getattr(fields, name)
        super().__setattr__(name, value)
        if name == "proposers" and _is_nested(value):
            # The number of lists sets the number of layers.
            self.__dict__["num_layers"] = len(value)

    def __eq__(self, other: object) -> bool:
        """Return whether another mixture of the same class has equal fields."""
        if type(other) is not type(self):
            return False
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    __hash__ = None  # type: ignore[assignment]  # mixtures can be changed

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the fields; everything built from them is rebuilt."""
        return super(Mixture, self._unbuilt()).__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle the fields; everything built from them is rebuilt."""
        return super(Mixture, self._unbuilt()).__getstate__()

    def _unbuilt(self) -> Self:
        """Return a copy with empty private attributes, which hold everything that was built from the fields."""
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
    # The id tells functions of the same name apart, so that cached answers of one are not used for the other.
    return f"{type(value).__name__} at {id(value):#x}" if callable(value) else value
