"""Whether the service lives, whether it can answer, and its numbers for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from plutao.serve.api.asking import REFUSALS, Json, Serving, services_of
from plutao.serve.api.schemas.others import Health, Ready
from plutao.serve.backend.contract import EngineFailed
from plutao.serve.errors import ApiError
from plutao.serve.identity import caller_of, require

router = APIRouter(tags=["service"])


@router.get("/health", response_model=Health, summary="Alive?")
async def health() -> Response:
    """Answers whenever the process does; asks nothing of the engine."""
    return Json(Health())


@router.get("/ready", response_model=Ready, responses={503: REFUSALS[503]}, summary="Ready to answer?")
async def ready(services: Serving) -> Response:
    """200 where there is a model and the engine is up; else 503, and a balancer sends people elsewhere."""
    try:
        models = await services.backend.models()
    except EngineFailed as error:
        raise not_ready("The engine does not answer.") from error
    if not models:
        raise not_ready("There is no trained model yet: `plutao run` makes one.")
    load = services.backend.load()
    return Json(Ready(models=len(models), running=load.running, waiting=load.waiting, slots=load.slots))


def not_ready(message: str) -> ApiError:
    return ApiError(503, message, "server_error", code="not_ready", headers={"Retry-After": "5"})


async def may_read_metrics(request: Request) -> None:
    """An owner, unless the settings open the numbers to whoever reaches the port."""
    if not services_of(request).settings.open_metrics:
        await require("owner")(await caller_of(request))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, 401: REFUSALS[401], 403: REFUSALS[403]},
    summary="Numbers for Prometheus",
)
async def metrics(services: Serving, _: Annotated[None, Depends(may_read_metrics)]) -> Response:
    load, told = services.backend.load(), services.metrics
    told.running.set(load.running)
    told.waiting.set(load.waiting)
    told.slots.set(load.slots)
    told.speed.set(load.tokens_per_second)
    return Response(told.exposition(), media_type=CONTENT_TYPE_LATEST)
