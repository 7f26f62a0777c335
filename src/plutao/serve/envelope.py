"""What every answer is wrapped in: an id, security headers, how long it took; and what no request may be: too large."""

import logging
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plutao.serve.errors import ApiError, server_error
from plutao.serve.metrics import Metrics

log = logging.getLogger("plutao.serve")

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
"""Of every answer that does not say otherwise itself; a page sets its own policy."""


def too_large(most: int) -> HTTPException:
    """413. FastAPI lets an error of this class through while it reads a body, and turns all others into its own."""
    return HTTPException(413, f"The request is larger than {most} bytes, the most this server reads.")


class Envelope:
    """ASGI middleware around the whole application.

    A request's id is made here and told in `x-request-id`; the log names it wherever something went wrong.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body: int) -> None:
        self.app, self.metrics, self.max_body = app, metrics, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        scope.setdefault("state", {})["request_id"] = request_id = f"req_{secrets.token_hex(12)}"
        status = 0

        async def send_wrapped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                milliseconds = round((time.perf_counter() - begun) * 1000)
                add_headers(message, {"x-request-id": request_id, "openai-processing-ms": str(milliseconds), **HEADERS})
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, self._measured(scope, receive), send_wrapped)
        except Exception:
            log.exception("%s %s %s failed", request_id, scope["method"], scope["path"])
            if status:
                raise  # half an answer is out: the connection is closed, so that nobody takes it for a whole one
            await respond(server_error(), scope, receive, send_wrapped)
        finally:
            self.metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, known_method(scope["method"]), status or 499).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - begun)

    def _measured(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that stops at a body's largest size, whether its length was told before or not."""
        got = 0
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        told = int(declared) if declared.isdigit() else 0

        async def receive_measured() -> Message:
            nonlocal got
            if told > self.max_body:
                raise too_large(self.max_body)
            message = await receive()
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                if got > self.max_body:
                    raise too_large(self.max_body)
            return message

        return receive_measured


async def respond(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(error.body(), error.status, error.headers)(scope, receive, send)


def add_headers(message: MutableMapping[str, Any], headers: dict[str, str]) -> None:
    """Puts headers into the start of a response, those it has already left as they are."""
    there = {name.lower() for name, _ in message.get("headers", [])}
    new = [(name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in there]
    message["headers"] = [*message.get("headers", []), *new]


def known_method(method: str) -> str:
    return method if method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS") else "other"
