"""The server of the speed benchmark, and the evaluation of the requests that it received."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tests.loopback import Loopback, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

PROPOSERS = ("one", "two", "three")
SYSTEM = "Answer in one short paragraph."
_LENGTH = "It has some twenty words, which is enough for a reference to be one, and for a prompt to have some length."


class Script:
    """The behaviour of the models: every call of every model gets a different text."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.failing = ""
        self.hanging = ""
        self.calls: dict[str, int] = {}

    def __call__(self, body: dict[str, Any]) -> Reply:
        model = body["model"]
        self.calls[model] = self.calls.get(model, 0) + 1
        if model == self.failing:
            return Reply(status=500)
        return Reply(f"<{model} {self.calls[model]}> {_LENGTH}", delay=self.delay, hang=model == self.hanging)


def serve(pipe: Connection) -> None:
    """Serve the models, and execute commands: `delay` seconds, `fail` or `hang` a model, `reset`, `report`."""
    script = Script()
    with Loopback() as server:
        server.script("*", script)
        pipe.send(server.url)
        while (said := pipe.recv()) != "end":
            match said:
                case ("delay", seconds):
                    script.delay = seconds
                case ("fail", model):
                    script.failing = model
                case ("hang", model):
                    script.hanging = model
                case ("reset",):
                    # Wait for calls of an abandoned answer, so that they are not counted for the next one.
                    with suppress(TimeoutError):
                        server.settle()
                    server.reset()
                    script.calls.clear()
            pipe.send([(request.model, request.messages) for request in server.requests] if said == ("report",) else None)


def row(worker: Any, limited: Any, say: Callable[..., Any]) -> str:
    """Return a contestant's row: the requests that it sent, and the result if a call fails or hangs.

    Args:
        worker: The contestant.
        limited: The same with a time limit of one second per call.
        say: Sends a command to the server.
    """
    say("delay", 0.05)
    say("reset")
    worker(1, system=SYSTEM)
    calls = say("report")
    kept = sum(SYSTEM in _text(messages, "system", "developer") for _, messages in calls)
    cells = [str(len(calls)), _references(calls), f"{kept} of {len(calls)}"]
    for trouble in ("fail", "hang"):
        say("reset")
        say(trouble, "two")
        began = perf_counter()
        answer = (worker if trouble == "fail" else limited)(1)
        seconds = f" after {perf_counter() - began:.1f} s" if trouble == "hang" else ""
        say(trouble, "")
        # Some contestants return the error message as the answer.
        if "<aggregator" in answer["text"]:
            cells.append(f"answers{seconds} from {_references(say('report'))}")
        else:
            cells.append(f"fails{seconds}: {answer['errors'][0].partition(':')[0] if answer['errors'] else 'no answer'}")
    return f"| {worker.title} | " + " | ".join(cells) + " |"


def _references(calls: list[tuple[str, Any]]) -> str:
    """Return how many of the last layer's answers the aggregator received."""
    asked = [messages for model, messages in calls if model == "aggregator"]
    if not asked:
        return "none: it was not asked"
    text = _text(asked[-1], "system", "developer", "user", "assistant")
    last = {model: sum(each == model for each, _ in calls) for model in PROPOSERS}
    times = [text.count(f"<{model} {last[model]}>") for model in PROPOSERS]
    often = f", each {max(times)} times" if max(times) > 1 else ""
    return f"{sum(count > 0 for count in times)} of 3{often}"


def _text(messages: Any, *roles: str) -> str:
    contents = [message.get("content") for message in messages if message["role"] in roles]
    return "\n".join(content if isinstance(content, str) else str(content) for content in contents)
