"""Signing in may fail a few times; then it has to wait, twice as long each time. The same for addresses nobody has."""

import ipaddress

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from plutao.serve.database import add_missing
from plutao.serve.errors import rate_limited
from plutao.serve.secrets import digest
from plutao.serve.tables.accounts import FailedSignIn
from plutao.serve.tables.base import now

FREE = {"account": 5, "address": 20}
"""Failures before waiting begins, of one account and from one place."""
LONGEST = 15 * 60
FORGOTTEN_AFTER = 24 * 3600


def attempt(db: Session, email: str, address: str) -> None:
    """Counts an attempt before its password is looked at, so that many at once gain nothing.

    Raises:
        ApiError: 429, this account or place has to wait.
    """
    for kind, subject in subjects(email, address):
        row = locked(db, subject)
        present = now()
        if row.blocked_until > present:
            wait = row.blocked_until - present
            raise rate_limited(f"Too many attempts to sign in: try again in {wait} s.", wait)
        row.failures = row.failures + 1 if row.last > present - FORGOTTEN_AFTER else 1
        row.last = present
        over = row.failures - FREE[kind]
        row.blocked_until = present + min(2**over, LONGEST) if over >= 0 else 0


def succeeded(db: Session, email: str, address: str) -> None:
    """The attempt was right: the account's failures are forgotten, and this one does not count against its place."""
    (_, account), (_, place) = subjects(email, address)
    db.execute(delete(FailedSignIn).where(FailedSignIn.subject == account))
    row = locked(db, place)
    row.failures = max(row.failures - 1, 0)
    if row.failures < FREE["address"]:
        row.blocked_until = 0


def forget_old(db: Session) -> None:
    """Takes away what counts no more."""
    db.execute(delete(FailedSignIn).where(FailedSignIn.last < now() - FORGOTTEN_AFTER))


def subjects(email: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The rows that count for an attempt. Whoever has one IPv6 address has its whole /64."""
    try:
        place = ipaddress.ip_address(address)
        address = str(ipaddress.ip_network(f"{place}/64", strict=False)) if place.version == 6 else str(place)
    except ValueError:
        pass
    return ("account", digest(f"account {email}")), ("address", digest(f"address {address}"))


def locked(db: Session, subject: str) -> FailedSignIn:
    add_missing(db, FailedSignIn, subject=subject, failures=0, last=now(), blocked_until=0)
    return db.scalars(select(FailedSignIn).where(FailedSignIn.subject == subject).with_for_update()).one()
