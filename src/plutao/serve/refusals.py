"""Whatever goes wrong while a request is answered becomes an error in OpenAI's shape."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from plutao.errors import UserError
from plutao.serve.errors import ApiError, Refusal, bad_request


def install(app: FastAPI) -> None:
    """Handlers for our own errors, FastAPI's and Starlette's; what is left is caught by the envelope as a 500."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return JSONResponse(error.body(), error.status, error.headers)

    async def users(_: Request, error: Exception) -> JSONResponse:
        refusal = of_user(error)
        return JSONResponse(refusal.body(), refusal.status)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        refusal = from_validation(error.errors())
        return JSONResponse(refusal.body(), refusal.status)

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        refusal = from_http(error, request)
        return JSONResponse(refusal.body(), refusal.status, {**(error.headers or {}), **refusal.headers})

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(UserError, users)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def of_user(error: Exception) -> ApiError:
    """400 for a UserError, with its code where it has one."""
    return bad_request(str(error), code=error.code if isinstance(error, Refusal) else None)


def from_validation(problems: Sequence[Any]) -> ApiError:
    """400 with the first field that is wrong, as OpenAI's servers answer; never FastAPI's own 422."""
    problem = problems[0]
    place = list(problem["loc"])
    if problem["type"] == "json_invalid":
        return bad_request(f"The body is not valid JSON: {problem['ctx']['error']}.", code="invalid_json")
    if place in (["body"], []):
        return bad_request("The body must be a JSON object, sent with Content-Type: application/json.")
    param = dotted(place[1:])
    if problem["type"] == "missing":
        return bad_request(f"{param} is missing: the request needs it.", param, "missing_required_parameter")
    message = problem["msg"]
    return bad_request(f"{param} is not right: {message[:1].lower()}{message[1:]}.", param, "invalid_value")


def dotted(place: Sequence[str | int]) -> str:
    """("messages", 0, "role") as messages[0].role; names of a union's branches, which nobody sent, are left out."""
    path = ""
    for part in place:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.replace("_", "").isalnum() and part.islower():
            if part in ("str", "int", "float", "constrained_str", "list"):
                continue
            path += f".{part}" if path else part
    return path


def from_http(error: HTTPException, request: Request) -> ApiError:
    if error.status_code == 404:
        return ApiError(404, f"There is nothing at {request.method} {request.url.path}.", code="unknown_url")
    if error.status_code == 405:
        return ApiError(405, f"{request.url.path} does not answer {request.method}.", code="method_not_allowed")
    codes = {413: "request_too_large"}
    return ApiError(error.status_code, str(error.detail), code=codes.get(error.status_code))
