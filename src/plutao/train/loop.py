"""The one loop that trains every model: draw a batch, compute the loss, follow the gradient, look, save.

It knows objectives and batches, never a stage. What it promises: the same seed, data, threads and number of steps give the
same weights bit by bit (CPU), whether or not it was killed and resumed on the way.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from plutao.errors import Interrupted, UserError
from plutao.recipe import TrainSettings
from plutao.train import checkpoint, parallel
from plutao.train.budget import Budget, Shares, plan, replan
from plutao.train.device import Device
from plutao.train.guard import Guard
from plutao.train.metrics import JsonLines, Sink, extra_sinks
from plutao.train.objectives import Objective
from plutao.train.optimizer import Optimizers
from plutao.train.parallel import World
from plutao.train.progress import Progress, Silence
from plutao.train.schedule import rate

LOG_SECONDS = 1.0  # between lines of metrics.jsonl, at the least


class Ended(Exception):
    """Raised by batches that have come to their end, or see that going on would do harm; the words say why."""


class Batches(Protocol):
    """An iterator of batches, endless or until it raises `Ended`, that can say where it stands and go back there.

    A batch has `weight` (how much it counts beside others of its step), `rows`, `split(rows)` and `to(device)`; it may
    have `metrics`, numbers that are written down with its step. Batches that can't say where they stand at every moment
    have `at_rest`, which tells whether they can now: checkpoints, and stops on request, wait for it.
    """

    def __next__(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@runtime_checkable
class OwnStep(Protocol):
    """A model that moves its own weights, as word vectors do: a batch touches few rows of large tables, one after the
    other, and a gradient of the whole tables would cost more than all the rest.
    """

    def learn(self, batch: Any, learning_rate: float, /) -> float:
        """Learns from a batch; returns the mean loss in nats."""
        ...


Evaluate = Callable[[nn.Module], dict[str, float]]
Sample = Callable[[nn.Module], list[dict[str, str]]]


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    steps: int
    tokens: int
    seconds: float
    """Wall time of the training, pauses between resumptions left out."""
    tokens_per_second: float
    """While stepping: validation, samples and checkpoints left out."""
    loss: float
    """Mean training loss of the last tenth of the steps, in nats."""
    skipped: int
    """Steps the guard skipped."""
    ended: str | None = None
    """Why the batches ended the training early; None where it took all its steps."""


class Training:
    """A training in progress. `fit` is the way in."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective | None,
        batches: Batches,
        settings: TrainSettings,
        out: Path,
        device: Device,
        world: World,
        progress: Progress,
    ) -> None:
        self.model, self.objective, self.batches, self.settings = model, objective, batches, settings
        self.out, self.device, self.world, self.progress = out, device, world, progress
        self.optimizer = Optimizers(model, settings.optimizer, device.kind)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.guard = Guard()
        self.steps = 0  # planned; 0 until known
        self.step = self.tokens = 0
        self.seconds = self.stepping = 0.0
        self.losses: list[float] = []
        self.looks: list[float] = []  # seconds each validation and each sample took
        self.looking = math.inf  # seconds that they may take together
        self.last_logged = -math.inf
        self.stop: str | None = None
        self.ended: str | None = None
        self.lines = JsonLines(out / "metrics.jsonl") if world.first else None
        self.sinks: list[Sink] = [self.lines, *extra_sinks(settings.sinks, out)] if self.lines else []
        self.resumed_at: int | None = None
        self.since: float | None = None  # when this process began to train

    # ------------------------------------------------------------------------------------------------------- one step

    def take_step(self) -> None:
        """One optimizer step over one batch, in pieces that fit; skipped where the guard sees harm."""
        started = time.perf_counter()
        self.model.train()
        share = rate(self.step, self.steps, self.settings.schedule)
        if isinstance(self.model, OwnStep):
            loss, tokens, metrics, norm = *self.let_learn(self.model, share), None
        else:
            loss, tokens, metrics = self.accumulate()
            parallel.sum_gradients(self.parameters, self.world)
            norm = float(nn.utils.clip_grad_norm_(self.parameters, self.settings.optimizer.clip))
        trouble = self.guard.trouble(loss, norm or 0.0)
        if trouble is None:
            self.optimizer.step(share)
            self.losses.append(loss)
        self.optimizer.zero_grad()
        self.step += 1
        self.tokens += tokens
        self.stepping += time.perf_counter() - started
        if trouble is not None:
            self.write({"event": f"step skipped: {trouble}", "skipped": self.guard.skipped})
            self.progress.note(f"Step {self.step} was skipped: {trouble}.")
        elif time.perf_counter() - self.last_logged > LOG_SECONDS or self.step in (1, self.steps):
            self.last_logged = time.perf_counter()
            peak = self.optimizer.peaks[0] if self.optimizer.peaks else self.settings.optimizer.learning_rate
            told = {"gradient_norm": norm} if norm is not None else {}
            speed = {"tokens_per_second": round(self.speed, 1)}
            self.write({"loss": loss, "learning_rate": peak * share, **told, **speed, **metrics})
            if metrics:
                self.progress.figures(metrics)

    def let_learn(self, model: "OwnStep", share: float) -> tuple[float, int, dict[str, float]]:
        """The next batch, learned by the model itself; as `accumulate` (in one process: there is no gradient to share)."""
        batch = next(self.batches)
        loss = model.learn(batch, share * self.settings.optimizer.learning_rate)
        return loss, int(batch.tokens.numel()), {}

    def accumulate(self) -> tuple[float, int, dict[str, float]]:
        """Gradients of the next batch; returns (mean loss per learned target, tokens, what batch and objective tell of
        themselves), over all processes.
        """
        assert self.objective is not None, "only a model with steps of its own does without"
        batch = next(self.batches)
        metrics: dict[str, float] = dict(getattr(batch, "metrics", {}))
        if metrics:  # they come once, and their line must be written
            self.last_logged = -math.inf
        weight = parallel.total(batch.weight, self.world, self.device.place)
        loss_sum = torch.zeros((), device=self.device.place)
        of_pieces: dict[str, float] = {}
        for piece in batch.split(self.settings.micro_batch or batch.rows):
            with self.device.autocast():
                loss, told = self.objective(self.model, piece.to(self.device.place))
            share = piece.weight / weight
            scaled = loss * share
            scaled.backward()
            loss_sum += scaled.detach()
            for name, value in told.items():
                of_pieces[name] = of_pieces.get(name, 0.0) + value * share
        tokens = parallel.total(batch.tokens.numel(), self.world, self.device.place)
        for name, value in sorted(of_pieces.items()):
            metrics[name] = parallel.total(value, self.world, self.device.place)
        return parallel.total(float(loss_sum), self.world, self.device.place), int(tokens), metrics

    @property
    def speed(self) -> float:
        """Tokens per second of stepping so far."""
        return self.tokens / self.stepping if self.stepping else 0.0

    # --------------------------------------------------------------------------------------------------------- looking

    def write(self, line: dict[str, Any]) -> None:
        """One line of metrics, with where it was taken."""
        for sink in self.sinks:
            sink.write({"step": self.step, "tokens": self.tokens, "seconds": round(self.elapsed, 3), **line})

    @property
    def elapsed(self) -> float:
        return self.seconds + (time.perf_counter() - self.since if self.since is not None else 0.0)

    def look(self, evaluate: Evaluate | None, sample: Sample | None, shares: Shares) -> None:
        """Validation and samples, where they are due; compiled code stays out, for their shapes are others."""
        done = self.step / self.steps
        started = time.perf_counter()
        before = len(shares.validations) + len(shares.samples)
        self.model.eval()
        if evaluate is not None and shares.validation_due(done) and self.may_look():
            with without_compiling(self.device):
                self.write({"validation": evaluate(self.model)})
        if sample is not None and shares.samples_due(done) and self.world.first:
            with without_compiling(self.device):
                samples = sample(self.model)
            self.write({"samples": samples})
            self.progress.samples(self.step, samples)
        self.model.train()
        if len(shares.validations) + len(shares.samples) < before:
            self.looks.append(time.perf_counter() - started)

    def may_look(self) -> bool:
        """Whether another validation fits into the time for looks, taking as long as the longest look so far."""
        spent = sum(self.looks) + max(self.looks, default=0.0)
        return parallel.largest(spent, self.world, self.device.place) <= self.looking

    # ---------------------------------------------------------------------------------------------------------- saving

    @property
    def at_rest(self) -> bool:
        """Whether a checkpoint may be taken now."""
        return bool(getattr(self.batches, "at_rest", True))

    def save(self) -> None:
        """A checkpoint of this very moment."""
        if not self.world.first or self.lines is None:
            return
        state = {
            "steps": self.steps,
            "micro_batch": self.settings.micro_batch,
            "tokens": self.tokens,
            "seconds": self.elapsed,
            "stepping": self.stepping,
            "losses": self.losses[-max(1, self.steps // 10) :],
            "batches": self.batches.state_dict(),
            "guard": self.guard.state_dict(),
            "metrics_size": self.lines.size,
            "ended": self.ended,
        }
        checkpoint.save(
            self.out / "checkpoints", self.step, self.model, self.optimizer, state, self.settings.keep_checkpoints
        )

    def resume(self) -> None:
        """Goes back to the newest whole checkpoint, if there is one."""
        found = checkpoint.load(self.out / "checkpoints")
        if found is None:
            if self.lines:
                self.lines.cut(0)
            return
        for name in found.damaged:
            self.progress.note(f"Checkpoint {name} is damaged; going on from step {found.step} instead.")
        checkpoint.restore(self.model, found.model)
        self.optimizer.load_state_tensors(found.optimizer)
        self.batches.load_state_dict(found.state["batches"])
        self.guard.load_state_dict(found.state["guard"])
        self.step, self.steps = found.step, found.state["steps"]
        self.tokens, self.seconds = found.state["tokens"], found.state["seconds"]
        self.stepping, self.losses = found.state["stepping"], found.state["losses"]
        self.ended = found.state.get("ended")
        self.resumed_at = found.step
        # Other pieces add up in another order: the last bit of the weights would depend on how much memory is free today.
        self.settings = self.settings.model_copy(update={"micro_batch": found.state["micro_batch"]})
        if self.lines:
            self.lines.cut(found.state["metrics_size"])
        self.progress.note(f"Resumed at step {self.step:,} of {self.steps:,}.")

    def end(self, reason: str) -> None:
        """The batches end the training before its last step."""
        self.ended = reason
        self.write({"event": f"ended early: {reason}"})
        self.progress.note(f"Training ended at step {self.step:,}: {reason}")

    def result(self) -> Trained:
        tail = self.losses[-max(1, self.steps // 10) :] or [math.nan]
        mean = sum(tail) / len(tail)
        return Trained(self.step, self.tokens, self.elapsed, self.speed, mean, self.guard.skipped, self.ended)


def fit(
    model: nn.Module,
    objective: Objective | None,
    batches: Batches,
    settings: TrainSettings,
    budget: Budget,
    out: Path,
    device: Device,
    *,
    world: World | None = None,
    evaluate: Evaluate | None = None,
    sample: Sample | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains `model` in place for `budget`; resumes by itself from `out`/checkpoints.

    Args:
        objective: (model, batch) → (loss, metrics), run under autocast; metrics are means that count by the batch's weight.
            None for a model that takes steps of its own (`OwnStep`).
        evaluate: measures the model on the way; its numbers go to metrics.jsonl as `validation`.
        sample: lets the model write on the way; a list of {"prompt", "text"}.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; a checkpoint is saved.
        UserError: the training diverges, or its results can't be written.
    """
    world = world or World()
    model.to(device.place)
    parallel.same_weights(model, world)
    if device.compiled:
        compile_blocks(model)
    training = Training(model, objective, batches, settings, out, device, world, progress or Silence())
    training.resume()
    try:
        with stopping(training):
            run_to_end(training, budget, evaluate, sample)
        return training.result()
    finally:
        training.progress.close()
        for sink in training.sinks:
            sink.close()


def run_to_end(training: Training, budget: Budget, evaluate: Evaluate | None, sample: Sample | None) -> None:
    """The loop itself."""
    training.looking = budget.looking
    if not training.steps:
        plan(training, budget)
    training.since = time.perf_counter()
    shares = Shares(training.settings, start=training.step / training.steps, fresh=training.resumed_at is None)
    training.look(evaluate, sample, shares)
    saved = time.perf_counter()
    while training.step < training.steps and training.ended is None:
        try:
            training.take_step()
        except Ended as ended:
            training.end(str(ended))
            break
        if training.guard.hopeless:
            training.save()
            raise UserError(diverged(training))
        if shares.replan_due(training.step / training.steps):
            replan(training, budget, len(shares.validations) + len(shares.samples))
        left = (training.steps - training.step) * training.stepping / training.step
        training.progress.update(
            training.step, training.steps, training.losses[-1] if training.losses else math.nan, training.speed, left
        )
        training.look(evaluate, sample, shares)
        if not training.at_rest:
            continue
        stop = parallel.largest(float(training.stop is not None), training.world, training.device.place)
        if stop and training.step < training.steps:
            training.save()
            raise Interrupted(
                f"Stopped at step {training.step:,} of {training.steps:,}; everything is saved. The same command goes on from here."
            )
        if time.perf_counter() - saved > 60 * training.settings.checkpoint_minutes:
            save_or_warn(training)
            saved = time.perf_counter()
    training.save()


def save_or_warn(training: Training) -> None:
    """A checkpoint on the way; when it can't be written the training goes on, since the disk may be freed in time."""
    try:
        training.save()
    except UserError as error:
        training.progress.note(f"No checkpoint this time: {error}")


def diverged(training: Training) -> str:
    lower = training.settings.optimizer.learning_rate / 3
    return (
        f"Training stopped at step {training.step}: {training.guard.in_a_row} steps in a row had a loss or a gradient "
        "that would do harm (metrics.jsonl lists them). "
        f"Lower {training.out.name}.optimizer.learning_rate to {lower:.1g} and matrix_learning_rate likewise, or raise the warm-up."
    )


def compile_blocks(model: nn.Module) -> None:
    """Compiles the repeated block once for all layers: seconds instead of half a minute for the whole model."""
    for block in getattr(model, "blocks", []):
        block.compile(fullgraph=True)


@contextmanager
def without_compiling(device: Device) -> Iterator[None]:
    """Runs compiled modules as they were written: for shapes that come once and are not worth compiling for."""
    if not device.compiled:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def stopping(training: Training) -> Iterator[None]:
    """Ctrl-C and SIGTERM finish the step at hand and save; a second Ctrl-C stops at once."""

    def ask(number: int, _: FrameType | None) -> None:
        if training.stop is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        training.stop = signal.Signals(number).name
        training.progress.note("Stopping after this step and saving (Ctrl-C again stops at once, without saving) …")

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever runs the thread stops it
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
