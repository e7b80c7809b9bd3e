"""References after the last message, at the wire: the beginning of the prompt stays the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from benchmarks.prompt_caching import TASKS, seen
from langchain_moa import ChatMoA, Proposer, create_moa
from langchain_moa.prompting.prompts import SYNTHESIZE
from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

SHOWN = "Responses from models:\n1. It is blue.\n2. Blue."
CALL = {"name": "look", "args": {}, "id": "call_1"}
LOOK = {
    "type": "function",
    "function": {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
def members(loopback: Loopback, chat: Chat) -> dict[str, Any]:
    """The members of a mixture whose proposers answer "It is blue." and "Blue."."""
    loopback.script("p", "It is blue.")
    loopback.script("q", "Blue.")
    return {"proposers": [chat("p"), chat("q")], "aggregator": chat("agg")}


@pytest.mark.parametrize("prompt", ["paper", "hardened"])
@pytest.mark.parametrize("task", TASKS)
def test_most_of_a_prompt_was_there_before(task: str, prompt: str) -> None:
    alone = seen(task, at=None).share
    assert seen(task, at="end", prompt=prompt).share >= 0.85 * alone
    assert seen(task, at="system", prompt=prompt).share < 0.7 * alone


@pytest.mark.parametrize("mode", ["invoke", "stream", "graph"])
def test_the_instruction_stays_in_the_system_message(loopback: Loopback, members: dict[str, Any], mode: str) -> None:
    messages: list[Any] = [SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Why?")]
    moa = ChatMoA(**members, references_at="end")
    match mode:
        case "invoke":
            moa.invoke(messages)
        case "stream":
            list(moa.stream(messages))
        case _:
            create_moa(**members, references_at="end").compile().invoke({"messages": messages})
    first, *others = [request.messages for name in ("p", "agg") for request in loopback.calls(name)]
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert first == [{"role": "system", "content": "Be brief."}, *history, {"role": "user", "content": "Why?"}]
    assert len(others) == 2
    for sent in others:
        assert sent == [
            {"role": "system", "content": f"Be brief.\n\n{SYNTHESIZE}"},
            *history,
            {"role": "user", "content": f"Why?\n\n{SHOWN}"},
        ]


def test_an_instruction_of_ones_own(loopback: Loopback, members: dict[str, Any]) -> None:
    ChatMoA(**members, num_layers=1, references_at="end", prompt="Answer from these.").invoke("Why?")
    system, user = loopback.calls("agg")[0].messages
    assert (system["content"], user["content"]) == ("Answer from these.", f"Why?\n\n{SHOWN}")


def test_the_hardened_prompt_keeps_its_tag_out_of_the_system_message(loopback: Loopback, members: dict[str, Any]) -> None:
    moa = ChatMoA(**members, num_layers=1, references_at="end", prompt="hardened")
    moa.invoke("Why?")
    moa.invoke("Why?")
    (system, user), (again, other) = (request.messages for request in loopback.calls("agg"))
    assert system == again
    assert user != other
    tag = re.search(r"between lines that say \[(draft [0-9a-f]{12})\]:", user["content"])
    assert tag
    assert tag[1] not in system["content"]
    drafts = f"[{tag[1]}]\nIt is blue.\n[{tag[1]}]\nBlue.\n[{tag[1]}]"
    assert user["content"] == f"Why?\n\nThe drafts of the assistants, {tag[0]}\n\n{drafts}"


def test_a_message_in_blocks_gets_another_block(loopback: Loopback, members: dict[str, Any]) -> None:
    blocks: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
    ]
    ChatMoA(**members, num_layers=1, references_at="end").invoke([HumanMessage(blocks)])
    assert loopback.calls("agg")[0].messages[-1]["content"] == [*blocks, {"type": "text", "text": f"\n\n{SHOWN}"}]


def test_after_the_results_of_tools_a_user_speaks(loopback: Loopback, members: dict[str, Any]) -> None:
    moa = ChatMoA(**members, num_layers=2, references_at="end").bind_tools([LOOK])
    history = [HumanMessage("Why?"), AIMessage("", tool_calls=[CALL]), ToolMessage("It is day.", tool_call_id="call_1")]
    moa.invoke(history)
    *before, result, last = loopback.calls("agg")[0].messages
    assert [message["role"] for message in before] == ["system", "user", "assistant"]
    assert (result["role"], result["content"]) == ("tool", "It is day.")
    assert last == {"role": "user", "content": SHOWN}
    # A proposer has no tools, so it reads the result as a user message.
    user = loopback.calls("p")[-1].messages[-1]
    assert user["role"] == "user"
    assert user["content"].startswith("[The tool call_1 returned:]\nIt is day.")
    assert user["content"].endswith(f"\n\n{SHOWN}")


def test_models_that_refuse_a_user_there_find_them_in_the_last_result(
    loopback: Loopback, members: dict[str, Any], chat: Chat
) -> None:
    members["aggregator"] = chat("mistralai/Mistral-Small-24B-Instruct-2501")
    moa = ChatMoA(**members, num_layers=1, references_at="end").bind_tools([LOOK])
    moa.invoke([HumanMessage("Why?"), AIMessage("", tool_calls=[CALL]), ToolMessage("It is day.", tool_call_id="call_1")])
    last = loopback.requests[-1].messages[-1]
    assert (last["role"], last["content"]) == ("tool", f"It is day.\n\n{SHOWN}")


def test_an_answer_that_is_to_be_continued_stays_last(loopback: Loopback, members: dict[str, Any]) -> None:
    ChatMoA(**members, num_layers=1, references_at="end").invoke([HumanMessage("Why?"), AIMessage("Because")])
    assert [(each["role"], each["content"]) for each in loopback.calls("agg")[0].messages] == [
        ("system", SYNTHESIZE),
        ("user", f"Why?\n\n{SHOWN}"),
        ("assistant", "Because"),
    ]


def test_each_member_may_have_its_own_place(loopback: Loopback, members: dict[str, Any], chat: Chat) -> None:
    members["proposers"] = [Proposer(chat("p"), references_at="end"), chat("q")]
    ChatMoA(**members).invoke("Why?")
    assert loopback.calls("p")[-1].system == SYNTHESIZE
    assert loopback.calls("p")[-1].user == f"Why?\n\n{SHOWN}"
    assert loopback.calls("q")[-1].user == loopback.calls("agg")[-1].user == "Why?"
    loopback.reset()
    members["aggregator"] = Proposer(chat("agg"), references_at="system", system_prompt="You are kind.")
    ChatMoA(**members, references_at="end").invoke("Why?")
    assert loopback.calls("q")[-1].user == f"Why?\n\n{SHOWN}"
    assert loopback.calls("agg")[-1].messages == [
        {"role": "system", "content": f"You are kind.\n\n{SYNTHESIZE}\n\n{SHOWN}"},
        {"role": "user", "content": "Why?"},
    ]


def test_a_fallback_reads_them_where_it_can(loopback: Loopback, members: dict[str, Any], chat: Chat) -> None:
    loopback.script("agg", Reply(status=500))
    fallback = Proposer(chat("other"), references_at="end")
    ChatMoA(**members, num_layers=1, aggregator_fallbacks=[fallback]).invoke("Why?")
    assert loopback.calls("agg")[-1].user == "Why?"
    assert loopback.calls("other")[-1].user == f"Why?\n\n{SHOWN}"


@pytest.mark.parametrize("at", ["system", "end"])
def test_a_model_without_a_system_role_gets_everything_from_the_user(
    loopback: Loopback, members: dict[str, Any], chat: Chat, at: Any
) -> None:
    members["aggregator"] = Proposer(chat("agg"), system_role=False)
    moa = ChatMoA(**members, num_layers=1, references_at=at)
    moa.invoke([SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Why?")])
    assert [(each["role"], each["content"]) for each in loopback.calls("agg")[0].messages] == [
        ("user", "Be brief.\n\nHi"),
        ("assistant", "Hello"),
        ("user", f"Why?\n\n{SYNTHESIZE}\n\n{SHOWN}"),
    ]


def test_gemma_has_no_system_role_where_references_stand_at_the_end(
    loopback: Loopback, members: dict[str, Any], chat: Chat
) -> None:
    members["proposers"] = [Proposer(chat("google/gemma-2-9b-it"), system_prompt="You are kind."), chat("q")]
    loopback.script("google/gemma-2-9b-it", "It is blue.")
    ChatMoA(**members, references_at="end").invoke("Why?")
    first, second = (request.messages for request in loopback.calls("google/gemma-2-9b-it"))
    assert first == [{"role": "user", "content": "You are kind.\n\nWhy?"}]
    assert second == [{"role": "user", "content": f"You are kind.\n\nWhy?\n\n{SYNTHESIZE}\n\n{SHOWN}"}]


def test_strategies_show_references_there_too(loopback: Loopback, chat: Chat) -> None:
    for name in "pqr":
        loopback.script(name, name)
    moa = ChatMoA(
        proposers=[chat(name) for name in "pqr"],
        aggregator=chat("agg"),
        num_layers=1,
        aggregation={"sequential": {"window": 2}},
        references_at="end",
    )
    moa.invoke("Why?")
    for request in loopback.calls("agg"):
        assert request.system == SYNTHESIZE
        assert request.user.startswith("Why?\n\nResponses from models:\n1. ")


@pytest.mark.parametrize("prompt", ["paper", "hardened"])
def test_an_analysis_stands_with_the_references(loopback: Loopback, members: dict[str, Any], prompt: str) -> None:
    def agg(body: dict[str, Any]) -> str:
        points = '{"consensus": ["It is blue."], "contradictions": [], "unique_points": [], "blind_spots": []}'
        return points if "You analyse responses" in body["messages"][0]["content"] else "Blue."

    loopback.script("agg", agg)
    ChatMoA(**members, num_layers=1, aggregation="analyze", prompt=prompt, references_at="end").invoke("Why?")
    system, user = loopback.calls("agg")[-1].messages
    assert "analysis" not in system["content"]
    assert re.search(r"\n\[analysis [0-9a-f]{12}\]\nConsensus:\n- It is blue\.\n\[analysis [0-9a-f]{12}\]\Z", user["content"])


def test_a_prompt_of_ones_own_puts_them_where_it_will(loopback: Loopback, members: dict[str, Any]) -> None:
    def listed(messages: Any, references: Any) -> Any:
        return [*messages, HumanMessage(" | ".join(reference["text"] for reference in references))]

    ChatMoA(**members, num_layers=1, prompt=listed, references_at="end").invoke("Why?")
    assert [each["content"] for each in loopback.calls("agg")[0].messages] == ["Why?", "It is blue. | Blue."]


def test_a_prompt_of_ones_own_need_not_know_who_refuses_a_user_there(
    loopback: Loopback, members: dict[str, Any], chat: Chat
) -> None:
    def listed(messages: Any, references: Any) -> Any:
        return [*messages, HumanMessage("\n".join(reference["text"] for reference in references))]

    members["aggregator"] = chat("mistralai/Mistral-Small-24B-Instruct-2501")
    moa = ChatMoA(**members, num_layers=1, prompt=listed).bind_tools([LOOK])
    moa.invoke([HumanMessage("Why?"), AIMessage("", tool_calls=[CALL]), ToolMessage("It is day.", tool_call_id="call_1")])
    last = loopback.requests[-1].messages[-1]
    assert (last["role"], last["content"]) == ("tool", "It is day.\n\nIt is blue.\nBlue.")


@pytest.mark.parametrize("prompt", ["paper", "hardened"])
def test_what_does_not_fit_is_cut_alike(loopback: Loopback, chat: Chat, prompt: str) -> None:
    loopback.script("p", "A sentence that is longer than it needs to be. " * 200)
    messages: list[Any] = [
        each for turn in range(9) for each in (HumanMessage(f"Question {turn}: {'why? ' * 100}"), AIMessage(f"Answer {turn}."))
    ]
    sizes, trimmed = [], []
    for at in ("system", "end"):
        aggregator = chat("agg", profile={"max_input_tokens": 1600}, max_tokens=100)
        moa = ChatMoA(proposers=[chat("p")], aggregator=aggregator, num_layers=1, prompt=prompt, references_at=at)
        answer = moa.invoke([SystemMessage("Be brief."), *messages, HumanMessage("And?")])
        sent = loopback.calls("agg")[-1].messages
        sizes.append(sum(len(each["content"]) for each in sent))
        trimmed.append([re.sub(r"\d+", "n", each) for each in answer.response_metadata["moa"]["aggregator"]["trimmed"]])
        assert "And?" in sent[-1]["content"]
        assert sent[0]["content"].startswith("Be brief.\n\n")
    assert trimmed[0] == trimmed[1] == ["references cut to n tokens", "n of the oldest messages left out"]
    assert max(sizes) < 1600 * 4
    assert min(sizes) > 0.8 * max(sizes)


@pytest.mark.parametrize("at", ["system", "end"])
@pytest.mark.parametrize("prompt", ["paper", "hardened"])
def test_references_are_shown_without_white_space_at_their_edges(
    loopback: Loopback, members: dict[str, Any], at: Any, prompt: str
) -> None:
    loopback.script("p", "\n\n  It is\n  blue.\t\n")
    loopback.script("q", " Blue. ")
    graph = create_moa(**members, prompt=prompt, references_at=at).compile()
    state = graph.invoke({"messages": [HumanMessage("Why?")]})
    for request in (loopback.calls("p")[-1], loopback.calls("agg")[-1]):
        shown = request.system if at == "system" else request.user
        between = "\n2. " if prompt == "paper" else re.search(r"\n(\[draft [0-9a-f]{12}\])\n", shown)[0]  # type: ignore[index]  # there is one
        assert f"It is\n  blue.{between}Blue." in shown
        assert "It is\n  blue.\t" not in shown
    # The state keeps them unchanged.
    assert state["references"][0]["text"] == "\n\n  It is\n  blue.\t\n"


def test_a_chosen_answer_keeps_its_white_space(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", "    return x\n")
    moa = ChatMoA(proposers=[chat("p")] * 2, num_layers=1, aggregation="vote")
    assert moa.invoke("Why?").text == "    return x\n"


def test_a_wrong_place_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="references_at"):
        ChatMoA(**members, references_at="middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="references_at must be 'system' or 'end', not 'middle'"):
        Proposer("local:smollm2-135m", references_at="middle")  # type: ignore[arg-type]
