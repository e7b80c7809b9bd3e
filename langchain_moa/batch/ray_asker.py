"""Batches on Ray: workers, which are async actors, process the rows; this process writes the journal and the output.

Ray restarts a dead worker and sends its rows again, so each row is processed at least once. Rows in the output are not
processed again. One actor holds the pace of each provider for all workers.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.messages import messages_from_dict, messages_to_dict
from typing_extensions import override

from langchain_moa.batch.asker import Asker, LocalAsker
from langchain_moa.batch.journal import BatchJournal
from langchain_moa.batch.limits import BatchError
from langchain_moa.batch.pace import Paces, ProviderPace
from langchain_moa.batch.rows import BatchRow
from langchain_moa.members.member import NoAggregator

if TYPE_CHECKING:
    from langchain_moa.batch.asker import BatchAnswer
    from langchain_moa.mixture.mixture import Mixture

LOCAL = "local"
"""The address that starts Ray on this machine for this process."""


def require_sendable(mixture: Mixture, *, half_price: bool = False, max_cost_usd: float | None = None) -> None:
    """Check that a mixture and its settings can be used in several processes.

    Args:
        mixture: The mixture.
        half_price: Whether calls are sent as batch jobs.
        max_cost_usd: The spending limit in US dollars.

    Raises:
        ValueError: `half_price` or `max_cost_usd` is given, which work in one process only.
        BatchError: A member is an object instead of a string, or the mixture has an API key.
    """
    if half_price or max_cost_usd is not None:
        msg = f"{'half_price' if half_price else 'max_cost_usd'} works in one process only, and ray uses several; leave one out"
        raise ValueError(msg)
    for member in mixture.members.everyone:
        if not isinstance(member.spec.model, str) and not isinstance(member.runnable, NoAggregator):
            msg = (
                f"ray: {member.name} is an object, which cannot be sent to another process, because its clients hold locks; "
                "give every member as a string, 'provider:model'"
            )
            raise BatchError(msg)
    if mixture.api_key is not None:
        msg = "ray: api_key would be sent to other machines; set the provider's environment variable on each of them"
        raise BatchError(msg)


class SharedPaces:
    """An actor that holds the pace of each provider for all workers."""

    def __init__(self) -> None:
        """Create it without providers."""
        self._paces: dict[str, ProviderPace] = {}
        self._living: dict[int, str] = {}
        self._held: dict[str, Counter[tuple[str, str]]] = {}

    async def join(self, place: int, worker: str) -> None:
        """Register a worker, and free the places that its dead predecessor held."""
        before, self._living[place] = self._living.get(place), worker
        self._held[worker] = Counter()
        for (provider, kind), number in (self._held.pop(before, None) or Counter()).items() if before is not None else ():
            pace = self._pace(provider)
            for _ in range(number):
                await (pace.leave() if kind == "place" else pace.end(answered=False))

    async def enter(self, worker: str, provider: str) -> None:
        """Wait for a place."""
        await self._pace(provider).enter()
        if not self._hold(worker, provider, "place", 1):
            await self._pace(provider).leave()

    async def leave(self, worker: str, provider: str) -> None:
        """Free a place."""
        if self._hold(worker, provider, "place", -1):
            await self._pace(provider).leave()

    async def begin(self, worker: str, provider: str) -> int:
        """Begin a call."""
        cuts = await self._pace(provider).begin()
        if not self._hold(worker, provider, "call", 1):
            await self._pace(provider).end(answered=False)
        return cuts

    async def end(self, worker: str, provider: str, *, answered: bool) -> None:
        """End a call."""
        if self._hold(worker, provider, "call", -1):
            await self._pace(provider).end(answered=answered)

    async def refused(self, provider: str, told: float | None, cuts: int) -> float:
        """Lower the limit, and return how many seconds the call has to wait."""
        return await self._pace(provider).refused(told, cuts)

    async def limits(self) -> dict[str, float]:
        """Return the maximum number of concurrent calls of each provider."""
        return {provider: pace.limit for provider, pace in self._paces.items()}

    def _pace(self, provider: str) -> ProviderPace:
        return self._paces.setdefault(provider, ProviderPace())

    def _hold(self, worker: str, provider: str, kind: str, number: int) -> bool:
        """Count the places that a worker holds, and return whether the worker is registered."""
        held = self._held.get(worker)
        if held is None:
            return False
        held[provider, kind] += number
        return True


class _RemotePace(ProviderPace):
    """A provider's pace that is held by the actor `SharedPaces`."""

    def __init__(self, actor: Any, worker: str, provider: str) -> None:
        super().__init__()
        self._actor = actor
        self._names = (worker, provider)

    @override
    async def enter(self) -> None:
        await self._actor.enter.remote(*self._names)

    @override
    async def leave(self) -> None:
        # The result is not awaited, because this may run while a call is being cancelled.
        self._actor.leave.remote(*self._names)

    @override
    async def begin(self) -> int:
        return int(await self._actor.begin.remote(*self._names))

    @override
    async def end(self, *, answered: bool) -> None:
        self._actor.end.remote(*self._names, answered=answered)

    @override
    async def refused(self, told: float | None, cuts: int) -> float:
        return float(await self._actor.refused.remote(self._names[1], told, cuts))


class RowWorker:
    """An actor that runs the mixture on rows."""

    def __init__(self, mixture: Mixture, paces: Any, place: int) -> None:
        """Store the mixture; it is compiled with the first row."""
        self._mixture = mixture
        self._paces = paces
        self._place = place
        self._journal = BatchJournal(None)
        self._asker: asyncio.Task[LocalAsker] | None = None

    async def ask(self, id_: str | int, messages: list[dict[str, Any]]) -> BatchAnswer | None:
        """Return the answer to a row, without its columns."""
        if self._asker is None:
            self._asker = asyncio.create_task(self._make())
        asker = await asyncio.shield(self._asker)
        try:
            return await asker.ask(BatchRow(id=id_, messages=list(messages_from_dict(messages)), columns={}))
        finally:
            self._journal.remove_calls([str(id_)])

    async def pid(self) -> int:
        """Return the id of the actor's process."""
        import os

        return os.getpid()

    async def _make(self) -> LocalAsker:
        worker = uuid4().hex
        await self._paces.join.remote(self._place, worker)
        paces = Paces(lambda provider: _RemotePace(self._paces, worker, provider))
        return LocalAsker(self._mixture, self._journal, paces=paces)


class RayAsker(Asker):
    """Distributes rows to workers on Ray, in turn.

    Attributes:
        workers: The actors.
    """

    def __init__(self, mixture: Mixture, *, address: str, workers: int, concurrency: int) -> None:
        """Connect to Ray and start the workers.

        Args:
            mixture: The mixture, checked with `require_sendable`.
            address: The address of a cluster, `auto` for the cluster of this machine, or `local` to start one.
            workers: The number of workers.
            concurrency: The maximum number of concurrent rows per worker.

        Raises:
            ImportError: Ray is not installed.
        """
        try:
            import ray
        except ImportError as error:
            msg = 'batches on Ray need another package: pip install "langchain-moa[ray]"'
            raise ImportError(msg) from error
        self._ray = ray
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            given: dict[str, Any] = {} if address == LOCAL else {"address": address}
            ray.init(**given, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        paces = ray.remote(SharedPaces).options(num_cpus=0, max_concurrency=100_000).remote()
        # Unlimited restarts and retries, so that each row is processed at least once.
        worker = ray.remote(RowWorker).options(
            num_cpus=1 if address != LOCAL else 0, max_restarts=-1, max_task_retries=-1, max_concurrency=concurrency
        )
        self.workers: list[Any] = [worker.remote(mixture, paces, place) for place in range(workers)]
        self._paces: Any = paces
        self._turns = itertools.cycle(self.workers)

    @override
    async def ask(self, row: BatchRow) -> BatchAnswer | None:
        answer: BatchAnswer | None = await next(self._turns).ask.remote(row.id, messages_to_dict(row.messages))
        return None if answer is None else replace(answer, columns=row.columns)

    @override
    def close(self) -> None:
        for actor in (*self.workers, self._paces):
            self._ray.kill(actor)
        if self._is_ours:
            self._ray.shutdown()
