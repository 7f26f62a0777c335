"""Skip-gram and CBOW with negative sampling: how word vectors are learned (the book, section 2.6).

A word's vector is to give a high score to the words that stand near it and a low one to words drawn at random (Mikolov
et al. 2013a, "Efficient Estimation of Word Representations in Vector Space", and 2013b, "Distributed Representations of
Words and Phrases and their Compositionality"). For a bag of input rows h (the word itself, or its parts as well, or for
CBOW its neighbours), a target o and negatives n:

    loss = −log σ(h̄·o) − Σ log σ(−h̄·n)        h̄ the mean of the bag

Each pair's slope is followed at once. Every row of the bag takes the whole of h̄'s slope, not its share, as word2vec and
fastText have it. Only the rows that a pair touches move, so the tables have no gradient of their own: `learn` moves them.
skipgram.cpp does it pair by pair where it can be compiled; `learn_with_torch` by the same rules, some hundreds of pairs
together that share their negatives.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from plutao.compiled import library
from plutao.models.subwords import buckets_of
from plutao.models.word_vectors import Subwords, WordVectors

LANES = 16
"""Rows are filled up with zeros to a multiple of this, so that vector instructions have no rest to see to."""
PAIRS = 512
"""Pairs that the PyTorch path learns together, each by the tables as they were before; fewer where there are few words."""
MOST = 16
"""Updates of one row among these pairs that count in full; and pairs for which a shared negative stands."""
SOURCE = Path(__file__).with_name("skipgram.cpp")
Ids = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]


class Words(Protocol):
    """What is learned from: a run of word numbers (−1 ends a text), and the start of what is drawn meanwhile."""

    @property
    def tokens(self) -> Int[Tensor, " N"]: ...

    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class SkipGramConfig:
    """What a training of word vectors is made of."""

    kind: Literal["skipgram", "cbow"] = "skipgram"
    width: int = 100
    window: int = 5
    """Neighbours on each side; every word draws its reach from 1 to this (Mikolov et al. 2013a, section 3.2)."""
    negatives: int = 5
    subsample: float = 1e-3
    """A word that is this share of the text, or less, is always kept; 0: all are."""
    subwords: bool = False
    shortest: int = 3
    longest: int = 6
    buckets: int = 200_000


class SkipGram(nn.Module):
    """Two tables of vectors: one for words as they are read, one for words as they are looked for."""

    inputs: Float[Tensor, "R stride"]
    outputs: Float[Tensor, "V stride"]

    def __init__(self, config: SkipGramConfig, words: list[str], counts: Places, compiled: bool = True) -> None:
        """
        Args:
            words: by their numbers.
            counts: how often each comes.
            compiled: use skipgram.cpp where it can be compiled.
        """
        super().__init__()
        self.config, self.words, self.counts = config, words, counts
        self.native = kernel() if compiled else None
        rows = len(words) + (config.buckets if config.subwords else 0)
        stride = -(-config.width // LANES) * LANES
        self.register_buffer("inputs", torch.zeros(rows, stride))
        self.register_buffer("outputs", torch.zeros(len(words), stride))
        self.keep = kept_shares(counts, config.subsample)
        self.chances = (
            counts.astype(np.float64) ** 0.75
        )  # flatter than the words' own (Mikolov et al. 2013b, section 2.2)
        self.probability, self.alias = alias_table(self.chances)
        self.starts: Places | None = None
        self.rows: Ids | None = None
        if config.subwords:
            self.starts, self.rows = self._bags()

    def _bags(self) -> tuple[Places, Ids]:
        """Which input rows make up each word: its own, and those of its parts."""
        c = self.config
        bags = [
            [place, *(len(self.words) + row for row in buckets_of(word, c.shortest, c.longest, c.buckets))]
            for place, word in enumerate(self.words)
        ]
        starts = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])]).astype(np.int64)
        return starts, np.concatenate(bags).astype(np.int32)

    def initialise(self, seed: int) -> None:
        """Input rows evenly within ±½ ÷ width, output rows zero, as word2vec begins."""
        generator = torch.Generator().manual_seed(seed)
        shares = torch.rand(len(self.inputs), self.config.width, generator=generator)
        self.inputs.zero_()
        self.inputs[:, : self.config.width] = (shares - 0.5) / self.config.width
        self.outputs.zero_()

    def count_parameters(self) -> int:
        """Numbers that are learned, in both tables."""
        return (len(self.inputs) + len(self.outputs)) * self.config.width

    def learn(self, batch: Words, learning_rate: float) -> float:
        """Follows the slopes of a run's pairs; returns the mean loss of (some of) them, in nats."""
        words = np.ascontiguousarray(batch.tokens.numpy(), dtype=np.int32)
        if self.native is not None and self.inputs.device.type == "cpu":
            return self._learn_natively(words, learning_rate, batch.seed)
        return learn_with_torch(self, words, learning_rate, batch.seed)

    def _learn_natively(self, words: Ids, learning_rate: float, seed: int) -> float:
        c = self.config
        tables = Tables(
            self.inputs.data_ptr(), self.outputs.data_ptr(), self.inputs.shape[1], len(self.words),
            address(self.starts), address(self.rows), address(self.keep), address(self.probability),
            address(self.alias), c.window, c.negatives, c.kind == "cbow",
        )  # fmt: skip
        tells = np.zeros(2)
        assert self.native is not None
        self.native(ctypes.byref(tables), address(words), len(words), learning_rate, seed, address(tells))
        return float(tells[0] / max(tells[1], 1.0))

    def vectors(self, lowercase: bool = False) -> WordVectors:
        """What was learned: a vector for each word, the mean of its parts included, and the parts."""
        table = self.inputs[:, : self.config.width].cpu().numpy()
        own, subwords = table[: len(self.words)].copy(), None
        if self.starts is not None:
            assert self.rows is not None
            own = np.add.reduceat(table[self.rows], self.starts[:-1], axis=0) / np.diff(self.starts)[:, None]
            parts = table[len(self.words) :].copy()
            subwords = Subwords(parts, self.config.shortest, self.config.longest)
        return WordVectors(self.words, own.astype(np.float32), self.counts, lowercase, subwords)


def kept_shares(counts: Places, subsample: float) -> npt.NDArray[np.float32]:
    """How likely an occurrence of each word is kept: √(t ÷ f) + t ÷ f for its share f of the text, as word2vec has it."""
    if subsample == 0:
        return np.ones(len(counts), dtype=np.float32)
    ratio = subsample / (counts / counts.sum())
    shares: npt.NDArray[np.float32] = np.minimum(1.0, np.sqrt(ratio) + ratio).astype(np.float32)
    return shares


def alias_table(chances: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float32], Ids]:
    """Draws from any distribution in constant time (Walker 1977): take a place evenly; it stands for itself with
    `probability`, else for its `alias`.
    """
    rest = (chances / chances.sum() * len(chances)).tolist()
    probability, alias = np.ones(len(rest), dtype=np.float32), np.arange(len(rest), dtype=np.int32)
    small = [place for place, share in enumerate(rest) if share < 1]
    large = [place for place, share in enumerate(rest) if share >= 1]
    while small and large:
        place, giver = small.pop(), large[-1]
        probability[place], alias[place] = rest[place], giver
        rest[giver] -= 1 - rest[place]
        if rest[giver] < 1:
            small.append(large.pop())
    return probability, alias


# ---------------------------------------------------------------------------------------------------------------------
# In C++


class Tables(ctypes.Structure):
    """As in skipgram.cpp."""

    _fields_ = (
        ("inputs", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
        ("vocabulary", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("starts", "rows", "keep", "probability", "alias")),
        *((name, ctypes.c_int64) for name in ("window", "negatives", "cbow")),
    )


def address(numbers: npt.NDArray[Any] | None) -> int | None:
    return None if numbers is None else numbers.ctypes.data


@cache
def kernel() -> Any | None:
    """skipgram.cpp for this machine; None where it can't be compiled."""
    built = library("skipgram", [SOURCE])
    if built is None:
        return None
    pointer = ctypes.c_void_p
    built.learn.argtypes = (pointer, pointer, ctypes.c_int64, ctypes.c_float, ctypes.c_uint64, pointer)
    built.learn.restype = None
    return built.learn


# ---------------------------------------------------------------------------------------------------------------------
# In PyTorch


def learn_with_torch(model: SkipGram, words: Ids, learning_rate: float, seed: int) -> float:
    """As skipgram.cpp, with pairs taken together and negatives shared among them."""
    random = np.random.default_rng(seed)
    owners, rows, targets = examples(model, words, random)
    if not len(targets):
        return 0.0
    together = min(PAIRS, max(MOST, len(model.words)))
    negatives = drawn(model, random, (-(-len(targets) // together), max(1, together * model.config.negatives // MOST)))
    edges = np.searchsorted(owners, np.arange(0, len(targets) + together, together))
    losses = 0.0
    for number, start in enumerate(range(0, len(targets), together)):
        piece = slice(edges[number], edges[number + 1])
        bag = (torch.from_numpy(owners[piece] - start), torch.from_numpy(rows[piece]))
        looked_for = torch.from_numpy(targets[start : start + together])
        losses += step(model, *bag, looked_for, torch.from_numpy(negatives[number]), learning_rate)
    return losses / len(targets)


def drawn(model: SkipGram, random: np.random.Generator, shape: tuple[int, int]) -> Places:
    """Words drawn as negatives."""
    words = random.integers(len(model.words), size=shape)
    return np.where(random.random(shape) < model.probability[words], words, model.alias[words])


def step(
    model: SkipGram,
    owners: Int[Tensor, " M"],
    rows: Int[Tensor, " M"],
    targets: Int[Tensor, " P"],
    negatives: Int[Tensor, " N"],
    learning_rate: float,
) -> float:
    """One step for P pairs: input row `rows[m]` belongs to the bag of pair `owners[m]`; returns the sum of the losses."""
    place = model.inputs.device
    owners, rows, targets, negatives = (part.to(place) for part in (owners, rows, targets, negatives))
    sizes = torch.zeros(len(targets), 1, device=place).index_add_(0, owners, torch.ones(len(rows), 1, device=place))
    hidden = (
        model.inputs.new_zeros(len(targets), model.inputs.shape[1]).index_add_(0, owners, model.inputs[rows]) / sizes
    )
    found, others = model.outputs[targets], model.outputs[negatives]
    score, against = (hidden * found).sum(1, keepdim=True), hidden @ others.T
    weight = (model.config.negatives / len(negatives)) * (negatives[None, :] != targets[:, None])
    pull, push = learning_rate * (1 - score.sigmoid()), learning_rate * weight * against.sigmoid()
    error = pull * found - push @ others
    add_rows(model.outputs, targets, pull * hidden)
    add_rows(model.outputs, negatives, -push.T @ hidden)
    add_rows(model.inputs, rows, error[owners])
    softplus = nn.functional.softplus
    return float(softplus(-score).sum() + (weight * softplus(against)).sum())


def add_rows(table: Float[Tensor, "R D"], rows: Int[Tensor, " M"], updates: Float[Tensor, "M D"]) -> None:
    """Adds updates to rows. Those that come more than MOST times have as much added as if they came so often: their
    slopes were all taken at one place, and the sum of too many would leap over the valley.
    """
    which, inverse, times = torch.unique(rows, return_inverse=True, return_counts=True)
    sums = table.new_zeros(len(which), table.shape[1]).index_add_(0, inverse, updates)
    table.index_add_(0, which, sums * (MOST / times).clamp(max=1)[:, None])


def examples(model: SkipGram, words: Ids, random: np.random.Generator) -> tuple[Places, Places, Places]:
    """The pairs of a run in the text's order: (owners, rows, targets), where pair p looks for the word `targets[p]` from
    the input rows whose owner is p.
    """
    texts = np.cumsum(words < 0)
    kept = (words >= 0) & (
        random.random(len(words)) < model.keep[words]
    )  # −1 reads the last word's share, and is no word
    left_in, texts = words[kept].astype(np.int64), texts[kept]
    reach = random.integers(1, model.config.window + 1, len(left_in))
    centres, others = [], []
    for distance in range(1, model.config.window + 1):
        left = np.flatnonzero(texts[distance:] == texts[:-distance])
        for centre, other in ((left, left + distance), (left + distance, left)):
            seen = reach[centre] >= distance
            centres.append(centre[seen])
            others.append(other[seen])
    centre, other = np.concatenate(centres), np.concatenate(others)
    order = np.lexsort((other, centre))
    centre, other = centre[order], other[order]
    if model.config.kind == "cbow":
        places, owners = np.unique(centre, return_inverse=True)
        return *in_rows(model, owners, left_in[other]), left_in[places]
    return *in_rows(model, np.arange(len(centre)), left_in[centre]), left_in[other]


def in_rows(model: SkipGram, owners: Places, words: Places) -> tuple[Places, Places]:
    """Words as the input rows that make them up, each with its word's owner."""
    if model.starts is None or model.rows is None:
        return owners, words
    sizes = np.diff(model.starts)[words]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(owners, sizes), model.rows[np.repeat(model.starts[words], sizes) + within].astype(np.int64)
