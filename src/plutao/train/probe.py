"""How fast this machine trains a shape: a few real steps, compiled as in training, remembered for the next time."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plutao import __version__
from plutao.data.pack import Batch
from plutao.errors import UserError
from plutao.files import fingerprint, read_json, write_json
from plutao.models.cost import flops_per_token, training_memory
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.hardware import available_memory
from plutao.models.presets import decoder_config
from plutao.recipe import BaseSettings
from plutao.train import device as devices
from plutao.train.device import Device
from plutao.train.loop import compile_blocks
from plutao.train.objectives import next_token
from plutao.train.optimizer import Optimizers

WARM_UP = 2
"""Steps that compile and warm up; they do not count."""
STEPS = 6
ENOUGH = 2.0
"""Seconds of counted steps after which fewer than `STEPS` do."""
PATIENCE = 30.0
"""Seconds that trying a shape may take; a larger one is reckoned from a small one."""
SLOPE = 0.85
"""Seconds per token grow as the operations per token to this power: larger products compute a little better."""


@dataclass(frozen=True)
class Speed:
    """What a step costs: so much a row, and so much for the optimizer however many rows there are. Seconds."""

    row: float
    update: float
    compiling: float
    """Before the first step is through."""

    def tokens_per_second(self, batch: int, context: int) -> float:
        return batch * context / (batch * self.row + self.update)


def measure(config: DecoderConfig, settings: BaseSettings, device: Device, rows: int) -> Speed:
    """Trains a model of this shape on random tokens for some steps of `rows` rows."""
    started = time.perf_counter()
    with torch.random.fork_rng([]):  # the random numbers of what is trained afterwards stay as they were
        model = Decoder(config)
    model.initialise(0)
    model.to(device.place).train()
    torch.compiler.reset()  # else a second width counts as a changing one, and code for any width is slower
    if device.compiled:
        compile_blocks(model)
    optimizer = Optimizers(model, settings.optimizer, device.kind)
    objective = next_token(settings.label_smoothing, device.compiled)
    tokens = torch.randint(config.vocabulary, (rows, config.context + 1), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()).to(device.place)
    learning: list[float] = []
    updating: list[float] = []
    for number in range(WARM_UP + STEPS):
        learning.append(timed(lambda: learn(model, objective, batch, device), device))
        updating.append(timed(lambda: optimizer.step(0.0), device))
        optimizer.zero_grad()
        if number == WARM_UP - 1:
            warm = time.perf_counter()
        elif number > WARM_UP and time.perf_counter() - warm > ENOUGH:
            break
    torch.compiler.reset()
    gradient, update = statistics.median(learning[WARM_UP:]), statistics.median(updating[WARM_UP:])
    return Speed(gradient / rows, update, max(0.0, warm - started - WARM_UP * (gradient + update)))


def learn(
    model: Decoder, objective: Callable[[Any, Any], tuple[torch.Tensor, Any]], batch: Batch, device: Device
) -> None:
    with device.autocast():
        loss, _ = objective(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]


def timed(work: Callable[[], object], device: Device) -> float:
    """Seconds that `work` takes, an accelerator's part included."""
    started = time.perf_counter()
    work()
    if device.kind == "cuda":
        torch.cuda.synchronize(device.place)
    return time.perf_counter() - started


def estimate(config: DecoderConfig, known: Sequence[tuple[DecoderConfig, Speed]]) -> Speed:
    """The speed of a shape from those of others: between its neighbours, or in proportion to the nearest.

    Seconds a row follow the operations a token, seconds of an update the parameters, on logarithmic scales.
    """
    assert known
    points = sorted(((flops_per_token(shape), shape.parameters(), speed) for shape, speed in known), key=lambda p: p[0])
    rows = [(flops, speed.row) for flops, _, speed in points]
    updates = [(float(parameters), speed.update) for _, parameters, speed in points]
    compiling = max(speed.compiling for *_, speed in points)
    row = interpolate(rows, flops_per_token(config), SLOPE)
    return Speed(row, interpolate(updates, config.parameters(), 1.0), compiling)


def interpolate(points: Sequence[tuple[float, float]], x: float, slope: float) -> float:
    """y at `x` on straight lines through ascending `points` in log-log; beyond their ends with the given slope."""
    below = [point for point in points if point[0] <= x]
    above = [point for point in points if point[0] >= x]
    if below and above and below[-1][0] < above[0][0]:
        (x0, y0), (x1, y1) = below[-1], above[0]
        slope = math.log(y1 / y0) / math.log(x1 / x0)
    x0, y0 = below[-1] if below else above[0]
    return y0 * float((x / x0) ** slope)


def of_shape(config: DecoderConfig, settings: BaseSettings, device: Device, memory: "Memory", peak: float) -> Speed:
    """The speed of any shape here: tried, remembered, or in proportion to a small one where trying would take minutes.

    Args:
        peak: operations a second of this machine's matrix products.
    """
    if (known := memory.get(config)) is not None:
        return known
    rows = 32 if device.kind == "cuda" else min(8, settings.batch)
    step = rows * config.context * flops_per_token(config) / (0.3 * peak)
    fits = training_memory(config, rows, config.context, settings.optimizer.kind).total < available_memory()
    if step * (WARM_UP + STEPS) < PATIENCE and (fits or device.kind == "cuda"):
        speed = measure(config, settings, device, rows)
        memory.put(config, speed)
        return speed
    small = decoder_config("plutao-7m", context=min(config.context, 256))
    like = of_shape(small, settings, device, memory, math.inf)
    per_token = replace(like, row=like.row / small.context)
    found = estimate(config, [(small, per_token)])
    return replace(found, row=found.row * config.context)


class Memory:
    """Speeds measured before, by machine and shape, in a file that may be deleted at any time; None remembers nothing."""

    def __init__(self, path: Path | None, settings: BaseSettings, device: Device) -> None:
        self.path, self.settings, self.device = path, settings, device
        how = {"device": [device.kind, device.precision, device.compiled], "plutao": __version__}
        self.machine = devices.describe() | how
        self.key = fingerprint(self.machine)

    def get(self, config: DecoderConfig) -> Speed | None:
        found = self.read().get(self.key, {}).get("shapes", {}).get(self.name(config))
        return None if found is None else Speed(**found["speed"])

    def put(self, config: DecoderConfig, speed: Speed) -> None:
        if self.path is None:
            return
        everything = self.read()
        machine = everything.setdefault(self.key, {"machine": self.machine, "shapes": {}})
        measured = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        shape = {"parameters": config.parameters(), "context": config.context, "measured": measured}
        machine["shapes"][self.name(config)] = shape | {"speed": asdict(speed)}
        write_json(self.path, everything)

    def read(self) -> dict[str, Any]:
        """Everything in the file; nothing where it is missing or damaged."""
        try:
            data = read_json(self.path) if self.path is not None else {}
        except UserError:
            return {}
        return data if isinstance(data, dict) else {}

    def name(self, config: DecoderConfig) -> str:
        return fingerprint([asdict(config), self.settings.optimizer.kind])
