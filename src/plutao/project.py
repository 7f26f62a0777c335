"""A project: a folder with a recipe and its results, and where each thing of it lives.

my-assistant/
  plutao.toml            the recipe
  data/                  sources, documents, token shards; conversations and rankings that people wrote
  runs/<run>/            recipe.toml as resolved, run.json, report.*, one folder a stage
  runs/current           -> the run that chat, complete and eval use
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from plutao import recipe as recipes
from plutao.errors import UserError
from plutao.files import atomic_folder, explain, read_json, write_json
from plutao.recipe import STAGES, Recipe

if TYPE_CHECKING:
    from plutao.data.shards import ShardIndex
    from plutao.models.decoder import Decoder
    from plutao.text.tokenizer import Tokenizer

RECIPE_FILE = "plutao.toml"
SPEAKERS = ("translation", "ngram", "recurrent", "base", "sft", "dpo", "rl")
"""Stages whose models write, the one that a run is known by last (a reward model only judges)."""


@dataclass(frozen=True)
class Project:
    """A project folder, its recipe as resolved, and the run that is looked at (None before one is chosen)."""

    root: Path
    recipe: Recipe
    run: str | None = None

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def run_dir(self) -> Path:
        assert self.run is not None, "choose a run first"
        return self.runs / self.run

    def stage_dir(self, stage: str) -> Path:
        """Where a stage of this run rests: a Hugging Face folder once it is complete."""
        return self.run_dir / stage

    @property
    def documents(self) -> Path:
        """The documents that this run learns from, split into training and validation; the folder's name is their
        fingerprint.
        """
        return self.data / "documents" / str(run_card(self.run_dir)["data"])

    def shards(self) -> "ShardIndex":
        """The documents as tokens of this run's tokenizer; made where they are not there yet."""
        from plutao.data.shards import build_shards

        return build_shards(self.documents, self.tokenizer(), self.data / "shards")

    def tokenizer(self) -> "Tokenizer":
        from plutao.text.tokenizer import Tokenizer

        return Tokenizer.load(self.stage_dir("tokenizer"))

    def model(self, stage: str) -> "Decoder":
        """The trained model of a stage, on the CPU in fp32."""
        from plutao.models.interop.huggingface import load_model

        return load_model(self.stage_dir(stage))


def create(root: Path, recipe: str) -> Path:
    """A new project from a shipped recipe: the commented plutao.toml and a folder for texts.

    Raises:
        UserError: no such recipe, or the folder already holds a project.
    """
    known = recipes.shipped()
    if recipe not in known:
        raise UserError(f"There is no recipe {recipe!r}. The recipes are: {', '.join(known)}.")
    path = root / RECIPE_FILE
    if path.exists():
        raise UserError(f"{path} exists already: `plutao run {root}` uses it; for a fresh one name another folder.")
    try:
        (root / "data" / "sources").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, root / "data") from error
    recipes.save(recipes.parse(known[recipe]), path, every_key=False)
    return path


def open_project(root: Path, overrides: tuple[str, ...] = (), run: str | None = None) -> Project:
    """The project in `root`, with `--set` overrides applied; `run` as in `current_run`."""
    project = Project(root, recipes.load(root / RECIPE_FILE, overrides))
    return replace(project, run=run) if run else project


# ---------------------------------------------------------------------------------------------------------------------
# Runs


def choose_run(project: Project, data_fingerprint: str, name: str | None = None) -> Project:
    """The run to work in: the newest whose recipe and data are identical, else a new one.

    Args:
        data_fingerprint: names the documents by content; the same recipe on other text is another run.
        name: a run asked for by name; it must be of this recipe and data, or not exist yet.

    Raises:
        UserError: the named run was made with another recipe or other data.
    """
    wanted = {"recipe": project.recipe.fingerprint, "data": data_fingerprint}
    if name is not None:
        existing = project.runs / name
        if existing.exists():
            check_same_recipe(project, existing, wanted)
        return start_run(project, name, wanted) if not existing.exists() else replace(project, run=name)
    for run in reversed(list_runs(project.root)):
        made_with = run_card(project.runs / run)
        if {key: made_with.get(key) for key in wanted} == wanted:
            return replace(project, run=run)
    return start_run(project, next_name(project), wanted)


def start_run(project: Project, name: str, made_with: dict[str, str]) -> Project:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == "current":
        raise UserError(f"A run can't be called {name!r}: use letters, digits, '.', '_' and '-'.")
    started = replace(project, run=name)
    with atomic_folder(started.run_dir) as folder:
        recipes.save(project.recipe, folder / "recipe.toml")
        write_json(folder / "run.json", {**made_with, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    return started


def next_name(project: Project) -> str:
    """The recipe's name with a number that no folder has, not even one that is no whole run any more."""
    pattern = re.compile(rf"{re.escape(project.recipe.name)}-(\d+)")
    names = [path.name for path in project.runs.iterdir()] if project.runs.is_dir() else []
    numbers = [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
    return f"{project.recipe.name}-{max(numbers, default=0) + 1}"


def check_same_recipe(project: Project, run_dir: Path, wanted: dict[str, str]) -> None:
    made_with = run_card(run_dir)
    if made_with.get("recipe") != wanted["recipe"]:
        theirs = recipes.load(run_dir / "recipe.toml")
        keys = ", ".join(differing_keys(theirs.model_dump(mode="json"), project.recipe.model_dump(mode="json"))[:5])
        raise UserError(
            f"Run {run_dir.name} was made with another recipe (different: {keys}). Leave --run out to start a new run."
        )
    if made_with.get("data") != wanted["data"]:
        raise UserError(
            f"Run {run_dir.name} was trained on other text than data/ holds now. Leave --run out to start a new run."
        )


def differing_keys(a: Any, b: Any, path: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            key
            for name in sorted(a.keys() | b.keys())
            for key in differing_keys(a.get(name), b.get(name), f"{path}.{name}" if path else name)
        ]
    return [] if a == b else [path]


def list_runs(root: Path) -> list[str]:
    """Names of the runs, oldest first."""
    folder = root / "runs"
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if (path / "run.json").is_file() and not path.is_symlink()]
    return [
        path.name for path in sorted(found, key=lambda path: (run_card(path).get("created", ""), run_number(path.name)))
    ]


def run_number(name: str) -> int:
    match = re.search(r"(\d+)$", name)
    return int(match[1]) if match else 0


def run_card(run_dir: Path) -> dict[str, Any]:
    card = read_json(run_dir / "run.json")
    return card if isinstance(card, dict) else {}


def make_current(root: Path, run: str) -> None:
    """Points runs/current at a run, atomically; a text file stands in where links are not to be had."""
    link, temporary = root / "runs" / "current", root / "runs" / f".current.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(run)
    except OSError:
        temporary.write_text(run, encoding="utf-8")
    temporary.replace(link)


def current_run(root: Path) -> str:
    """The run that runs/current names, else the newest one.

    Raises:
        UserError: there is no run yet.
    """
    link = root / "runs" / "current"
    if link.is_symlink():
        return link.readlink().name
    if link.is_file():
        return link.read_text(encoding="utf-8").strip()
    runs = list_runs(root)
    if not runs:
        raise UserError(f"{root} has no run yet: `plutao run {root}` makes one.")
    return runs[-1]


def resolve_model(spec: str | None, root: Path, stage: str | None = None) -> Path:
    """The model folder that RUN[:STAGE] means: a run's name, `current`, or a path to any model folder; last stage by default.

    Raises:
        UserError: no such run, stage or folder, with those that exist.
    """
    if spec and (Path(spec) / "config.json").is_file():
        return Path(spec)
    name, _, named_stage = (spec or "current").partition(":")
    stage = named_stage or stage
    run = current_run(root) if name == "current" else name
    run_dir = root / "runs" / run
    if not (run_dir / "run.json").is_file():
        run_dir = Path(name)
        if not (run_dir / "run.json").is_file():
            known = ", ".join(list_runs(root)) or "none yet"
            raise UserError(f"There is no run or model folder {name!r}. The runs in {root} are: {known}.")
    trained = [name for name in STAGES if name != "tokenizer" and (run_dir / name / "config.json").is_file()]
    speakers = [name for name in SPEAKERS if name in trained]
    if stage is None and trained and not speakers:
        raise UserError(f"Run {run_dir.name} has no stage that writes text. Name one of its own: {', '.join(trained)}.")
    if stage is None and not speakers:
        raise UserError(f"Run {run_dir.name} has no trained stage yet: `plutao run {root}` goes on with it.")
    if stage is not None and stage not in trained:
        raise UserError(f"Run {run_dir.name} has no stage {stage!r}. It has: {', '.join(trained) or 'none yet'}.")
    return run_dir / (stage or speakers[-1])


# ---------------------------------------------------------------------------------------------------------------------
# Stages


def whatever_is_in(path: Path) -> dict[str, Any]:
    """The content of a JSON file that may be missing or damaged: nothing, then."""
    try:
        content = read_json(path)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def is_complete(stage_dir: Path, inputs: str) -> bool:
    """Whether a stage is done, from these very inputs, and its files are there."""
    card = whatever_is_in(stage_dir / "stage.json")
    done = bool(card.get("complete")) and card.get("inputs") == inputs
    return done and all((stage_dir / name).is_file() for name in card.get("files", []))


def reuse_stage(project: Project, stage: str, inputs: str) -> str | None:
    """Takes a finished stage over from another run that made it from the same inputs; returns that run's name.

    Files are linked where the disk can, so that nothing is stored twice; checkpoints stay behind.
    """
    for run in reversed(list_runs(project.root)):
        other = project.runs / run / stage
        if run != project.run and is_complete(other, inputs):
            with atomic_folder(project.stage_dir(stage)) as folder:
                shutil.copytree(
                    other,
                    folder,
                    dirs_exist_ok=True,
                    copy_function=link_or_copy,
                    ignore=shutil.ignore_patterns("checkpoints"),
                )
            return run
    return None


def link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def sweep(project: Project) -> None:
    """Removes what killed processes left half written in the runs. Call it while holding the project (`only_one`)."""
    for leftover in [*project.runs.rglob(".*.tmp"), *project.runs.rglob(".*.old")]:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


@contextmanager
def only_one(project: Project) -> Iterator[None]:
    """Holds the project for one `plutao run` at a time.

    Raises:
        UserError: another process is at work in it, or the folder can't be written.
    """
    try:
        project.runs.mkdir(parents=True, exist_ok=True)
        lock = FileLock(project.runs / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"Another `plutao run` is at work in {project.root}: wait for it, stop it, or use another folder."
        ) from error
    except OSError as error:
        raise explain(error, project.runs / ".lock") from error
    try:
        yield
    finally:
        lock.release()
