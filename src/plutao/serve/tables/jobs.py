"""Trainings that were started from the pages: processes of their own, which outlive the page and the server."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from plutao.serve.tables.base import Base, Identity, Moment, Name, account_column


class TrainingJob(Base):
    """One `plutao run`. Its process is known by number and by when it began, since numbers are used again."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'done', 'stopped', 'failed', 'lost')", name="state"),
        {"info": {"personal": "keep"}},  # the account's number without a name: what was trained stays
    )

    id: Mapped[Identity]
    account: Mapped[int | None] = account_column(nullable=True)
    created: Mapped[Moment]
    ended: Mapped[Moment | None]
    state: Mapped[Name]  # lost: it ended without a word, as by a power cut
    code: Mapped[int | None]  # what the process left with
    stop_asked: Mapped[Moment | None]
    stage: Mapped[Name | None]  # the last one to train; None: all
    run: Mapped[Name | None]  # the run it works in, once it is known
    overrides: Mapped[list[str]]
    minutes: Mapped[float | None]
    keep_current: Mapped[bool] = mapped_column(default=False)  # runs/current stays where it is
    process: Mapped[int]
    process_began: Mapped[Name]
