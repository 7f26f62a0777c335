"""Rows with holes: what BERT is pretrained on (Devlin et al. 2019, section 3.1 and appendix A.1).

15% of a row's tokens are to be told. Of these 80% are hidden behind [MASK], 10% replaced by a random token, and 10% left
as they are, so that the model can't rely on what it reads anywhere. With whole words, all pieces of a word are told
together. With next sentences, a row is two stretches of text, and the second one follows the first, or does not.

Which holes a row has depends on the seed and the step alone: a loader that was stopped goes on exactly where it was, and
several processes draw what one would.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from plutao.data.pack import NOT_LEARNED, Batch, PretrainBatches
from plutao.data.shards import TokenShards
from plutao.text.bert import Signs, signs_of
from plutao.text.tokenizer import Tokenizer

HIDDEN, REPLACED = 0.8, 0.1
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MaskedBatch(Batch):
    """`targets` has the token that stood there where one is to be told, `NOT_LEARNED` elsewhere; `present` is False where a
    row is filled up; `follows` is 0 where the second text follows the first, 1 where it does not, `NOT_LEARNED` where there is
    one text only.
    """

    segments: Int[Tensor, "B T"]
    present: Bool[Tensor, "B T"]
    follows: Int[Tensor, "B"]


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know of a tokenizer."""

    signs: Signs
    ordinary: Ids
    """Ids that stand for text, from which random tokens are drawn."""
    special: npt.NDArray[np.bool_]
    """(V,) Signs, which are never told."""
    continues: npt.NDArray[np.bool_]
    """(V,) Pieces that go on with a word."""


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """Raises UserError where the tokenizer has no [MASK] or another of BERT's signs."""
    size = tokenizer.vocabulary_size
    signs = signs_of(tokenizer)
    special = np.zeros(size, dtype=np.bool_)
    special[[*tokenizer.special_ids, *vars(signs).values()]] = True
    continues = np.array([tokenizer.continues_word(token) for token in range(size)], dtype=np.bool_)
    return Vocabulary(signs, np.flatnonzero(~special), special, continues)


def mask_row(
    tokens: Ids, vocabulary: Vocabulary, share: float, whole_words: bool, random: np.random.Generator
) -> tuple[Ids, Ids]:
    """A row with holes, and what was in them (T,): `share` of its tokens, at least one; whole words as many as fit.

    The row has as many holes as others of its length: the count is fixed and only the places are drawn.
    """
    may = ~vocabulary.special[tokens]
    targets = np.full(len(tokens), NOT_LEARNED, dtype=np.int64)
    if not may.any():
        return tokens, targets
    count = max(1, round(share * int(may.sum())))
    chosen = choose(tokens, may, count, vocabulary.continues if whole_words else None, random)
    targets[chosen] = tokens[chosen]
    holed = tokens.copy()
    fate = random.random(len(chosen))
    holed[chosen[fate < HIDDEN]] = vocabulary.signs.mask
    replaced = chosen[(fate >= HIDDEN) & (fate < HIDDEN + REPLACED)]
    holed[replaced] = random.choice(vocabulary.ordinary, len(replaced))
    return holed, targets


def choose(
    tokens: Ids,
    may: npt.NDArray[np.bool_],
    count: int,
    continues: npt.NDArray[np.bool_] | None,
    random: np.random.Generator,
) -> Ids:
    """Places of `count` tokens, in order; with `continues`, of whole words that together have at most so many."""
    places = np.flatnonzero(may)
    if continues is None:
        return np.sort(random.permutation(places)[:count])
    begins = ~continues[tokens[places]]
    begins[0] = True
    begins[1:] |= np.diff(places) > 1  # a sign stands between
    words = np.cumsum(begins) - 1
    sizes = np.bincount(words)
    order = random.permutation(len(sizes))
    taken, left = [], count
    for word in order.tolist():
        if sizes[word] <= left:
            taken.append(word)
            left -= int(sizes[word])
        if not left:
            break
    if not taken:  # every word is longer than the count
        taken = order[:1].tolist()
    return places[np.isin(words, taken)]


class MaskedBatches(PretrainBatches):
    """Endless batches of rows with holes, from the same windows of text that a decoder would read."""

    def __init__(
        self,
        shards: Mapping[str, TokenShards],
        weights: Mapping[str, float | None],
        tokenizer: Tokenizer,
        batch: int,
        context: int,
        seed: int,
        *,
        share: float = 0.15,
        whole_words: bool = False,
        next_sentence: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Args as `PretrainBatches`; `context` counts the signs.

        Raises:
            UserError: as `PretrainBatches`; or the tokenizer lacks a sign.
        """
        signs = 3 if next_sentence else 2
        # A window has one token more than its row: the target of the last one, which is text like the others here.
        super().__init__(shards, weights, batch, context - signs - 1, seed, "stream", rank, world)
        self.vocabulary, self.longest = vocabulary_of(tokenizer), context
        self.seed, self.share, self.whole_words, self.next_sentence = seed, share, whole_words, next_sentence

    def __next__(self) -> MaskedBatch:
        step, windows = self.step, super().__next__()
        rows = torch.cat([windows.tokens, windows.targets[:, -1:]], dim=1).numpy()
        first = self.rank * self.batch // self.world
        drawn = [np.random.default_rng([self.seed, step, first + row]) for row in range(len(rows))]
        if self.next_sentence:
            framed = self.pairs(rows, drawn)
        else:
            framed = [frame(row, None, self.vocabulary.signs) for row in rows]
        follows = torch.tensor([verdict for _, _, verdict in framed])
        return stack(
            [
                (*mask_row(tokens, self.vocabulary, self.share, self.whole_words, random), segments)
                for (tokens, segments, _), random in zip(framed, drawn, strict=True)
            ],
            self.longest,
            self.vocabulary.signs.pad,
            follows,
        )

    def pairs(self, rows: Ids, drawn: list[np.random.Generator]) -> list[tuple[Ids, Ids, int]]:
        """Each window's longest stretch of one document cut in two; half of the rows get the second part of the row before,
        or of the one after the first, instead of their own.
        """
        parts = []
        for row, random in zip(rows, drawn, strict=True):
            stretch = longest_stretch(row, self.vocabulary.special)
            cut = int(random.integers(1, len(stretch))) if len(stretch) > 1 else len(stretch)
            parts.append((stretch[:cut], stretch[cut:]))
        found = []
        for place, ((own, second), random) in enumerate(zip(parts, drawn, strict=True)):
            elsewhere = bool(random.random() < 0.5) and len(parts) > 1
            if elsewhere:
                second = parts[place - 1][1][: len(rows[0]) - len(own)]
            found.append((*frame(own, second, self.vocabulary.signs)[:2], int(elsewhere)))
        return found


def longest_stretch(row: Ids, special: npt.NDArray[np.bool_]) -> Ids:
    """The longest part of a window that is of one document: between signs."""
    borders = np.concatenate([[-1], np.flatnonzero(special[row]), [len(row)]])
    longest = int(np.argmax(np.diff(borders)))
    return row[borders[longest] + 1 : borders[longest + 1]]


def frame(first: Ids, second: Ids | None, signs: Signs) -> tuple[Ids, Ids, int]:
    """[CLS] first [SEP] or [CLS] first [SEP] second [SEP], its segments, and `NOT_LEARNED` for what follows."""
    parts = [[signs.opens], first, [signs.separates]]
    lengths = [len(first) + 2]
    if second is not None:
        parts += [second, [signs.separates]]
        lengths.append(len(second) + 1)
    tokens = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
    return tokens, np.repeat(np.arange(len(lengths)), lengths), NOT_LEARNED


def stack(rows: list[tuple[Ids, Ids, Ids]], context: int, pad: int, follows: Int[Tensor, "B"]) -> MaskedBatch:
    """Rows (tokens, targets, segments) filled up to the same length."""
    longest = max(len(tokens) for tokens, _, _ in rows)
    assert longest <= context, f"a row of {longest} tokens where {context} fit"
    tokens = torch.full((len(rows), longest), pad)
    targets = torch.full((len(rows), longest), NOT_LEARNED)
    segments = torch.zeros((len(rows), longest), dtype=torch.long)
    present = torch.zeros((len(rows), longest), dtype=torch.bool)
    for place, (row, told, kinds) in enumerate(rows):
        tokens[place, : len(row)] = torch.from_numpy(row)
        targets[place, : len(row)] = torch.from_numpy(told)
        segments[place, : len(row)] = torch.from_numpy(kinds)
        present[place, : len(row)] = True
    return MaskedBatch(tokens, targets, segments, present, follows)
