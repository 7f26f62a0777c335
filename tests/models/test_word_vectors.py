"""Neighbours, analogies and files of word vectors: as gensim finds, solves, reads and writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plutao.errors import UserError
from plutao.models.interop import word2vec
from plutao.models.word_vectors import Subwords, WordVectors, load_vectors, save_vectors

WORDS = ["rei", "rainha", "homem", "mulher", "coração", "casa", "príncipe", "d'água"]


@pytest.fixture
def vectors() -> WordVectors:
    random = np.random.default_rng(2)
    table = random.normal(size=(len(WORDS), 24)).astype(np.float32)
    table[1] = table[0] - table[2] + table[3] + 0.1 * table[1]  # rainha = rei − homem + mulher, nearly
    return WordVectors(WORDS, table, np.arange(len(WORDS), 0, -1), lowercase=True)


def gensims(vectors: WordVectors) -> Any:
    models = pytest.importorskip("gensim.models", reason="gensim is not installed (extra parity)")
    theirs = models.KeyedVectors(vectors.width)
    theirs.add_vectors(vectors.words, vectors.vectors)
    return theirs


def test_a_man_is_to_a_king_as_a_woman_is_to_a_queen(vectors: WordVectors) -> None:
    for method in ("add", "multiply"):
        assert vectors.analogy("Homem", "rei", "mulher", 1, method)[0].word == "rainha"


def test_neighbours_and_analogies_are_gensims(vectors: WordVectors) -> None:
    theirs = gensims(vectors)
    asked = {"positive": ["rei", "mulher"], "negative": ["homem"], "topn": 5}
    near = [(near.word, near.score) for near in vectors.neighbours("casa", 5)]
    product = [(near.word, near.score) for near in vectors.analogy("homem", "rei", "mulher", 5, "multiply")]
    expected = theirs.most_similar_cosmul(**asked)
    assert [word for word, _ in near] == [word for word, _ in theirs.most_similar("casa", topn=5)]
    assert [score for _, score in near] == pytest.approx(
        [score for _, score in theirs.most_similar("casa", topn=5)], abs=1e-5
    )
    assert [near.word for near in vectors.analogy("homem", "rei", "mulher", 5)] == [
        word for word, _ in theirs.most_similar(**asked)
    ]
    assert product == [(word, pytest.approx(score, rel=5e-3)) for word, score in expected]


@pytest.mark.parametrize("binary", [True, False])
def test_gensim_reads_what_we_write_and_we_what_it_writes(vectors: WordVectors, binary: bool, tmp_path: Path) -> None:
    theirs = gensims(vectors)
    word2vec.write(vectors, tmp_path / "ours", binary)
    read = type(theirs).load_word2vec_format(str(tmp_path / "ours"), binary=binary)
    assert read.index_to_key == WORDS
    assert np.array_equal(read.vectors, vectors.vectors)
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=binary)
    found = load_vectors(tmp_path / "theirs")
    assert sorted(found.words) == sorted(WORDS)
    assert all(np.allclose(found.vector(word), vectors.vector(word), atol=1e-6) for word in WORDS)


@pytest.mark.parametrize("binary", [True, False])
def test_what_is_written_comes_back_to_the_last_bit(vectors: WordVectors, binary: bool, tmp_path: Path) -> None:
    word2vec.write(vectors, tmp_path / "file", binary)
    found = word2vec.read(tmp_path / "file")
    assert found.words == WORDS and found.lowercase
    assert np.array_equal(found.vectors, vectors.vectors)


def test_a_damaged_file_is_named_with_the_word(vectors: WordVectors, tmp_path: Path) -> None:
    for binary in (True, False):
        word2vec.write(vectors, tmp_path / "file", binary)
        content = (tmp_path / "file").read_bytes()
        (tmp_path / "file").write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(UserError, match=r"file is damaged at word \d"):
            word2vec.read(tmp_path / "file")
    (tmp_path / "file").write_text("rei 0.1 0.2\n")
    with pytest.raises(UserError, match="first line"):
        word2vec.read(tmp_path / "file")
    with pytest.raises(UserError, match="blank"):
        word2vec.write(WordVectors(["São Paulo"], np.ones((1, 2), np.float32)), tmp_path / "other", binary=False)


def test_a_folder_holds_words_and_parts(vectors: WordVectors, tmp_path: Path) -> None:
    parts = Subwords(np.random.default_rng(0).normal(size=(50, 24)).astype(np.float32), 3, 6)
    whole = WordVectors(vectors.words, vectors.vectors, vectors.counts, True, parts)
    save_vectors(whole, tmp_path / "folder", {"kind": "skipgram"})
    found = load_vectors(tmp_path / "folder")
    assert found.words == WORDS and found.counts is not None and found.counts.tolist() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert np.array_equal(found.vector("reizinho"), whole.vector("reizinho"))
    assert "reizinho" not in found and "REI" in found


def test_an_unknown_word_is_told_with_those_that_look_like_it(vectors: WordVectors) -> None:
    with pytest.raises(UserError, match=r"no word 'principe'.*príncipe"):
        vectors.neighbours("principe")
