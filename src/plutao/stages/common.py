"""What the stages that train share: how much fits, how long it takes, the training itself, and what is told of it."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plutao import recipe as recipes
from plutao.data.pack import MixtureRow
from plutao.errors import UserError
from plutao.files import sha256
from plutao.models.cost import Precision, flops_per_token, largest_batch, training_memory
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.hardware import available_memory
from plutao.models.interop.huggingface import save_model
from plutao.project import Project, resolve_model
from plutao.recipe import Recipe, TrainSettings
from plutao.text.chat import END
from plutao.text.template import TEMPLATE
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.budget import Budget
from plutao.train.loop import Batches, Evaluate, Sample, Trained, fit
from plutao.train.objectives import Objective
from plutao.train.parallel import World
from plutao.train.progress import Progress


def row_length(recipe: Recipe, config: DecoderConfig) -> int:
    """Tokens in a row (T): the recipe's context; less where a model that was taken over sees less."""
    return min(recipe.model.context, config.context)


def starting_folder(recipe: Recipe, root: Path) -> Path | None:
    """The folder of the model that the recipe starts from; None where it starts from random weights.

    Raises:
        UserError: there is no model.
    """
    named = recipe.model.start_from
    if named is None:
        return None
    inside = root / Path(named).expanduser()
    return inside if (inside / "config.json").is_file() else resolve_model(named, root)


def identity(folder: Path | None) -> list[list[str]]:
    """Names a model by the content of its files; nothing where there is no model."""
    files = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.json")) if folder else []
    return [[file.name, sha256(file)] for file in files]


def fitting(settings: TrainSettings, config: DecoderConfig, device: devices.Device, world_: World) -> TrainSettings:
    """The settings with the rows computed at once: as given, else the largest even share of the batch that memory holds."""
    if settings.micro_batch is not None:
        return settings
    free = torch.cuda.mem_get_info(device.place)[0] if device.kind == "cuda" else available_memory()
    precision: Precision = "bf16" if device.precision == "bf16" else "fp32"
    most = largest_batch(config, free, config.context, settings.optimizer.kind, precision)
    rows = settings.batch // world_.size
    fits = max((share for share in range(1, rows + 1) if rows % share == 0 and share <= most), default=1)
    return settings.model_copy(update={"micro_batch": fits})


def assert_room(config: DecoderConfig, settings: TrainSettings, out: Path) -> None:
    """Says before training that its checkpoints (one more than is kept, for a moment) and its model won't fit on the disk.

    Raises:
        UserError: with the numbers, and what to do.
    """
    keep = settings.keep_checkpoints
    memory = training_memory(config, 1, optimizer=settings.optimizer.kind, precision="fp32")
    there = sum(file.stat().st_size for file in (out / "checkpoints").rglob("*") if file.is_file())
    needed = (keep + 1) * (memory.weights + memory.optimizer) + memory.weights - there
    free = shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"The disk of {out} has {free / 1e9:,.3f} GB free, and training needs {needed / 1e9:,.3f} GB there for "
            f"{keep} checkpoints, the next one and the model: free some space, or lower {out.name}.keep_checkpoints."
        )


def budget(
    settings: TrainSettings, epoch: float, step: int, minutes: float | None = None, measured_tokens: int = 0
) -> Budget:
    """The recipe's length as steps, or as seconds where it is given in minutes; one epoch where nothing is said.

    Args:
        epoch: tokens (or whatever a step counts) in one epoch.
        step: the same, in one step.
        minutes: for all that is left to do, in place of the recipe's length; what reading `measured_tokens` afterwards
            will take is kept back.
    """
    if minutes is not None:
        return Budget(seconds=60 * minutes, measured_tokens=measured_tokens)
    if settings.minutes is not None:
        return Budget(seconds=60 * settings.minutes)
    if settings.steps is not None:
        return Budget(steps=settings.steps)
    tokens = getattr(settings, "tokens", None)
    total = tokens if tokens is not None else (settings.epochs or 1.0) * epoch
    return Budget(steps=max(1, round(total / step)))


def train(
    project: Project,
    stage: str,
    model: nn.Module,
    config: DecoderConfig,
    objective: Objective,
    batches: Batches,
    settings: TrainSettings,
    length: Budget,
    device: devices.Device,
    world_: World,
    progress: Progress,
    evaluate: Evaluate | None = None,
    sample: Sample | None = None,
) -> Trained:
    """Trains `model` in the stage's folder, which gets the recipe as resolved; resumes what was begun there.

    Raises:
        UserError, Interrupted: as `fit`; or there is no room on the disk.
    """
    out = project.stage_dir(stage)
    out.mkdir(parents=True, exist_ok=True)
    assert_room(config, settings, out)
    recipes.save(project.recipe, out / "recipe.toml")
    if length.steps == 0:  # a model that was taken over stays as it is
        return Trained(0, 0, 0.0, 0.0, math.nan, 0)
    torch.manual_seed(project.recipe.seed + world_.rank)  # dropout draws from here; each process its own
    return fit(
        model,
        objective,
        batches,
        fitting(settings, config, device, world_),
        length,
        out,
        device,
        world=world_,
        evaluate=evaluate if settings.evaluate else None,
        sample=sample,
        progress=progress,
    )


def describe(
    config: DecoderConfig, device: devices.Device, trained: Trained, settings: TrainSettings, recipe: Recipe
) -> dict[str, Any]:
    """What was trained, how fast, at which cost."""
    length = row_length(recipe, config)
    return {
        "parameters": config.parameters(),
        "steps": trained.steps,
        "tokens": trained.tokens,
        "seconds": round(trained.seconds, 2),
        "tokens_per_second": round(trained.tokens_per_second, 1),
        "flops": flops_per_token(config, length) * trained.tokens,
        "training_loss": trained.loss if trained.steps else None,
        "skipped_steps": trained.skipped,
        "seed": recipe.seed,
        "device": device.kind,
        "precision": device.precision,
        "compiled": device.compiled,
        "why": device.reason,
        "machine": devices.describe(),
        "batch": settings.batch,
        "context": length,
    }


def mixture_in_json(rows: list[MixtureRow]) -> list[dict[str, Any]]:
    return [vars(row) for row in rows]


def save_chat_model(model: Decoder, tokenizer: Tokenizer, out: Path) -> None:
    """Writes an assistant's folder: its texts end with its turn, and its tokenizer holds the chat template."""
    model.to("cpu").eval()
    ends = [tokenizer.special(END), tokenizer.end_of_text]
    save_model(model, out, bos=tokenizer.end_of_text, eos=ends, pad=tokenizer.pad)
    tokenizer.with_settings(chat_template=TEMPLATE).save(out)


def noncommercial(licences: Mapping[str, str]) -> list[str]:
    """Names of the sources whose licence forbids commercial use (CC BY-NC and its like)."""
    marks = ("-nc", " nc", "noncommercial", "non-commercial", "research only", "research use")
    return [name for name, licence in licences.items() if any(mark in licence.lower() for mark in marks)]
