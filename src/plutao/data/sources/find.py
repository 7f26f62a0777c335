"""From what a recipe calls a path (a file, a folder, a pattern) to the files it means."""

import glob
import os
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from plutao.errors import UserError

KINDS = (".txt", ".md", ".jsonl", ".parquet")
COMPRESSIONS = (".gz", ".zst")
READABLE = f"{' '.join(KINDS)}, each also {' or '.join(COMPRESSIONS)}"


@dataclass(frozen=True)
class Found:
    """A file of a source; `name` is its path below the source's folder and names its documents."""

    path: Path
    name: str

    @property
    def kind(self) -> str:
        """One of `KINDS`, or what the file ends with where that can't be read."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        if suffixes and suffixes[-1] in COMPRESSIONS:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @property
    def compression(self) -> str:
        suffix = self.path.suffix.lower()
        return suffix if suffix in COMPRESSIONS else ""


def find_files(path: str, root: Path) -> list[Found]:
    """The files that `path`, taken from the folder `root`, means: one file, all of a folder and its folders, or a
    pattern's.

    Hidden files and folders (`.name`) are passed over. The order is that of the names, the same on every machine.

    Raises:
        UserError: nothing is there, or something that can't be read.
    """
    place = root / Path(path).expanduser()
    if place.is_dir():
        found = [Found(file, file.relative_to(place).as_posix()) for file in walk(place)]
        nothing = f"The folder {place} has no files: put text files there ({READABLE})."
    elif place.exists():
        found = [Found(place, place.name)]
        nothing = ""
    elif glob.has_magic(path):
        pattern = Path(path).expanduser()
        matches = sorted(root / match for match in glob.iglob(str(pattern), root_dir=root, recursive=True))  # noqa: PTH207
        base = root / fixed_part(pattern)
        found = [Found(file, file.relative_to(base).as_posix()) for file in matches if file.is_file()]
        nothing = f"The pattern {place} matches no file: check it, or add files ({READABLE})."
    else:
        raise UserError(f"{place} is not there: check the path, which is taken from {root}.")
    if not found:
        raise UserError(nothing)
    for file in found:
        if not os.access(file.path, os.R_OK):
            raise UserError(f"{file.path} can't be read: change its permissions (chmod +r), or move it away.")
    return found


def walk(folder: Path) -> list[Path]:
    """All files below a folder that are not hidden, sorted."""
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(files)


def fixed_part(pattern: Path) -> Path:
    """The folder of a pattern up to its first wildcard."""
    return Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parent.parts))
