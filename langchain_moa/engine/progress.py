"""Shared progress of a run: a `Progress` in a channel that is neither checkpointed nor streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NotRequired, Self

from langgraph.channels import UntrackedValue
from typing_extensions import override

from langchain_moa._compat import read_channel
from langchain_moa.data.state import MoAState
from langchain_moa.limits.quorum import Progress

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


class ProgressChannel(UntrackedValue[Progress]):
    """A channel with a new `Progress` for every run. It is not checkpointed."""

    def __init__(self, typ: type[Progress] = Progress, guard: bool = True) -> None:  # noqa: FBT001, FBT002  # LangGraph's signature
        """Make the channel; LangGraph copies it for every run."""
        super().__init__(typ, guard)

    @override
    def from_checkpoint(self, checkpoint: Any) -> Self:
        channel = super().from_checkpoint(checkpoint)
        channel.value = Progress()
        return channel


PROGRESS = "progress"
"""The name of the progress channel."""


class RunState(MoAState):
    """The state of a run, with the internal progress channel, which is in no checkpoint, input, output or stream."""

    progress: NotRequired[Annotated[Progress, ProgressChannel()]]


def progress_of(config: RunnableConfig | None) -> Progress:
    """Return the progress of the running graph, or a new one outside of a run.

    Args:
        config: The node's config.
    """
    found = read_channel(config, PROGRESS)
    return found if isinstance(found, Progress) else Progress()
