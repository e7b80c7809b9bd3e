"""`batch_answers`: a mixture's answers to many rows, as an async iterator."""

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
    """Ask a mixture many rows, and yield the answers as they come.

    A row has one of the columns `prompt`, `question`, `input` and `messages`, and an `id`; without one, the number of its line
    is its id. Its other columns are carried over. Rows are read as they are needed, so memory does not grow with their number.

    With an `output`, each answer is a line there before it is yielded, and every call is in a journal beside it,
    `OUTPUT.journal`. A run that was ended, even by a power failure, goes on if you call this again with the same arguments:
    rows that have a line are not asked, and not yielded, again, and calls of an answer that was not complete are not paid
    again. Break the loop, or cancel the task, to end early: the calls under way are cancelled. After `break`, Python closes an
    async iterator some time later, and the output is in use until then; to use it at once, iterate inside
    `async with contextlib.aclosing(batch_answers(...)) as answers`.

    Args:
        mixture: The mixture, or a `ChatMoA`.
        rows: A `.jsonl`, `.csv` or `.parquet` file, which is checked before anything is asked; or an iterable, sync or async,
            of mappings, or of texts, each of which is a prompt.
        **options: All can be left out:

            - `output` (`str | Path`): a JSONL file for the answers. Default: none; nothing is kept.
            - `prompt_field` (`str`): the column that is asked. Default: the one of the four that is there.
            - `system` (`str`): the system message of rows that have no `system` of their own. Default: none.
            - `concurrency` (`int`): how many rows are under way at once. Where a provider refuses calls because there are too
              many, fewer are made at once until it takes them again. Default: 8.
            - `max_cost_usd` (`float`): US dollars that all runs on this output may spend. Each call's cost is reserved before
              it is made. Default: no limit.
            - `retry_failed` (`bool`): whether rows that have failed are asked again. Default: `False`.
            - `ordered` (`bool`): whether the output is put into the order of the rows at the end. Default: `False`.
            - `references` (`bool`): whether the proposers' answers are in the output. Default: `False`.
            - `half_price` (`bool`): whether calls go into the batch jobs of OpenAI, Anthropic, Together and others, which
              answer within a day at half the price. Time limits, the quorum and limits of calls at once are off then; up to
              10,000 rows are under way at once; `concurrency` is how many calls run at once at providers without jobs. With
              `max_cost_usd`, the mixture needs `max_tokens`. Default: `False`.
            - `poll` (`float`): with `half_price`, seconds between two looks at a job; the time rises to 10 minutes.
              Default: 30.
            - `ray` (`str`): the address of a Ray cluster whose workers ask the rows; `auto` is that of this machine, `local`
              starts one. Every member is given as a string. Default: this process asks.
            - `workers` (`int`): with `ray`, how many workers; `concurrency` is over all of them. Default: 2.

    Yields:
        The answers of this run, in the order in which they are complete; also those of rows that have failed.

    Raises:
        ValueError: An argument is out of its range, or `max_cost_usd` is given and a price is not known.
        RowError: A file cannot be read, a row of it cannot be asked, or two rows have one id.
        BatchError: The output is in use by another run, was begun with another mixture, `system` or `prompt_field`, or is
            another kind of file.
        StoppedError: After the last answer: the money is used up, rows fail one after the other, or a file cannot be written.
        ImportError: A package for Parquet, Ray or a provider is missing; the text has the pip command.
        TypeError: There is no such option.

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
