"""A run's folder as `plutao run` leaves it, with made-up numbers: what the report is tested on."""

import json
import math
import random
from pathlib import Path
from typing import Any

from plutao.evaluate.intervals import wilson
from plutao.files import write_json, write_text

PROMPTS = ("Plutão é", "The largest planet", "A capital da França é")
SAID = {
    "Plutão é": [
        "ÿq}x Zr�tk �e(9 lâ,,Sat tt",
        " a de planeta o de de a Lua. e um o da",
        " um planeta que a Terra. A Lua de Marte é o maior da",
        " um planeta anão do Cinturão de Kuiper. Sua maior lua é Caronte.",
        " um planeta anão do Cinturão de Kuiper, descoberto em 1930 por Clyde Tombaugh. Sua maior lua é Caronte.",
    ],
    "The largest planet": [
        " 7Cq’’’ lkMn (òa] of5",
        " the of is is a the planet of. the",
        " is the Sun is a planet of the Solar System.",
        " of the Solar System is Jupiter. It has 95 moons.",
        " of the Solar System is Jupiter.\nA day on Jupiter takes 9.9 hours, and a year 11.9 Earth years.",
    ],
    "A capital da França é": [
        "…;;K<script>alert(1)</script>",
        " a a de planeta",
        " Paris. A capital da Itália é a",
        " Paris.",
        " Paris, e a do Brasil é Brasília.",
    ],
}
RECIPE = """# The demo: a small language model of the Solar System, in Portuguese and English, in minutes on a laptop.
# Every key is here: those commented out show their defaults. `--set a.b=c` overrides one for a single run.

name = "sistema-solar"
description = "The demo: a small language model of the Solar System, in Portuguese and English."
seed = 1
languages = ["pt", "en"]

[[data.sources]]
name = "solar"
world = "solar"

[[data.sources]]
name = "notes"
path = "notes/*.jsonl"

[model]
preset = "plutao-3m"
context = 256

[base]
minutes = 3.5
batch = 16
"""
TASKS = {
    "capitals": (0.86, 120, 0.04),
    "moons": (0.71, 96, 0.12),
    "opposites": (0.64, 80, 0.03),
    "sizes": (0.48, 90, 0.25),
}
TASKS |= {"discoverers": (0.31, 60, 0.17), "arithmetic": (0.12, 100, 0.11)}


def write_fake_run(folder: Path, steps: int = 1400) -> Path:
    """Writes run.json, recipe.toml, card.json, tokenizer/stage.json, base/stage.json and base/metrics.jsonl."""
    write_text(folder / "recipe.toml", RECIPE)
    write_json(
        folder / "run.json",
        {"recipe": "9f2c51ab03d4e677", "data": "1c0de88a52f3b914", "created": "2026-11-20T21:40:03Z"},
    )
    write_json(folder / "card.json", card())
    fertility = {"en": {"ours": 4.52, "gpt2": 4.33}, "pt": {"ours": 4.31, "gpt2": 2.64}}
    tokenizer = {
        "stage": "tokenizer",
        "complete": True,
        "seconds": 4.1,
        "kind": "bpe",
        "vocabulary": 4096,
        "reversible": True,
    }
    write_json(folder / "tokenizer/stage.json", {**tokenizer, "bytes_per_token": fertility})
    write_text(folder / "base/metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics(steps)))
    write_json(folder / "base/stage.json", base_stage(steps))
    return folder


def card() -> dict[str, Any]:
    def source(origin: str, documents: int, size: int, languages: dict[str, float], licence: str) -> dict[str, Any]:
        kept = {"documents": documents // 50, "bytes": size // 50, "characters": size // 52}
        learned = {
            "documents": documents - documents // 50,
            "bytes": size - size // 50,
            "characters": size - size // 52,
        }
        return {
            "origin": origin,
            "files": 1,
            "sha256": (origin[0].encode().hex() * 32)[:64],
            "documents": documents,
            "bytes": size,
            "characters": size,
            "languages": languages,
            "licenses": {licence: 1.0},
            "skipped": {"bad JSON": 2} if origin == "notes/*.jsonl" else {},
            "skipped_examples": [],
            "train": learned,
            "validation": kept,
        }

    sources = {
        "solar": source("world solar", 18_400, 8_012_331, {"pt": 0.56, "en": 0.44}, "Apache-2.0"),
        "notes": source("notes/*.jsonl", 640, 1_204_000, {"pt": 1.0}, "unknown"),
    }
    return {"fingerprint": "1c0de88a52f3b914", "seed": 1, "split": "document", "sources": sources}


def metrics(steps: int) -> list[dict[str, Any]]:
    chance = random.Random(7)
    lines: list[dict[str, Any]] = []
    for step in range(0, steps + 1, 4):
        at = {"step": step, "tokens": step * 4096, "seconds": round(step * 0.148, 2)}
        loss = 1.35 + 6.9 * math.exp(-step / 90) + 1.1 * math.exp(-step / 700) + chance.gauss(0, 0.05)
        rate = 0.003 * min(1, (step + 1) / 28) * min(1, (steps - step) / (steps / 2) + 1e-3)
        speed = 27_600 + chance.gauss(0, 250) - 9000 * math.exp(-step / 30)
        lines.append({**at, "loss": loss, "learning_rate": rate, "gradient_norm": 0.6, "tokens_per_second": speed})
        if step % (steps // 8 // 4 * 4) == 0 and step:
            bits = (loss + 0.04) / math.log(2) / 4.36
            lines.append({**at, "validation": {"loss": loss + 0.04, "bits_per_byte": bits}})
        marks = [0, steps // 50 // 4 * 4, steps // 10 // 4 * 4, steps * 3 // 10 // 4 * 4, steps]
        if step in marks:
            samples = [{"prompt": prompt, "text": SAID[prompt][marks.index(step)]} for prompt in PROMPTS]
            lines.append({**at, "samples": samples})
    lines.append(
        {"step": 412, "tokens": 412 * 4096, "seconds": 61.0, "event": "step skipped: the gradient was not finite"}
    )
    return lines


def base_stage(steps: int) -> dict[str, Any]:
    def measured(bits: float, size: int) -> dict[str, Any]:
        text = {"bytes": size, "tokens": int(size / 4.36), "perplexity": 2 ** (bits * 4.36), "documents": 380}
        return {"bits_per_byte": bits, "low": bits - 0.014, "high": bits + 0.015, **text, "interval_over": "documents"}

    machine = {
        "system": "Linux 6.1",
        "processor": "Xeon Platinum 8481C",
        "cores": 2,
        "memory_gb": 8.3,
        "accelerators": [],
    }
    return {
        "stage": "base",
        "inputs": "77aa10ce5b0f4d21",
        "complete": True,
        "seconds": 214.6,
        "parameters": 3_214_592,
        "tokens": steps * 4096,
        "steps": steps,
        "tokens_per_second": 27_310.4,
        "flops": 1.21e14,
        "device": "cpu",
        "precision": "bf16",
        "compiled": True,
        "threads": 2,
        "machine": machine,
        "versions": {"plutao": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
        "seed": 1,
        "data": [
            {"source": "solar", "tokens": 1_803_244, "weight": 0.87, "epochs": 3.12},
            {"source": "notes", "tokens": 281_000, "weight": 0.13, "epochs": 2.9},
        ],
        "validation": {
            **measured(0.4475, 184_326),
            "by_language": {"en": measured(0.4312, 81_003), "pt": measured(0.4604, 103_323)},
        },
        "exam": exam(),
    }


def exam() -> dict[str, Any]:
    def share(value: float, n: int, floor: float) -> dict[str, Any]:
        return {**wilson(round(value * n), n).as_json(), "floor": floor}

    wrong = [
        {
            "task": "capitals",
            "language": "pt",
            "prompt": "A capital da Austrália é",
            "expected": "Camberra",
            "answered": "Sydney.",
        },
        {"task": "arithmetic", "language": "en", "prompt": "17 + 26 =", "expected": "43", "answered": "33"},
        {
            "task": "moons",
            "language": "en",
            "prompt": "Triton is a moon of",
            "expected": "Neptune",
            "answered": "Saturn | <b>no</b>",
        },
    ]
    return {
        "overall": share(0.55, 546, 0.12),
        "by_task": {task: share(*figures) for task, figures in TASKS.items()},
        "by_language": {"en": share(0.58, 270, 0.12), "pt": share(0.52, 276, 0.11)},
        "wrong": wrong,
    }


if __name__ == "__main__":
    import sys

    from plutao.evaluate.report import build

    print(build(write_fake_run(Path(sys.argv[1])), sys.argv[2] if len(sys.argv) > 2 else "en"))
