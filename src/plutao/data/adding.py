"""Adding a source to a recipe file: looked at first, written with every comment kept."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT

from plutao.data import catalogue
from plutao.data.settings import Source
from plutao.data.sources.find import Found, find_files, walk
from plutao.data.sources.inspect import inspect_file, refuse
from plutao.data.sources.rows import BadRows, read_file
from plutao.errors import UserError

LOOKED_AT = 20
"""Documents of each file that are read before a source is accepted; the rest is read by the build."""


@dataclass(frozen=True)
class Finding:
    """What a source turned out to be."""

    name: str
    origin: str
    files: int
    bytes: int
    """Bytes of its files, as they rest."""
    encodings: list[str]
    beginning: str
    """First words of its first document."""


def look_at(source: Source, project_root: Path) -> Finding:
    """Looks at every file of a source, and at the first documents of each.

    Raises:
        UserError: something that can't be read, or no text.
    """
    if source.corpus:
        path = catalogue.get(source.corpus, project_root)
        files = [Found(path, path.name)]
    else:
        assert source.path is not None
        files = find_files(source.path, project_root)
    encodings: set[str] = set()
    beginning = ""
    for file in files:
        facts = inspect_file(file, source.encoding)
        if facts.problem:
            raise refuse(facts)
        encodings.add(facts.encoding)
        for part, _ in islice(read_file(file, facts.encoding, source, BadRows("refuse")), LOOKED_AT):
            beginning = beginning or " ".join(part.text[:400].split())[:80]
    if not beginning:
        raise UserError(f"{source.path or source.corpus} has no text: its {len(files)} file(s) are empty.")
    size = sum(file.path.stat().st_size for file in files)
    return Finding(
        source.name, source.path or source.corpus or "", len(files), size, sorted(encodings - {""}), beginning
    )


def source_path(path: str, project_root: Path) -> str:
    """A path as typed (from where the command runs) as the recipe writes it: relative to the project where it lies inside."""
    absolute = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - links are kept as they are
    root = Path(os.path.abspath(project_root))  # noqa: PTH100
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else absolute.as_posix()


def name_for(path: str, taken: set[str]) -> str:
    """A source's name from its path: letters, digits, `.`, `_` and `-`, not one that is taken."""
    parts = [part for part in Path(path).parts if not re.search(r"[*?\[]", part)]
    stem = Path(parts[-1]).name.split(".")[0] if parts else ""
    base = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "text"
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def append_source(recipe_text: str, source: Source) -> str:
    """The recipe's text with one more [[data.sources]] table; comments and order stay."""
    document = tomlkit.parse(recipe_text)
    data: Any = document.get("data")
    if data is None:
        data = document["data"] = tomlkit.table()
    if not isinstance(data.get("sources"), AoT):
        data.pop("sources", None)
        data.append("sources", tomlkit.aot())
    table = tomlkit.table()
    for key, value in source.model_dump(exclude_unset=True, exclude_none=True).items():
        table.add(key, value)
    table.add(tomlkit.nl())
    data["sources"].append(table)
    return tomlkit.dumps(document)


def empty_folders(sources: Sequence[Source], project_root: Path) -> list[str]:
    """Names of sources whose folder is there and has no files, as that of a new project before texts are put there."""
    folders = {source.name: project_root / Path(source.path).expanduser() for source in sources if source.path}
    return [name for name, folder in folders.items() if folder.is_dir() and not walk(folder)]


def remove_source(recipe_text: str, name: str) -> str:
    """The recipe's text without the [[data.sources]] table of that name."""
    document: Any = tomlkit.parse(recipe_text)
    sources = document["data"]["sources"]
    del sources[[source["name"] for source in sources].index(name)]
    return tomlkit.dumps(document)
