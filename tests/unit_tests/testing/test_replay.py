"""Recorded answers as a chat model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_moa import ChatMoA, Mixture, create_moa
from langchain_moa.data.usage import cost_of_messages
from langchain_moa.testing import RecordedFailureError, ReplayChatModel, UnknownQuestionError, replay_model

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

QUESTION = "What is 2 + 2?"
SEVERAL = [f"answer {number}" for number in range(20)]


class TestStandard(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ReplayChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"answers": {QUESTION: "4"}}

    @property
    def has_tool_calling(self) -> bool:
        return False


def test_the_question_is_the_last_user_message_whatever_stands_around_it() -> None:
    model = ReplayChatModel(answers={QUESTION: "4", "Why?": "Because."})
    conversation = [SystemMessage("Be brief."), HumanMessage(QUESTION), AIMessage("4"), HumanMessage("Why?")]
    assert model.invoke(conversation).text == "Because."
    assert model.invoke([HumanMessage([{"type": "text", "text": QUESTION}])]).text == "4"


def test_an_unknown_question_names_the_model_and_the_closest_one() -> None:
    model = ReplayChatModel(answers={QUESTION: "4"}, model="one")
    with pytest.raises(
        UnknownQuestionError, match=r"'one' has no recorded answer to exactly 'What is 2 \+ 3\?'.*'What is 2 \+ 2\?'"
    ):
        model.invoke("What is 2 + 3?")
    with pytest.raises(UnknownQuestionError, match="no user message"):
        model.invoke([SystemMessage(QUESTION)])


def test_the_first_of_several_is_taken_unless_a_seed_draws_one() -> None:
    def drawn(**settings: Any) -> str:
        return ReplayChatModel(answers={QUESTION: SEVERAL}, **settings).invoke(QUESTION).text

    assert drawn() == "answer 0"
    by_seed = [drawn(seed=seed) for seed in range(20)]
    assert by_seed == [drawn(seed=seed) for seed in range(20)]
    assert len(set(by_seed)) > 5
    assert ReplayChatModel(answers={QUESTION: SEVERAL}).invoke(QUESTION, seed=3).text == by_seed[3]


def test_self_moa_draws_different_samples() -> None:
    mixture = Mixture.self_moa(ReplayChatModel(answers={QUESTION: SEVERAL}), samples=6, aggregation="medoid")
    state = create_moa(mixture).compile().invoke({"messages": [HumanMessage(QUESTION)]})
    assert len({reference["text"] for reference in state["references"]}) > 2


def test_a_stream_says_the_same_as_an_answer_piece_by_piece() -> None:
    model = ReplayChatModel(answers={QUESTION: " It is\n4. "})
    chunks = list(model.stream(QUESTION))
    assert [chunk.text for chunk in chunks] == [" It", " is", "\n4.", " ", ""]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert isinstance(whole, AIMessageChunk)
    assert whole.usage_metadata == model.invoke(QUESTION).usage_metadata
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0


async def test_async_says_the_same_as_sync() -> None:
    model = ReplayChatModel(answers={QUESTION: "It is 4."})
    answer = model.invoke(QUESTION)
    assert (await model.ainvoke(QUESTION)).model_dump(exclude={"id"}) == answer.model_dump(exclude={"id"})
    assert "".join([chunk.text async for chunk in model.astream(QUESTION)]) == answer.text


def test_stop_words_cut_it() -> None:
    assert ReplayChatModel(answers={QUESTION: "one STOP two"}).invoke(QUESTION, stop=["STOP"]).text == "one "


def test_a_proposer_that_does_not_know_fails_alone() -> None:
    one = ReplayChatModel(answers={QUESTION: "4"}, model="one")
    two = ReplayChatModel(answers={"Why?": "Because."}, model="two")
    answer = ChatMoA(proposers=[one, two], aggregation="medoid", num_layers=1).invoke(QUESTION)
    calls = answer.response_metadata["moa"]["layers"][0]
    assert answer.text == "4"
    assert [(call["model"], call["status"]) for call in calls] == [("replay:one", "ok"), ("replay:two", "failed")]
    assert calls[1]["error"]["kind"] == "UnknownQuestionError"


def test_two_models_with_other_answers_are_other_models() -> None:
    one, two = (ReplayChatModel(answers={QUESTION: text}) for text in "ab")
    assert one._identifying_params != two._identifying_params
    assert QUESTION not in repr(one)


@pytest.mark.parametrize(
    ("answers", "said"),
    [({}, "at least one question"), ("text", "mapping"), ({"q": []}, "'q': a question"), ({"q": 4}, "'q': a question")],
)
def test_answers_that_are_none_are_refused(answers: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ReplayChatModel(answers=answers)


def test_a_file_of_any_shape_is_read_by_its_keys(tmp_path: Path) -> None:
    rows = [
        {"instruction": "a", "recorded": {"gpt-4.1": {"output": "with a line\u2028separator"}}},
        {"instruction": "b", "recorded": {"gpt-4.1": {"output": ["one", "two"]}}},
        {"instruction": "b", "recorded": {"gpt-4.1": {"output": "three"}}},
    ]
    file = tmp_path / "recorded.jsonl"
    lines = "\ufeff" + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"
    for text in (lines, json.dumps(rows, ensure_ascii=False)):
        file.write_text(text, encoding="utf-8")
        model = ReplayChatModel.from_jsonl(file, question="instruction", answer=["recorded", "gpt-4.1", "output"], model="g")
        assert model.invoke("a").text == "with a line\u2028separator"
        assert model.answers["b"] == ("one", "two", "three")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"question": "a", "answer": "b"}\n{"question": "a"', "line 2: not JSON"),
        ('{"question": "a"}', "line 1: there is no 'answer'"),
        ('["a"]', "line 1: it is str; it must be an object"),
        ('{"answer": "b"}', "line 1: the field 'question' is missing"),
        ('{"question": 1, "answer": "b"}', "line 1: the field 'question' is int; it must be a text"),
        ('{"question": "a", "answer": {}}', "line 1: 'answer' is neither a text nor a list"),
        ("\n", "has no rows"),
    ],
)
def test_a_broken_file_names_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "recorded.jsonl"
    file.write_text(text)
    with pytest.raises(ValueError, match=said):
        ReplayChatModel.from_jsonl(file)


RECORDED = [
    {
        "question": QUESTION,
        "recorded": {"one": "It is 4.", "openai:gpt-4.1-nano": ["4", None, "5"], "gone": None},
        "cost_usd": {"one": 0.25, "gone": None},
        "chars": {"openai:gpt-4.1-nano": [4_000_000, None, 400]},
    },
    {"question": "Why?", "recorded": {"one": "Because."}},
]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(map(json.dumps, RECORDED)))
    return file


def test_a_member_string_names_a_recorded_model(recorded: Path) -> None:
    mixture = Mixture(
        proposers=["replay:answers.jsonl#one", "replay:answers.jsonl#gone", "replay:answers.jsonl#openai:gpt-4.1-nano"],
        aggregation={"vote": {"extract": "number"}},
        num_layers=1,
    )
    answer = ChatMoA(**{name: getattr(mixture, name) for name in ("proposers", "aggregation", "num_layers")}).invoke(QUESTION)
    assert answer.text == "It is 4."
    calls = answer.response_metadata["moa"]["layers"][0]
    assert [(call["model"], call["status"]) for call in calls] == [
        ("replay:answers.jsonl#one", "ok"),
        ("replay:answers.jsonl#gone", "failed"),
        ("replay:answers.jsonl#openai:gpt-4.1-nano", "ok"),
    ]
    assert calls[1]["error"]["kind"] == "RecordedFailureError"
    # Its output costs 40 cents per million tokens.
    assert calls[2]["cost_usd"] == pytest.approx(0.4, rel=0.01)


def test_samples_tokens_and_price_are_those_of_the_row(recorded: Path) -> None:
    one = replay_model("replay:answers.jsonl#one").invoke(QUESTION)
    assert one.response_metadata["cost_usd"] == 0.25
    assert cost_of_messages([one]) == 0.25
    said = [replay_model("answers.jsonl#openai:gpt-4.1-nano", sample=number) for number in (0, 2, 3)]
    assert [model.invoke(QUESTION).text for model in said] == ["4", "5", "4"]
    usage = said[1].invoke(QUESTION).usage_metadata
    assert usage is not None
    assert usage["output_tokens"] == 100
    with pytest.raises(RecordedFailureError, match=r"'openai:gpt-4.1-nano' for 'What is 2 . 2.' failed when it was recorded"):
        replay_model("answers.jsonl#openai:gpt-4.1-nano", sample=1).invoke(QUESTION)
    # Not recorded for this question, so the call fails as well.
    with pytest.raises(RecordedFailureError):
        replay_model("answers.jsonl#gone").invoke("Why?")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("replay:answers.jsonl", "write 'replay:FILE#MODEL'"),
        ("replay:#one", "write 'replay:FILE#MODEL'"),
        ("replay:other.jsonl#one", "other.jsonl cannot be read: No such file"),
        ("replay:answers.jsonl#on", "has no answers of 'on'; did you mean 'one'"),
        ("replay:answers.jsonl#zzz", "it has one, openai:gpt-4.1-nano, gone"),
    ],
)
def test_a_member_string_that_names_nothing_says_what_there_is(recorded: Path, spec: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replay_model(spec)
    with pytest.raises(ValueError, match=said):
        Mixture(proposers=[spec], aggregation="vote", num_layers=1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "a", "recorded": {"one": 4}}, "line 1: the recorded answer of 'one' must be a text"),
        ({"question": "a", "recorded": {"one": "4"}, "cost_usd": {"one": "much"}}, "'cost_usd' of 'one' must be a number"),
        ({"question": "a", "recorded": {"one": ["4", "5"]}, "chars": {"one": [1]}}, "for each of its answers"),
        ({"question": "a"}, "line 1: the field 'recorded' is missing"),
    ],
)
def test_a_line_of_recorded_answers_that_cannot_be_used_is_named(recorded: Path, row: dict[str, Any], said: str) -> None:
    recorded.write_text(json.dumps(row))
    with pytest.raises(ValueError, match=said):
        replay_model("answers.jsonl#one")
