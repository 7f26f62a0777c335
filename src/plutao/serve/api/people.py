"""For owners: everybody's accounts, and the audit log."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from plutao.serve import accounts, audit, wayback
from plutao.serve.api.common import DENIALS, Asked, Kept, Number, Owner, Short, by_of, root_of
from plutao.serve.errors import not_found
from plutao.serve.roles import Role
from plutao.serve.tables.accounts import Account

router = APIRouter(prefix="/api", tags=["people"], responses=DENIALS)


class PersonOut(BaseModel):
    id: int
    email: str | None
    name: str
    role: str
    created: int
    disabled: int | None
    forgotten: int | None
    has_password: bool
    provider: str | None


class People(BaseModel):
    data: list[PersonOut]


class NewPerson(Asked):
    email: Short
    name: Short = ""
    role: Role = "member"


class Invited(BaseModel):
    """`link` lets the person choose a password, once, within a day: hand it to nobody else."""

    person: PersonOut
    link: str


class Change(Asked):
    name: Short | None = None
    role: Role | None = None
    disabled: bool | None = None


class AuditLine(BaseModel):
    id: int
    moment: int
    actor: int | None
    action: str
    subject: str
    detail: dict[str, Any]
    address: str
    seal: str


class AuditLog(BaseModel):
    """`broken_at`: the first line that was changed afterwards, 0 where lines are missing at the end; null: the log is whole."""

    data: list[AuditLine]
    broken_at: int | None


def shown(account: Account) -> PersonOut:
    return PersonOut(
        id=account.id,
        email=account.email,
        name=account.name,
        role=account.role,
        created=account.created,
        disabled=account.disabled,
        forgotten=account.forgotten,
        has_password=account.password is not None,
        provider=account.issuer,
    )


def find(db: Session, number: int) -> Account:
    account = db.get(Account, number)
    if account is None:
        raise not_found(f"There is no account {number}.")
    return account


@router.get("/people", response_model=People, summary="Everybody")
def people(caller: Owner, database: Kept) -> People:
    with database.reading() as db:
        return People(data=[shown(account) for account in db.scalars(select(Account).order_by(Account.id))])


@router.post("/people", response_model=Invited, status_code=201, summary="Invite somebody")
def invite(ask: NewPerson, request: Request, caller: Owner, database: Kept) -> Invited:
    by = by_of(request, caller)
    with database.writing() as db:
        account = accounts.create(db, ask.email, ask.name, ask.role, by=by)
        link = accounts.password_link(db, account, by)
        return Invited(person=shown(account), link=link_address(request, link))


def link_address(request: Request, token: str) -> str:
    return accounts.link_address(request.app.state.settings.public_url or str(request.base_url), token)


@router.patch("/people/{id}", response_model=PersonOut, summary="Another role, name; let in or shut out")
def change(id: Number, ask: Change, request: Request, caller: Owner, database: Kept) -> PersonOut:
    by = by_of(request, caller)
    with database.writing() as db:
        account = find(db, id)
        if ask.name is not None:
            account.name = ask.name
        if ask.role is not None and ask.role != account.role:
            accounts.set_role(db, account, ask.role, by)
        if ask.disabled is not None and ask.disabled != (account.disabled is not None):
            (accounts.disable if ask.disabled else accounts.enable)(db, account, by)
        return shown(account)


@router.post("/people/{id}/link", response_model=Invited, summary="A link to choose a new password")
def new_link(id: Number, request: Request, caller: Owner, database: Kept) -> Invited:
    with database.writing() as db:
        account = find(db, id)
        link = accounts.password_link(db, account, by_of(request, caller))
        return Invited(person=shown(account), link=link_address(request, link))


@router.delete("/people/{id}", status_code=204, summary="Forget somebody")
def forget(id: Number, request: Request, caller: Owner, database: Kept) -> None:
    """Takes away all that is personal of them, for good."""
    with database.reading() as db:
        account = find(db, id)
    wayback.forget(database, root_of(request), account, by_of(request, caller))


@router.get("/audit", response_model=AuditLog, summary="Who did what")
def audit_log(
    caller: Owner,
    database: Kept,
    before: Annotated[int | None, Query(ge=1, le=2**53, description="Older than this line.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditLog:
    """Newest first."""
    with database.reading() as db:
        lines = [AuditLine.model_validate(line, from_attributes=True) for line in audit.lines(db, before, limit)]
        return AuditLog(data=lines, broken_at=audit.broken_at(db))
