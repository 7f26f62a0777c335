"""A project with an SFT model and rankings small enough to learn in a second: what is asked for is liked, the rest is not."""

import json
import random
from pathlib import Path
from typing import Any

from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.project import Project, open_project, start_run
from plutao.recipe import STAGES
from plutao.stages.card import write_card
from plutao.stages.common import save_chat_model
from plutao.text.tokenizer import train

RECIPE = """name = "ranked"

[model]
preset = "plutao-1m"
layers = 2
width = 64
context = {context}

[sft]
[[sft.sources]]
name = "talk"
path = "data/talk.jsonl"

[{stage}]
{length}
batch = 8
precision = "fp32"
compile = "off"
evaluate = 1
validation = 0.2
optimizer = {{ kind = "adamw", learning_rate = 3e-3 }}
{more}
"""
COLOURS = ["red", "green", "blue", "grey", "white", "black"]
"""What people ask for in these rankings."""


def ranked(prompts: int = 120, seed: int = 1) -> list[dict[str, Any]]:
    """Rankings of four answers: the colour that was asked for, politely or not, above another, politely or not."""
    chance = random.Random(seed)
    rows = []
    for number in range(prompts):
        wanted, other = chance.sample(COLOURS, 2)
        answers = [f"here is {wanted}, please", f"{wanted}", f"here is {other}, please", f"{other}"]
        order = chance.sample(range(4), 4)
        rows.append(
            {
                "messages": [{"role": "user", "content": f"give me {wanted} number {number}"}],
                "completions": [answers[place] for place in order],
                "ranks": [place + 1 for place in order],
                "labeller": "ana",
                "demonstration": answers[0],
            }
        )
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def ranked_project(
    root: Path, stage: str = "reward", more: str = "", length: str = "steps = 40", context: int = 64
) -> Project:
    """A project with a run whose SFT model is fresh (it knows nothing), and rankings in data/rankings."""
    assert stage in STAGES
    text = RECIPE.format(stage=stage, more=more, length=length, context=context)
    root.mkdir(parents=True)
    (root / "plutao.toml").write_text(text, encoding="utf-8")
    write(root / "data" / "rankings" / "ana.jsonl", ranked())
    project = start_run(open_project(root), "ranked-1", {})
    words = " ".join(COLOURS)
    tokenizer = train("bpe", [f"give me here is, please number 0123456789 {words}\n"] * 5, 310)
    tokenizer.save(project.stage_dir("tokenizer"))
    shape = {"layers": 2, "width": 64, "heads": 2}
    model = Decoder(decoder_config("plutao-1m", vocabulary=tokenizer.vocabulary_size, context=context, **shape))
    model.initialise(0)
    sft = project.stage_dir("sft")
    sft.mkdir()
    save_chat_model(model, tokenizer, sft)
    write_card(sft, "sft", "the-sft-model", {})
    return project
