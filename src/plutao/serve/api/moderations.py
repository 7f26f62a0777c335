"""POST /v1/moderations: refused. Nothing here was trained to judge harm, and made-up scores would be worse than none."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from plutao.serve.api.asking import REFUSALS, Inference
from plutao.serve.api.schemas.common import ErrorResponse
from plutao.serve.api.schemas.others import ModerationRequest
from plutao.serve.errors import ApiError

router = APIRouter(prefix="/v1/moderations", tags=["moderations"])
NOT_HERE: dict[int | str, dict[str, Any]] = {**REFUSALS, 501: {"model": ErrorResponse, "description": "Always."}}


@router.post("", status_code=501, responses=NOT_HERE, response_model=ErrorResponse, summary="Not offered")
async def create(ask: ModerationRequest, caller: Inference) -> Response:
    raise ApiError(
        501,
        "This server does not moderate: no model here was trained to judge harm, and made-up scores would mislead.",
        "invalid_request_error",
        code="not_implemented",
        headers={"x-should-retry": "false"},
    )
