"""Reading people's files: kinds, compressions, encodings, and what is refused."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from plutao.data.settings import Source
from plutao.data.sources.find import Found, find_files
from plutao.data.sources.inspect import inspect_file
from plutao.data.sources.rows import BadRows, read_file
from plutao.data.store import PART_CHARACTERS
from plutao.errors import UserError

TEXT = "Plutão é um planeta anão.\r\nDescoberto em 1930.\n\nFim – “cœur”, naïve, ação, coração, você.\n"
SOURCE = Source(name="s", path="x")


def read(path: Path, source: Source = SOURCE, policy: str = "refuse") -> tuple[list[str], BadRows]:
    """All texts of a file, after looking at it."""
    found = Found(path, path.name)
    facts = inspect_file(found, source.encoding)
    assert not facts.problem, facts.problem
    bad = BadRows(policy)  # type: ignore[arg-type]
    return [part.text for part, _ in read_file(found, facts.encoding, source, bad)], bad


def problem(path: Path, encoding: str | None = None) -> str:
    return inspect_file(Found(path, path.name), encoding).problem


def write_all_kinds(folder: Path) -> None:
    jsonl = json.dumps({"text": TEXT}, ensure_ascii=False) + "\n"
    pq.write_table(pa.table({"text": [TEXT]}), folder / "plain.parquet")
    contents = {"a.txt": TEXT.encode(), "b.md": TEXT.encode(), "c.jsonl": jsonl.encode()}
    contents["d.parquet"] = (folder / "plain.parquet").read_bytes()
    (folder / "plain.parquet").unlink()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        half = len(content) // 2  # a .zst may hold several frames
        packed = [zstandard.ZstdCompressor().compress(piece) for piece in (content[:half], content[half:])]
        (folder / f"{name}.zst").write_bytes(b"".join(packed))


def test_every_kind_and_compression_gives_the_text_back_with_its_line_ends(tmp_path):
    write_all_kinds(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 12
    for file in files:
        assert read(file)[0] == [TEXT], file.name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings_are_found_out(tmp_path, encoding):
    for name, content in {"a.txt": TEXT * 40, "a.jsonl": json.dumps({"text": TEXT * 40}, ensure_ascii=False)}.items():
        (tmp_path / name).write_bytes(content.encode(encoding))
        assert read(tmp_path / name)[0] == [TEXT * 40]


def test_an_encoding_named_in_the_recipe_is_used(tmp_path):
    (tmp_path / "a.txt").write_bytes("coração".encode("cp850"))
    named = Source(name="s", path="x", encoding="cp850")
    assert read(tmp_path / "a.txt", named)[0] == ["coração"]
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfd")
    assert "not valid ascii: byte 0xFF in line 1" in problem(tmp_path / "b.txt", "ascii")


def test_latin_text_that_turns_up_late_in_a_file_is_still_found(tmp_path):
    (tmp_path / "a.txt").write_bytes(
        b"plain words\n" * 150_000 + ("às três, não há ninguém à mão; " * 30).encode("latin-1")
    )
    assert read(tmp_path / "a.txt")[0][-1].endswith("não há ninguém à mão; ")


def test_utf8_with_a_broken_byte_is_called_damaged_and_not_taken_for_latin_1(tmp_path):
    (tmp_path / "a.txt").write_bytes("ação e coração\n".encode() * 9 + b"a\xe7\xe3o\n")
    assert "not valid UTF-8: byte 0xE7 in line 10" in problem(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"\x89PNG\r\n\x1a\n....", "is a PNG image, not text"),
        ("b.txt", b"words and\x00zeros" * 3, "not text: it has a zero byte at byte 10"),
        ("c.txt", gzip.compress(b"words", mtime=0), "gzip data without .gz in its name"),
        ("d.txt.gz", gzip.compress(b"words" * 1000, mtime=0)[:-12], "damaged"),
        ("e.txt.gz", b"plain words", "damaged: Not a gzipped file"),
        ("f.txt.zst", zstandard.ZstdCompressor().compress(bytes(range(256)) * 9)[:-9], "middle of a zstandard frame"),
        ("g.txt.zst", b"plain words", "damaged"),
        ("photo.png", b"x", r"photo.png (.png) is none of .txt .md .jsonl .parquet"),
        ("README", b"x", "(without an ending)"),
        ("h.parquet.gz", gzip.compress(b"PAR1" * 99, mtime=0)[:-9], "damaged"),
    ],
)
def test_what_is_not_readable_text_is_named(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    assert says in problem(tmp_path / name)


ROWS = {
    "not json": ("not JSON", "row 2 is not valid JSON"),
    '["a"]': ("not an object", r"row 2 is not an object"),
    '{"body": "x", "id": 1}': ("no text field", "row 2 has no field 'text'; it has 'body', 'id'"),
    '{"text": 12}': ("text not a string", "row 2: field 'text' holds a number, not text"),
    '{"text": null}': ("text not a string", "row 2: field 'text' holds nothing"),
    '{"text": "\\ud83d"}': ("half a character", "row 2: field 'text' holds half of a character"),
}


@pytest.mark.parametrize("line", ROWS)
def test_a_bad_row_is_refused_by_file_and_number_or_counted_if_asked(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "one"}}\n{line}\n\n{{"text": "two"}}\n', encoding="utf-8")
    kind, message = ROWS[line]
    with pytest.raises(UserError, match=f"a.jsonl, {message}"):
        read(path)
    texts, bad = read(path, policy="skip")
    assert texts == ["one", "two"]
    assert bad.counts == {kind: 1}
    assert str(path) in bad.examples[0]


def test_a_row_that_is_not_utf8_is_named(tmp_path):
    good = json.dumps({"text": "ação, coração, não"}, ensure_ascii=False).encode() + b"\n"
    (tmp_path / "a.jsonl").write_bytes(good * 5 + b'{"text": "a\xe7\xe3o"}\n' + good)
    with pytest.raises(UserError, match=r"a\.jsonl, row 6 is not valid utf-8 \(byte 0xE7\)"):
        read(tmp_path / "a.jsonl")
    texts, bad = read(tmp_path / "a.jsonl", policy="skip")
    assert len(texts) == 6 and bad.counts == {"invalid encoding": 1}


def test_rows_without_text_are_only_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": "a"}\n{"text": " \\n"}\n', encoding="utf-8")
    texts, bad = read(tmp_path / "a.jsonl")
    assert texts == ["a"] and bad.counts == {"no text": 2}


def test_fields_are_mapped_and_rows_without_names_are_named_by_place(tmp_path):
    rows = [{"body": "um", "key": 7, "lang": "pt", "license": "CC0-1.0"}, {"body": "two"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in rows[0]}), tmp_path / "a.parquet")
    source = Source(name="s", path="x", text_field="body", id_field="key", language_field="lang")
    for name, encoding in (("a.jsonl", "utf-8"), ("a.parquet", "")):
        found = Found(tmp_path / name, name)
        parts = [part for part, _ in read_file(found, encoding, source, BadRows("refuse"))]
        assert [(part.id, part.text, part.language, part.license) for part in parts] == [
            ("7", "um", "pt", "CC0-1.0"),
            (f"{name}:2", "two", "", ""),
        ]


def test_a_parquet_file_without_the_column_says_which_it_has(tmp_path):
    pq.write_table(pa.table({"content": ["x"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"no column 'text'; it has content, n. Set text_field"):
        read(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(UserError, match=r"b\.parquet is not a whole Parquet file"):
        read(tmp_path / "b.parquet")


@pytest.mark.parametrize("unit", ["Uma linha de prosa, nem longa nem curta.\n", "palavra ", "x", "\n", "a\r\n"])
def test_a_long_text_is_read_in_parts_that_are_the_text(tmp_path, unit):
    text = unit * (2_500_000 // len(unit))
    (tmp_path / "a.txt").write_bytes(("y" + text).encode())
    parts = read(tmp_path / "a.txt")[0]
    assert "".join(parts) == "y" + text
    assert len(parts) >= 3 and max(map(len, parts)) <= PART_CHARACTERS
    if unit.startswith("Uma"):
        assert all(part.endswith("\n") for part in parts)


def test_a_folder_means_all_its_files_but_hidden_ones_in_order(tmp_path):
    tmp_path = tmp_path / "with [brackets]"
    for name in ("b.txt", "a/z.txt", "a/deep/c.md", ".hidden.txt", ".git/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [file.name for file in find_files(".", tmp_path)] == ["a/deep/c.md", "a/z.txt", "b.txt"]
    assert [file.name for file in find_files("a/**/*.md", tmp_path)] == ["deep/c.md"]
    assert [file.name for file in find_files("*/*.txt", tmp_path)] == ["a/z.txt"]
    assert [file.name for file in find_files(str(tmp_path / "b.txt"), Path("/"))] == ["b.txt"]


@pytest.mark.parametrize(
    ("path", "says"), [("nowhere", "is not there"), ("*.txt", "matches no file"), ("empty", "has no files")]
)
def test_nothing_to_read_is_said(tmp_path, path, says):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=says):
        find_files(path, tmp_path)
