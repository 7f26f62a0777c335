"""A small model and endless small batches that a loop can be tested with in a second."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from plutao.data.pack import Batch
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.recipe import TrainSettings
from plutao.train.budget import Budget
from plutao.train.device import Device
from plutao.train.loop import Trained, fit
from plutao.train.objectives import next_token

CPU = Device("cpu", 0, "fp32", False, "a test")


class Counting(Iterator[Batch]):
    """Rows that count upwards from a random start, modulo 32: learned within a few dozen steps."""

    def __init__(self, batch: int = 8, context: int = 16, rank: int = 0, world: int = 1) -> None:
        self.batch, self.context, self.rank, self.world, self.step = batch, context, rank, world, 0

    def __next__(self) -> Batch:
        generator = torch.Generator().manual_seed(self.step)
        rows = torch.randint(32, (self.batch, 1), generator=generator) + torch.arange(self.context + 1)
        share = self.batch // self.world
        mine = (rows % 32)[self.rank * share : (self.rank + 1) * share]
        self.step += 1
        return Batch(mine[:, :-1].contiguous(), mine[:, 1:].contiguous())

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def tiny_model(seed: int = 0, **changes: Any) -> Decoder:
    model = Decoder(decoder_config("plutao-1m", vocabulary=64, context=32, layers=2, width=32, heads=2, **changes))
    model.initialise(seed)
    return model


def train(model: Decoder, out: Path, steps: int, batches: Any = None, device: Device = CPU, **settings: Any) -> Trained:
    batches = batches if batches is not None else Counting()
    length = {"batch": getattr(batches, "batch", 8), "evaluate": 0, **settings}
    return fit(model, next_token(), batches, TrainSettings(**length), Budget(steps=steps), out, device)
