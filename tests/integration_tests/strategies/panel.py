"""Three proposers and an aggregator at the loopback server, and all ways to ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_moa import ChatMoA
from tests.inquiries import label_of

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat
QUESTION = [SystemMessage("Be brief."), HumanMessage("What is 6 times 7?")]
TEXTS = ("It is 41.", "The answer is 42", "so 42.0")
ANALYSIS = {"consensus": ["Forty."], "contradictions": ["41 or 42: it is 42."], "unique_points": [], "blind_spots": ["Why."]}


class Panel:
    """Three proposers with answers, and an aggregator."""

    def __init__(self, loopback: Loopback, chat: Chat) -> None:
        self.server = loopback
        for place, text in enumerate(TEXTS, start=1):
            loopback.script(f"p{place}", text)
        loopback.script("agg", "the answer of the aggregator")
        self.members: dict[str, Any] = {"proposers": [chat(f"p{place}") for place in (1, 2, 3)], "aggregator": chat("agg")}

    def model(self, **fields: Any) -> ChatMoA:
        return ChatMoA(**{**self.members, "num_layers": 1, **fields})

    def chooses(self, text: str, model: str = "agg") -> None:
        """Have the model name the label of a text."""
        self.server.script(model, lambda body: f"I say [[{label_of(body['messages'][-1]['content'], text)}]].")


def total(answer: AIMessage) -> int:
    """The tokens of all calls in an answer's account."""
    moa = answer.response_metadata["moa"]
    calls = [*(call for layer in moa["layers"] for call in layer), *moa.get("steps", ()), moa["aggregator"]]
    assert moa["calls"] == len([call for call in calls if call])
    return sum(call["usage"]["total_tokens"] for call in calls if call)


async def every_way(moa: ChatMoA) -> list[AIMessage]:
    """Ask in all ways; a streamed answer must come once and together with its account."""
    chunks = [list(moa.stream(QUESTION)), [chunk async for chunk in moa.astream(QUESTION)]]
    answers = [moa.invoke(QUESTION), await moa.ainvoke(QUESTION), *(sum_of(each) for each in chunks)]
    for answer in answers:
        assert answer.response_metadata["moa"]["usage"]["total_tokens"] == total(answer)
    return answers


def sum_of(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole
