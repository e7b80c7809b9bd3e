"""Convert tools and schemas of a request to the format of the aggregator's provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_openai.chat_models.base import BaseChatOpenAI
from openai import LengthFinishReasonError

from langchain_moa.chat_model.binding import MARK
from langchain_moa.data.errors import AggregatorFailedError
from langchain_moa.data.redaction import redact
from langchain_moa.data.usage import account
from langchain_moa.serving.errors import ApiError
from langchain_moa.strategies.aggregation import refuse_unusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_moa.chat_model.chat_model import ChatMoA
    from langchain_moa.data.errors import MoAError


class Bound(NamedTuple):
    """The aggregator's keyword arguments in the format of its provider.

    Attributes:
        own: The keyword arguments.
        by_tool: Whether the provider returns an answer in a schema as the arguments of a tool call.
        streams: Whether the aggregator is streamed.
    """

    own: dict[str, Any]
    by_tool: bool
    streams: bool


def bound_to_aggregator(moa: ChatMoA, wanted: dict[str, Any], *, stream: bool) -> Bound:
    """Convert keyword arguments to the format of the aggregator's provider.

    Args:
        moa: The mixture.
        wanted: The arguments, in the format of chat completions.
        stream: Whether the client wants a stream.

    Raises:
        ApiError: The aggregator does not support tools, or a schema.
    """
    if not wanted:
        return Bound({}, by_tool=False, streams=stream)
    try:
        refuse_unusable(moa.strategies.aggregation, wanted)
    except ValueError as error:
        _refuse(next(iter(wanted)), str(error))
    model = moa.members.aggregator.chat_model
    if model is None:
        _refuse(next(iter(wanted)), "the aggregator of this mixture is not a chat model")
    if isinstance(model, BaseChatOpenAI):
        # They already have this format. Calls with a schema are streamed, because LangChain's client parses answers that are
        # not streamed, and raises an error if tools are not strict or the answer is cut. Clients parse answers themselves.
        return Bound(wanted, by_tool=False, streams=stream or "response_format" in wanted)
    own, by_tool = _translated(moa, wanted)
    return Bound(own, by_tool=by_tool, streams=stream)


def _translated(moa: ChatMoA, wanted: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return tools or a schema in the format of another provider, and whether the schema became a tool."""
    tools, form, choice = (wanted.get(name) for name in ("tools", "response_format", "tool_choice"))
    if tools and form:
        _refuse(
            "response_format",
            "the aggregator of this mixture does not support tools and a schema in one request; send one of them",
        )
    if form:
        own = _arguments(lambda: _structured(moa, form), "response_format")
        return own, bool(own.get("tools"))
    if choice == "none":
        return {}, False
    more: dict[str, Any] = {}
    if isinstance(choice, dict):
        more["tool_choice"] = choice["function"]["name"]
    elif choice == "required":
        more["tool_choice"] = "any"
    if (parallel := wanted.get("parallel_tool_calls")) is not None:
        more["parallel_tool_calls"] = parallel
    return _arguments(lambda: moa.bind_tools(tools or [], **more), "tools"), False


def _structured(moa: ChatMoA, form: dict[str, Any]) -> Any:
    if form["type"] == "json_object":
        return moa.with_structured_output({}, method="json_mode")
    name, schema = form["json_schema"]["name"], form["json_schema"].get("schema") or {}
    description = form["json_schema"].get("description") or "The answer."
    return moa.with_structured_output({"title": name, "description": description, **schema})


def _arguments(bind: Callable[[], Any], param: str) -> dict[str, Any]:
    """Return the keyword arguments that LangChain binds to a model for tools or a schema."""
    try:
        bound = bind()
    except NotImplementedError:
        _refuse(param, "the aggregator of this mixture does not support it")
    except (TypeError, ValueError) as error:
        _refuse(param, redact(str(error)))
    # With a schema, LangChain adds a parser. Clients of this server parse the answer themselves.
    first = bound.first if isinstance(bound, RunnableSequence) else bound
    if not isinstance(first, RunnableBinding):
        _refuse(param, "the aggregator of this mixture does not support it")
    return {name: first.kwargs[name] for name in first.kwargs.get(MARK, ()) if name in first.kwargs}


def _refuse(param: str, why: str) -> NoReturn:
    raise ApiError(400, f"{param}: {why}", code="unsupported_parameter", param=param)


def cut_answer(error: MoAError, moa: ChatMoA) -> AIMessage | None:
    """Return the partial answer if OpenAI's client raised an error because an answer with a schema reached its token limit."""
    causes = error.causes if isinstance(error, AggregatorFailedError) else ()
    cut = causes[-1] if causes else None
    if not isinstance(cut, LengthFinishReasonError):
        return None
    usage: UsageMetadata | None = None
    if (counted := cut.completion.usage) is not None:
        usage = UsageMetadata(
            input_tokens=counted.prompt_tokens, output_tokens=counted.completion_tokens, total_tokens=counted.total_tokens
        )
    member = moa.members.aggregator
    entry = {"name": member.name, "model": member.id, "status": "ok", "usage": usage}
    steps = [step for step in error.steps if step["error"] is None or step["error"]["kind"] != type(cut).__name__]
    metadata = {"finish_reason": "length", "moa": account(error.references, entry, steps=steps, stopped=None)}
    text = cut.completion.choices[0].message.content or ""
    return AIMessage(text, usage_metadata=usage, response_metadata=metadata)
