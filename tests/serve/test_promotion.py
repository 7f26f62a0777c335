"""Which run answers: promoted, taken back, told in the audit log."""

import json
from pathlib import Path

import pytest

from plutao.errors import UserError
from plutao.project import current_run, make_current
from plutao.serve import audit, promotion
from plutao.serve.audit import By
from plutao.serve.database import Database, open_database


def add_run(root: Path, name: str, created: str, speaks: bool = True) -> None:
    (root / "runs" / name / "sft").mkdir(parents=True)
    (root / "runs" / name / "run.json").write_text(json.dumps({"created": created}))
    if speaks:
        (root / "runs" / name / "sft" / "config.json").write_text("{}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place, name in enumerate(("one", "two", "three")):
        add_run(tmp_path, name, f"2026-01-0{place + 1}T00:00:00Z")
    make_current(tmp_path, "one")
    return tmp_path


@pytest.fixture
def kept(root: Path) -> Database:
    return open_database(root=root)


def test_a_run_is_promoted_and_taken_back_step_by_step_and_the_log_tells(root: Path, kept: Database) -> None:
    by = By(None, "here")
    promotion.promote(kept, root, "two", by)
    assert current_run(root) == "two"
    promotion.promote(kept, root, "three", by)
    assert promotion.roll_back(kept, root, by) == current_run(root) == "two"
    with kept.reading() as db:
        told = [(line.subject, line.detail["before"]) for line in audit.lines(db)][::-1]
        assert audit.broken_at(db) is None
    assert told == [("run two", "one"), ("run three", "two"), ("run two", "three")]


def test_there_is_nothing_to_go_back_to_before_anything_was_promoted(root: Path, kept: Database) -> None:
    with pytest.raises(UserError, match="no earlier run"):
        promotion.roll_back(kept, root, By())
    assert current_run(root) == "one"


def test_what_can_not_answer_is_not_promoted(root: Path, kept: Database) -> None:
    add_run(root, "mute", "2026-02-01T00:00:00Z", speaks=False)
    for name, words in (("mute", "no trained stage"), ("nobody", "no run"), ("../x", "no run")):
        with pytest.raises(UserError, match=words):
            promotion.promote(kept, root, name, By())
    assert current_run(root) == "one"
