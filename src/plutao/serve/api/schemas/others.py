"""Models, embeddings, tokens and the state of the service."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from plutao.serve.api.schemas.chat import ChatMessage
from plutao.serve.api.schemas.common import RequestModel, Text
from plutao.serve.api.schemas.completions import Prompt, Token


class ModelObject(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "plutao"
    max_model_len: int = Field(description="Tokens of prompt and answer together.")
    root: str = Field(description="The model this name stands for: `current` is an alias.")
    stage: str
    chats: bool = Field(description="Whether it learned to talk; else only completions go.")


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]


class EmbeddingRequest(RequestModel):
    model: str
    input: Prompt
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = Field(None, description="Only the model's own number.")
    user: str | None = None


class EmbeddingObject(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="Of length 1; base64: little-endian float32.")


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage


class TokenizeRequest(RequestModel):
    """A text, or a conversation as the model reads it."""

    model: str | None = None
    prompt: Text | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool = Field(False, description="Whether <|endoftext|> stands in front of a text.")
    return_token_strs: bool = False


class TokenizeResponse(BaseModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(RequestModel):
    model: str | None = None
    tokens: list[Token]


class DetokenizeResponse(BaseModel):
    prompt: str


class ModerationRequest(RequestModel):
    input: Any = None
    model: str | None = None


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    status: Literal["ready"] = "ready"
    models: int
    running: int
    waiting: int
    slots: int
