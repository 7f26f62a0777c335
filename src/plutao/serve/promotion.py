"""Which run answers as `current`: promoted by an owner, taken back by an owner, and told in the audit log."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from plutao import project as projects
from plutao.errors import UserError
from plutao.serve import audit
from plutao.serve.audit import By
from plutao.serve.database import Database
from plutao.serve.errors import Refusal
from plutao.serve.tables.audit import AuditLine

PROMOTED = "run.promoted"


def promote(database: Database, root: Path, run: str, by: By) -> None:
    """Points runs/current at a run; the service answers with it from the next request on.

    Raises:
        UserError: there is no such run, or it has no stage that writes.
    """
    if run not in projects.list_runs(root):
        raise UserError(f"There is no run {run!r}.")
    projects.resolve_model(run, root)
    before = projects.current_run(root)
    with database.writing() as db:  # the log's own lock lets one promotion in at a time
        audit.record(db, PROMOTED, f"run {run}"[:200], actor=by.account, address=by.address, run=run, before=before)
        projects.make_current(root, run)


def earlier(db: Session, root: Path) -> str | None:
    """The run that was current before the present one was promoted, if it is still there."""
    runs = projects.list_runs(root)
    if not runs:
        return None
    now = projects.current_run(root)
    lines = db.scalars(select(AuditLine).where(AuditLine.action == PROMOTED).order_by(AuditLine.id.desc()).limit(100))
    found = next((line.detail.get("before") for line in lines if line.detail.get("run") == now), None)
    return found if isinstance(found, str) and found in runs and found != now else None


def roll_back(database: Database, root: Path, by: By) -> str:
    """Promotes the run that was current before; its name.

    Raises:
        UserError: nothing was promoted since.
    """
    with database.reading() as db:
        run = earlier(db, root)
    if run is None:
        raise Refusal(
            "There is no earlier run to go back to: nothing was promoted from these pages yet.", "nothing_promoted"
        )
    promote(database, root, run, by)
    return run
