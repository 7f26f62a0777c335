"""The time dial: the best model that this machine can train in a given time, chosen before training and with reasons.

It tries how fast the machine trains a few sizes, works out how many tokens each would see in the time, asks the law of
scaling what loss that makes, and takes the lowest. The choice is kept in the run, so that a resumed run goes on with it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from plutao import recipe as recipes
from plutao.data.shards import ShardIndex
from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models import scaling
from plutao.models.decoder import DecoderConfig
from plutao.models.hardware import Hardware, available_memory
from plutao.models.presets import OWN, PRESETS
from plutao.models.scaling import Law
from plutao.project import Project, is_complete
from plutao.recipe import Recipe
from plutao.stages import base
from plutao.stages.candidates import BATCHES, Candidate, Given, Trial, best_of, listed_speed
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.probe import Memory, Speed, measure
from plutao.train.progress import clock

Note = Callable[[str], None]

SIZES = tuple(name for name, preset in PRESETS.items() if preset.source == OWN)
"""The shapes that the dial picks from, small to large."""
SHAPE_KEYS = ("layers", "width", "heads", "kv_heads", "hidden")


@dataclass(frozen=True)
class Choice:
    """What was chosen, from what, and why."""

    recipe: Recipe
    """The recipe with the chosen shape and batch."""
    preset: str
    batch: int
    minutes: float
    table: list[Candidate]
    reasons: list[str]
    law: Law
    probing: float = 0.0
    """Seconds that trying speeds took."""

    def as_json(self) -> dict[str, Any]:
        """All but the recipe, which rests beside it."""
        kept = {"preset": self.preset, "batch": self.batch, "minutes": round(self.minutes, 3)}
        found = {"reasons": self.reasons, "table": [asdict(candidate) for candidate in self.table]}
        return kept | found | {"law": self.law.as_json(), "probing_seconds": round(self.probing, 2)}


@dataclass(frozen=True)
class Text:
    """What the dial needs to know of a text: tokens to train on (infinite if unknown), and to measure with."""

    tokens: float = math.inf
    validation: int = 0


def settle(
    project: Project,
    minutes: float,
    note: Note,
    overrides: Iterable[str] = (),
    keep_size: bool = False,
    processes: int = 1,
) -> Project:
    """The project with the size and batch to train its base stage by: those chosen when this run began, else chosen now
    and kept in the run's dial.json. A base model that is there, or was begun without a choice, stays as it is.

    Args:
        minutes: wall time for the base stage, from now on.
        overrides: the `--set` of the command line; what they fix is not chosen.
        processes: that will train together.

    Raises:
        UserError: as `choose`; or the run began with another size than is to be kept.
    """
    keep_size = keep_size or fixes_shape(project.recipe, overrides)
    before = settled(project)
    if (project.run_dir / "dial.json").is_file():
        if keep_size and before.recipe.model.preset != project.recipe.model.preset:
            raise UserError(
                f"Run {project.run} was begun with {before.recipe.model.preset}, not with the recipe's own size: "
                "name a new run with --run."
            )
        return before
    begun = any((project.stage_dir("base") / "checkpoints").glob("*"))
    if begun or is_complete(project.stage_dir("base"), base.inputs(project)):
        return project
    keep_batch = any(key_of(override) in ("base.batch", "base.micro_batch") for override in overrides)
    tokenizer, shards = project.tokenizer(), project.shards()
    chosen = choose(project.recipe, shards, tokenizer, minutes, project, note, keep_size, keep_batch, processes)
    for line in [*lines_of(chosen), *chosen.reasons]:
        note(line)
    write_json(project.run_dir / "dial.json", chosen.as_json())
    recipes.save(chosen.recipe, project.run_dir / "recipe.toml")
    return replace(project, recipe=chosen.recipe)


def settled(project: Project) -> Project:
    """The project with what was chosen when its run began; as it is where nothing was chosen."""
    path = project.run_dir / "dial.json"
    if not path.is_file():
        return project
    kept = read_json(path)
    return replace(project, recipe=with_choice(project.recipe, kept["preset"], kept["batch"]))


def choose(
    recipe: Recipe,
    shards: ShardIndex,
    tokenizer: Tokenizer,
    minutes: float,
    project: Project,
    note: Note,
    keep_size: bool = False,
    keep_batch: bool = False,
    processes: int = 1,
) -> Choice:
    """The size and batch that reach the lowest loss in `minutes` on this machine.

    Args:
        keep_size: the recipe's own shape stays; its speed is tried, so that the batch can be chosen.
        keep_batch: the recipe's own batch stays.
        processes: that train together, each as fast as this one.

    Raises:
        UserError: not even the smallest fits into the time or the memory.
    """
    text = Text(shards.tokens(), shards.tokens("validation"))
    shapes = shapes_of(recipe, tokenizer.vocabulary_size, project.root, keep_size)
    batches = [recipe.base.batch] if keep_batch else [batch for batch in BATCHES if batch % processes == 0]
    return choose_shape(recipe, shapes, text, minutes, project.root, note, batches or [processes], processes)


def choose_shape(
    recipe: Recipe,
    shapes: dict[str, DecoderConfig],
    text: Text,
    minutes: float,
    root: Path,
    note: Note,
    batches: Sequence[int] = BATCHES,
    processes: int = 1,
) -> Choice:
    """As `choose`, among `shapes` (by preset), for a text of which little is known."""
    device = devices.choose(recipe.base.precision, recipe.base.compile)
    free = available_memory() if device.kind == "cpu" else math.inf
    given = given_of(recipe, shapes, text, minutes, batches, free)
    given = replace(given, precision="bf16" if device.precision == "bf16" else "fp32")
    memory = Memory(root / "data" / "speed.json" if (root / "data").is_dir() else None, recipe.base, device)
    law = law_of(root)

    def try_speed(shape: DecoderConfig) -> tuple[Speed, bool]:
        speed, known = tried_speed(shape, recipe, device, memory, note)
        return replace(speed, row=speed.row / processes), known

    tried = Trial(shapes, given, law, try_speed)
    tried.run()
    return conclude(recipe, tried, minutes)


def choose_listed(
    recipe: Recipe,
    shapes: dict[str, DecoderConfig],
    text: Text,
    minutes: float,
    root: Path,
    hardware: Hardware,
    count: int,
    utilisation: float | None,
) -> Choice:
    """As `choose_shape`, for `count` devices of hardware that is not at hand, by its data sheet."""
    batches = [batch for batch in BATCHES if batch % count == 0] or [count]
    given = given_of(recipe, shapes, text, minutes, batches, hardware.memory)
    speeds = {name: listed_speed(shape, hardware, count, utilisation) for name, shape in shapes.items()}
    tried = Trial(shapes, given, law_of(root), lambda shape: (listed_speed(shape, hardware, count, utilisation), True))
    tried.speeds = speeds
    return conclude(recipe, tried, minutes)


def given_of(
    recipe: Recipe,
    shapes: dict[str, DecoderConfig],
    text: Text,
    minutes: float,
    batches: Sequence[int],
    memory: float,
) -> Given:
    looks = recipe.base.evaluate * recipe.base.evaluate_tokens
    context = min(recipe.model.context, *(shape.context for shape in shapes.values()))
    return Given(60 * minutes, context, batches, text.tokens, 2 * (text.validation + looks), memory)


def tried_speed(
    shape: DecoderConfig, recipe: Recipe, device: devices.Device, memory: Memory, note: Note
) -> tuple[Speed, bool]:
    """The speed of a shape, and whether it was known from before."""
    if (known := memory.get(shape)) is not None:
        return known, True
    note(f"Trying how fast {shape.parameters() / 1e6:.1f}M parameters train here …")
    speed = measure(shape, recipe.base, device, min(recipe.base.batch, 8) if device.kind == "cpu" else 32)
    memory.put(shape, speed)
    return speed, False


def conclude(recipe: Recipe, tried: Trial, minutes: float) -> Choice:
    """The best candidate as a choice with its reasons; where none has time enough the smallest is trained all the same.

    Raises:
        UserError: not even the smallest fits into the memory.
    """
    table = tried.candidates()
    best = best_of(table)
    if best is None:
        best = table[0]
        if best.too_large:
            raise UserError(f"Not even {best.preset} can be trained here: it {best.obstacle}. Lower model.context.")
        reasons = [f"{clock(60 * minutes)} are short: {best.preset} {best.obstacle}, and is trained as far as it goes."]
    else:
        reasons = explain(best, table, tried, minutes)
    changed = with_choice(recipe, best.preset, best.batch)
    return Choice(changed, best.preset, best.batch, minutes, table, reasons, tried.law, tried.spent)


def explain(best: Candidate, table: Sequence[Candidate], tried: Trial, minutes: float) -> list[str]:
    """Why, in a few lines."""
    given, law = tried.given, tried.law
    if len(table) == 1:
        reasons = [f"The size is kept: {best.preset} of {best.parameters / 1e6:.1f}M parameters."]
    else:
        reasons = [f"{best.preset} for {clock(60 * minutes)}: {beside(best, table)}."]
    if any(candidate.loss and best.loss and candidate.loss < best.loss for candidate in table):
        reasons.append("Losses within 2% are equal to the law; of equals the largest is taken, whose size shows later.")
    critical = law.K * best.tokens**scaling.BATCH_POWER
    reasons.append(
        f"Steps of {best.batch} × {given.context} tokens: larger ones compute faster, smaller ones learn more from each "
        f"token (at this length a step of {critical:,.0f} tokens halves what a token teaches)."
    )
    if best.epochs > 1:
        worth = scaling.useful_tokens(best.tokens, 0, given.unique, law.K)
        reasons.append(f"The text is read {best.epochs:.1f} times, which is worth {worth:,.0f} fresh tokens.")
    return [*reasons, f"The law is of {law.source}; how low the loss gets depends on the text."]


def beside(best: Candidate, table: Sequence[Candidate]) -> str:
    """The choice against its neighbours, in words."""
    place = table.index(best)
    said = []
    for other, words in (
        (table[place - 1] if place else None, "smaller, would see more text and hold less of it"),
        (table[place + 1] if place + 1 < len(table) else None, "larger, would see too little text"),
    ):
        if other is not None and other.loss is None:
            said.append(f"{other.preset} {other.obstacle}")
        elif other is not None and other.loss is not None and best.loss is not None:
            said.append(f"{other.preset}, {words} ({other.loss - best.loss:+.3f} bits per byte)")
    return "; ".join(said)


def lines_of(choice: Choice) -> list[str]:
    """The table in plain lines; the chosen size is marked. A speed after ~ follows from those that were tried."""
    line = "{:<2}{:<14}{:>13}{:>13}{:>17}{:>8}{:>6}  {}"
    titles = ("", "size", "parameters", "tokens/s", "tokens", "epochs", "rows", "predicted bits per byte")
    rows = [
        line.format(
            "▶" if candidate.preset == choice.preset else "",
            candidate.preset,
            f"{candidate.parameters:,}",
            ("" if candidate.measured else "~") + f"{candidate.tokens_per_second:,.0f}",
            f"{candidate.tokens:,}",
            f"{candidate.epochs:.2f}" if candidate.epochs else "–",
            candidate.batch,
            candidate.obstacle if candidate.loss is None else f"{candidate.loss:.3f}",
        )
        for candidate in choice.table
    ]
    return [line.format(*titles), *rows]


# ---------------------------------------------------------------------------------------------------------------------
# Recipes, shapes, laws


def shapes_of(recipe: Recipe, vocabulary: int, root: Path, keep_size: bool) -> dict[str, DecoderConfig]:
    """The shapes to choose from, by preset."""
    names = [recipe.model.preset] if keep_size else SIZES
    return {name: base.shape(with_choice(recipe, name, recipe.base.batch), vocabulary, root) for name in names}


def with_choice(recipe: Recipe, preset: str, batch: int) -> Recipe:
    """The recipe with another size (its own numbers of layers and the like fall away) and batch."""
    shape = {} if preset == recipe.model.preset else dict.fromkeys(SHAPE_KEYS)
    micro = recipe.base.micro_batch
    micro = micro if micro is not None and batch % micro == 0 else None
    return recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"preset": preset, **shape}),
            "base": recipe.base.model_copy(update={"batch": batch, "micro_batch": micro}),
        }
    )


def fixes_shape(recipe: Recipe, overrides: Iterable[str]) -> bool:
    """Whether somebody said which shape it shall be: by --set, or by more in the recipe than a preset."""
    keys = {f"model.{key}" for key in ("preset", *SHAPE_KEYS)}
    in_recipe = any(getattr(recipe.model, key, None) is not None for key in (*SHAPE_KEYS, "start_from"))
    return in_recipe or any(key_of(override) in keys for override in overrides)


def key_of(override: str) -> str:
    return override.partition("=")[0].strip()


def law_of(root: Path) -> Law:
    """The project's own law, where `plutao compare --scaling` fitted one; else the one that ships."""
    path = root / "runs" / "scaling" / "law.json"
    return Law(**read_json(path)) if path.is_file() else scaling.DEFAULT
