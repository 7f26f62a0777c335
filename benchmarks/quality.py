"""What a given time of training is worth: ours beside a plain `transformers` Llama, on the same text and tokenizer.

`livros`: bits per byte on the validation text of the recipe livros-pt after so many minutes of training. Ours is `plutao run`
with the recipe as shipped. Theirs is a Llama of 6.8M parameters (width 256, 6 layers, T = 256, batch 16, AdamW at 0.001 with a
cosine schedule over the same minutes), eager in fp32 as it comes, and with bf16 autocast and torch.compile; it reads the same
shards of tokens. All models are scored by plutao.evaluate.perplexity.

`shakespeare`: nats per character of the last tenth of tinyshakespeare after so many minutes of the recipe shakespeare.

Compiling counts as training time; reading text, the tokenizer and the scoring do not. The texts come from the catalogue
(`plutao data get`) or from the folder PLUTAO_DATA.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plutao import project as projects
from plutao.data.pack import PretrainBatches
from plutao.data.sample import validation_texts
from plutao.evaluate.perplexity import bits_per_byte
from plutao.files import read_json
from plutao.models.interop.huggingface import load_model
from plutao.project import Project
from plutao.train.device import has_fast_bf16

RECIPES = {"livros": "livros-pt", "shakespeare": "shakespeare"}
THEIRS = {"transformers": False, "transformers, bf16 and compiled": True}
BATCH, CONTEXT, RATE, WARM_UP = 16, 256, 1e-3, 0.02


def measure(row: str, minutes: float, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Trains each side in a process of its own, one after the other, for `minutes`, and scores it as soon as it is there."""
    project = train_ours(row, minutes, overrides, folder)
    result: dict[str, Any] = {
        "minutes": minutes,
        "overrides": overrides,
        "threads": torch.get_num_threads(),
        "sides": {},
    }
    card = read_json(project.stage_dir("base") / "stage.json")
    result["sides"]["plutao"] = told("plutao", score(project, project.stage_dir("base")) | described(card))
    for name in THEIRS if row == "livros" else ():
        out = folder / "theirs"
        run([__file__, "--side", name, "--minutes", str(minutes), "--folder", str(folder), "--run", str(project.run)])
        result["sides"][name] = told(name, score(project, out) | read_json(out / "training.json"))
        ours, theirs = (result["sides"][side]["bits_per_byte"] for side in ("plutao", name))
        result.setdefault("below", {})[name] = round(1 - ours / theirs, 4)
        print(f"  plutao is {1 - ours / theirs:.1%} below {name}", file=sys.stderr)
    return result


def train_ours(row: str, minutes: float, overrides: list[str], folder: Path) -> Project:
    """The recipe's run of exactly these minutes, found again if it is there already."""
    if not (folder / projects.RECIPE_FILE).is_file():
        projects.create(folder, RECIPES[row])
    settings = [f"base.minutes={minutes:g}", *overrides]
    run(["-m", "plutao", "run", str(folder), "--stage", "base", *(part for key in settings for part in ("--set", key))])
    return projects.open_project(folder, tuple(settings), projects.current_run(folder))


def run(arguments: list[str]) -> None:
    """A Python process whose progress is seen and which must end well."""
    if subprocess.run([sys.executable, *arguments], stdout=sys.stderr).returncode:
        sys.exit(
            "The training above did not end; where a corpus is missing, set PLUTAO_DATA to the folder that holds it."
        )


def described(card: dict[str, Any]) -> dict[str, Any]:
    return {key: card[key] for key in ("parameters", "seconds", "steps", "tokens", "tokens_per_second", "precision")}


def score(project: Project, folder: Path) -> dict[str, Any]:
    """Bits per byte with their interval, and nats per character, of the whole validation text."""
    texts = [(document.text, document.language or "") for document in validation_texts(project.documents)]
    precision = "bf16" if has_fast_bf16("cpu") else "fp32"
    measured = bits_per_byte(load_model(folder), project.tokenizer(), texts, precision=precision)
    if measured.bits_per_byte is None or measured.low is None or measured.high is None:
        sys.exit(f"Not comparable: {measured.reason}.")
    per_character = math.log(2) * measured.bytes / sum(len(text) for text, _ in texts)
    return {
        **{key: round(getattr(measured, key), 4) for key in ("bits_per_byte", "low", "high")},
        "nats_per_character": round(measured.bits_per_byte * per_character, 4),
        "bytes": measured.bytes,
    }


def told(name: str, side: dict[str, Any]) -> dict[str, Any]:
    print(
        f"  {name}: {side['bits_per_byte']:.4f} bits per byte ({side['low']:.4f}–{side['high']:.4f}), "
        f"{side['nats_per_character']:.4f} nats per character, {side['tokens'] / 1e6:.2f}M tokens in {side['seconds']:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return side


# ------------------------------------------------------------------------------------------------------------ their side


def train_theirs(project: Project, minutes: float, at_its_best: bool, out: Path) -> None:
    """A Llama trained for so many minutes of wall time, compiling included; learning rate by the clock."""
    tokenizer = project.tokenizer()
    weights = {source.name: source.weight for source in project.recipe.data.sources}
    batches = PretrainBatches(project.shards().open(), weights, BATCH, CONTEXT, project.recipe.seed)
    model = llama(math.ceil(tokenizer.vocabulary_size / 64) * 64)
    called: Any = torch.compile(model) if at_its_best else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    started, steps, loss, printed = time.perf_counter(), 0, torch.zeros(()), 0.0
    while (done := (time.perf_counter() - started) / (60 * minutes)) < 1:
        share = min(1.0, done / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * max(0.0, done - WARM_UP) / (1 - WARM_UP)))
        for group in optimizer.param_groups:
            group["lr"] = RATE * share
        batch = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=at_its_best):
            logits = called(input_ids=batch.tokens).logits
            loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
        if done > printed:
            print(f"  {done:4.0%} step {steps} loss {float(loss.detach()):.3f}", file=sys.stderr, flush=True)
            printed += 0.1
    seconds = time.perf_counter() - started
    model.save_pretrained(out)
    tokens = steps * BATCH * CONTEXT
    card = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(seconds, 1),
        "steps": steps,
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds, 1),
        "precision": "bf16" if at_its_best else "fp32",
    }
    (out / "training.json").write_text(json.dumps(card))


def llama(vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
        )
    ).train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", choices=list(RECIPES), default="livros")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of our recipe")
    parser.add_argument("--folder", type=Path, help="where texts, tokens and models are kept")
    parser.add_argument("--side", choices=list(THEIRS), help="train this side alone (used by the script itself)")
    parser.add_argument("--run", help="with --side: the run whose tokens are read")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.gettempdir()) / "plutao-bench" / arguments.row
    if arguments.side:
        project = projects.open_project(folder, run=arguments.run)
        train_theirs(project, arguments.minutes, THEIRS[arguments.side], folder / "theirs")
        return
    result = measure(arguments.row, arguments.minutes, arguments.set, folder)
    if arguments.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
