"""The time dial: the best model that this machine can train in a given time, chosen before training and with reasons.

It tries how fast the machine trains a few sizes, works out how many tokens each would see in the time, asks the law of
scaling what loss that makes, and takes the lowest. The choice is kept in the run, so that a resumed run goes on with it.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from plutao.data.shards import ShardIndex
from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models import scaling
from plutao.models.cost import Precision, training_memory
from plutao.models.decoder import DecoderConfig
from plutao.models.hardware import available_memory
from plutao.models.presets import OWN, PRESETS
from plutao.models.scaling import Law
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.stages import base
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.probe import Memory, Speed, estimate, measure
from plutao.train.progress import Progress, clock

SIZES = tuple(name for name, preset in PRESETS.items() if preset.source == OWN)
"""The shapes that the dial picks from, small to large."""
BATCHES = (4, 8, 16, 32, 64, 128, 256)
"""Rows a step that it picks from; fewer than 4 were not measured."""
FEWEST_STEPS = 50
"""A training of fewer steps has no schedule to speak of."""
PROBE_SHARE = 0.05
"""Of the time given goes to trying speeds, at the most; one size is always tried."""
TRIAL_STEPS = 8
"""What a training given in minutes tries before it starts (`train.budget.try_speed`)."""
SHAPE_KEYS = ("layers", "width", "heads", "kv_heads", "hidden")


@dataclass(frozen=True)
class Candidate:
    """One size, and what the time would make of it."""

    preset: str
    parameters: int
    batch: int
    """Rows a step: those that the law likes best."""
    tokens: int
    epochs: float
    """How often each text is read."""
    tokens_per_second: float
    measured: bool
    """Whether the speed was tried here; else it follows from the sizes that were."""
    loss: float | None
    """Predicted bits per byte; None where it does not fit into memory or into the time."""
    obstacle: str = ""


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
class Given:
    """What does not depend on the size: the time, the text, and what is looked at."""

    seconds: float
    context: int
    batches: Sequence[int]
    unique: float = math.inf
    """Tokens of the training text; infinite where it is not known."""
    read: int = 0
    """Tokens that are only read, to measure: windows overlap by half, so each token counts twice."""
    memory: float = math.inf
    """Bytes."""
    precision: Precision = "bf16"


def settle(
    project: Project,
    shards: ShardIndex,
    tokenizer: Tokenizer,
    minutes: float,
    progress: Progress,
    overrides: Iterable[str] = (),
    keep_size: bool = False,
) -> Recipe:
    """The recipe to train the base stage by: as chosen when this run began, else chosen now and kept in base/dial.json.

    Args:
        minutes: wall time for the base stage, from now on.
        overrides: the `--set` of the command line; what they fix is not chosen.
    """
    path = project.stage_dir("base") / "dial.json"
    if path.is_file():
        kept = read_json(path)
        return with_choice(project.recipe, kept["preset"], kept["batch"])
    keep_size = keep_size or fixes_shape(project.recipe, overrides)
    keep_batch = any(key_of(override) in ("base.batch", "base.micro_batch") for override in overrides)
    chosen = choose(project.recipe, shards, tokenizer, minutes, project, progress, keep_size, keep_batch)
    if chosen.preset != project.recipe.model.preset or chosen.table:
        for line in [*lines_of(chosen), *chosen.reasons]:
            progress.note(line)
    write_json(path, chosen.as_json())
    return chosen.recipe


def choose(
    recipe: Recipe,
    shards: ShardIndex,
    tokenizer: Tokenizer,
    minutes: float,
    project: Project,
    progress: Progress,
    keep_size: bool = False,
    keep_batch: bool = False,
) -> Choice:
    """The size and batch that reach the lowest loss in `minutes` on this machine.

    Args:
        keep_size: the recipe's own shape stays; its speed is tried, so that the batch can be chosen.
        keep_batch: the recipe's own batch stays.

    Raises:
        UserError: not even the smallest fits into the time or the memory.
    """
    settings = recipe.base
    device = devices.choose(settings.precision, settings.compile)
    given = Given(
        seconds=60 * minutes,
        context=recipe.model.context,
        batches=[settings.batch] if keep_batch else BATCHES,
        unique=shards.tokens(),
        read=2 * (shards.tokens("validation") + settings.evaluate * settings.evaluate_tokens),
        memory=available_memory() if device.kind == "cpu" else math.inf,
        precision="bf16" if device.precision == "bf16" else "fp32",
    )
    shapes = shapes_of(recipe, tokenizer.vocabulary_size, keep_size)
    memory = Memory(project.data / "speed.json", settings, device)
    law = law_of(project.root)
    tried = Trial(shapes, given, law, lambda shape: tried_speed(shape, recipe, device, memory, progress))
    tried.run()
    return conclude(recipe, tried, minutes, law, keep_size)


def tried_speed(
    shape: DecoderConfig, recipe: Recipe, device: devices.Device, memory: Memory, progress: Progress
) -> tuple[Speed, bool]:
    """The speed of a shape, and whether it was known from before."""
    if (known := memory.get(shape)) is not None:
        return known, True
    progress.note(f"Trying how fast {shape.parameters() / 1e6:.1f}M parameters train here …")
    speed = measure(shape, recipe.base, device, min(recipe.base.batch, 8))
    memory.put(shape, speed)
    return speed, False


@dataclass
class Trial:
    """Trying the speeds of the sizes that matter, the most promising first, for a share of the time."""

    shapes: dict[str, DecoderConfig]
    given: Given
    law: Law
    try_speed: Callable[[DecoderConfig], tuple[Speed, bool]]
    """Returns the speed of a shape, and whether that took no time."""
    speeds: dict[str, Speed] = field(default_factory=dict)
    spent: float = 0.0

    def run(self) -> None:
        names = list(self.shapes)
        self.measure(names[min(1, len(names) - 1)])  # small enough to be tried within seconds anywhere
        while (name := self.next_one(names)) is not None:
            self.measure(name)

    def measure(self, name: str) -> None:
        started = time.perf_counter()
        self.speeds[name], known = self.try_speed(self.shapes[name])
        self.spent += 0.0 if known else time.perf_counter() - started

    def next_one(self, names: Sequence[str]) -> str | None:
        """The best so far if it was not tried, else a neighbour of it; None when the time for trying is over."""
        left = PROBE_SHARE * self.given.seconds - self.spent
        ranked = self.candidates()
        best = best_of(ranked)
        if best is None:
            return None
        place = names.index(best.preset)
        around = [names[place], *names[place + 1 : place + 2], *names[max(0, place - 1) : place]]
        for name in around:
            if name not in self.speeds and self.cost(name) <= left:
                return name
        return None

    def cost(self, name: str) -> float:
        """Seconds that trying a size will take, about."""
        speed = self.speed(name)
        return speed.compiling + TRIAL_STEPS * (8 * speed.row + speed.update)

    def speed(self, name: str) -> Speed:
        known = [(self.shapes[other], speed) for other, speed in self.speeds.items()]
        return self.speeds.get(name) or estimate(self.shapes[name], known)

    def candidates(self) -> list[Candidate]:
        return [
            weigh(name, shape, self.speed(name), name in self.speeds, self.given, self.law)
            for name, shape in self.shapes.items()
        ]


def weigh(name: str, shape: DecoderConfig, speed: Speed, measured: bool, given: Given, law: Law) -> Candidate:
    """What the time makes of one size, with the batch that the law likes best."""

    def at(batch: int) -> Candidate:
        rate = speed.tokens_per_second(batch, given.context)
        step = batch * speed.row + speed.update
        reading = given.read / (3 * rate)  # reading alone is about three times as fast as training
        tokens = rate * (given.seconds - min(speed.compiling, 5.0) - TRIAL_STEPS * step - reading)
        enough = tokens >= FEWEST_STEPS * batch * given.context
        loss = law.loss(shape.parameters(), tokens, batch * given.context, given.unique) if enough else None
        seen = max(0, round(tokens))
        obstacle = "" if enough else "too slow for the time"
        return Candidate(
            name, shape.parameters(), batch, seen, seen / given.unique, round(rate, 1), measured, loss, obstacle
        )

    needed = training_memory(shape, 1, given.context, "muon", given.precision).total
    options = [at(batch) for batch in given.batches]
    best = min(options, key=lambda option: math.inf if option.loss is None else option.loss)
    if needed > given.memory:
        return replace(best, loss=None, obstacle=f"needs {needed / 1e9:.1f} GB of memory")
    return best


def best_of(candidates: Sequence[Candidate]) -> Candidate | None:
    possible = [candidate for candidate in candidates if candidate.loss is not None]
    return min(possible, key=lambda candidate: candidate.loss or math.inf, default=None)


def conclude(recipe: Recipe, tried: Trial, minutes: float, law: Law, keep_size: bool) -> Choice:
    """The best candidate as a choice with its reasons.

    Raises:
        UserError: no candidate fits.
    """
    table = tried.candidates()
    best = best_of(table)
    if best is None:
        if keep_size:  # the recipe's own shape is trained for as long as there is
            return Choice(recipe, recipe.model.preset, recipe.base.batch, minutes, table, [], law, tried.spent)
        smallest = table[0]
        raise UserError(
            f"{clock(60 * minutes)} are too short to train anything here: {smallest.preset} is {smallest.obstacle}. "
            "Give --time more, or less text to measure with (data.validation)."
        )
    changed = with_choice(recipe, best.preset if not keep_size else recipe.model.preset, best.batch)
    reasons = explain(best, table, tried, minutes, law, keep_size)
    return Choice(changed, changed.model.preset, best.batch, minutes, table, reasons, law, tried.spent)


def explain(
    best: Candidate, table: Sequence[Candidate], tried: Trial, minutes: float, law: Law, keep_size: bool
) -> list[str]:
    """Why, in a few lines."""
    given = tried.given
    reasons = []
    if keep_size:
        reasons.append(f"The recipe's own shape is kept: {best.parameters / 1e6:.1f}M parameters.")
    else:
        place = [candidate.preset for candidate in table].index(best.preset)
        reasons.append(f"{best.preset} for {clock(60 * minutes)}: {beside(best, table, place)}.")
    reasons.append(
        f"Steps of {best.batch} × {given.context} tokens: larger ones compute faster and learn less from each token "
        f"(critical batch {law.K * best.tokens**scaling.BATCH_POWER:,.0f} tokens at this length)."
    )
    if best.epochs > 1:
        worth = scaling.useful_tokens(best.tokens, 0, given.unique, law.K)
        reasons.append(
            f"The text is read {best.epochs:.1f} times: {best.tokens:,} tokens are worth {worth:,.0f} fresh ones."
        )
    reasons.append(f"The law: {law.source}. It compares sizes; how low the loss gets depends on the text.")
    return reasons


def beside(best: Candidate, table: Sequence[Candidate], place: int) -> str:
    """The choice against its neighbours, in words."""
    said = []
    for other, words in (
        (table[place - 1] if place else None, "smaller, would see more text but hold less of it"),
        (table[place + 1] if place + 1 < len(table) else None, "larger, would see too little text"),
    ):
        if other is None:
            continue
        if other.loss is None:
            said.append(
                f"{other.preset} is {other.obstacle}"
                if "slow" in other.obstacle
                else f"{other.preset} {other.obstacle}"
            )
        else:
            assert best.loss is not None
            said.append(f"{other.preset}, {words} ({other.loss - best.loss:+.3f} bits per byte)")
    return "; ".join(said) or "the only size there is"


def lines_of(choice: Choice) -> list[str]:
    """The table in plain lines; the chosen size is marked."""
    lines = ["  size            parameters   tokens/s      tokens  epochs  rows  predicted bits per byte"]
    for candidate in choice.table:
        mark = "▶" if candidate.preset == choice.preset else " "
        about = " " if candidate.measured else "~"
        predicted = candidate.obstacle if candidate.loss is None else f"{candidate.loss:.3f}"
        lines.append(
            f"{mark} {candidate.preset:<14}{candidate.parameters:>12,}{about + format(candidate.tokens_per_second, ',.0f'):>11}"
            f"{candidate.tokens:>12,}{candidate.epochs:>8.2f}{candidate.batch:>6}  {predicted}"
        )
    return lines


# ---------------------------------------------------------------------------------------------------------------------
# Recipes, shapes, laws


def shapes_of(recipe: Recipe, vocabulary: int, keep_size: bool) -> dict[str, DecoderConfig]:
    """The shapes to choose from, by preset."""
    if keep_size:
        return {recipe.model.preset: base.shape(recipe, vocabulary)}
    return {name: base.shape(with_choice(recipe, name, recipe.base.batch), vocabulary) for name in SIZES}


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
    """Whether somebody said which shape it shall be: by --set, or by numbers in the recipe instead of a preset alone."""
    keys = {f"model.{key}" for key in ("preset", *SHAPE_KEYS)}
    in_recipe = any(getattr(recipe.model, key) is not None for key in SHAPE_KEYS)
    return in_recipe or any(key_of(override) in keys for override in overrides)


def key_of(override: str) -> str:
    return override.partition("=")[0].strip()


def law_of(root: Path) -> Law:
    """The project's own law, where `plutao compare --scaling` fitted one; else the one that ships."""
    path = root / "runs" / "scaling" / "law.json"
    return Law(**read_json(path)) if path.is_file() else scaling.DEFAULT
