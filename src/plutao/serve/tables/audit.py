"""What happened to accounts, keys, prices and data, and who did it: written once, each line sealed by the one before."""

from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from plutao.serve.tables.base import Base, Digest, Identity, Moment, Name, Number


class AuditLine(Base):
    """One event. `seal` is the SHA-256 of the line and of the seal before it: a line changed or taken out later shows."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "moment"),)

    id: Mapped[Identity]
    moment: Mapped[Moment]
    actor: Mapped[int | None] = mapped_column(Number)  # account; None: nobody known, or the command line
    action: Mapped[Name]  # as "key.created"
    subject: Mapped[Name]  # as "key 7"
    detail: Mapped[dict[str, Any]]
    address: Mapped[Name]  # where it came from; "command line"
    seal: Mapped[Digest]


class AuditHead(Base):
    """The last seal and the count of lines: one row, whose lock makes the lines one after another."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    lines: Mapped[int]
    seal: Mapped[Digest]
