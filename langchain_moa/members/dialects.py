"""Dialects: what each provider's client takes, where it differs from LangChain's common form."""

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
"""What a profile calls the capability to take each kind of medium."""

_EVERYTHING = frozenset({IMAGE, AUDIO, VIDEO, FILE})


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What the clients of one provider take.

    Attributes:
        family: Whose own content blocks are sent as they are: `anthropic`, `openai`, `google` or `bedrock`; empty for none,
            `any` for a client of which nothing is known.
        media: Which kinds of media the client can send in a user's message.
        assumed: Which of these a model takes whose profile says nothing. Default: all.
        result_media: Which kinds of media a tool's result may hold.
        image_urls: Whether images are sent as `image_url` blocks, since the client does not know LangChain's standard ones.
        strings_only: Whether the content of a message must be a string.
        cache_control: Whether text blocks may have `cache_control`.
        user_first: Whether the first message after the system message must be the user's.
        user_after_tool: Whether the user may speak right after the result of a tool.
        own_thoughts: Whether a message of the model, thoughts included, can be sent back to it as it is.
        spellings: The names of common parameters where the client has others.
        without: The common parameters that the provider does not have.
        without_responses: Those that OpenAI's Responses API does not have.
        in_body: Those that the client takes in `extra_body` only.
        options: Whether they are sent as `options`, together with those of the model.
        most_temperature: The highest temperature; `None` where that is not known.
        one_of_temperature_and_top_p: Whether only one of these two can be sent.
        timeout: Where the client takes its timeout, if it has no field of that name: the path of the setting.
        no_retries: The keyword arguments of a call that keep the client from trying again, where its fields cannot.
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
        """Tell whether a message to a model may hold a medium.

        Args:
            kind: The kind of medium.
            profile: What the model says it can take.
            in_result: Whether the message is the result of a tool, and not the user's.
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

# By the name of the class or of a base class, since no provider's package is imported for this. A subclass stands before its
# base class in the method resolution order, so the nearest one counts.
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
    """Return what the client of a model takes.

    Args:
        model: The chat model; `None` for another Runnable, of which nothing is known.
    """
    return _UNKNOWN if model is None else dialect_of_class(type(model))


@cache
def dialect_of_class(class_: type) -> Dialect:
    """Return what the client of a class of chat models takes.

    Args:
        class_: The class.
    """
    known = (_DIALECTS[base.__name__] for base in class_.__mro__ if base.__name__ in _DIALECTS)
    return next(known, _UNKNOWN)
