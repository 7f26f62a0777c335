"""The chat: conversations, turns, answers as they are written, versions, opinions, links and exports."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, Header, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from plutao.serve import chats
from plutao.serve.answering import Services, find_model
from plutao.serve.api.asking import PING, UNBUFFERED
from plutao.serve.api.common import Number, Short
from plutao.serve.backend.contract import ModelCard
from plutao.serve.chats import Branch
from plutao.serve.database import Database
from plutao.serve.errors import bad_request, not_found
from plutao.serve.identity import Caller, get_owned
from plutao.serve.stored import plain
from plutao.serve.tables.chats import ChatMessage, Conversation
from plutao.web import markdown
from plutao.web.asked import (
    Compared,
    Corrected,
    GoOn,
    Judged,
    NewTurn,
    SamplingAsked,
    Settings,
    Show,
    job_going_on,
    job_of,
)
from plutao.web.live import Answers, Beginning
from plutao.web.people import Asker
from plutao.web.templating import fragment, page, translator

router = APIRouter(include_in_schema=False)
SHOWN = 40
"""Messages that a page begins with; earlier ones come as the reader goes up."""
WORDS = ("chat", "lens")
Result = TypeVar("Result")


def install(app: FastAPI) -> None:
    app.state.answers = Answers(app.state.services, app.state.database)


def answers_of(request: Request) -> Answers:
    found: Answers = request.app.state.answers
    return found


def services_of(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


async def reading(request: Request, work: Callable[[Session], Result]) -> Result:
    database: Database = request.app.state.database

    def run() -> Result:
        with database.reading() as db:
            return work(db)

    return await run_in_threadpool(run)


async def writing(request: Request, work: Callable[[Session], Result]) -> Result:
    database: Database = request.app.state.database

    def run() -> Result:
        with database.writing() as db:
            return work(db)

    return await run_in_threadpool(run)


# ---------------------------------------------------------------------------------------------------------------------
# Pages


@router.get("/chat")
async def begin(request: Request, caller: Asker, search: Annotated[Short, Query()] = "") -> Response:
    """A new conversation, and the list of all."""
    return await chat_page(request, caller, None, search)


@router.get("/chat/{id}")
async def conversation(id: Number, request: Request, caller: Asker, search: Annotated[Short, Query()] = "") -> Response:
    found = await reading(request, lambda db: get_owned(db, Conversation, id, caller))
    return await chat_page(request, caller, found, search)


async def chat_page(request: Request, caller: Caller, conversation: Conversation | None, search: str) -> Response:
    def read(db: Session) -> dict[str, Any]:
        shown = turns(request, caller, db, conversation, None) if conversation is not None else nothing()
        return {**shown, "conversations": chats.listed(db, caller, search)}

    context = await reading(request, read)
    models = await services_of(request).backend.models()
    sampling = SamplingAsked.model_validate(conversation.sampling if conversation is not None else {})
    model = conversation.model if conversation is not None else "current"
    if not any(model in (card.id, *card.aliases) for card in models):
        model = "current"
    context |= {"conversation": conversation, "search": search, "models": models, "model": model, "sampling": sampling}
    return await run_in_threadpool(page, request, "chat/page.html", script_words=WORDS, **context)


def nothing() -> dict[str, Any]:
    return {"items": [], "older": None, "last": None}


def turns(
    request: Request, caller: Caller, db: Session, conversation: Conversation, before: int | None
) -> dict[str, Any]:
    """The last messages of the branch (or those before one of them), ready for the template."""
    branch = chats.branch(db, conversation)
    end = branch.ids.index(before) if before in branch.ids else len(branch.ids)
    ids = branch.ids[max(0, end - SHOWN) : end]
    older = ids[0] if ids and ids[0] != branch.ids[0] else None
    return {"items": items(request, caller, db, branch, ids), "older": older, "last": branch.last}


def items(request: Request, caller: Caller, db: Session, branch: Branch, ids: Sequence[int]) -> list[dict[str, Any]]:
    """For each message what its template needs; answers that were asked side by side stand in one item."""
    messages = chats.messages_of(db, ids)
    groups = [chats.neighbours(db, message) if message.beside else [message] for message in messages]
    said = chats.opinions(db, caller, [message.id for group in groups for message in group])
    live = answers_of(request).live
    made = []
    for message, group in zip(messages, groups, strict=True):
        views = []
        for one in group:
            state = "stopped" if one.state == "writing" and one.id not in live else one.state
            views.append(
                {
                    "message": one,
                    "state": state,
                    "blocks": markdown.blocks(one.text) if one.role == "assistant" else [],
                    "versions": branch.versions.get(one.id) if not one.beside else None,
                    "chosen": one.id == message.id,
                    "thumb": said.thumbs.get(one.id),
                    "verdict": said.verdicts.get(one.id),
                    "correction": said.corrections.get(one.id),
                }
            )
        made.append({"views": views, "beside": len(group) > 1})
    return made


async def render(request: Request, caller: Caller, conversation: int, ids: Sequence[int]) -> str:
    """Some messages of a conversation as a page shows them."""

    def work(db: Session) -> str:
        found = get_owned(db, Conversation, conversation, caller)
        shown = branch = chats.branch(db, found)
        if not set(ids) <= set(branch.ids):
            branch = chats.branch(db, found, leaf=ids[-1])
        made = items(request, caller, db, branch, ids)
        for view in [view for item in made for view in item["views"]]:
            view["chosen"] = view["message"].id in shown.ids
        return fragment(request, "chat/messages.html", items=made)

    return await reading(request, work)


@router.get("/web/chat/{id}/older")
async def older(id: Number, request: Request, caller: Asker, before: Annotated[int, Query(ge=1)]) -> JSONResponse:
    """Messages before one of those that are shown."""

    def work(db: Session) -> dict[str, Any]:
        shown = turns(request, caller, db, get_owned(db, Conversation, id, caller), before)
        return {"html": fragment(request, "chat/messages.html", items=shown["items"]), "older": shown["older"]}

    return JSONResponse(await reading(request, work))


@router.get("/web/chat/list")
async def listed(request: Request, caller: Asker, search: Annotated[Short, Query()] = "") -> Response:
    found = await reading(request, lambda db: chats.listed(db, caller, search))
    return Response(fragment(request, "chat/list.html", conversations=found, conversation=None), media_type="text/html")


# ---------------------------------------------------------------------------------------------------------------------
# Conversations


@router.post("/web/chat", status_code=201)
async def create(ask: Settings, request: Request, caller: Asker) -> JSONResponse:
    """A conversation without a word yet."""
    await find_model(services_of(request), caller, ask.model or "current")
    sampling = (ask.sampling or SamplingAsked.model_validate({})).model_dump()

    def work(db: Session) -> int:
        made = chats.create(db, caller, ask.model or "current", ask.system or "", sampling)
        made.consent = ask.consent if ask.consent is not None else made.consent
        return made.id

    return JSONResponse({"id": await writing(request, work)}, 201)


@router.patch("/web/chat/{id}", status_code=204)
async def change(id: Number, ask: Settings, request: Request, caller: Asker) -> None:
    if ask.model is not None:
        await find_model(services_of(request), caller, ask.model)

    def work(db: Session) -> None:
        row = get_owned(db, Conversation, id, caller)
        for name in ("pinned", "consent", "model", "system"):
            value = getattr(ask, name)
            if value is not None:
                setattr(row, name, value)
        if ask.title is not None:
            row.title = ask.title.strip()
        if ask.sampling is not None:
            row.sampling = ask.sampling.model_dump()

    await writing(request, work)


@router.delete("/web/chat/{id}", status_code=204)
async def delete(id: Number, request: Request, caller: Asker) -> None:
    """Deletes a conversation; what is still written in it ends, on branches out of sight too."""
    there = await reading(request, lambda db: chats.writing_in(db, get_owned(db, Conversation, id, caller)))
    for answer in there:
        await answers_of(request).stop(answer)
    await writing(request, lambda db: chats.remove(db, get_owned(db, Conversation, id, caller)))


@router.post("/web/chat/{id}/show", status_code=204)
async def show(id: Number, ask: Show, request: Request, caller: Asker) -> None:
    """Another version becomes the one that is shown."""
    await writing(request, lambda db: chats.show(db, get_owned(db, Conversation, id, caller), ask.message))


@router.post("/web/chat/{id}/share", status_code=201)
async def share(id: Number, request: Request, caller: Asker) -> JSONResponse:
    """A link by which anybody who has it reads what is shown now."""
    token = await writing(request, lambda db: chats.share(db, get_owned(db, Conversation, id, caller)))
    return JSONResponse({"url": f"{services_of(request).settings.address}/shared/{token}"}, 201)


@router.delete("/web/chat/{id}/share", status_code=204)
async def unshare(id: Number, request: Request, caller: Asker) -> None:
    await writing(request, lambda db: chats.unshare(db, get_owned(db, Conversation, id, caller)))


@router.get("/shared/{token}")
async def shared(token: Short, request: Request) -> Response:
    """One branch, for whoever has the link."""

    def work(db: Session) -> dict[str, Any]:
        conversation, messages = chats.shared(db, token)
        told = [(one, markdown.blocks(one.text) if one.role == "assistant" else []) for one in messages]
        return {"title": conversation.title, "messages": told}

    return page(request, "chat/shared.html", **await reading(request, work))


@router.get("/web/chat/{id}/export")
async def export(
    id: Number, request: Request, caller: Asker, form: Annotated[str, Query(pattern="^(md|json)$")] = "md"
) -> Response:
    """The branch that is shown, as a file."""
    t = translator(request)
    names = {"user": t("chat.you"), "assistant": t("chat.assistant")}

    def work(db: Session) -> str:
        row = get_owned(db, Conversation, id, caller)
        messages = chats.messages_of(db, chats.branch(db, row).ids)
        if form == "md":
            return chats.as_markdown(row, messages, names)
        said = chats.opinions(db, caller, [one.id for one in messages])
        return json.dumps(chats.as_json(row, messages, said), ensure_ascii=False, indent=2)

    kind = "text/markdown" if form == "md" else "application/json"
    headers = {"content-disposition": f'attachment; filename="conversation-{id}.{form}"'}
    return Response(await reading(request, work), media_type=f"{kind}; charset=utf-8", headers=headers)


# ---------------------------------------------------------------------------------------------------------------------
# Turns and answers


@router.post("/web/chat/{id}/turns", status_code=201)
async def say(id: Number, ask: NewTurn, request: Request, caller: Asker) -> JSONResponse:
    """A person's turn, and the answers to it, which begin to be written."""
    row = await reading(request, lambda db: get_owned(db, Conversation, id, caller))
    cards = [await find_model(services_of(request), caller, name) for name in ask.models or [row.model]]

    def work(db: Session) -> ChatMessage:
        return chats.ask(db, get_owned(db, Conversation, id, caller), ask.text, ask.parent)

    turn = await writing(request, work)
    answers = await answer(request, caller, id, turn.id, cards)
    return JSONResponse({"html": await render(request, caller, id, [turn.id, answers[0]]), "last": answers[0]}, 201)


async def answer(
    request: Request, caller: Caller, conversation: int, parent: int, cards: Sequence[ModelCard]
) -> list[int]:
    """Begins answers to a turn; their numbers. The first one's branch is shown."""

    def work(db: Session) -> tuple[Conversation, list[ChatMessage], list[ChatMessage]]:
        row = get_owned(db, Conversation, conversation, caller)
        history = chats.messages_of(db, chats.branch(db, row, leaf=parent).ids)
        made = [chats.begin_answer(db, row, parent, card.id, beside=len(cards) > 1) for card in cards]
        row.leaf = made[0].id
        return row, history, made

    row, history, made = await writing(request, work)
    prompt = chats.to_read(row.system, history)
    for card, message in zip(cards, made, strict=True):
        job = job_of(services_of(request).settings, card, prompt, row.sampling)
        answers_of(request).begin(caller, card, job, message)
    return [message.id for message in made]


@router.post("/web/messages/{id}/again", status_code=201)
async def again(id: Number, request: Request, caller: Asker) -> JSONResponse:
    """Another version of an answer, with today's model and settings."""
    old = await reading(request, lambda db: chats.answer_of(db, caller, id))
    row = await reading(request, lambda db: get_owned(db, Conversation, old.conversation, caller))
    card = await find_model(services_of(request), caller, row.model)
    assert old.parent is not None, "an answer has a question"
    made = await answer(request, caller, old.conversation, old.parent, [card])
    return JSONResponse({"html": await render(request, caller, old.conversation, made), "last": made[0]}, 201)


@router.post("/web/messages/{id}/instead", status_code=201)
async def instead(id: Number, ask: GoOn, request: Request, caller: Asker) -> JSONResponse:
    """Another version that has another token at a place and goes on from there."""
    old = await reading(request, lambda db: chats.answer_of(db, caller, id))
    card = await find_model(services_of(request), caller, old.model or "current")
    beginning = await begun_with(request, old, card, ask)
    sampling = {name: value for name, value in (old.sampling or {}).items() if name in SamplingAsked.model_fields}
    sampling["seed"] = None
    job = job_going_on(services_of(request).settings, card, beginning.prompt + beginning.tokens, sampling)

    def work(db: Session) -> ChatMessage:
        row = get_owned(db, Conversation, old.conversation, caller)
        assert old.parent is not None, "an answer has a question"
        made = chats.begin_answer(db, row, old.parent, card.id, text=plain(beginning.text))
        made.sampling, made.system = sampling, old.system
        row.leaf = made.id
        return made

    made = await writing(request, work)
    answers_of(request).begin(caller, card, job, made, beginning)
    return JSONResponse({"html": await render(request, caller, old.conversation, [made.id]), "last": made.id}, 201)


async def begun_with(request: Request, old: ChatMessage, card: ModelCard, ask: GoOn) -> Beginning:
    """What stays of an answer, and the token that is to stand there instead.

    Raises:
        ApiError: 404, there is no such place or no such alternative; 400, the answer's tokens are not known.
    """
    if old.lens is None or card.fingerprint != old.fingerprint:
        raise bad_request("The model that wrote this is not here any more.", code="model_gone")
    lens = chats.unpack(old.lens)
    shown = lens["shown"]
    if ask.place >= len(shown) or any(one[0] is None for one in shown):
        raise not_found("There is no such place in this answer.")
    choices = [shown[ask.place][:3], *shown[ask.place][3]]
    chosen = next((one for one in choices if one[0] == ask.token), None)
    if chosen is None:
        raise not_found("That token is not among the alternatives.")
    prompt, tokens = lens["prompt"], lens["tokens"]
    if not prompt:  # it was stopped: nothing was told of its prompt
        history = await reading(request, lambda db: history_of(db, old))
        prompt = await services_of(request).backend.tokenize(card.id, chats.to_read(old.system or "", history))
        tokens = [one[0] for one in shown]
    at = -1
    for one in shown[: ask.place + 1]:  # tool calls stand among the tokens, but not among those that are shown
        at = tokens.index(one[0], at + 1)
    kept = [*shown[: ask.place], [*chosen, shown[ask.place][3]]]
    beginning = Beginning(kept, [], prompt, [*tokens[:at], ask.token])
    beginning.calls = [call for call in old.calls or () if call["at"] <= len(beginning.text) and at > 0]
    return beginning


def history_of(db: Session, answer: ChatMessage) -> list[ChatMessage]:
    """The turns before an answer."""
    conversation = db.get_one(Conversation, answer.conversation)
    return chats.messages_of(db, chats.branch(db, conversation, leaf=answer.parent).ids)


@router.get("/web/messages/{id}/events")
async def events(
    id: Number, request: Request, caller: Asker, last_event_id: Annotated[str, Header(max_length=20)] = "0"
) -> Response:
    """The answer as it is written, from the version on that was seen last; then the finished message."""
    message = await reading(request, lambda db: chats.answer_of(db, caller, id))
    live = answers_of(request).live.get(id)
    seen = int(last_event_id) if last_event_id.isdigit() else 0
    ping = services_of(request).settings.ping

    async def stream() -> AsyncIterator[bytes]:
        if live is not None:
            calls = 0
            async for version in live.versions(seen, ping):
                if version is None:
                    yield PING
                    continue
                if len(live.calls) != calls or any(not call["result"] for call in live.calls):
                    calls = len(live.calls)
                    version["calls"] = fragment(request, "chat/calls.html", calls=live.calls)
                yield sse("version", version, version["id"])
        whole = await render(request, caller, message.conversation, [id])
        yield sse("done", {"html": whole})

    return StreamingResponse(stream(), media_type="text/event-stream", headers=UNBUFFERED)


def sse(name: str, content: dict[str, Any], id: int | None = None) -> bytes:
    told = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    return (
        f"event: {name}\n".encode() + (f"id: {id}\n".encode() if id is not None else b"") + b"data: " + told + b"\n\n"
    )


@router.post("/web/messages/{id}/stop", status_code=204)
async def stop(id: Number, request: Request, caller: Asker) -> None:
    """Stops the engine; what is written stays."""
    await reading(request, lambda db: chats.answer_of(db, caller, id))
    await asyncio.shield(answers_of(request).stop(id))


# ---------------------------------------------------------------------------------------------------------------------
# Opinions


@router.put("/web/messages/{id}/thumb", status_code=204)
async def thumb(id: Number, ask: Judged, request: Request, caller: Asker) -> None:
    await writing(
        request, lambda db: chats.judge(db, chats.answer_of(db, caller, id), ask.good, ask.reason, ask.comment)
    )


@router.put("/web/messages/{id}/verdict", status_code=204)
async def verdict(id: Number, ask: Compared, request: Request, caller: Asker) -> None:
    """Better, worse or the same as the version before."""
    await writing(request, lambda db: chats.compare(db, chats.answer_of(db, caller, id), ask.verdict))


@router.put("/web/messages/{id}/correction")
async def correction(id: Number, ask: Corrected, request: Request, caller: Asker) -> JSONResponse:
    """What the answer should have been."""
    message = await reading(request, lambda db: chats.answer_of(db, caller, id))
    await writing(request, lambda db: chats.correct(db, chats.answer_of(db, caller, id), ask.text))
    return JSONResponse({"html": await render(request, caller, message.conversation, [id])})
