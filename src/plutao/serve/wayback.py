"""The way back: from what people gave on the pages to a new run, to its comparison with the one before, to its promotion."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from plutao import project as projects
from plutao.assistant import feedback
from plutao.assistant.feedback import Feedback, Given, Handling
from plutao.errors import UserError
from plutao.evaluate import progress
from plutao.files import write_json
from plutao.serve import accounts, audit, jobs, judgements, promotion, weighing
from plutao.serve.audit import By
from plutao.serve.database import Database
from plutao.serve.errors import Refusal
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.base import now
from plutao.serve.tables.chats import ChatMessage, Conversation, Correction, Verdict
from plutao.serve.tables.jobs import TrainingJob
from plutao.serve.tables.judgements import Training
from plutao.text.chat import Message, Messages

LEARNED_FROM = "feedback.json"
"""In a run's folder: what people gave that it was made from, without their words."""
RANKS = {"better": (1, 2), "worse": (2, 1), "same": (1, 1)}


@dataclass(frozen=True)
class Step:
    """A training that was begun from people's feedback, as it stands now."""

    training: Training
    job: TrainingJob | None
    measured: dict[str, Any] | None
    """What `evaluate.progress.weigh` found; None where it was not measured yet."""
    measuring: bool
    problem: str
    current: bool
    """Whether it is the run that people talk to."""

    @property
    def done(self) -> bool:
        return self.job is not None and self.job.state == "done"


# ---------------------------------------------------------------------------------------------------------------------
# What there is


def everything(db: Session, handling: Handling = "leave_out") -> Feedback:
    """All that people gave on the pages, sorted into what can be learned from and what can't."""
    return feedback.gather(chain(judgements.given(db), given_in_chats(db)), handling)


def forget(database: Database, root: Path, account: Account, by: By) -> None:
    """Takes away all that is personal of somebody, in the database and in the rows that the next training would read.

    Raises:
        UserError: nobody would own the service any more.
    """
    with database.writing() as db:
        accounts.forget(db, db.get_one(Account, account.id), by)
    feedback.forget(root, f"person-{account.id}")


def given_in_chats(db: Session) -> Iterator[Given]:
    """Verdicts on new versions are orders of two answers; a correction is an ideal answer, and preferred to what it corrects."""
    verdicts = select(Verdict, ChatMessage, Conversation).join(ChatMessage, Verdict.message == ChatMessage.id)
    for verdict, answer, talk in db.execute(
        verdicts.join(Conversation, ChatMessage.conversation == Conversation.id).order_by(Verdict.id)
    ):
        other = db.get(ChatMessage, verdict.other)
        if other is not None:
            texts, ranks = (answer.text, other.text), RANKS[verdict.verdict]
            yield of_chat(f"verdict-{verdict.id}", talk, answer, asked_before(db, answer), texts, ranks)
    corrections = select(Correction, ChatMessage, Conversation).join(ChatMessage, Correction.message == ChatMessage.id)
    for correction, answer, talk in db.execute(
        corrections.join(Conversation, ChatMessage.conversation == Conversation.id).order_by(Correction.id)
    ):
        asked = asked_before(db, answer)
        yield of_chat(f"corrected-{correction.id}", talk, answer, asked, answer=correction.text)
        yield of_chat(f"preferred-{correction.id}", talk, answer, asked, (correction.text, answer.text), (1, 2))


def of_chat(
    id: str,
    talk: Conversation,
    message: ChatMessage,
    asked: Messages,
    completions: tuple[str, ...] = (),
    ranks: tuple[int, ...] = (),
    answer: str = "",
) -> Given:
    return Given(
        id, f"person-{talk.account}", asked, completions, ranks, answer, model=message.model, consent=talk.consent
    )


def asked_before(db: Session, answer: ChatMessage) -> Messages:
    """The turns that an answer was written to."""
    turns: list[Message] = []
    number = answer.parent
    while number is not None and (one := db.get(ChatMessage, number)) is not None:
        turns.append(Message("user" if one.role == "user" else "assistant", one.text))
        number = one.parent
    if answer.system and answer.system.strip():
        turns.append(Message("system", answer.system))
    return tuple(reversed(turns))


# ---------------------------------------------------------------------------------------------------------------------
# To a new run


def train(
    database: Database, root: Path, by: By, handling: Handling = "leave_out", overrides: Sequence[str] = ()
) -> Training:
    """Writes the data set and begins a new run with it; stages whose data did not change are taken over from the run before.

    Raises:
        UserError: there is nothing to learn from, no run yet, or another training is at work.
    """
    with database.reading() as db:
        found = everything(db, handling)
    if not found.rankings and not found.demonstrations:
        raise Refusal("There is nothing to learn from yet: rank some answers, or write some.", "nothing_given")
    if jobs.at_work(database, root) is not None:
        raise jobs.busy()
    before = projects.current_run(root)
    files = feedback.write(found, root)
    # A run of its own: the one before stays as it is, to be compared with and to be gone back to
    run = projects.next_name(projects.open_project(root, tuple(overrides)))
    job = jobs.start(database, root, by, overrides, run=run, keep_current=True, fresh=True)
    counted = found.as_json() | {"files": files, "personal_data": handling}
    assert by.account is not None
    with database.writing() as db:
        training = Training(created=now(), account=by.account, run=run, before=before, job=job.id, feedback=counted)
        db.add(training)
        audit.record(db, "feedback.trained", f"run {run}", actor=by.account, address=by.address, files=files)
    return training


def steps(database: Database, root: Path) -> list[Step]:
    """The trainings, newest first; those that are done and were not measured yet begin to be."""
    with database.reading() as db:
        rows = list(db.scalars(select(Training).order_by(Training.id.desc()).limit(30)))
    return [step(database, root, row) for row in rows]


def step(database: Database, root: Path, row: Training) -> Step:
    job = None if row.job is None else jobs.status(database, root, row.job)
    measured = progress.read(root, row.run)
    folder = root / "runs" / row.run
    if (folder / "run.json").is_file() and not (folder / LEARNED_FROM).is_file():
        write_json(folder / LEARNED_FROM, row.feedback | {"before": row.before})
    problem = weighing.problem(root, row.run)
    if measured is None and job is not None and job.state == "done" and not problem:
        weighing.start(root, row.before, row.run)
    if job is not None and job.state in ("failed", "lost"):
        problem = last_line(jobs.log_of(root, job.id))
    return Step(
        row,
        job,
        dict(measured) if measured is not None else None,
        weighing.at_work(root, row.run),
        problem,
        projects.current_run(root) == row.run,
    )


def last_line(log: str) -> str:
    """What a training said last: why it failed."""
    lines = log.strip().splitlines()
    return lines[-1].removeprefix("plutao: ") if lines else ""


def find(db: Session, number: int) -> Training:
    """Raises UserError where there is no such training."""
    row = db.get(Training, number)
    if row is None:
        raise UserError(f"There is no training {number}.")
    return row


def make_current(database: Database, root: Path, number: int, by: By, back: bool = False) -> str:
    """The new run becomes the one that people talk to, or (`back`) the one before it again; says which.

    Raises:
        UserError: it has no model that answers yet.
    """
    with database.reading() as db:
        row = find(db, number)
    run = row.before if back else row.run
    if not back and (row.job is None or jobs.status(database, root, row.job).state != "done"):
        raise Refusal(f"Run {run} is not finished: wait for its training.", "run_unfinished")
    promotion.promote(database, root, run, by)
    return run
