"""Who is looking at a page: a signed-in browser; everybody else is sent to sign in, with a way back."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from plutao.serve import sessions
from plutao.serve.database import Database
from plutao.serve.errors import ApiError, forbidden, unauthenticated
from plutao.serve.identity import SAFE, Caller, caller_of, key_of
from plutao.serve.roles import Role
from plutao.serve.tables.accounts import Account


class SignInFirst(Exception):
    """Nobody is signed in: the page to be shown afterwards."""

    def __init__(self, back: str) -> None:
        super().__init__(back)
        self.address = f"/sign-in?back={quote(back, safe='/')}"


async def reader_of(request: Request) -> Caller:
    """FastAPI dependency: the signed-in reader; their account is in `request.state.account` for the templates.

    Raises:
        SignInFirst: nobody is signed in, and a page was asked for.
        ApiError: 401, nobody is signed in, and it was a script that asked; 403, another site's page sent it.
    """
    try:
        if key_of(request) is not None or not request.cookies.get(sessions.COOKIE):
            raise unauthenticated("You are signed out: sign in again.", "signed_out")
        caller = await caller_of(request)
    except ApiError as error:
        if error.status == 401 and request.method in SAFE and not request.url.path.startswith("/web/"):
            back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            raise SignInFirst(back) from error
        raise
    database: Database = request.app.state.database

    def read() -> Account:
        with database.reading() as db:
            return db.get_one(Account, caller.account)

    request.state.account = await run_in_threadpool(read)
    return caller


def readers(*roles: Role) -> Callable[[Caller], Awaitable[Caller]]:
    """A FastAPI dependency that lets in signed-in readers of these roles (none named: all)."""

    async def check(caller: Annotated[Caller, Depends(reader_of)]) -> Caller:
        if roles and caller.role not in roles:
            raise forbidden(f"This is for the role {' or '.join(roles)}; yours is {caller.role}.", "role")
        return caller

    return check


Reader = Annotated[Caller, Depends(readers())]
"""Anybody who is signed in."""
Asker = Annotated[Caller, Depends(readers("owner", "member"))]
"""Those who may have answers written."""
OwnerReader = Annotated[Caller, Depends(readers("owner"))]
