"""Count the model calls that a user's callable or Runnable makes inside a mixture, however deep they are."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from typing_extensions import override

from langchain_moa.reference import reference_text
from langchain_moa.secrets import describe
from langchain_moa.usage import cost_of_messages

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.outputs import LLMResult

    from langchain_moa.step import Step


class _Run(NamedTuple):
    name: str
    model: str
    started: float


class CallCounter(BaseCallbackHandler):
    """Turns each chat model's run that it sees into a step.

    A model is counted where the callable passes its config on, which LangChain does by itself for all that is called in the
    same context. Embeddings have no callbacks and are not counted.
    """

    # In async code, too, at once: a handler in a thread would have the steps come late.
    run_inline = True

    def __init__(self, *, turn: str, node: str) -> None:
        """Make a counter.

        Args:
            turn: The turn of its steps.
            node: The node of its steps.
        """
        self._turn = turn
        self._node = node
        self._runs: dict[UUID, _Run] = {}
        self.steps: list[Step] = []

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        said = metadata or {}
        name = kwargs.get("name") or said.get("ls_model_name") or "chat model"
        model = f"{said.get('ls_provider')}:{said['ls_model_name']}" if said.get("ls_model_name") else name
        self._runs[run_id] = _Run(name, model, perf_counter())

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        message = generation.message if isinstance(generation, ChatGeneration) else None
        if isinstance(message, AIMessage):
            paid = {"usage": message.usage_metadata, "cost_usd": cost_of_messages([message])}
            self._close(run_id, text=reference_text(message), status="ok", error=None, **paid)
        else:
            self._close(run_id, text=generation.text if generation else "", status="ok", error=None, usage=None)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._close(run_id, text="", status="failed", error=describe(error), usage=None)

    def _close(self, run_id: UUID, **outcome: Any) -> None:
        if run := self._runs.pop(run_id, None):
            place = {"turn": self._turn, "node": self._node, "name": run.name, "model": run.model}
            self.steps.append(cast("Step", {**place, **outcome, "seconds": round(perf_counter() - run.started, 6)}))
