"""Open corpora by name: each with its public address, licence and SHA-256 (`corpora.toml`), fetched and checked.

A corpus is looked for in this order: the project's `data/corpora`, the folder that the environment variable PLUTAO_DATA
names (a local copy, anywhere below it, by its file name), its public address. Whatever is found must have the SHA-256
of the catalogue.
"""

import os
import tomllib
from importlib import resources
from pathlib import Path

from pydantic import Field, ValidationError

from plutao.data.download import Progress, download
from plutao.data.settings import DataSettings, Settings
from plutao.errors import UserError
from plutao.files import sha256

ENVIRONMENT = "PLUTAO_DATA"


class Corpus(Settings):
    """A corpus of the catalogue."""

    file: str = Field(pattern=r"^[^/\\]+$")
    """What its file is called, in `data/corpora` and below PLUTAO_DATA."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    license: str
    language: str = ""
    description: str = ""
    address: str = Field(default="", pattern=r"^(https?://.*)?$")
    """Where the very file is published."""
    origin: str = ""
    """What it was extracted from, where no single public file holds it."""
    bytes: int | None = None
    """The file's size, as published."""


def catalogue(project_root: Path) -> dict[str, Corpus]:
    """All corpora by name: ours, and those of the project's own data/corpora.toml (which may also replace ours).

    Raises:
        UserError: the project's file is not right; the message names the corpus and the key.
    """
    shipped = resources.files("plutao.data").joinpath("corpora.toml").read_text(encoding="utf-8")
    corpora = parse(shipped, "corpora.toml")
    own = project_root / "data" / "corpora.toml"
    if own.exists():
        corpora |= parse(own.read_text(encoding="utf-8-sig"), str(own))
    return corpora


def parse(text: str, where: str) -> dict[str, Corpus]:
    corpora = {}
    try:
        for name, entry in tomllib.loads(text).items():
            corpora[name] = Corpus.model_validate(entry)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not valid TOML: {error}.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        known = ", ".join(Corpus.model_fields)
        raise UserError(f"{where}, [{name}]: {key}: {problem['msg'].lower()}. A corpus has {known}.") from error
    return corpora


def find(name: str, project_root: Path) -> Corpus:
    """Raises UserError where no corpus has that name."""
    corpora = catalogue(project_root)
    if name not in corpora:
        raise UserError(f"There is no corpus {name!r} in the catalogue. It has: {', '.join(corpora)}.")
    return corpora[name]


def get(name: str, project_root: Path, progress: Progress | None = None) -> Path:
    """The file of a corpus, whole and checked; fetched into the project's `data/corpora` if it has to be.

    Raises:
        UserError: no such corpus, an address that does not answer or gives something else, no copy to be had.
    """
    corpus = find(name, project_root)
    place = project_root / "data" / "corpora" / corpus.file
    local = local_copy(name, corpus, place)
    if local is not None:
        return local
    if not corpus.address:
        raise UserError(
            f"The corpus {name!r} has no single public file (it was extracted from {corpus.origin}): "
            f"put {corpus.file} at {place}, or set {ENVIRONMENT} to a folder that holds it."
        )
    download(corpus.address, place, corpus.sha256, corpus.bytes, progress)
    return place


def local_copy(name: str, corpus: Corpus, place: Path) -> Path | None:
    """The corpus where it already is.

    Raises:
        UserError: there are files of its name, but none with its content.
    """
    candidates = [place] if place.exists() else []
    folder = os.environ.get(ENVIRONMENT)
    if folder:
        candidates += sorted(Path(below) / corpus.file for below, _, files in os.walk(folder) if corpus.file in files)
    for candidate in candidates:
        if sha256(candidate) == corpus.sha256:
            return candidate
    if candidates:
        raise UserError(
            f"{candidates[0]} is not the corpus {name!r}: its SHA-256 is {sha256(candidates[0])[:12]}…, the catalogue's "
            f"is {corpus.sha256[:12]}…. Put the right file there, or remove it."
        )
    return None


def ensure(settings: DataSettings, project_root: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Finds or fetches every corpus the recipe names, before anything long begins: source name → file.

    Raises:
        UserError: as `get`; corpora that can't be had are noticed before others are downloaded.
    """
    names = {source.name: source.corpus for source in settings.sources if source.corpus is not None}
    by_need = sorted(names, key=lambda source: bool(find(names[source], project_root).address))
    return {source: get(names[source], project_root, progress) for source in by_need}
