"""Documents as runs of word numbers."""

from pathlib import Path

import numpy as np
import pytest

from plutao.data.words import WordBatches, build_words
from plutao.errors import UserError
from plutao.text.words import words_of

from .conftest import write_documents

TEXTS = ["O rei e a rainha. O REI!", "A rainha disse-lhe: é d’água, rei?"]


def test_words_are_letters_between_signs() -> None:
    assert words_of("Disse-lhe: é d’água, 2 vezes!") == ["disse", "lhe", "é", "d'água", "2", "vezes"]
    assert words_of("Cafe\u0301", lowercase=False) == ["Café"]


def test_a_run_has_the_words_that_come_often_enough(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "documents", {"a": TEXTS[:1], "b": TEXTS[1:]})
    words = build_words(documents, tmp_path / "words", least=2)
    assert words.words == ["rei", "a", "o", "rainha"]
    assert words.counts.tolist() == [3, 2, 2, 2] and words.total == 9
    assert words.run.tolist() == [2, 0, 1, 3, 2, 0, -1, 1, 3, 0, -1]
    again = build_words(documents, tmp_path / "words", least=2)
    assert np.array_equal(again.run, words.run)
    assert build_words(documents, tmp_path / "words", lowercase=False, least=2, most=2).words == ["O", "rainha"]


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "documents", {"a": TEXTS})
    with pytest.raises(UserError, match="0 words that come 100 times"):
        build_words(documents, tmp_path / "words", least=100)


def test_batches_go_round_and_go_on_where_they_were() -> None:
    batches = WordBatches(np.arange(7, dtype=np.int32), 3, seed=1)
    found = [next(batches) for _ in range(4)]
    assert [batch.tokens.tolist() for batch in found] == [[0, 1, 2], [3, 4, 5], [6], [0, 1, 2]]
    assert len({batch.seed for batch in found}) == 4
    other = WordBatches(np.arange(7, dtype=np.int32), 3, seed=1)
    other.load_state_dict({"step": 3})
    assert next(other).seed == found[3].seed
