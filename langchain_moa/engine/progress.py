"""What the nodes of one run share beside its state, in a channel that no checkpoint keeps and no stream shows."""

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
    """A channel that holds a new `Progress` in every run, and that no checkpoint keeps."""

    def __init__(self, typ: type[Progress] = Progress, guard: bool = True) -> None:  # noqa: FBT001, FBT002  # as LangGraph has it
        """Make the channel; LangGraph copies it for every run."""
        super().__init__(typ, guard)

    @override
    def from_checkpoint(self, checkpoint: Any) -> Self:
        channel = super().from_checkpoint(checkpoint)
        channel.value = Progress()
        return channel


PROGRESS = "progress"
"""The name of that channel."""


class RunState(MoAState):
    """The state of a run, and what its nodes share; that part is in no checkpoint, input, output or stream."""

    progress: NotRequired[Annotated[Progress, ProgressChannel()]]


def progress_of(config: RunnableConfig | None) -> Progress:
    """Return what the nodes of the running graph share.

    Args:
        config: The node's config.
    """
    found = read_channel(config, PROGRESS)
    return found if isinstance(found, Progress) else Progress()
