"""Signed-in browsers. A cookie holds 256 random bits; the database holds their digest, and can end any session at once."""

import hashlib
from dataclasses import dataclass

from fastapi import Request, Response
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from plutao.serve.secrets import digest, new_token
from plutao.serve.tables.accounts import Account, BrowserSession
from plutao.serve.tables.base import now

COOKIE = "plutao_session"
IDLE = 14 * 24 * 3600
LONGEST = 60 * 24 * 3600
NOTICED = 5 * 60
"""Seconds between two notes that a session is in use."""


@dataclass(frozen=True)
class Visitor:
    """Where a request comes from: the browser's own words and its network address."""

    browser: str = ""
    address: str = ""


def visitor_of(request: Request) -> Visitor:
    address = request.client.host if request.client else ""
    return Visitor(request.headers.get("user-agent", "")[:200], address[:200])


def begin(db: Session, account: int, visitor: Visitor, replaces: str | None = None) -> str:
    """A new session; what the browser had before ends, so that a session planted in it is worth nothing.

    Returns:
        The token for the cookie.
    """
    if replaces:
        end(db, replaces)
    token, present = new_token(), now()
    db.add(
        BrowserSession(
            token=digest(token),
            account=account,
            created=present,
            seen=present,
            expires=present + IDLE,
            browser=visitor.browser,
            address=visitor.address,
        )
    )
    return token


def find(db: Session, token: str) -> tuple[BrowserSession, Account] | None:
    """A session that is alive, and whose it is."""
    query = (
        select(BrowserSession, Account)
        .join(Account, Account.id == BrowserSession.account)
        .where(BrowserSession.token == digest(token), BrowserSession.expires > now(), Account.disabled.is_(None))
    )
    found = db.execute(query).one_or_none()
    return None if found is None else (found[0], found[1])


def notice(db: Session, session: int) -> None:
    """The session is in use: it lives on, up to its greatest age."""
    row = db.get(BrowserSession, session)
    if row is not None:
        row.seen = now()
        row.expires = min(row.seen + IDLE, row.created + LONGEST)


def end(db: Session, token: str) -> None:
    db.execute(delete(BrowserSession).where(BrowserSession.token == digest(token)))


def end_all(db: Session, account: int) -> None:
    """Signs an account out everywhere."""
    db.execute(delete(BrowserSession).where(BrowserSession.account == account))


def forget_old(db: Session) -> None:
    """Takes away what counts no more."""
    db.execute(delete(BrowserSession).where(BrowserSession.expires <= now()))


def form_token(token: str) -> str:
    """What a form of this session must carry: another site can't read it."""
    return hashlib.sha256(f"form {token}".encode()).hexdigest()


def put_cookie(request: Request, response: Response, token: str) -> None:
    """Not for scripts, not sent from other sites' forms, only over https where that is how we are reached."""
    response.set_cookie(
        COOKIE, token, max_age=LONGEST, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/"
    )


def take_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/")
