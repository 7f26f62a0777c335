"""Training of models that are no decoders: what the ancestors' stages share."""

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plutao import recipe as recipes
from plutao.errors import UserError
from plutao.project import Project
from plutao.recipe import TrainSettings
from plutao.train import device as devices
from plutao.train.budget import Budget
from plutao.train.device import Device
from plutao.train.loop import Batches, Evaluate, Sample, Trained, fit
from plutao.train.objectives import Objective
from plutao.train.parallel import World
from plutao.train.progress import Progress


def train(
    project: Project,
    stage: str,
    model: nn.Module,
    objective: Objective,
    batches: Batches,
    settings: TrainSettings,
    length: Budget,
    device: Device,
    world: World,
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
    assert_room(sum(parameter.numel() for parameter in model.parameters()), settings, out)
    recipes.save(project.recipe, out / "recipe.toml")
    if length.steps == 0:
        return Trained(0, 0, 0.0, 0.0, math.nan, 0)
    torch.manual_seed(project.recipe.seed + world.rank)  # dropout draws from here; each process its own
    return fit(
        model,
        objective,
        batches,
        settings,
        length,
        out,
        device,
        world=world,
        evaluate=evaluate if settings.evaluate else None,
        sample=sample,
        progress=progress,
    )


def assert_room(parameters: int, settings: TrainSettings, out: Path) -> None:
    """Says before training that its checkpoints (one more than is kept, for a moment) and its model won't fit on the disk.

    AdamW's two averages are counted, whichever optimizer it is: 12 bytes a parameter and checkpoint.

    Raises:
        UserError: with the numbers, and what to do.
    """
    keep = settings.keep_checkpoints
    there = sum(file.stat().st_size for file in (out / "checkpoints").rglob("*") if file.is_file())
    needed = (keep + 1) * 12 * parameters + 4 * parameters - there
    free = shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"The disk of {out} has {free / 1e9:,.3f} GB free, and training needs {needed / 1e9:,.3f} GB there for "
            f"{keep} checkpoints, the next one and the model: free some space, or lower {out.name}.keep_checkpoints."
        )


def describe(parameters: int, device: Device, trained: Trained, settings: TrainSettings, seed: int) -> dict[str, Any]:
    """What was trained, how fast: what every card of a stage tells."""
    return {
        "parameters": parameters,
        "steps": trained.steps,
        "tokens": trained.tokens,
        "seconds": round(trained.seconds, 2),
        "tokens_per_second": round(trained.tokens_per_second, 1),
        "training_loss": trained.loss if trained.steps else None,
        "skipped_steps": trained.skipped,
        "seed": seed,
        "device": device.kind,
        "precision": device.precision,
        "compiled": device.compiled,
        "why": device.reason,
        "machine": devices.describe(),
        "batch": settings.batch,
    }
