"""What a client is told when there is no answer, in OpenAI's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SERVER_ERROR = 500


class ApiError(Exception):
    """An error that is sent to the client.

    Attributes:
        status: The HTTP status.
        message: What is wrong and what would do, free of secrets.
        code: The error in one word, for programs.
        param: The request's field that is wrong, `None` if none is.
        headers: More headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool | None = None,
    ) -> None:
        """Make the error.

        Args:
            status: The HTTP status.
            message: What is wrong and what would do, free of secrets.
            code: The error in one word, for programs.
            param: The request's field that is wrong.
            headers: More headers of the response.
            retry: Whether the same request may succeed if it is sent again. OpenAI's clients heed it, and a mixture that is
                asked again is paid again. Default: they go by the status.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        said = {} if retry is None else {"x-should-retry": str(retry).lower()}
        self.headers = {**said, **(headers or {})}

    def body(self) -> dict[str, Any]:
        """Return the error as JSON, in a response of its own or in the middle of a stream."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < _SERVER_ERROR else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """Return the error as a response of its own."""
        return JSONResponse(self.body(), self.status, headers=self.headers)


async def answer_error(_: Request, error: Exception) -> Response:
    """Answer with an `ApiError`; a handler of Starlette's."""
    assert isinstance(error, ApiError)  # noqa: S101  # Starlette finds handlers by the error's type
    return error.response()


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses by itself, an unknown path for example, in the same form."""
    status = getattr(error, "status_code", _SERVER_ERROR)
    headers = getattr(error, "headers", None)
    place = f"{request.method} {request.url.path}"
    if status == 405:  # noqa: PLR2004  # HTTP's own number
        return ApiError(status, f"{place}: not this method", code="method_not_allowed", headers=headers).response()
    message = f"there is nothing at {place}; there are /v1/chat/completions, /v1/models and /health"
    return ApiError(status, message, code="unknown_url", headers=headers).response()
