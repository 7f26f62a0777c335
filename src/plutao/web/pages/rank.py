"""Ranking: answers of the present model put in order, blind; and writing a prompt with its ideal answer."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from plutao.assistant.labelling import Prompt
from plutao.errors import UserError
from plutao.evaluate.agreement import Agreement
from plutao.serve import drawing, judgements
from plutao.serve.answering import Services, find_model
from plutao.serve.api.asking import Serving
from plutao.serve.api.common import Kept, Number
from plutao.serve.backend.contract import ModelCard
from plutao.serve.database import Database
from plutao.serve.errors import ApiError
from plutao.serve.identity import Caller
from plutao.serve.judgements import LONGEST, Shown
from plutao.serve.tables.judgements import Sheet
from plutao.web.people import Reader
from plutao.web.templating import in_words, language_of, page, translator

router = APIRouter(include_in_schema=False)
AHEAD = 2
"""Sheets that wait for a person, so that nobody waits for a sheet."""
GOAL = 10
"""Rankings of a first sitting: what the tutorial asks for."""
Text = Annotated[str, Form(max_length=LONGEST + 1)]


@router.get("/rank")
async def show(
    request: Request,
    caller: Reader,
    database: Kept,
    services: Serving,
    sheet: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> Response:
    """The next sheet; where none waits, a page that draws one."""
    card, problem = await present_model(services, caller)
    shown = await run_in_threadpool(choose, database, caller.account, card, sheet) if card else None
    return await run_in_threadpool(rank_page, request, database, caller, shown, card, problem)


async def present_model(services: Services, caller: Caller) -> tuple[ModelCard | None, str]:
    """The current model, or why there is none."""
    try:
        return await find_model(services, caller, "current"), ""
    except ApiError as error:
        return None, error.message


def choose(database: Database, account: int, card: ModelCard, number: int | None) -> Shown | None:
    """The sheet that was asked for by its number while it waits for this person, else the next one."""
    with database.reading() as db:
        if number is not None:
            for one in judgements.waiting_for(db, account, card.fingerprint):
                if one.id == number:
                    return judgements.shown_to(one, account)
        return judgements.next_sheet(db, account, card.fingerprint)


def rank_page(
    request: Request,
    database: Database,
    caller: Caller,
    shown: Shown | None,
    card: ModelCard | None,
    problem: str = "",
    status: int = 200,
) -> Response:
    with database.reading() as db:
        progress = judgements.progress(db, caller.account)
        own = judgements.with_themselves(db, caller.account)
        between = [one for one in judgements.between_people(db) if caller.role == "owner" or mine(one, caller)]
        names = judgements.names_of(db, [int(label.removeprefix("person-")) for a in between for label in a.labellers])
    return page(
        request, "rank/rank.html", status,
        shown=shown, card=card, problem=problem, progress=progress, own=own, goal=GOAL,
        between=[(named(one, names), one) for one in between[:20]], script_words=("rank",),
    )  # fmt: skip


def mine(one: Agreement, caller: Caller) -> bool:
    return f"person-{caller.account}" in one.labellers


def named(one: Agreement, names: dict[int, str]) -> str:
    return " · ".join(names.get(int(label.removeprefix("person-")), label) for label in one.labellers)


@router.post("/rank/draw")
async def draw(
    request: Request, caller: Reader, database: Kept, services: Serving, prompt: Text = "", language: Text = ""
) -> Response:
    """Has the model answer the next prompt of the project, or one that the reader wrote."""
    card, problem = await present_model(services, caller)
    try:
        if card is None:
            raise UserError(problem)
        sheet = await drawn(request, caller, database, services, card, prompt, language)
    except (UserError, ApiError) as error:
        return await run_in_threadpool(rank_page, request, database, caller, None, None, in_words(request, error), 400)
    return RedirectResponse(f"/rank?sheet={sheet.id}", 303)


async def drawn(
    request: Request,
    caller: Caller,
    database: Database,
    services: Services,
    card: ModelCard,
    prompt: str,
    language: str,
) -> Sheet:
    """Raises UserError where there is no prompt left, or all answers are alike."""
    t = translator(request)
    if not prompt.strip():
        sheet = await drawing.draw_next(services, database, caller, card)
        if sheet is None:
            raise UserError(t("rank.no_prompts"))
        return sheet
    asked = Prompt(judgements.said(drawing.storable(prompt)), spoken(request, language))
    sheet = await drawing.draw(services, database, caller, card, asked, own=True)
    if sheet is None:
        raise UserError(t("rank.alike"))
    return sheet


def spoken(request: Request, language: str) -> str:
    """The language of a prompt: as it was chosen, else that of the pages."""
    return language if language in ("pt", "en") else language_of(request)


@router.post("/web/rank/ahead")
async def draw_ahead(caller: Reader, database: Kept, services: Serving) -> Response:
    """Draws a sheet while the reader is busy with another one."""
    card, _ = await present_model(services, caller)
    if card is None:
        return JSONResponse({"waiting": 0})

    def waiting() -> int:
        with database.reading() as db:
            return len(judgements.waiting_for(db, caller.account, card.fingerprint))

    count = await run_in_threadpool(waiting)
    if count < AHEAD and await drawing.draw_next(services, database, caller, card) is not None:
        count += 1
    return JSONResponse({"waiting": count})


@router.post("/rank/{id}")
async def judge(id: Number, request: Request, caller: Reader, database: Kept) -> Response:
    """Keeps an order, or that the reader can't tell, or a complaint."""
    form = await request.form()
    given = {key: value for key, value in form.items() if isinstance(value, str)}
    action = given.get("action", "rank")

    def keep() -> None:
        with database.writing() as db:
            if action in ("skip", "flag"):
                judgements.set_aside(db, caller.account, id, action, drawing.storable(given.get("reason", "")))
            else:
                ranks = read_ranks(given, len(judgements.find_sheet(db, id).answers))
                judgements.rank(db, caller.account, id, ranks, drawing.storable(given.get("correction", ""))[:LONGEST])

    await run_in_threadpool(keep)
    return RedirectResponse("/rank", 303)


def read_ranks(given: dict[str, str], count: int) -> dict[int, int]:
    """Place in the sheet → rank, from fields rank-0, rank-1, …; what is missing is left out."""
    fields = {place: given.get(f"rank-{place}", "") for place in range(count)}
    return {place: int(text) for place, text in fields.items() if text.isascii() and text.isdecimal() and len(text) < 4}


@router.post("/rank-back")
def take_back(caller: Reader, database: Kept) -> Response:
    """The reader wants to change what they gave last."""
    with database.writing() as db:
        sheet = judgements.take_back(db, caller.account)
    return RedirectResponse(f"/rank?sheet={sheet}" if sheet else "/rank", 303)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


@router.get("/write")
async def show_write(
    request: Request, caller: Reader, database: Kept, services: Serving, suggest: bool = False
) -> Response:
    """A prompt and its ideal answer; `suggest` puts a prompt of the project there."""
    prompt: Prompt | None = None
    card, _ = await present_model(services, caller) if suggest else (None, "")
    if card is not None:
        found = await run_in_threadpool(suggested, database, services, card, caller.account)
        prompt = found[0] if found else None
    asked = prompt.messages[-1].content if prompt else ""
    return write_page(request, database, caller, asked, "", prompt.language if prompt else None)


def suggested(database: Database, services: Services, card: ModelCard, account: int) -> Sequence[Prompt]:
    with database.reading() as db:
        written = judgements.written_by(db, account)
    return drawing.fresh_prompts(services.settings.root, card.folder, written, 1)


def write_page(
    request: Request,
    database: Database,
    caller: Caller,
    prompt: str = "",
    answer: str = "",
    language: str | None = None,
    problem: str = "",
    said: bool = False,
) -> Response:
    with database.reading() as db:
        progress = judgements.progress(db, caller.account)
    return page(
        request, "rank/write.html", 400 if problem else 200,
        prompt=prompt, answer=answer, spoken=language or language_of(request), problem=problem, said=said,
        progress=progress,
    )  # fmt: skip


@router.post("/write")
def write(
    request: Request, caller: Reader, database: Kept, prompt: Text = "", answer: Text = "", language: Text = ""
) -> Response:
    language = spoken(request, language)
    try:
        with database.writing() as db:
            asked = judgements.said(drawing.storable(prompt))
            judgements.demonstrate(db, caller.account, asked, drawing.storable(answer), language)
    except UserError as error:
        return write_page(request, database, caller, prompt, answer, language, str(error))
    return write_page(request, database, caller, language=language, said=True)
