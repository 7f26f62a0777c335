"""Tokens of texts and back, as vLLM has them: lm-evaluation-harness then needs no tokenizer of its own."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from plutao.serve.answering import Services, find_model, in_our_words
from plutao.serve.api.asking import REFUSALS, Inference, Json, Serving
from plutao.serve.api.completions import read_prompts
from plutao.serve.api.conversation import read_messages
from plutao.serve.api.schemas.others import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from plutao.serve.backend.contract import EngineFailed, Refused
from plutao.serve.errors import bad_request
from plutao.serve.identity import Caller

router = APIRouter(tags=["tokens"], responses=REFUSALS)
CURRENT = "current"


@router.post("/tokenize", response_model=TokenizeResponse, response_model_exclude_none=True, summary="A text's tokens")
async def tokenize(ask: TokenizeRequest, caller: Inference, services: Serving) -> Response:
    """Of a text, or of a conversation as the model reads it. Without `model` it is `current`."""
    card = await find_model(services, caller, ask.model or CURRENT)
    if (ask.prompt is None) == (ask.messages is None):
        raise bad_request("Give either a prompt or messages.", "prompt")
    backend = services.backend
    try:
        tokens = await backend.tokenize(
            card.id, ask.prompt if ask.prompt is not None else read_messages(ask.messages or [])
        )
        if ask.prompt is not None and ask.add_special_tokens:
            tokens = [(await backend.tokenizer_info(card.id))["end_of_text"], *tokens]
        texts = [await backend.detokenize(card.id, [token]) for token in tokens] if ask.return_token_strs else None
    except (Refused, EngineFailed) as error:
        raise in_our_words(error) from error
    return Json(TokenizeResponse(count=len(tokens), max_model_len=card.context, tokens=tokens, token_strs=texts))


@router.post("/detokenize", response_model=DetokenizeResponse, summary="The text of tokens")
async def detokenize(ask: DetokenizeRequest, caller: Inference, services: Serving) -> Response:
    card = await find_model(services, caller, ask.model or CURRENT)
    if ask.tokens:
        read_prompts(ask.tokens, card, services, "tokens")
    try:
        return Json(DetokenizeResponse(prompt=await services.backend.detokenize(card.id, ask.tokens)))
    except (Refused, EngineFailed) as error:
        raise in_our_words(error) from error


@router.get("/tokenizer_info", response_model=dict[str, Any], summary="The tokenizer's settings")
async def tokenizer_info(caller: Inference, services: Serving, model: str = CURRENT) -> Response:
    """tokenizer_config.json of a model, its chat template among it."""
    return Json(await info(services, caller, model))


async def info(services: Services, caller: Caller, model: str) -> dict[str, Any]:
    card = await find_model(services, caller, model)
    try:
        return await services.backend.tokenizer_info(card.id)
    except (Refused, EngineFailed) as error:
        raise in_our_words(error) from error
