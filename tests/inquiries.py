"""Helpers for tests of strategies: references, and inquiries with given answers."""

from __future__ import annotations

import inspect
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_moa.data.answer import Answer
from langchain_moa.data.reference import Failure, Reference
from langchain_moa.limits.portal import wait_for
from langchain_moa.strategies.inquiry import Ask, Compare
from langchain_moa.strategies.layer import ClosedLayer
from langchain_moa.strategies.similarity import compare

QUESTION = [HumanMessage("What is 6 times 7?")]


def reference(text: str, proposer: int = 1, *, layer: int = 1, name: str | None = None) -> Reference:
    return Reference(
        turn="turn",
        layer=layer,
        proposer=proposer,
        name=name or f"p{proposer}",
        model=f"provider:m{proposer}",
        text=text,
        status="ok",
        error=None,
        usage=None,
        seconds=0.0,
    )


def references(*texts: str, layer: int = 1) -> list[Reference]:
    return [reference(text, place, layer=layer) for place, text in enumerate(texts, start=1)]


def closed(*texts: str, **attributes: Any) -> ClosedLayer:
    """Return a layer whose proposers gave these answers."""
    found = references(*texts, layer=attributes.get("number", 1))
    return ClosedLayer(**{"messages": QUESTION, "references": found, "unfiltered": found, **attributes})


def says(text: str) -> Answer:
    return Answer(message=AIMessage(text), text=text, failure=None, usage=None)


def fails(kind: str = "RateLimitError") -> Answer:
    return Answer(message=AIMessage(""), text="", failure=Failure(kind=kind, message="no"), usage=None)


def turn(text: str = "Hi") -> Any:
    """Return the input of a mixture's graph."""
    return {"messages": [("user", text)]}


class Conducted:
    """A finished inquiry.

    Attributes:
        result: The result.
        asked: The questions to models.
    """

    def __init__(self, work: Any, *answers: str | Answer) -> None:
        """Run an inquiry with these answers of models, in order. Texts are really compared."""
        self.asked: list[Ask] = []
        self.result = work
        waiting = [says(answer) if isinstance(answer, str) else answer for answer in answers]
        if inspect.isgenerator(work):
            reply: Any = None
            request: Any
            while True:
                try:
                    request = work.send(reply)
                except StopIteration as end:
                    self.result = end.value
                    break
                if isinstance(request, Compare):
                    reply = wait_for(compare, request.texts, request.by)
                else:
                    self.asked.append(request)
                    reply = waiting.pop(0)
        assert not waiting, f"{len(waiting)} answers were not asked for"

    @property
    def texts(self) -> list[str]:
        """The texts of the resulting references."""
        found = getattr(self.result, "references", self.result)
        return [each["text"] for each in found]

    def messages(self, place: int = 0) -> list[BaseMessage]:
        """Return the messages of a question."""
        ask = self.asked[place]
        return list(ask.messages) if ask.prompt is None else ask.prompt(list(ask.messages), ask.references)

    def sent(self, place: int = 0) -> str:
        """Return the last message of a question."""
        return str(self.messages(place)[-1].text)


def label_of(asked: str, text: str) -> str:
    """Return the label of a text in a question."""
    head = asked[: asked.index(f"\n{text}\n")]
    return head.rpartition('label="')[2].partition('"')[0]
