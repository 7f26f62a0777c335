"""A ladder of trainings of several sizes and lengths on a project's text: what the law of scaling is fitted to."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from plutao.data.pack import PretrainBatches
from plutao.data.shards import ShardIndex
from plutao.errors import UserError
from plutao.files import fingerprint
from plutao.models.cost import flops_per_token
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import save_model
from plutao.project import Project, is_complete
from plutao.recipe import Recipe
from plutao.recipe.training import LENGTHS
from plutao.stages import base
from plutao.stages.card import read_card, write_card
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.budget import Budget
from plutao.train.loop import fit, without_compiling
from plutao.train.objectives import next_token
from plutao.train.parallel import World
from plutao.train.progress import Progress

VALIDATION_TOKENS = 65_536
"""Of the validation text, the same for every rung; they are read once, at the end."""


@dataclass(frozen=True)
class Climb:
    """One training to come: a shape, how many tokens or minutes, and how many rows a step."""

    preset: str
    batch: int
    tokens: int | None = None
    minutes: float | None = None

    @property
    def name(self) -> str:
        """Of its folder: plutao-3m-1000k-b8."""
        length = f"{self.tokens / 1000:g}k" if self.tokens is not None else f"{self.minutes:g}min"
        return f"{self.preset}-{length}-b{self.batch}"


def climbs(sizes: Sequence[str], tokens: Sequence[int], minutes: float | None, batches: Sequence[int]) -> list[Climb]:
    """Every size at every length and batch, the short ones first."""
    if minutes is not None:
        return [Climb(size, batch, minutes=minutes) for batch, size in product(batches, sizes)]
    return [Climb(size, batch, count) for count, batch, size in product(sorted(tokens), batches, sizes)]


def parse_count(text: str) -> int:
    """`250k`, `1M`, `1.5e6` as a number of tokens.

    Raises:
        UserError: it is not of that form.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([kKmM]?)\s*", text)
    if match is None or float(match[1]) == 0:
        raise UserError(f"{text!r} is not a number of tokens: write 250k, 1M or 1.5e6.")
    return int(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6}[match[2].lower()])


def with_climb(recipe: Recipe, climb: Climb) -> Recipe:
    """The recipe of one rung: another shape, length and batch; nothing looked at on the way."""
    length = dict.fromkeys(LENGTHS) | {"tokens": climb.tokens, "minutes": climb.minutes}
    changes = {"batch": climb.batch, "micro_batch": None, "evaluate": 0, "sample_at": (), **length}
    shape = dict.fromkeys(("layers", "width", "heads", "kv_heads", "hidden"))
    model = recipe.model.model_copy(update={"preset": climb.preset, **shape})
    return recipe.model_copy(update={"base": recipe.base.model_copy(update=changes), "model": model})


def train(
    project: Project, documents: Path, shards: ShardIndex, tokenizer: Tokenizer, climb: Climb, progress: Progress
) -> dict[str, Any]:
    """Trains one rung in runs/scaling/, or goes on with it, or finds it done; returns its card."""
    recipe = with_climb(project.recipe, climb)
    settings, shape = recipe.base, recipe.model
    made_of = ["rung", settings.model_dump(mode="json"), shape.model_dump(mode="json"), recipe.seed, shards.fingerprint]
    inputs = fingerprint(made_of)
    out = project.runs / "scaling" / f"{climb.name}-{inputs[:6]}"  # rungs of other settings or text have other names
    if is_complete(out, inputs):
        return read_card(out)
    config = base.shape(recipe, tokenizer.vocabulary_size)
    device = devices.choose(settings.precision, settings.compile)
    fitting = base.fitting(settings, config, device, World())
    torch.manual_seed(recipe.seed)
    model = Decoder(config)
    model.initialise(recipe.seed)
    batches = PretrainBatches(
        shards.open(), recipe.data.weights, settings.batch, config.context, recipe.seed, settings.layout
    )
    tokens_per_step = settings.batch * config.context
    seconds = None if climb.minutes is None else 60 * climb.minutes
    steps = None if climb.tokens is None else max(1, round(climb.tokens / tokens_per_step))
    out.mkdir(parents=True, exist_ok=True)
    objective = next_token(settings.label_smoothing, device.compiled)
    budget = Budget(steps, seconds, 0 if seconds is None else 2 * VALIDATION_TOKENS)
    trained = fit(model, objective, batches, fitting, budget, out, device, progress=progress)
    model.to("cpu").eval()
    with without_compiling(device):
        measured = base.validation(documents, tokenizer, VALIDATION_TOKENS, device.precision)(model)
    save_model(model, out, bos=tokenizer.end_of_text, eos=tokenizer.end_of_text, pad=tokenizer.pad)
    tokenizer.save(out)
    results = {
        "preset": climb.preset,
        "text": shards.fingerprint,
        "parameters": config.parameters(),
        "tokens": trained.tokens,
        "batch_tokens": tokens_per_step,
        "unique_tokens": shards.tokens(),
        "flops": flops_per_token(config) * trained.tokens,
        "seconds": round(trained.seconds, 2),
        "tokens_per_second": round(trained.tokens_per_second, 1),
        "training_loss": trained.loss,
        "validation": measured,
        "machine": devices.describe(),
    }
    write_card(out, "rung", inputs, results)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)  # a finished rung is measured, not resumed
    return read_card(out)
