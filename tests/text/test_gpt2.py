"""GPT-2's own vocabulary, from the files its authors published."""

import json
import os
import shutil
from pathlib import Path

import pytest

from plutao.errors import UserError
from plutao.text.special import SPECIAL_TOKENS
from plutao.text.tokenizer import IncrementalDecoder, Tokenizer

TABLE = {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 50256}


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    return Tokenizer.load(Path(os.environ["PLUTAO_DATA"]) / "assets")


@pytest.mark.real_data
def test_it_passes_the_published_test_vectors(real_data: Path, gpt2: Tokenizer) -> None:
    """llama.cpp's vectors for this vocabulary: texts with their ids."""
    texts = (real_data / "assets/gpt2_vocab_tests.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    rows = (real_data / "assets/gpt2_vocab_tests.out").read_text().split("\n")
    expected = [[int(number) for number in row.split()] for row in rows]
    assert len(texts) >= 46
    for text, ids in zip(texts, expected, strict=False):
        assert gpt2.encode(text) == ids, text
        assert gpt2.decode(ids) == text


@pytest.mark.real_data
def test_it_has_its_own_ids_and_ours_after_them(gpt2: Tokenizer) -> None:
    assert (gpt2.kind, gpt2.reversible, gpt2.end_of_text) == ("gpt2", True, 50256)
    ours = [gpt2.special(token) for token in SPECIAL_TOKENS[1:]]
    assert ours == list(range(50257, 50257 + 15))
    assert gpt2.vocabulary_size == 50257 + 15
    typed = "<|endoftext|> and <|im_start|>"
    assert gpt2.decode(gpt2.encode(typed)) == typed
    assert max(gpt2.encode(typed)) < 50256


@pytest.mark.real_data
def test_it_loads_under_both_publishers_names_and_in_transformers(
    real_data: Path, gpt2: Tokenizer, tmp_path: Path
) -> None:
    for folder, (table, merges) in {
        "openai": ("encoder.json", "vocab.bpe"),
        "hf": ("vocab.json", "merges.txt"),
    }.items():
        (tmp_path / folder).mkdir()
        shutil.copy(real_data / "assets/gpt2_encoder.json", tmp_path / folder / table)
        shutil.copy(real_data / "assets/gpt2_vocab.bpe", tmp_path / folder / merges)
        assert Tokenizer.load(tmp_path / folder).fingerprint == gpt2.fingerprint
    gpt2.save(tmp_path / "saved", context=1024)
    again = Tokenizer.load(tmp_path / "saved")
    assert (again.kind, again.fingerprint, again.end_of_text) == ("gpt2", gpt2.fingerprint, 50256)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    text = "Pluto isn't a planet, não é? 🚀\n\n"
    assert theirs(text)["input_ids"] == gpt2.encode(text)
    assert (theirs.eos_token_id, theirs.pad_token_id) == (50256, 50257)


@pytest.mark.real_data
def test_it_streams_whole_characters(gpt2: Tokenizer) -> None:
    decoder = IncrementalDecoder(gpt2)
    ids = gpt2.encode("☃🚀")
    pieces = [decoder.add(token) for token in ids]
    assert "".join(pieces) + decoder.finish() == "☃🚀"
    assert len(ids) > 2 and {piece for piece in pieces if piece} == {"☃", "🚀"}


def write(folder: Path, table: object, merges: str) -> Path:
    (folder / "encoder.json").write_text(table if isinstance(table, str) else json.dumps(table))
    (folder / "vocab.bpe").write_text(merges)
    return folder


def test_a_small_table_of_that_layout_is_read(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write(tmp_path, TABLE, "#version: 0.2\na b\n"))
    assert tokenizer.encode("abba") == [2, 1, 0]


@pytest.mark.parametrize(
    ("table", "merges", "message"),
    [
        ("{", "a b\n", r"encoder\.json is damaged"),
        ({"a": 0, "<|endoftext|>": 151643}, "a b\n", "not GPT-2's vocabulary"),
        ([1], "a b\n", "not GPT-2's vocabulary"),
        (TABLE, "#version: 0.2\na b\nab\n", r"vocab\.bpe, line 3"),
        (TABLE, "#version: 0.2\na b c\n", r"vocab\.bpe, line 2"),
        (TABLE, "#version: 0.2\nb a\n", "do not fit together"),
    ],
)
def test_damaged_or_foreign_files_are_refused(tmp_path: Path, table: object, merges: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tokenizer.load(write(tmp_path, table, merges))
