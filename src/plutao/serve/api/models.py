"""GET /v1/models: what can be asked for by name, as far as the caller's key is for it."""

from fastapi import APIRouter
from starlette.responses import Response

from plutao.serve.answering import find_model, in_our_words
from plutao.serve.api.asking import REFUSALS, Inference, Json, Serving
from plutao.serve.api.schemas.others import ModelList, ModelObject
from plutao.serve.backend.contract import EngineFailed, ModelCard

router = APIRouter(prefix="/v1/models", tags=["models"], responses=REFUSALS)


@router.get("", response_model=ModelList, summary="All models")
async def list_models(caller: Inference, services: Serving) -> Response:
    """Every name that can be asked for; `current` is another name of the model it leads to."""
    try:
        cards = await services.backend.models()
    except EngineFailed as error:
        raise in_our_words(error) from error
    shown = [
        describe(card, name)
        for card in cards
        if caller.may_use(card.id) or any(caller.may_use(alias) for alias in card.aliases)
        for name in (*card.aliases, card.id)
    ]
    return Json(ModelList(data=sorted(shown, key=lambda model: (model.id == model.root, -model.created))))


@router.get("/{id:path}", response_model=ModelObject, summary="One model")
async def retrieve(id: str, caller: Inference, services: Serving) -> Response:
    return Json(describe(await find_model(services, caller, id), id))


def describe(card: ModelCard, name: str) -> ModelObject:
    return ModelObject(
        id=name, created=card.created, max_model_len=card.context, root=card.id, stage=card.stage, chats=card.chats
    )
