"""A planted bias is found, measured, and gone where it was to go (Bolukbasi et al. 2016)."""

import numpy as np
import pytest

from plutao.errors import UserError
from plutao.evaluate.bias import BiasWords, debiased, direction, fitting_words, measure, word_lists
from plutao.models.word_vectors import WordVectors

PAIRS = (("he", "she"), ("man", "woman"), ("king", "queen"), ("son", "daughter"))
NEUTRAL = ("nurse", "captain", "artist")


@pytest.fixture
def vectors() -> WordVectors:
    """Twelve dimensions; in the first one feminine words are positive. Nurses lean that way, captains the other."""
    random = np.random.default_rng(4)
    rows = {}
    for first, second in PAIRS:
        common = random.normal(size=12)
        common[0] = 0
        rows[first], rows[second] = (common + side * np.eye(12)[0] + 0.1 * random.normal(size=12) for side in (-1, 1))
    for word, lean in zip(NEUTRAL, (1.0, -0.8, 0.0), strict=True):
        rows[word] = random.normal(size=12)
        rows[word][0] = lean
    rows["table"] = random.normal(size=12)
    return WordVectors(list(rows), np.array(list(rows.values()), dtype=np.float32))


def test_the_direction_is_what_the_pairs_differ_in(vectors: WordVectors) -> None:
    line = direction(vectors, [*PAIRS, ("boy", "girl")])
    assert line.vector[0] > 0.95, "towards the second words"
    assert line.shares[0] > 0.8 and sum(line.shares) == pytest.approx(1.0)
    assert ("boy", "girl") not in line.pairs
    with pytest.raises(UserError, match="know 1 of the 2 pairs"):
        direction(vectors, [("he", "she"), ("boy", "girl")])


def test_neutral_words_stand_in_the_middle_afterwards(vectors: WordVectors) -> None:
    found = measure(vectors, BiasWords("en", PAIRS, (*NEUTRAL, "unknown")))
    assert [one.word for one in found.words] == ["captain", "artist", "nurse"]
    assert found.words[0].before < -0.1 and found.words[-1].before > 0.1
    assert found.direct_before > 0.1 and found.direct_after == pytest.approx(0, abs=1e-6)
    assert found.gap_before > 0.1 and found.gap_after == pytest.approx(0, abs=1e-6)


def test_pairs_end_evenly_and_other_words_stay(vectors: WordVectors) -> None:
    line = direction(vectors, PAIRS)
    after = debiased(vectors, line, NEUTRAL, PAIRS)
    for first, second in PAIRS:
        here, there = after.direction(first), after.direction(second)
        assert here @ line.vector == pytest.approx(-(there @ line.vector), abs=1e-6)
        assert there @ line.vector > 0
        assert np.linalg.norm(after.vector(first)) == pytest.approx(1, abs=1e-5)
    assert np.allclose(after.vector("table"), vectors.direction("table"))


def test_the_lists_of_the_vectors_own_language_are_taken() -> None:
    for language, words in word_lists().items():
        assert len(words.pairs) >= 10 and len(words.neutral) >= 40
        known = [word for pair in words.pairs for word in pair]
        assert len(set(known)) == len(known) and not set(known) & set(words.neutral)
        table = WordVectors(known, np.eye(len(known), dtype=np.float32))
        assert fitting_words(table).language == language
