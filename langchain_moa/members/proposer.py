"""`Proposer`: the specification of a member, and the retry policy that applies to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.retry import RunnableRetry
from langgraph.pregel.protocol import PregelProtocol

from langchain_moa._compat import default_settings, llm_type
from langchain_moa.data.components import components_of
from langchain_moa.data.validation import at, each
from langchain_moa.limits.retry import Retry
from langchain_moa.members.dialects import dialect_of
from langchain_moa.members.member import Member
from langchain_moa.members.models import (
    chat_model_of,
    is_on_this_machine,
    model_id,
    names_mixture,
    resolve_mixture,
    resolve_model,
)
from langchain_moa.prompting.place import ReferencesAt  # noqa: TC001  # pydantic reads the annotations

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

_QUESTION = "question"


def policy_for(runnable: Runnable[Any, Any], *, own: Retry | None, shared: Retry | None) -> Retry | None:
    """Return the retry policy for a member that was given as an object.

    Args:
        runnable: The member.
        own: The policy of its `Proposer`, or `None`.
        shared: The policy of the mixture, or `None`.

    Raises:
        ValueError: `own` is given for a member that retries by itself.
    """
    model = chat_model_of(runnable)
    if not retries_itself(runnable):
        # The shared policy is for plain chat models only: an agent may have done part of its work, and a nested mixture has its
        # own policies.
        return own or (None if model is None or _is_mixture(model) else shared)
    if own is not None:
        msg = (
            "retry is given for a model that retries by itself; create the model, and every model inside a chain or a "
            "fallback, with max_retries=0 and without with_retry(), or leave retry out"
        )
        raise ValueError(msg)
    return None


def without_retries(model: BaseChatModel) -> dict[str, Any]:
    """Return the settings that disable the client's retries; empty if the class has no such setting."""
    return {"max_retries": _no_retries(model)} if "max_retries" in type(model).model_fields else {}


def retries_itself(runnable: Runnable[Any, Any]) -> bool:
    """Return whether a member, or a component that it declares, retries by itself.

    Compiled graphs and agents are not searched, because their nodes are functions, which do not declare what they call.
    """
    # Nested mixtures are not searched; their policies apply to their own members.
    parts = components_of(runnable, enters=lambda part: not isinstance(part, PregelProtocol) and not _is_mixture(part))
    return any(_repeats(part) for _, part in parts)


def _repeats(part: Any) -> bool:
    if isinstance(part, RunnableRetry):
        return True
    if isinstance(part, BaseLanguageModel):
        has_setting = "max_retries" in type(part).model_fields and not _is_mixture(part)
        retries, none = getattr(part, "max_retries", None), _no_retries(part)
    else:
        # A configurable model of `init_chat_model`, which is made at call time.
        settings = default_settings(part)
        has_setting = settings is not None
        retries, none = (settings or {}).get("max_retries"), 0
    # With `None`, the client's default applies; all clients that have the setting retry by default.
    return has_setting and (retries is None or retries > none)


def _is_mixture(model: Any) -> bool:
    return isinstance(model, BaseLanguageModel) and llm_type(model) == "moa"


def _no_retries(model: BaseLanguageModel[Any]) -> int:
    # For Google's models, the setting is the number of attempts, and 0 means the default.
    return 1 if type(model).__module__.startswith("langchain_google") else 0


@dataclass(frozen=True, repr=False)
class Proposer:
    """A member of a mixture: a model with its own name, role and settings.

    Use it for members that need more than a string, a chat model or another Runnable. The aggregator can be one, too.

    Args:
        model: `provider:model` as `init_chat_model` takes it; `vllm:NAME`, `lmstudio:NAME` or `llamacpp:NAME` for a model
            on your own server; `local:NAME` for a local model; `preset:NAME` or `config:FILE` for another mixture; a chat
            model; or any Runnable from messages to a message or a string, such as a chain, an agent, or a compiled graph with
            `messages`.
        name: Its name in drawings, events and reports. Default: the model id.
        system_prompt: Its role, which is appended to the user's system message after a blank line.
        base_url: The address of the model's server, for a model given as a string. Default: the provider's own; for `vllm`,
            `lmstudio` and `llamacpp`, the address in `VLLM_BASE_URL`, `LMSTUDIO_BASE_URL` or `LLAMACPP_BASE_URL`, or else the
            server's default address on this machine. The provider's key from the environment is not sent to another address:
            it needs an `api_key` in `settings`, unless it is on this machine.
        settings: Arguments of the model's constructor, for a model given as a string (`temperature`, `api_key`, ...); for
            another mixture, its fields. An `api_key` can refer to an environment variable, `${NAME}`.
        retry: How failed calls of this member are retried. Default: the mixture's `retry`.
        references_at: Where this member's prompts show the references: `system` or `end`. Default: the mixture's
            `references_at`.
        system_role: Whether the model takes system messages. With `False`, system text is moved to the user's messages: the
            text that opens the conversation into the first one, and the instruction with the references to the end of the
            last one. Default: according to the model's class and, if `references_at` is `end`, its name (Gemma up to 3).
        fallbacks: Members that are called, in order, if this one fails: it raises an error, exceeds `proposer_timeout`
            (which each fallback has for itself), refuses, or returns an empty answer. A fallback uses this member's name,
            role and `history` unless it has its own. The failed calls are in `response_metadata["moa"]["steps"]`.
            Default: none.
        history: How much of the conversation it is sent: `"all"` (default); a number, for that many of the last turns,
            including the current one; or `"question"`, for the user's last message only. System messages are always sent.
            For proposers only: the aggregator needs the results of the tools that it called.
        max_concurrency: Maximum number of simultaneous calls at this member's server, over all answers of the mixture. Members
            at the same server share the limit; the smallest one applies. Default: only the mixture's own limit.

    Raises:
        ValueError: `model` is neither a non-empty string nor a Runnable, `name` or `system_prompt` is not a string,
            `settings` is not a mapping or is given for a model object, or another field is invalid.

    Example:
        ```python
        from langchain_moa import Proposer

        sceptic = Proposer(
            "openai:gpt-6-luna",
            name="sceptic",
            system_prompt="Look for what could be wrong.",
            settings={"temperature": 0.2},
        )
        ```
    """

    model: str | Runnable[Any, Any]
    _: KW_ONLY
    name: str | None = None
    system_prompt: str | None = None
    base_url: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    retry: Retry | None = None
    references_at: ReferencesAt | None = None
    system_role: bool | None = None
    fallbacks: Sequence[Any] = ()
    history: str | int | None = None
    max_concurrency: int | None = None

    def __post_init__(self) -> None:
        """Check and convert the fields."""
        # Values from a YAML file can be of any type.
        model: Any = self.model
        settings: Any = self.settings
        if isinstance(model, str) and not model.strip():
            msg = "model is empty; name one as 'provider:model'"
            raise ValueError(msg)
        if not isinstance(model, (str, Runnable)):
            msg = f"model must be a string 'provider:model' or a Runnable, not {type(model).__name__}"
            raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
        texts: dict[str, Any] = {"name": self.name, "system_prompt": self.system_prompt}
        for name, text in texts.items():
            if text is not None and not isinstance(text, str):
                msg = f"{name} must be a text, not {text!r}; put it in quotes"
                raise ValueError(msg)
        _require_settings(settings)
        self._place_base_url()
        if settings and not isinstance(model, str):
            msg = "settings are for models given as strings; give this one's to its own constructor"
            raise ValueError(msg)
        if self.references_at not in (None, "system", "end"):
            msg = f"references_at must be 'system' or 'end', not {self.references_at!r}"
            raise ValueError(msg)
        if self.system_role not in (None, True, False):
            msg = f"system_role must be true or false, not {self.system_role!r}"
            raise ValueError(msg)
        with at("retry"):
            object.__setattr__(self, "retry", Retry.coerce(self.retry))
        with at("fallbacks"):
            object.__setattr__(self, "fallbacks", _coerce_fallbacks(self.fallbacks))
        _require_history(self.history)
        most: Any = self.max_concurrency
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            msg = f"max_concurrency must be a whole number of at least 1, not {most!r}"
            raise ValueError(msg)

    def _place_base_url(self) -> None:
        """Copy `base_url` to the settings, from which it is used."""
        url: Any = self.base_url
        if url is None:
            return
        if not isinstance(url, str) or not url.strip():
            msg = f"base_url must be an address like 'http://localhost:8000/v1', not {url!r}"
            raise ValueError(msg)
        if not isinstance(self.model, str) or names_mixture(self.model) or is_on_this_machine(self.model):
            msg = "base_url is for models given as 'provider:model' that have a server; leave it out"
            raise ValueError(msg)
        if self.settings.get("base_url", url) != url:
            msg = "base_url is given twice, also in settings; leave one out"
            raise ValueError(msg)
        object.__setattr__(self, "settings", {**self.settings, "base_url": url})

    def __repr__(self) -> str:
        """Return a repr with the model id instead of the model, whose own repr may contain secrets."""
        name = f", name={self.name!r}" if self.name else ""
        return f"{type(self).__name__}({self.id!r}{name})"

    @property
    def id(self) -> str:
        """The model id: the given string, or the id that the model reports."""
        return self.model if isinstance(self.model, str) else model_id(self.model)

    def seen(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return the part of a conversation that this proposer is sent, according to `history`.

        Args:
            messages: The conversation.
        """
        if self.history is None or self.history == "all":
            return list(messages)
        questions = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
        turns = self.history if isinstance(self.history, int) else 1
        first = questions[-turns:][0] if questions else len(messages) - 1
        last = first + 1 if self.history == _QUESTION else len(messages)
        return [
            message for place, message in enumerate(messages) if isinstance(message, SystemMessage) or first <= place < last
        ]

    @classmethod
    def coerce(cls, value: Any) -> Proposer:
        """Convert a value to a proposer.

        Args:
            value: A string, a Runnable, a mapping of this class's arguments, or a `Proposer`.

        Raises:
            ValueError: The value has another type, or the mapping has an unknown key or an invalid value.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, (str, Runnable)):
            return cls(value)
        if not isinstance(value, Mapping):
            msg = f"{value!r} is not a member; give 'provider:model', a chat model, another Runnable, or a Proposer"
            raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
        value = _with_mixture(value)
        known = [one.name for one in fields(cls)]
        if unknown := sorted(str(key) for key in value if key not in known):
            close = get_close_matches(unknown[0], known, n=1)
            remedy = f"; did you mean {close[0]!r}?" if close else f"; choose one of: {', '.join(known)}."
            msg = (
                f"unknown key {unknown[0]!r} in a member{remedy} Arguments of the model, such as temperature, belong in "
                f"`settings: {{temperature: 0.5}}`"
            )
            raise ValueError(msg)
        if "model" not in value:
            msg = "a member has no `model`; add `model: provider:model`, or `preset: NAME` or `config: FILE` for a mixture"
            raise ValueError(msg)
        return cls(**value)

    def resolve(self, client: Mapping[str, Any], *, retry: Retry | None = None) -> Member:
        """Make the callable member.

        Args:
            client: Arguments for the constructors of models given as strings. This proposer's `settings` override them.
            retry: The mixture's retry policy. This proposer's own policy overrides it.

        Raises:
            ValueError: The model cannot be made, or it retries by itself although this proposer has a policy.
        """
        fallbacks = each(self.fallbacks, lambda other: self._role_of(other).resolve(client, retry=retry), place="fallbacks: ")
        if not isinstance(self.model, str):
            policy = policy_for(self.model, own=self.retry, shared=retry)
            return Member(spec=self, runnable=self.model, id=self.id, retry=policy, fallbacks=fallbacks)
        if names_mixture(self.model):
            model = resolve_mixture(self.model, self.settings, client)
            policy = policy_for(model, own=self.retry, shared=retry)
            return Member(spec=self, runnable=model, id=self.model, retry=policy, fallbacks=fallbacks)
        own = {name: value for name, value in self.settings.items() if value is not None}
        # The mixture's key is for members without their own.
        key = client.get("api_key")
        settings = {**{name: value for name, value in client.items() if name != "api_key"}, **own}
        model = resolve_model(self.model, settings, key=key)
        policy = self.retry or retry
        if policy is not None and "max_retries" in settings:
            msg = f"{self.model!r} has both retry and max_retries, which would multiply; give one of them"
            raise ValueError(msg)
        changed: dict[str, Any] = {}
        if "max_retries" in settings and "max_retries" not in type(model).model_fields:
            policy = Retry(attempts=settings["max_retries"] + 1)
            changed["max_retries"] = None
        elif policy is not None:
            changed.update(without_retries(model))
        if settings.get("timeout") is not None and (place := dialect_of(model).timeout) != ("timeout",):
            changed |= {"timeout": None, **_at_place(place, settings["timeout"], settings)}
        if changed:
            kept = {name: value for name, value in {**settings, **changed}.items() if value is not None}
            model = resolve_model(self.model, kept, key=key)
        return Member(spec=self, runnable=model, id=self.model, retry=policy, fallbacks=fallbacks)

    def _role_of(self, other: Proposer) -> Proposer:
        """Return a fallback with the name, role and history of this proposer, unless it has its own."""
        return replace(
            other,
            name=self.name if other.name is None else other.name,
            system_prompt=self.system_prompt if other.system_prompt is None else other.system_prompt,
            history=self.history if other.history is None else other.history,
        )


def _with_mixture(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a member's arguments with the key `preset` or `config` replaced by `model: preset:...` or `model: config:...`."""
    named = [name for name in ("preset", "config") if name in value]
    if not named:
        return value
    if len(named) > 1 or "model" in value:
        msg = "a member has one of `model`, `preset` and `config`"
        raise ValueError(msg)
    what: Any = value[named[0]]
    if not isinstance(what, str) or not what.strip():
        msg = f"{named[0]} must be a text, not {what!r}"
        raise ValueError(msg)
    return {"model": f"{named[0]}:{what}", **{name: item for name, item in value.items() if name != named[0]}}


def _coerce_fallbacks(value: Any) -> tuple[Proposer, ...]:
    # A single fallback can be given without a list.
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    found = each(items, Proposer.coerce)
    for number, fallback in enumerate(found, start=1):
        if fallback.fallbacks:
            msg = f"item {number} has fallbacks of its own; list them all here, in their order"
            raise ValueError(msg)
    return found


def _require_settings(value: Any) -> None:
    if not isinstance(value, Mapping):
        msg = f"settings must be a mapping like {{'temperature': 0.2}}, not {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
    for name in value:
        if not isinstance(name, str):
            msg = f"settings: the key {name!r} is not a text; put it in quotes"
            raise ValueError(msg)  # noqa: TRY004  # the settings are the invalid value


def _require_history(value: Any) -> None:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is not None and not is_number and value not in ("all", _QUESTION):  # not a set: the value may be unhashable
        msg = f"history must be 'all', 'question' or a number of turns of at least 1, not {value!r}"
        raise ValueError(msg)


def _at_place(place: tuple[str, ...], value: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a setting under its path: a name, or a name and a key in the mapping of that setting."""
    name, *inner = place
    return {name: {**(settings.get(name) or {}), inner[0]: value} if inner else value}
