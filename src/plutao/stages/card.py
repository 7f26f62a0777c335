"""stage.json: what a stage was made of and what it came to; `complete` is written last, when everything else is there."""

import importlib.metadata
from pathlib import Path
from typing import Any

from plutao import __version__
from plutao.files import read_json, write_json

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors")


def write_card(folder: Path, stage: str, inputs: str, results: dict[str, Any]) -> None:
    """Marks a stage complete, with its results and the versions that made them."""
    versions = {"plutao": __version__, **{name: importlib.metadata.version(name) for name in PACKAGES}}
    files = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != "stage.json")
    made_of = {"stage": stage, "inputs": inputs, "complete": True, "files": files, "versions": versions}
    write_json(folder / "stage.json", made_of | results)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a complete stage."""
    card: dict[str, Any] = read_json(folder / "stage.json")
    return card
