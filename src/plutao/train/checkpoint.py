"""Checkpoints: all that a training needs to go on as if it had never stopped.

    checkpoints/step-00001200/   model, optimizer, random.safetensors; state.json (with the other files' SHA-256)

A checkpoint is a folder that appears whole or not at all; a damaged one is noticed by its hashes and the one before is used.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from plutao.errors import UserError
from plutao.files import atomic_folder, read_json, sha256, write_json, write_tensors
from plutao.train.optimizer import Optimizers


@dataclass
class Checkpoint:
    """A checkpoint as read from disk."""

    step: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    state: dict[str, Any]
    damaged: list[str]
    """Newer checkpoints that were passed over because their files are not what was written."""


def save(folder: Path, step: int, model: nn.Module, optimizer: Optimizers, state: dict[str, Any], keep: int) -> None:
    """Writes checkpoint `step` under `folder` and removes all but the newest `keep`.

    Raises:
        UserError: the disk is full or can't be written; older checkpoints are untouched.
    """
    with atomic_folder(folder / f"step-{step:08d}") as new:
        write_tensors(new / "model.safetensors", unshared(model))
        write_tensors(new / "optimizer.safetensors", optimizer.state_tensors())
        write_tensors(new / "random.safetensors", {"cpu": torch.get_rng_state()})
        hashes = {file.name: sha256(file) for file in sorted(new.iterdir())}
        write_json(new / "state.json", {"step": step, "sha256": hashes, **state})
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> Checkpoint | None:
    """The newest checkpoint under `folder` that is whole; None where there is none at all.

    Raises:
        UserError: there are checkpoints, and every one of them is damaged.
    """
    damaged: list[str] = []
    for path in reversed(checkpoints(folder)):
        try:
            state = read_json(path / "state.json")
            intact = all(
                (path / name).is_file() and sha256(path / name) == digest for name, digest in state["sha256"].items()
            )
        except (UserError, KeyError, AttributeError, TypeError):
            intact = False
        if intact:
            torch.set_rng_state(load_file(path / "random.safetensors")["cpu"])
            return Checkpoint(
                state["step"],
                load_file(path / "model.safetensors"),
                load_file(path / "optimizer.safetensors"),
                state,
                damaged,
            )
        damaged.append(path.name)
    if damaged:
        raise UserError(
            f"Every checkpoint in {folder} is damaged ({', '.join(damaged)}): delete that folder to train this stage anew."
        )
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8}", path.name))


def unshared(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's tensors with a shared one (tied embeddings) stored once, under its first name."""
    seen: set[int] = set()
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            tensors[name] = tensor
    return tensors


def restore(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Puts `unshared` tensors back; shared ones follow by themselves."""
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    state = model.state_dict()
    stored = {state[name].data_ptr() for name in tensors if name in state}
    lost = [name for name in missing if state[name].data_ptr() not in stored]
    if lost or unexpected:
        raise UserError(
            f"The checkpoint is of another model ({', '.join((lost or unexpected)[:3])}): delete checkpoints/ to train anew."
        )
