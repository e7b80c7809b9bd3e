"""Calls of a recorded run: who was asked what, when, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from langchain_moa.data.reference import Failure, Status
from langchain_moa.runs.message import Message

if TYPE_CHECKING:
    from langchain_moa.runs.run import MoARun  # noqa: TC004  # `run` rebuilds the model when the name is there

Role: TypeAlias = Literal["proposer", "aggregator", "step"]
"""A proposer's call, that of whoever writes the answer, or any other: a ranker's, a moderator's."""


class Attempt(BaseModel):
    """One attempt at a call. Times are seconds since the run began.

    Attributes:
        started: When it was sent.
        first_token: When the first token came; `None` where the model did not stream.
        done: When it ended; `None` where nobody knows, as of a sync call that was given up.
        status: `ok`, `failed`, or `cancelled` if it was given up.
        error: Why it failed, without secrets.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    started: float
    first_token: float | None = None
    done: float | None = None
    status: Literal["ok", "failed", "cancelled"]
    error: Failure | None = None


class Call(BaseModel):
    """One call of a member, with all attempts at it. Times are seconds since the run began.

    Attributes:
        node: The node of the graph that made it.
        role: What it was for.
        layer: The layer, from 1; `None` for the aggregator.
        proposer: The proposer's place in its layer, from 1; `None` for others.
        name: The member's name, or what was asked: `ranker`, `moderator`, ...
        model: The model id.
        queued: When its turn came; `None` in a run that was resumed and found it done.
        first_token: When the first token of the attempt that counts came; `None` where the model did not stream.
        done: When its node went on without it or with it.
        seconds: How long it took, as the mixture counts.
        attempts: The attempts, in order; more than one where it was tried again. Those that a provider's client makes by
            itself are not seen.
        hides_attempts: Whether the client may have tried again by itself.
        status: `ok`, `failed`, `late` if it was not waited for, `cancelled` if the whole run was.
        error: Why there is no answer, without secrets.
        kept: Whether the next reader was shown its answer; `None` where nobody chose.
        text: The answer, without any chain of thought; of a call that failed, what it said if it said something.
        shown_as: What readers were shown in its place, where a person or a filter has changed it; `None` where nobody has.
        usage: Tokens as the provider counted them, `None` where it did not say.
        cost_usd: US dollars, `None` where the price is not known.
        prompt: The messages as they were sent to the model.
        settings: The parameters that they were sent with.
        runs: The runs inside, where the member is a mixture itself.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    node: str
    role: Role
    layer: int | None = None
    proposer: int | None = None
    name: str
    model: str
    queued: float | None = None
    first_token: float | None = None
    done: float | None = None
    seconds: float | None = None
    attempts: list[Attempt] = []
    hides_attempts: bool = False
    status: Status
    error: Failure | None = None
    kept: bool | None = None
    text: str = ""
    shown_as: str | None = None
    usage: dict[str, JsonValue] | None = None
    cost_usd: float | None = None
    prompt: list[Message] = []
    settings: dict[str, JsonValue] = {}
    runs: list[MoARun] = []

    @property
    def text_read(self) -> str:
        """The text as its readers had it."""
        return self.text if self.shown_as is None else self.shown_as

    @property
    def retries(self) -> int:
        """How often it was tried again."""
        return max(len(self.attempts) - 1, 0)
