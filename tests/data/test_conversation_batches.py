"""Conversations in rows: none looks at another, none is lost, and a loader that was stopped goes on exactly."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from plutao.data.conversation_batches import (
    ConversationBatches,
    ConversationStore,
    first_fit,
    fitted,
    pack_all,
    positions,
)
from plutao.data.pack import NOT_LEARNED, PackedBatch, PretrainBatches
from plutao.errors import UserError
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.text.chat import Encoded, Message, Messages, ToolCall, encode_for_learning
from plutao.text.tokenizer import Tokenizer, train
from plutao.train.objectives import next_token

CONTEXT = 48
TEXT, END = 120, 256
"""The pretraining text is one byte, again and again; 256 ends its documents."""
Replay = Callable[[], PretrainBatches]


@pytest.fixture
def replay(make_shards: Any) -> Replay:
    shards = make_shards(text=[chr(TEXT) * 2000, chr(TEXT) * 1000]).open()
    return lambda: PretrainBatches(shards, {}, 1, CONTEXT, seed=2)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("char", ["abcdefghijklmnopqrstuvwxyz ABCDEFGHIJ0123456789\n.?:"], 120)


def conversation(number: int, words: int = 3) -> Messages:
    return (Message("user", f"q{number}"), Message("assistant", "a" * words + str(number)))


def store(tokenizer: Tokenizer, conversations: int, first: int = 0) -> ConversationStore:
    made = [conversation(first + n, words=1 + n % 7) for n in range(conversations)]
    return ConversationStore(encode_for_learning(tokenizer, each) for each in made)


def contents(batch: PackedBatch) -> list[tuple[int, ...]]:
    """The tokens of each conversation in a batch."""
    found = []
    for tokens, segments in zip(batch.tokens.tolist(), batch.segments.tolist(), strict=True):
        for segment in range(1, max(segments) + 1):
            found.append(tuple(t for t, s in zip(tokens, segments, strict=True) if s == segment))
    return found


def batches(tokenizer: Tokenizer, **options: object) -> ConversationBatches:
    stores = {"one": store(tokenizer, 23), "two": store(tokenizer, 9, 100)}
    settings = {"weights": {}, "batch": 4, "context": CONTEXT, "seed": 5, "pad": tokenizer.pad} | options
    return ConversationBatches(stores, **settings)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# Packing


@given(lengths=some.lists(some.integers(1, 20), max_size=60))
def test_first_fit_holds_every_conversation_once_and_overflows_no_row(lengths: list[int]) -> None:
    places = [(0, number) for number in range(len(lengths))]
    rows = first_fit(places, np.array(lengths, dtype=np.int64), 20)
    assert sorted(place for row in rows for place in row.places) == places
    sums = [sum(lengths[number] for _, number in row.places) for row in rows]
    assert all(total <= 20 for total in sums)
    assert len(rows) <= max(1, 2 * sum(lengths) / 20 + 1)  # two rows half empty would have been one
    filled = [0] * len(rows)
    for _, number in places:  # each went into the first row with room
        chosen = next(n for n, row in enumerate(rows) if (0, number) in row.places)
        assert all(filled[earlier] + lengths[number] > 20 for earlier in range(chosen))
        filled[chosen] += lengths[number]


def test_targets_are_the_assistants_tokens_one_place_early(tokenizer: Tokenizer) -> None:
    messages = conversation(7)
    encoded = encode_for_learning(tokenizer, messages)
    (batch,) = pack_all({"s": ConversationStore([encoded])}, CONTEXT, tokenizer.pad, rows=1)
    length = positions(encoded)
    assert batch.tokens[0, :length].tolist() == encoded.tokens[:length]
    learned = [token for token in batch.targets[0].tolist() if token != NOT_LEARNED]
    assert tokenizer.decode(learned) == "aaa7<|im_end|>"
    assert batch.targets[0, length - 1] == tokenizer.special("<|im_end|>")
    assert batch.weight == len(learned)
    assert (batch.tokens[0, length:] == tokenizer.pad).all() and (batch.segments[0, length:] == 0).all()
    assert (batch.targets[0, length:] == NOT_LEARNED).all()


def test_a_packed_row_teaches_exactly_what_its_conversations_teach_alone(tokenizer: Tokenizer) -> None:
    model = Decoder(
        decoder_config("plutao-1m", vocabulary=128, context=CONTEXT, layers=2, width=64, heads=2, kv_heads=2)
    )
    model.initialise(1)
    for parameter in model.parameters():  # fresh residual projections are zero, and would hide a look across
        torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(3))
    many = [encode_for_learning(tokenizer, conversation(n, n)) for n in range(1, 6)]
    (packed,) = pack_all({"s": ConversationStore(many)}, CONTEXT, tokenizer.pad, rows=9)
    assert packed.rows < len(many), "several share a row"
    objective = next_token()
    together, _ = objective(model, packed)
    alone = [next(pack_all({"s": ConversationStore([each])}, CONTEXT, tokenizer.pad, rows=1)) for each in many]
    weighted = sum(float(objective(model, each)[0].detach()) * each.weight for each in alone)
    assert float(together.detach()) == pytest.approx(weighted / packed.weight, rel=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# What is longer than the context

LONG: Messages = (
    Message("system", "be kind."),
    Message("user", "first?"),
    Message("assistant", "one."),
    Message("user", "second?"),
    Message("assistant", "two."),
    Message("user", "third?"),
    Message("assistant", "three."),
)


def test_a_long_conversation_keeps_its_system_prompt_and_its_latest_turns(tokenizer: Tokenizer) -> None:
    whole, least = (positions(encode_for_learning(tokenizer, m)) for m in (LONG, (LONG[0], *LONG[5:])))
    assert fitted(tokenizer, LONG, whole) == (encode_for_learning(tokenizer, LONG), 0)
    assert fitted(tokenizer, LONG, whole - 1) == (encode_for_learning(tokenizer, (LONG[0], *LONG[3:])), 2)
    assert fitted(tokenizer, LONG, least) == (encode_for_learning(tokenizer, (LONG[0], *LONG[5:])), 4)
    assert fitted(tokenizer, LONG, least - 1) is None


def test_a_tools_result_is_never_parted_from_its_question(tokenizer: Tokenizer) -> None:
    exchange = (
        Message("user", "x"),
        Message("assistant", "", (ToolCall("c", {}),)),
        Message("tool", "4"),
        Message("assistant", "4"),
    )
    messages = (*LONG[1:3], *exchange)
    found = fitted(tokenizer, messages, positions(encode_for_learning(tokenizer, exchange)))
    assert found == (encode_for_learning(tokenizer, exchange), 2)
    assert fitted(tokenizer, exchange, positions(encode_for_learning(tokenizer, exchange)) - 1) is None


# ---------------------------------------------------------------------------------------------------------------------
# The loader


def test_an_epoch_shows_each_conversation_once(tokenizer: Tokenizer) -> None:
    loader = batches(tokenizer, batch=1)
    rows = len(loader._rows)
    first = Counter(text for batch in islice(loader, rows) for text in contents(batch))
    assert len(first) == 32 and set(first.values()) == {1}
    order = [text for batch in islice(loader, len(loader._pack_epoch(1))) for text in contents(batch)]
    assert Counter(order) == first and order != list(first)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(tokenizer: Tokenizer) -> None:
    one, same, other = (batches(tokenizer, seed=seed) for seed in (5, 5, 6))
    drawn = [[batch.tokens for batch in islice(loader, 12)] for loader in (one, same, other)]
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True))


@pytest.mark.parametrize("before", [0, 1, 3, 11])
def test_a_loader_that_was_stopped_goes_on_exactly(tokenizer: Tokenizer, replay: Replay, before: int) -> None:
    loader, again = (batches(tokenizer, replay=replay(), replay_share=0.3, batch=4) for _ in range(2))
    for _ in range(before):
        next(loader)
    again.load_state_dict(loader.state_dict())
    for _ in range(9):
        expected, found = next(loader), next(again)
        assert torch.equal(expected.tokens, found.tokens) and torch.equal(expected.segments, found.segments)


def test_the_processes_share_one_and_the_same_batch(tokenizer: Tokenizer, replay: Replay) -> None:
    alone = batches(tokenizer, replay=replay(), replay_share=0.25)
    pair = [batches(tokenizer, replay=replay(), replay_share=0.25, rank=rank, world=2) for rank in (0, 1)]
    for _ in range(8):
        whole, halves = next(alone), [next(loader) for loader in pair]
        assert torch.equal(whole.tokens, torch.cat([half.tokens for half in halves]))
        assert torch.equal(whole.targets, torch.cat([half.targets for half in halves]))
    with pytest.raises(UserError, match=r"make sft\.batch a multiple of 3"):
        batches(tokenizer, rank=0, world=3)


def test_weights_say_how_much_of_each_source_is_read(tokenizer: Tokenizer) -> None:
    loader = batches(tokenizer, weights={"one": 1.0, "two": 3.0}, batch=1)
    seen: Counter[str] = Counter()
    for batch in islice(loader, 400):
        for tokens in contents(batch):
            seen["two" if "\nq10" in tokenizer.decode(tokens) else "one"] += len(tokens)
    assert seen["two"] / seen.total() == pytest.approx(0.75, abs=0.02)
    mixture = {row.source: row for row in loader.mixture()}
    assert mixture["one"].weight == 0.25 and mixture["two"].weight == 0.75
    assert mixture["two"].epochs > 2 * mixture["one"].epochs


def is_text(row: torch.Tensor) -> bool:
    """Whether a row is the pretraining text of `replay`."""
    return bool((row >= TEXT).all() and (row <= END).all())


def test_replay_brings_its_share_of_pretraining_text(tokenizer: Tokenizer, replay: Replay) -> None:
    loader = batches(tokenizer, batch=4, replay=replay(), replay_share=0.3)
    kinds = [is_text(row) for batch in islice(loader, 50) for row in batch.tokens]
    assert sum(kinds) == 0.3 * len(kinds)
    last = next(batch for batch in loader if is_text(batch.tokens[-1]))
    assert (last.targets[-1] != NOT_LEARNED).all() and (last.segments[-1] == 1).all()
    assert {row.source for row in loader.mixture()} == {"one", "two", "text"}


def test_nothing_to_learn_from_and_other_conversations_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="There is no conversation to learn from"):
        ConversationBatches({"none": ConversationStore([])}, {}, 2, CONTEXT, 1, tokenizer.pad)
    loader = batches(tokenizer)
    other = ConversationBatches({"one": store(tokenizer, 5)}, {}, 4, CONTEXT, 5, tokenizer.pad)
    with pytest.raises(UserError, match="was learning from other conversations"):
        other.load_state_dict(loader.state_dict())


def test_an_encoded_conversation_without_anything_learned_is_no_conversation() -> None:
    with pytest.raises(ValueError, match="empty"):
        positions(Encoded([1, 2], [False, False]))
