"""Dialects: the content, parameters and message order that each provider's client takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_moa.data.media import AUDIO, FILE, IMAGE, VIDEO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel
    from langchain_core.language_models.model_profile import ModelProfile

CAPABILITIES = {IMAGE: "image_inputs", AUDIO: "audio_inputs", VIDEO: "video_inputs", FILE: "pdf_inputs"}
"""The profile's key of the capability to take each kind of media."""

_EVERYTHING = frozenset({IMAGE, AUDIO, VIDEO, FILE})


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What the client of a provider takes.

    Attributes:
        family: The provider whose own content blocks are sent unchanged: `anthropic`, `openai`, `google` or `bedrock`. Empty
            for none; `any` for unknown clients, to which all blocks are sent unchanged.
        media: The kinds of media that the client can send in a user message.
        assumed: The kinds of media that a model is assumed to take if its profile does not say. Default: all.
        result_media: The kinds of media that a tool result can have.
        image_urls: Whether images are sent as `image_url` blocks, because the client does not support LangChain's standard
            blocks.
        strings_only: Whether the content of a message must be a string.
        cache_control: Whether text blocks can have `cache_control`.
        user_first: Whether the first message after the system message must be a user message.
        user_after_tool: Whether a user message can follow a tool result.
        own_thoughts: Whether the model's own messages can be sent back to it unchanged, including thoughts.
        spellings: The client's names of common parameters, where they differ.
        without: The common parameters that the provider does not have.
        without_responses: The common parameters that OpenAI's Responses API does not have.
        in_body: The common parameters that the client takes in `extra_body` only.
        options: Whether common parameters are sent in `options`, together with the options of the model.
        most_temperature: The highest temperature, or `None` if unknown.
        one_of_temperature_and_top_p: Whether temperature and `top_p` cannot be sent together.
        timeout: The path of the setting for the client's timeout.
        no_retries: Keyword arguments of a call that disable the client's retries, if its fields cannot.
    """

    family: str = ""
    media: frozenset[str] = frozenset({IMAGE})
    assumed: frozenset[str] = _EVERYTHING
    result_media: frozenset[str] = frozenset()
    image_urls: bool = False
    strings_only: bool = False
    cache_control: bool = False
    user_first: bool = False
    user_after_tool: bool = True
    own_thoughts: bool = True
    spellings: Mapping[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    without_responses: frozenset[str] = frozenset()
    in_body: frozenset[str] = frozenset()
    options: bool = False
    most_temperature: float | None = None
    one_of_temperature_and_top_p: bool = False
    timeout: tuple[str, ...] = ("timeout",)
    no_retries: Mapping[str, Any] = field(default_factory=dict)

    def spelling(self, parameter: str) -> str:
        """Return the client's name of a common parameter."""
        return self.spellings.get(parameter, parameter)

    def takes(self, kind: str, profile: ModelProfile | None, *, in_result: bool = False) -> bool:
        """Return whether a model takes a kind of media.

        Args:
            kind: The kind of media.
            profile: The capabilities of the model, if known.
            in_result: Whether the media are in a tool result instead of a user message.
        """
        said = (profile or {}).get(CAPABILITIES[kind])
        return kind in (self.result_media if in_result else self.media) and (
            kind in self.assumed if said is None else bool(said)
        )


_UNKNOWN = Dialect(family="any", media=_EVERYTHING, result_media=_EVERYTHING, cache_control=True)

_PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})

_ANTHROPIC = Dialect(
    family="anthropic",
    media=frozenset({IMAGE, FILE}),
    result_media=frozenset({IMAGE, FILE}),
    cache_control=True,
    user_first=True,
    without=_PENALTIES | {"seed", "verbosity"},
    most_temperature=1.0,
    one_of_temperature_and_top_p=True,
)

_GOOGLE = Dialect(
    family="google",
    media=_EVERYTHING,
    user_first=True,
    spellings={"max_tokens": "max_output_tokens"},
    without=frozenset({"verbosity"}),
)

# By the name of the model's class or its nearest base class, so that no provider's package has to be imported.
_DIALECTS = {
    # Many servers speak OpenAI's protocol.
    "BaseChatOpenAI": Dialect(
        family="openai",
        media=frozenset({IMAGE, AUDIO, FILE}),
        assumed=frozenset({IMAGE}),
        without_responses=_PENALTIES | {"stop", "seed"},
        in_body=frozenset({"top_k"}),
    ),
    "ChatAnthropic": _ANTHROPIC,
    "ChatAnthropicVertex": _ANTHROPIC,
    "ChatBedrockConverse": Dialect(
        family="bedrock",
        media=frozenset({IMAGE, FILE}),
        result_media=frozenset({IMAGE}),
        user_first=True,
        spellings={"max_tokens": "maxTokens", "top_p": "topP"},
        without=_PENALTIES | {"top_k", "seed", "reasoning_effort", "verbosity"},
        one_of_temperature_and_top_p=True,
    ),
    "ChatCohere": Dialect(
        image_urls=True,
        own_thoughts=False,
        spellings={"top_p": "p", "top_k": "k"},
        without=frozenset({"reasoning_effort", "verbosity"}),
        most_temperature=1.0,
        timeout=("timeout_seconds",),
        no_retries={"request_options": {"max_retries": 0}},
    ),
    "ChatDeepSeek": Dialect(media=frozenset(), strings_only=True, without=frozenset({"top_k", "seed", "verbosity"})),
    "ChatFireworks": Dialect(image_urls=True, without=frozenset({"verbosity"})),
    "ChatGoogleGenerativeAI": _GOOGLE,
    "ChatGroq": Dialect(image_urls=True, without=frozenset({"top_k", "verbosity"})),
    "ChatMistralAI": Dialect(
        image_urls=True,
        user_first=True,
        user_after_tool=False,
        spellings={"seed": "random_seed"},
        without=frozenset({"top_k", "verbosity"}),
        most_temperature=1.5,
    ),
    "ChatOllama": Dialect(
        image_urls=True,
        spellings={"max_tokens": "num_predict"},
        without=frozenset({"reasoning_effort", "verbosity"}),
        options=True,
        timeout=("client_kwargs", "timeout"),
    ),
    "ChatTogether": Dialect(image_urls=True, without=frozenset({"verbosity"}), in_body=frozenset({"top_k"})),
    "ChatVertexAI": _GOOGLE,
    "ChatXAI": Dialect(image_urls=True, without=frozenset({"top_k", "verbosity"})),
}


def dialect_of(model: BaseChatModel | None) -> Dialect:
    """Return the dialect of a model.

    Args:
        model: The chat model, or `None` for other Runnables.
    """
    return _UNKNOWN if model is None else dialect_of_class(type(model))


@cache
def dialect_of_class(class_: type) -> Dialect:
    """Return the dialect of a class of chat models.

    Args:
        class_: The class.
    """
    known = (_DIALECTS[base.__name__] for base in class_.__mro__ if base.__name__ in _DIALECTS)
    return next(known, _UNKNOWN)
