"""The machinery of the speed benchmark: a contestant in a separate process, and the requests that the server received."""

from __future__ import annotations

from typing import Any

from benchmarks import speed, wire
from benchmarks.serving import served


def test_a_contestant_is_measured_and_seen_at_the_wire() -> None:
    chat = next(each for each in speed.OURS_AND_BELOW if each.title == "ChatMoA, async")
    with served(wire.serve) as (url, server), speed.running(chat, url) as worker, speed.running(chat, url, "1") as limited:
        run = worker(2, at_once=2)
        assert len(run["seconds"]) == len(run["first"]) == 2
        assert run["errors"] == []
        assert run["cpu"] > 0
        assert worker(1, stream=True)["text"].startswith("<aggregator 3>")

        def say(*words: Any) -> Any:
            return speed.say(server, *words)

        assert wire.row(worker, limited, say).startswith(
            "| ChatMoA, async | 7 | 3 of 3 | 7 of 7 | answers from 2 of 3 | answers after "
        )
