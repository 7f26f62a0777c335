"""From a request to a job: what all endpoints that write text do with what they were sent, and how answers go out."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from plutao.generate.grammar import Grammar
from plutao.generate.sampling import Sampling
from plutao.serve.answering import Answering, Services
from plutao.serve.api.schemas.common import CompletionDetails, ErrorResponse, PromptDetails, SamplingFields, Usage
from plutao.serve.backend.contract import Alternative, Delta, Finished, ModelCard
from plutao.serve.errors import ApiError, bad_request
from plutao.serve.identity import Caller, require

Inference = Annotated[Caller, Depends(require("owner", "member", scope="inference"))]
"""Whoever may have texts written: owners and members, by keys that are for it."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "The request can't be answered as it is."},
    401: {"model": ErrorResponse, "description": "No key, or a wrong one."},
    403: {"model": ErrorResponse, "description": "The key is not for this."},
    404: {"model": ErrorResponse, "description": "There is no such model or object."},
    413: {"model": ErrorResponse, "description": "The body is too large."},
    429: {"model": ErrorResponse, "description": "Too many requests, or the budget is used up."},
    500: {"model": ErrorResponse, "description": "A mistake of the server."},
    503: {"model": ErrorResponse, "description": "The queue is full; Retry-After says when to come again."},
}
"""Of every endpoint, for the description at /docs."""


def services_of(request: Request) -> Services:
    return cast(Services, request.app.state.services)


Serving = Annotated[Services, Depends(services_of)]


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(14)}"


def salt_of(caller: Caller) -> str:
    """Beginnings that were read for one account are used again for it alone: the time an answer takes, and
    `cached_tokens`, must not tell what others asked.
    """
    return f"account {caller.account}"


def sampling_of(
    ask: SamplingFields,
    card: ModelCard,
    services: Services,
    max_tokens: int,
    alternatives: int = 0,
    grammar: Grammar | None = None,
    best_of: int | None = None,
) -> Sampling:
    """The settings of a job.

    Raises:
        ApiError: a value that this model or this server can't take.
    """
    stop = (ask.stop,) if isinstance(ask.stop, str) else tuple(ask.stop or ())
    if not all(stop):
        raise bad_request("stop holds an empty text, which would end every answer at once.", "stop", "invalid_value")
    bias = tuple((int(token), value) for token, value in (ask.logit_bias or {}).items())
    if strange := next((token for token, _ in bias if token >= card.vocabulary), None):
        raise bad_request(
            f"Token {strange} is not in the model's vocabulary of {card.vocabulary}.", "logit_bias", "invalid_value"
        )
    n, most = ask.n or 1, services.settings.max_answers
    for name, value in (("n", n), ("best_of", best_of or n)):
        if value > most:
            raise bad_request(
                f"{name} is {value}; this server gives at most {most} answers to one prompt.", name, "invalid_value"
            )
    return Sampling(
        temperature=given(ask.temperature, 1.0),
        top_k=ask.top_k or 0,
        top_p=given(ask.top_p, 1.0),
        min_p=ask.min_p or 0.0,
        repetition_penalty=given(ask.repetition_penalty, 1.0),
        frequency_penalty=ask.frequency_penalty or 0.0,
        presence_penalty=ask.presence_penalty or 0.0,
        logit_bias=bias,
        grammar=grammar,
        max_tokens=max_tokens,
        stop=stop,
        seed=ask.seed,
        logprobs=alternatives,
        n=n,
        best_of=best_of,
    )


def given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def usage_of(answering: Answering, ended: list[Finished]) -> Usage:
    """Prompt tokens are counted once a prompt, however many answers it got."""
    written = sum(answer.completion_tokens for answer in ended)
    cached = sum(answer.cached_tokens for answer in ended if answer.index == 0)
    return Usage(
        prompt_tokens=answering.prompt_tokens,
        completion_tokens=written,
        total_tokens=answering.prompt_tokens + written,
        prompt_tokens_details=PromptDetails(cached_tokens=cached),
        completion_tokens_details=CompletionDetails(),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Answers that come whole


@dataclass
class Gathered:
    """One answer: how it ended, and its tokens as they came."""

    finished: Finished | None = None
    deltas: list[Delta] = field(default_factory=list)

    @property
    def end(self) -> Finished:
        assert self.finished is not None, "the engine ended a job without ending its answers"
        return self.finished


class Gone(Exception):
    """The client hung up: nobody is there to be answered."""


async def gather(request: Request, answering: Answering) -> list[list[Gathered]]:
    """All answers of every job, in order; what is written is ended as soon as the client hangs up.

    Raises:
        ApiError: something went wrong on the way.
        Gone: the client left.
    """
    jobs: list[dict[int, Gathered]] = [{} for _ in answering.jobs]
    looked = time.monotonic()
    try:
        async for item in answering.events(ping=0.5):
            if time.monotonic() - looked > 0.5:
                if await request.is_disconnected():
                    raise Gone
                looked = time.monotonic()
            if item is None:
                continue
            place, event = item
            answer = jobs[place].setdefault(event.index, Gathered())
            if isinstance(event, Delta):
                answer.deltas.append(event)
            else:
                answer.finished = event
    finally:
        await answering.close()
    return [[answers[index] for index in sorted(answers)] for answers in jobs]


class Json(JSONResponse):
    """JSON, whatever a text holds: half a character, which JSON can smuggle in, goes out as a question mark."""

    def render(self, content: Any) -> bytes:
        if isinstance(content, BaseModel):
            content = content.model_dump(mode="json", by_alias=True)
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


# ---------------------------------------------------------------------------------------------------------------------
# Answers that come as a stream


STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "object", "properties": {"data": {"type": "string"}}}}}},
}
"""For /openapi.json: with `stream` the same answer comes as server-sent events, of which the schema describes each one."""


class EventStream(StreamingResponse):
    """Server-sent events; what is written for it ends when the connection does."""

    media_type = "text/event-stream"

    def __init__(self, answering: Answering, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, headers={**answering.headers, **UNBUFFERED})
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answering.close()


UNBUFFERED = {"x-accel-buffering": "no"}
"""Proxies must not hold the words back."""
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


def data(content: Mapping[str, Any] | BaseModel, event: str | None = None) -> bytes:
    """One server-sent event."""
    named = f"event: {event}\n".encode() if event else b""
    return named + b"data: " + Json(None).render(content) + b"\n\n"


def failure(error: ApiError) -> bytes:
    """What went wrong after the first words were out: OpenAI's clients raise it."""
    return data(error.body())


# ---------------------------------------------------------------------------------------------------------------------
# Tokens for people and programs


def token_text(piece: bytes) -> str:
    r"""A token as text; the bytes of a character that is not whole are shown as \xNN."""
    return piece.decode("utf-8", errors="backslashreplace")


def logprob_of(token: Alternative) -> dict[str, Any]:
    """A token with its log-probability in the form of chat/completions and responses."""
    return {"token": token_text(token.bytes), "logprob": token.logprob, "bytes": list(token.bytes)}


def logprobs_of(delta: Delta) -> list[dict[str, Any]]:
    """The tokens of a piece of text, each with its alternatives."""
    return [
        {
            **logprob_of(Alternative(token, piece, logprob if logprob is not None else 0.0)),
            "top_logprobs": [logprob_of(other) for other in alternatives],
        }
        for token, piece, logprob, alternatives in zip(
            delta.tokens, delta.pieces, delta.logprobs, delta.alternatives, strict=True
        )
    ]
