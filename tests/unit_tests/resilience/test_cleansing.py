"""Keys are masked in exceptions, in place, wherever they occur."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.data.redaction import cleanse

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "key-without-a-prefix-0123456789"


class ServerError(Exception):
    def __init__(self, message: str, body: Any) -> None:
        super().__init__(message, body)
        self.message = message
        self.body = body
        self.response = object()

    def __str__(self) -> str:
        return f"server error: {self.message}, {self.body}"


def shown(error: BaseException) -> str:
    return f"{error} {error!r} {vars(error)} {''.join(traceback.format_exception(error))}"


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    try:
        raise error  # noqa: TRY301  # so that it has a traceback
    except BaseException as caught:  # noqa: BLE001  # to be looked at
        return caught


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueError(f"wrong key {KEY}"),
        lambda: ServerError(f"wrong key {KEY}", {"error": {"message": [f"key {KEY}", 1]}}),
        lambda: raised(RuntimeError("wrapped"), ValueError(f"wrong key {KEY}")),
        lambda: ExceptionGroup("several", [ValueError(KEY), ServerError("x", (KEY,))]),
    ],
    ids=["plain", "with a body", "with a cause", "group"],
)
def test_an_exception_shows_no_key(make: Callable[[], BaseException]) -> None:
    error = make()
    error = raised(error, error.__cause__)
    assert KEY in shown(error)
    cleanse(error, [KEY])
    assert KEY not in shown(error)
    assert "**********" in shown(error)


def test_an_exception_without_a_key_is_left_as_it_is() -> None:
    body = {"error": {"code": 7}}
    error = ServerError("our fault", body)
    arguments, response = error.args, error.response
    cleanse(error, [KEY])
    assert error.args is arguments
    assert error.body is body
    assert error.response is response


def test_causes_may_form_a_ring() -> None:
    first, second = ValueError(KEY), ValueError(KEY)
    first.__cause__, second.__cause__ = second, first
    cleanse(first, [KEY])
    assert first.args == second.args == ("**********",)
