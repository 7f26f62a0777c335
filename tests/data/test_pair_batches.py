"""Rows of sentence pairs: every pair once an epoch, little padding, and a place that can be gone back to."""

import random

import torch

from plutao.data.pack import NOT_LEARNED
from plutao.data.pair_batches import Marks, PairBatch, PairBatches, rows_of

MARKS = Marks(start=4, end=5, pad=1)


def some(count: int = 500, longest: int = 30, seed: int = 1) -> list[tuple[list[int], list[int]]]:
    """Pairs whose first source token is their number."""
    draw = random.Random(seed)
    return [([100 + n, *([7] * draw.randrange(longest))], [8] * (1 + draw.randrange(longest))) for n in range(count)]


def test_a_batch_is_what_the_decoder_reads_and_what_it_learns() -> None:
    batch = rows_of([([10, 11], [20, 21, 22]), ([12], [23])], MARKS)
    assert batch.source.tolist() == [[10, 11, 5], [12, 5, 1]]
    assert batch.tokens.tolist() == [[4, 20, 21, 22], [4, 23, 1, 1]]
    assert batch.targets.tolist() == [[20, 21, 22, 5], [23, 5, NOT_LEARNED, NOT_LEARNED]]
    assert batch.weight == 6 and batch.rows == 2
    assert [piece.weight for piece in batch.split(1)] == [4, 2]


def numbers(batches: PairBatches, steps: int) -> list[int]:
    return [int(row) for _ in range(steps) for row in next(batches).source[:, 0]]


def test_an_epoch_shows_every_pair_once_and_the_next_in_another_order() -> None:
    batches = PairBatches(some(), MARKS, 1000, seed=1)
    first = numbers(batches, batches.steps_per_epoch)
    assert batches.epochs == 1.0
    second = numbers(batches, batches.steps_per_epoch)
    assert sorted(first) == sorted(second) == list(range(100, 600)) and first != second


def test_batches_keep_to_their_size_and_hold_little_padding() -> None:
    batches = PairBatches(some(5000), MARKS, 2000, seed=1)
    there = filled = 0
    for _ in range(batches.steps_per_epoch):
        batch: PairBatch = next(batches)
        size = batch.source.numel() + batch.tokens.numel()
        assert size <= 2000
        there += size
        filled += int((batch.source != MARKS.pad).sum()) + batch.weight
    assert filled / there > 0.8  # at random it would be about half


def test_a_batch_s_pairs_come_from_all_over() -> None:
    """Groups are shuffled: lengths neither grow nor shrink along the epoch."""
    batches = PairBatches(some(2000), MARKS, 500, seed=1)
    lengths = [next(batches).source.shape[1] for _ in range(batches.steps_per_epoch)]
    half = len(lengths) // 2
    one, other = sum(lengths[:half]) / half, sum(lengths[half:]) / (len(lengths) - half)
    assert abs(one - other) < 0.25 * one


def test_it_goes_on_exactly_where_it_stood() -> None:
    whole, stopped = PairBatches(some(), MARKS, 1000, seed=1), PairBatches(some(), MARKS, 1000, seed=1)
    steps = whole.steps_per_epoch + 3
    numbers(whole, steps), numbers(stopped, steps)
    resumed = PairBatches(some(), MARKS, 1000, seed=1)
    resumed.load_state_dict(stopped.state_dict())
    assert numbers(resumed, 20) == numbers(whole, 20)


def test_processes_share_one_and_the_same_batch() -> None:
    alone = PairBatches(some(), MARKS, 1000, 1)
    shares = [PairBatches(some(), MARKS, 1000, 1, rank, 2) for rank in range(2)]
    for _ in range(alone.steps_per_epoch):
        rows = torch.cat([next(each).source[:, 0] for each in shares])
        assert rows.tolist() == next(alone).source[:, 0].tolist()
