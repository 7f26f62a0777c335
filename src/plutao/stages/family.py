"""The family of language models trained side by side: the same text and tokenizer, a budget of time each.

Each member rests in runs/family/<member>/ as a run of its own, with the recipe it was made from, so `plutao complete`, `eval`
and `chat` know it as `--run family/<member>`. What was trained with the same settings before is kept; what was begun goes on.
"""

import gc
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from plutao import recipe as recipes
from plutao.data.sample import validation_texts
from plutao.errors import UserError
from plutao.files import write_json
from plutao.project import Project, is_complete, link_or_copy, whatever_is_in
from plutao.recipe import Recipe, Stage
from plutao.recipe.ancestors import NgramSettings, RecurrentSettings
from plutao.recipe.training import LENGTHS
from plutao.stages.card import read_card
from plutao.train.parallel import World
from plutao.train.progress import Progress

FAMILY = "family"
STAGE_OF: dict[str, Stage] = {
    "ngram": "ngram",
    "mlp": "recurrent",
    "rnn": "recurrent",
    "gru": "recurrent",
    "lstm": "recurrent",
    "decoder": "base",
}
"""The members, from the oldest to the newest, and the stage that trains each."""
PROMPT_CHARACTERS, PROMPT_BYTES = 24, 100_000
MEASURED_EVERY = 0.02
"""Seconds between two looks at the memory taken."""


def members_of(names: str | None) -> list[str]:
    """The members named in a list with commas, in the order of their age; all where nothing is named.

    Raises:
        UserError: one that is none of the family.
    """
    wanted = [name.strip() for name in names.split(",")] if names else list(STAGE_OF)
    if strange := [name for name in wanted if name not in STAGE_OF]:
        raise UserError(f"The family has no member {strange[0]!r}. Its members are: {', '.join(STAGE_OF)}.")
    return [name for name in STAGE_OF if name in wanted]


def recipe_of(recipe: Recipe, member: str, minutes: float) -> Recipe:
    """The recipe of one member: its own stage alone, trained for so many minutes; its shape is the recipe's."""
    length = dict.fromkeys(LENGTHS) | {"minutes": minutes}
    quiet = {"evaluate": 0, "sample_at": ()}
    others: dict[str, Any] = dict.fromkeys(stage for stage in recipes.STAGES[2:])
    if member == "ngram":
        others["ngram"] = recipe.ngram or NgramSettings()
    elif member == "decoder":
        base = recipe.base
        others["base"] = base.model_copy(update={key: length[key] for key in length if hasattr(base, key)} | quiet)
    else:
        settings = recipe.recurrent or RecurrentSettings()
        changes = {key: length[key] for key in length if hasattr(settings, key)} | quiet | {"kind": member}
        others["recurrent"] = settings.model_copy(update=changes)
    return recipe.model_copy(update=others)


def prepared(project: Project, member: str, minutes: float, data: str) -> Project:
    """The member's run: its recipe, the tokenizer of `project`, the documents named `data`. A run that was made otherwise
    makes room.
    """
    recipe = recipe_of(project.recipe, member, minutes)
    found = replace(project, recipe=recipe, run=f"{FAMILY}/{member}")
    made_with = {"recipe": recipe.fingerprint, "data": data, "tokenizer": project.tokenizer().fingerprint}
    if member == "ngram":
        made_with["minutes"] = str(minutes)  # how much is counted depends on it
    if whatever_is_in(found.run_dir / "run.json") != made_with:
        shutil.rmtree(found.run_dir, ignore_errors=True)
        found.run_dir.mkdir(parents=True)
        shutil.copytree(project.stage_dir("tokenizer"), found.stage_dir("tokenizer"), copy_function=link_or_copy)
        recipes.save(recipe, found.run_dir / "recipe.toml")
        write_json(found.run_dir / "run.json", made_with)
    return found


def prompt_of(project: Project) -> str:
    """What all members continue: the recipe's first prompt, else how the validation text begins."""
    given = project.recipe.base.sample_prompts
    texts = validation_texts(project.documents, limit=PROMPT_BYTES)
    return given[0] if given else next(iter(texts)).text[:PROMPT_CHARACTERS]


@dataclass(frozen=True)
class Trained:
    """A member that is there: its folder, its stage's card, and whether it was there before."""

    member: str
    folder: Path
    card: dict[str, Any]
    kept: bool


def train(project: Project, member: str, minutes: float, progress: Progress) -> Trained:
    """Trains one member of a prepared project, goes on with it, or finds it done."""
    stage = STAGE_OF[member]
    module = import_module(f"plutao.stages.{stage}")
    out = project.stage_dir(stage)
    inputs = module.inputs(project)
    if is_complete(out, inputs):
        return Trained(member, out, read_card(out), kept=True)
    module.check(project.recipe, project.root)
    with peak_memory() as memory:
        module.run(project, World(), progress, minutes if member == "ngram" else None)
    card = read_card(out) | {"peak_memory": memory.most}
    write_json(out / "stage.json", card)
    return Trained(member, out, card, kept=False)


@dataclass
class Memory:
    """Bytes of memory taken at the most, above what the program had before; None where the system does not tell."""

    most: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)


@contextmanager
def peak_memory() -> Iterator[Memory]:
    """Watches the memory of the process (Linux) while the block runs."""
    gc.collect()
    memory, before = Memory(), resident()

    def watch() -> None:
        while not memory.stop.wait(MEASURED_EVERY):
            memory.most = max(memory.most or 0, resident() - before)

    thread = threading.Thread(target=watch, daemon=True)
    if before:
        thread.start()
    try:
        yield memory
    finally:
        memory.stop.set()
        if before:
            thread.join()


def resident() -> int:
    """Bytes of physical memory this process takes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    import resource

    return pages * resource.getpagesize()
