"""Trainings started from the pages: they outlive the server, are found again, stopped, gone on with, and never doubled."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import tiny_project

from plutao.errors import UserError
from plutao.files import read_json
from plutao.project import current_run, only_one, open_project
from plutao.serve import audit, jobs
from plutao.serve.audit import By
from plutao.serve.database import Database, open_database
from plutao.serve.tables.jobs import TrainingJob

OWNER = By(None, "here")
STARTER = """
import sys
from pathlib import Path
from plutao.serve import jobs
from plutao.serve.audit import By
from plutao.serve.database import open_database
root = Path(sys.argv[1])
print(jobs.start(open_database(root=root), root, By(None, "here"), sys.argv[2:]).id)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_project(tmp_path / "tiny")


@pytest.fixture
def kept(root: Path) -> Iterator[Database]:
    opened = open_database(root=root)
    yield opened
    for job in jobs.latest(opened, root):
        if job.state == "running":
            os.killpg(job.process, signal.SIGKILL)
    opened.close()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A program of one line in the place of `plutao run`; `result` in it is the path it leaves its status at."""

    def command(root: Path, job: TrainingJob, result: Path) -> list[str]:
        return [sys.executable, "-c", f"import time; result = {str(result)!r}; {code}"]

    monkeypatch.setattr(jobs, "command", command)


def test_a_training_outlives_the_server_is_found_stopped_and_gone_on_with(root: Path, kept: Database) -> None:
    options = ("base.steps=4000", "base.checkpoint_minutes=0.001")
    # The server that starts it is a process that ends at once
    started = subprocess.run([sys.executable, "-c", STARTER, str(root), *options], capture_output=True, text=True)
    number = int(started.stdout)
    until(lambda: any(root.glob("runs/tiny-1/base/checkpoints/step-*")))
    found = jobs.at_work(kept, root)
    assert found is not None and (found.id, found.state, found.run) == (number, "running", "tiny-1")

    jobs.stop(kept, root, number, OWNER)
    until(lambda: jobs.status(kept, root, number).state == "stopped")
    assert jobs.status(kept, root, number).code == 130
    assert "everything is saved" in jobs.log_of(root, number)

    again = jobs.start(kept, root, OWNER, options, keep_current=True)
    until(lambda: "Resumed at step" in jobs.log_of(root, again.id))
    jobs.stop(kept, root, again.id, OWNER)
    until(lambda: jobs.status(kept, root, again.id).state == "stopped")
    with kept.reading() as db:
        told = [(line.action, line.subject) for line in audit.lines(db)][::-1]
        assert audit.broken_at(db) is None
    assert told == [
        ("job.started", "job 1"),
        ("job.stopped", "job 1"),
        ("job.started", "job 2"),
        ("job.stopped", "job 2"),
    ]


def test_a_finished_training_says_so_and_leaves_current_where_it_is_if_asked(root: Path, kept: Database) -> None:
    first = jobs.start(kept, root, OWNER)
    until(lambda: jobs.status(kept, root, first.id).state == "done")
    assert jobs.status(kept, root, first.id).run == current_run(root) == "tiny-1"
    second = jobs.start(kept, root, OWNER, ("base.steps=3",), keep_current=True)
    until(lambda: jobs.status(kept, root, second.id).state == "done")
    assert jobs.status(kept, root, second.id).run == "tiny-2"
    assert current_run(root) == "tiny-1"
    assert read_json(root / "runs/tiny-2/base/stage.json")["steps"] == 3


def test_only_one_training_at_a_time(root: Path, kept: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "time.sleep(60)")
    first = jobs.start(kept, root, OWNER)
    with pytest.raises(UserError, match="at work already"):
        jobs.start(kept, root, OWNER)
    jobs.stop(kept, root, first.id, OWNER, at_once=True)
    until(lambda: jobs.status(kept, root, first.id).state == "stopped")
    with only_one(open_project(root)), pytest.raises(UserError, match="Another `plutao run`"):
        jobs.start(kept, root, OWNER)


def test_a_training_that_vanished_or_failed_says_so(
    root: Path, kept: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "time.sleep(60)")
    first = jobs.start(kept, root, OWNER)
    os.kill(first.process, signal.SIGKILL)
    until(lambda: jobs.status(kept, root, first.id).state == "lost")
    stand_in(monkeypatch, "print('the disk is full'); open(result, 'w').write('{\"code\": 1}')")
    second = jobs.start(kept, root, OWNER)
    until(lambda: jobs.status(kept, root, second.id).state == "failed")
    assert jobs.log_of(root, second.id).strip() == "the disk is full"


def test_a_process_that_got_the_number_of_an_ended_training_is_left_alone(root: Path, kept: Database) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    with kept.writing() as db:
        db.add(
            TrainingJob(created=1, state="running", overrides=[], process=bystander.pid, process_began="another boot:1")
        )
    assert jobs.at_work(kept, root) is None
    assert jobs.status(kept, root, 1).state == "lost"
    jobs.stop(kept, root, 1, OWNER, at_once=True)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_what_can_not_be_trained_is_refused_before_anything_starts(root: Path, kept: Database) -> None:
    for wrong, words in (
        ({"stage": "rl"}, "no stage 'rl'"),
        ({"overrides": ("base.stepz=3",)}, "Did you mean .steps"),
        ({"run": "../../etc"}, "no run"),
    ):
        with pytest.raises(UserError, match=words):
            jobs.start(kept, root, OWNER, **wrong)  # type: ignore[arg-type]
    assert jobs.latest(kept, root) == []


def test_the_services_secrets_stay_with_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUTAO_OIDC_CLIENT_SECRET", "hush")
    monkeypatch.setenv("PLUTAO_DATA", "/corpora")
    assert "PLUTAO_OIDC_CLIENT_SECRET" not in jobs.environment()
    assert jobs.environment()["PLUTAO_DATA"] == "/corpora"
