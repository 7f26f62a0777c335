"""Sources become documents: Parquet files for training and validation, and a card that says what they hold.

Three passes over each source, all in constant memory: look (every file is whole and in a known encoding; nothing long
begins before all are), read (files → documents, one after the other), split (documents → training and validation).
"""

import hashlib
import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from plutao.data import catalogue
from plutao.data.card import DataCard, SourceCard, Tally, load_card
from plutao.data.sample import joined
from plutao.data.settings import DataSettings, Source
from plutao.data.sources.find import Found, find_files
from plutao.data.sources.inspect import Facts, inspect_file, refuse
from plutao.data.sources.rows import BadRows, open_parquet, read_file, unpacked
from plutao.data.split import split_documents
from plutao.data.store import DocumentWriter, Part
from plutao.errors import UserError
from plutao.files import atomic_folder, fingerprint, read_json, write_json
from plutao.worlds import world

Progress = Callable[[int, int], None]
"""Called with (work done, work in all), in bytes of input."""
FORMAT = 1


@dataclass(frozen=True)
class Input:
    """A source with what its files turned out to be."""

    source: Source
    files: tuple[tuple[Found, Facts], ...]
    language: str
    license: str

    @property
    def size(self) -> int:
        """Bytes of input."""
        written = int(self.source.megabytes * 1e6) if self.source.world else 0
        return written + sum(found.path.stat().st_size for found, _ in self.files)

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides which documents come out of it."""
        settings = self.source.model_dump(mode="json", exclude={"weight", "path"})
        files = [[found.name, facts.sha256, facts.encoding] for found, facts in self.files]
        version = world_version(self.source.world) if self.source.world else None
        return {"settings": settings, "defaults": [self.language, self.license], "files": files, "world": version}

    @property
    def sha256(self) -> str:
        """The file's own where there is one file; else of all names and hashes."""
        if len(self.files) == 1:
            return self.files[0][1].sha256
        return hashlib.sha256(
            "\n".join(f"{facts.sha256}  {found.name}" for found, facts in self.files).encode()
        ).hexdigest()


def build_documents(
    settings: DataSettings, seed: int, project_root: Path, out: Path, progress: Progress | None = None
) -> DataCard:
    """Reads all sources into `out/<fingerprint>/`; an equal earlier build is reused.

    The folder holds `<source>/train.parquet` and `<source>/validation.parquet` (columns id, text, language, license,
    source, part) and `card.json`. `out/inputs.json` remembers the files' hashes, so that unchanged files are not read
    again.

    Raises:
        UserError: no sources, nothing to read in one of them, a file or row that can't be read (unless it may be
        skipped).
    """
    if not settings.sources:
        raise UserError("The recipe names no text: add some with `plutao data add`, or write a [[data.sources]] table.")
    meter = Meter(progress)
    inputs = look(settings, project_root, out, meter)
    name = fingerprint(
        {
            "format": FORMAT,
            "seed": seed,
            "settings": settings.model_dump(mode="json", include={"validation", "split", "bad_rows"}),
            "sources": [each.identity for each in inputs],
        }
    )
    folder = out / name
    if (folder / "card.json").exists():
        return load_card(folder)
    with atomic_folder(folder) as temporary:
        cards = {each.source.name: build_source(each, settings, seed, temporary, meter) for each in inputs}
        card = DataCard(folder, name, seed, settings.split, cards)
        write_json(temporary / "card.json", card.as_json())
    return card


class Meter:
    """Progress over all sources: a quarter of the work is looking, half is reading, a quarter is splitting."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.total = 0
        self.done = 0.0

    def at(self, amount: float) -> None:
        """Shows the work done before this phase, and `amount` of it."""
        if self._progress is not None:
            self._progress(round(self.done + amount), self.total)


# ---------------------------------------------------------------------------------------------------------------------
# Look


def look(settings: DataSettings, project_root: Path, out: Path, meter: Meter) -> list[Input]:
    """Finds and inspects every file of every source; files seen before with the same size and date are not read again."""
    corpora = catalogue.ensure(settings, project_root)
    found = [find_input(source, corpora.get(source.name), project_root) for source in settings.sources]
    meter.total = sum(each.size for each in found)
    remembered = read_json(out / "inputs.json") if (out / "inputs.json").exists() else {}
    memory: dict[str, Any] = {}
    inputs = []
    for each in found:
        bad = BadRows(settings.bad_rows)
        files = []
        for file, _ in each.files:
            facts = recall(file, each.source, remembered, memory)
            if facts.problem and bad.policy == "refuse":
                raise refuse(facts)
            files.append((file, facts))
            meter.done += file.path.stat().st_size / 4
            meter.at(0)
        if each.source.world:
            meter.done += each.size / 4
        inputs.append(replace(each, files=tuple(files)))
    write_json(out / "inputs.json", memory)
    return inputs


def find_input(source: Source, corpus_file: Path | None, project_root: Path) -> Input:
    """A source's files and what it says of them; they are inspected later."""
    language, license = source.language or "", source.license or ""
    files: list[Found] = []
    if source.corpus:
        corpus = catalogue.find(source.corpus, project_root)
        assert corpus_file is not None
        files = [Found(corpus_file, corpus_file.name)]
        language, license = language or corpus.language, license or corpus.license
    elif source.path:
        files = find_files(source.path, project_root)
    elif source.world:
        license = license or world(source.world).license
    return Input(source, tuple((file, Facts("")) for file in files), language, license)


def recall(file: Found, source: Source, remembered: dict[str, Any], memory: dict[str, Any]) -> Facts:
    """The facts of a file, from `remembered` where it has not changed since; noted in `memory`."""
    state = file.path.stat()
    key, stamp = f"{file.path.resolve()} {source.encoding or ''}", [state.st_size, state.st_mtime_ns]
    known = remembered.get(key)
    facts = Facts(**known["facts"]) if known and known["stamp"] == stamp else inspect_file(file, source.encoding)
    if file.kind == ".parquet" and not facts.problem:
        with unpacked(file) as path:
            open_parquet(path, file.path, source).close()
    memory[key] = {"stamp": stamp, "facts": asdict(facts)}
    return facts


def world_version(name: str) -> str:
    """Names a world's program and facts by content: another version of it writes other documents."""
    package = importlib.import_module(f"plutao.worlds.{name}")
    folder = Path(package.__path__[0])
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".py", ".toml", ".json", ".txt"))
    return fingerprint([[file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8")] for file in files])


# ---------------------------------------------------------------------------------------------------------------------
# Read


def texts_of(paths: Sequence[str], root: Path = Path()) -> Iterator[str]:
    """The documents of files, folders or patterns, one after the other, each whole; nothing is written.

    Raises:
        UserError: nothing is there, or a file or row that can't be read.
    """
    for path in paths:
        source = Source(name="text", path=path)
        for file in find_files(path, root):
            facts = inspect_file(file, None)
            if facts.problem:
                raise UserError(facts.problem)
            parts = (part for part, _ in read_file(file, facts.encoding, source, BadRows("refuse")))
            yield from (document.text for document in joined(parts))


def build_source(each: Input, settings: DataSettings, seed: int, folder: Path, meter: Meter) -> SourceCard:
    """All documents of one source, split, in `folder/<source>`."""
    name = each.source.name
    (folder / name).mkdir()
    staging = folder / name / "staging.parquet"
    bad, tally = BadRows(settings.bad_rows), Tally()
    with DocumentWriter(staging, name, compression="lz4") as writer:
        for part, position in read_input(each, seed, bad):
            size = len(part.text.encode())
            tally.add(part, size)
            writer.write(part, size)
            meter.at(position / 2)
    meter.done += each.size / 2
    if not tally.documents:
        skipped = ", ".join(f"{count} × {reason}" for reason, count in bad.counts.items())
        raise UserError(
            f"Source {name!r} has no text{f' ({skipped})' if skipped else ''}: add some, or remove the source."
        )
    splits = split_documents(staging, name, settings, seed, tally.bytes, lambda share: meter.at(share * each.size / 4))
    meter.done += each.size / 4
    staging.unlink()
    return SourceCard(
        origin=next(f"{kind} {value}" for kind in ("path", "corpus", "world") if (value := getattr(each.source, kind))),
        files=len(each.files),
        encodings=dict(Counter(facts.encoding for _, facts in each.files if facts.encoding)),
        sha256=each.sha256 if each.files else "",
        documents=tally.documents,
        bytes=tally.bytes,
        characters=tally.characters,
        languages=tally.shares(tally.languages),
        licenses=tally.shares(tally.licenses),
        skipped=dict(bad.counts),
        skipped_examples=bad.examples,
        **splits,
    )


def read_input(each: Input, seed: int, bad: BadRows) -> Iterator[tuple[Part, float]]:
    """A source's documents, each with the bytes of input read so far."""
    reader = read_world(each, seed) if each.source.world else read_files(each, bad)
    for part, position in reader:
        yield replace(part, language=part.language or each.language, license=part.license or each.license), position


def read_files(each: Input, bad: BadRows) -> Iterator[tuple[Part, float]]:
    before = 0
    for file, facts in each.files:
        if facts.problem:
            bad.found(facts.kind_of_problem, facts.problem)
        else:
            for part, position in read_file(file, facts.encoding, each.source, bad):
                yield part, before + position
        before += file.path.stat().st_size


def read_world(each: Input, seed: int) -> Iterator[tuple[Part, float]]:
    """What a world writes; where the source names a language, only the documents in it."""
    assert each.source.world is not None
    written = 0
    for document in world(each.source.world).documents(each.source.megabytes, seed):
        written += len(document.text.encode())
        if each.source.language not in (None, document.language):
            continue
        yield Part(document.id, document.text, document.language), written
