"""A chat: everything that its commands work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_moa.cli.chat.conversation import Conversation
from langchain_moa.cli.chat.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from langchain_moa.cli.chat.turn import Turn
    from langchain_moa.mixture.mixture import Mixture


@dataclass(eq=False)
class Chat:
    """A chat with a mixture.

    Attributes:
        mixture: Who is asked.
        console: Where everything is shown.
        source: Where the mixture comes from, in a word or two; may be empty.
        conversation: What was said.
        turn: The latest question; `None` before the first.
        tally: What was used.
        written: The files that were written, which may be written again.
        is_over: Whether the user wants to leave.
    """

    mixture: Mixture
    console: Console
    source: str = ""
    conversation: Conversation = field(default_factory=Conversation)
    turn: Turn | None = None
    tally: Tally = field(default_factory=Tally)
    written: set[Path] = field(default_factory=set)
    is_over: bool = False
