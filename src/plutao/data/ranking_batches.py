"""Batches of rankings: all answers to a prompt, and with them all its pairs, in one element of the batch.

That is InstructGPT's advice (Ouyang et al. 2022, section 3.5): pairs of one prompt are no independent examples; shuffled
into one heap, they let the model see every answer K − 1 times an epoch and overfit. Here each answer is read once, and
K answers give K(K − 1)/2 comparisons. Several texts share a row (`segments`), so that little of it is padding.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import comb
from typing import Any
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from plutao.data.pack import NOT_LEARNED, mix_weights, shuffled
from plutao.data.panels import Panel
from plutao.errors import UserError
from plutao.models.reward import reward_token
from plutao.text.chat import END, Messages, encode, encode_for_learning
from plutao.text.tokenizer import Tokenizer

ENDING = 2
"""Tokens that stand behind an answer: the end of its turn and the reward's."""
ROW_STEP = 32
"""Rows are as long as their longest text needs, rounded up to a multiple of this."""


@dataclass(frozen=True)
class RankedAnswers:
    """One element: the answers to a prompt as tokens, and which is better than which."""

    rows: tuple[tuple[int, ...], ...]
    """Each the conversation, the answer, `<|im_end|>` and `<|reward|>`."""
    learned: tuple[tuple[bool, ...], ...]
    """Which tokens are the answer's own: its words, its tool calls and the end of its turn."""
    pairs: tuple[tuple[int, int], ...]
    """(better, worse) places in `rows`."""
    weights: tuple[float, ...]
    """What each pair counts: the share of labellers who say so ÷ C(K, 2), so that all count 1, or less where ties are."""
    kept: tuple[int, ...]
    """Which of the panel's answers these are: those that fit the context."""
    reference: tuple[float, ...] = ()
    """Log-probability of each answer under another model (nats), where an objective asks for it."""


@dataclass
class LeftOut:
    """What could not be learned from, and why."""

    answers_too_long: int = 0
    answers_cut: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Whole rankings, by what is wrong."""

    def as_json(self) -> dict[str, int]:
        answers = {"answers too long for the context": self.answers_too_long, "answers cut": self.answers_cut}
        return {name: count for name, count in answers.items() if count} | self.counts


def encode_panels(
    panels: Sequence[Panel], tokenizer: Tokenizer, context: int, cut: Collection[str] = ()
) -> tuple[list[RankedAnswers | None], LeftOut]:
    """Each panel as an element, in order; None for those that teach nothing: only ties, or fewer than two answers that
    fit the context.

    Args:
        cut: sources whose texts are cut to fit the context.
    """
    left_out = LeftOut()
    fitting = [shortened(panel, tokenizer, context, left_out) if panel.source in cut else panel for panel in panels]
    return [encode_panel(panel, tokenizer, context, left_out) for panel in fitting], left_out


def shortened(panel: Panel, tokenizer: Tokenizer, context: int, left_out: LeftOut) -> Panel:
    """The panel with a prompt of at most half the context, which keeps its end, and answers that keep their beginning."""
    *before, asks = panel.messages
    over = len(encode(tokenizer, panel.messages, generation_prompt=True)) - context // 2
    if over > 0:
        most = max(len(tokenizer.encode(asks.content)) - over, 1)
        asks = replace(asks, content=cut_text(tokenizer, asks.content, most, from_the_end=True))
    messages = (*before, asks)
    room = context - len(encode(tokenizer, messages, generation_prompt=True)) - ENDING
    answers = []
    for turns in panel.answers:
        text = turns[-1].content
        kept = cut_text(tokenizer, text, max(room, 1)) if len(turns) == 1 else text
        left_out.answers_cut += kept != text
        answers.append((*turns[:-1], replace(turns[-1], content=kept)))
    return replace(panel, messages=messages, answers=tuple(answers))


def cut_text(tokenizer: Tokenizer, text: str, most: int, from_the_end: bool = False) -> str:
    """The beginning (or end) of a text that takes at most `most` tokens."""
    ids = tokenizer.encode(text)
    size = most
    while len(tokenizer.encode(text)) > most:  # a cut text may take more tokens than it had before
        text = tokenizer.decode(ids[-size:] if from_the_end else ids[:size]).strip("\ufffd")
        size -= 1
    return text


def encode_panel(panel: Panel, tokenizer: Tokenizer, context: int, left_out: LeftOut) -> RankedAnswers | None:
    opening = len(encode(tokenizer, panel.messages, generation_prompt=True))
    if opening + ENDING >= context:
        left_out.counts["prompt longer than the context"] += 1
        return None
    texts = [read_answer(tokenizer, panel.messages, turns, opening) for turns in panel.answers]
    kept = [place for place, (row, _) in enumerate(texts) if len(row) <= context]
    left_out.answers_too_long += len(texts) - len(kept)
    if len(kept) < 2:
        left_out.counts["fewer than two answers fit the context"] += 1
        return None
    inside = {place: number for number, place in enumerate(kept)}
    shares = {(inside[b], inside[w]): share for (b, w), share in panel.shares.items() if b in inside and w in inside}
    if not shares:
        left_out.counts["only ties"] += 1
        return None
    weight = 1 / comb(len(kept), 2) if panel.weight is None else panel.weight
    return RankedAnswers(
        tuple(texts[place][0] for place in kept),
        tuple(texts[place][1] for place in kept),
        tuple(shares),
        tuple(share * weight for share in shares.values()),
        tuple(kept),
    )


def read_answer(
    tokenizer: Tokenizer, messages: Messages, turns: Messages, opening: int
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """(what is read of an answer, up to the reward's token; which of it is the answer's own)."""
    encoded = encode_for_learning(tokenizer, (*messages, *turns))
    length = len(encoded.tokens) - encoded.tokens[::-1].index(tokenizer.special(END))  # up to the end of the last turn
    row = (*encoded.tokens[:length], reward_token(tokenizer))
    return row, (*[False] * opening, *encoded.learned[opening:length], False)


def refuse_nothing(elements: Sequence[object], left_out: LeftOut, context: int) -> None:
    """Raises UserError where no ranking is left to learn from, with what is wrong with them."""
    if elements:
        return
    reasons = ", ".join(f"{count:,} with {kind}" for kind, count in left_out.counts.items()) or "there is none"
    too_long = any("context" in kind for kind in left_out.counts)
    remedy = f"Raise model.context ({context}), or bring" if too_long else "Bring"
    raise UserError(
        f"No ranking is left to learn from ({reasons}). {remedy} rankings that prefer one answer to another."
    )


class RankingBatch:
    """Elements laid side by side in rows.

    Attributes:
        tokens: (R, T); `segments` (R, T) numbers the texts (from 1, over all rows; 0 is padding).
        better, worse: (P,) which texts the pairs compare, counted from 0 in the order in which rows hold them.
        pair_weights: (P,).
    """

    def __init__(self, elements: Sequence[RankedAnswers], context: int, device: torch.device | None = None) -> None:
        self.elements, self.context, self.device = tuple(elements), context, device

    @property
    def weight(self) -> int:
        """Prompts: each counts the same, however many answers it has."""
        return len(self.elements)

    @property
    def rows(self) -> int:
        """Elements, the pieces a batch can be split at."""
        return len(self.elements)

    def split(self, rows: int) -> "list[RankingBatch]":
        """Pieces of at most `rows` elements: a prompt's answers stay together."""
        starts = range(0, len(self.elements), rows)
        return [RankingBatch(self.elements[start : start + rows], self.context, self.device) for start in starts]

    def to(self, device: torch.device) -> "RankingBatch":
        return RankingBatch(self.elements, self.context, device)

    @cached_property
    def _texts(self) -> list[tuple[int, int]]:
        """(element, answer) of every text."""
        return [(e, answer) for e, element in enumerate(self.elements) for answer in range(len(element.rows))]

    @cached_property
    def _layout(self) -> list[list[tuple[int, int]]]:
        """Which texts each row holds, in order."""
        longest = max(len(row) for element in self.elements for row in element.rows)
        self._width = min(max(-(-longest // ROW_STEP) * ROW_STEP, min(self.context, 256)), self.context)
        sizes = {text: len(self.elements[text[0]].rows[text[1]]) for text in self._texts}
        return fill_rows(sizes, self._width)

    @cached_property
    def _place(self) -> dict[tuple[int, int], int]:
        """The number of each text in the order in which rows hold them."""
        texts = [text for row in self._layout for text in row]
        return {text: place for place, text in enumerate(texts)}

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """(tokens, segments, targets), each (R, T)."""
        layout = self._layout
        tokens, segments = (np.zeros((len(layout), self._width), dtype=np.int64) for _ in range(2))
        targets = np.full((len(layout), self._width), NOT_LEARNED, dtype=np.int64)
        for number, row in enumerate(layout):
            start = 0
            for text in row:
                element = self.elements[text[0]]
                ids = element.rows[text[1]]
                tokens[number, start : start + len(ids)] = ids
                segments[number, start : start + len(ids)] = self._place[text] + 1
                # Each position tells the token that follows it.
                learned = np.array(element.learned[text[1]][1:])
                targets[number, start : start + len(ids) - 1][learned] = np.array(ids[1:])[learned]
                start += len(ids)
        return tuple(torch.from_numpy(table).to(self.device or "cpu") for table in (tokens, segments, targets))  # type: ignore[return-value]

    @property
    def tokens(self) -> Int[Tensor, "R T"]:
        return self._tables[0]

    @property
    def segments(self) -> Int[Tensor, "R T"]:
        return self._tables[1]

    @property
    def targets(self) -> Int[Tensor, "R T"]:
        """The next token where it is an answer's, the end of its turn included; else `NOT_LEARNED`."""
        return self._tables[2]

    @cached_property
    def _pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        found = [
            (self._place[e, better], self._place[e, worse], weight)
            for e, element in enumerate(self.elements)
            for (better, worse), weight in zip(element.pairs, element.weights, strict=True)
        ]
        better, worse, weights = zip(*found, strict=True)
        device = self.device or torch.device("cpu")
        return (
            torch.tensor(better, device=device),
            torch.tensor(worse, device=device),
            torch.tensor(weights, device=device, dtype=torch.float32),
        )

    @property
    def better(self) -> Int[Tensor, " P"]:
        return self._pairs[0]

    @property
    def worse(self) -> Int[Tensor, " P"]:
        return self._pairs[1]

    @property
    def pair_weights(self) -> Float[Tensor, " P"]:
        return self._pairs[2]

    @cached_property
    def reference(self) -> Float[Tensor, " N"]:
        """Each text's log-probability under the reference model, in the order in which rows hold them."""
        values = {text: self.elements[text[0]].reference[text[1]] for text in self._texts}
        return torch.tensor([values[text] for text in self._place], device=self.device or torch.device("cpu"))

    def by_element(self, values: Sequence[float]) -> list[list[float]]:
        """One number for each text, in the rows' order, gathered by element."""
        return [
            [values[self._place[e, answer]] for answer in range(len(element.rows))]
            for e, element in enumerate(self.elements)
        ]


def fill_rows(sizes: Mapping[Any, int], width: int) -> list[list[Any]]:
    """Texts in rows of `width` tokens: each goes, from the longest on, into the first row it fits in."""
    rows: list[list[Any]] = []
    free: list[int] = []
    for text in sorted(sizes, key=lambda text: -sizes[text]):
        number = next((number for number, room in enumerate(free) if room >= sizes[text]), None)
        if number is None:
            rows.append([])
            free.append(width)
            number = len(rows) - 1
        rows[number].append(text)
        free[number] -= sizes[text]
    return rows


class RankingBatches(Iterator[RankingBatch]):
    """Endless batches of rankings, its sources mixed by weight; every epoch in a new random order.

    Which rankings come when depends only on the seed and on how many were drawn before.
    """

    def __init__(
        self,
        sources: Mapping[str, Sequence[RankedAnswers]],
        weights: Mapping[str, float | None],
        batch: int,
        context: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Args:
            weights: each source's share, relative to the others; None for all: by size.
            batch: prompts per step, over all processes.
            rank: this process among `world` processes; it gets its share of each step.

        Raises:
            UserError: the batch can't be shared evenly.
        """
        if batch % world:
            raise UserError(f"A batch of {batch} prompts can't be shared by {world} processes: make it a multiple.")
        self.sources = {name: elements for name, elements in sources.items() if elements}
        self.batch, self.context, self.seed, self.rank, self.world = batch, context, seed, rank, world
        sizes = {name: len(elements) for name, elements in self.sources.items()}
        self._weights = np.array(list(mix_weights(sizes, weights).values()))
        self._drawn = np.zeros(len(sizes), dtype=np.int64)

    def __next__(self) -> RankingBatch:
        share = self.batch // self.world
        elements = [self._draw() for _ in range(self.batch)]
        return RankingBatch(elements[self.rank * share : (self.rank + 1) * share], self.context)

    def _draw(self) -> RankedAnswers:
        """The next ranking, from the source that is furthest behind its share."""
        source = int(np.argmax(self._weights * (self._drawn.sum() + 1) - self._drawn))
        name = list(self.sources)[source]
        elements = self.sources[name]
        epoch, place = divmod(int(self._drawn[source]), len(elements))
        keys = np.random.SeedSequence([self.seed, crc32(name.encode()), epoch]).generate_state(4, np.uint64).tolist()
        self._drawn[source] += 1
        return elements[shuffled(place, len(elements), keys)]

    def epochs(self) -> dict[str, float]:
        """How often each source has been read so far."""
        drawn = zip(self.sources.items(), self._drawn.tolist(), strict=True)
        return {name: count / len(elements) for (name, elements), count in drawn}

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": dict(zip(self.sources, self._drawn.tolist(), strict=True))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises UserError where the state is of other sources."""
        if set(state["drawn"]) != set(self.sources):
            was, now = ", ".join(state["drawn"]), ", ".join(self.sources)
            raise UserError(
                f"The checkpoint was reading rankings of {was}; there are now {now}: start a new run, or restore them."
            )
        self._drawn = np.array([state["drawn"][name] for name in self.sources], dtype=np.int64)
