"""Watchers: callback handlers that the nodes of a mixture tell of their calls."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from langchain_core.callbacks import BaseCallbackHandler

from langchain_moa.data.redaction import handlers_of

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


class Watcher(BaseCallbackHandler):
    """A handler that sees more of a mixture than the runs of models in it: which call is whose.

    Nothing in a model's run says which member of which mixture was asked, or which runs are attempts at the same call; the
    nodes know. A `ChatMoA` hands its watchers on to the run inside.
    """

    @abstractmethod
    def watch_mixture(self, config: RunnableConfig, mixture: Mixture) -> None:
        """Be told which mixture a node belongs to.

        Args:
            config: The node's config.
            mixture: The mixture.
        """

    @abstractmethod
    def watch_call(self, config: RunnableConfig, name: str, member: Member) -> BaseCallbackHandler:
        """Be told that a node is about to call a member.

        Args:
            config: The node's config.
            name: What the call is named in traces.
            member: Who is called.

        Returns:
            A handler for this call alone; the runs that it sees below the node's are the attempts.
        """


def watchers_of(config: RunnableConfig | None) -> list[Watcher]:
    """Return those who watch the run that a node's config belongs to."""
    return [handler for handler in handlers_of((config or {}).get("callbacks")) if isinstance(handler, Watcher)]
