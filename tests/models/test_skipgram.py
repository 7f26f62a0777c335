"""Word vectors follow the slope of the loss that the papers give, compiled or not, and find who keeps whose company."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from plutao.models import skipgram
from plutao.models.skipgram import SkipGram, SkipGramConfig, alias_table, kept_shares, kernel
from plutao.models.subwords import buckets_of, parts_of

compiled_or_not = pytest.mark.parametrize(
    "compiled",
    [pytest.param(True, marks=pytest.mark.skipif(kernel() is None, reason="no C++ compiler")), False],
    ids=["compiled", "torch"],
)


@dataclass
class Run:
    tokens: Tensor
    seed: int = 1


def run_of(*numbers: int, seed: int = 1) -> Run:
    return Run(torch.tensor(numbers, dtype=torch.int32), seed)


def model_of(words: int = 3, compiled: bool = True, **settings: Any) -> SkipGram:
    """Tables of random numbers, all words equally frequent and kept."""
    config = SkipGramConfig(**({"width": 6, "window": 1, "negatives": 2, "subsample": 0.0, "buckets": 11} | settings))
    model = SkipGram(config, [f"word{number}" for number in range(words)], np.full(words, 10), compiled)
    generator = torch.Generator().manual_seed(3)
    for table in (model.inputs, model.outputs):
        table[:, :6] = torch.randn(len(table), 6, generator=generator)
    return model


def only_draws(model: SkipGram, word: int) -> None:
    """Every negative is this word."""
    chances = np.zeros(len(model.words))
    chances[word] = 1.0
    model.probability, model.alias = alias_table(chances)


def bag(model: SkipGram, word: int) -> list[int]:
    if model.starts is None or model.rows is None:
        return [word]
    return model.rows[model.starts[word] : model.starts[word + 1]].tolist()


def learned_by_autograd(model: SkipGram, examples: list[tuple[list[int], int]], negative: int, rate: float) -> None:
    """One pair after the other by the loss as it is written, each row of the bag taking the whole of the mean's slope."""
    count = model.config.negatives
    for rows, target in examples:
        mean = model.inputs[rows].mean(0).requires_grad_()
        outputs = model.outputs.clone().requires_grad_()
        loss = -torch.nn.functional.logsigmoid(mean @ outputs[target])
        if target != negative:
            loss = loss - count * torch.nn.functional.logsigmoid(-mean @ outputs[negative])
        to_mean, to_outputs = torch.autograd.grad(loss, (mean, outputs))
        with torch.no_grad():
            model.outputs -= rate * to_outputs
            for row in rows:
                model.inputs[row] -= rate * to_mean


@pytest.mark.skipif(kernel() is None, reason="no C++ compiler")
@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_the_compiled_code_follows_the_slope_of_the_papers_loss(kind: str, subwords: bool) -> None:
    ours, expected = (model_of(kind=kind, subwords=subwords, negatives=1) for _ in range(2))
    only_draws(ours, 2)
    ours.learn(run_of(0, 1, -1, 1, 0), 0.1)
    pairs = [(bag(ours, a), b) for a, b in ((0, 1), (1, 0), (1, 0), (0, 1))]
    if kind == "cbow":
        pairs = [(bag(ours, b), a) for a, b in ((0, 1), (1, 0), (1, 0), (0, 1))]
    learned_by_autograd(expected, pairs, 2, 0.1)
    assert torch.allclose(ours.inputs, expected.inputs, atol=1e-5)
    assert torch.allclose(ours.outputs, expected.outputs, atol=1e-5)
    assert torch.equal(ours.inputs[:, 6:], torch.zeros_like(ours.inputs[:, 6:])), "the rows' filling stays zero"


def test_the_torch_path_follows_the_slope_of_a_batch() -> None:
    model = model_of(words=6, compiled=False)
    owners, rows, targets = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]), torch.tensor([3, 4])
    drawn = torch.tensor([4, 5])
    inputs, outputs = model.inputs.clone(), model.outputs.clone().requires_grad_()
    hidden = torch.stack([inputs[0], (inputs[1] + inputs[2]) / 2]).requires_grad_()
    logsigmoid = torch.nn.functional.logsigmoid
    loss = -logsigmoid((hidden * outputs[targets]).sum(1)).sum()
    against = logsigmoid(-hidden @ outputs[drawn].T)  # two negatives a pair, two are shared: each counts once
    loss = (
        loss - against[0, 0] - against[0, 1] - against[1, 1]
    )  # 4 is what the second pair looks for, no negative of its
    to_hidden, to_outputs = torch.autograd.grad(loss, (hidden, outputs))
    told = skipgram.step(model, owners, rows, targets, drawn, 0.01)
    assert told == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(model.outputs, (outputs - 0.01 * to_outputs).detach(), atol=1e-6)
    assert torch.allclose(model.inputs[:3], inputs[:3] - 0.01 * to_hidden[[0, 1, 1]], atol=1e-6)


@compiled_or_not
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_words_of_one_company_come_together(kind: str, compiled: bool) -> None:
    random = np.random.default_rng(0)
    topics = [random.integers(0, 30, 14) + 30 * random.integers(2) for _ in range(600)]
    words = np.concatenate([np.append(topic, -1) for topic in topics]).astype(np.int32)
    counts = np.bincount(words[words >= 0], minlength=60)
    config = SkipGramConfig(kind=kind, width=16, subsample=0.0)  # type: ignore[arg-type]
    model = SkipGram(config, [f"w{number}" for number in range(60)], counts, compiled)
    model.initialise(1)
    losses = [model.learn(Run(torch.from_numpy(words), seed), 0.05) for seed in range(5)]
    table = model.vectors().unit
    assert losses[-1] < 2.6, "six logarithms of one half, 4.16 nats, are what knowing nothing costs"
    assert (table[:30] @ table[:30].T).mean() > 0.3 + (table[:30] @ table[30:].T).mean()


@compiled_or_not
def test_the_same_seed_learns_the_same(compiled: bool) -> None:
    def tables(seed: int) -> Tensor:
        model = model_of(words=20, compiled=compiled, window=4, subsample=0.01)
        model.learn(run_of(*range(20), -1, *range(19, -1, -1), seed=seed), 0.1)
        return model.outputs

    assert torch.equal(tables(5), tables(5))
    assert not torch.equal(tables(5), tables(6))


@compiled_or_not
def test_nothing_is_learned_over_the_end_of_a_text(compiled: bool) -> None:
    model = model_of(compiled=compiled, window=5)
    before = model.inputs.clone()
    model.learn(run_of(0, -1, 1, -1, -1, 2), 0.1)
    assert torch.equal(model.inputs, before)


def test_frequent_words_are_left_out_as_word2vec_does() -> None:
    counts = np.array([900, 99, 1])
    shares = counts / 1000
    expected = np.minimum(1, (np.sqrt(shares / 0.01) + 1) * 0.01 / shares)  # word2vec.c's formula
    assert np.allclose(kept_shares(counts, 0.01), expected)
    assert kept_shares(counts, 0.0).tolist() == [1, 1, 1]


def test_the_alias_table_draws_the_distribution() -> None:
    chances = np.random.default_rng(0).random(100) ** 3
    probability, alias = alias_table(chances)
    drawn = probability / 100 + np.bincount(alias, weights=(1 - probability) / 100, minlength=100)
    assert np.allclose(drawn, chances / chances.sum(), atol=1e-6)


def test_parts_of_a_word_are_fasttexts() -> None:
    assert parts_of("rei", 3, 4) == ["<re", "<rei", "rei", "rei>", "ei>"]
    assert parts_of("é", 1, 2) == ["<é", "é", "é>"]


def test_parts_fall_into_the_buckets_of_gensims_fasttext() -> None:
    fasttext = pytest.importorskip("gensim.models.fasttext", reason="gensim is not installed (extra parity)")
    for word in ("rei", "coração", "d'água", "日本語", "a"):
        assert buckets_of(word, 3, 6, 2000) == list(fasttext.ft_ngram_hashes(word, 3, 6, 2000))


def test_an_unseen_word_is_put_together_from_its_parts() -> None:
    model = model_of(subwords=True)
    vectors = model.vectors()
    own = np.mean([model.inputs[row, :6].numpy() for row in bag(model, 1)], axis=0)
    assert np.allclose(vectors.vector("word1"), own, atol=1e-6)
    unseen = model.inputs[[3 + row for row in buckets_of("words", 3, 6, 11)], :6].mean(0)
    assert np.allclose(vectors.vector("words"), unseen.numpy(), atol=1e-6)
