"""From conversations to the (B, T) rows that fine-tuning learns from (the book's section 3.1).

Several conversations share a row, first fit, and see only themselves (`PackedBatch.segments`); the rest of a row is
padding. Only what the assistant writes is a target. Which row comes when depends only on the seed and on how many rows
were drawn before, as with pretraining text, some of which may be mixed in (`replay`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch

from plutao.data.pack import NOT_LEARNED, MixtureRow, PackedBatch, PretrainBatches, mix_weights, shuffled
from plutao.errors import UserError
from plutao.text.chat import Encoded, Messages, encode_for_learning
from plutao.text.tokenizer import Tokenizer

Ids = npt.NDArray[np.int64]
OPEN_ROWS = 512
"""Rows that first fit looks at: the last so many; earlier ones are nearly full."""
Place = tuple[int, int]
"""A conversation: the number of its source, and its own in that source."""


def positions(encoded: Encoded) -> int:
    """How much of a row it takes: one position for each target up to the last that is learned."""
    return max(place for place, learned in enumerate(encoded.learned) if learned)


def fitted(
    tokenizer: Tokenizer, messages: Messages, context: int, whole: Encoded | None = None
) -> tuple[Encoded, int] | None:
    """A conversation encoded to fit into `context` tokens, and how many of its turns had to be left out.

    A longer one keeps its system prompt and its latest exchanges; None where even the last one doesn't fit. `whole` is
    the conversation encoded, where that has been done.
    """
    encoded = whole or encode_for_learning(tokenizer, messages)
    if positions(encoded) <= context:
        return encoded, 0
    opening = next(number for number, message in enumerate(messages) if message.role != "system")
    exchanges = [
        number
        for number in range(opening + 1, len(messages))
        if messages[number].role == "user" and messages[number - 1].role != "user"
    ]
    for start in exchanges:
        encoded = encode_for_learning(tokenizer, messages[:opening] + messages[start:])
        if positions(encoded) <= context:
            return encoded, start - opening
    return None


class ConversationStore:
    """The encoded conversations of one source, one after the other in memory."""

    def __init__(self, encoded: Iterable[Encoded]) -> None:
        tokens, learned, lengths = [], [], []
        for conversation in encoded:
            size = positions(conversation)
            tokens.append(np.array(conversation.tokens[: size + 1], dtype=np.int32))
            learned.append(np.array(conversation.learned[: size + 1], dtype=bool))
            lengths.append(size)
        empty = [np.zeros(0, dtype=np.int32)]
        self._tokens = np.concatenate(tokens or empty)
        self._learned = np.concatenate(learned or empty).astype(bool)
        self.lengths: Ids = np.array(lengths, dtype=np.int64)
        """(conversations,) how much of a row each takes."""
        self._starts = np.concatenate([[0], np.cumsum(self.lengths + 1)])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    @property
    def learned(self) -> int:
        """Tokens that are the assistant's."""
        return int(self._learned.sum())

    def read(self, number: int) -> tuple[Ids, Ids]:
        """(length,) tokens and (length,) targets of a conversation."""
        start, end = int(self._starts[number]), int(self._starts[number + 1])
        tokens = self._tokens[start:end].astype(np.int64)
        return tokens[:-1], np.where(self._learned[start + 1 : end], tokens[1:], NOT_LEARNED)


@dataclass(frozen=True)
class Row:
    """A row in the making: which conversations it holds."""

    places: tuple[Place, ...]


def first_fit(places: Sequence[Place], lengths: Ids, context: int) -> list[Row]:
    """Puts each conversation, in the order given, into the first row that still has room for it (Johnson 1973)."""
    assert not len(lengths) or int(lengths.max()) <= context, "longer conversations are cut before"
    rows: list[list[Place]] = []
    room = np.zeros(0, dtype=np.int64)
    for place, length in zip(places, lengths.tolist(), strict=True):
        first = max(0, len(rows) - OPEN_ROWS)
        fits = room[first : len(rows)] >= length
        chosen = first + int(fits.argmax()) if fits.any() else len(rows)
        if chosen == len(rows):
            rows.append([])
            if len(rows) > len(room):
                room = np.concatenate([room, np.full(len(room) + 64, context, dtype=np.int64)])
        rows[chosen].append(place)
        room[chosen] -= length
    return [Row(tuple(row)) for row in rows]


def pack(rows: Sequence[Row], stores: Sequence[ConversationStore], context: int, pad: int) -> PackedBatch:
    """The rows as tensors (rows, context)."""
    tokens = np.full((len(rows), context), pad, dtype=np.int64)
    targets = np.full((len(rows), context), NOT_LEARNED, dtype=np.int64)
    segments = np.zeros((len(rows), context), dtype=np.int64)
    for number, row in enumerate(rows):
        start = 0
        for segment, (source, conversation) in enumerate(row.places, start=1):
            words, learned = stores[source].read(conversation)
            here = slice(start, start + len(words))
            tokens[number, here], targets[number, here], segments[number, here] = words, learned, segment
            start += len(words)
    return PackedBatch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(segments))


def pack_all(stores: Mapping[str, ConversationStore], context: int, pad: int, rows: int) -> Iterator[PackedBatch]:
    """Every conversation once, in order, in batches of `rows` rows: for measuring."""
    listed = list(stores.values())
    places = [(source, number) for source, store in enumerate(listed) for number in range(len(store))]
    lengths = np.concatenate([store.lengths for store in listed])
    made = first_fit(places, lengths, context)
    for start in range(0, len(made), rows):
        yield pack(made[start : start + rows], listed, context, pad)


class ConversationBatches(Iterator[PackedBatch]):
    """Endless batches of conversations; an epoch shows each once (or as often as the sources' weights say), packed anew."""

    def __init__(
        self,
        stores: Mapping[str, ConversationStore],
        weights: Mapping[str, float | None],
        batch: int,
        context: int,
        seed: int,
        pad: int,
        rank: int = 0,
        world: int = 1,
        replay: PretrainBatches | None = None,
        replay_share: float = 0.0,
    ) -> None:
        """Args:
            weights: each source's share of the tokens, relative to the others; None for all: each conversation once.
            batch: rows (B) per step, over all processes.
            context: tokens (T) per row.
            pad: the id that fills rows.
            rank: this process among `world` processes; it gets rows rank·B/world up to (rank + 1)·B/world of each step.
            replay: pretraining text, one row at a time; `replay_share` of all rows are taken from it.

        Raises:
            UserError: there is no conversation, or the batch can't be shared evenly.
        """
        if batch % world:
            raise UserError(
                f"A batch of {batch} rows can't be shared by {world} processes: make sft.batch a multiple of {world}."
            )
        assert replay is None or (replay.batch, replay.context) == (1, context), "replay comes row by row"
        self.batch, self.context, self.pad, self.rank, self.world = batch, context, pad, rank, world
        self.names, self.stores = list(stores), list(stores.values())
        tokens = {name: store.tokens for name, store in stores.items()}
        if not sum(tokens.values()):
            raise UserError(
                "There is no conversation to learn from: add some in [[sft.sources]] or data/conversations."
            )
        self.weights = mix_weights(tokens, weights)
        total = sum(tokens.values())
        self._per_epoch = [
            len(store) * self.weights[name] * total / max(store.tokens, 1) for name, store in stores.items()
        ]
        """Conversations that an epoch takes of each source."""
        self._seed, self._replay, self._replay_share = seed, replay, replay_share if replay else 0.0
        self.step, self.epoch, self.row = 0, 0, 0
        self._rows = self._pack_epoch(0)

    def __next__(self) -> PackedBatch:
        """The next step's rows of this process: tokens, targets and segments (B / world, T)."""
        old = int((self.step + 1) * self._replay_share * self.batch) - int(self.step * self._replay_share * self.batch)
        drawn: list[Row | PackedBatch] = [self._next_row() for _ in range(self.batch - old)]
        drawn += [self._next_replay() for _ in range(old)]
        mine = drawn[self.rank * self.batch // self.world : (self.rank + 1) * self.batch // self.world]
        self.step += 1
        return join(
            [row if isinstance(row, PackedBatch) else pack([row], self.stores, self.context, self.pad) for row in mine]
        )

    def _next_row(self) -> Row:
        if self.row == len(self._rows):
            self.epoch, self.row = self.epoch + 1, 0
            self._rows = self._pack_epoch(self.epoch)
        self.row += 1
        return self._rows[self.row - 1]

    def _next_replay(self) -> PackedBatch:
        assert self._replay is not None
        row = next(self._replay)
        return PackedBatch(row.tokens, row.targets, torch.ones_like(row.tokens))

    def _pack_epoch(self, epoch: int) -> list[Row]:
        """The rows of an epoch, in their order."""
        places = [(source, number) for source in range(len(self.stores)) for number in self._drawn(source, epoch)]
        chance = np.random.default_rng((self._seed, epoch))
        places = [places[number] for number in chance.permutation(len(places)).tolist()]
        lengths = np.array([self.stores[source].lengths[number] for source, number in places], dtype=np.int64)
        rows = first_fit(places, lengths, self.context)
        return [rows[number] for number in chance.permutation(len(rows)).tolist()]

    def _drawn(self, source: int, epoch: int) -> Iterator[int]:
        """The conversations that an epoch takes of a source: all are taken equally often, each time in a new order."""
        count, per_epoch = len(self.stores[source]), self._per_epoch[source]
        for draw in range(round(epoch * per_epoch), round((epoch + 1) * per_epoch)):
            passed, place = divmod(draw, count)
            entropy = [self._seed, crc32(self.names[source].encode()), passed]
            keys = np.random.SeedSequence(entropy).generate_state(4, np.uint64).tolist() if count > 1 else []
            yield shuffled(place, count, keys) if count > 1 else 0

    # What was read

    @property
    def tokens_per_epoch(self) -> int:
        """Positions in the rows of the first epoch, padding and replayed text included."""
        return round(len(self._rows) * self.context / (1 - self._replay_share))

    @property
    def filled(self) -> float:
        """Share of this epoch's positions that hold conversations."""
        places = [place for row in self._rows for place in row.places]
        used = sum(int(self.stores[source].lengths[number]) for source, number in places)
        return used / (len(self._rows) * self.context)

    def mixture(self) -> list[MixtureRow]:
        """What was drawn so far, source by source: the book's Figure 72 for conversations."""
        epochs = self.epoch + self.row / len(self._rows)
        rows = [
            MixtureRow(name, store.tokens, self.weights[name], epochs * per_epoch / max(len(store), 1))
            for name, store, per_epoch in zip(self.names, self.stores, self._per_epoch, strict=True)
        ]
        return rows + (self._replay.mixture() if self._replay else [])

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: enough to go on exactly from here, on any number of processes."""
        counts = {name: len(store) for name, store in zip(self.names, self.stores, strict=True)}
        replay = self._replay.state_dict() if self._replay else None
        return {"step": self.step, "epoch": self.epoch, "row": self.row, "conversations": counts, "replay": replay}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError where the state is of other conversations."""
        counts = {name: len(store) for name, store in zip(self.names, self.stores, strict=True)}
        if state["conversations"] != counts:
            raise UserError(
                f"The checkpoint was learning from other conversations ({state['conversations']}, now {counts}): "
                "start a new run, or restore the sources."
            )
        self.step, self.epoch, self.row = state["step"], state["epoch"], state["row"]
        self._rows = self._pack_epoch(self.epoch)
        if self._replay is not None:
            self._replay.load_state_dict(state["replay"])


def join(batches: Sequence[PackedBatch]) -> PackedBatch:
    """Rows of several batches in one."""
    parts = zip(*((batch.tokens, batch.targets, batch.segments) for batch in batches), strict=True)
    return PackedBatch(*(torch.cat(part) for part in parts))
