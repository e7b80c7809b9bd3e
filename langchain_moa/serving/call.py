"""A request as a call of the mixture that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_openai.chat_models.base import BaseChatOpenAI

from langchain_moa.data.redaction import redact
from langchain_moa.serving.api_error import ApiError
from langchain_moa.serving.messages import to_messages
from langchain_moa.serving.parameters import EVERY_CALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

    from langchain_moa.chat_model.chat_model import ChatMoA
    from langchain_moa.serving.chat_request import ChatRequest

_AGGREGATORS = ("tools", "tool_choice", "parallel_tool_calls", "response_format")


class Call(NamedTuple):
    """A mixture, ready to be asked.

    Attributes:
        runnable: The mixture, with tools or a schema bound to its aggregator where the request has some.
        messages: The conversation.
        kwargs: The call's keyword arguments.
        by_tool: Whether an answer in a schema comes as the arguments of a tool call, as some providers have it.
    """

    runnable: Any
    messages: list[BaseMessage]
    kwargs: dict[str, Any]
    by_tool: bool = False

    @classmethod
    def of(cls, moa: ChatMoA, request: ChatRequest) -> Call:
        """Make the call that a request asks for.

        Args:
            moa: The mixture that it names.
            request: The request.

        Raises:
            ApiError: The mixture's aggregator can have no tools, or no schema.
        """
        given = {name: getattr(request, name) for name in EVERY_CALL}
        kwargs = {name: value for name, value in (*given.items(), ("max_tokens", request.longest)) if value is not None}
        if request.stops:
            kwargs["stop"] = request.stops
        messages = to_messages(request.messages)
        wanted = _wanted(request)
        if not wanted:
            return cls(moa, messages, kwargs)
        model = moa.members.aggregator.chat_model
        if model is None:
            _refuse(next(iter(wanted)), "the aggregator of this mixture is no chat model that could have it")
        if isinstance(model, BaseChatOpenAI):
            # OpenAI's own words need no translation, and lose nothing by it.
            return cls(moa, messages, {**kwargs, **wanted})
        bound, by_tool = _bound(moa, wanted)
        return cls(bound, messages, kwargs, by_tool)


def _wanted(request: ChatRequest) -> dict[str, Any]:
    """Return what is for the aggregator, as it came, without what says nothing."""
    wanted = {name: value for name in _AGGREGATORS if (value := request.wire(name)) is not None}
    if not wanted.get("tools"):
        wanted = {name: value for name, value in wanted.items() if name == "response_format"}
    if wanted.get("response_format", {}).get("type") == "text":
        del wanted["response_format"]
    return wanted


def _bound(moa: ChatMoA, wanted: dict[str, Any]) -> tuple[Any, bool]:
    """Bind tools or a schema to an aggregator whose provider has words of its own for them."""
    tools, form, choice = (wanted.get(name) for name in ("tools", "response_format", "tool_choice"))
    if tools and form:
        _refuse("response_format", "the aggregator of this mixture takes no schema beside tools; give one of them")
    if not tools:
        return _in_form(moa, form)
    if choice == "none":
        return moa, False
    more: dict[str, Any] = {}
    if isinstance(choice, dict):
        more["tool_choice"] = choice["function"]["name"]
    elif choice == "required":
        more["tool_choice"] = "any"
    if (parallel := wanted.get("parallel_tool_calls")) is not None:
        more["parallel_tool_calls"] = parallel
    return _made("tools", lambda: moa.bind_tools(tools, **more)), False


def _in_form(moa: ChatMoA, form: Any) -> tuple[Any, bool]:
    if form["type"] == "json_object":
        made = _made("response_format", lambda: moa.with_structured_output({}, method="json_mode"))
    else:
        name, schema = form["json_schema"]["name"], form["json_schema"].get("schema") or {}
        described = {"title": name, "description": form["json_schema"].get("description") or "The answer.", **schema}
        made = _made("response_format", lambda: moa.with_structured_output(described))
    # The mixture comes first, and then a parser; the client parses for itself.
    first = made.first if isinstance(made, RunnableSequence) else None
    if not isinstance(first, RunnableBinding):
        _refuse("response_format", "the aggregator of this mixture takes no schema")
    return first, bool(first.kwargs.get("tools"))


def _made(param: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except NotImplementedError:
        _refuse(param, "the aggregator of this mixture cannot have it")
    except (TypeError, ValueError) as error:
        _refuse(param, redact(str(error)))


def _refuse(param: str, why: str) -> NoReturn:
    raise ApiError(400, f"{param}: {why}", code="unsupported_parameter", param=param)
