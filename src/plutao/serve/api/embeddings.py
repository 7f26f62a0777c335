"""POST /v1/embeddings: texts as vectors of length 1."""

import base64
import struct
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import Response

from plutao.serve.answering import find_model, in_our_words
from plutao.serve.api.asking import REFUSALS, Inference, Json, Serving
from plutao.serve.api.completions import read_prompts
from plutao.serve.api.schemas.others import EmbeddingList, EmbeddingObject, EmbeddingRequest, EmbeddingUsage
from plutao.serve.errors import ApiError, bad_request

router = APIRouter(prefix="/v1/embeddings", tags=["embeddings"], responses=REFUSALS)


@router.post("", response_model=EmbeddingList, summary="Texts as vectors")
async def create(ask: EmbeddingRequest, caller: Inference, services: Serving) -> Response:
    """As OpenAI's, whose client asks for base64 by itself; without `encoding_format` they come as numbers."""
    card = await find_model(services, caller, ask.model)
    if ask.dimensions is not None and ask.dimensions != card.width:
        raise bad_request(
            f"The model's vectors have {card.width} dimensions and no others.", "dimensions", "unsupported_value"
        )
    inputs = read_prompts(ask.input, card, services, "input")
    if any(not one for one in inputs):
        raise bad_request("input holds an empty text.", "input", "invalid_value")
    try:
        read = [one if not isinstance(one, str) else await services.backend.tokenize(card.id, one) for one in inputs]
        async with services.meter(caller, card.id, sum(map(len, read)), 0, "embeddings") as bill:
            embedded = await services.backend.embed(card.id, inputs)
            bill.settle(embedded.tokens, 0)
    except ApiError:
        raise
    except Exception as error:
        raise in_our_words(error) from error
    services.metrics.tokens.labels(card.id, "prompt").inc(embedded.tokens)
    packed = ask.encoding_format == "base64"
    return Json(
        EmbeddingList(
            data=[
                EmbeddingObject(index=place, embedding=as_base64(vector) if packed else list(vector))
                for place, vector in enumerate(embedded.vectors)
            ],
            model=ask.model,
            usage=EmbeddingUsage(prompt_tokens=embedded.tokens, total_tokens=embedded.tokens),
        )
    )


def as_base64(vector: Sequence[float]) -> str:
    """Little-endian float32, as OpenAI's client reads it."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
