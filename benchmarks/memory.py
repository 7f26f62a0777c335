"""Peak memory of a training run of 7M parameters: ours and `transformers`', each alone in its own process."""

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import torch

from plutao.data.pack import Batch
from plutao.models.presets import decoder_config
from training import BATCH, CONTEXT, VOCABULARY, our_step, their_step

SIDES = ("plutao", "transformers", "transformers, bf16 and compiled")


def measure(preset: str, steps: int) -> dict[str, Any]:
    result: dict[str, Any] = {"preset": preset, "batch": BATCH, "context": CONTEXT, "steps": steps, "peak_mb": {}}
    for side in SIDES:
        command = [sys.executable, __file__, "--side", side, "--preset", preset, "--steps", str(steps)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        result["peak_mb"][side] = json.loads(done.stdout.splitlines()[-1])
        print(f"  {side}: {result['peak_mb'][side]:,.0f} MB", file=sys.stderr, flush=True)
    return result


def peak_of(side: str, preset: str, steps: int) -> float:
    """The most memory this process held, in MB (10⁶ bytes), libraries and compiler in the process included."""
    torch.manual_seed(0)
    config = decoder_config(preset, VOCABULARY, context=CONTEXT, qk_norm=False)
    rows = torch.randint(VOCABULARY, (BATCH, CONTEXT + 1))
    batch = Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
    step = our_step(config, batch) if side == "plutao" else their_step(config, batch, "compiled" in side)
    for _ in range(steps):
        step()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="plutao-7m")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--side", choices=SIDES, help="this side alone (used by the script itself)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(round(peak_of(arguments.side, arguments.preset, arguments.steps), 1)))
        return
    result = measure(arguments.preset, arguments.steps)
    if arguments.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
