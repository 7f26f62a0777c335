"""Refusals in the shape that programs written for OpenAI's API understand: message, type, param and code, always all four."""

from collections.abc import Mapping
from typing import Any

from plutao.errors import UserError


class ApiError(Exception):
    """An answer that is an error.

    Attributes:
        status: of HTTP; OpenAI's client turns 400, 401, 403, 404, 409, 422, 429 and 5xx each into an exception of its own.
        message: for people: what is wrong and what to do about it.
        type: the family, such as `invalid_request_error`.
        param: the field of the request that is to blame.
        code: for programs, such as `model_not_found`.
        headers: sent with it, `Retry-After` for instance.
    """

    def __init__(
        self,
        status: int,
        message: str,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.type, self.param, self.code = status, message, type, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class Refusal(UserError):
    """What somebody asked for on these pages and can't have, with a code by which it is said in their language."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request can't be answered as it is."""
    return ApiError(400, message, param=param, code=code)


def unauthenticated(message: str, code: str = "invalid_api_key") -> ApiError:
    """401: nobody, or a key that is none."""
    return ApiError(401, message, "authentication_error", code=code, headers={"WWW-Authenticate": "Bearer"})


def forbidden(message: str, code: str | None = None) -> ApiError:
    """403: known, and not allowed."""
    return ApiError(403, message, "permission_error", code=code)


def not_found(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """404: there is no such thing, or none that the caller may see."""
    return ApiError(404, message, param=param, code=code)


def rate_limited(message: str, retry_after: float) -> ApiError:
    """429 that passes with time."""
    headers = {"Retry-After": str(max(round(retry_after + 0.499), 1))}
    return ApiError(429, message, "rate_limit_error", code="rate_limit_exceeded", headers=headers)


def out_of_quota(message: str) -> ApiError:
    """429 that waiting does not mend: OpenAI's client must not try again."""
    return ApiError(429, message, "insufficient_quota", code="insufficient_quota", headers={"x-should-retry": "false"})


def overloaded(retry_after: float) -> ApiError:
    """503: the queue is full; a client tries again after the seconds given."""
    seconds = max(round(retry_after + 0.499), 1)
    message = f"The server is answering as much as it can: try again in {seconds} s."
    return ApiError(503, message, "server_error", code="overloaded", headers={"Retry-After": str(seconds)})


def server_error(message: str = "The server made a mistake; its log says more, under this request's id.") -> ApiError:
    """500: ours, not the caller's."""
    return ApiError(500, message, "server_error", code="server_error")
