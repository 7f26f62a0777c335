"""The (B, T) matrix as one can look at it: ids, the text of each token, and one cell with its target (Figures 75 and 76)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from plutao.data.pack import Layout, PretrainBatches, read_ring, row_starts
from plutao.data.shards import Encoder, TokenShards
from plutao.errors import UserError


class Decoder(Encoder, Protocol):
    """A tokenizer that can also show its tokens."""

    def token_text(self, token: int) -> str: ...


@dataclass(frozen=True)
class Cell:
    """The highlighted cell: the tokens up to it (`context`) and the one it predicts (`target`). Row and column count from 1."""

    row: int
    column: int
    context: list[int]
    context_text: str
    target: int
    target_text: str


@dataclass(frozen=True)
class Matrix:
    """B rows of T tokens, their texts, and the token that follows each (`targets`)."""

    tokens: list[list[int]]
    targets: list[list[int]]
    texts: list[list[str]]
    end_of_text: int
    cell: Cell


def matrix_of_texts(texts: Iterable[str], tokenizer: Decoder, batch: int, context: int) -> Matrix:
    """The first `batch` rows of layout `document`, each from its document's first word on, as Figure 75 shows them.

    Raises:
        UserError: the texts do not fill one row.
    """
    stream: list[int] = []
    starts: list[int] = []
    for text in texts:
        starts.append(len(stream))
        stream += [tokenizer.end_of_text, *tokenizer.encode_batch([text])[0]]
        if len(stream) > batch * context and len(row_starts(np.array(starts), context)) > batch:
            break
    if len(stream) < context + 2:
        raise UserError(
            f"The text has {len(stream):,} tokens, less than one row of {context}: lower --context, or give more text."
        )
    opened = row_starts(np.array(starts), context)[:batch].tolist()
    ring = np.array(stream)
    return describe([read_ring(ring, start + 1, context + 1).tolist() for start in opened], tokenizer)


def matrix_of_shards(
    shards: Mapping[str, TokenShards],
    weights: Mapping[str, float | None],
    tokenizer: Decoder,
    batch: int,
    context: int,
    seed: int,
    layout: Layout,
) -> Matrix:
    """The first batch of a training; in layout `document`, without the `<|endoftext|>` that every row starts with."""
    skip = 1 if layout == "document" else 0
    first = next(PretrainBatches(shards, weights, batch, context + skip, seed, layout))
    rows = torch.cat([first.tokens, first.targets[:, -1:]], dim=1)[:, skip:]
    return describe(rows.tolist(), tokenizer)


def describe(rows: list[list[int]], tokenizer: Decoder) -> Matrix:
    """Rows of T + 1 tokens as a matrix; the cell is in the second row, a little right of the middle, as in Figure 76."""
    tokens, targets = [row[:-1] for row in rows], [row[1:] for row in rows]
    texts = [[tokenizer.token_text(token) for token in row] for row in tokens]
    row, column = min(1, len(rows) - 1), len(tokens[0]) // 2
    cell = Cell(
        row=row + 1,
        column=column + 1,
        context=tokens[row][: column + 1],
        context_text="".join(texts[row][: column + 1]),
        target=targets[row][column],
        target_text=tokenizer.token_text(targets[row][column]),
    )
    return Matrix(tokens, targets, texts, tokenizer.end_of_text, cell)
