"""`chat`: chat with a mixture in the terminal."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from langchain_moa.cli.arguments import OUTPUT, CallArguments, Debug, Plain, with_arguments
from langchain_moa.cli.console import console_on, is_terminal
from langchain_moa.cli.exit_codes import EXIT_CODES, UsageError, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments

app = typer.Typer()

NoColor = Annotated[
    bool, typer.Option("--no-color", help="Turn off colours; the variable NO_COLOR does the same.", rich_help_panel=OUTPUT)
]
NoHistory = Annotated[bool, typer.Option("--no-history", help="Neither save your questions nor offer those of earlier chats.")]


@app.command("chat", epilog=EXIT_CODES)
@with_arguments
def chat_command(
    *,
    mixture: MixtureArguments,
    calls: CallArguments,
    plain: Plain = False,
    no_color: NoColor = False,
    no_history: NoHistory = False,
    debug: Debug = False,
) -> None:
    """Talk with a mixture in the terminal.

    Shows the progress of each layer, then streams the answer. The mixture
    reads the conversation so far; of earlier turns only the final answers.
    Ctrl-C cancels an answer, Ctrl-D ends the chat, /help lists the commands.

    [dim]$[/dim] langchain-moa chat --preset together-lite
    """
    with explained(debug=debug):
        if not is_terminal(sys.stdin) or not is_terminal(sys.stdout):
            msg = 'a chat needs a terminal; in scripts and pipes ask one question: langchain-moa ask "Why is the sky blue?"'
            raise UsageError(msg)
        if no_color:
            # Rich, prompt_toolkit and other packages read this variable.
            os.environ["NO_COLOR"] = "1"
        asked = mixture.load(overrides=calls.fields)
        # Imported here because they import LangChain and prompt_toolkit.
        from langchain_moa.cli.chat.conversation import Chat, Conversation
        from langchain_moa.cli.chat.prompt import ChatPrompt, open_history
        from langchain_moa.cli.chat.session import ChatSession
        from langchain_moa.cli.chat.slash_commands import COMMANDS
        from langchain_moa.cli.signals import run_until_signalled

        chat = Chat(asked, console_on(sys.stdout), mixture.source, Conversation(calls.system))
        prompt = ChatPrompt(COMMANDS, open_history(kept=not no_history))
        # The session handles Ctrl-C itself: it cancels the current answer.
        run_until_signalled(ChatSession(chat, prompt, plain=plain, debug=debug).run(), by=(signal.SIGTERM,))
