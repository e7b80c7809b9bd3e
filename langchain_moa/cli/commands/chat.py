"""`chat`: talk with a mixture in the terminal."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from langchain_moa.cli.choosing import MixtureOptions
from langchain_moa.cli.console import console_on, is_terminal
from langchain_moa.cli.failing import EXIT_CODES, UsageError, explained
from langchain_moa.cli.loading import load
from langchain_moa.cli.options import (
    OUTPUT,
    Aggregator,
    Config,
    Debug,
    Layers,
    MaxTokens,
    Plain,
    Preset,
    Proposers,
    Settings,
    System,
    Temperature,
    Timeout,
)

app = typer.Typer()

NoColor = Annotated[
    bool, typer.Option("--no-color", help="No colours; the variable NO_COLOR does the same.", rich_help_panel=OUTPUT)
]
NoHistory = Annotated[
    bool, typer.Option("--no-history", help="Remember nothing of what is asked, and show nothing of earlier chats.")
]


@app.command(epilog=EXIT_CODES)
def chat(
    *,
    config: Config = None,
    preset: Preset = None,
    proposers: Proposers = None,
    aggregator: Aggregator = None,
    layers: Layers = None,
    settings: Settings = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    timeout: Timeout = None,
    plain: Plain = False,
    no_color: NoColor = False,
    no_history: NoHistory = False,
    debug: Debug = False,
) -> None:
    """Talk with a mixture in the terminal.

    Shows each layer at work, then the answer as it comes. The mixture reads
    the conversation so far; of earlier turns only the final answers. Ctrl-C
    cancels an answer, Ctrl-D ends the chat, /help says what else there is.

    [dim]$[/dim] langchain-moa chat --preset together-lite
    """
    with explained(debug=debug):
        if not is_terminal(sys.stdin) or not is_terminal(sys.stdout):
            msg = 'a chat needs a terminal; in scripts and pipes ask one question: langchain-moa ask "Why is the sky blue?"'
            raise UsageError(msg)
        if no_color:
            # Where rich, prompt_toolkit, and whatever else writes on this terminal look.
            os.environ["NO_COLOR"] = "1"
        options = MixtureOptions(
            config=config,
            preset=preset,
            proposers=proposers,
            aggregator=aggregator,
            layers=layers,
            settings=settings,
            fields={"temperature": temperature, "max_tokens": max_tokens, "timeout": timeout},
        )
        mixture = load(options)
        # They bring LangChain along, and the first of them prompt_toolkit.
        from langchain_moa.cli.chat.chat import Chat
        from langchain_moa.cli.chat.commands import COMMANDS
        from langchain_moa.cli.chat.conversation import Conversation
        from langchain_moa.cli.chat.history import open_history
        from langchain_moa.cli.chat.line import Line
        from langchain_moa.cli.chat.session import Session
        from langchain_moa.cli.ending import run_until_signalled

        talk = Chat(mixture, console_on(sys.stdout), options.source, Conversation(system))
        line = Line(COMMANDS, open_history(kept=not no_history))
        # Ctrl-C is the session's own: it ends an answer.
        run_until_signalled(Session(talk, line, plain=plain, debug=debug).run(), by=(signal.SIGTERM,))
