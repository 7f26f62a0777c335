"""The holes of BERT's rows: how many, of what kinds, whole words, next sentences, resuming and sharing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from plutao.data.masking import MaskedBatch, MaskedBatches, mask_row, vocabulary_of
from plutao.data.pack import NOT_LEARNED
from plutao.data.shards import TokenShards
from plutao.text.tokenizer import Tokenizer, train

WORDS = [
    "planeta",
    "lua",
    "cometa",
    "estrela",
    "satélite",
    "atmosfera",
    "gravidade",
    "órbita",
    "telescópio",
    "asteroide",
]
random = np.random.default_rng(5)
DOCUMENTS = [" ".join(random.choice(WORDS, 60)) + "." for _ in range(40)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("wordpiece", DOCUMENTS, 110)


@pytest.fixture
def shards(make_shards: Callable[..., object], tokenizer: Tokenizer) -> dict[str, TokenShards]:
    return make_shards(tokenizer, text=DOCUMENTS).open()  # type: ignore[attr-defined]


def many(batches: MaskedBatches, steps: int = 60) -> list[MaskedBatch]:
    return [next(batches) for _ in range(steps)]


def test_fifteen_in_a_hundred_are_told_and_eighty_ten_ten_is_what_becomes_of_them(tokenizer: Tokenizer) -> None:
    vocabulary = vocabulary_of(tokenizer)
    row = np.random.default_rng(1).choice(vocabulary.ordinary, 20_000)
    holed, targets = mask_row(row, vocabulary, 0.15, False, np.random.default_rng(2))
    told = targets != NOT_LEARNED
    assert told.sum() == 3_000
    assert np.array_equal(targets[told], row[told])
    assert np.array_equal(holed[~told], row[~told])
    hidden = (holed == vocabulary.signs.mask) & told
    kept = (holed == row) & told
    assert hidden.sum() / 3_000 == pytest.approx(0.8, abs=0.03)
    assert kept.sum() / 3_000 == pytest.approx(0.1 + 0.1 / len(vocabulary.ordinary), abs=0.03)
    replaced = holed[told & ~hidden & ~kept]
    assert not vocabulary.special[replaced].any()


def test_signs_are_read_and_never_told(shards: dict[str, TokenShards], tokenizer: Tokenizer) -> None:
    batches = MaskedBatches(shards, {}, tokenizer, 4, 64, 1)
    signs = batches.vocabulary.signs
    for batch in many(batches):
        assert batch.tokens.shape == (4, 64)
        assert (batch.tokens[:, 0] == signs.opens).all() and (batch.tokens[:, -1] == signs.separates).all()
        told = batch.targets[batch.targets != NOT_LEARNED]
        assert not batches.vocabulary.special[told.numpy()].any()
        assert batch.weight == len(told)
        assert (batch.follows == NOT_LEARNED).all()


def test_whole_words_are_told_together(shards: dict[str, TokenShards], tokenizer: Tokenizer) -> None:
    batches = MaskedBatches(shards, {}, tokenizer, 4, 64, 1, whole_words=True)
    continues = torch.from_numpy(batches.vocabulary.continues)
    pieces = 0
    for batch in many(batches, 20):
        told = batch.targets != NOT_LEARNED
        original = torch.where(told, batch.targets, batch.tokens)
        inner = continues[original[:, 2:]]  # a row may begin inside a word
        assert torch.equal(told[:, 2:][inner], told[:, 1:-1][inner])
        pieces += int(inner.sum())
        assert 0.05 < told.float().mean() < 0.16
    assert pieces > 500, "the text has words of several pieces"


def test_half_of_the_second_texts_follow(shards: dict[str, TokenShards], tokenizer: Tokenizer) -> None:
    """A row that is said to follow is one stretch of a document; the others are not."""
    batches = MaskedBatches(shards, {}, tokenizer, 8, 48, 1, next_sentence=True)
    stream = " ".join(map(str, shards["text"].tokens.tolist()))
    said, right = [], 0
    for batch in many(batches, 40):
        for tokens, targets, segments, present, follows in zip(*vars(batch).values(), strict=True):
            original = torch.where(targets != NOT_LEARNED, targets, tokens)[present]
            kinds = segments[present]
            first, second = original[kinds == 0][1:-1], original[kinds == 1][:-1]
            together = " ".join(map(str, [*first.tolist(), *second.tolist()]))
            said.append(int(follows))
            right += (together in stream) == (follows == 0)
    assert np.mean(said) == pytest.approx(0.5, abs=0.1)
    assert right / len(said) > 0.97


def test_a_loader_that_was_stopped_goes_on_where_it_was(shards: dict[str, TokenShards], tokenizer: Tokenizer) -> None:
    whole = MaskedBatches(shards, {}, tokenizer, 4, 32, 3)
    expected = many(whole, 6)
    some = MaskedBatches(shards, {}, tokenizer, 4, 32, 3)
    many(some, 3)
    again = MaskedBatches(shards, {}, tokenizer, 4, 32, 3)
    again.load_state_dict(some.state_dict())
    for one, other in zip(expected[3:], many(again, 3), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_processes_share_the_rows_of_one(shards: dict[str, TokenShards], tokenizer: Tokenizer) -> None:
    alone = next(MaskedBatches(shards, {}, tokenizer, 6, 32, 3))
    parts = [next(MaskedBatches(shards, {}, tokenizer, 6, 32, 3, rank=rank, world=3)) for rank in range(3)]
    assert torch.equal(alone.tokens, torch.cat([part.tokens for part in parts]))
    assert torch.equal(alone.targets, torch.cat([part.targets for part in parts]))


def test_pieces_of_a_batch_are_the_batch(shards: dict[str, TokenShards], tokenizer: Tokenizer) -> None:
    batch = next(MaskedBatches(shards, {}, tokenizer, 6, 32, 3, next_sentence=True))
    pieces = batch.split(4)
    assert [piece.rows for piece in pieces] == [4, 2]
    assert sum(piece.weight for piece in pieces) == batch.weight


def test_a_short_row_has_a_hole_at_least(tokenizer: Tokenizer) -> None:
    vocabulary = vocabulary_of(tokenizer)
    row = vocabulary.ordinary[:2]
    for whole_words in (False, True):
        assert (mask_row(row, vocabulary, 0.15, whole_words, np.random.default_rng(0))[1] != NOT_LEARNED).sum() >= 1
