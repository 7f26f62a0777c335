"""How long a training is: steps, or seconds that a machine of changing speed turns into steps; and when to look on the way."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from plutao.recipe import TrainSettings
from plutao.train import parallel
from plutao.train.guard import Guard
from plutao.train.optimizer import Optimizers

if TYPE_CHECKING:
    from plutao.train.loop import Training

TRIAL = 0.05  # of the time given, trying the speed takes about so much at most
READING = 2.0  # times as fast as training: 1.7 at 1M parameters, 2.6 at 3M, for it is not compiled
LOOKING = 0.1  # of the time given, validations on the way take so much at most: in a short training fewer are made
REPLAN = 0.05  # a training limited by time looks at its clock after each such share of its steps


@dataclass
class Budget:
    """How long to train: a number of steps, or seconds of wall time."""

    steps: int | None = None
    seconds: float | None = None
    measured_tokens: int = 0
    """Tokens that are only read afterwards, to measure the model: their time is taken off `seconds`."""

    @property
    def looking(self) -> float:
        """Seconds that validations on the way may take together."""
        return math.inf if self.seconds is None else LOOKING * self.seconds

    def for_training(self, tokens_per_second: float) -> float:
        """The seconds left to training by a machine that trains at this speed."""
        assert self.seconds is not None
        return self.seconds - (self.measured_tokens / (READING * tokens_per_second) if tokens_per_second else 0.0)


def plan(training: "Training", budget: Budget) -> None:
    """Fixes the number of steps; where only the time is given, by trying the speed and undoing what was tried."""
    if budget.steps is not None:
        training.steps = budget.steps
        return
    assert budget.seconds is not None
    started = time.perf_counter()
    step_seconds, tokens = try_speed(training, TRIAL * budget.seconds)
    training.seconds += time.perf_counter() - started
    seconds = budget.for_training(tokens / step_seconds)
    room = (seconds - training.seconds) / step_seconds
    training.steps = agreed(training, room, at_least=1)
    said = f"{training.steps} steps of {step_seconds:.3f} s fit into {seconds:.0f} s"
    if room < 1:
        said = f"The time was up before the first step (one takes {step_seconds:.3f} s): one is made; give it more time"
    training.write({"event": said})


def try_speed(training: "Training", seconds: float, steps: int = 6) -> tuple[float, int]:
    """Seconds a step takes here, all processes agreeing, and its tokens; weights, batches and random numbers end as
    they began. Where steps are long (those of reinforcement learning write texts first) fewer are tried, once `seconds`
    have gone by.
    """
    weights = {name: tensor.detach().clone() for name, tensor in training.model.state_dict().items()}
    batches, random = training.batches.state_dict(), torch.get_rng_state()
    times = []
    training.steps, guard, training.guard = 10**9, training.guard, Guard()
    for _ in range(2 + steps):  # the first two compile and warm up
        started, taken, tokens = time.perf_counter(), 0, 0
        while not taken or not training.at_rest:  # a round of rollouts is several steps, of which the first takes long
            tokens += training.accumulate()[1]
            parallel.sum_gradients(training.parameters, training.world)
            training.optimizer.step(0.0)
            training.optimizer.zero_grad()
            taken += 1
        times.append((time.perf_counter() - started) / taken)
        if len(times) > 2 and parallel.largest(taken * sum(times), training.world, training.device.place) > seconds:
            break
    training.model.load_state_dict(weights)
    training.batches.load_state_dict(batches)
    torch.set_rng_state(random)
    training.optimizer = Optimizers(training.model, training.settings.optimizer, training.device.kind)
    training.guard, training.steps = guard, 0
    middle = sorted(times[2:])[len(times[2:]) // 2]
    return parallel.largest(middle, training.world, training.device.place), tokens // taken


def replan(training: "Training", budget: Budget, looks_left: int) -> None:
    """Keeps a promise made in minutes on a machine whose speed changes: more or fewer steps for the time that is left.

    `looks_left` validations and samples are still to come; each is taken to last as those before did.
    """
    if budget.seconds is None or training.step == 0:
        return
    looked = sum(training.looks)
    looking = min(looks_left * looked / max(len(training.looks), 1), max(budget.looking - looked, 0.0))
    left = budget.for_training(training.speed) - training.elapsed - looking
    training.steps = agreed(
        training, training.step + round(left * training.step / training.stepping), at_least=training.step
    )


def agreed(training: "Training", steps: float, at_least: int) -> int:
    """A number of steps that all processes count to, though their clocks differ."""
    return int(parallel.largest(max(float(at_least), steps), training.world, training.device.place))


class Shares:
    """Which looks are due at which share of the training."""

    def __init__(self, settings: TrainSettings, start: float, fresh: bool) -> None:
        validations = [(number + 1) / (settings.evaluate + 1) for number in range(settings.evaluate)]
        self.validations = [share for share in validations if share > start or fresh]
        self.samples = [share for share in sorted(settings.sample_at) if share > start or fresh]
        self.replans = [share for k in range(1, round(1 / REPLAN)) if (share := k * REPLAN) > start]

    def validation_due(self, done: float) -> bool:
        return take(self.validations, done)

    def samples_due(self, done: float) -> bool:
        return take(self.samples, done)

    def replan_due(self, done: float) -> bool:
        return take(self.replans, done)


def take(shares: list[float], done: float) -> bool:
    """Whether one of the ascending `shares` is reached; those reached are removed."""
    due = bool(shares) and done >= shares[0] - 1e-9
    while shares and done >= shares[0] - 1e-9:
        shares.pop(0)
    return due
