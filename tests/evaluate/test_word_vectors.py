"""Tests of word vectors as they are published, and what they measure."""

from pathlib import Path

import numpy as np
import pytest

from plutao.errors import UserError
from plutao.evaluate.correlation import spearman
from plutao.evaluate.word_vectors import Pair, Question, analogies, read_pairs, read_questions, similarity
from plutao.models.word_vectors import WordVectors


@pytest.fixture
def square() -> WordVectors:
    """Countries on one axis, capitals a step away."""
    rows = {"frança": (1, 0, 0), "paris": (1, 0, 1), "itália": (0, 1, 0), "roma": (0, 1, 1), "gato": (-1, -1, 0.2)}
    return WordVectors(list(rows), np.array(list(rows.values()), dtype=np.float32), lowercase=True)


def test_analogies_are_counted_by_section_and_the_unknown_left_out(square: WordVectors) -> None:
    questions = [
        Question("capital", "França", "Paris", "Itália", "Roma"),
        Question("capital", "Itália", "Roma", "França", "Gato"),
        Question("money", "França", "franco", "Itália", "lira"),
    ]
    for method in ("add", "multiply"):
        found = analogies(square, questions, method)
        assert found.overall is not None
        assert (found.overall.value, found.overall.n, found.unknown) == (0.5, 2, 1)
        assert set(found.sections) == {"capital"}
    assert analogies(square, questions[2:]).overall is None


def test_likeness_is_spearmans_correlation_with_an_interval(square: WordVectors) -> None:
    pairs = [Pair("frança", "paris", 9), Pair("frança", "roma", 3), Pair("frança", "gato", 1), Pair("x", "gato", 5)]
    found = similarity(square, pairs)
    assert found is not None
    assert (found.value, found.n, found.unknown) == (pytest.approx(1.0), 3, 1)
    assert found.low <= found.value <= found.high
    assert similarity(square, pairs[1:3]) is None


def test_ranks_share_ties_as_scipy_does() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed (gensim brings it, extra parity)")
    random = np.random.default_rng(0)
    first, second = random.integers(0, 9, 50).astype(float), random.normal(size=50)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_published_forms_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(
        "# made by people\nWord 1\tWord 2\tHuman (mean)\nS\tamor\tsexo\t6.77\nlove,sex,6.77\ntiger cat 7.35\n"
    )
    expected = [Pair("amor", "sexo", 6.77), Pair("love", "sex", 6.77), Pair("tiger", "cat", 7.35)]
    assert read_pairs(path) == expected
    path.write_text("love sex 6.77\ntiger cat\n")
    with pytest.raises(UserError, match="line 2"):
        read_pairs(path)
    path.write_text(": capital-common\nAtenas Grécia Bagdá Iraque\n")
    assert read_questions(path) == [Question("capital-common", "Atenas", "Grécia", "Bagdá", "Iraque")]
    path.write_text("Atenas Grécia Bagdá\n")
    with pytest.raises(UserError, match="line 1 is not four words"):
        read_questions(path)


@pytest.mark.real_data
def test_the_published_tests_are_read_whole(real_data: Path) -> None:
    folder = real_data / "embeddings"
    assert len(read_pairs(folder / "wordsim353_en.txt")) == 353
    assert len(read_questions(folder / "google_analogies_en.txt")) == 19_544
    assert len(read_questions(folder / "lx_4w_analogies_br_pt.txt")) == 17_558
    pairs = read_pairs(folder / "lx_wordsim353_pt.txt")
    assert len(pairs) > 340 and all(0 <= pair.mark <= 10 for pair in pairs)
