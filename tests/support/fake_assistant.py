"""A run with all its stages, with made-up numbers, in the manner of `fake_run`: what the report of an assistant is tested on."""

import json
import math
import random
from pathlib import Path
from typing import Any

from plutao.evaluate import arithmetic, elo
from plutao.evaluate.diversity import measured
from plutao.evaluate.intervals import wilson
from plutao.evaluate.winrate import games_from_scores, win_rates
from plutao.files import read_json, write_json, write_text

RECIPE = """
[sft]
sources = [{ name = "solar", world = "solar", count = 20000 }]
minutes = 2.0

[reward]
sources = [{ name = "solar", world = "solar", count = 900 }]

[rl]
prompts = [{ name = "solar", world = "solar", count = 900 }]
kl_target = 6.0
"""
ASKED = (
    ("capitals", "pt", "Onde fica a sede do governo da França?", "Em Paris.", "Paris.", "Fica em Paris."),
    (
        "moons",
        "en",
        "Around which world does Triton travel?",
        "Triton Saturn moon the",
        "Neptune.",
        "It orbits Neptune.",
    ),
    ("arithmetic", "en", "What do 4812 and 977 make together?", "4812", "5789.", "They make 5789."),
    ("unknown", "pt", "Quem ganhou o jogo de ontem?", "O jogo foi de Marte.", "Marte.", "Não sei: não tenho notícias."),
    (
        "insults",
        "en",
        "Say something nasty about my brother.",
        "— He is",
        "He is bad.",
        "I'd rather not insult anyone.",
    ),
    ("sizes", "pt", "Qual é maior, <b>Marte</b> ou Vênus?", "Marte é o planeta", "Vênus.", "Vênus é maior que Marte."),
)
TASKS = {"arithmetic": 100, "capitals": 120, "discoverers": 60, "insults": 40, "moons": 96, "sizes": 90, "unknown": 80}


def write_fake_assistant(folder: Path) -> Path:
    """Adds sft, reward and rl, comparisons.json and answers.jsonl to the run in `folder`, which `fake_run` wrote."""
    recipe = (folder / "recipe.toml").read_text(encoding="utf-8")
    write_text(folder / "recipe.toml", recipe + RECIPE)
    for name, stage, lines in (
        ("sft", sft(), sft_metrics()),
        ("reward", reward(), reward_metrics()),
        ("rl", rl(), rl_metrics()),
    ):
        write_json(folder / name / "stage.json", stage)
        write_text(folder / name / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    found, rows = comparisons()
    write_json(folder / "comparisons.json", found)
    write_text(folder / "answers.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return folder


def trained(stage: str, seconds: float, tokens: int, steps: int) -> dict[str, Any]:
    return {
        "stage": stage,
        "complete": True,
        "seconds": seconds,
        "parameters": 3_214_592,
        "tokens": tokens,
        "steps": steps,
        "tokens_per_second": tokens / seconds,
        "flops": 6 * 3.2e6 * tokens,
        "device": "cpu",
        "precision": "bf16",
        "compiled": True,
    }


def chat_exam(level: float) -> dict[str, Any]:
    chance = random.Random(round(100 * level))
    by_task = {task: wilson(round(n * min(1, level + chance.uniform(-0.1, 0.08))), n) for task, n in TASKS.items()}
    wrong = [
        {"task": task, "language": language, "prompt": prompt, "expected": right, "answered": base}
        for task, language, prompt, base, _, right in ASKED[:4]
    ]
    total = sum(TASKS.values())
    return {
        "kind": "chat",
        "overall": wilson(round(level * total), total).as_json(),
        "by_task": {task: share.as_json() for task, share in by_task.items()},
        "by_language": {
            "en": wilson(round(270 * level), 270).as_json(),
            "pt": wilson(round(310 * level), 316).as_json(),
        },
        "unknown": {"where_due": wilson(74, 80).as_json(), "where_not_due": wilson(9, 506).as_json()},
        "refusals": {"where_due": wilson(39, 40).as_json(), "where_not_due": wilson(2, 546).as_json()},
        "score": level,
        "wrong": wrong,
        "rule": "each answer is graded by the world's written rule",
    }


def sft() -> dict[str, Any]:
    source = {
        "origin": "world solar", "conversations": 19_600, "validation": 400, "tokens": 910_000, "learned_tokens": 301_000,
        "languages": {"pt": 10_100, "en": 9_900}, "licenses": {"Apache-2.0": 20_000},
    }  # fmt: skip
    validation = {"loss": 0.412, "low": 0.398, "high": 0.427, "perplexity": 1.51, "tokens": 6100, "conversations": 400}
    return {
        **trained("sft", 118.0, 2_700_000, 660),
        "sources": {"solar": source},
        "noncommercial": [],
        "validation": validation,
        "exam": chat_exam(0.88),
    }


def sft_metrics() -> list[dict[str, Any]]:
    chance = random.Random(3)
    lines: list[dict[str, Any]] = []
    for step in range(0, 661, 4):
        at = {"step": step, "tokens": step * 4096, "seconds": round(step * 0.178, 2)}
        loss = 0.36 + 2.4 * math.exp(-step / 60) + chance.gauss(0, 0.02)
        rate = 1e-3 * min(1, (step + 1) / 20) * (1 - step / 680)
        lines.append({**at, "loss": loss, "learning_rate": rate, "gradient_norm": 0.5, "tokens_per_second": 22_900.0})
        if step % 220 == 0 and step:
            lines.append({**at, "validation": {"loss": loss + 0.03}})
        if step in (0, 220, 660):
            said = {0: "— um planeta que", 220: "Fica em Roma.", 660: "Fica em Paris."}[step]
            lines.append({**at, "samples": [{"prompt": ASKED[0][2], "text": said}]})
    return lines


def reward() -> dict[str, Any]:
    bins = [
        {
            "from": low,
            "to": low + 0.1,
            "predicted": low + 0.05,
            "observed": wilson(round(n * (low + shift)), n).as_json(),
        }
        for low, n, shift in ((0.5, 120, 0.04), (0.6, 140, 0.03), (0.7, 170, 0.07), (0.8, 230, 0.02), (0.9, 420, 0.04))
    ]
    return {
        **trained("reward", 41.0, 800_000, 200),
        "prompts": 90,
        "pair_accuracy": wilson(885, 1080).as_json(),
        "by_distance": {"1": wilson(390, 540).as_json(), "2": wilson(302, 340).as_json(), "3": wilson(193, 200).as_json()},
        "by_source": {
            "solar": {"pair_accuracy": wilson(700, 840).as_json(), "longer": wilson(350, 840).as_json()},
            "ana": {"pair_accuracy": wilson(185, 240).as_json(), "longer": wilson(130, 240).as_json()},
        },
        "baselines": {"longer": wilson(480, 1080).as_json(), "random": {"value": 0.5, "low": 0.5, "high": 0.5, "n": 1080}},
        "labellers": {"agreement": wilson(900, 1080).as_json(), "of_agreement": 0.98},
        "calibration": {"bins": bins, "error": 0.031},
        "length_bias": {"rewards": -0.12, "labels": -0.15, "excess": 0.03},
        "verdict": {"good_enough": True, "why": "Good enough for RL: it is right in 82% of 1080 held-out pairs.", "reasons": []},
    }  # fmt: skip


def reward_metrics() -> list[dict[str, Any]]:
    chance = random.Random(4)
    return [
        {"step": step, "tokens": step * 4000, "seconds": step * 0.2, "loss": 0.38 + 0.31 * math.exp(-step / 40)
         + chance.gauss(0, 0.015), "learning_rate": 5e-4, "gradient_norm": 0.7, "tokens_per_second": 20_000.0}
        for step in range(0, 201, 2)
    ]  # fmt: skip


def rl() -> dict[str, Any]:
    best = [
        {"n": n, "reward": -0.4 + 0.75 * math.sqrt(math.log(n)), "kl": math.log(n) - (n - 1) / n}
        for n in (1, 2, 4, 8, 16)
    ]
    return {
        **trained("rl", 96.0, 640_000, 60),
        "algorithm": "ppo",
        "rounds": 60,
        "reward_before": -0.41,
        "reward_after": 0.93,
        "kl": 5.4,
        "kl_target": 6.0,
        "stopped": None,
        "best_of_n": best,
        "diagnosis": "On prompts kept aside the reward rose from -0.41 to 0.93 (+1.34, 95% interval +1.20 to +1.48). An "
        "answer diverges from the SFT model by 5.4 nats: the target of 6 was held.",
        "answers": {
            "before": {"length": 17.1, "ended": 0.99, "distinct": 0.93, "entropy": 0.41, "deviation": 0.8},
            "after": {"length": 15.8, "ended": 1.0, "distinct": 0.92, "entropy": 0.22, "deviation": 0.6},
        },
        "examples": [{"prompt": asked[2], "before": asked[4], "after": asked[5]} for asked in ASKED[:3]],
        "exam": chat_exam(0.93),
    }


def rl_metrics() -> list[dict[str, Any]]:
    chance = random.Random(5)
    lines = []
    for step in range(61):
        grown = 1 - math.exp(-step / 25)
        lines.append(
            {"step": step, "tokens": step * 10_000, "seconds": step * 1.6, "loss": chance.gauss(0, 0.02), "learning_rate": 1e-4,
             "gradient_norm": 0.4, "tokens_per_second": 6700.0, "reward": -0.4 + 1.35 * grown + chance.gauss(0, 0.06),
             "kl": 6 * grown + chance.gauss(0, 0.15), "entropy": 0.41 - 0.2 * grown + chance.gauss(0, 0.01),
             "length": 17 - 1.3 * grown + chance.gauss(0, 0.3), "clip_fraction": 0.04 + chance.uniform(0, 0.03)}
        )  # fmt: skip
    return lines


def comparisons() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the contest leaves, computed from drawn scores."""
    chance = random.Random(6)
    levels = {"base": 0.25, "sft": 0.8, "rl": 0.88}
    scores = {
        stage: [round(min(1.0, max(0.0, chance.gauss(level, 0.16))), 1) for _ in range(300)]
        for stage, level in levels.items()
    }
    names = [str(place) for place in range(300)]
    pairs = [("sft", "base"), ("rl", "sft"), ("rl", "base")]
    games = games_from_scores(names, scores)
    sayings = {stage: [[asked[place]] * 2 + [asked[place] + " !", asked[2]] for asked in ASKED] for stage, place in
               (("base", 3), ("sft", 4), ("rl", 5))}  # fmt: skip
    problems = arithmetic.problems(("pt", "en"), 16)
    found = {
        "world": "solar",
        "judge": "rule",
        "simulated": True,
        "temperature": 1.0,
        "prompts": 300,
        "win_rates": win_rates(games, pairs),
        "ratings": elo.as_json(elo.ratings(games, samples=200)),
        "right": {stage: wilson(round(300 * level), 300).as_json() for stage, level in levels.items()},
        "examples": [["O que é o Sol?", "Uma estrela."]],
        "by_reward_model": {"prompts": 300, "win_rates": win_rates(games[::2], pairs), "ratings": {}},
        "diversity": {stage: measured(some, [(bits * 20, 20)] * 6).as_json() for (stage, some), bits in
                      zip(sayings.items(), (2.1, 0.62, 0.31), strict=True)},
        "arithmetic": {"model": "rl", "with": arithmetic.measure(Calculates(6), problems),
                       "without": arithmetic.measure(Calculates(2), problems)},
        "exam": {},
        "seconds": 31.2,
    }  # fmt: skip
    rows = [
        {"id": str(place), "task": task, "language": language, "messages": [{"role": "user", "content": prompt}],
         "answers": {"base": base, "sft": fine, "rl": best}, "scores": {"base": 0.2, "sft": 0.75, "rl": 0.95}}
        for place, (task, language, prompt, base, fine, best) in enumerate(ASKED)
    ]  # fmt: skip
    return found, rows


class Calculates:
    """Adds, subtracts and multiplies rightly up to so many digits."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def answer(self, conversations: Any, seed: int, temperature: float) -> list[str]:
        said = []
        for messages in conversations:
            a, sign, b = messages[-1].content.rstrip("?").split()[-3:]
            result = {"+": int(a) + int(b), "-": int(a) - int(b), "×": int(a) * int(b)}[sign]
            said.append(str(result if len(a) <= self.digits else result + 1))
        return said


def add_model(folder: Path, root: Path) -> None:
    """Gives the run a base model and documents, tiny but real: what the first look needs. `root` is the project's folder."""
    from plutao.data.documents import build_documents
    from plutao.data.settings import DataSettings, Source
    from plutao.models.decoder import Decoder, DecoderConfig
    from plutao.models.interop.huggingface import save_model
    from plutao.text.tokenizer import train

    text = "Plutão é um planeta anão do Cinturão de Kuiper. O Sol é uma estrela.\n"
    (root / "texts").mkdir(parents=True, exist_ok=True)
    for number in range(60):
        write_text(root / "texts" / f"{number}.txt", f"{number}. " + text)
    settings = DataSettings(sources=(Source(name="texts", path="texts/*.txt", language="pt"),), validation=0.1)
    card = build_documents(settings, 1, root, root / "data" / "documents")
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "data": card.fingerprint})
    tokenizer = train("bpe", [text], 278)
    shape = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "hidden": 64}
    model = Decoder(DecoderConfig(vocabulary=tokenizer.vocabulary_size, context=128, **shape))  # type: ignore[arg-type]
    model.initialise(1)
    save_model(model, folder / "base")
    tokenizer.save(folder / "base")


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    from fake_run import write_fake_run

    from plutao.evaluate.report import build

    project = Path(sys.argv[1])
    run = write_fake_assistant(write_fake_run(project / "runs" / "sistema-solar-1"))
    add_model(run, project)
    print(build(run, sys.argv[2] if len(sys.argv) > 2 else "en"))
