"""Answers that vary are told from answers that do not, and entropy is that of the model's own distribution."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from plutao.evaluate.diversity import dice, distinct, diversity, measured, self_similarity
from plutao.evaluate.responders import Said
from plutao.text.chat import Message, Messages


def test_distinct_ngrams() -> None:
    answers = [["the", "sun"], ["the", "sun"], ["the", "moon"]]
    assert distinct(answers, 1) == pytest.approx(3 / 6)
    assert distinct(answers, 2) == pytest.approx(2 / 3)
    assert distinct(answers, 3) == 0.0


def test_two_answers_share_bigrams() -> None:
    assert dice(["a", "b"], ["a", "b"]) == 1.0
    assert dice(["a", "b"], ["c", "d"]) == 0.0
    assert dice(["a", "b"], ["a", "c"]) == pytest.approx(2 * 1 / 6), "< a"
    assert dice([], []) == 1.0
    assert self_similarity([["a"], ["a"], ["b"]]) == pytest.approx(1 / 3)


def test_an_assistant_that_always_says_the_same_varies_less() -> None:
    same = measured([["The Sun is a star."] * 4] * 5)
    varied = measured([["The Sun is a star.", "A star.", "Our nearest star!", "It's hot and far away"]] * 5)
    assert same.self_similarity.value == 1.0 and same.different.value == 0.25
    assert varied.self_similarity.value < 0.3 and varied.different.value == 1.0
    assert all(varied.distinct[n].value > same.distinct[n].value for n in (1, 2, 3))
    data = varied.as_json()
    assert set(data) == {"distinct_1", "distinct_2", "distinct_3", "self_similarity", "different", "draws"}
    assert data["draws"] == 4 and data["distinct_2"]["n"] == 5


class Speaks:
    """Draws from known probabilities, one token an answer."""

    def __init__(self, probabilities: list[float]) -> None:
        self.probabilities = probabilities

    @property
    def engine(self) -> Any:
        raise NotImplementedError

    def answer(self, conversations: Sequence[Messages], seed: int, temperature: float) -> list[str]:
        raise NotImplementedError

    def say(self, conversations: Sequence[Messages], seed: int, temperature: float, n: int = 1) -> list[list[Said]]:
        random, p = np.random.default_rng(seed), self.probabilities
        drawn = random.choice(len(p), size=(len(conversations), n), p=p)
        return [[Said(f"word{token}", [math.log(p[token])]) for token in row] for row in drawn]


def test_entropy_is_that_of_the_distribution_that_was_drawn_from() -> None:
    p = [0.5, 0.25, 0.125, 0.125]
    found = diversity(Speaks(p), [(Message("user", "?"),)] * 2000, draws=4)
    assert found.entropy is not None and found.entropy.value == pytest.approx(1.75, abs=0.03)
    assert found.entropy.low <= 1.75 <= found.entropy.high
    certain = diversity(Speaks([1.0]), [(Message("user", "?"),)] * 5, draws=3)
    assert certain.entropy is not None and certain.entropy.value == 0 and certain.self_similarity.value == 1
    assert diversity(Speaks(p), [(Message("user", "?"),)] * 5, temperature=0.7).entropy is None, "drawn otherwise"
