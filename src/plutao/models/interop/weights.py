"""Weights in files: safetensors, whole or in shards, read and written so that damage is said in a sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from plutao.errors import UserError
from plutao.files import atomic_path, read_json, write_tensors

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors to one safetensors file, atomically.

    Raises:
        UserError: the disk is full, or the folder can't be written.
    """
    apart = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        write_tensors(temporary, apart, {"format": "pt"})


class Weights:
    """The tensors of a model folder by name, read from disk one at a time when asked for.

    Raises:
        UserError: there are no weights, they are pickled, or a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file_of: dict[str, str] = {}
        for file in self._files():
            with opened(folder / file) as tensors:
                self.file_of.update(dict.fromkeys(tensors.keys(), file))

    def _files(self) -> list[str]:
        if (self.folder / WHOLE).is_file():
            return [WHOLE]
        if (self.folder / INDEX).is_file():
            index = read_json(self.folder / INDEX)
            if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
                raise UserError(f"{self.folder / INDEX} has no table 'weight_map': fetch it again.")
            return sorted(set(index["weight_map"].values()))
        if any((self.folder / name).is_file() for name in PICKLED):
            raise UserError(
                f"{self.folder} holds pickled weights (pytorch_model.bin), which can run any program when opened: "
                "fetch its safetensors version, or, if you trust it, open it with transformers and save it again."
            )
        raise UserError(f"{self.folder} has no {WHOLE}: it is not a model's folder, or its training has not ended.")

    def __contains__(self, name: str) -> bool:
        return name in self.file_of

    def names(self) -> set[str]:
        return set(self.file_of)

    def read(self, name: str) -> Tensor:
        with opened(self.folder / self.file_of[name]) as tensors:
            tensor: Tensor = tensors.get_tensor(name)
            return tensor


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file; what is wrong with it becomes a UserError."""
    try:
        with safetensors.safe_open(path, framework="pt") as tensors:
            yield tensors
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: fetch the model again.") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and fetch or save the model again.") from error


def dtype_name(dtype: torch.dtype) -> str:
    """`torch.bfloat16` → `bfloat16`, as config.json has it."""
    return str(dtype).removeprefix("torch.")
