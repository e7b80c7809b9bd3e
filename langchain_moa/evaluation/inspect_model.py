"""A mixture, or one of its members, as a model of Inspect: `inspect eval TASK --model moa/moa.yaml`."""

from __future__ import annotations

import atexit
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    RetryDecision,
    messages_to_openai,
)
from inspect_ai.tool import ToolCall, ToolFunction
from langchain_core.exceptions import ModelAuthenticationError, ModelRateLimitError
from langchain_core.messages import convert_to_messages
from langchain_core.runnables import RunnableBinding
from typing_extensions import override

from langchain_moa.batch.limits import callable_members
from langchain_moa.chat_model.binding import MARK
from langchain_moa.chat_model.chat_model import ChatMoA
from langchain_moa.data.answer import read_answer
from langchain_moa.data.errors import AggregatorFailedError, MoAError, ProposersFailedError
from langchain_moa.data.finish_reasons import FinishKind, finish_kind, finish_reason_of
from langchain_moa.data.sanitizing import spelled_out
from langchain_moa.data.state import MoAContext
from langchain_moa.data.usage import total_usage
from langchain_moa.engine.graph import build_alone, build_graph
from langchain_moa.evaluation.inspect_settings import call_settings
from langchain_moa.evaluation.variants import find_member
from langchain_moa.limits.retry import is_retryable, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inspect_ai.model import ChatMessage, Content, StopReason
    from inspect_ai.tool import ToolChoice, ToolInfo
    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_moa.mixture.mixture import Mixture


_STOP_REASONS: dict[FinishKind, StopReason] = {
    "stop": "stop",
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


async def read_messages(messages: Sequence[ChatMessage]) -> list[BaseMessage]:
    """Return a conversation of Inspect's as LangChain's."""
    # Both sides read OpenAI's format, with images, documents and tool calls.
    return convert_to_messages([dict(message) for message in await messages_to_openai(list(messages))])


def tool_settings(tools: Sequence[ToolInfo], choice: ToolChoice, config: GenerateConfig) -> dict[str, Any]:
    """Return the arguments of `bind_tools`; none if no tool may be called.

    Args:
        tools: The tools that there are.
        choice: Which of them may or must be called.
        config: Inspect's settings.
    """
    if not tools or choice == "none":
        return {}
    settings: dict[str, Any] = {"tools": [_function(tool) for tool in tools]}
    if choice != "auto":
        settings["tool_choice"] = choice.name if isinstance(choice, ToolFunction) else choice
    if config.parallel_tool_calls is not None:
        settings["parallel_tool_calls"] = config.parallel_tool_calls
    return settings


def choice_of(message: AIMessage, *, model: str) -> ChatCompletionChoice:
    """Return an answer as Inspect's.

    Args:
        message: The answer.
        model: The model's name in the log.
    """
    reason = finish_reason_of(message.response_metadata)
    kind = finish_kind(reason)
    calls = [ToolCall(id=call["id"] or "", function=call["name"], arguments=call["args"]) for call in message.tool_calls]
    calls += [
        ToolCall(id=bad["id"] or "", function=bad["name"] or "", arguments={}, parse_error=bad["error"] or "not valid JSON")
        for bad in message.invalid_tool_calls
    ]
    assistant = ChatMessageAssistant(content=_content(message), tool_calls=calls or None, model=model, source="generate")
    known = "tool_calls" if calls else "stop" if reason is None else "unknown" if kind is None else _STOP_REASONS[kind]
    failure = read_answer(message)["failure"]
    refused = failure is not None and failure["kind"] in ("refusal", "content_filter")
    return ChatCompletionChoice(message=assistant, stop_reason="content_filter" if refused else known)


def usage_of(moa: Mapping[str, Any]) -> ModelUsage | None:
    """Return the tokens and dollars of all calls of an answer.

    Args:
        moa: The answer's account.
    """
    total = total_usage(moa)
    if total is None:
        return None
    read = (total.get("input_token_details") or {}).get("cache_read")
    written = (total.get("input_token_details") or {}).get("cache_creation")
    return ModelUsage(
        # Inspect counts the tokens that were in a cache apart.
        input_tokens=max(0, total["input_tokens"] - (read or 0) - (written or 0)),
        output_tokens=total["output_tokens"],
        total_tokens=total["total_tokens"],
        input_tokens_cache_read=read,
        input_tokens_cache_write=written,
        reasoning_tokens=(total.get("output_token_details") or {}).get("reasoning"),
        total_cost=moa.get("cost_usd"),
    )


def _function(tool: ToolInfo) -> dict[str, Any]:
    parameters = tool.parameters.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": parameters}}


def _content(message: AIMessage) -> str | list[Content]:
    thoughts = [str(block.get("reasoning") or "") for block in message.content_blocks if block["type"] == "reasoning"]
    reasoning: list[Content] = [ContentReasoning(reasoning=thought) for thought in thoughts if thought]
    return [*reasoning, ContentText(text=str(message.text))] if reasoning else str(message.text)


_NO_LIMIT = 10_000


class SilentProposers:
    """Which proposers have failed on every question: the mixture goes on without them, and nothing else would say so."""

    def __init__(self, model_name: str) -> None:
        """Start without any question.

        Args:
            model_name: What Inspect calls the mixture.
        """
        self._model_name = model_name
        self._asked: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}

    def count(self, account: Mapping[str, Any]) -> None:
        """Count an answer's calls.

        Args:
            account: The answer's `response_metadata["moa"]`.
        """
        for number, calls in enumerate(account["layers"], start=1):
            for call in calls:
                if call["status"] in ("late", "cancelled"):
                    continue  # it was not waited for
                who = f"proposer {call['proposer']} of layer {number}, {call['name']}"
                self._asked[who] += 1
                self._answered[who] += call["status"] == "ok"
                if (error := call.get("error")) is not None:
                    self._reasons[who] = f"{error['kind']}: {error['message']}"

    def sentences(self) -> list[str]:
        """Return what there is to say: a sentence for each proposer that has failed on all of at least two questions."""
        return [
            spelled_out(" ".join(f"{self._model_name}: {who}, failed on all {asked} questions: {self._reasons[who]}".split()))
            for who, asked in self._asked.items()
            if asked > 1 and not self._answered[who]
        ]

    def tell(self) -> None:
        """Say it on standard error."""
        for sentence in self.sentences():
            print(sentence, file=sys.stderr)  # noqa: T201  # behind Inspect's own display


class InspectMoA(ModelAPI):
    """A mixture as Inspect calls it.

    The name after `moa/` is a configuration file or a preset, and behind a `#` one of its members to be asked alone:
    `moa/moa.yaml`, `moa/local`, `moa/moa.yaml#2` (the second proposer), `moa/moa.yaml#sceptic` (by its name or model id),
    `moa/moa.yaml#aggregator`. Model arguments (`-M num_layers=1`) are fields that override the file's.

    What Inspect sets (temperature, max_tokens, stop words, seed, ...) reaches every call, or is an error; tools are the
    aggregator's. The log has tokens and dollars of all calls, and in the output's metadata the account by layer and proposer
    (`moa`) and the references. An answer that the models refuse has the stop reason `content_filter`, or `unknown` if it is
    empty.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **model_args: Any,
    ) -> None:
        """Make the model; `model_args` are fields of the mixture.

        Raises:
            ValueError: There is no such file, preset or member, the description is wrong, or a key is missing.
        """
        if base_url is not None:
            msg = "moa/...: a mixture has no address; give its members theirs, as settings: {base_url: ...} in the file"
            raise ValueError(msg)
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        source, _, member = model_name.partition("#")
        key = {} if api_key is None else {"api_key": api_key}
        is_file = source.endswith((".yaml", ".yml")) or Path(source).is_file()
        make = ChatMoA.from_config if is_file else ChatMoA.from_preset
        self._moa = make(source, **key, **model_args)
        self._member = find_member(self._moa, member) if member else None
        self._graph = self._compiled(self._moa)
        self._silent = SilentProposers(model_name)
        # Inspect tells no model that an evaluation is over.
        atexit.register(self._silent.tell)
        # Inspect's cache knows a model by its name and its address: a file that was edited is another mixture.
        described = json.dumps(self._moa.describe(), sort_keys=True, default=str)
        self.base_url = f"moa:{hashlib.sha256(described.encode()).hexdigest()[:16]}"

    @override
    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        graph: Any = self._graph
        bound: dict[str, Any] = {}
        if wanted := tool_settings(tools, tool_choice, config):
            graph, bound = self._bound(wanted)
        members = callable_members(self._moa) if self._member is None else [self._member]
        context = MoAContext(model_kwargs=call_settings(config, members), aggregator_kwargs=bound)
        messages = await read_messages(input)
        try:
            state = await graph.ainvoke({"messages": messages}, {"recursion_limit": _NO_LIMIT}, context=context)
        except MoAError as error:
            if (output := self._refused(error)) is None:
                raise
            return output
        message = state["messages"][-1]
        account = message.response_metadata["moa"]
        self._silent.count(account)
        # Its viewer shows it among the sample's events.
        transcript().info({"moa": account, "references": state.get("references", [])}, source="langchain-moa")
        return ModelOutput(
            model=self.model_name,
            choices=[choice_of(message, model=self.model_name)],
            usage=usage_of(account),
            metadata={"moa": account, "references": state.get("references", [])},
            response_id=message.response_metadata.get("id"),
        )

    @override
    def connection_key(self) -> str:
        # Each mixture has providers of its own, and what one can take says nothing about another.
        return self.model_name

    @override
    def should_retry(self, ex: Exception) -> RetryDecision:
        wait = retry_after(ex)
        if _caused_by(ex, ModelRateLimitError):
            return RetryDecision.rate_limit(wait)
        if not is_retryable(ex):
            return RetryDecision.no()
        # Of the failures of proposers there is a name only.
        failures = [reference["error"] for reference in ex.references] if isinstance(ex, ProposersFailedError) else []
        limited = any("RateLimit" in failure["kind"] for failure in failures if failure is not None)
        return RetryDecision.rate_limit(wait) if limited else RetryDecision.transient(wait)

    @override
    def is_auth_failure(self, ex: Exception) -> bool:
        return _caused_by(ex, ModelAuthenticationError)

    @override
    def tool_result_images(self) -> bool:
        return True

    def _compiled(self, mixture: Mixture) -> Any:
        graph = build_graph(mixture) if self._member is None else build_alone(mixture, self._member)
        return graph.compile(checkpointer=False)

    def _bound(self, wanted: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the graph for a call with tools, and what its last member is called with."""
        asked = self._moa if self._member is None else self._moa.model_copy(update={"aggregator": self._member.spec})
        bound = asked.bind_tools(**wanted)
        if isinstance(bound, RunnableBinding):
            # One compiled graph serves all tools; they go along with the call.
            return self._graph, {key: value for key, value in bound.kwargs.items() if key != MARK}
        if isinstance(bound, ChatMoA) and self._member is None:
            return self._compiled(bound), {}
        msg = f"{self.model_name}: this member cannot be given tools"
        raise ValueError(msg)

    def _refused(self, error: MoAError) -> ModelOutput | None:
        """Return the output for a mixture whose models answered, though nothing; `None` where a call failed."""
        kinds = {reference["error"]["kind"] for reference in error.references if reference["error"] is not None}
        if isinstance(error, AggregatorFailedError):
            silent = bool(error.causes) and all(cause is None for cause in error.causes)
            refused = silent and any(failure["kind"] in ("refusal", "content_filter") for failure in error.failures)
        else:
            silent = isinstance(error, ProposersFailedError) and kinds <= {"refusal", "content_filter", "empty"}
            refused = silent and "empty" not in kinds
        if not silent:
            return None
        reason = "content_filter" if refused else "unknown"
        output = ModelOutput.from_content(self.model_name, "", reason, str(error))  # type: ignore[arg-type]  # one of its reasons
        output.metadata = {"references": list(error.references)}
        return output


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__
    return False
