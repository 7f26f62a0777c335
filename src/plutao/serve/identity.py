"""Who is calling: an API key or a signed-in browser becomes a Caller, and every route says which callers it lets in."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from plutao.serve import keys, sessions
from plutao.serve.database import Database
from plutao.serve.errors import forbidden, not_found, unauthenticated
from plutao.serve.roles import ROLES, SCOPES, Role, Scope, scopes_of
from plutao.serve.tables.base import now
from plutao.serve.tables.keys import ApiKey

__all__ = [
    "ROLES",
    "SCOPES",
    "Caller",
    "Role",
    "Scope",
    "caller_of",
    "get_owned",
    "in_person",
    "require",
    "same_origin",
]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FORM_TOKEN = "form_token"
FORM_HEADER = "X-Form-Token"

Row = TypeVar("Row")


@dataclass(frozen=True)
class Caller:
    """Somebody whose identity is sure.

    Attributes:
        account: number of the account.
        key: number of the API key; None for a signed-in browser.
        scopes: what the key may be used for; a browser session has all that its role has.
        models: ids of the models it may use; None: all.
        consent: answers may be kept, to be replayed and learned from.
    """

    account: int
    role: Role
    key: int | None
    scopes: frozenset[str]
    models: frozenset[str] | None = None
    consent: bool = False

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


# ---------------------------------------------------------------------------------------------------------------------
# Finding out who


async def caller_of(request: Request) -> Caller:
    """FastAPI dependency: the caller, whatever they may do.

    A key is taken from `Authorization: Bearer` or `x-api-key`; what it may do is decided afterwards, the same for both.
    Under /v1 a cookie says nothing: programs show keys. Elsewhere a browser's session counts too; what it changes must
    come from our own pages.

    Raises:
        ApiError: 401, nobody is known by what was sent; 403, the request of a browser comes from another site.
    """
    database: Database = request.app.state.database
    key = key_of(request)
    cookie = request.cookies.get(sessions.COOKIE)
    if key is not None:
        caller = await run_in_threadpool(by_key, database, key)
        if caller is None:
            raise unauthenticated("This API key is not known, was revoked, or has expired.")
    elif cookie and not request.url.path.startswith("/v1/"):
        caller = await run_in_threadpool(by_session, database, cookie)
        if caller is None:
            raise unauthenticated("You are signed out: sign in again.", "signed_out")
        await check_origin(request, cookie)
    else:
        raise unauthenticated("No API key was sent: put it in the header `Authorization: Bearer sk-…`.")
    request.state.caller = caller
    return caller


def key_of(request: Request) -> str | None:
    """The API key that was sent; an `Authorization` that is none is a wrong one, and no cookie stands in for it."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""
    return request.headers.get("x-api-key")


def by_key(database: Database, key: str) -> Caller | None:
    with database.reading() as db:
        found = keys.find(db, key)
        if found is None:
            return None
        row, account = found
    if row.last_used is None or row.last_used < now() - sessions.NOTICED:
        with database.writing() as db:
            db.get_one(ApiKey, row.id).last_used = now()
    models = None if row.models is None else frozenset(row.models)
    role: Any = account.role
    return Caller(account.id, role, row.id, keys.rights_of(row, role), models, row.consent)


def by_session(database: Database, token: str) -> Caller | None:
    with database.reading() as db:
        found = sessions.find(db, token)
        if found is None:
            return None
        session, account = found
    if session.seen < now() - sessions.NOTICED:
        with database.writing() as db:
            sessions.notice(db, session.id)
    role: Any = account.role
    return Caller(account.id, role, None, scopes_of(role), None, account.consent)


# ---------------------------------------------------------------------------------------------------------------------
# Requests from other sites


def same_origin(request: Request) -> None:
    """FastAPI dependency for what a browser sends before it is signed in: refuses what another site's page sent.

    Raises:
        ApiError: 403.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise forbidden("This request comes from another site.", "cross_site")
    if origin is not None and urlsplit(origin).netloc not in own_hosts(request):
        raise forbidden("This request comes from another site.", "cross_site")


def own_hosts(request: Request) -> set[str]:
    """The names under which browsers know us."""
    public = getattr(getattr(request.app.state, "settings", None), "public_url", None)
    return {urlsplit(public).netloc} if public else {request.headers.get("host", "")}


async def check_origin(request: Request, cookie: str) -> None:
    """What a browser's session changes must be sent by our own page: by where it says it comes from, and by the token
    that only our pages can read.
    """
    if request.method in SAFE:
        return
    same_origin(request)
    sent = request.headers.get(FORM_HEADER)
    if sent is None and request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        field = (await request.form()).get(FORM_TOKEN)
        sent = field if isinstance(field, str) else None
    if sent is None or not hmac.compare_digest(sent.encode(), sessions.form_token(cookie).encode()):
        raise forbidden("The page is out of date: load it again.", "form_token")


# ---------------------------------------------------------------------------------------------------------------------
# What they may do


def require(*roles: Role, scope: Scope | None = None) -> Callable[[Caller], Awaitable[Caller]]:
    """A FastAPI dependency that lets in callers of these roles (none named: all roles) who have the scope."""

    async def check(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if roles and caller.role not in roles:
            raise forbidden(f"This is for the role {' or '.join(roles)}; yours is {caller.role}.", "role")
        if scope is not None and scope not in caller.scopes:
            what = "This key has" if caller.key is not None else f"A {caller.role} has"
            raise forbidden(f"{what} no scope {scope!r}.", "scope")
        return caller

    return check


async def in_person(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    """A FastAPI dependency for what a person does with their own account: a key that leaked must not do it.

    Raises:
        ApiError: 403, it is a key, and none that may administer.
    """
    if caller.key is not None and "admin" not in caller.scopes:
        raise forbidden("This is done signed in, not with an API key.", "session")
    return caller


def get_owned(db: Session, table: type[Row], number: Any, caller: Caller, *, owners_too: bool = False) -> Row:
    """A row that belongs to the caller: the one way by which routes reach a person's things.

    Args:
        table: with a column `account`.
        owners_too: the service's owners may reach it as well, with a key or session that may administer.

    Raises:
        ApiError: 404, there is none, or it is somebody else's: which of the two is not told.
    """
    row: Row | None = db.get(table, number)
    if row is not None:
        mine = getattr(row, "account") == caller.account  # noqa: B009 – every such table has it
        if mine or (owners_too and caller.role == "owner" and "admin" in caller.scopes):
            return row
    raise not_found(f"There is no {getattr(table, '__tablename__', 'such thing').removesuffix('s')} {number}.")
