"""The lens: every token of an answer or of a text of one's own, with what might have stood there instead."""

import math
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from plutao.generate.sampling import Sampling
from plutao.serve import chats
from plutao.serve.answering import Answering, find_model
from plutao.serve.api.asking import token_text
from plutao.serve.api.common import Number
from plutao.serve.backend.contract import Delta, Job
from plutao.serve.errors import not_found
from plutao.web.asked import ALTERNATIVES, OwnText
from plutao.web.live import Live, take
from plutao.web.pages.chat import reading, services_of
from plutao.web.people import Asker
from plutao.web.templating import page

router = APIRouter(include_in_schema=False)


@router.get("/lens")
async def own(request: Request, caller: Asker) -> Response:
    """A text of one's own under the lens."""
    models = await services_of(request).backend.models()
    return page(request, "chat/lens.html", models=models, script_words=("lens", "chat"))


@router.get("/web/messages/{id}/lens")
async def of_answer(id: Number, request: Request, caller: Asker) -> JSONResponse:
    """The tokens of an answer, as they were kept with it."""
    message = await reading(request, lambda db: chats.answer_of(db, caller, id))
    if message.lens is None:
        raise not_found("Nothing is kept of this answer's tokens.")
    card = await find_model(services_of(request), caller, message.model or "current")
    shown = chats.unpack(message.lens)["shown"]
    told = {
        "tokens": told_of(shown),
        "model": message.model,
        "vocabulary": card.vocabulary,
        "temperature": (message.sampling or {}).get("temperature", 1.0),
        "forced": message.forced,
        "continues": card.fingerprint == message.fingerprint and all(one[0] is not None for one in shown),
    }
    return JSONResponse(told)


@router.post("/web/lens")
async def of_text(ask: OwnText, request: Request, caller: Asker) -> JSONResponse:
    """The tokens of a text, as the model reads it."""
    services = services_of(request)
    card = await find_model(services, caller, ask.model)
    sampling = Sampling(max_tokens=1, temperature=0.0, logprobs=min(ALTERNATIVES, card.vocabulary))
    job = Job(card.id, ask.text, sampling, logprobs=True, echo=True, deadline=services.settings.request_timeout)
    answering = await Answering.begin(services, caller, card, [job], "web.lens")
    read = Live(0)
    try:
        async for item in answering.events():
            if item is not None and isinstance(delta := item[1], Delta) and delta.kind == "echo":
                take(read, Delta(0, "", delta.tokens, delta.pieces, delta.logprobs, delta.alternatives))
    finally:
        await answering.close()
    told = {"tokens": told_of(read.shown), "model": card.id, "vocabulary": card.vocabulary, "temperature": 1.0}
    return JSONResponse({**told, "forced": 0, "continues": False})


def told_of(shown: list[Any]) -> list[dict[str, Any]]:
    """Tokens for the page: text, log-probability and surprise in bits, and the alternatives, the most probable first."""
    told = []
    for token, piece, logprob, others in shown:
        alternatives = sorted(({"id": one, "text": visible(raw), "logprob": value} for one, raw, value in others),
                              key=lambda one: -one["logprob"])  # fmt: skip
        bits = None if logprob is None else max(-logprob / math.log(2), 0.0)
        told.append(
            {"id": token, "text": visible(piece), "logprob": logprob, "bits": bits, "alternatives": alternatives}
        )
    return told


def visible(piece: str) -> str:
    return token_text(piece.encode("latin-1"))
