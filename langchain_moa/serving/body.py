"""A request's body, which is JSON and not too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from langchain_moa.serving.api_error import ApiError
from langchain_moa.serving.attendance import ClientGoneError

if TYPE_CHECKING:
    from starlette.requests import Request


async def read_json(request: Request, *, max_bytes: int) -> Any:
    """Return the body of a request.

    Args:
        request: The request.
        max_bytes: How long it may be.

    Raises:
        ApiError: It is too long, or no JSON.
        ClientGoneError: The client went before its end.
    """
    # A page in a browser can send anything anywhere, but not under this type to a server that has not invited it.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        msg = "the body's content-type must be application/json"
        raise ApiError(415, msg, code="unsupported_media_type")
    try:
        if int(request.headers.get("content-length", "0")) > max_bytes:
            raise _too_long(max_bytes)
    except ValueError:
        msg = "content-length is no number"
        raise ApiError(400, msg, code="invalid_request") from None
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > max_bytes:
                raise _too_long(max_bytes)
    except ClientDisconnect:
        raise ClientGoneError from None
    try:
        return from_json(bytes(body), allow_inf_nan=False)
    except ValueError as error:
        # Its text has the place, and nothing of what stands there.
        msg = f"the body is no JSON: {error}"
        raise ApiError(400, msg, code="invalid_json") from None


def _too_long(most: int) -> ApiError:
    msg = f"the body is longer than {most} bytes, which is this server's limit"
    return ApiError(413, msg, code="request_too_large", headers={"connection": "close"}, retry=False)
