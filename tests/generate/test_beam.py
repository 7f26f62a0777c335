"""Searching for a sentence: greedy, a beam, the best of all."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from plutao.generate.beam import Hypothesis, beam_search, forbid, greedy, length_penalty
from plutao.models.seq2seq import Kind, Seq2Seq, Seq2SeqConfig, make

KINDS: list[Kind] = ["rnn", "attention", "transformer"]
START, END, PAD = 0, 1, 2
WORDS = (3, 4, 5)
LONGEST = 4


def toy(kind: Kind, seed: int = 0, boldness: float = 3.0) -> Seq2Seq:
    """A model of six tokens whose untrained opinions are strong and far from uniform."""
    config = Seq2SeqConfig(kind, 6, 1, 16, heads=2, hidden=16, dropout=0.0, start=START, end=END, pad=PAD)
    model = make(config)
    model.initialise(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(boldness if kind != "transformer" else 1.5)
    return model.eval()


SOURCE = torch.tensor([[3, 5, 4, 1], [4, 1, 2, 2]])


def log_probability(model: Seq2Seq, source: Tensor, words: tuple[int, ...]) -> float:
    """Of a whole sentence, computed at once as in training."""
    tokens = torch.tensor([[START, *words]])
    steps = forbid(model, model(source, tokens), 6)[0]
    return float(sum(steps[place, token] for place, token in enumerate([*words, END])))


def brute_force(model: Seq2Seq, source: Tensor, alpha: float) -> tuple[tuple[int, ...], float]:
    """The best of all sentences of up to LONGEST words."""
    every = (words for length in range(LONGEST + 1) for words in itertools.product(WORDS, repeat=length))
    scored = [(words, log_probability(model, source, words) / length_penalty(len(words) + 1, alpha)) for words in every]
    return max(scored, key=lambda each: each[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@torch.inference_mode()
def test_a_wide_beam_finds_the_best_of_all_sentences(kind: Kind, alpha: float) -> None:
    model = toy(kind)
    found = beam_search(model, SOURCE, [LONGEST, LONGEST], beam=200, alpha=alpha)
    for row, length in enumerate((4, 2)):
        words, score = brute_force(model, SOURCE[row : row + 1, :length], alpha)
        assert found[row][0].tokens == words
        assert found[row][0].score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_beam_of_one_is_greedy(kind: Kind) -> None:
    for seed in range(3):
        model = toy(kind, seed)
        for found, row in zip(beam_search(model, SOURCE, [6, 6], beam=1), range(2), strict=True):
            words: list[int] = []
            while len(words) < 6:
                tokens = torch.tensor([[START, *words]])
                following = int(forbid(model, model(SOURCE[row : row + 1], tokens), 6)[0, -1].argmax())
                if following == END:
                    break
                words.append(following)
            assert list(found[0].tokens) == words and len(found) == 1
            assert found[0].log_probability == pytest.approx(
                log_probability(model, SOURCE[row : row + 1], tuple(words)), abs=1e-4
            )


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_is_never_worse_than_greedy_here_and_its_numbers_are_true(kind: Kind) -> None:
    model = toy(kind, seed=1)
    with torch.inference_mode():
        [wide, _] = beam_search(model, SOURCE, [6, 6], beam=5, alpha=0.0)
        best = greedy(model, SOURCE, [6, 6])[0]
        assert wide[0].log_probability >= best.log_probability - 1e-5
        assert wide == sorted(wide, key=lambda each: -each.score) and len({each.tokens for each in wide}) == len(wide)
        for each in wide:
            assert each.log_probability == pytest.approx(log_probability(model, SOURCE[:1], each.tokens), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_who_shares_the_batch_changes_nothing(kind: Kind) -> None:
    model = toy(kind, seed=2)
    together = beam_search(model, SOURCE, [6, 3], beam=3)
    alone = [beam_search(model, SOURCE[:1], [6], beam=3)[0], beam_search(model, SOURCE[1:, :2], [3], beam=3)[0]]
    for one, other in zip(together, alone, strict=True):
        assert [each.tokens for each in one] == [each.tokens for each in other]


def test_the_length_penalty_is_that_of_wu_et_al() -> None:
    """Equation 14: lp = (5 + |Y|)^α ÷ (5 + 1)^α."""
    assert length_penalty(1, 0.6) == 1.0
    assert length_penalty(7, 0.6) == pytest.approx(2**0.6)
    long, short = Hypothesis((3, 3, 3, 3), -3.0, 0.0), Hypothesis((3,), -2.5, 0.0)
    assert short.log_probability > long.log_probability
    assert short.log_probability / length_penalty(2, 1.0) < long.log_probability / length_penalty(5, 1.0)


def test_limits_hold_and_nothing_forbidden_is_written() -> None:
    model = toy("transformer")
    model.head = torch.nn.Linear(16, 6)
    with torch.no_grad():
        model.head.bias[END] = -100  # it never wants to end
    for found in beam_search(model, SOURCE, [5, 2], beam=2, drawable=5):
        assert all(token in (3, 4) for each in found for token in each.tokens)
    assert [len(found[0].tokens) for found in beam_search(model, SOURCE, [5, 2], beam=2)] == [5, 2]
    assert math.isfinite(greedy(model, SOURCE, [5, 2])[0].log_probability)
