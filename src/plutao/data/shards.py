"""Token shards: documents as one long row of token ids per source and split, memory-mapped.

Every document is preceded by `<|endoftext|>`, so its first token too is predicted from something, and so that the end
of a document is learned. On disk, for each source: `train.bin` and `validation.bin` (little-endian uint16 where the
vocabulary has at most 65,536 tokens, else uint32), `train.starts.bin` (uint64: where each document's `<|endoftext|>`
stands), and `train.json` with what the file holds; `index.json` names them all.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from plutao.data.store import Part, read_parts
from plutao.errors import UserError
from plutao.files import atomic_folder, fingerprint, read_json, write_json

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

BATCH_CHARACTERS = 4_000_000
"""Text encoded at once: enough to keep all cores busy, little enough to need little memory."""
FORMAT = 1


class Encoder(Protocol):
    """What shards need of a tokenizer."""

    @property
    def vocabulary_size(self) -> int: ...
    @property
    def end_of_text(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...


@dataclass(frozen=True)
class ShardInfo:
    """What one .bin file holds."""

    source: str
    split: str
    tokens: int
    documents: int
    bytes: int
    dtype: str
    end_of_text: int
    tokenizer: str
    sha256: str


class TokenShards:
    """One source's tokens of one split: `tokens` is a memory-mapped array, `starts` says where each document begins."""

    def __init__(self, folder: Path, split: str) -> None:
        """Raises UserError where the files are missing or not as long as their description says."""
        try:
            self.info = ShardInfo(**read_json(folder / f"{split}.json"))
        except (UserError, TypeError) as error:
            raise UserError(
                f"{folder / split}.json is missing or damaged: delete {folder.parent} and run `plutao data build` again."
            ) from error
        self.tokens = map_file(folder / f"{split}.bin", self.info.dtype, self.info.tokens)
        self.starts = map_file(folder / f"{split}.starts.bin", "<u8", self.info.documents)

    def __len__(self) -> int:
        return self.info.tokens


@dataclass(frozen=True)
class ShardIndex:
    """All shards of a build: where they rest, of which documents and tokenizer."""

    folder: Path
    fingerprint: str
    documents: str
    tokenizer: str
    sources: dict[str, dict[str, ShardInfo]]

    def open(self, split: Split = "train") -> dict[str, TokenShards]:
        """source → its tokens, for the sources that have that split."""
        return {
            name: TokenShards(self.folder / name, split) for name, splits in self.sources.items() if split in splits
        }

    def as_json(self) -> dict[str, Any]:
        """What index.json holds."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}

    def tokens(self, split: Split = "train") -> int:
        return sum(splits[split].tokens for splits in self.sources.values() if split in splits)


def map_file(path: Path, dtype: str, length: int) -> npt.NDArray[Any]:
    """A memory-mapped array; nothing is read until it is looked at."""
    expected = length * np.dtype(dtype).itemsize
    found = path.stat().st_size if path.exists() else -1
    if found != expected:
        state = "is missing" if found < 0 else f"has {found:,} bytes where {expected:,} belong"
        raise UserError(f"{path} {state}: delete {path.parent.parent} and run `plutao data build` again.")
    return np.memmap(path, dtype=dtype, mode="r", shape=(length,)) if length else np.empty(0, dtype=dtype)


def build_shards(documents: Path, tokenizer: Encoder, out: Path, progress: Progress | None = None) -> ShardIndex:
    """Encodes a documents folder (as `build_documents` leaves it) into `out/<fingerprint>/`; an equal earlier build is
    reused.

    Memory is constant: documents stream through in batches of `BATCH_CHARACTERS`.

    Raises:
        UserError: documents missing or damaged, or a disk that can't be written.
    """
    card = read_json(documents / "card.json")
    name = fingerprint({"format": FORMAT, "documents": card["fingerprint"], "tokenizer": tokenizer.fingerprint})
    folder = out / name
    if (folder / "index.json").exists():
        return load_shards(folder)
    total = sum(source["bytes"] for source in card["sources"].values())
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    with atomic_folder(folder) as temporary:
        sources: dict[str, dict[str, ShardInfo]] = {}
        for source in card["sources"]:
            (temporary / source).mkdir()
            for split in SPLITS:
                parts = read_parts(documents / source / f"{split}.parquet")
                info = write_shard(parts, tokenizer, temporary / source, source, split, advance)
                sources.setdefault(source, {})[split] = info
        index = ShardIndex(folder, name, card["fingerprint"], tokenizer.fingerprint, sources)
        write_json(temporary / "index.json", index.as_json())
    return load_shards(folder)


def load_shards(folder: Path) -> ShardIndex:
    """The index of a finished build.

    Raises:
        UserError: no complete build there.
    """
    index = read_json(folder / "index.json")
    sources = {
        source: {split: ShardInfo(**info) for split, info in splits.items()}
        for source, splits in index["sources"].items()
    }
    return ShardIndex(folder, index["fingerprint"], index["documents"], index["tokenizer"], sources)


def write_shard(
    parts: Iterator[Part], tokenizer: Encoder, folder: Path, source: str, split: Split, advance: Callable[[int], None]
) -> ShardInfo:
    """One split of one source: .bin, .starts.bin and .json."""
    dtype = "<u2" if tokenizer.vocabulary_size <= 65_536 else "<u4"
    digest = hashlib.sha256()
    tokens = documents = size = 0
    with (folder / f"{split}.bin").open("wb") as ids, (folder / f"{split}.starts.bin").open("wb") as starts:
        for batch in batched(parts):
            rows, first = with_separators(batch, tokenizer, dtype)
            write_array(starts, (tokens + first).astype("<u8"))
            digest.update(write_array(ids, rows))
            read = sum(len(part.text.encode()) for part in batch)
            tokens, documents, size = tokens + len(rows), documents + len(first), size + read
            advance(read)
    info = ShardInfo(
        source, split, tokens, documents, size, dtype, tokenizer.end_of_text, tokenizer.fingerprint, digest.hexdigest()
    )
    (folder / f"{split}.json").write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")
    return info


def batched(parts: Iterator[Part]) -> Iterator[list[Part]]:
    """Groups of parts of about `BATCH_CHARACTERS` together."""
    batch: list[Part] = []
    characters = 0
    for part in parts:
        batch.append(part)
        characters += len(part.text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def with_separators(
    batch: list[Part], tokenizer: Encoder, dtype: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The batch's ids in one row, `<|endoftext|>` before every document (not its later parts), and where those are."""
    pieces: list[npt.NDArray[Any]] = []
    starts: list[int] = []
    length = 0
    separator = np.array([tokenizer.end_of_text], dtype=dtype)
    for part, ids in zip(batch, tokenizer.encode_batch([part.text for part in batch]), strict=True):
        if part.part == 0:
            starts.append(length)
            pieces.append(separator)
            length += 1
        pieces.append(np.array(ids, dtype=dtype))
        length += len(ids)
    return np.concatenate(pieces), np.array(starts, dtype=np.int64)


def write_array(file: IO[bytes], array: npt.NDArray[Any]) -> bytes:
    data = array.tobytes()
    file.write(data)
    return data
