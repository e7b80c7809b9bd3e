"""The session: it reads, asks or does what is told, and reads again, until the user leaves."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from langchain_moa.cli.answering import Answer
from langchain_moa.cli.chat.commands import COMMANDS
from langchain_moa.cli.chat.slash import find, is_slash, question_in
from langchain_moa.cli.chat.terminal import unechoed
from langchain_moa.cli.chat.turn import Turn
from langchain_moa.cli.console import counted
from langchain_moa.cli.ending import Interrupted, end_whatever_is_left, interruptible
from langchain_moa.cli.failing import tell
from langchain_moa.cli.progress import Progress
from langchain_moa.cli.running import arun
from langchain_moa.cli.spending import Spending
from langchain_moa.data.errors import MoAError
from langchain_moa.runs import record_moa

if TYPE_CHECKING:
    from langchain_moa.cli.chat.chat import Chat
    from langchain_moa.cli.chat.line import Line
    from langchain_moa.cli.running import Outcome


class Session:
    """A chat as it goes; whatever goes wrong with one question, the next can be asked."""

    def __init__(self, chat: Chat, line: Line, *, plain: bool, debug: bool) -> None:
        """Make the session.

        Args:
            chat: The chat.
            line: Where the user types.
            plain: Whether answers are shown as they are, their Markdown not rendered.
            debug: Whether errors are shown with their traceback.
        """
        self._chat = chat
        self._line = line
        self._plain = plain
        self._debug = debug
        self._was_interrupted = False

    async def run(self) -> None:
        """Read and answer until the user leaves."""
        self._greet()
        while not self._chat.is_over:
            try:
                text = await self._line.read()
            except EOFError:
                break
            with unechoed():
                await self._respond(text)
        if self._was_interrupted:
            end_whatever_is_left()

    async def _respond(self, text: str) -> None:
        try:
            if is_slash(text):
                command, argument = find(text, COMMANDS)
                command.do(self._chat, argument)
            else:
                await self._ask(question_in(text))
        except Exception as error:  # noqa: BLE001  # one that fails is told, and the chat goes on
            tell(error, debug=self._debug)
            if isinstance(error, MoAError) and (good := sum(each["status"] == "ok" for each in error.references)):
                self._chat.console.print(f"/references shows {counted(good, 'good answer')} of the proposers", style="dim")
        if not self._chat.is_over:
            self._chat.console.line()

    async def _ask(self, question: str) -> None:
        chat = self._chat
        chat.turn = turn = Turn(question)
        try:
            with record_moa() as turn.runs:
                turn.outcome = await interruptible(self._watched(turn))
        except Interrupted:
            self._was_interrupted = True
            chat.console.print("✗ cancelled: the question is not in the conversation; ↑ brings it back", style="yellow")
        else:
            chat.conversation.turns.append((question, turn.outcome.answer))
            chat.console.print(_summary(turn.outcome), style="dim")
        finally:
            chat.tally.add(turn)

    async def _watched(self, turn: Turn) -> Outcome:
        chat = self._chat
        names = [[member.name for member in layer] for layer in chat.mixture.members.layers]
        with ExitStack() as shown:
            progress = shown.enter_context(Progress(chat.console, names, yields=True, awaits_tokens=True))
            answer = shown.enter_context(Answer(sys.stdout, plain=self._plain))
            messages = chat.conversation.asked(turn.question)
            return await arun(chat.mixture, messages, turn, progress, answer, stream_proposers=True)

    def _greet(self) -> None:
        from rich.text import Text

        chat = self._chat
        layers = [len(layer) for layer in chat.mixture.members.layers]
        proposers = counted(layers[0], "proposer") if len(set(layers)) == 1 else f"{'+'.join(map(str, layers))} proposers"
        aggregator = chat.mixture.members.aggregator.name if chat.mixture.aggregator is not None else "no aggregator"
        shape = f"{proposers} in {counted(len(layers), 'layer')} → {aggregator}"
        chat.console.print(Text.assemble(("langchain-moa chat", "bold"), ("  ", ""), (chat.source, "cyan")))
        chat.console.print(Text(shape, "dim", no_wrap=True, overflow="ellipsis"))
        chat.console.line()


def _summary(outcome: Outcome) -> str:
    parts = (counted(outcome.moa["calls"], "call"), f"{outcome.seconds:.1f} s", str(Spending.of(outcome.moa)))
    return "\n" + " · ".join(part for part in parts if part)
