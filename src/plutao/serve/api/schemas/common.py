"""What several endpoints share: errors, usage, sampling settings, tools."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

LogitBias = dict[Annotated[str, StringConstraints(pattern=r"^\d{1,7}$")], Annotated[float, Field(ge=-100, le=100)]]
Text = Annotated[str, StringConstraints(max_length=2**22)]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class RequestModel(BaseModel):
    """A request: what it holds beyond the fields known here is ignored, as OpenAI's servers and others do."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """Every refusal, of every endpoint."""

    error: ErrorDetail


class PromptDetails(BaseModel):
    cached_tokens: int = 0


class CompletionDetails(BaseModel):
    reasoning_tokens: int = 0


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()
    completion_tokens_details: CompletionDetails = CompletionDetails()


class Provenance(BaseModel):
    """What the answer came from: with these, the same request gives the same answer again. Not part of OpenAI's form."""

    fingerprint: str = Field(description="Of the model's weights.")
    seed: int
    cut: int = Field(0, description="Tokens cut from the prompt's beginning, where `truncation` allows it.")
    answer: str | None = Field(None, description="Under this name the answer was stored, where `store` asked for it.")


class StreamOptions(RequestModel):
    include_usage: bool | None = None


class SamplingFields(RequestModel):
    """How the text is drawn. `top_k`, `min_p` and `repetition_penalty` are no fields of OpenAI's; clients pass them as extras."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=10**6)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: LogitBias | None = None
    seed: Seed | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    truncation: Literal["auto", "disabled"] | None = Field(
        None,
        description="auto: the beginning of a prompt that is too long is cut, and the answer tells; else it is refused.",
    )
    user: str | None = None


class FunctionDefinition(RequestModel):
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
