"""Making the mixture that the user is about to ask."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from langchain_moa.cli.console import console_on, is_terminal, note

if TYPE_CHECKING:
    from langchain_moa.cli.choosing import MixtureOptions
    from langchain_moa.mixture.mixture import Mixture


def load(options: MixtureOptions, *, quiet: bool = False) -> Mixture:
    """Make the mixture that the options choose, and say on standard error what goes on.

    Args:
        options: The options.
        quiet: Whether nothing is said.

    Raises:
        UsageError: The options contradict each other, or describe no mixture.
    """
    if options.is_default and not quiet:
        note("no --config, no --preset and no ./moa.yaml: asking the preset local, small models on this machine")
    if quiet or not is_terminal(sys.stderr):
        return options.mixture()
    # The first import of a provider's client takes a second or two.
    with console_on(sys.stderr).status("loading"):
        return options.mixture()
