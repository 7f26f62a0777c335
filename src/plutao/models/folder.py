"""A folder of a model of our own kind: config.json with its shape, model.safetensors with its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.interop.weights import WHOLE, Weights, write_weights

TYPES: dict[str, Any] = {"int": int, "float": (float, int), "bool": bool}
"""What may stand in config.json for a field of a type."""


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, a shared table once, under its first name."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            tensors[name] = tensor
    return tensors


def write_folder(folder: Path, model_type: str, settings: Mapping[str, Any], model: nn.Module) -> None:
    """Writes weights and config.json into `folder`, other files there untouched; settings that are None are left out.

    Raises:
        UserError: the folder can't be written.
    """
    write_weights(own_tensors(model), folder / WHOLE)
    given = {name: value for name, value in settings.items() if value is not None}
    write_json(folder / "config.json", {"model_type": model_type, **given, "dtype": "float32"})


def read_config(folder: Path, kinds: Sequence[str], shape: type[Any]) -> tuple[str, dict[str, Any]]:
    """A folder's model_type, one of `kinds`, and the settings that the dataclass `shape` has, without "kind".

    Raises:
        UserError: no such folder, a model of another kind, or a setting that is missing or of another type.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder that holds config.json and {WHOLE}.")
    path = folder / "config.json"
    found = read_json(path)
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind not in kinds:
        raise UserError(f"{path}: model_type {kind!r} is not {' or '.join(kinds)}: name another folder.")
    settings = {}
    for field in fields(shape):
        if field.name == "kind":
            continue
        value = found.get(field.name)
        wanted = TYPES.get(str(getattr(field.type, "__name__", "")), object)
        if value is None or not isinstance(value, wanted):
            raise UserError(f"{path}: {field.name} = {value!r} is missing or wrong: put back a good copy.")
        settings[field.name] = value
    return str(kind), settings


def read_tensors(model: nn.Module, folder: Path) -> None:
    """Puts a folder's weights into a model of the shape that its config.json tells.

    Raises:
        UserError: weights are missing, too many, damaged or of another shape.
    """
    weights, wanted = Weights(folder), own_tensors(model)
    if strange := weights.names() ^ set(wanted):
        raise UserError(f"{folder}: {WHOLE} and config.json are not of the same model ({min(strange)}).")
    with torch.no_grad():
        for name, tensor in wanted.items():
            stored = weights.read(name)
            if stored.shape != tensor.shape:
                raise UserError(
                    f"{folder}: {name} is {list(stored.shape)} where config.json asks for {list(tensor.shape)}; the two "
                    "files are not of the same model."
                )
            tensor.copy_(stored)
