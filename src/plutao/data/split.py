"""Training and validation: which documents, or which part of each, is kept aside to measure with."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from plutao.data.card import SplitCard
from plutao.data.settings import DataSettings
from plutao.data.store import DocumentWriter, Part, open_documents, read_group
from plutao.errors import UserError

EXACT_DOCUMENTS = 50_000
"""Up to here the documents of a source are weighed against each other; beyond it, chance alone comes close enough."""


def split_documents(
    staging: Path, source: str, settings: DataSettings, seed: int, total: int, advance: Callable[[float], None]
) -> dict[str, SplitCard]:
    """Writes `train.parquet` and `validation.parquet` beside `staging`, the file of all documents of a source.

    Args:
        total: bytes of text in `staging`.
        advance: called with the share of the work done.

    Raises:
        UserError: one document can't be split by document, or a side stays without text.
    """
    lengths = DocumentLengths(staging, source, seed)
    sides: Iterator[tuple[Part, bool]]
    if settings.split == "document":
        chosen = choose_validation(lengths, settings.validation, total, source)
        sides = ((part, chosen(part, number)) for part, number in numbered_parts(staging))
    else:
        sides = cut_tails(staging, lengths.characters, 1 - settings.validation)
    folder = staging.parent
    with (
        DocumentWriter(folder / "train.parquet", source) as train,
        DocumentWriter(folder / "validation.parquet", source) as validation,
    ):
        for part, aside in sides:
            (validation if aside else train).write(part, len(part.text.encode()))
            advance((train.bytes + validation.bytes) / total)
    if not train.documents or not validation.documents:
        lacking = "validation" if train.documents else "training"
        raise UserError(
            f"Source {source!r} is too short to be split: nothing is left for {lacking}. Add text, or raise data.validation."
        )
    return {
        "train": SplitCard(train.documents, train.bytes, train.characters),
        "validation": SplitCard(validation.documents, validation.bytes, validation.characters),
    }


def numbered_parts(staging: Path) -> Iterator[tuple[Part, int]]:
    """Every part with its document's number, counted from 0."""
    number = -1
    with open_documents(staging) as file:
        for group in range(file.num_row_groups):
            for part in read_group(file, group):
                number += part.part == 0
                yield part, number


class DocumentLengths:
    """A first look at the documents: how many, how long, and each one's lot.

    `sizes` (bytes) and `lots` are kept only up to `EXACT_DOCUMENTS`; `characters` only of documents in several parts,
    of which there are few for any amount of text. So memory stays constant.
    """

    def __init__(self, staging: Path, source: str, seed: int) -> None:
        self.documents = 0
        self.sizes: list[int] = []
        self.lots: list[float] = []
        self.characters: dict[int, int] = {}
        self._seed, self._source = seed, source
        first = 0
        for part, number in numbered_parts(staging):
            self.documents = number + 1
            if part.part == 0:
                first = len(part.text)
            else:
                self.characters[number] = self.characters.get(number, first) + len(part.text)
            if number < EXACT_DOCUMENTS:
                if part.part == 0:
                    self.sizes.append(0)
                    self.lots.append(self.lot(part))
                self.sizes[number] += len(part.text.encode())

    def lot(self, part: Part) -> float:
        """A number from 0 to 1 that belongs to the document: others may come and go without changing it."""
        digest = hashlib.blake2b(f"{self._seed}\0{self._source}\0{part.id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


def choose_validation(lengths: DocumentLengths, share: float, total: int, source: str) -> Callable[[Part, int], bool]:
    """Which documents are kept aside, as a function of (part, document's number).

    In the order of their lots, documents are taken while they bring the bytes taken nearer to `share` of `total`; at
    least one is. With very many documents, those whose lot is below `share`.
    """
    if lengths.documents == 1:
        raise UserError(
            f'Source {source!r} is a single document, which can\'t be split by document: set data.split = "tail" '
            "to keep its end for validation, or add documents."
        )
    if lengths.documents > EXACT_DOCUMENTS:
        return lambda part, number: lengths.lot(part) < share
    target, taken, chosen = share * total, 0, set()
    for number in sorted(range(lengths.documents), key=lengths.lots.__getitem__):
        size = lengths.sizes[number]
        if abs(taken + size - target) < abs(taken - target):
            taken += size
            chosen.add(number)
    if not chosen:
        chosen.add(min(range(lengths.documents), key=lengths.sizes.__getitem__))
    return lambda part, number: number in chosen


def cut_tails(staging: Path, characters: dict[int, int], kept: float) -> Iterator[tuple[Part, bool]]:
    """Every document cut in two: its first ⌊`kept` · characters⌋ for training, the rest for validation (True)."""
    before = parts_before = parts_behind = 0
    for part, number in numbered_parts(staging):
        if part.part == 0:
            before = parts_before = parts_behind = 0
        cut = int(characters.get(number, len(part.text)) * kept) - before
        before += len(part.text)
        head, tail = part.text[: max(cut, 0)], part.text[max(cut, 0) :]
        if head:
            yield Part(part.id, head, part.language, part.license, parts_before), False
            parts_before += 1
        if tail:
            yield Part(part.id, tail, part.language, part.license, parts_behind), True
            parts_behind += 1
