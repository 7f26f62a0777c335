"""Answers learned from per second by GRPO, ours beside TRL's: the same SFT model, prompts, group size and lengths.

    pip install "trl>=1.16" datasets
    python benchmarks/grpo.py demo          a project that `plutao run` (or `make demo`) made, with its stage sft

Both sides draw 8 answers to each of 8 prompts at temperature 1, of at most 64 tokens, and follow the same reward, a Python
function that costs nothing, with the same clip and weight of the divergence. Rounds alternate; each side runs in a
process of its own, and its first steps, in which things are loaded, are not counted. TRL runs as it comes (fp32 on a CPU)
and with bf16 autocast, which is what we use. `--json` for programs.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

PROMPTS, ANSWERS, TOKENS, BETA, RATE = 8, 8, 64, 0.05, 1e-5
UNCOUNTED = 2
"""First steps of a process."""
REWARD = '''"""Shorter answers are better: a reward that both sides can compute at no cost."""


def reward(prompts, answers):
    return [-len(answer) / 100 for answer in answers]
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, help="a project whose current run has a stage sft")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8, help="counted steps a round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--trl-python", default=sys.executable, help="the Python that has TRL")
    parser.add_argument("--prompts", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:  # the process of one side of TRL
        print(json.dumps(theirs(arguments.project, arguments.prompts, arguments.steps, arguments.side)))
        return
    found = measure(arguments)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, side in found["answers_per_second"].items():
        print(f"{name:<12}{side['median']:8.1f} answers/s  ({side['low']:.1f}–{side['high']:.1f})")
    for name, ratio in found["ratio"].items():
        print(f"ours ÷ {name}: {ratio:.2f}")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn; seconds of every counted step."""
    seconds: dict[str, list[float]] = {"plutao": [], "trl fp32": [], "trl bf16": []}
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "project"
        shutil.copytree(arguments.project, copy, symlinks=True, ignore=shutil.ignore_patterns("checkpoints"))
        (copy / "bench_reward.py").write_text(REWARD)
        prompts = Path(place) / "prompts.json"
        for round_ in range(arguments.rounds):
            seconds["plutao"] += ours(copy, arguments.steps, round_)
            prompts.write_text(json.dumps(asked(copy)))
            for side in ("fp32", "bf16"):
                command = [arguments.trl_python, str(Path(__file__).resolve()), str(sft_of(copy)), "--side", side]
                command += ["--prompts", str(prompts), "--steps", str(arguments.steps)]
                said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
                seconds[f"trl {side}"] += json.loads(said.strip().splitlines()[-1])
            for name, values in seconds.items():
                print(f"{name}: {statistics.median(values):.2f} s a step", file=sys.stderr)
    speeds = {name: sorted(PROMPTS * ANSWERS / value for value in values) for name, values in seconds.items()}
    rates = {
        name: {
            "median": statistics.median(values),
            "low": values[len(values) // 10],
            "high": values[-1 - len(values) // 10],
        }
        for name, values in speeds.items()
    }
    own = rates["plutao"]["median"]
    return {
        "prompts": PROMPTS,
        "answers": ANSWERS,
        "max_tokens": TOKENS,
        "answers_per_second": rates,
        "ratio": {name: own / rate["median"] for name, rate in rates.items() if name != "plutao"},
    }


def sft_of(project: Path) -> Path:
    return sorted(path.parent for path in project.glob("runs/*/sft/model.safetensors"))[0].resolve()


def ours(project: Path, steps: int, round_: int) -> list[float]:
    """Seconds of each counted step of our stage rl, answers, rewards and learning together."""
    sets = {
        "rl.reward": "bench_reward.py:reward",
        "rl.algorithm": "grpo",
        "rl.answers": ANSWERS,
        "rl.batch": PROMPTS,
        "rl.max_tokens": TOKENS,
        "rl.kl": BETA,
        "rl.kl_stop": 1000.0,
        "rl.demonstrations": 0.0,
        "rl.steps": steps + UNCOUNTED,
        "rl.evaluate": 0,
        "rl.sample_at": "[]",
        "rl.optimizer.learning_rate": RATE + round_ * 1e-9,  # another run each time
        "report.comparisons": 0,
    }
    overrides = [part for key, value in sets.items() for part in ("--set", f"{key}={value}")]
    name = f"grpo-{round_}"
    command = [sys.executable, "-m", "plutao", "run", str(project), "--run", name, *overrides]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    lines = [json.loads(line) for line in (project / "runs" / name / "rl" / "metrics.jsonl").read_text().splitlines()]
    times = [line["seconds"] for line in lines if "loss" in line]
    return [after - before for before, after in pairwise(times[UNCOUNTED - 1 :])]


def asked(project: Path) -> list[list[dict[str, str]]]:
    """Prompts of the world, as conversations."""
    from plutao.worlds import world

    questions = world("solar").questions("train", 400, 1)
    return [[{"role": message.role, "content": message.content} for message in one.messages] for one in questions]


def theirs(model: Path, prompts: Path, steps: int, precision: str) -> list[float]:
    """Seconds of each counted step of TRL's GRPOTrainer."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    def reward(completions: list[Any], **_: Any) -> list[float]:
        return [-len(answer[0]["content"]) / 100 for answer in completions]

    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        settings = GRPOConfig(
            output_dir=out,
            per_device_train_batch_size=PROMPTS * ANSWERS,
            num_generations=ANSWERS,
            max_completion_length=TOKENS,
            max_steps=steps + UNCOUNTED,
            temperature=1.0,
            beta=BETA,
            learning_rate=RATE,
            bf16=precision == "bf16",
            gradient_checkpointing=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=1000,
            disable_tqdm=True,
        )
        data = Dataset.from_list([{"prompt": one} for one in json.loads(prompts.read_text())])
        trainer = GRPOTrainer(str(model), reward, args=settings, train_dataset=data, callbacks=[clock])
        trainer.train()
    return [after - before for before, after in pairwise(clock.ends[UNCOUNTED - 1 :])]


if __name__ == "__main__":
    main()
