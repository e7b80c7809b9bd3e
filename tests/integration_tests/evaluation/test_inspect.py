"""Inspect's command line with a mixture and with its members: what the models are sent, and what the log contains."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.model import (
    ChatMessage,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    RetryDecision,
    get_model,
)
from inspect_ai.tool import ToolFunction, ToolInfo, ToolParams
from inspect_ai.util import JSONSchema

from langchain_moa import MoAError
from langchain_moa.evaluation.inspect_model import SilentProposers
from tests.loopback import Reply, able
from tests.loopback.reply import Usage
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog
    from langchain_core.language_models import BaseChatModel

    from tests.loopback import Loopback

# Warnings of Inspect's own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

_TASK = Path(__file__).with_name("task.py")

_MIXTURE = """
proposers:
  - openai:gpt-4.1-mini
  - model: openai:gpt-4.1-nano
    name: sceptic
    system_prompt: Doubt it.
aggregator: openai:gpt-4.1
num_layers: 1
"""


@dataclass(frozen=True)
class _Inspect:
    loopback: Loopback
    folder: Path

    def __call__(self, task: str, model: str, *options: str) -> dict[str, EvalLog]:
        """Run `inspect eval` to its end and return the logs by model."""
        command = [sys.executable, "-m", "inspect_ai", "eval", f"{_TASK}@{task}", "--model", model, "--display", "none"]
        models = {"OPENAI_BASE_URL": self.loopback.url, "OPENAI_API_KEY": "test", "NO_PROXY": "127.0.0.1"}
        folders = {"INSPECT_LOG_DIR": str(self.folder / "logs"), "INSPECT_CACHE_DIR": str(self.folder / "cache")}
        done = subprocess.run(  # noqa: S603  # our own program
            [*command, *options],
            cwd=self.folder,
            env={**os.environ, **models, **folders},
            capture_output=True,
            text=True,
            timeout=10 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        logs = [read_eval_log(str(path)) for path in (self.folder / "logs").glob("*.eval")]
        return {log.eval.model: log for log in logs}


@pytest.fixture
def inspect(loopback: Loopback, tmp_path: Path) -> _Inspect:
    (tmp_path / "moa.yaml").write_text(_MIXTURE, encoding="utf-8")
    return _Inspect(loopback, tmp_path)


def _metadata(log: EvalLog, sample: int = 0) -> dict[str, Any]:
    assert log.samples is not None
    found = log.samples[sample].output.metadata
    assert found is not None
    return found


def test_a_mixture_and_its_members_in_one_command(inspect: _Inspect, loopback: Loopback) -> None:
    loopback.script("*", Reply("The answer is 5.", usage=Usage(prompt=100, completion=10, cached=40)))
    models = ["moa/moa.yaml", "moa/moa.yaml#1", "moa/moa.yaml#sceptic", "moa/moa.yaml#aggregator"]
    logs = inspect("sums", ",".join(models), "--temperature", "0.2", "--max-tokens", "50", "--seed", "7", "--stop-seqs", "END")
    assert sorted(logs) == sorted(models)
    assert Counter(loopback.models) == {"gpt-4.1-mini": 4, "gpt-4.1-nano": 4, "gpt-4.1": 4}
    for request in loopback.requests:
        sent = {key: request.body.get(key) for key in ("temperature", "seed", "stop")}
        assert sent == {"temperature": 0.2, "seed": 7, "stop": ["END"]}
        assert request.body.get("max_completion_tokens", request.body.get("max_tokens")) == 50
        assert request.system.startswith("Be brief.")
        assert ("Doubt it." in request.system) == (request.model == "gpt-4.1-nano")
    log = logs["moa/moa.yaml"]
    assert log.status == "success"
    assert log.results is not None
    assert log.results.scores[0].metrics["accuracy"].value == 0.5
    moa = _metadata(log)["moa"]
    assert moa["calls"] == 3
    assert [call["name"] for call in moa["layers"][0]] == ["openai:gpt-4.1-mini", "sceptic"]
    assert [reference["text"] for reference in _metadata(log)["references"]] == ["The answer is 5."] * 2
    # The viewer shows them among the sample's events.
    assert log.samples is not None
    [event] = [event for event in log.samples[0].events if event.event == "info" and event.source == "langchain-moa"]
    assert isinstance(event.data, dict)
    assert event.data["references"] == _metadata(log)["references"]
    # Two samples of three calls each; Inspect counts cached tokens separately.
    usage = log.stats.model_usage["moa/moa.yaml"]
    counted = (usage.input_tokens, usage.input_tokens_cache_read, usage.output_tokens, usage.total_tokens)
    assert counted == (6 * 60, 6 * 40, 6 * 10, 6 * 110)
    assert usage.total_cost == pytest.approx(2 * moa["cost_usd"])
    assert _metadata(logs["moa/moa.yaml#sceptic"])["moa"]["aggregator"]["name"] == "sceptic"
    assert logs["moa/moa.yaml#1"].stats.model_usage["moa/moa.yaml#1"].total_tokens == 2 * 110


@pytest.fixture
def served(loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mixture's file; its models are on the server and do not retry."""

    def init_at_loopback(name: str, **settings: Any) -> BaseChatModel:
        return loopback.chat(name.partition(":")[2], **settings)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_at_loopback)
    path = tmp_path / "moa.yaml"
    path.write_text(_MIXTURE, encoding="utf-8")
    return path


async def _ask(model: Model) -> ModelOutput:
    output = await model.api.generate([ChatMessageUser(content="3 + 2?")], [], "auto", GenerateConfig())
    assert isinstance(output, ModelOutput)
    return output


async def test_fields_as_model_arguments(served: Path, loopback: Loopback) -> None:
    loopback.script("*", "5")
    assert (await _ask(get_model(f"moa/{served}", num_layers=2))).completion == "5"
    assert Counter(loopback.models) == {"gpt-4.1-mini": 2, "gpt-4.1-nano": 2, "gpt-4.1": 1}


def test_inspects_cache_keeps_mixtures_of_one_name_apart(served: Path) -> None:
    first = get_model(f"moa/{served}", memoize=False).api.base_url
    assert get_model(f"moa/{served}", memoize=False).api.base_url == first
    served.write_text(_MIXTURE.replace("Doubt it.", "Believe it."), encoding="utf-8")
    assert get_model(f"moa/{served}", memoize=False).api.base_url != first


@pytest.mark.parametrize(("status", "retry"), [(429, "rate_limit"), (500, "transient"), (400, None)])
@pytest.mark.parametrize("failing", [["gpt-4.1"], ["gpt-4.1-mini", "gpt-4.1-nano"]])
async def test_inspect_retries_what_is_worth_it(
    served: Path, loopback: Loopback, status: int, retry: str | None, failing: list[str]
) -> None:
    for name in failing:
        loopback.script(name, Reply(status=status))
    model = get_model(f"moa/{served}")
    with pytest.raises(MoAError) as caught:
        await _ask(model)
    decision = model.api.should_retry(caught.value)
    assert isinstance(decision, RetryDecision)
    assert (decision.kind if decision else None) == retry


@pytest.mark.parametrize("refusing", [["gpt-4.1"], ["gpt-4.1-mini", "gpt-4.1-nano"]])
async def test_a_refusal_is_an_answer_that_can_be_scored(served: Path, loopback: Loopback, refusing: list[str]) -> None:
    loopback.script("*", "5")
    for name in refusing:
        loopback.script(name, Reply(None, refusal="I will not."))
    output = await _ask(get_model(f"moa/{served}"))
    assert output.stop_reason == "content_filter"
    assert output.metadata is not None
    assert [reference["name"] for reference in output.metadata["references"]] == ["openai:gpt-4.1-mini", "sceptic"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("moa/none.yaml", "none.yaml"),
        ("moa/none", "unknown preset 'none'"),
        ("moa/local#3x", r"'3x' is not a member; choose one of: 1 \(local:smollm2-135m\), 2 .* and aggregator"),
    ],
)
def test_a_wrong_name_says_what_there_is(model: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        get_model(model)


async def test_settings_reach_every_call(served: Path, loopback: Loopback) -> None:
    config = GenerateConfig(
        top_p=0.5,
        frequency_penalty=0.25,
        presence_penalty=0.75,
        logit_bias={7: 1.0},
        seed=7,
        reasoning_effort="low",
        verbosity="high",
        extra_body={"priority": 3},
        # A mixture has only one answer, and these options are Inspect's own or have no effect.
        num_choices=1,
        logprobs=False,
        max_connections=2,
        cache_prompt=True,
    )
    await get_model(f"moa/{served}").api.generate([ChatMessageUser(content="Hi")], [], "auto", config)
    assert sorted(loopback.models) == ["gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"]
    # Options that not every provider has reach only the aggregator, and none of these models reasons.
    expected = {"top_p": 0.5, "frequency_penalty": 0.25, "presence_penalty": 0.75, "seed": 7, "verbosity": "high"}
    for request in loopback.requests:
        assert {key: request.body.get(key) for key in expected} == expected
        assert not {"n", "reasoning_effort"} & set(request.body)
    assert loopback.requests[-1].body["logit_bias"] == {"7": 1.0}
    assert loopback.requests[-1].body["priority"] == 3


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"num_choices": 3}, "num_choices: this cannot be set for a whole mixture; leave it out, or give it to members"),
        ({"logprobs": True}, "logprobs: this cannot"),
        ({"top_logprobs": 1}, "top_logprobs: this cannot"),
        ({"reasoning_tokens": 0}, "reasoning_tokens: this cannot"),
        ({"effort": "low"}, "effort: this cannot"),
        ({"batch": True}, "batch: this cannot"),
        ({"top_k": 5}, r"top_k: openai:gpt-4\.1-mini has no such parameter \(ChatOpenAI\); leave it out"),
    ],
)
async def test_what_a_mixture_cannot_do_is_an_error(
    served: Path, loopback: Loopback, setting: dict[str, Any], said: str
) -> None:
    model = get_model(f"moa/{served}")
    with pytest.raises(ValueError, match=said):
        await model.api.generate([ChatMessageUser(content="Hi")], [], "auto", GenerateConfig(**setting))
    assert not loopback.requests


async def test_the_aggregator_calls_inspects_tools(served: Path, loopback: Loopback) -> None:
    loopback.script("*", able)
    weather = ToolInfo(
        name="weather",
        description="Tell the weather.",
        parameters=ToolParams(properties={"city": JSONSchema(type="string")}, required=["city"]),
    )
    asked: list[ChatMessage] = [ChatMessageUser(content="How is the weather in Bonn?")]
    for name in (f"moa/{served}", f"moa/{served}#aggregator"):
        model = get_model(name)
        output = await model.api.generate(asked, [weather], ToolFunction(name="weather"), GenerateConfig())
        assert isinstance(output, ModelOutput)
        assert output.stop_reason == "tool_calls"
        [call] = output.message.tool_calls or []
        assert call.function == "weather"
        assert loopback.requests[-1].body["tool_choice"]["function"] == {"name": "weather"}
        results = [*asked, output.message, ChatMessageTool(content="Rain", tool_call_id=call.id, function="weather")]
        output = await model.api.generate(results, [weather], "auto", GenerateConfig())
        assert isinstance(output, ModelOutput)
        assert output.completion == "gpt-4.1 found: Rain"
    assert all(bool(call.body.get("tools")) == (call.model == "gpt-4.1") for call in loopback.requests)
    assert "weather" in loopback.calls("gpt-4.1-mini")[0].system
    # If no tool may be called, no tool is offered.
    await get_model(f"moa/{served}").api.generate(asked, [weather], "none", GenerateConfig())
    assert "tools" not in loopback.requests[-1].body


async def test_a_local_model_answers() -> None:
    output = await _ask(get_model("moa/local#2", max_tokens=16))
    assert output.completion
    assert output.usage is not None
    assert output.usage.output_tokens > 0


def test_a_proposer_that_never_answers_is_told_at_the_end() -> None:
    silent = SilentProposers("moa/moa.yaml")
    failed = {"proposer": 2, "name": "b", "status": "failed", "error": {"kind": "E", "message": "no\x1b[2J\nkey"}}
    late = {"proposer": 3, "name": "c", "status": "late", "error": {"kind": "quorum", "message": "late"}}
    good = {"proposer": 1, "name": "a", "status": "ok"}
    silent.count({"layers": [[good, failed, late]]})
    assert silent.sentences() == []
    silent.count({"layers": [[{**failed, "proposer": 1, "name": "a"}, failed, late]]})
    assert silent.sentences() == ["moa/moa.yaml: proposer 2 of layer 1, b, failed on all 2 questions: E: no[U+001B][2J key"]


async def test_a_lone_proposer_is_not_called_aggregator(served: Path, loopback: Loopback) -> None:
    loopback.script("gpt-4.1-nano", Reply("no", status=400))
    with pytest.raises(MoAError, match=r"^(sceptic|openai:gpt-4\.1-nano) failed"):
        await _ask(get_model(f"moa/{served}#sceptic", memoize=False))
