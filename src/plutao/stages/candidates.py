"""What a given time would make of each size: tokens by the machine's speed, loss by the law of scaling."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from plutao.models.cost import Precision, flops_per_token, training_memory
from plutao.models.decoder import DecoderConfig
from plutao.models.hardware import Hardware
from plutao.models.plan import UTILISATION
from plutao.models.scaling import Law
from plutao.train.budget import READING
from plutao.train.probe import Speed, estimate

BATCHES = (4, 8, 16, 32, 64, 128, 256)
"""Rows a step that it picks from; fewer than 4 were not measured."""
MANY_EPOCHS = 4.0
"""Up to so many, text read again is nearly as good as fresh (Muennighoff et al. 2023); beyond, small models overfit last."""
TIE = 0.02
"""Losses that differ by less are equal to the law, whose own trainings lie up to 0.015 beside it."""
FEWEST_STEPS = 50
"""A training of fewer steps has no schedule to speak of."""
PROBE_SHARE = 0.05
"""Of the time given goes to trying speeds, at the most; one size is always tried."""
TRIAL_STEPS = 8
"""What a training given in minutes tries before it starts (`train.budget.try_speed`)."""


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
    too_large: bool = False
    """For the memory."""


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
        """All sizes; those are ruled out that are only preferred because so little text is left to learn from."""
        table = self.table(self.given.unique)
        plenty = best_of(self.table(math.inf))
        if plenty is None:
            return table
        return [
            replace(candidate, loss=None, obstacle="would learn this text by heart")
            if candidate.parameters > plenty.parameters
            and candidate.epochs > MANY_EPOCHS
            and candidate.loss is not None
            else candidate
            for candidate in table
        ]

    def table(self, unique: float) -> list[Candidate]:
        given = replace(self.given, seconds=self.given.seconds - self.spent, unique=unique)
        return [
            weigh(name, shape, self.speed(name), name in self.speeds, given, self.law)
            for name, shape in self.shapes.items()
        ]


def weigh(name: str, shape: DecoderConfig, speed: Speed, measured: bool, given: Given, law: Law) -> Candidate:
    """What the time makes of one size, with the batch that the law likes best."""

    def at(batch: int) -> Candidate:
        rate = speed.tokens_per_second(batch, given.context)
        step = batch * speed.row + speed.update
        reading = given.read / (READING * rate)
        tokens = rate * (given.seconds - min(speed.compiling, 5.0) - TRIAL_STEPS * step - reading)
        enough = tokens >= FEWEST_STEPS * batch * given.context
        loss = law.loss(shape.parameters(), tokens, batch * given.context, given.unique) if enough else None
        seen = max(0, round(tokens))
        obstacle = "" if enough else "is too slow for the time"
        return Candidate(
            name, shape.parameters(), batch, seen, seen / given.unique, round(rate, 1), measured, loss, obstacle
        )

    needed = training_memory(shape, 1, given.context, "muon", given.precision).total
    options = [at(batch) for batch in given.batches]
    best = min(options, key=lambda option: math.inf if option.loss is None else option.loss)
    if needed > given.memory:
        return replace(best, loss=None, obstacle=f"needs {needed / 1e9:.1f} GB of memory", too_large=True)
    return best


def best_of(candidates: Sequence[Candidate]) -> Candidate | None:
    """The lowest loss; among those that the law can't tell from it the largest, since what size is worth shows late."""
    possible = [candidate for candidate in candidates if candidate.loss is not None]
    lowest = min((candidate.loss or math.inf for candidate in possible), default=math.inf)
    near = [candidate for candidate in possible if (candidate.loss or math.inf) <= (1 + TIE) * lowest]
    return max(near, key=lambda candidate: candidate.parameters, default=None)


def listed_speed(shape: DecoderConfig, hardware: Hardware, devices: int, utilisation: float | None) -> Speed:
    """The speed of a shape on hardware that is not at hand, by its data sheet."""
    rate = devices * hardware.flops * (utilisation or UTILISATION) / flops_per_token(shape)
    return Speed(shape.context / rate, 0.0, 0.0)
