"""Documents become token ids on disk: separated, in the smallest type, reused, and checked."""

import hashlib

import numpy as np
import pytest

from plutao.data.shards import TokenShards, build_shards, load_shards
from plutao.data.store import DocumentWriter, Part
from plutao.errors import UserError
from plutao.files import read_json, write_json

from .conftest import ByteTokenizer, WideTokenizer, write_documents


def test_every_document_is_preceded_by_the_end_of_text(make_shards):
    shards = make_shards(a=["ab", "cde"]).open()["a"]
    assert shards.tokens.tolist() == [256, *b"ab", 256, *b"cde"]
    assert shards.starts.tolist() == [0, 3]


def test_the_parts_of_a_long_document_follow_each_other_without_a_separator(tmp_path):
    documents = write_documents(tmp_path / "documents", {"a": []})
    with DocumentWriter(documents / "a" / "train.parquet", "a") as writer:
        for part, text in enumerate(["one\n", "two\n", "three"]):
            writer.write(Part(id="long", text=text, part=part), len(text))
        writer.write(Part(id="short", text="x"), 1)
    shards = build_shards(documents, ByteTokenizer(), tmp_path / "shards").open()["a"]
    assert shards.tokens.tolist() == [256, *b"one\ntwo\nthree", 256, *b"x"]
    assert shards.info.documents == 2


def test_small_vocabularies_rest_in_16_bits_and_large_ones_in_32(make_shards, tmp_path):
    small = make_shards(a=["ação"])
    large = build_shards(tmp_path / "documents", WideTokenizer(), tmp_path / "shards")
    assert small.open()["a"].tokens.dtype == np.uint16
    assert large.open()["a"].tokens.dtype == np.uint32
    assert large.open()["a"].tokens.tolist() == [69_999, *"ação".encode()]


def test_the_description_says_what_the_file_holds(make_shards):
    index = make_shards(a=["ação", "b"])
    description = read_json(index.folder / "a" / "train.json")
    data = (index.folder / "a" / "train.bin").read_bytes()
    assert description["tokens"] == len(data) // 2 == 9
    assert (description["documents"], description["bytes"], description["tokenizer"]) == (2, 7, "bytes")
    assert description["sha256"] == hashlib.sha256(data).hexdigest()
    assert index.tokens("train") == index.tokens("validation") == 9


def test_an_equal_build_is_reused_and_another_tokenizer_gets_its_own(make_shards, tmp_path):
    first = make_shards(a=["abc"])
    written = (first.folder / "a" / "train.bin").stat().st_mtime_ns
    again = build_shards(tmp_path / "documents", ByteTokenizer(), tmp_path / "shards")
    assert again == first and (again.folder / "a" / "train.bin").stat().st_mtime_ns == written
    other = build_shards(tmp_path / "documents", WideTokenizer(), tmp_path / "shards")
    assert other.folder != first.folder


def test_a_build_that_breaks_off_leaves_nothing_that_looks_finished(tmp_path):
    class Breaks(ByteTokenizer):
        def encode_batch(self, texts):
            raise KeyboardInterrupt

    documents = write_documents(tmp_path / "documents", {"a": ["abc"]})
    with pytest.raises(KeyboardInterrupt):
        build_shards(documents, Breaks(), tmp_path / "shards")
    assert list((tmp_path / "shards").iterdir()) == []


def test_progress_counts_up_to_the_whole(tmp_path):
    documents = write_documents(tmp_path / "documents", {"a": ["abc"], "b": ["defg"]})
    calls = []
    build_shards(documents, ByteTokenizer(), tmp_path / "shards", lambda done, total: calls.append((done, total)))
    assert calls == [(3, 14), (6, 14), (10, 14), (14, 14)]


def test_a_cut_file_is_refused_by_name(make_shards):
    index = make_shards(a=["abcdef"])
    path = index.folder / "a" / "train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"train\.bin has 12 bytes where 14 belong"):
        TokenShards(index.folder / "a", "train")
    path.unlink()
    with pytest.raises(UserError, match=r"train\.bin is missing"):
        load_shards(index.folder).open()


def test_a_folder_without_documents_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"card\.json is not there"):
        build_shards(tmp_path, ByteTokenizer(), tmp_path / "shards")


def test_damaged_documents_are_refused(tmp_path):
    documents = write_documents(tmp_path / "documents", {"a": ["abc"]})
    (documents / "a" / "train.parquet").write_bytes(b"no parquet")
    write_json(documents / "card.json", {"fingerprint": "x", "sources": {"a": {"bytes": 6}}})
    with pytest.raises(UserError, match=r"train\.parquet is missing or damaged"):
        build_shards(documents, ByteTokenizer(), tmp_path / "shards")
