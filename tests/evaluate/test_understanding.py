"""Measures of understanding, against what is known by hand and intervals that mean what they say."""

import numpy as np
import pytest

from plutao.evaluate.correlation import pearson, spearman
from plutao.evaluate.understanding import (
    alike,
    answered,
    classified,
    exact,
    overlap,
    words_in_common,
)


def test_accuracy_and_f1_of_classes() -> None:
    found = classified([0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 0, 1], ["não", "sim"])
    assert found["accuracy"]["value"] == pytest.approx(4 / 6)
    assert found["f1"]["value"] == pytest.approx(4 / 6)
    assert found["baseline"]["accuracy"]["value"] == 0.5
    assert found["f1"]["low"] < found["f1"]["value"] < found["f1"]["high"]


def test_always_saying_one_class_has_a_poor_f1() -> None:
    found = classified([0] * 10, [0] * 9 + [1], ["a", "b"])
    assert found["accuracy"]["value"] == 0.9
    assert found["f1"]["value"] == pytest.approx((18 / 19) / 2)


def test_correlations_are_numpy_s_and_of_ranks() -> None:
    random = np.random.default_rng(1)
    one = random.normal(size=200)
    other = one + random.normal(size=200)
    found = alike(one.tolist(), other.tolist(), one.tolist())
    assert found["pearson"]["value"] == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert found["pearson"]["low"] < 0.72 < found["pearson"]["high"]
    assert spearman(one, np.exp(3 * one)) == pytest.approx(1.0)
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 2, 3])) == pytest.approx(1.0)
    assert pearson(np.ones(3), np.arange(3.0)) == 0.0


def test_answers_are_compared_as_squad_compares_them() -> None:
    assert exact("A  Universidade Federal.", ["universidade federal"])
    assert not exact("universidade", ["universidade federal"])
    assert overlap("universidade de são paulo", ["a universidade federal"]) == pytest.approx(2 * 1 / (4 + 2))
    assert overlap("", []) == 1.0 and exact("", [])
    found = answered(["1930", "errado"], [["em 1930", "1930"], ["certo"]])
    assert found["exact"]["value"] == 0.5
    assert found["f1"]["value"] == 0.5
    assert found["f1"]["n"] == 2


def test_words_in_common() -> None:
    assert words_in_common("O homem corre", "um homem anda") == pytest.approx(1 / 3)
