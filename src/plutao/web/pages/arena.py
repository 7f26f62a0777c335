"""The arena: two anonymous models answer one prompt; the vote; then their names, and the table."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from plutao.errors import UserError
from plutao.serve import arena, drawing, judgements
from plutao.serve.answering import Services
from plutao.serve.api.asking import Serving
from plutao.serve.api.common import Kept, Number
from plutao.serve.backend.contract import EngineFailed, ModelCard
from plutao.serve.database import Database
from plutao.serve.errors import ApiError
from plutao.serve.identity import Caller, get_owned
from plutao.serve.tables.judgements import Battle
from plutao.text.chat import Messages
from plutao.web.pages.rank import Text, spoken
from plutao.web.people import Reader
from plutao.web.templating import in_words, page, translator

router = APIRouter(include_in_schema=False)
ATTEMPTS = 6
"""Prompts to which both models say the same before it is said that there is nothing to choose between."""


@router.get("/arena")
async def show(
    request: Request,
    caller: Reader,
    database: Kept,
    services: Serving,
    language: Annotated[str | None, Query(max_length=5)] = None,
) -> Response:
    models = await fighters(services, caller)
    return await run_in_threadpool(arena_page, request, database, len(models), language)


async def fighters(services: Services, caller: Caller) -> list[ModelCard]:
    """The models that talk and that the caller may use, each weights once: the current one, and the newest first."""
    try:
        cards = await services.backend.models()
    except EngineFailed:
        return []
    talking = [card for card in cards if card.chats and caller.may_use(card.id)]
    talking.sort(key=lambda card: (not card.aliases, -card.created))
    return list({card.fingerprint: card for card in reversed(talking)}.values())[::-1]


def arena_page(
    request: Request, database: Database, models: int, language: str | None = None, problem: str = "", prompt: str = ""
) -> Response:
    language = language if language in ("pt", "en") else None
    with database.reading() as db:
        table = arena.standings(db, language)
    return page(
        request, "arena/arena.html", 400 if problem else 200,
        models=models, table=table, chosen=language, problem=problem, prompt=prompt, scale=scale_of(table), few=arena.FEW,
        script_words=("rank",),
    )  # fmt: skip


def scale_of(table: arena.Standings) -> tuple[float, float]:
    """The points at the left and the right end of the figure."""
    ends = [end for rating in table.ratings.values() for end in (rating.low, rating.high)]
    return (min(ends), max(max(ends), min(ends) + 1)) if ends else (0.0, 1.0)


@router.post("/arena")
async def begin(
    request: Request, caller: Reader, database: Kept, services: Serving, prompt: Text = "", language: Text = ""
) -> Response:
    """Has two models answer a prompt: the reader's own, or one of the project."""
    cards = await fighters(services, caller)
    try:
        battle = await matched(request, caller, database, services, cards, prompt, language)
    except (UserError, ApiError) as error:
        return await run_in_threadpool(
            arena_page, request, database, len(cards), None, in_words(request, error), prompt
        )
    return RedirectResponse(f"/arena/{battle}", 303)


async def matched(
    request: Request,
    caller: Caller,
    database: Database,
    services: Services,
    cards: list[ModelCard],
    prompt: str,
    language: str,
) -> int:
    """The number of a new battle; raises UserError where both models say the same."""

    def votes() -> dict[frozenset[str], int]:
        with database.reading() as db:
            return arena.votes_by_pair(db)

    named = {card.id: card for card in cards}
    left, right = arena.choose_pair(list(named), await run_in_threadpool(votes), arena.lot())
    pair = (named[left], named[right])
    for messages, spoken_in in await asked(request, database, caller, services, cards, prompt, language):
        answers = await drawing.two_answers(services, caller, pair, messages)
        if answers[0] != answers[1] and all(answers):
            return await run_in_threadpool(keep, database, caller, messages, spoken_in, (left, right), answers)
    raise UserError(translator(request)("arena.alike"))


async def asked(
    request: Request,
    database: Database,
    caller: Caller,
    services: Services,
    cards: list[ModelCard],
    prompt: str,
    language: str,
) -> list[tuple[Messages, str | None]]:
    """What to ask: the reader's prompt, else some of the project's that they have not voted on."""
    if prompt.strip():
        return [(judgements.said(drawing.storable(prompt)), spoken(request, language))]

    def fresh() -> list[tuple[Messages, str | None]]:
        with database.reading() as db:
            met = arena.prompts_of(db, caller.account)
        found = drawing.fresh_prompts(services.settings.root, cards[0].folder, met, 200)
        found = [one for one in found if language not in ("pt", "en") or one.language == language] or found
        return [(one.messages, one.language) for one in arena.lot().sample(found, min(ATTEMPTS, len(found)))]

    found = await run_in_threadpool(fresh)
    if not found:
        raise UserError(translator(request)("rank.no_prompts"))
    return found


def keep(
    database: Database,
    caller: Caller,
    messages: Messages,
    language: str | None,
    models: tuple[str, str],
    answers: tuple[str, str],
) -> int:
    with database.writing() as db:
        return arena.begin(db, caller.account, messages, language, (models[0], answers[0]), (models[1], answers[1])).id


@router.get("/arena/{id}")
def show_battle(id: Number, request: Request, caller: Reader, database: Kept) -> Response:
    """Two answers; the models' names stand there once the reader has voted."""
    with database.reading() as db:
        battle = get_owned(db, Battle, id, caller)
        table = arena.standings(db) if battle.vote else None
    return page(request, "arena/battle.html", battle=battle, table=table, script_words=("rank",))


@router.post("/arena/{id}/vote")
def vote(id: Number, caller: Reader, database: Kept, choice: Annotated[str, Form(max_length=20)]) -> Response:
    with database.writing() as db:
        arena.vote(db, get_owned(db, Battle, id, caller), choice)
    return RedirectResponse(f"/arena/{id}", 303)
