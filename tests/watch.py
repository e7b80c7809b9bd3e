"""Callback handlers that record events and runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.base import BaseTracer

if TYPE_CHECKING:
    from langchain_core.tracers.schemas import Run


class Witness(BaseCallbackHandler):
    """Counts the events that a handler of an application receives."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.tokens: list[str] = []
        self.ended: list[Any] = []

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.events["start"] += 1

    def on_llm_new_token(self, token: Any, **__: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.events["end"] += 1
        self.ended.append(response)

    def on_llm_error(self, *_: Any, **__: Any) -> None:
        self.events["error"] += 1

    def on_chain_start(self, *_: Any, **__: Any) -> None:
        self.events["chain"] += 1


class Tree(BaseTracer):
    """Records the trees of runs, like LangSmith."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)

    def outline(self) -> str:
        """Return the trees as text: one run per line, indented by depth, siblings by start time and name."""
        return "\n".join(line for root in self.roots for line in self._lines(root, 0))

    def own_runs(self) -> list[Run]:
        """Return the runs of the mixture itself, parents first, without the calls of members and their nested runs."""
        found = list(self.roots)
        for run in found:
            found.extend(
                each for each in run.child_runs if ": " not in each.name and each.run_type not in {"llm", "chat_model"}
            )
        return found

    def runs(self) -> list[Run]:
        """Return all runs, parents first."""
        found = list(self.roots)
        for run in found:
            found.extend(run.child_runs)
        return found

    def _lines(self, run: Run, depth: int) -> list[str]:
        children = sorted(run.child_runs, key=lambda child: (child.start_time, child.name))
        below = [line for child in children for line in self._lines(child, depth + 1)]
        return [f"{'  ' * depth}{run.run_type} {run.name}", *below]
