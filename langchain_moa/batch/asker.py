"""Ask a mixture the rows of a batch: the interface, and the implementation that runs the graph in this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from langchain_moa.batch.calls import QuestionRun, belonging_to, reason_of, with_journal
from langchain_moa.batch.output import with_columns
from langchain_moa.batch.pace import Paces
from langchain_moa.data.answer import read_answer, reference_text
from langchain_moa.data.errors import MoAError
from langchain_moa.data.redaction import describe
from langchain_moa.engine.graph import build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.batch.half_price import HalfPrice
    from langchain_moa.batch.journal import BatchJournal
    from langchain_moa.batch.rows import BatchRow
    from langchain_moa.data.reference import Reference
    from langchain_moa.mixture.mixture import Mixture

# The graph has no cycles, so this recursion limit is never reached.
_NO_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class BatchAnswer:
    """The answer to one row.

    Attributes:
        id: The row's `id`, or its line number.
        columns: The row's columns without `id`.
        answer: The answer, or `None` if the row failed.
        error: The error message with secrets redacted, or `None` if the row has an answer.
        cost_usd: Cost of all calls in US dollars, including those of earlier runs; `None` if a price is unknown.
        tokens: Token counts of all calls: `input_tokens`, `output_tokens` and `total_tokens`; `None` if no provider
            reported them.
        degraded: Descriptions of what the answer lacks, such as a proposer that failed. Usually empty.
        references: The proposers' answers, by layer and proposer.

    Example:
        ```python
        import asyncio

        from langchain_moa import BatchAnswer, Mixture, batch_answers


        async def failed(rows: list[str]) -> list[BatchAnswer]:
            answers = batch_answers(Mixture.from_preset("local"), rows)
            return [answer async for answer in answers if answer.error is not None]


        print(asyncio.run(failed(["Why is the sky blue?"])))
        ```
    """

    id: str | int
    columns: Mapping[str, Any] = field(default_factory=dict)
    answer: str | None
    error: str | None
    cost_usd: float | None = None
    tokens: Mapping[str, int] | None = None
    degraded: Sequence[str] = ()
    references: Sequence[Mapping[str, Any]] = ()

    def line(self, *, references: bool) -> dict[str, Any]:
        """Return the JSON-serializable line of this answer in the output.

        Args:
            references: Whether to include the references.

        Example:
            ```python
            from langchain_moa import BatchAnswer

            print(BatchAnswer(id=1, columns={"prompt": "1 + 1?"}, answer="2", error=None).line(references=False))
            ```
        """
        own = {
            "id": self.id,
            "answer": self.answer,
            "error": self.error,
            "cost_usd": self.cost_usd,
            "tokens": None if self.tokens is None else dict(self.tokens),
            "degraded": list(self.degraded),
            **({"references": list(self.references)} if references else {}),
        }
        return with_columns(self.columns, own)


@dataclass(frozen=True, kw_only=True)
class GraphAnswer:
    """The answer of the graph of a mixture or of a single member.

    Attributes:
        text: The answer; empty if the run failed.
        error: The error of a run that failed, or `None`.
        degraded: Descriptions of what the answer lacks.
        references: The proposers' answers.
    """

    text: str = ""
    error: MoAError | None = None
    degraded: Sequence[str] = ()
    references: Sequence[Reference] = ()


async def ask_graph(
    graph: Any, run: QuestionRun, messages: Sequence[BaseMessage], *, context: Any = None, **more: Any
) -> GraphAnswer:
    """Run a compiled graph and return its answer.

    Args:
        graph: The graph.
        run: The run that the calls are recorded for.
        messages: The messages to send.
        context: The runtime context of the graph.
        **more: Further fields of the graph's input.

    Raises:
        Exception: Any error other than `MoAError`, which indicates a bug.
    """
    with belonging_to(run):
        try:
            state = await graph.ainvoke({"messages": messages, **more}, {"recursion_limit": _NO_LIMIT}, context=context)
        except MoAError as error:
            return GraphAnswer(error=error, references=error.references)
    message = state["messages"][-1]
    return GraphAnswer(
        text=reference_text(message),
        degraded=tuple(message.response_metadata.get("moa", {}).get("degraded", ())),
        references=state.get("references", ()),
    )


class Asker(ABC):
    """Asks a mixture the rows of a batch."""

    @abstractmethod
    async def ask(self, row: BatchRow) -> BatchAnswer | None:
        """Return the answer to a row, or `None` if the run ends before the answer is complete."""

    @abstractmethod
    def close(self) -> None:
        """Release the resources."""


class LocalAsker(Asker):
    """Runs the mixture in this process."""

    def __init__(
        self, mixture: Mixture, journal: BatchJournal, *, paces: Paces | None = None, half_price: HalfPrice | None = None
    ) -> None:
        """Compile the graph.

        Args:
            mixture: The mixture.
            journal: The journal that records the calls.
            paces: The pace of each provider. Default: new ones.
            half_price: Sends the calls as batch jobs. Default: calls are made directly.
        """
        self._secrets = mixture.secrets
        if half_price is None:
            called = (paces or Paces()).paced(with_journal(mixture, journal))
        else:
            called = with_journal(half_price.applied(mixture), journal)
        self._graph: Any = build_graph(called).compile(checkpointer=False)

    @override
    def close(self) -> None:
        """Do nothing: clients are closed together with their event loop."""

    @override
    async def ask(self, row: BatchRow) -> BatchAnswer | None:
        run = QuestionRun.of(str(row.id), row.messages)
        found = GraphAnswer()
        try:
            found = await ask_graph(self._graph, run, row.messages)
            reason = None if found.error is None else reason_of(found.error)
        except Exception as error:  # noqa: BLE001  # one failed row must not end the run; its line has the error
            failure = describe(error, self._secrets)
            reason = f"{failure['kind']}: {failure['message']}"
        if run.is_halted:
            return None
        costs = [record.cost_usd for record in run.records]
        known = [cost for cost in costs if cost is not None]
        return BatchAnswer(
            id=row.id,
            columns=row.columns,
            answer=None if reason is not None else found.text.strip(),
            error=reason,
            cost_usd=sum(known) if len(known) == len(costs) and costs else None,
            tokens=_tokens(run),
            degraded=found.degraded,
            references=tuple(map(_plain, found.references)),
        )


def _tokens(run: QuestionRun) -> dict[str, int] | None:
    usages = [usage for record in run.records if (usage := read_answer(record.answer)["usage"]) is not None]
    if not usages:
        return None
    return {name: sum(usage[name] for usage in usages) for name in ("input_tokens", "output_tokens", "total_tokens")}


def _plain(reference: Reference) -> dict[str, Any]:
    error = reference["error"]
    return {
        "layer": reference["layer"],
        "proposer": reference["proposer"],
        "model": reference["model"],
        "text": reference["text"] if error is None else None,
        "error": None if error is None else f"{error['kind']}: {error['message']}",
    }
