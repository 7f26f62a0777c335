"""Trainings started from the pages: each is a `plutao run` in a session of its own, so that neither the page's closing nor
the server's end touches it; a server started later finds it again.

    jobs/<number>/log.txt        what `plutao run` says
    jobs/<number>/result.json    how it ended
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from plutao import project as projects
from plutao import recipe as recipes
from plutao.errors import UserError
from plutao.project import RECIPE_FILE, whatever_is_in
from plutao.serve import audit
from plutao.serve.audit import By
from plutao.serve.database import Database
from plutao.serve.errors import Refusal
from plutao.serve.processes import began
from plutao.serve.tables.base import now
from plutao.serve.tables.jobs import TrainingJob

STOPPED = 130
"""What `plutao run` leaves with where it was asked to stop and saved everything."""
TAIL = 64 * 1024
"""Bytes of a log that are shown, from its end."""


def start(
    database: Database,
    root: Path,
    by: By,
    overrides: Sequence[str] = (),
    stage: str | None = None,
    run: str | None = None,
    minutes: float | None = None,
    keep_current: bool = False,
    fresh: bool = False,
) -> TrainingJob:
    """Starts `plutao run`, or goes on with what was begun and stopped: the same request does both.

    Args:
        overrides: as --set takes them, `base.batch=32`.
        stage: the last one to train; None: all of the recipe's.
        run: the run to work in; None: the newest with this recipe and text, else a new one.
        minutes: wall time for all of it; None: the recipe's own lengths.
        fresh: whether `run` is the name of a run that is to be made.
        keep_current: whether runs/current stays where it is, for somebody to promote the new run later.

    Raises:
        UserError: another training is at work in the project, or what is asked is not right.
    """
    recipe = recipes.load(root / RECIPE_FILE, tuple(overrides))
    if stage is not None and stage not in recipe.stages:
        raise UserError(f"This recipe has no stage {stage!r}: it has {', '.join(recipe.stages)}.")
    if run is not None and not fresh and run not in projects.list_runs(root):
        raise UserError(f"There is no run {run!r}.")
    with projects.only_one(projects.Project(root, recipe)):
        pass  # refuses where a `plutao run` holds the project, this service's or somebody else's
    with database.writing() as db:
        if any(alive(job) for job in db.scalars(select(TrainingJob).where(TrainingJob.state == "running"))):
            raise busy()
        job = TrainingJob(
            account=by.account, created=now(), state="running", stage=stage, run=run, overrides=list(overrides),
            minutes=minutes, keep_current=keep_current, process=0, process_began="",
        )  # fmt: skip
        db.add(job)
        db.flush()
        job.process, job.process_began = launch(root, job)
        detail = {"stage": stage, "run": run, "overrides": list(overrides), "minutes": minutes}
        audit.record(db, "job.started", f"job {job.id}", actor=by.account, address=by.address, **detail)
    return job


def busy() -> Refusal:
    return Refusal("A training is at work already: wait for it, or stop it.", "training_at_work")


def stop(database: Database, root: Path, number: int, by: By, at_once: bool = False) -> TrainingJob:
    """Asks a training to save and end; `at_once` ends it where it is, at the cost of what came after its last checkpoint.

    Raises:
        UserError: there is no such training.
    """
    with database.writing() as db:
        job = found(db.get(TrainingJob, number), number)
        if alive(job):
            if at_once:
                os.killpg(job.process, signal.SIGKILL)
            else:
                os.kill(job.process, signal.SIGTERM)
            job.stop_asked = now()
            audit.record(db, "job.stopped", f"job {number}", actor=by.account, address=by.address, at_once=at_once)
    return status(database, root, number)


def status(database: Database, root: Path, number: int) -> TrainingJob:
    """A training as it stands now.

    Raises:
        UserError: there is no such training.
    """
    with database.reading() as db:
        job = found(db.get(TrainingJob, number), number)
    return settle(database, root, job)


def latest(database: Database, root: Path, limit: int = 50) -> list[TrainingJob]:
    """The newest trainings first, each as it stands now."""
    with database.reading() as db:
        jobs = list(db.scalars(select(TrainingJob).order_by(TrainingJob.id.desc()).limit(limit)))
    return [settle(database, root, job) for job in jobs]


def at_work(database: Database, root: Path) -> TrainingJob | None:
    """The training that runs now."""
    return next((job for job in latest(database, root, 1) if job.state == "running"), None)


def log_of(root: Path, number: int) -> str:
    """The end of what a training said."""
    try:
        with (folder_of(root, number) / "log.txt").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return text if size <= TAIL else text.partition("\n")[2]


# ---------------------------------------------------------------------------------------------------------------------
# How it is done


def folder_of(root: Path, number: int) -> Path:
    return root / "jobs" / str(number)


def launch(root: Path, job: TrainingJob) -> tuple[int, str]:
    """Starts the process; its number and when it began."""
    folder = folder_of(root, job.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").unlink(missing_ok=True)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command(root, job, folder.resolve() / "result.json"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # buries it when it ends while we live
    return process.pid, began(process.pid) or ""


def command(root: Path, job: TrainingJob, result: Path) -> list[str]:
    """`plutao run` as a training needs it, leaving its exit status in `result`."""
    given = ["run", str(root.resolve()), *(f"--set={one}" for one in job.overrides)]
    given += [f"--stage={job.stage}"] if job.stage else []
    given += [f"--run={job.run}"] if job.run else []
    given += [f"--time={job.minutes:g}m"] if job.minutes else []
    given += ["--keep-current"] if job.keep_current else []
    return [sys.executable, "-m", "plutao.serve.labour", str(result), *given]


def environment() -> dict[str, str]:
    """Ours, without the service's own settings, some of which are secrets."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("PLUTAO_") or name == "PLUTAO_DATA"
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}


def alive(job: TrainingJob) -> bool:
    return bool(job.process_began) and began(job.process) == job.process_began


def found(job: TrainingJob | None, number: int) -> TrainingJob:
    if job is None:
        raise UserError(f"There is no training {number}.")
    return job


def settle(database: Database, root: Path, job: TrainingJob) -> TrainingJob:
    """Notes how a training ended, and which run it works in, where that is not known yet."""
    if job.state != "running":
        return job
    living = alive(job)  # before its result is looked for: one that ends in between has left it
    run = job.run or run_told(log_of(root, job.id))
    code = whatever_is_in(folder_of(root, job.id) / "result.json").get("code")
    if living and run == job.run:
        return job
    with database.writing() as db:
        row = db.get_one(TrainingJob, job.id)
        row.run = run
        if not living and row.state == "running":
            row.state, row.code, row.ended = state_after(code, row), code, now()
        return row


def state_after(code: int | None, job: TrainingJob) -> str:
    if code is None:
        return "stopped" if job.stop_asked else "lost"
    return {0: "done", STOPPED: "stopped"}.get(code, "failed")


def run_told(log: str) -> str | None:
    """The run that `plutao run` says it works in."""
    match = re.search(r"^Run (\S+): ", log, re.MULTILINE)
    return match[1] if match else None
