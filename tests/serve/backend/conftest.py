"""A project with a tiny model that learned to talk, and one that did not, behind the engine's own process."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from talker import save_talker

from plutao.serve.backend.engine import EngineBackend

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/tiny-1 with stages base and sft."""
    root = tmp_path_factory.mktemp("served")
    for stage in ("base", "sft"):
        folder = root / "runs" / "tiny-1" / stage
        folder.mkdir(parents=True)
        save_talker(folder)
        change(folder / "config.json", max_position_embeddings=320)  # descriptions of tools take room
    for file in ("config.json", "generation_config.json"):
        change(root / "runs" / "tiny-1" / "base" / file, eos_token_id=0)  # a base model knows no end of turns
    (root / "runs" / "tiny-1" / "run.json").write_text(json.dumps({"created": "2026-01-01T00:00:00Z"}))
    return root


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs coroutines of a module's tests in one event loop."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def backend(project: Path, run: Run) -> Iterator[EngineBackend]:
    served = EngineBackend(project, slots=8, queue=80, threads=1)
    yield served
    run(served.stop(0))
