"""Rows, epochs, mixing and resuming of the (B, T) matrices."""

from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plutao.data.pack import PretrainBatches, mixture, shuffled
from plutao.errors import UserError

END = 256
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def numbered(count: int) -> str:
    """Text in which every place differs from its neighbours, so that windows can be told apart."""
    return "".join(chr(0x20 + (number * 7 + number // 90) % 90) for number in range(count))


def take(batches: PretrainBatches, steps: int) -> torch.Tensor:
    return torch.cat([batch.tokens for batch in islice(batches, steps)])


def test_targets_are_the_next_tokens_and_everything_is_int64(make_shards):
    shards = make_shards(a=[numbered(500)]).open()
    batch = next(PretrainBatches(shards, {}, batch=4, context=16, seed=1))
    assert batch.tokens.shape == batch.targets.shape == (4, 16)
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])


def test_an_epoch_of_a_stream_predicts_every_token_once_and_the_next_epoch_cuts_it_elsewhere(make_shards):
    text = [chr(0x20 + number) for number in range(90)]  # 90 documents of one letter: 180 tokens, 18 windows of 10
    shards = make_shards(a=text).open()
    batches = PretrainBatches(shards, {}, batch=18, context=10, seed=4)
    first, second = next(batches), next(batches)
    for epoch in (first, second):
        counts = Counter(epoch.targets.flatten().tolist())
        assert counts.pop(END) == 90
        assert set(counts.values()) == {1} and len(counts) == 90
    assert sorted(first.tokens.tolist()) != sorted(second.tokens.tolist())


def test_different_seeds_give_different_orders_and_equal_seeds_equal_ones(make_shards):
    shards = make_shards(a=[numbered(2000)]).open()
    one, same, other = (take(PretrainBatches(shards, {}, 8, 16, seed), 5) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_sources_without_weights_are_read_equally_often(make_shards):
    shards = make_shards(small=[numbered(1000)], large=[numbered(9000)]).open()
    batches = PretrainBatches(shards, {"small": None, "large": None}, batch=10, context=20, seed=1)
    take(batches, 50)  # 10,000 tokens: one epoch
    assert batches.epochs() == pytest.approx({"small": 1.0, "large": 1.0}, abs=0.03)


def test_weights_set_the_mix_and_epochs_say_how_often_each_source_was_read(make_shards):
    shards = make_shards(small=["s" * 999], large=["L" * 8999]).open()
    batches = PretrainBatches(shards, {"small": 3, "large": 1}, batch=8, context=20, seed=1)
    rows = take(batches, 25)
    of_small = (rows == ord("s")).any(dim=1).sum().item()
    assert of_small == 150  # exactly three quarters of 200 rows
    assert batches.epochs() == {"small": 150 * 20 / 1000, "large": 50 * 20 / 9000}
    table = {row.source: (row.tokens, row.weight, row.epochs) for row in batches.mixture()}
    assert table == {"small": (1000, 0.75, 3.0), "large": (9000, 0.25, 1000 / 9000)}


def test_planned_mixture_gives_the_epochs_of_figure_72():
    tokens = {"Common Crawl (filtered)": 410, "WebText2": 19, "Books1": 12, "Books2": 55, "Wikipedia": 3}
    weights = {"Common Crawl (filtered)": 60, "WebText2": 22, "Books1": 8, "Books2": 8, "Wikipedia": 3}
    rows = {row.source: row for row in mixture(tokens, weights, total=300)}
    assert rows["Common Crawl (filtered)"].epochs == pytest.approx(0.44, abs=0.01)
    assert rows["Books2"].epochs == pytest.approx(0.43, abs=0.01)
    assert sum(row.weight for row in rows.values()) == pytest.approx(1)


@pytest.mark.parametrize("layout", ["stream", "document"])
def test_a_loader_that_was_stopped_goes_on_exactly(make_shards, layout):
    shards = make_shards(a=[numbered(70)] * 30, b=[numbered(50)] * 20).open()

    def loader() -> PretrainBatches:
        return PretrainBatches(shards, {"a": 2, "b": 1}, batch=6, context=12, seed=5, layout=layout)

    whole = loader()
    take(whole, 40)
    state = whole.state_dict()
    expected = take(whole, 40)  # goes over several epochs' borders
    resumed = loader()
    resumed.load_state_dict(state)
    assert torch.equal(take(resumed, 40), expected)
    assert resumed.epochs() == whole.epochs()


def test_a_state_of_other_sources_is_refused(make_shards):
    shards = make_shards(a=[numbered(100)]).open()
    batches = PretrainBatches(shards, {}, 2, 8, seed=1)
    with pytest.raises(UserError, match="was reading books; the recipe names a"):
        batches.load_state_dict({"step": 3, "drawn": {"books": 6}})


@pytest.mark.parametrize("layout", ["stream", "document"])
def test_processes_together_read_what_one_process_reads(make_shards, layout):
    shards = make_shards(a=[numbered(60)] * 9, b=[numbered(90)] * 9).open()
    alone = PretrainBatches(shards, {}, 6, 10, seed=2, layout=layout)
    ranks = [PretrainBatches(shards, {}, 6, 10, seed=2, layout=layout, rank=rank, world=3) for rank in range(3)]
    for _ in range(20):
        together = torch.cat([next(rank).tokens for rank in ranks])
        assert torch.equal(next(alone).tokens, together)


def test_rows_of_layout_document_start_at_documents_and_a_crop_is_not_seen(make_shards):
    shards = make_shards(a=["abcdefghij", "kl", "mn", "opqrs", "tuvw", "xyz"]).open()
    rows = {
        bytes(row[1:].tolist()) if END not in row[1:] else tuple(row.tolist())
        for row in take(PretrainBatches(shards, {}, batch=4, context=6, seed=1, layout="document"), 1)
    }
    k_to_n = (END, *b"kl", END, *b"mn")
    assert rows == {b"abcde", k_to_n, b"opqrs", (END, *b"tuvw", END)} or rows == {b"abcde", k_to_n, b"opqrs", b"xyz"}
    starts = take(PretrainBatches(shards, {}, batch=4, context=6, seed=1, layout="document"), 3)[:, 0]
    assert set(starts.tolist()) == {END}


def test_text_shorter_than_a_row_names_the_source_and_what_fits(make_shards):
    shards = make_shards(tiny=["abc"]).open()
    with pytest.raises(UserError, match=r"source 'tiny' has 4 tokens.*lower model\.context to 3"):
        PretrainBatches(shards, {}, batch=1, context=4, seed=1)
    assert next(PretrainBatches(shards, {}, batch=1, context=3, seed=1)).tokens.shape == (1, 3)


def test_a_batch_that_the_processes_cannot_share_is_refused(make_shards):
    shards = make_shards(a=[numbered(100)]).open()
    with pytest.raises(UserError, match=r"base\.batch a multiple of 4"):
        PretrainBatches(shards, {}, batch=6, context=8, seed=1, world=4)


@given(count=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_a_shuffle_puts_every_place_somewhere_else_once(count, seed):
    keys = [seed, seed * 3 + 1, seed * 5 + 2, seed * 7 + 3]
    assert sorted(shuffled(index, count, keys) for index in range(count)) == list(range(count))
