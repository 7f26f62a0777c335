"""Where the numbers of a training go: metrics.jsonl always, TensorBoard and trackio where the recipe asks for them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from plutao.errors import UserError
from plutao.files import explain


class Sink(Protocol):
    """A place for one line of metrics."""

    def write(self, line: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """metrics.jsonl: one JSON object a line, in the order of the steps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise explain(error, path) from error

    @property
    def size(self) -> int:
        """Bytes written so far: a checkpoint remembers it, so that what came after can be taken back."""
        self.file.flush()
        return self.path.stat().st_size

    def cut(self, size: int) -> None:
        """Drops what was written after `size` bytes: steps that a resumed training takes again."""
        self.file.flush()
        self.file.truncate(min(size, self.path.stat().st_size))

    def write(self, line: dict[str, Any]) -> None:
        try:
            self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.file.flush()
        except OSError as error:
            raise explain(error, self.path) from error

    def close(self) -> None:
        self.file.close()


class TensorBoard:
    """Numbers as scalars for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError('sinks = ["tensorboard"] needs TensorBoard: pip install "plutao[track]".') from error
        self.writer: Any = SummaryWriter(str(folder))

    def write(self, line: dict[str, Any]) -> None:
        for name, value in numbers(line).items():
            self.writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        self.writer.close()


class Trackio:
    """Numbers for `trackio show`; it keeps them on this machine."""

    def __init__(self, project: str, run: str) -> None:
        try:
            import trackio
        except ImportError as error:
            raise UserError('sinks = ["trackio"] needs trackio: pip install "plutao[track]".') from error
        self.trackio = trackio
        trackio.init(project=project, name=run)

    def write(self, line: dict[str, Any]) -> None:
        if values := numbers(line):
            self.trackio.log(values, step=line["step"])

    def close(self) -> None:
        self.trackio.finish()


def numbers(line: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a line, nested ones with a slash: validation/bits_per_byte."""
    found: dict[str, float] = {}
    for key, value in line.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and key != "step":
            found[prefix + key] = float(value)
    return found


def extra_sinks(names: Sequence[str], out: Path) -> list[Sink]:
    """The sinks a recipe asks for besides metrics.jsonl.

    Raises:
        UserError: a sink's package is not installed.
    """
    sinks: list[Sink] = []
    if "tensorboard" in names:
        sinks.append(TensorBoard(out / "tensorboard"))
    if "trackio" in names:
        sinks.append(Trackio("plutao", f"{out.parent.name}-{out.name}"))
    return sinks
