"""What a person does with their own account: devices, password, consent, and their data, to take along or to take away."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy import select
from starlette.responses import JSONResponse

from plutao.serve import accounts, audit, sessions, throttle, wayback
from plutao.serve.accounts import SignedIn
from plutao.serve.api.common import DENIALS, Asked, Kept, Number, Password, Person, by_of, root_of
from plutao.serve.api.sign_in import Me, me, welcome
from plutao.serve.errors import ApiError
from plutao.serve.identity import get_owned
from plutao.serve.passwords import passwords
from plutao.serve.secrets import digest
from plutao.serve.sessions import visitor_of
from plutao.serve.tables.accounts import Account, BrowserSession
from plutao.serve.tables.base import now

router = APIRouter(prefix="/api/me", tags=["people"], responses=DENIALS)


class Device(BaseModel):
    id: int
    browser: str
    address: str
    created: int
    seen: int
    this: bool


class Devices(BaseModel):
    data: list[Device]


class NewPassword(Asked):
    """`old` is asked of whoever has one."""

    old: Password = ""
    new: Password


class Consent(Asked):
    consent: bool


class Forget(Asked):
    """`password` is asked of whoever has one."""

    password: Password = ""


@router.get("/devices", response_model=Devices, summary="Where I am signed in")
def devices(request: Request, caller: Person, database: Kept) -> Devices:
    this = digest(request.cookies.get(sessions.COOKIE, ""))
    query = select(BrowserSession).where(BrowserSession.account == caller.account, BrowserSession.expires > now())
    with database.reading() as db:
        rows = db.scalars(query.order_by(BrowserSession.seen.desc())).all()
    return Devices(
        data=[
            Device(
                id=row.id,
                browser=row.browser,
                address=row.address,
                created=row.created,
                seen=row.seen,
                this=row.token == this,
            )
            for row in rows
        ]
    )


@router.delete("/devices/{id}", status_code=204, summary="Sign a device out")
def sign_out_device(id: Number, caller: Person, database: Kept) -> None:
    with database.writing() as db:
        db.delete(get_owned(db, BrowserSession, id, caller))


@router.put("/password", response_model=Me, summary="Another password")
def change_password(ask: NewPassword, request: Request, response: Response, caller: Person, database: Kept) -> Me:
    """Signs out everywhere, and in again here."""
    account = prove(request, caller.account, ask.old)
    visitor = visitor_of(request)
    with database.writing() as db:
        account = db.get_one(Account, account.id)
        accounts.set_password(db, account, ask.new, by_of(request, caller))
        begun = SignedIn(account, accounts.begin_session(db, account, visitor))
    return welcome(request, response, begun)


def prove(request: Request, number: int, password: str) -> Account:
    """The account, once whoever sits there has typed its password again.

    Raises:
        ApiError: 403, it is wrong; 429, it was wrong too often.
    """
    database, visitor = request.app.state.database, visitor_of(request)
    with database.writing() as db:
        account: Account = db.get_one(Account, number)
        throttle.attempt(db, account.email or "", visitor.address)
    if account.password is not None and not passwords.check(password, account.password)[0]:
        raise ApiError(403, "The password is wrong.", "permission_error", code="wrong_password")
    with database.writing() as db:
        throttle.succeeded(db, account.email or "", visitor.address)
    return account


@router.put("/consent", response_model=Me, summary="Whether my answers may be kept and learned from")
def consent(ask: Consent, request: Request, caller: Person, database: Kept) -> Me:
    with database.writing() as db:
        account = db.get_one(Account, caller.account)
        account.consent = ask.consent
        accounts.record(db, by_of(request, caller), "account.consent", account, consent=ask.consent)
    return me(account, request.cookies.get(sessions.COOKIE) if caller.key is None else None)


@router.get("/data", response_model=dict[str, Any], summary="All that is kept of me")
def export(request: Request, caller: Person, database: Kept) -> JSONResponse:
    """Table by table; digests of passwords and keys are left out."""
    with database.writing() as db:
        account = db.get_one(Account, caller.account)
        found = accounts.export(db, account)
        audit.record(
            db, "data.exported", f"account {account.id}", actor=account.id, address=visitor_of(request).address
        )
    return JSONResponse(found, headers={"content-disposition": 'attachment; filename="plutao-data.json"'})


@router.post("/forget", status_code=204, summary="Forget me")
def forget(ask: Forget, request: Request, response: Response, caller: Person, database: Kept) -> None:
    """Takes away all that is personal, for good. Sums of usage stay, without a name."""
    account = prove(request, caller.account, ask.password)
    wayback.forget(database, root_of(request), account, by_of(request, caller))
    sessions.take_cookie(response)
