"""One request, and how its answer is sent."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.loopback.completion import Completion, encode, error, event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.loopback.connection import Connection
    from tests.loopback.recorded import Recorded
    from tests.loopback.reply import Reply


@dataclass(frozen=True, slots=True)
class Exchange:
    """Sends a reply as scripted: late, in chunks, broken, or never.

    Attributes:
        connection: The connection of the request.
        request: The request.
        reply: The scripted reply.
        until: Waits for a condition on the server's state.
        answered: Whether a call of the model with this name has been answered.
    """

    connection: Connection
    request: Recorded
    reply: Reply
    until: Callable[[Callable[[], bool]], Awaitable[None]]
    answered: Callable[[str], bool]

    async def run(self) -> None:
        """Send the answer, or as much of it as the reply specifies."""
        reply, after = self.reply, self.reply.after
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.together:
            await self.until(lambda: self.request.together >= reply.together)
        if after is not None:
            await self.until(lambda: self.answered(after))
        if self.request.stream and not (reply.is_error and reply.after_chunks is None):
            await self._stream()
        else:
            await self._respond()

    async def _respond(self) -> None:
        reply = self.reply
        await self._stall()
        self._finish()
        if reply.is_error:
            problem = error(reply.status, reply.content or "", reply.code)
            self.connection.respond(reply.status, problem, self._headers)
            return
        body = Completion(self.request, reply).to_json()
        if not reply.drop:
            self.connection.respond(reply.status, body, self._headers)
            return
        if reply.after_chunks != 0:
            promised = {**self._headers, "content-length": str(len(body))}
            self.connection.respond(reply.status, body[: len(body) // 2], promised)
        self.connection.transport.close()

    async def _stream(self) -> None:
        reply = self.reply
        opening, *pieces, closing = Completion(self.request, reply).to_events()
        turn = self._turn(len(pieces))
        if turn > 0 or reply.is_error:
            self.connection.start_stream(self._headers)
            await self._send([opening, *pieces[:turn]])
            await self._stall()
        else:
            await self._stall()
            if not reply.drop:
                self.connection.start_stream(self._headers)
                await self._send([opening])
        if reply.drop:
            self._finish()
            self.connection.transport.close()
            return
        if reply.is_error:
            closing = event(encode(error(reply.status, reply.content or "", reply.code)))
        else:
            await self._send(pieces[turn:])
        self._finish()
        self.connection.end_stream(closing)

    def _finish(self) -> None:
        # Before the last bytes are sent, so that a client with the answer finds it recorded as finished.
        self.request.finished = time.monotonic()

    def _turn(self, pieces: int) -> int:
        if self.reply.after_chunks is not None:
            return min(self.reply.after_chunks, pieces)
        return pieces // 2 if self.reply.drop else 0

    async def _send(self, events: Sequence[bytes]) -> None:
        for sent in events:
            self.connection.send(sent)
            if self.reply.chunk_delay:
                await asyncio.sleep(self.reply.chunk_delay)

    async def _stall(self) -> None:
        gate = self.reply.gate
        if gate is not None:
            await self.until(lambda: gate.is_open)
        if self.reply.hang:
            await self.until(lambda: False)

    @property
    def _headers(self) -> dict[str, str]:
        return {"x-request-id": f"req_{self.request.number}", **self.reply.headers}
