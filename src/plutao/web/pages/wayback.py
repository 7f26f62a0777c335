"""The way back, for the owner: what people gave, a training with it, the comparison with today's model, and its promotion."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from plutao import project as projects
from plutao.assistant.feedback import Feedback, Handling
from plutao.errors import UserError
from plutao.serve import jobs, wayback
from plutao.serve.api.common import Kept, Number, by_of, root_of
from plutao.serve.database import Database
from plutao.web.people import OwnerReader
from plutao.web.templating import fragment, in_words, page

router = APIRouter(include_in_schema=False)
SHOWN = 50
"""Findings of personal data on the page at most."""


@router.get("/feedback")
def show(
    request: Request,
    caller: OwnerReader,
    database: Kept,
    handling: Annotated[Literal["leave_out", "mask"], Query()] = "leave_out",
) -> Response:
    return feedback_page(request, database, handling)


def feedback_page(request: Request, database: Database, handling: Handling, problem: str = "") -> Response:
    with database.reading() as db:
        found = wayback.everything(db, handling)
    return page(
        request, "wayback/page.html", 400 if problem else 200,
        found=found, handling=handling, problem=problem, findings=findings_of(found),
        **now_of(request, database), script_words=("wayback",),
    )  # fmt: skip


def findings_of(found: Feedback) -> list[Any]:
    return found.findings[:SHOWN]


def now_of(request: Request, database: Database) -> dict[str, Any]:
    """What changes while a training runs."""
    root = root_of(request)
    steps = wayback.steps(database, root)
    running = next((one for one in steps if one.job is not None and one.job.state == "running"), None)
    log = jobs.log_of(root, running.job.id) if running is not None and running.job is not None else ""
    try:
        current = projects.current_run(root)
    except UserError:
        current = ""
    return {
        "steps": steps,
        "current": current,
        "busy": jobs.at_work(database, root) is not None,
        "log": "\n".join(log.splitlines()[-12:]),
        "moving": running is not None or any(one.measuring for one in steps),
    }


@router.get("/web/feedback/now")
def now(request: Request, caller: OwnerReader, database: Kept) -> Response:
    """The trainings as they stand, for the page to show without being loaded again."""
    return Response(fragment(request, "wayback/steps.html", **now_of(request, database)), media_type="text/html")


@router.post("/feedback/train")
def train(
    request: Request,
    caller: OwnerReader,
    database: Kept,
    handling: Annotated[Literal["leave_out", "mask"], Form()] = "leave_out",
) -> Response:
    """Makes the data set and begins a run with it."""
    try:
        wayback.train(database, root_of(request), by_of(request, caller), handling)
    except UserError as error:
        return feedback_page(request, database, handling, in_words(request, error))
    return RedirectResponse("/feedback#trainings", 303)


@router.post("/feedback/{id}/promote")
def promote(id: Number, request: Request, caller: OwnerReader, database: Kept) -> Response:
    """The new run becomes the one that people talk to."""
    wayback.make_current(database, root_of(request), id, by_of(request, caller))
    return RedirectResponse("/feedback#trainings", 303)


@router.post("/feedback/{id}/back")
def back(id: Number, request: Request, caller: OwnerReader, database: Kept) -> Response:
    """People talk to the run before it again."""
    wayback.make_current(database, root_of(request), id, by_of(request, caller), back=True)
    return RedirectResponse("/feedback#trainings", 303)
