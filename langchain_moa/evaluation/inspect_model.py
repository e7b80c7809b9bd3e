"""A mixture, or one of its members, as a model for Inspect: `inspect eval TASK --model moa/moa.yaml`."""

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
    """Convert an Inspect conversation to LangChain messages."""
    # Both sides support OpenAI's format, including images, documents and tool calls.
    return convert_to_messages([dict(message) for message in await messages_to_openai(list(messages))])


def tool_settings(tools: Sequence[ToolInfo], choice: ToolChoice, config: GenerateConfig) -> dict[str, Any]:
    """Return the arguments of `bind_tools`, or an empty mapping if no tool may be called.

    Args:
        tools: The available tools.
        choice: Which tools may or must be called.
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
    """Convert an answer to Inspect's format.

    Args:
        message: The answer.
        model: The name of the model in the log.
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
        moa: The answer's `response_metadata["moa"]`.
    """
    total = total_usage(moa)
    if total is None:
        return None
    read = (total.get("input_token_details") or {}).get("cache_read")
    written = (total.get("input_token_details") or {}).get("cache_creation")
    return ModelUsage(
        # Inspect counts cached tokens separately.
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
    """Finds proposers that failed on every question, which would otherwise go unnoticed: the mixture answers without them."""

    def __init__(self, model_name: str) -> None:
        """Create it without calls.

        Args:
            model_name: The name of the mixture in Inspect.
        """
        self._model_name = model_name
        self._asked: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}

    def count(self, account: Mapping[str, Any]) -> None:
        """Count the calls of an answer.

        Args:
            account: The answer's `response_metadata["moa"]`.
        """
        for number, calls in enumerate(account["layers"], start=1):
            for call in calls:
                if call["status"] in ("late", "cancelled"):
                    continue  # the layer did not wait for it
                who = f"proposer {call['proposer']} of layer {number}, {call['name']}"
                self._asked[who] += 1
                self._answered[who] += call["status"] == "ok"
                if (error := call.get("error")) is not None:
                    self._reasons[who] = f"{error['kind']}: {error['message']}"

    def sentences(self) -> list[str]:
        """Return a sentence for each proposer that failed on all of at least two questions."""
        return [
            spelled_out(" ".join(f"{self._model_name}: {who}, failed on all {asked} questions: {self._reasons[who]}".split()))
            for who, asked in self._asked.items()
            if asked > 1 and not self._answered[who]
        ]

    def tell(self) -> None:
        """Print the sentences on standard error."""
        for sentence in self.sentences():
            print(sentence, file=sys.stderr)  # noqa: T201  # printed after Inspect's own display


class InspectMoA(ModelAPI):
    """A mixture as an Inspect model.

    The name after `moa/` is a configuration file or a preset, optionally with `#` and one of its members to evaluate alone:
    `moa/moa.yaml`, `moa/local`, `moa/moa.yaml#2` (the second proposer), `moa/moa.yaml#sceptic` (by its name or model id),
    `moa/moa.yaml#aggregator`. Model arguments (`-M num_layers=1`) override fields of the file.

    Settings of Inspect (temperature, max_tokens, stop sequences, seed, ...) are passed to every call, or are an error. Tools
    are passed to the aggregator. The log has the tokens and the cost of all calls, and the output's metadata has the calls by
    layer and proposer (`moa`) and the references. If the models refuse, the stop reason is `content_filter`; if they return
    empty answers, it is `unknown`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **model_args: Any,
    ) -> None:
        """Create the model; `model_args` are fields of the mixture.

        Raises:
            ValueError: The file, preset or member does not exist, the mixture is invalid, or a key is missing.
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
        # Inspect does not notify models of the end of an evaluation.
        atexit.register(self._silent.tell)
        # Inspect's cache identifies models by name and base URL, so an edited file needs another base URL.
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
        # Inspect's viewer shows this among the events of the sample.
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
        # Mixtures have different providers, so each needs its own connection limit.
        return self.model_name

    @override
    def should_retry(self, ex: Exception) -> RetryDecision:
        wait = retry_after(ex)
        if _caused_by(ex, ModelRateLimitError):
            return RetryDecision.rate_limit(wait)
        if not is_retryable(ex):
            return RetryDecision.no()
        # Failures of proposers have only the name of the error.
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
        """Return the graph for a call with tools, and the keyword arguments of its last member."""
        asked = self._moa if self._member is None else self._moa.model_copy(update={"aggregator": self._member.spec})
        bound = asked.bind_tools(**wanted)
        if isinstance(bound, RunnableBinding):
            # The compiled graph is reused: tools are passed with the call.
            return self._graph, {key: value for key, value in bound.kwargs.items() if key != MARK}
        if isinstance(bound, ChatMoA) and self._member is None:
            return self._compiled(bound), {}
        msg = f"{self.model_name}: this member cannot be given tools"
        raise ValueError(msg)

    def _refused(self, error: MoAError) -> ModelOutput | None:
        """Return the output if all models refused or returned empty answers, or `None` if a call failed."""
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
        output = ModelOutput.from_content(self.model_name, "", reason, str(error))  # type: ignore[arg-type]  # one of Inspect's stop reasons
        output.metadata = {"references": list(error.references)}
        return output


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__
    return False
