"""POST /v1/chat/completions: the request, the answer and the chunks of a stream."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from plutao.serve.api.schemas.common import (
    FunctionDefinition,
    FunctionName,
    Provenance,
    RequestModel,
    SamplingFields,
    Text,
    Usage,
)

# ---------------------------------------------------------------------------------------------------------------------
# The request


class ContentPart(RequestModel):
    """A part of a message: only `text` and `refusal` can be read; others are refused by name."""

    type: str
    text: Text | None = None
    refusal: Text | None = None


class CalledFunction(RequestModel):
    name: FunctionName
    arguments: str


class CallInMessage(RequestModel):
    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(RequestModel):
    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Text | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[CallInMessage] | None = None
    tool_call_id: str | None = None


class ChatTool(RequestModel):
    type: str
    function: FunctionDefinition | None = None


class NamedFunction(RequestModel):
    name: str


class ToolChoice(RequestModel):
    """One function by its name, or some of the tools (`allowed_tools`)."""

    type: str
    function: NamedFunction | None = None
    allowed_tools: dict[str, Any] | None = None


class JsonSchemaFormat(RequestModel):
    name: FunctionName
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(RequestModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class ChatRequest(SamplingFields):
    """OpenAI's fields, and those of SamplingFields. Fields that change nothing here (metadata, user, service_tier,
    reasoning_effort, …) are ignored; those that would change the answer and can't are refused.
    """

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(None, deprecated=True)
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[ChatTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = Field(
        None, description="Consent to keep the conversation and its answer; nothing is kept without."
    )
    metadata: dict[str, str] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    functions: list[Any] | None = Field(None, deprecated=True)
    function_call: Any = Field(None, deprecated=True)
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None


# ---------------------------------------------------------------------------------------------------------------------
# The answer


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None = None


class CallFunction(BaseModel):
    name: str
    arguments: str


class CallMade(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: CallFunction


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    annotations: list[Any] = []
    tool_calls: list[CallMade] | None = None


class ChatChoice(BaseModel):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str | None
    service_tier: Literal["default"] = "default"
    metadata: dict[str, str] | None = None
    plutao: Provenance


class StoredDeleted(BaseModel):
    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: bool = True
