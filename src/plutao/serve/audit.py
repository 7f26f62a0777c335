"""The audit log: who did what to accounts, keys, prices and data. Lines are only ever added, each sealed by the one before."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from plutao.serve.tables.audit import AuditHead, AuditLine
from plutao.serve.tables.base import now

COMMAND_LINE = "command line"
FIRST_SEAL = "0" * 64


@dataclass(frozen=True)
class By:
    """Who does something: an account, from a network address; or somebody at the command line."""

    account: int | None = None
    address: str = COMMAND_LINE


def record(
    db: Session, action: str, subject: str = "", *, actor: int | None = None, address: str = COMMAND_LINE, **detail: Any
) -> None:
    """Adds a line, in the transaction of what it tells: both are kept, or neither.

    Args:
        action: what was done, as "key.created".
        subject: to what, as "key 7". No names and no e-mail addresses: a line can't be taken out again.
        actor: the account that did it; None: nobody known, or the command line.
    """
    head = db.scalars(select(AuditHead).with_for_update()).one()  # writers of the log go one after another
    line = AuditLine(moment=now(), actor=actor, action=action, subject=subject, detail=detail, address=address[:200])
    line.seal = seal(head.seal, line)
    db.add(line)
    head.lines, head.seal = head.lines + 1, line.seal


def seal(before: str, line: AuditLine) -> str:
    """SHA-256 of a line and the seal before it, in hex."""
    content = [before, line.moment, line.actor, line.action, line.subject, line.detail, line.address]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def broken_at(db: Session) -> int | None:
    """The number of the first line that does not fit the one before it, 0 where lines are missing at the end; None where
    the log is whole.
    """
    before, count = FIRST_SEAL, 0
    for line in db.scalars(select(AuditLine).order_by(AuditLine.id)).yield_per(1000):
        if seal(before, line) != line.seal:
            return line.id
        before, count = line.seal, count + 1
    head = db.scalars(select(AuditHead)).one()
    return None if (head.lines, head.seal) == (count, before) else 0


def lines(db: Session, before: int | None = None, limit: int = 100) -> Iterator[AuditLine]:
    """The newest lines first; `before` goes on from a line's number."""
    query = select(AuditLine).order_by(AuditLine.id.desc()).limit(limit)
    yield from db.scalars(query if before is None else query.where(AuditLine.id < before))
