"""Adaptive concurrency: fewer concurrent calls to a provider after rate limit errors, and more again after answers."""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.base import RunnableBindingBase
from typing_extensions import override

from langchain_moa._compat import tracing_params
from langchain_moa.limits.concurrency import CallLimiter
from langchain_moa.limits.deadline import Limit
from langchain_moa.limits.retry import Retry, is_rate_limit, retry_after
from langchain_moa.members.member import NoAggregator
from langchain_moa.members.proposer import retries_itself

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from langchain_core.runnables import RunnableConfig

    from langchain_moa.batch.limits import Gate
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

# Seconds between two checks whether the run is to end, while a call waits.
_ONE_SLEEP = 0.5

# Seconds. The wait doubles with each consecutive rate limit error, unless the provider sends a wait time.
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0

_ANY_NUMBER = 10**9

PATIENCE = 900.0
"""How long a call is retried after rate limit errors, in seconds."""

_ADDRESSES = ("openai_api_base", "base_url", "anthropic_api_url", "azure_endpoint", "endpoint_url")


class ProviderPace:
    """The concurrency limit of one provider.

    There is no limit until the provider returns a rate limit error. Then all calls to it wait for the time that it asks for,
    and the number of concurrent calls is halved. Each answered call raises the limit a little.

    Attributes:
        limit: The maximum number of concurrent calls.
        open: The number of places taken.
    """

    def __init__(self, gate: Gate | None = None) -> None:
        """Begin without a limit.

        Args:
            gate: When it is closed, no call waits any longer; each is then refused behind the gate. Default: calls wait.
        """
        self.limit = math.inf
        self.open = 0
        self._gate = gate
        self._asking = 0
        self._refused = 0
        self._resumes_at = 0.0
        self._cuts = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[None]:
        """Hold a place for a call while the context is open."""
        await self.enter()
        try:
            yield
        finally:
            await self.leave()

    async def call(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call that holds a place, and retry it after rate limit errors.

        Args:
            ask: Makes the call.

        Raises:
            Exception: The error of the call, if it is not a rate limit error, or after 15 minutes of rate limit errors.
        """
        first = monotonic()
        while True:
            # Retries of calls that were refused together also respect the limit.
            with _limit.get().paused():
                cuts = await self.begin()
            answered = False
            try:
                answer = await ask()
                answered = True
            except Exception as error:
                if not is_rate_limit(error):
                    raise
                wait = await self.refused(retry_after(error), cuts)
                if monotonic() + wait - first > PATIENCE:
                    raise
                continue
            finally:
                await self.end(answered=answered)
            return answer

    async def enter(self) -> None:
        """Wait for a place."""
        await self._until_below(lambda: self.open)
        self.open += 1

    async def leave(self) -> None:
        """Free a place."""
        self.open -= 1
        self._tell()

    async def begin(self) -> int:
        """Begin a call, and return how often the limit has been halved so far."""
        await self._until_below(lambda: self._asking)
        self._asking += 1
        return self._cuts

    async def end(self, *, answered: bool) -> None:
        """End a call.

        Args:
            answered: Whether the provider answered it.
        """
        self._asking -= 1
        if answered:
            self._refused = 0
            if self.limit < math.inf:
                self.limit += 1 / self.limit
        self._tell()

    async def refused(self, told: float | None, cuts: int) -> float:
        """Lower the limit, and return how many seconds the call has to wait.

        Args:
            told: The wait time that the provider sent, or `None`.
            cuts: The value that `begin` returned for the call.
        """
        if cuts == self._cuts:
            # A call that began before the last halving does not halve the limit again.
            self.limit = max(1.0, min(self.limit, self.open) / 2)
            self._cuts += 1
            self._refused += 1
        wait = told if told is not None else min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._refused - 1, 10))
        wait += random.random() * min(wait, _FIRST_WAIT) / 2  # noqa: S311  # jitter, not security
        self._resumes_at = max(self._resumes_at, monotonic() + wait)
        return wait

    async def _until_below(self, number: Callable[[], int]) -> None:
        """Wait until the provider's wait time is over and a number is below the limit, or until the gate is closed."""
        while self._gate is None or self._gate.is_open():
            if (seconds := self._resumes_at - monotonic()) > 0:
                await asyncio.sleep(min(seconds, _ONE_SLEEP))
            elif number() < int(min(self.limit, _ANY_NUMBER)):
                return
            else:
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


# The time of the call that is under way, which does not pass while its provider refuses it.
_limit: ContextVar[Limit] = ContextVar("limit of a call", default=Limit())  # noqa: B039  # it never comes and never changes


class _PacedLimiter(CallLimiter):
    """A mixture's call limiter combined with a provider's pace: a call's time limit starts when both let it begin."""

    def __init__(self, limiter: CallLimiter, pace: ProviderPace) -> None:
        super().__init__(None)
        self._limiter = limiter
        self._pace = pace

    @override
    @asynccontextmanager
    async def taken(self, limit: Limit | None = None) -> AsyncGenerator[None]:
        async with self._pace.taken(), self._limiter.taken(limit):
            token = _limit.set(limit or Limit())
            try:
                yield
            finally:
                _limit.reset(token)


class PacedRunnable(RunnableBindingBase[Any, Any]):
    """A member's Runnable that retries calls after rate limit errors."""

    pace: Any

    @override
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self.pace.call(lambda: self.bound.ainvoke(input, config, **kwargs))


class Paces:
    """The pace of each provider of a batch.

    Attributes:
        of: The pace of each provider, by its name.
    """

    def __init__(self, make: Callable[[str], ProviderPace] | None = None, *, gate: Gate | None = None) -> None:
        """Create it without providers.

        Args:
            make: Creates the pace of a provider, given its name. Default: a pace of this process.
            gate: If it is closed, calls stop waiting. Default: calls wait.
        """
        self.of: dict[str, ProviderPace] = {}
        self._make = make or (lambda _: ProviderPace(gate))

    def paced(self, mixture: Mixture) -> Mixture:
        """Return a copy of a mixture whose members use the paces of their providers.

        Args:
            mixture: The mixture.
        """
        return mixture.with_members(mixture.members.changed(self.member))

    def member(self, member: Member) -> Member:
        """Return a copy of a member that uses the pace of its provider.

        Args:
            member: The member.
        """
        if isinstance(member.runnable, NoAggregator):
            return member
        provider = provider_of(member)
        if provider not in self.of:
            self.of[provider] = self._make(provider)
        pace = self.of[provider]
        return replace(
            member,
            runnable=PacedRunnable(bound=member.runnable, pace=pace),
            limiter=_PacedLimiter(member.limiter, pace),
            fallbacks=tuple(map(self.member, member.fallbacks)),
        )


def with_own_retries(mixture: Mixture) -> Mixture:
    """Return a copy of a mixture whose models given as strings are made without the retries of their clients.

    A client that retries by itself hides from the pace that its provider refuses calls, and calls again after the run was to
    end. As many retries as it has by default, or as `max_retries` says, are made by the mixture, where the pace sees them.

    Args:
        mixture: The mixture.
    """
    everyone = [one for member in mixture.members.everyone for one in (member, *member.fallbacks)]
    if mixture.retry is not None or any(member.spec.settings.get("max_retries") is not None for member in everyone):
        return mixture
    if not any(isinstance(member.spec.model, str) and retries_itself(member.runnable) for member in everyone):
        return mixture
    attempts = Retry().attempts if mixture.max_retries is None else mixture.max_retries + 1
    return mixture.model_copy(update={"retry": Retry(attempts=attempts), "max_retries": None})


def provider_of(member: Member) -> str:
    """Return a name for the provider of a member: the provider and base URL, or the class of its Runnable and its id."""
    model = member.chat_model
    if model is None:
        return f"{type(member.runnable).__name__} {member.id}"
    provider = tracing_params(model).get("ls_provider", type(model).__name__)
    addresses = (getattr(model, name, None) for name in _ADDRESSES)
    return " ".join([str(provider), *(str(address) for address in addresses if isinstance(address, str))])
