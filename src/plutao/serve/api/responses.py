"""POST /v1/responses: conversations in items, as newer programs ask; what is stored can be followed by its id."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from plutao.serve import stored
from plutao.serve.answering import Answering, Services, find_model, in_our_words
from plutao.serve.api.asking import (
    PING,
    REFUSALS,
    STREAMED,
    EventStream,
    Gathered,
    Inference,
    Json,
    Serving,
    data,
    gather,
    given,
    logprobs_of,
    new_id,
    salt_of,
    sampling_of,
)
from plutao.serve.api.items import (
    Item,
    call_item,
    input_item,
    message_item,
    read_format,
    read_items,
    read_response_tools,
    text_part,
)
from plutao.serve.api.schemas.common import Provenance
from plutao.serve.api.schemas.responses import (
    InputDetails,
    InputItem,
    InputRequest,
    InputTokens,
    ItemList,
    OutputDetails,
    ResponseDeleted,
    ResponseObject,
    ResponseRequest,
    ResponseUsage,
)
from plutao.serve.backend.contract import Finished, Job, ModelCard
from plutao.serve.errors import ApiError, bad_request, not_found
from plutao.serve.identity import Caller
from plutao.text.chat import ToolCall

router = APIRouter(prefix="/v1/responses", tags=["responses"], responses=REFUSALS)
ENDPOINT = "responses"
LOGPROBS = "message.output_text.logprobs"
"""What `include` names to have the log-probabilities."""


@router.post("", response_model=ResponseObject, summary="Answer, in items", responses=STREAMED)
async def create(ask: ResponseRequest, request: Request, caller: Inference, services: Serving) -> Response:
    """As OpenAI's; with `stream` the answer comes as named server-sent events. Nothing is stored without `store: true`, or
    a key that consents.
    """
    refuse_unsupported(ask)
    card = await find_model(services, caller, ask.model)
    items = await all_items(ask, request, caller)
    job = job_of(ask, items, card, services, caller)
    answering = await Answering.begin(services, caller, card, [job], ENDPOINT)
    whole = ask.model_copy(update={"input": items})
    answer = Answer(whole, card, job, answering, stored.Keeper(request, caller, card, ENDPOINT, ask.store))
    if ask.stream:
        return EventStream(answering, answer.events(services.settings.ping))
    [[gathered]] = await gather(request, answering)
    return Json(await answer.whole(gathered.end, answer.items_of(gathered)), headers=answering.headers)


@router.post("/input_tokens", response_model=InputTokens, summary="Count a request's tokens")
async def count(ask: InputRequest, request: Request, caller: Inference, services: Serving) -> Response:
    """How many tokens would be read; nothing is written."""
    card = await find_model(services, caller, ask.model)
    full = ResponseRequest.model_validate(ask.model_dump(by_alias=True, exclude_none=True))
    job = job_of(full, await all_items(full, request, caller), card, services, caller)
    try:
        counted = await services.backend.count(job)
    except Exception as error:
        raise in_our_words(error) from error
    return Json(InputTokens(input_tokens=counted.prompt_tokens))


@router.get("/{id}", response_model=ResponseObject, summary="A stored answer")
async def retrieve(id: str, request: Request, caller: Inference) -> Response:
    return Json(await stored.told(request, caller, id, ENDPOINT))


@router.delete("/{id}", response_model=ResponseDeleted, summary="Forget a stored answer")
async def delete(id: str, request: Request, caller: Inference) -> Response:
    await stored.forget(request, caller, id, ENDPOINT)
    return Json(ResponseDeleted(id=id))


@router.post("/{id}/cancel", response_model=ResponseObject, summary="Refused: nothing runs in the background")
async def cancel(id: str, request: Request, caller: Inference) -> Response:
    await stored.told(request, caller, id, ENDPOINT)
    raise bad_request(
        "Only answers in the background can be cancelled, and this server has none: hang up instead.", "id"
    )


@router.get("/{id}/input_items", response_model=ItemList, summary="What a stored answer was an answer to")
async def input_items(id: str, request: Request, caller: Inference) -> Response:
    row = await stored.find(request, caller, id, ENDPOINT)
    items = [input_item(item) for item in row.request["asked"]["input"]]
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
    return Json(ItemList(data=items, **ends))


# ---------------------------------------------------------------------------------------------------------------------
# The request


def refuse_unsupported(ask: ResponseRequest) -> None:
    """Raises ApiError for fields that would change the answer and can't."""
    wanted = {
        "background": bool(ask.background),
        "conversation": ask.conversation is not None,
        "prompt": ask.prompt is not None,
        "n": ask.n not in (None, 1),
    }
    for name, asked in wanted.items():
        if asked:
            raise bad_request(f"{name} is not supported here.", name, "unsupported_parameter")


async def all_items(ask: InputRequest, request: Request, caller: Caller) -> list[InputItem]:
    """The request's items behind those of the answer that it follows.

    Raises:
        ApiError: 404, that answer was not stored.
    """
    new = [InputItem(role="user", content=ask.input)] if isinstance(ask.input, str) else list(ask.input)
    if ask.previous_response_id is None:
        return new
    try:
        row = await stored.find(request, caller, ask.previous_response_id, ENDPOINT)
    except ApiError as error:
        message = (
            f"The answer {ask.previous_response_id!r} was not stored: send store: true with it, or its items again."
        )
        raise not_found(message, "previous_response_id", "previous_response_not_found") from error
    before = [*row.request["asked"]["input"], *row.request["told"]["output"]]
    return [*(InputItem.model_validate(item) for item in before), *new]


def job_of(ask: ResponseRequest, items: list[InputItem], card: ModelCard, services: Services, caller: Caller) -> Job:
    """What is asked of the engine; raises ApiError for a field that can't be answered."""
    tools, choice = read_response_tools(ask)
    form = read_format(ask.text.format if ask.text else None)
    most = ask.max_output_tokens or services.settings.default_max_tokens
    return Job(
        model=card.id,
        prompt=read_items(items, ask.instructions),
        sampling=sampling_of(ask, card, services, most, ask.top_logprobs or 0, form),
        logprobs=LOGPROBS in (ask.include or ()),
        tools=tools,
        tool_choice=choice,
        run_tools=not tools and form is None and choice.mode != "none",
        truncate=ask.truncation == "auto",
        deadline=services.settings.request_timeout,
        salt=salt_of(caller),
    )


# ---------------------------------------------------------------------------------------------------------------------
# The answer


class Answer:
    """One request's answer in the form of responses."""

    def __init__(
        self, ask: ResponseRequest, card: ModelCard, job: Job, answering: Answering, keeper: stored.Keeper
    ) -> None:
        self.ask, self.card, self.job, self.answering, self.keeper = ask, card, job, answering, keeper
        self.id, self.created, self.sequence = new_id("resp_"), int(time.time()), -1

    def items_of(self, answer: Gathered) -> list[Item]:
        """The answer as items: its words, then its calls."""
        end = answer.end
        logprobs = [token for delta in answer.deltas if delta.kind == "text" for token in logprobs_of(delta)]
        status = status_of(end)
        items = [message_item(new_id("msg_"), end.text, status, logprobs)] if end.text or not end.calls else []
        return items + [
            call_item(new_id("fc_"), new_id("call_"), call.name, arguments_of(call), status) for call in end.calls
        ]

    async def whole(self, end: Finished, items: list[Item]) -> ResponseObject:
        """The response at its end; kept where there is consent."""
        read, written = self.answering.prompt_tokens, end.completion_tokens
        usage = ResponseUsage(
            input_tokens=read,
            input_tokens_details=InputDetails(cached_tokens=end.cached_tokens),
            output_tokens=written,
            output_tokens_details=OutputDetails(),
            total_tokens=read + written,
        )
        response = self._object(status_of(end), items).model_copy(
            update={
                "completed_at": int(time.time()),
                "incomplete_details": {"reason": "max_output_tokens"} if status_of(end) == "incomplete" else None,
                "usage": usage,
                "plutao": Provenance(
                    fingerprint=self.card.fingerprint,
                    seed=end.seed,
                    cut=end.cut,
                    answer=self.id if self.keeper.keeps else None,
                ),
            }
        )
        await self.keeper.keep(self.id, self.ask, [end], response)
        return response

    def _object(self, status: Any, items: list[Item]) -> ResponseObject:
        ask, choice = self.ask, self.ask.tool_choice
        form = ask.text.format if ask.text else None
        return ResponseObject(
            id=self.id,
            created_at=self.created,
            status=status,
            instructions=ask.instructions,
            max_output_tokens=ask.max_output_tokens,
            model=ask.model,
            output=items,
            previous_response_id=ask.previous_response_id,
            store=self.keeper.keeps,
            temperature=given(ask.temperature, 1.0),
            text={"format": form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}},
            tool_choice=choice
            if isinstance(choice, str)
            else choice.model_dump(exclude_none=True)
            if choice
            else "auto",
            tools=[
                {"parameters": {}, "strict": False, **tool.model_dump(exclude_none=True)} for tool in ask.tools or ()
            ],
            top_logprobs=ask.top_logprobs or 0,
            top_p=given(ask.top_p, 1.0),
            truncation=ask.truncation or "disabled",
            metadata=ask.metadata or {},
        )

    # The same as events

    async def events(self, ping: float) -> AsyncIterator[bytes]:
        """Named events with rising numbers, from `response.created` to `response.completed` or `response.incomplete`."""
        begun = self._object("in_progress", []).model_dump(mode="json")
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        items: list[Item] = []
        answer = Gathered()
        message = new_id("msg_")
        try:
            async for item in self.answering.events(ping):
                if item is None:
                    yield PING
                    continue
                event = item[1]
                if isinstance(event, Finished):
                    answer.finished = event
                elif event.kind == "text" and (event.text or event.tokens):
                    if not answer.deltas:
                        for opening in self._open(message):
                            yield opening
                    answer.deltas.append(event)
                    yield self._event(
                        "response.output_text.delta",
                        **text_place(message),
                        delta=event.text,
                        logprobs=logprobs_of(event),
                    )
            if not answer.deltas and not answer.end.calls:
                for opening in self._open(message):
                    yield opening
            items = self.items_of(answer)
            for closing in self._close(items, message):
                yield closing
            response = await self.whole(answer.end, items)
        except ApiError as error:
            yield self._event("error", code=error.code, message=error.message, param=error.param)
            return
        name = "response.completed" if response.status == "completed" else "response.incomplete"
        yield self._event(name, response=response.model_dump(mode="json"))

    def _open(self, message: str) -> list[bytes]:
        """The message appears, and an empty part of it."""
        item = {**message_item(message, "", "in_progress"), "content": []}
        return [
            self._event("response.output_item.added", output_index=0, item=item),
            self._event("response.content_part.added", **text_place(message), part=text_part("")),
        ]

    def _close(self, items: list[Item], message: str) -> list[bytes]:
        """The message is whole; then the calls come and are whole."""
        sent: list[bytes] = []
        for place, item in enumerate(items):
            if item["type"] == "message":
                item["id"] = message
                [part] = item["content"]
                text = {"text": part["text"], "logprobs": part["logprobs"]}
                sent.append(self._event("response.output_text.done", **text_place(message), **text))
                sent.append(self._event("response.content_part.done", **text_place(message), part=part))
            else:
                empty = {**item, "arguments": "", "status": "in_progress"}
                where = {"item_id": item["id"], "output_index": place}
                sent.append(self._event("response.output_item.added", output_index=place, item=empty))
                sent.append(self._event("response.function_call_arguments.delta", **where, delta=item["arguments"]))
                whole = {"arguments": item["arguments"], "name": item["name"]}
                sent.append(self._event("response.function_call_arguments.done", **where, **whole))
            sent.append(self._event("response.output_item.done", output_index=place, item=item))
        return sent

    def _event(self, type: str, **content: Any) -> bytes:
        self.sequence += 1
        return data({"type": type, "sequence_number": self.sequence, **content}, event=type)


def text_place(message: str) -> dict[str, Any]:
    return {"item_id": message, "output_index": 0, "content_index": 0}


def status_of(end: Finished) -> str:
    return "incomplete" if end.reason in ("length", "aborted") else "completed"


def arguments_of(call: ToolCall) -> str:
    return json.dumps(call.arguments, ensure_ascii=False)
