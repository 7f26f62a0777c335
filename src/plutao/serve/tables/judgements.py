"""What people judge: answers put in order, ideal answers, votes of the arena, and the trainings that were made from them."""

from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from plutao.serve.tables.base import Base, Digest, Identity, Moment, Name, Number, account_column


class Sheet(Base):
    """A prompt and K answers of one model to it, to be put in order by anybody."""

    __tablename__ = "sheets"
    __table_args__ = (
        Index(None, "fingerprint", "prompt"),
        {"info": {"personal": "delete"}, "sqlite_autoincrement": True},
    )

    id: Mapped[Identity]
    created: Mapped[Moment]
    account: Mapped[int | None] = account_column(nullable=True, index=True)  # who wrote the prompt; None: nobody here
    prompt: Mapped[Digest]  # of the messages
    messages: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    language: Mapped[str | None] = mapped_column(String(20))
    model: Mapped[Name]
    fingerprint: Mapped[Name]  # of the model's weights
    temperature: Mapped[float]
    seed: Mapped[int] = mapped_column(BigInteger)
    answers: Mapped[list[str]]
    rewards: Mapped[list[float] | None] = mapped_column(JSON)  # by the run's reward model; None: it has none


class Judgement(Base):
    """What one person said of a sheet: an order, the same order asked for again, that they can't tell, or a complaint."""

    __tablename__ = "judgements"
    __table_args__ = (
        UniqueConstraint("sheet", "account", "kind"),
        CheckConstraint("kind IN ('rank', 'repeat', 'skip', 'flag')", name="kind"),
        {"info": {"personal": "delete"}, "sqlite_autoincrement": True},
    )

    id: Mapped[Identity]
    created: Mapped[Moment]
    account: Mapped[int] = account_column(index=True)
    sheet: Mapped[int] = mapped_column(Number, ForeignKey("sheets.id", ondelete="CASCADE"))
    kind: Mapped[Name]
    ranks: Mapped[list[int] | None]  # in the order of the sheet's answers; 1 is best, equal ranks are ties
    reason: Mapped[str] = mapped_column(Text, default="")


class Demonstration(Base):
    """A prompt and the answer that somebody thinks it should have had."""

    __tablename__ = "demonstrations"
    __table_args__ = {"info": {"personal": "delete"}, "sqlite_autoincrement": True}  # noqa: RUF012 – SQLAlchemy's own form

    id: Mapped[Identity]
    created: Mapped[Moment]
    account: Mapped[int] = account_column(index=True)
    sheet: Mapped[int | None] = mapped_column(Number, ForeignKey("sheets.id", ondelete="CASCADE"))  # corrected there
    messages: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    answer: Mapped[str] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(String(20))


class Battle(Base):
    """One prompt of the arena, two models' answers, and the vote."""

    __tablename__ = "battles"
    __table_args__ = (
        CheckConstraint("vote IN ('left', 'right', 'tie', 'bad')", name="vote"),
        {"info": {"personal": "delete"}, "sqlite_autoincrement": True},
    )

    id: Mapped[Identity]
    created: Mapped[Moment]
    account: Mapped[int] = account_column(index=True)
    prompt: Mapped[Digest]
    messages: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    language: Mapped[str | None] = mapped_column(String(20))
    left_model: Mapped[Name]
    right_model: Mapped[Name]
    left_answer: Mapped[str] = mapped_column(Text)
    right_answer: Mapped[str] = mapped_column(Text)
    vote: Mapped[Name | None]
    voted: Mapped[Moment | None]


class Training(Base):
    """A training that was begun with what people had given until then: which run it makes, and what it is compared with."""

    __tablename__ = "trainings"
    __table_args__ = {"info": {"personal": "keep"}, "sqlite_autoincrement": True}  # noqa: RUF012 – SQLAlchemy's own form

    id: Mapped[Identity]
    created: Mapped[Moment]
    account: Mapped[int] = account_column()
    run: Mapped[Name]
    before: Mapped[Name]  # the run that was current
    job: Mapped[int | None] = mapped_column(Number)
    feedback: Mapped[dict[str, Any]]  # counts, and the SHA-256 of the files that were written
