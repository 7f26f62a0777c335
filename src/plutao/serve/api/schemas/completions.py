"""POST /v1/completions: texts continued, by programs that measure models among others."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from plutao.serve.api.schemas.common import Provenance, SamplingFields, Text, Usage

Token = Annotated[int, Field(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Prompt = Text | Annotated[list[Text], Field(min_length=1)] | Tokens | Annotated[list[Tokens], Field(min_length=1)]


class CompletionRequest(SamplingFields):
    model: str
    prompt: Prompt = Field(description="A text, several, a list of token ids, or several.")
    max_tokens: Annotated[int, Field(ge=0)] | None = Field(None, description="16 if left out; 0 only with `echo`.")
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = Field(
        None, description="The prompt comes back in front of the text, with `logprobs` its own too."
    )
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    suffix: str | None = Field(None, description="Refused: the models write forwards only.")


class CompletionLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    index: int
    text: str
    finish_reason: Literal["stop", "length", "content_filter"]
    logprobs: CompletionLogprobs | None


class TextCompletion(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str | None
    plutao: list[Provenance]
