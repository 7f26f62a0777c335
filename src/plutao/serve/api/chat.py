"""POST /v1/chat/completions: a conversation is answered, whole or word by word."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from plutao.serve import stored
from plutao.serve.answering import Answering, Services, find_model
from plutao.serve.api.asking import (
    DONE,
    PING,
    REFUSALS,
    STREAMED,
    EventStream,
    Gathered,
    Inference,
    Json,
    Serving,
    data,
    failure,
    gather,
    logprobs_of,
    new_id,
    salt_of,
    sampling_of,
    usage_of,
)
from plutao.serve.api.conversation import read_choice, read_form, read_messages, read_tools, refuse_unsupported
from plutao.serve.api.schemas.chat import (
    AnswerMessage,
    CallFunction,
    CallMade,
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    ChatRequest,
    StoredDeleted,
)
from plutao.serve.api.schemas.common import Provenance
from plutao.serve.backend.contract import Delta, Finished, Job, ModelCard
from plutao.serve.errors import ApiError, bad_request
from plutao.serve.identity import Caller
from plutao.text.chat import ToolCall

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"], responses=REFUSALS)
ENDPOINT = "chat.completions"


@router.post("", response_model=ChatCompletion, summary="Answer a conversation", responses=STREAMED)
async def create(ask: ChatRequest, request: Request, caller: Inference, services: Serving) -> Response:
    """As OpenAI's; with `stream` the answer comes as server-sent events."""
    refuse_unsupported(ask)
    card = await find_model(services, caller, ask.model)
    job = job_of(ask, card, services, caller)
    answering = await Answering.begin(services, caller, card, [job], ENDPOINT)
    answer = Answer(ask, card, job, answering, stored.Keeper(request, caller, card, ENDPOINT, ask.store))
    if ask.stream:
        return EventStream(answering, answer.chunks(services.settings.ping))
    [gathered] = await gather(request, answering)
    return Json(await answer.whole(gathered), headers=answering.headers)


@router.get("/{id}", response_model=ChatCompletion, summary="A stored answer")
async def retrieve(id: str, request: Request, caller: Inference) -> Response:
    """What was stored by consent, as it was told."""
    return Json(await stored.told(request, caller, id, ENDPOINT))


@router.delete("/{id}", response_model=StoredDeleted, summary="Forget a stored answer")
async def delete(id: str, request: Request, caller: Inference) -> Response:
    await stored.forget(request, caller, id, ENDPOINT)
    return Json(StoredDeleted(id=id))


def job_of(ask: ChatRequest, card: ModelCard, services: Services, caller: Caller) -> Job:
    """What is asked of the engine.

    Raises:
        ApiError: a field that can't be answered.
    """
    if ask.top_logprobs and not ask.logprobs:
        raise bad_request("top_logprobs needs logprobs: true.", "top_logprobs", "invalid_value")
    tools, choice = read_choice(ask.tool_choice, read_tools(ask.tools))
    most = ask.max_completion_tokens or ask.max_tokens or services.settings.default_max_tokens
    return Job(
        model=card.id,
        prompt=read_messages(ask.messages),
        sampling=sampling_of(ask, card, services, most, ask.top_logprobs or 0, read_form(ask.response_format)),
        logprobs=bool(ask.logprobs),
        tools=tools,
        tool_choice=choice,
        run_tools=not tools and ask.response_format is None and choice.mode != "none",
        truncate=ask.truncation == "auto",
        deadline=services.settings.request_timeout,
        salt=salt_of(caller),
    )


class Answer:
    """One request's answers in OpenAI's form."""

    def __init__(
        self, ask: ChatRequest, card: ModelCard, job: Job, answering: Answering, keeper: stored.Keeper
    ) -> None:
        self.ask, self.card, self.job, self.answering, self.keeper = ask, card, job, answering, keeper
        self.id, self.created = new_id("chatcmpl-"), int(time.time())

    async def whole(self, answers: list[Gathered]) -> ChatCompletion:
        """The answer as one object; kept where there is consent."""
        ended = [answer.end for answer in answers]
        completion = ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.ask.model,
            choices=[self._choice(answer) for answer in answers],
            usage=usage_of(self.answering, ended),
            system_fingerprint=system_fingerprint(self.card),
            metadata=self.ask.metadata,
            plutao=self._provenance(ended),
        )
        await self.keeper.keep(self.id, self.ask, ended, completion)
        return completion

    def _choice(self, answer: Gathered) -> ChatChoice:
        end = answer.end
        content = [token for delta in answer.deltas if delta.kind == "text" for token in logprobs_of(delta)]
        return ChatChoice(
            index=end.index,
            message=AnswerMessage(
                content=None if end.calls and not end.text else end.text,
                tool_calls=[called(call) for call in end.calls] or None,
            ),
            logprobs=ChatLogprobs.model_validate({"content": content}) if self.job.logprobs else None,
            finish_reason=self._reason(end),
        )

    def _reason(self, end: Finished) -> Any:
        """Why it ended, in OpenAI's words: a call that was asked for by name ends with `stop`, as theirs do."""
        if end.reason == "tool_calls":
            return "stop" if self.job.tool_choice.mode == "named" else "tool_calls"
        return "length" if end.reason == "aborted" else end.reason

    def _provenance(self, ended: list[Finished]) -> Provenance:
        return Provenance(
            fingerprint=self.card.fingerprint,
            seed=ended[0].seed,
            cut=ended[0].cut,
            answer=self.id if self.keeper.keeps else None,
        )

    # The same as a stream

    async def chunks(self, ping: float) -> AsyncIterator[bytes]:
        """The role first, then words and calls as they come, an empty delta with the reason, the usage, [DONE]."""
        answers = [Gathered() for _ in range(self.job.sampling.n)]
        for index in range(len(answers)):
            yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None})
        calls = [0] * len(answers)
        try:
            async for item in self.answering.events(ping):
                if item is None:
                    yield PING
                    continue
                event = item[1]
                answer = answers[event.index]
                if isinstance(event, Finished):
                    answer.finished = event
                    yield self._chunk(event.index, {}, reason=self._reason(event))
                elif event.kind == "text" and (event.text or event.tokens):
                    answer.deltas.append(event)
                    yield self._chunk(event.index, {"content": event.text}, event)
                elif event.kind == "tool_call" and event.call is not None and self.job.tools:
                    for delta in call_deltas(calls[event.index], event.call):
                        yield self._chunk(event.index, delta)
                    calls[event.index] += 1
            whole = await self.whole(answers)
        except ApiError as error:
            yield failure(error)
            return
        if self._with_usage:
            last = self._frame([]) | {"usage": whole.usage.model_dump(), "plutao": whole.plutao.model_dump()}
            yield data(last)
        yield DONE

    @property
    def _with_usage(self) -> bool:
        return bool(self.ask.stream_options and self.ask.stream_options.include_usage)

    def _frame(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.ask.model,
            "system_fingerprint": system_fingerprint(self.card),
            "choices": choices,
        } | ({"usage": None} if self._with_usage else {})

    def _chunk(self, index: int, delta: dict[str, Any], of: Delta | None = None, reason: str | None = None) -> bytes:
        logprobs = {"content": logprobs_of(of), "refusal": None} if of is not None and self.job.logprobs else None
        return data(self._frame([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]))


def system_fingerprint(card: ModelCard) -> str:
    """Names what answered: it changes whenever the weights do."""
    return f"fp_{card.fingerprint[:16]}"


def called(call: ToolCall) -> CallMade:
    function = CallFunction(name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False))
    return CallMade(id=new_id("call_"), function=function)


def call_deltas(place: int, call: ToolCall) -> list[dict[str, Any]]:
    """A call in a stream: its name once, then its arguments; a client that joins the pieces has it whole."""
    made = called(call)
    opening = {
        "index": place,
        "id": made.id,
        "type": "function",
        "function": {"name": made.function.name, "arguments": ""},
    }
    arguments = {"index": place, "function": {"arguments": made.function.arguments}}
    return [{"tool_calls": [opening]}, {"tool_calls": [arguments]}]
