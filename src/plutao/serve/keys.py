"""API keys: `sk-<prefix>_<secret>`. The prefix may be shown; of the whole only a digest is kept; it is told once."""

import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from plutao.errors import UserError
from plutao.serve import audit
from plutao.serve.audit import By
from plutao.serve.roles import scopes_of
from plutao.serve.secrets import digest, same
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.base import now
from plutao.serve.tables.keys import ApiKey

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = re.compile(r"sk-(?P<prefix>[0-9A-Za-z]{10})_[0-9A-Za-z]{32}(?P<check>[0-9A-Za-z]{6})")
"""What programs that look for leaked keys can look for; the last six characters must fit the rest."""


@dataclass(frozen=True)
class KeyRights:
    """What a key may do, and how much. None: no limit.

    Attributes:
        scopes: None: all that its account may do, except to administer.
        models: ids of models, as the API lists them.
        expires: seconds since 1970.
    """

    scopes: Sequence[str] | None = None
    models: Sequence[str] | None = None
    expires: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel: int | None = None
    consent: bool = False


def new_key(prefix: str | None = None) -> str:
    """A key nobody has: 190 random bits, and a checksum that tells a mistyped or made-up one without asking anybody."""
    body = "sk-" + (prefix or random_letters(10)) + "_" + random_letters(32)
    return body + checksum(body)


def random_letters(count: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(count))


def checksum(body: str) -> str:
    rest, letters = zlib.crc32(body.encode()), ""
    for _ in range(6):
        rest, letter = divmod(rest, len(LETTERS))
        letters = LETTERS[letter] + letters
    return letters


def create(
    db: Session,
    account: Account,
    name: str,
    rights: KeyRights | None = None,
    by: By | None = None,
) -> tuple[ApiKey, str]:
    """A key for an account: its row, and the key itself, which nobody can tell a second time.

    Raises:
        UserError: the account may not have such a key.
    """
    rights = rights or KeyRights()
    allowed = scopes_of(account.role)
    if not allowed or account.disabled is not None:
        raise UserError(
            f"A {account.role} has no API keys." if not allowed else "This account is disabled: enable it first."
        )
    scopes = sorted(allowed - {"admin"} if rights.scopes is None else rights.scopes)
    if unknown := set(scopes) - allowed:
        raise UserError(
            f"A {account.role}'s key can't have scope {min(unknown)!r}; it can have {', '.join(sorted(allowed))}."
        )
    limits = (rights.requests_per_minute, rights.tokens_per_minute, rights.parallel)
    if any(limit is not None and limit < 1 for limit in limits):
        raise UserError("A key's limits are whole numbers of 1 or more; leave one out for no limit.")
    if rights.expires is not None and rights.expires <= now():
        raise UserError("A key can't expire before it is made: name a later day.")
    key = new_key()
    row = ApiKey(
        account=account.id,
        name=name.strip()[:200] or "key",
        prefix=key[3:13],
        secret=digest(key),
        scopes=scopes,
        models=None if rights.models is None else sorted(set(rights.models)),
        requests_per_minute=rights.requests_per_minute,
        tokens_per_minute=rights.tokens_per_minute,
        parallel=rights.parallel,
        consent=rights.consent,
        created=now(),
        expires=rights.expires,
    )
    db.add(row)
    db.flush()
    by = by or By()
    detail = {"account": account.id, "scopes": scopes}
    audit.record(db, "key.created", f"key {row.id}", actor=by.account, address=by.address, **detail)
    return row, key


def find(db: Session, key: str) -> tuple[ApiKey, Account] | None:
    """A key that is in force, and whose it is."""
    match = FORM.fullmatch(key)
    if match is None or not same(checksum(key[:-6]), match["check"]):
        return None
    query = select(ApiKey, Account).join(Account, Account.id == ApiKey.account).where(ApiKey.prefix == match["prefix"])
    found = db.execute(query).one_or_none()
    if found is None:
        return None
    row, account = found[0], found[1]
    if not same(row.secret, digest(key)) and not is_old(row, key):
        return None
    expired = row.expires is not None and row.expires <= now()
    return None if row.revoked is not None or expired or account.disabled is not None else (row, account)


def is_old(row: ApiKey, key: str) -> bool:
    """Whether it is the key before a rotation, while that still counts."""
    alive = row.old_until is not None and row.old_until > now()
    return alive and row.old_secret is not None and same(row.old_secret, digest(key))


def rotate(db: Session, row: ApiKey, overlap: int, by: By) -> str:
    """Another secret for the same key, its rights, limits and budget; the old one is good for `overlap` seconds yet, in
    which programs can be given the new one.
    """
    key = new_key(row.prefix)
    row.old_secret, row.old_until, row.secret = row.secret, now() + overlap, digest(key)
    audit.record(db, "key.rotated", f"key {row.id}", actor=by.account, address=by.address, overlap=overlap)
    return key


def revoke(db: Session, row: ApiKey, by: By) -> None:
    """Ends a key: from the next request on it is refused."""
    if row.revoked is None:
        row.revoked = now()
        audit.record(db, "key.revoked", f"key {row.id}", actor=by.account, address=by.address)


def rights_of(row: ApiKey, role: str) -> frozenset[str]:
    """What a key may do today: no more than its account's present role."""
    return frozenset(row.scopes) & scopes_of(role)
