"""`batch_answers`: ask a mixture many rows, and iterate over the answers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from langchain_moa.batch.run import BatchRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable
    from pathlib import Path

    from typing_extensions import Unpack

    from langchain_moa.batch.asker import BatchAnswer
    from langchain_moa.batch.settings import BatchOptions
    from langchain_moa.mixture.mixture import Mixture


async def batch_answers(
    mixture: Mixture,
    rows: str | Path | Iterable[Any] | AsyncIterable[Any],
    **options: Unpack[BatchOptions],
) -> AsyncGenerator[BatchAnswer]:
    """Ask a mixture many rows, and yield the answers as they complete.

    A row has one of the columns `prompt`, `question`, `input` and `messages`, and optionally an `id`. The default id is the
    line number. All other columns are copied to the output. Rows are read lazily, so memory does not grow with their number.

    With `output`, each answer is written to that file before it is yielded, and every call is recorded in a journal next to
    it, `OUTPUT.journal`. To resume a run that was interrupted, even by a power failure, call this again with the same
    arguments: rows that have a line in the output are skipped, and recorded calls of unfinished rows are not paid for again.

    To stop early, break out of the loop or cancel the task; running calls are cancelled. After `break`, Python closes an async
    iterator some time later, and the output is in use until then. To use it at once, iterate inside
    `async with contextlib.aclosing(batch_answers(...)) as answers`.

    Args:
        mixture: The mixture, or a `ChatMoA`.
        rows: A `.jsonl`, `.csv` or `.parquet` file, which is validated before the first call; or a sync or async iterable of
            mappings or prompt strings.
        **options: All are optional:

            - `output` (`str | Path`): a JSONL file for the answers. Default: none, nothing is stored.
            - `prompt_field` (`str`): the column that holds the prompt. Default: whichever of the four the row has.
            - `system` (`str`): the system message of rows without a `system` column. Default: none.
            - `concurrency` (`int`): the maximum number of rows in progress at once. When a provider returns rate limit errors,
              fewer calls are made at once until it accepts them again. Default: 8.
            - `max_cost_usd` (`float`): the limit of what all runs on this output may spend, in US dollars. The expected cost of
              each call is reserved before it is made. Default: no limit.
            - `retry_failed` (`bool`): whether to retry rows that failed. Default: `False`.
            - `ordered` (`bool`): whether to sort the output by the order of the rows at the end. Default: `False`.
            - `references` (`bool`): whether to include the proposers' answers in the output. Default: `False`.
            - `half_price` (`bool`): whether to send calls as batch jobs of OpenAI, Anthropic, Together and others, which
              answer within a day at half the price. Timeouts, the quorum and `max_concurrency` are disabled then, up to
              10,000 rows are in progress at once, and `concurrency` limits the calls to providers without batch jobs. With
              `max_cost_usd`, the mixture needs `max_tokens`. Default: `False`.
            - `poll` (`float`): with `half_price`, the initial number of seconds between two polls of a job; it increases to
              10 minutes. Default: 30.
            - `ray` (`str`): the address of a Ray cluster whose workers process the rows. `auto` connects to the cluster of this
              machine, `local` starts one. Every member must be a string. Default: run in this process.
            - `workers` (`int`): with `ray`, the number of workers; `concurrency` applies to all of them together. Default: 2.

    Yields:
        The answers of this run, including failed rows, in the order in which they complete.

    Raises:
        ValueError: An argument is out of range, or `max_cost_usd` is given and a price is unknown.
        RowError: A file cannot be read, one of its rows is invalid, or two rows have the same id.
        BatchError: The output is in use by another run, was started with another mixture, `system` or `prompt_field`, or is not
            the output of a batch.
        StoppedError: The run ended early: the budget is used up, too many rows failed in a row, or a file cannot be written.
        ImportError: A package for Parquet, Ray or a provider is missing; the message has the pip command.
        TypeError: An option is unknown.

    Example:
        ```python
        import asyncio

        from langchain_moa import Mixture, batch_answers


        async def main():
            mixture = Mixture.from_preset("local")
            async for answer in batch_answers(mixture, ["Why is the sky blue?", "What is salt?"], output="answers.jsonl"):
                print(answer.id, answer.answer or answer.error)


        asyncio.run(main())
        ```
    """
    with BatchRun(mixture, rows, **options) as run:
        await asyncio.to_thread(run.check)
        async with aclosing(run.answers()) as answers:
            async for answer in answers:
                yield answer
        run.journal.gate.require_open()
