"""Signing in and out, one-time links, a person's own account, and the language and look of the pages."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from starlette.responses import Response

from plutao.errors import UserError
from plutao.serve import accounts, sessions, wayback
from plutao.serve.accounts import SignedIn
from plutao.serve.api.common import Kept, Number, Password, Short, by_of, root_of
from plutao.serve.api.own import prove
from plutao.serve.errors import ApiError
from plutao.serve.identity import Caller, get_owned, same_origin
from plutao.serve.secrets import digest
from plutao.serve.sessions import visitor_of
from plutao.serve.tables.accounts import Account, BrowserSession
from plutao.serve.tables.base import now
from plutao.web.people import Reader
from plutao.web.templating import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, in_words, page, translator, way_back
from plutao.web.words import LANGUAGES

router = APIRouter(include_in_schema=False)
OwnPage = Depends(same_origin)
YEAR = 365 * 24 * 3600
REFUSALS = {
    "wrong_password": "people.wrong_password",
    "rate_limit_exceeded": "people.too_often",
    "link": "people.old_link",
}
"""Codes of refusals for which these pages have words of their own."""


@router.get("/")
async def home(caller: Reader) -> Response:
    return RedirectResponse("/chat" if caller.role != "labeller" else "/rank", 303)


@router.post("/preferences", dependencies=[OwnPage])
def prefer(
    request: Request,
    back: Annotated[Short, Form()] = "/",
    language: Annotated[str, Form()] = "",
    theme: Annotated[str, Form()] = "",
) -> Response:
    """Remembers a choice in this browser."""
    response = RedirectResponse(way_back(back), 303)
    secure = request.url.scheme == "https"
    if language in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR, samesite="lax", secure=secure, httponly=True)
    if theme in THEMES:
        response.set_cookie(THEME_COOKIE, theme, max_age=YEAR, samesite="lax", secure=secure, httponly=True)
    elif theme == "system":
        response.delete_cookie(THEME_COOKIE)
    return response


# ---------------------------------------------------------------------------------------------------------------------
# In and out


@router.get("/sign-in")
def show_sign_in(request: Request, back: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    return sign_in_page(request, back)


@router.post("/sign-in", dependencies=[OwnPage])
def sign_in(
    request: Request,
    database: Kept,
    email: Annotated[Short, Form()],
    password: Annotated[Password, Form()],
    back: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    old = request.cookies.get(sessions.COOKIE)
    try:
        begun = accounts.sign_in(database, email, password, visitor_of(request), replaces=old)
    except ApiError as error:
        return sign_in_page(request, back, explain(request, error), email, error.status)
    return let_in(request, begun, way_back(back))


def sign_in_page(request: Request, back: str, problem: str = "", email: str = "", status: int = 200) -> Response:
    settings = request.app.state.settings
    return page(
        request,
        "people/sign_in.html",
        status,
        back=way_back(back),
        problem=problem,
        email=email,
        provider=settings.oidc_issuer,
    )


def let_in(request: Request, begun: SignedIn, to: str) -> Response:
    response = RedirectResponse(to, 303)
    sessions.put_cookie(request, response, begun.token)
    return response


@router.post("/sign-out")
def sign_out(request: Request, caller: Reader, database: Kept) -> Response:
    with database.writing() as db:
        sessions.end(db, request.cookies.get(sessions.COOKIE, ""))
    response = RedirectResponse("/sign-in", 303)
    sessions.take_cookie(response)
    return response


@router.get("/setup")
def show_link(request: Request, token: Annotated[Short, Query()], database: Kept) -> Response:
    return link_page(request, database, token)


@router.post("/setup", dependencies=[OwnPage])
def follow_link(
    request: Request,
    database: Kept,
    token: Annotated[Short, Form()],
    password: Annotated[Password, Form()],
    email: Annotated[Short, Form()] = "",
    name: Annotated[Short, Form()] = "",
) -> Response:
    """Makes the owner's account, or sets a password; then signs in."""
    try:
        with database.writing() as db:
            begun = accounts.use_link(db, token, password, visitor_of(request), email, name)
    except (UserError, ApiError) as error:
        return link_page(request, database, token, explain(request, error), email, name)
    return let_in(request, begun, "/")


def link_page(
    request: Request, database: Kept, token: str, problem: str = "", email: str = "", name: str = ""
) -> Response:
    with database.reading() as db:
        link = accounts.find_link(db, token)
    if link is None:
        return page(request, "people/old_link.html", 401)
    status = 400 if problem else 200
    context = {"token": token, "purpose": link.purpose, "problem": problem, "email": email, "name": name}
    return page(request, "people/set_up.html", status, **context)


def explain(request: Request, error: UserError | ApiError) -> str:
    """A refusal in the reader's language, where we have it."""
    key = REFUSALS.get(error.code or "") if isinstance(error, ApiError) else None
    return translator(request)(key) if key else in_words(request, error)


# ---------------------------------------------------------------------------------------------------------------------
# One's own account


@router.get("/account")
def account(request: Request, caller: Reader, database: Kept) -> Response:
    return account_page(request, caller, database)


def account_page(
    request: Request, caller: Caller, database: Kept, said: str = "", problem: str = "", status: int = 200
) -> Response:
    this = digest(request.cookies.get(sessions.COOKIE, ""))
    query = select(BrowserSession).where(BrowserSession.account == caller.account, BrowserSession.expires > now())
    with database.reading() as db:
        devices = db.scalars(query.order_by(BrowserSession.seen.desc())).all()
        request.state.account = db.get_one(Account, caller.account)
    context = {"devices": devices, "this": this, "said": said, "problem": problem}
    return page(request, "people/account.html", status, **context)


@router.post("/account/password")
def change_password(
    request: Request,
    caller: Reader,
    database: Kept,
    new: Annotated[Password, Form()],
    old: Annotated[Password, Form()] = "",
) -> Response:
    """Signs out everywhere, and in again here."""
    try:
        prove(request, caller.account, old)
        with database.writing() as db:
            row = db.get_one(Account, caller.account)
            accounts.set_password(db, row, new, by_of(request, caller))
            begun = SignedIn(row, accounts.begin_session(db, row, visitor_of(request)))
    except (UserError, ApiError) as error:
        return account_page(request, caller, database, problem=explain(request, error), status=400)
    return let_in(request, begun, "/account")


@router.post("/account/consent")
def consent(request: Request, caller: Reader, database: Kept, consent: Annotated[bool, Form()] = False) -> Response:
    """What new conversations begin with; each has a switch of its own."""
    with database.writing() as db:
        row = db.get_one(Account, caller.account)
        row.consent = consent
        accounts.record(db, by_of(request, caller), "account.consent", row, consent=consent)
    return RedirectResponse("/account", 303)


@router.post("/account/devices/{id}")
def sign_device_out(id: Number, caller: Reader, database: Kept) -> Response:
    with database.writing() as db:
        db.delete(get_owned(db, BrowserSession, id, caller))
    return RedirectResponse("/account", 303)


@router.post("/account/forget")
def forget(request: Request, caller: Reader, database: Kept, password: Annotated[Password, Form()] = "") -> Response:
    """Takes away all that is personal, for good."""
    try:
        account = prove(request, caller.account, password)
        wayback.forget(database, root_of(request), account, by_of(request, caller))
    except (UserError, ApiError) as error:
        return account_page(request, caller, database, problem=explain(request, error), status=400)
    response = RedirectResponse("/sign-in", 303)
    sessions.take_cookie(response)
    return response
