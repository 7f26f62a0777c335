"""Text out of a build of documents: a sample of the whole mix to train a tokenizer on, the validation text to measure with."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from plutao.data.card import load_card
from plutao.data.store import ROW_GROUP_BYTES, Part, open_documents, read_group, read_parts

PIECES = 64
"""A sample is taken from at least so many places of a source, where it has them."""
VALIDATION_PIECES = 16
"""A limited look at validation text takes the beginnings of so many documents."""


def sample_texts(
    documents: Path, megabytes: float, seed: int, weights: Mapping[str, float | None] | None = None
) -> Iterator[str]:
    """About `megabytes` (MB of UTF-8) of training text, drawn evenly from the whole mix, holding a few MB at a time.

    Each source gives its share by weight (by size, where sources have no weights), from places spread evenly over it;
    a source that has less than its share gives all it has, once, and the others the rest.

    Raises:
        UserError: `documents` holds no complete build.
    """
    sizes = {name: source.train.bytes for name, source in load_card(documents).sources.items()}
    wanted = share_out(sizes, weights or {}, megabytes * 1e6)
    for number, (name, size) in enumerate(wanted.items()):
        yield from sample_source(documents / name / "train.parquet", size, sizes[name], (seed, number))


def share_out(sizes: Mapping[str, int], weights: Mapping[str, float | None], total: float) -> dict[str, float]:
    """How much each source gives to a sample of `total`, none more than its size."""
    amounts = {name: float(weights.get(name) or size) for name, size in sizes.items()}
    given: dict[str, float] = {}
    while len(given) < len(sizes):
        rest = total - sum(given.values())
        open_weights = {name: amount for name, amount in amounts.items() if name not in given}
        scale = rest / sum(open_weights.values())
        full = {name: float(sizes[name]) for name, amount in open_weights.items() if amount * scale >= sizes[name]}
        given |= full or {name: amount * scale for name, amount in open_weights.items()}
    return {name: given[name] for name in sizes}


def sample_source(path: Path, wanted: float, size: int, seed: tuple[int, int]) -> Iterator[str]:
    """`wanted` of a source's `size` bytes: from evenly spaced row groups, in each from a random row on, going round."""
    if wanted >= size:
        yield from (part.text for part in read_parts(path))
        return
    random = np.random.default_rng(seed)
    with open_documents(path) as file:
        count = min(file.num_row_groups, max(PIECES, round(wanted / ROW_GROUP_BYTES) + 1))
        places = (np.arange(count) + random.random()) * file.num_row_groups / count
        left = wanted
        for taken, group in enumerate(places.astype(int).tolist()):
            for text in take_from(read_group(file, group), left / (count - taken), random):
                left -= len(text.encode())
                yield text


def take_from(parts: list[Part], wanted: float, random: np.random.Generator) -> Iterator[str]:
    """About `wanted` bytes of a row group, from a random row on; the last text is cropped."""
    first = int(random.integers(len(parts)))
    for part in parts[first:] + parts[:first]:
        size = len(part.text.encode())
        if size >= wanted:
            yield part.text[: max(1, int(len(part.text) * wanted / size))]
            return
        wanted -= size
        yield part.text


def validation_texts(documents: Path, limit: int | None = None) -> Iterator[Part]:
    """The validation documents, source after source; each is one whole `Part` with its text and language.

    Args:
        limit: UTF-8 bytes in all, about: every source gives its share, as beginnings of its first `VALIDATION_PIECES`
            documents; None gives everything.

    Raises:
        UserError: `documents` holds no complete build.
    """
    card = load_card(documents)
    total = sum(source.validation.bytes for source in card.sources.values())
    for name, source in card.sources.items():
        path = documents / name / "validation.parquet"
        if limit is None or limit >= total:
            yield from joined(read_parts(path))
            continue
        pieces = min(VALIDATION_PIECES, source.validation.documents)
        yield from beginnings(path, limit * source.validation.bytes / total, pieces)


def joined(parts: Iterable[Part]) -> Iterator[Part]:
    """Documents with their parts put together."""
    waiting: list[Part] = []
    for part in parts:
        if part.part == 0 and waiting:
            yield replace(waiting[0], text="".join(piece.text for piece in waiting))
            waiting = []
        waiting.append(part)
    if waiting:
        yield replace(waiting[0], text="".join(piece.text for piece in waiting))


def beginnings(path: Path, limit: float, pieces: int) -> Iterator[Part]:
    """About `limit` bytes from the beginnings of at least `pieces` documents, the shorter ones whole."""
    left = limit
    for number, part in enumerate(part for part in read_parts(path) if part.part == 0):
        size = len(part.text.encode())
        allowed = left / max(pieces - number, 1)
        text = part.text if size <= allowed else part.text[: max(1, int(len(part.text) * allowed / size))]
        yield replace(part, text=text)
        left -= len(text.encode())
        if left < 1:
            return
