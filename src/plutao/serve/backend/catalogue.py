"""The models of a project by their names in the API: RUN/STAGE, and `current` for the one that speaks for the project."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from plutao.errors import UserError
from plutao.files import read_json, sha256
from plutao.generate.chat import converses
from plutao.models.decoder import DecoderConfig
from plutao.models.interop.huggingface import ARCHITECTURES, load_config
from plutao.project import SPEAKERS, list_runs, resolve_model
from plutao.serve.backend.contract import ModelCard, Refused

CURRENT = "current"


@dataclass(frozen=True)
class Catalogue:
    """The project in `root`, or the one model whose folder `root` is. Looked at anew every time: stages come and go."""

    root: Path

    def folders(self) -> dict[str, Path]:
        """Every model that writes, by its name; reward models only judge."""
        if (self.root / "config.json").is_file():
            folder = self.root.resolve()
            return {f"{folder.parent.name}/{folder.name}": folder}
        runs = list_runs(self.root)
        found = {f"{run}/{stage}": self.root / "runs" / run / stage for run in runs for stage in SPEAKERS}
        return {name: folder for name, folder in found.items() if writes(folder)}

    def current(self) -> str | None:
        """The name that `current` stands for; None where nothing was trained yet."""
        folders = self.folders()
        if len(folders) == 1:
            return next(iter(folders))
        try:
            folder = resolve_model(None, self.root)
        except UserError:
            return None
        name = f"{folder.parent.name}/{folder.name}"
        return name if name in folders else None

    def cards(self) -> list[ModelCard]:
        current = self.current()
        return [card_of(name, folder, name == current) for name, folder in self.folders().items()]

    def card(self, name: str) -> ModelCard:
        """The model that a name or alias means.

        Raises:
            Refused: there is none.
        """
        folders, current = self.folders(), self.current()
        wanted = current if name == CURRENT else name
        if wanted is None or wanted not in folders:
            raise Refused(f"There is no model {name!r}.", "model_not_found", "model")
        return card_of(wanted, folders[wanted], wanted == current)


def writes(folder: Path) -> bool:
    """Whether a decoder lies there that we can load."""
    try:
        return read_json(folder / "config.json").get("model_type") in ARCHITECTURES
    except (UserError, AttributeError):
        return False


def card_of(name: str, folder: Path, current: bool) -> ModelCard:
    config, chats, fingerprint, created = described(folder, stamp(folder))
    return ModelCard(
        id=name,
        created=created,
        context=config.context,
        vocabulary=config.vocabulary,
        stage=name.rpartition("/")[2],
        chats=chats,
        fingerprint=fingerprint,
        folder=folder,
        parameters=config.parameters(),
        width=config.width,
        aliases=(CURRENT,) if current else (),
    )


def stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when the weights' files or the configuration do."""
    files = [*sorted(folder.glob("*.safetensors")), folder / "config.json", folder / "generation_config.json"]
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


@functools.lru_cache(maxsize=256)
def described(folder: Path, _: tuple[tuple[str, int, int], ...]) -> tuple[DecoderConfig, bool, str, int]:
    """(shape, whether it learned to talk, hash of its weights, when they were written)."""
    weights = sorted(folder.glob("*.safetensors"))
    named = "".join(sha256(file) for file in weights)
    fingerprint = named[:32] if len(weights) == 1 else hashlib.sha256(named.encode()).hexdigest()[:32]
    created = int(max((file.stat().st_mtime for file in weights), default=0))
    return load_config(folder), converses(folder), fingerprint, created
