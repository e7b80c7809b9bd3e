"""Time limits for tests, short on an idle machine and long enough on a busy one."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

from langchain_moa import MoAError
from tests.loopback.recorded import last_user_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from tests.loopback import Loopback
    from tests.loopback.reply import Body

LIMITS = (0.4, 4.0, 60.0)
"""Time limits in seconds for calls that hang. The shortest one is used unless the machine is too busy for it."""

_OUT_OF_TIME = {"timeout", "quorum", "deadline"}


async def only_hanging_calls_time_out(
    server: Loopback, ask: Callable[[float], Awaitable[Any]], hanging: Mapping[str, int], *, fails: bool = False
) -> tuple[Any, float]:
    """Ask with a short time limit, and again with a longer one if the machine was too slow.

    A test of a time limit needs calls that hang and calls that answer in time. How long the latter take depends on the machine.
    Therefore each of `LIMITS` is tried until all hanging calls were sent, no other call timed out, and the outcome is an answer
    or an error as expected.

    Args:
        server: The server of the hanging calls. Its requests are cleared before each attempt.
        ask: Asks with a time limit.
        hanging: The members whose calls hang, with the number of requests that the server gets for each.
        fails: Whether an error is expected.

    Returns:
        The answer or the error, and the time limit that was used.
    """
    outcome: Any = None
    for limit in LIMITS:
        server.reset()
        try:
            outcome = await ask(limit)
        except MoAError as error:
            if not fails and limit == LIMITS[-1]:
                raise
            outcome = error
        sent = all(len(server.calls(name)) >= requests for name, requests in hanging.items())
        if sent and isinstance(outcome, MoAError) == fails and all(names & {*hanging} for names in _timed_out(outcome)):
            break
    return outcome, limit


def when_asked(server: Loopback, model: str, times: int = 1, text: str | None = None) -> Callable[[Body], Awaitable[str]]:
    """Return the behaviour of a model that answers after another one has been called, to make the order deterministic.

    Args:
        server: The server of both models.
        model: The other model.
        times: How often the other model must be called before each answer.
        text: The answer. Default: an echo of the question.
    """
    answers = count(1)

    async def answer(body: Body) -> str:
        due = next(answers) * times
        while len(server.calls(model)) < due:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.01)
        return text or f"{body['model']} says: {last_user_text(body['messages'])}"

    return answer


def _timed_out(outcome: Any) -> Iterator[set[str]]:
    """Yield the names of the member of each call that timed out."""
    if isinstance(outcome, MoAError):
        calls: list[Any] = [*outcome.references, *outcome.steps]
    else:
        moa = outcome.response_metadata["moa"]
        calls = [*(call for layer in moa["layers"] for call in layer), *moa.get("steps", [])]
    for call in calls:
        if (call.get("error") or {}).get("kind") in _OUT_OF_TIME:
            yield {name.removeprefix("openai:") for name in (call["name"], call.get("model")) if name}
