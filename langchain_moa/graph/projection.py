"""A typed stream of references as they arrive, for `stream_events(version="v3")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from langgraph.stream import StreamChannel, StreamTransformer
from typing_extensions import override

if TYPE_CHECKING:
    from langgraph.stream import ProtocolEvent

    from langchain_moa.reference import Reference


class ReferencesTransformer(StreamTransformer):
    """Projects a run onto its references: each is there as soon as its proposer has answered, failed ones included.

    Every graph of `create_moa` has it; a graph that embeds one takes it as `compile(transformers=[ReferencesTransformer])`
    or finds it at the subgraph's own run.

    Example:
        ```python
        from langchain_moa import create_moa

        graph = create_moa(["local:smollm2-135m", "local:gemma3-270m"], "local:smollm2-135m", num_layers=1).compile()
        run = graph.stream_events({"messages": [("user", "Why is the sky blue?")]}, version="v3")
        for reference in run.extensions["references"]:
            print(reference["name"], reference["status"], reference["text"])
        ```
    """

    required_stream_modes: ClassVar[tuple[str, ...]] = ("updates",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        """Make the projection of one run.

        Args:
            scope: The namespace of the run; references of other graphs inside it are theirs.
        """
        super().__init__(scope)
        self._references: StreamChannel[Reference] = StreamChannel()

    @override
    def init(self) -> dict[str, Any]:
        return {"references": self._references}

    @override
    def process(self, event: ProtocolEvent) -> bool:
        params = event["params"]
        if event["method"] == "updates" and params["namespace"] == list(self.scope):
            for update in params["data"].values():
                for reference in (update or {}).get("references", ()) if isinstance(update, dict) else ():
                    self._references.push(reference)
        return True
