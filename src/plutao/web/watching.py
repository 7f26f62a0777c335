"""What there is to see of a project's runs: read anew from their folders every time, since trainings write while we look."""

import functools
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from plutao import project as projects
from plutao import recipe as recipes
from plutao.errors import UserError
from plutao.evaluate.report.history import History, read_history
from plutao.project import list_runs, run_card, whatever_is_in
from plutao.recipe import STAGES
from plutao.serve.errors import not_found

FRESH = 90.0
"""Seconds after its last line within which a training that nobody here started is taken to be at work."""
MOST_SAMPLES = 40


@dataclass(frozen=True)
class StageSeen:
    """A stage of a run."""

    name: str
    folder: Path
    state: str
    """done, training or begun (stopped on the way)."""
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def history(self) -> History:
        return history_of(self.folder / "metrics.jsonl")

    @property
    def measures(self) -> list[tuple[str, float, float | None, float | None, str]]:
        """(key of its name, value, low, high, how it is written) of what was measured at the end."""
        found: list[tuple[str, float, float | None, float | None, str]] = []
        validation = self.card.get("validation") or {}
        if validation.get("bits_per_byte") is not None:
            found.append(("bits_per_byte", *ends(validation, "bits_per_byte"), "3"))
        elif validation.get("loss") is not None:
            found.append(("validation_loss", *ends(validation, "loss"), "3"))
        if exam := (self.card.get("exam") or {}).get("overall"):
            found.append(("exam", *ends(exam, "value"), "%"))
        if accuracy := self.card.get("pair_accuracy"):
            found.append(("pair_accuracy", *ends(accuracy, "value"), "%"))
        for key in ("reward_before", "reward_after", "kl"):
            if isinstance(self.card.get(key), int | float):
                found.append((key, float(self.card[key]), None, None, "2"))
        return found

    @property
    def headline(self) -> tuple[str, float, float | None, float | None, str] | None:
        """The measure that says most: shares of right answers before losses."""
        shares = [one for one in self.measures if one[4] == "%"]
        return next(iter([*shares, *self.measures] if self.name != "base" else self.measures), None)


@dataclass(frozen=True)
class RunSeen:
    """A run and its stages, in their order."""

    name: str
    folder: Path
    created: int
    """Seconds since 1970."""
    current: bool
    stages: list[StageSeen]

    @property
    def training(self) -> bool:
        return any(stage.state == "training" for stage in self.stages)

    @property
    def report(self) -> bool:
        return (self.folder / "report.html").is_file()

    @property
    def found(self) -> dict[str, Any]:
        """The report's numbers; none before the run is finished."""
        return whatever_is_in(self.folder / "report.json")


def history_of(path: Path) -> History:
    """A metrics.jsonl, parsed again only when it has changed."""
    try:
        found = path.stat()
    except OSError:
        return read_history(path)
    return parsed(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=16)
def parsed(path: Path, _changed: int, _size: int) -> History:
    return read_history(path)


def ends(measured: dict[str, Any], key: str) -> tuple[float, float | None, float | None]:
    return measured[key], measured.get("low"), measured.get("high")


def all_runs(root: Path, working: str | None = None) -> list[RunSeen]:
    """Newest first. `working`: the run that one of our own trainings is at work in."""
    names = list_runs(root)
    current = projects.current_run(root) if names else None
    return [see(root, name, current, working) for name in reversed(names)]


def one_run(root: Path, name: str, working: str | None = None) -> RunSeen:
    """A run by its name.

    Raises:
        ApiError: 404, there is none.
    """
    names = list_runs(root)
    if name not in names:
        raise not_found(f"There is no run {name[:100]!r}.")
    return see(root, name, projects.current_run(root), working)


def one_stage(run: RunSeen, name: str) -> StageSeen:
    """Raises ApiError (404) where the run has no such stage."""
    for stage in run.stages:
        if stage.name == name:
            return stage
    raise not_found(f"Run {run.name} has no stage {name[:100]!r}.")


def see(root: Path, name: str, current: str | None, working: str | None) -> RunSeen:
    folder = root / "runs" / name
    card = run_card(folder)
    stages = [see_stage(folder / stage, name == working) for stage in STAGES if (folder / stage).is_dir()]
    return RunSeen(name, folder, moment(card), name == current, stages)


def moment(card: dict[str, Any]) -> int:
    try:
        return int(datetime.fromisoformat(str(card.get("created"))).timestamp())
    except ValueError:
        return 0


def see_stage(folder: Path, working: bool) -> StageSeen:
    card = whatever_is_in(folder / "stage.json")
    if card.get("complete"):
        return StageSeen(folder.name, folder, "done", card)
    return StageSeen(folder.name, folder, "training" if working or fresh(folder) else "begun", card)


def fresh(folder: Path) -> bool:
    try:
        return time.time() - (folder / "metrics.jsonl").stat().st_mtime < FRESH
    except OSError:
        return False


def samples(history: History) -> dict[str, list[tuple[int, str]]]:
    """By prompt, what was written after how many steps: how one and the same prompt is continued as training goes on."""
    found: dict[str, list[tuple[int, str]]] = {}
    for point in history.samples[-MOST_SAMPLES:]:
        for sample in point["samples"]:
            found.setdefault(sample["prompt"], []).append((point["step"], sample["text"]))
    return found


def differences(runs: list[RunSeen]) -> list[tuple[str, list[str]]]:
    """Keys of the recipes that are not the same in all runs, and each run's value."""
    found = []
    for run in runs:
        try:
            found.append(flat(recipes.load(run.folder / "recipe.toml").model_dump(mode="json")))
        except UserError:  # one of another version
            found.append({})
    keys = sorted({key for one in found for key in one})
    return [
        (key, [str(one.get(key, "–")) for one in found])
        for key in keys
        if len({str(one.get(key)) for one in found}) > 1
    ]


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Nested keys as a.b.0.c."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return {path: value}
    return {
        key: one for name, inner in items for key, one in flat(inner, f"{path}.{name}" if path else str(name)).items()
    }
