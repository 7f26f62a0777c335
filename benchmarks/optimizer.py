"""Muon over stacks of matrices beside PyTorch's Muon, and the optimizer's share of a training step."""

import argparse
import json
import statistics
import sys
import time
from typing import Any

import torch
from torch import nn

from plutao.data.pack import Batch
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.recipe import OptimizerSettings
from plutao.train import device as devices
from plutao.train.loop import compile_blocks
from plutao.train.objectives import next_token
from plutao.train.optimizer import Optimizers, split_parameters
from training import CONTEXT, VOCABULARY, ratio

BATCH = 8


def measure(preset: str, rounds: int) -> dict[str, Any]:
    """The sides take turns on the same gradients; a ratio is theirs ÷ ours in one round."""
    torch.manual_seed(0)
    model = Decoder(decoder_config(preset, VOCABULARY, context=CONTEXT))
    model.initialise(0)
    device = devices.choose()
    if device.compiled:
        compile_blocks(model)
    objective = next_token(compiled=device.compiled)
    rows = torch.randint(VOCABULARY, (BATCH, CONTEXT + 1))
    batch = Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
    ours = Optimizers(model, OptimizerSettings(kind="muon"), device.kind)
    muon = torch.optim.Muon(split_parameters(model)[0], lr=1e-9, adjust_lr_fn="match_rms_adamw")
    seconds: dict[str, list[float]] = {"forward and backward": [], "plutao": [], "torch.optim.Muon": [], "stacked": []}

    def timed(name: str, action: Any) -> None:
        started = time.perf_counter()
        action()
        seconds[name].append(time.perf_counter() - started)

    def forward_and_backward() -> None:
        with device.autocast():
            loss, _ = objective(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    for _ in range(rounds + 2):
        timed("forward and backward", forward_and_backward)
        timed("plutao", lambda: ours.step(1e-6))
        timed("stacked", ours.optimizers[-1].step)
        timed("torch.optim.Muon", muon.step)
        ours.zero_grad()
    middle = {name: statistics.median(times[2:]) for name, times in seconds.items()}
    result = {
        "preset": preset,
        "threads": torch.get_num_threads(),
        "milliseconds": {name: round(1e3 * value, 1) for name, value in middle.items()},
        "share_of_step": round(middle["plutao"] / (middle["plutao"] + middle["forward and backward"]), 3),
        "ratio": ratio(seconds["torch.optim.Muon"][2:], seconds["stacked"][2:]),
    }
    print(
        f"  torch.optim.Muon ÷ stacked: {result['ratio']}; share of a step: {result['share_of_step']}", file=sys.stderr
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="plutao-7m")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    result = measure(arguments.preset, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
