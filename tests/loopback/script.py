"""The behaviour of one model, call by call."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from tests.loopback.recorded import last_user_text
from tests.loopback.reply import Reply

if TYPE_CHECKING:
    from tests.loopback.reply import Behaviour, Body


def echo(body: Body) -> Reply:
    """Reply with the model's name and the last user message, as models without a script do."""
    return Reply(f"{body['model']} says: {last_user_text(body['messages'])}")


class Script:
    """Turns a `Behaviour` into one `Reply` per call."""

    def __init__(self, behaviour: Behaviour) -> None:
        """Create the script of a behaviour.

        Raises:
            ValueError: The behaviour is an empty list.
        """
        if isinstance(behaviour, str | Reply):
            behaviour = [behaviour]
        if not callable(behaviour) and not behaviour:
            msg = "behaviour: an empty list of replies; give at least one"
            raise ValueError(msg)
        self._behaviour = behaviour
        self._calls = 0

    async def reply(self, body: Body) -> Reply:
        """Return the reply to the next call. The last one of a list repeats."""
        if callable(self._behaviour):
            answer = self._behaviour(body)
            if inspect.isawaitable(answer):
                answer = await answer
        else:
            answer = self._behaviour[min(self._calls, len(self._behaviour) - 1)]
            self._calls += 1
        return answer if isinstance(answer, Reply) else Reply(answer)
