"""The retry policy: what is retried, how often, and after how long."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa import ChatMoA, Mixture, Proposer, Retry
from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.limits.deadline import Limit, call_within
from langchain_moa.limits.retry import is_retryable, retry_after, retrying
from langchain_moa.members.proposer import policy_for

AT_ONCE = Retry(attempts=3, initial=0, jitter=0)


class StatusError(Exception):
    def __init__(self, status: int, headers: dict[str, str] | None = None, code: str | None = None) -> None:
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status, headers=headers or {})
        self.code = code


class BodyError(Exception):
    def __init__(self, body: Any, status: int | None = None) -> None:
        super().__init__("in the middle of a stream")
        self.body = body
        self.status_code = status


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        ModelRateLimitError("429"),
        ModelAPIError("500"),
        ModelTimeoutError("slow"),
        ModelConnectionError("gone"),
        *(StatusError(status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
        # With the status on the error itself, as the clients of OpenAI and Anthropic have it.
        BodyError(None, status=503),
        caused(RuntimeError("wrapped"), BodyError(None, status=429)),
        ConnectionResetError(),
        TimeoutError(),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut off"),
        caused(RuntimeError("wrapped"), httpx.ConnectError("refused")),
        caused(RuntimeError("wrapped"), ModelRateLimitError("429")),
        # In the middle of a stream with a successful status.
        BodyError({"type": "server_error", "message": "our fault"}),
        BodyError({"type": "error", "error": {"type": "overloaded_error"}}, status=200),
    ],
)
def test_what_may_succeed_the_next_time_is_worth_it(error: Exception) -> None:
    assert is_retryable(error)


@pytest.mark.parametrize(
    "error",
    [
        ModelAuthenticationError("401"),
        ModelPermissionDeniedError("403"),
        ModelInvalidRequestError("400"),
        ModelNotFoundError("404"),
        ContextOverflowError("too long"),
        *(StatusError(status) for status in (400, 401, 403, 404, 413, 422)),
        BodyError(None, status=404),
        # The status overrides the error code in the body and the cause.
        BodyError({"type": "server_error"}, status=400),
        caused(StatusError(400), httpx.ConnectError("refused")),
        StatusError(429, code="insufficient_quota"),
        BodyError({"type": "invalid_request_error"}),
        BodyError("no JSON"),
        ValueError("a bug"),
        KeyError("another"),
        # The error's own attribute overrides its cause.
        caused(ModelInvalidRequestError("400"), httpx.ConnectError("refused")),
    ],
)
def test_what_would_fail_again_is_not(error: Exception) -> None:
    assert not is_retryable(error)


def test_a_lost_connection_is_worth_it_whatever_http_client_lost_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {name: type(name, (Exception,), {}) for name in ("httpx", "httpx2", "aiohttp")}
    for name in ("httpx", "httpx2"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(TransportError=lost[name]))
    monkeypatch.setitem(sys.modules, "aiohttp", SimpleNamespace(ClientConnectionError=lost["aiohttp"]))
    assert [is_retryable(error()) for error in lost.values()] == [True, True, True]
    for name in lost:
        monkeypatch.delitem(sys.modules, name)
    assert [is_retryable(error()) for error in lost.values()] == [False, False, False]


def test_a_chain_of_causes_may_be_a_ring() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_retryable(first)
    assert retry_after(first) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_the_server_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(StatusError(429, headers)) == seconds
    assert retry_after(caused(RuntimeError("wrapped"), StatusError(429, headers))) == seconds


def test_the_server_may_give_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=2), usegmt=True)
    seconds = retry_after(StatusError(429, {"retry-after": date}))
    assert seconds is not None
    assert 60 < seconds <= 120


def test_waits_double_up_to_the_longest() -> None:
    policy = Retry(initial=1, maximum=5, jitter=0)
    assert [policy.wait(attempt, None) for attempt in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]


def test_chance_takes_its_share_of_a_wait_and_no_more() -> None:
    waits = {Retry(initial=8, jitter=0.5).wait(1, None) for _ in range(200)}
    assert len(waits) > 100
    assert all(4 < wait <= 8 for wait in waits)


def test_chance_never_makes_a_wait_shorter_than_the_server_asked_for() -> None:
    told = StatusError(429, {"retry-after": "8"})
    waits = {Retry(initial=4, jitter=1).wait(1, told) for _ in range(200)}
    assert len(waits) > 100
    assert all(8 <= wait <= 12 for wait in waits)
    assert max(waits) > 9, "what is left to chance is measured by the first wait"


class Flaky:
    """Raises the given errors one after the other, then returns `done`."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def outcome(policy: Retry | None, flaky: Flaky, **options: Any) -> tuple[Any, int]:
    """Return the outcome of a call, and the number of attempts."""
    try:
        result: Any = await retrying(policy, flaky, **options)
    except Exception as error:  # noqa: BLE001  # the outcome is what is looked at
        result = error
    return result, flaky.calls


async def test_tries_until_it_succeeds() -> None:
    assert await outcome(AT_ONCE, Flaky(ModelAPIError(), ModelAPIError())) == ("done", 3)


async def test_raises_what_the_last_attempt_raised() -> None:
    errors = [ModelAPIError(str(number)) for number in range(4)]
    assert await outcome(AT_ONCE, Flaky(*errors)) == (errors[2], 3)


async def test_does_not_try_again_what_would_fail_again() -> None:
    error = ModelInvalidRequestError("400")
    assert await outcome(AT_ONCE, Flaky(error)) == (error, 1)


async def test_a_single_attempt_is_a_policy_too() -> None:
    error = ModelAPIError()
    assert await outcome(Retry(attempts=1), Flaky(error)) == (error, 1)


async def test_a_wait_as_long_as_the_longest_is_begun() -> None:
    policy = Retry(attempts=3, initial=0.001, maximum=0.001, jitter=0)
    assert await outcome(policy, Flaky(ModelAPIError(), ModelAPIError())) == ("done", 3)


async def test_a_wait_ends_when_the_limit_is_brought_forward() -> None:
    limit, flaky = Limit(), Flaky(ModelAPIError())
    policy = Retry(initial=3600, maximum=7200)
    waiting = asyncio.create_task(call_within(limit, lambda: retrying(policy, flaky, limit=limit)))
    for _ in range(10):
        await asyncio.sleep(0)
    limit.bring_forward(monotonic(), "quorum", "the others have answered")
    with pytest.raises(OutOfTimeError, match="the others have answered"):
        await waiting
    assert flaky.calls == 1


async def test_a_cancellation_is_not_tried_again() -> None:
    calls: list[int] = []

    async def call() -> None:
        calls.append(1)
        await asyncio.sleep(3600)

    task = asyncio.create_task(retrying(AT_ONCE, call))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == [1]


async def test_without_a_policy_a_call_is_made_once() -> None:
    error = ModelAPIError()
    assert await outcome(None, Flaky(error)) == (error, 1)


async def test_does_not_try_again_what_has_begun_to_answer() -> None:
    error = ModelAPIError()
    assert await outcome(AT_ONCE, Flaky(error), begun=lambda: True) == (error, 1)
    assert await outcome(AT_ONCE, Flaky(error), begun=lambda: False) == ("done", 2)


async def test_each_wait_is_logged_without_what_the_error_says(caplog: pytest.LogCaptureFixture) -> None:
    policy = Retry(attempts=3, initial=0.001, jitter=0)
    with caplog.at_level(logging.INFO, logger="langchain_moa"):
        await outcome(policy, Flaky(ModelAPIError("sk-secret"), ModelRateLimitError("sk-secret")))
    told = ["attempt 1 failed with ModelAPIError; the next in 0.00 s"]
    told.append("attempt 2 failed with ModelRateLimitError; the next in 0.00 s")
    assert [record.message for record in caplog.records if record.name == "langchain_moa"] == told


async def test_does_not_begin_a_wait_that_would_outlast_the_limit() -> None:
    limit, error = Limit(monotonic() + 60, "deadline", "over"), ModelAPIError("500")
    assert await outcome(Retry(initial=3600, maximum=7200), Flaky(error), limit=limit) == (error, 1)


async def test_does_not_wait_longer_than_the_longest_wait_for_a_server() -> None:
    told = StatusError(429, {"retry-after": "3600"})
    assert await outcome(Retry(maximum=30), Flaky(told)) == (told, 1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"attempts": 0}, "retry.attempts is 0; give a whole number from 1, the first attempt included"),
        ({"attempts": 2.5}, "retry.attempts is 2.5"),
        ({"attempts": True}, "retry.attempts is True"),
        ({"initial": -1}, "retry.initial is -1; give seconds, 0 or more"),
        ({"maximum": "30"}, "retry.maximum is a str; give seconds"),
        ({"initial": float("nan")}, "retry.initial is nan"),
        ({"jitter": 1.5}, "retry.jitter is 1.5; give a share from 0 to 1"),
    ],
)
def test_a_wrong_number_is_refused_where_it_is_written(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        Retry(**arguments)


def openai(**settings: Any) -> ChatOpenAI:
    return ChatOpenAI(model="m", api_key=SecretStr("test"), base_url="http://127.0.0.1:9", **settings)


FAKE = FakeListChatModel(responses=["a"])
AGENT: Runnable[Any, Any] = RunnableLambda(lambda _: "an agent's answer")


@pytest.mark.parametrize(
    ("member", "policy"),
    [
        (openai(max_retries=0), AT_ONCE),
        (FAKE, AT_ONCE),
        (FAKE.bind(stop=["x"]), AT_ONCE),
        # Retried by the client; None is the client's own default, which is not 0.
        (openai(max_retries=2), None),
        (openai(), None),
        (openai(max_retries=0).with_retry(), None),
        (openai(max_retries=2).bind(stop=["x"]), None),
        # An agent may have done half its work.
        (AGENT, None),
    ],
)
def test_the_mixtures_policy_is_for_models_that_do_not_try_again_themselves(member: Any, policy: Retry | None) -> None:
    assert policy_for(member, own=None, shared=AT_ONCE) is policy
    mixture = Mixture(proposers=[member], aggregator=FAKE, num_layers=1, retry=AT_ONCE)
    assert mixture.members.layers[0][0].retry is policy


def test_a_members_own_policy_goes_before_the_mixtures() -> None:
    own = Retry(attempts=7)
    proposers: list[Any] = [Proposer(FAKE, retry=own), Proposer(AGENT, retry=own), FAKE]
    mixture = Mixture(proposers=proposers, aggregator=FAKE, num_layers=1, retry=AT_ONCE)
    assert [member.retry for member in mixture.members.layers[0]] == [own, own, AT_ONCE]
    assert mixture.members.aggregator.retry is AT_ONCE


def test_a_mixture_is_asked_again_as_a_whole_only_where_that_is_wanted() -> None:
    inner = ChatMoA(proposers=[FAKE], aggregator=FAKE, num_layers=1)
    proposers: list[Any] = [inner, Proposer(inner, retry=AT_ONCE)]
    mixture = Mixture(proposers=proposers, aggregator=FAKE, num_layers=1, retry=Retry())
    assert [member.retry for member in mixture.members.layers[0]] == [None, AT_ONCE]


def test_a_policy_for_a_model_that_tries_again_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="item 1: retry is given for a model that retries by itself; create the model"):
        Mixture(proposers=[Proposer(openai(max_retries=2), retry=AT_ONCE)], aggregator=FAKE)


def test_models_given_as_strings_are_made_without_retries_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    plain = Mixture(proposers=["openai:a"], aggregator="openai:b", num_layers=1)
    more: Any = {"aggregator_fallbacks": ["openai:c"], "retry": Retry()}
    ours = Mixture(proposers=["openai:a"], aggregator="openai:b", num_layers=1, **more)
    members = [ours.members.layers[0][0], ours.members.aggregator, *ours.members.fallbacks]
    assert [getattr(member.chat_model, "max_retries", None) for member in members] == [0, 0, 0]
    assert [member.retry for member in members] == [Retry()] * 3
    assert getattr(plain.members.aggregator.chat_model, "max_retries", 0) is None
    assert plain.members.aggregator.retry is None


def test_both_kinds_of_retries_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with pytest.raises(ValueError, match="'openai:a' has both retry and max_retries, which would multiply; give one of them"):
        Mixture(proposers=["openai:a"], aggregator=FAKE, retry=Retry(), max_retries=2)


def test_a_policy_may_be_a_mapping_as_in_a_file() -> None:
    mixture = Mixture(
        proposers=[{"model": FAKE, "retry": {"attempts": 5}}], aggregator=FAKE, num_layers=1, retry={"attempts": 4, "jitter": 0}
    )
    assert mixture.retry == Retry(attempts=4, jitter=0)
    assert mixture.members.layers[0][0].retry == Retry(attempts=5)
    assert mixture.describe()["retry"] == {"attempts": 4, "initial": 0.5, "maximum": 30.0, "jitter": 0}


@pytest.mark.parametrize(
    ("retry", "what"),
    [
        ({"tries": 4}, "unknown key 'tries'"),
        ({"tries": 4, 5: 6}, "unknown key 5"),
        (3, "int is not a retry policy"),
        ("often", "str is not a retry policy"),
        ([Retry()], "list is not a retry policy"),
    ],
)
def test_what_is_no_policy_is_refused(retry: Any, what: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)retry.*{what}; give Retry.*attempts, initial, maximum, jitter"):
        Mixture(proposers=[FAKE], aggregator=FAKE, retry=retry)
    with pytest.raises(ValueError, match=rf"^retry: {what}; give Retry"):
        Proposer(FAKE, retry=retry)
