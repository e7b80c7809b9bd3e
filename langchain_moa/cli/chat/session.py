"""A chat session: read a line, answer the question or run the slash command, and repeat until the user leaves."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from langchain_moa.cli.answer import AnswerView
from langchain_moa.cli.chat.conversation import ChatTurn
from langchain_moa.cli.chat.slash_commands import COMMANDS, find_command, is_slash, question_in
from langchain_moa.cli.exit_codes import tell
from langchain_moa.cli.progress import ProgressView
from langchain_moa.cli.run_views import CUT, arun
from langchain_moa.cli.signals import Interrupted, end_whatever_is_left, interruptible
from langchain_moa.cli.spending import Spending
from langchain_moa.data.errors import MoAError
from langchain_moa.data.figures import counted
from langchain_moa.runs import record_moa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_moa.cli.chat.conversation import Chat
    from langchain_moa.cli.chat.prompt import ChatPrompt
    from langchain_moa.cli.run_views import RunResult


class ChatSession:
    """A running chat. It continues after errors."""

    def __init__(self, chat: Chat, prompt: ChatPrompt, *, plain: bool, debug: bool) -> None:
        """Create the session.

        Args:
            chat: The chat.
            prompt: The prompt that reads input.
            plain: Whether to show answers without rendering their Markdown.
            debug: Whether to show errors with a traceback.
        """
        self._chat = chat
        self._prompt = prompt
        self._plain = plain
        self._debug = debug
        self._was_interrupted = False

    async def run(self) -> None:
        """Read and answer questions until the user leaves."""
        self._greet()
        with typing_ahead():
            while not self._chat.is_over:
                try:
                    text = await self._prompt.read()
                except EOFError:
                    break
                await self._respond(text)
        if self._was_interrupted:
            end_whatever_is_left()

    async def _respond(self, text: str) -> None:
        try:
            if is_slash(text):
                command, argument = find_command(text, COMMANDS)
                command.do(self._chat, argument)
            else:
                await self._ask(question_in(text))
        except Exception as error:  # noqa: BLE001  # the error is shown, and the chat continues
            tell(error, debug=self._debug)
            if isinstance(error, MoAError) and (good := sum(each["status"] == "ok" for each in error.references)):
                self._chat.console.print(f"/references shows {counted(good, 'good answer')} of the proposers", style="dim")
        if not self._chat.is_over:
            self._chat.console.line()

    async def _ask(self, question: str) -> None:
        chat = self._chat
        chat.turn = turn = ChatTurn(question)
        try:
            with record_moa() as turn.runs:
                turn.result = await interruptible(self._watched(turn))
        except Interrupted:
            self._was_interrupted = True
            chat.console.print("✗ cancelled: the question is not in the conversation; ↑ brings it back", style="yellow")
        else:
            chat.conversation.turns.append((question, turn.result.answer))
            if turn.result.is_cut:
                chat.console.print(f"! {CUT}", style="yellow")
            chat.console.print(_summary(turn.result), style="dim")
        finally:
            chat.totals.add(turn)

    async def _watched(self, turn: ChatTurn) -> RunResult:
        chat = self._chat
        names = [[member.name for member in layer] for layer in chat.mixture.members.layers]
        with ExitStack() as shown:
            progress = shown.enter_context(ProgressView(chat.console, names, yields=True, awaits_tokens=True))
            answer = shown.enter_context(AnswerView(sys.stdout, plain=self._plain))
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


def _summary(result: RunResult) -> str:
    parts = (counted(result.moa["calls"], "call"), f"{result.seconds:.1f} s", str(Spending.of(result.moa)))
    return "\n" + " · ".join(part for part in parts if part)


@contextmanager
def typing_ahead() -> Iterator[None]:
    """Keep text typed between two prompts for the next prompt, without echoing it. Ctrl-C keeps working.

    The prompt changes the terminal's mode while it reads, and then restores the mode set here.
    """
    try:
        import termios
    except ImportError:  # Windows consoles echo only what a program reads
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    changed = termios.tcgetattr(descriptor)
    # Otherwise Enter would arrive as Ctrl-J, which starts a new line at the prompt.
    changed[0] &= ~termios.ICRNL
    # Without NOFLSH, Ctrl-C would discard the text typed before it.
    changed[3] = changed[3] & ~(termios.ECHO | termios.ICANON) | termios.NOFLSH
    termios.tcsetattr(descriptor, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
