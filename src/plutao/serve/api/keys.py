"""API keys: one's own, and for owners everybody's."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from plutao.serve import keys
from plutao.serve.api.common import DENIALS, Asked, Kept, Number, Short, by_of
from plutao.serve.errors import not_found
from plutao.serve.identity import Caller, get_owned, in_person, require
from plutao.serve.keys import KeyRights
from plutao.serve.roles import Scope
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.base import now
from plutao.serve.tables.keys import ApiKey

router = APIRouter(
    prefix="/api/keys", tags=["keys"], responses=DENIALS, dependencies=[Depends(require("owner", "member"))]
)
KeyHolder = Annotated[Caller, Depends(in_person)]
Limit = Annotated[int | None, Field(ge=1, le=10**9)]


class NewKey(Asked):
    """None of a limit: no limit. `account`: whose key, for owners; without it one's own."""

    name: Short = "key"
    account: Annotated[int | None, Field(ge=1, le=2**53)] = None
    scopes: list[Scope] | None = None
    models: Annotated[list[Short] | None, Field(max_length=1000)] = None
    expires: Annotated[int | None, Field(ge=0, le=2**40)] = None
    requests_per_minute: Limit = None
    tokens_per_minute: Limit = None
    parallel: Limit = None
    consent: bool = False


class KeyOut(BaseModel):
    id: int
    account: int
    name: str
    shown: str
    scopes: list[str]
    models: list[str] | None
    created: int
    expires: int | None
    revoked: int | None
    last_used: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    parallel: int | None
    consent: bool


class Keys(BaseModel):
    data: list[KeyOut]


class Made(BaseModel):
    """`key` is told here, once."""

    key: str
    about: KeyOut


class Rotate(Asked):
    """Seconds in which the old secret still works, so that programs can be given the new one."""

    overlap: int = Field(24 * 3600, ge=0, le=30 * 24 * 3600)


def out(row: ApiKey) -> KeyOut:
    values = {name: getattr(row, name) for name in KeyOut.model_fields if name != "shown"}
    return KeyOut(shown=f"sk-{row.prefix}…", **values)


@router.get("", response_model=Keys, summary="My keys, or everybody's")
def list_keys(
    caller: KeyHolder,
    database: Kept,
    everybody: Annotated[bool, Query(description="For owners: not only my own.")] = False,
) -> Keys:
    query = select(ApiKey).order_by(ApiKey.id.desc())
    if not (everybody and caller.role == "owner"):
        query = query.where(ApiKey.account == caller.account)
    with database.reading() as db:
        return Keys(data=[out(row) for row in db.scalars(query)])


@router.post("", response_model=Made, status_code=201, summary="A new key")
def create(ask: NewKey, request: Request, caller: KeyHolder, database: Kept) -> Made:
    rights = KeyRights(**ask.model_dump(exclude={"name", "account"}))
    with database.writing() as db:
        holder = holder_of(db, caller, ask.account)
        row, key = keys.create(db, holder, ask.name, rights, by_of(request, caller))
        return Made(key=key, about=out(row))


def holder_of(db: Session, caller: Caller, account: int | None) -> Account:
    """Whose the key shall be: one's own, or for owners anybody's."""
    holder = db.get(Account, account or caller.account)
    if holder is None or (holder.id != caller.account and caller.role != "owner"):
        raise not_found(f"There is no account {account}.", "account")
    return holder


@router.get("/{id}", response_model=KeyOut, summary="One key")
def one(id: Number, caller: KeyHolder, database: Kept) -> KeyOut:
    with database.reading() as db:
        return out(get_owned(db, ApiKey, id, caller, owners_too=True))


@router.delete("/{id}", response_model=KeyOut, summary="Revoke a key")
def revoke(id: Number, request: Request, caller: KeyHolder, database: Kept) -> KeyOut:
    """From the next request on it is refused."""
    with database.writing() as db:
        row = get_owned(db, ApiKey, id, caller, owners_too=True)
        keys.revoke(db, row, by_of(request, caller))
        return out(row)


@router.post("/{id}/rotate", response_model=Made, status_code=201, summary="A new secret for a key")
def rotate(id: Number, ask: Rotate, request: Request, caller: KeyHolder, database: Kept) -> Made:
    """It stays the same key, with its rights, limits and budget; the old secret is good until the overlap is over."""
    with database.writing() as db:
        row = get_owned(db, ApiKey, id, caller, owners_too=True)
        if row.revoked is not None or (row.expires is not None and row.expires <= now()):
            raise not_found("This key is revoked or expired: make a new one.")
        key = keys.rotate(db, row, ask.overlap, by_of(request, caller))
        return Made(key=key, about=out(row))
