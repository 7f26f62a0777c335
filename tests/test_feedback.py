"""Rankings that people add to a project reach the models of a run that was finished without them."""

import json
from pathlib import Path

from ranked import ranked, ranked_project, write

from plutao import pipeline
from plutao.project import Project
from plutao.stages import reward
from plutao.stages.card import read_card
from plutao.train.parallel import World
from plutao.train.progress import Silence


def run(project: Project) -> bool:
    """Trains stage reward where the pipeline would; returns whether it did."""
    if pipeline.is_there(project, "reward", lambda text: None):
        return False
    reward.run(project, World(), Silence())
    return True


def steps_taken(project: Project) -> int:
    lines = (project.stage_dir("reward") / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return max(json.loads(line)["step"] for line in lines)


def test_new_rankings_are_learned_from_and_nothing_else_is_done_twice(tmp_path: Path) -> None:
    project = ranked_project(tmp_path / "project", length="epochs = 1.0")
    assert run(project) and not run(project)
    before, steps = read_card(project.stage_dir("reward")), steps_taken(project)
    write(project.data / "rankings" / "rui.jsonl", ranked(80, seed=7))
    assert run(project) and not run(project)
    after = read_card(project.stage_dir("reward"))
    assert after["rankings"]["elements"] > before["rankings"]["elements"]
    assert after["steps"] == steps_taken(project) > steps  # from the first step on, not from where the old one ended


def test_what_was_begun_from_the_same_is_gone_on_with(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    pipeline.begin(tmp_path, "these")
    pipeline.begin(tmp_path, "these")
    assert checkpoints.is_dir()
    pipeline.begin(tmp_path, "others")
    assert not checkpoints.exists()
