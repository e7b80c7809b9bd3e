"""One member of a mixture by itself: what it would answer if there were no mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_moa.engine.aggregate import AGGREGATOR

if TYPE_CHECKING:
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


@dataclass(frozen=True, kw_only=True)
class MemberName:
    """Which member of a mixture is meant.

    Attributes:
        text: `aggregator`, a proposer's number in the first layer, its name, or its model id.
    """

    text: str

    def find(self, mixture: Mixture) -> Member:
        """Return the member.

        Args:
            mixture: Whose member it is.

        Raises:
            ValueError: There is none, or two different ones have this name.
        """
        members = mixture.members
        if self.text == AGGREGATOR:
            if mixture.aggregator is None:
                msg = "the mixture has no aggregator to ask alone"
                raise ValueError(msg)
            return members.aggregator
        first = members.layers[0]
        if self.text.isdecimal() and 1 <= int(self.text) <= len(first):
            return first[int(self.text) - 1]
        found = [member for layer in members.layers for member in layer if self.text in (member.name, member.id)]
        if not found:
            numbered = [f"{number} ({member.name})" for number, member in enumerate(first, start=1)]
            msg = f"{self.text!r} is no member; there are {', '.join(numbered)} and {AGGREGATOR}"
            raise ValueError(msg)
        if any(member.describe() != found[0].describe() for member in found):
            msg = f"several members are called {self.text!r}; name one by its number, 1 to {len(first)}"
            raise ValueError(msg)
        return found[0]
