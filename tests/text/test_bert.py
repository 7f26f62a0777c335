"""BERT's rows: what stands before, between and behind texts; published vocabularies; what other programs then read."""

from pathlib import Path

import pytest

from plutao.errors import UserError
from plutao.text.bert import Signs, framed, join, signs_of
from plutao.text.tokenizer import Tokenizer, train

SIGNS = Signs(opens=1, separates=2, mask=3, pad=0)
TEXTS = ["O planeta Plutão é pequeno.", "A lua de Plutão é Caronte.", "Plutões plutônicos plutonizam planetas."] * 3


def test_a_pair_is_framed_and_its_segments_are_told_apart() -> None:
    row = join(SIGNS, [10, 11], [20], 16)
    assert row.tokens == [1, 10, 11, 2, 20, 2]
    assert row.segments == [0, 0, 0, 0, 1, 1]
    assert join(SIGNS, [10], None, 16).tokens == [1, 10, 2]


@pytest.mark.parametrize(
    ("first", "second", "kept"), [(20, 2, (11, 2)), (2, 20, (2, 11)), (20, 20, (7, 6)), (9, 4, (9, 4))]
)
def test_the_longer_text_loses_its_end(first: int, second: int, kept: tuple[int, int]) -> None:
    row = join(SIGNS, [5] * first, [6] * second, 16)
    assert (row.tokens.count(5), row.tokens.count(6)) == kept
    assert len(join(SIGNS, [5] * 40, None, 16).tokens) == 16


def test_our_tokenizer_has_bert_s_signs_and_transformers_frames_with_them(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = train("wordpiece", TEXTS, 76)
    signs = signs_of(tokenizer)
    framed(tokenizer).save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    first, second = tokenizer.encode("O planeta"), tokenizer.encode("A lua")
    row = join(signs, first, second, 64)
    found = theirs("O planeta", "A lua")
    assert found["input_ids"] == row.tokens
    assert found["token_type_ids"] == row.segments
    assert theirs.mask_token_id == signs.mask
    assert Tokenizer.load(tmp_path).encode("O planeta") == first


def test_pieces_inside_a_word_are_told_from_beginnings() -> None:
    for kind, size in (("wordpiece", 76), ("bpe", 285)):
        tokenizer = train(kind, TEXTS, size)
        ids = tokenizer.encode("O plutônico.")
        continues = [tokenizer.continues_word(one) for one in ids]
        assert not continues[1], "the word's first piece"
        assert all(continues[2:-1]) and len(ids) > 4
        assert not continues[-1], "a full stop is no part of the word"


def test_a_published_vocabulary_is_read(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "o", "planeta", "##s", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("O Planeta planetas.") == [5, 6, 6, 7, 8]
    assert tokenizer.kind == "wordpiece"
    signs = signs_of(tokenizer)
    assert (signs.opens, signs.separates, signs.mask, signs.pad) == (2, 3, 4, 0)
    ids, places = tokenizer.encode_with_places("O planeta")
    assert (ids, places) == ([5, 6], [(0, 1), (2, 9)])
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert Tokenizer.load(tmp_path).encode("Planeta planeta") == [1, 6]


def test_transformers_cuts_a_published_vocabulary_alike(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "acao", "##zinha", "e", ",", "nova"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    text = "Ação é nova, AÇÃOzinha"
    theirs = transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), do_lower_case=True)
    assert Tokenizer.load(tmp_path).encode(text) == theirs(text, add_special_tokens=False)["input_ids"]


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"\[PAD\]"):
        Tokenizer.load(tmp_path)
