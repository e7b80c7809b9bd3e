"""The paper at the wire: what every model is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_moa import ChatMoA, create_moa
from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

# Copied from Table 1 of the paper rather than from the code, so that the test compares the two.
PROMPT = (
    "You have been provided with a set of responses from various open-source models to the latest user query. "
    "Your task is to synthesize these responses into a single, high-quality response. It is crucial to critically "
    "evaluate the information provided in these responses, recognizing that some of it may be biased or incorrect. "
    "Your response should not simply replicate the given answers but should offer a refined, accurate, and "
    "comprehensive reply to the instruction. Ensure your response is well-structured, coherent, and adheres to the "
    "highest standards of accuracy and reliability.\n\nResponses from models:"
)


def synthesis(*references: str) -> str:
    return PROMPT + "".join(f"\n{number}. {text}" for number, text in enumerate(references, start=1))


class Scripted:
    """A mixture whose proposers answer `l<layer>p<proposer>`, each layer in the reverse order of the list."""

    def __init__(self, loopback: Loopback, chat: Chat, *, proposers: int, layers: int) -> None:
        self.server = loopback
        self.proposers = proposers
        self.layers = layers
        names = [f"p{number}" for number in range(1, proposers + 1)]
        for place, name in enumerate(names):
            after = names[place + 1] if place + 1 < len(names) else None
            replies = [self._reply(layer, place + 1, after) for layer in range(1, layers + 1)]
            loopback.script(name, replies)
        loopback.script("agg", Reply("the answer"))
        self.members = [chat(name) for name in names]
        self.aggregator = chat("agg")

    def _reply(self, layer: int, proposer: int, after: str | None) -> Reply:
        # The first layer answers in reverse order; later layers need not wait, since `after` has been answered by then.
        return Reply(f"l{layer}p{proposer}", after=after if layer == 1 else None)

    def references(self, layer: int) -> list[str]:
        return [f"l{layer}p{proposer}" for proposer in range(1, self.proposers + 1)]

    def check(self, user: list[dict[str, Any]], system: str | None) -> None:
        """Compare every recorded request with the paper."""
        requests = self.server.requests
        assert len(requests) == self.proposers * self.layers + 1
        for number, request in enumerate(requests):
            layer = number // self.proposers + 1
            shown = synthesis(*self.references(layer - 1)) if layer > 1 else None
            text = "\n\n".join(part for part in (system, shown) if part)
            expected = [{"role": "system", "content": text}] if text else []
            assert request.messages == [*expected, *user]


async def ask(mode: str, moa: ChatMoA, messages: Any) -> str:
    match mode:
        case "invoke":
            return moa.invoke(messages).text
        case "ainvoke":
            return (await moa.ainvoke(messages)).text
        case "stream":
            return "".join(chunk.text for chunk in moa.stream(messages))
        case "astream":
            return "".join([chunk.text async for chunk in moa.astream(messages)])
        case "graph":
            graph = create_moa(moa.proposers, moa.aggregator, num_layers=moa.num_layers).compile()
            return str(graph.invoke({"messages": messages})["messages"][-1].text)
        case _:
            graph = create_moa(moa.proposers, moa.aggregator, num_layers=moa.num_layers).compile()
            return str((await graph.ainvoke({"messages": messages}))["messages"][-1].text)


MODES = ["invoke", "ainvoke", "stream", "astream", "graph", "agraph"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("proposers", [1, 2, 3, 6, 12])
async def test_every_call_is_what_the_paper_says(
    loopback: Loopback, chat: Chat, proposers: int, layers: int, mode: str
) -> None:
    scripted = Scripted(loopback, chat, proposers=proposers, layers=layers)
    moa = ChatMoA(proposers=scripted.members, aggregator=scripted.aggregator, num_layers=layers)
    assert await ask(mode, moa, [HumanMessage("Why is the sky blue?")]) == "the answer"
    scripted.check([{"role": "user", "content": "Why is the sky blue?"}], None)


@pytest.mark.parametrize("mode", MODES)
async def test_system_message_and_history_are_kept(loopback: Loopback, chat: Chat, mode: str) -> None:
    scripted = Scripted(loopback, chat, proposers=3, layers=2)
    moa = ChatMoA(proposers=scripted.members, aggregator=scripted.aggregator)
    messages = [SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("Why?")]
    before = [message.model_dump() for message in messages]
    assert await ask(mode, moa, messages) == "the answer"
    user = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ]
    scripted.check(user, "Be brief.")
    assert [message.model_dump() for message in messages] == before


def test_a_system_message_in_blocks_keeps_its_blocks(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1)
    loopback.script("p", "one")
    moa.invoke([SystemMessage([{"type": "text", "text": "Be brief."}]), HumanMessage("Why?")])
    system = loopback.calls("agg")[0].messages[0]
    assert system["content"] == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "\n\n" + synthesis("one")},
    ]


def test_one_model_many_times_is_many_calls(loopback: Loopback, chat: Chat) -> None:
    loopback.script("p", ["first", "second", "third"])
    member = chat("p")
    ChatMoA(proposers=[member] * 3, aggregator=chat("agg"), num_layers=1).invoke("Hi")
    assert len(loopback.calls("p")) == 3
    shown = loopback.calls("agg")[0].system.removeprefix(PROMPT)
    assert sorted(line.partition(". ")[2] for line in shown.strip().splitlines()) == ["first", "second", "third"]


def test_a_set_per_layer(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(proposers=[[chat("a"), chat("b")], [chat("c")]], aggregator=chat("agg"))
    moa.invoke("Hi")
    assert sorted(loopback.models[:2]) == ["a", "b"]
    assert loopback.models[2:] == ["c", "agg"]


def test_nothing_is_sent_that_nobody_set(loopback: Loopback, chat: Chat) -> None:
    ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1).invoke("Hi")
    for request in loopback.requests:
        assert set(request.body) <= {"model", "messages", "stream"}


@pytest.mark.parametrize("stream", [False, True])
def test_parameters_reach_every_call(loopback: Loopback, chat: Chat, stream: bool) -> None:
    moa = ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"), temperature=0.7, max_tokens=2048)
    if stream:
        list(moa.stream("Hi", stop=["END"], seed=7))
    else:
        moa.invoke("Hi", stop=["END"], seed=7)
    assert len(loopback.requests) == 5
    for request in loopback.requests:
        assert request.body["temperature"] == 0.7
        assert request.body["stop"] == ["END"]
        assert request.body["seed"] == 7
        assert (request.body.get("max_tokens") or request.body.get("max_completion_tokens")) == 2048


def test_a_call_goes_before_the_mixture_and_the_mixture_before_the_model(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(proposers=[chat("p", temperature=0.1)], aggregator=chat("agg"), num_layers=1, temperature=0.2)
    moa.invoke("Hi")
    moa.invoke("Hi", temperature=0.3)
    assert [request.body["temperature"] for request in loopback.requests] == [0.2, 0.2, 0.3, 0.3]
