"""What the routes of usage and costs answer, as OpenAI's organization API does."""

from typing import Literal

from pydantic import BaseModel


class UsageResult(BaseModel):
    """Tokens of one group in one bucket. `seconds_per_1000_tokens` is ours: what they took of the machine."""

    object: Literal["organization.usage.completions.result", "organization.usage.embeddings.result"]
    input_tokens: int
    output_tokens: int = 0
    num_model_requests: int
    input_cached_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None
    seconds_per_1000_tokens: float | None = None


class Amount(BaseModel):
    value: float
    currency: str


class CostsResult(BaseModel):
    """Money of one group in one day. `unbilled` is ours: what answers cost beyond what was set aside for them."""

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: Amount
    line_item: str | None = None
    project_id: str | None = None
    api_key_id: str | None = None
    user_id: str | None = None
    unbilled: float = 0


class UsageBucket(BaseModel):
    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[UsageResult]


class UsagePage(BaseModel):
    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: bool
    next_page: str | None


class CostsBucket(BaseModel):
    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[CostsResult]


class CostsPage(BaseModel):
    object: Literal["page"] = "page"
    data: list[CostsBucket]
    has_more: bool
    next_page: str | None
