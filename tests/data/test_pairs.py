"""Sentence pairs: read from what people have, and kept aside so that nothing measured was learned."""

import gzip
import json
from pathlib import Path

import pytest

from plutao.data.pairs import Columns, Pair, key, read_pairs, read_parallel, split
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError

FRENCH = Columns("fr", "en")
EXPECTED = [("Je suis étudiant.", "I am a student."), ("Il pleut.", "It rains.")]


def found(path: Path, columns: Columns = FRENCH, policy: str = "refuse") -> list[tuple[str, str]]:
    bad = BadRows(policy)  # type: ignore[arg-type]
    return [(pair.source, pair.target) for pair in read_pairs(path, "some", columns, bad)]


def test_tables_of_every_kind_are_read(tmp_path: Path) -> None:
    rows = [{"fr": fr, "en": en} for fr, en in EXPECTED]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.csv").write_text("id,fr,en\n" + "".join(f"1,{fr},{en}\n" for fr, en in EXPECTED), encoding="utf-8")
    named = "en\tfr\n" + "".join(f"{en}\t{fr}\n" for fr, en in EXPECTED)
    (tmp_path / "d.tsv").write_text(named, encoding="utf-8")
    for name in ("a.jsonl", "b.jsonl.gz", "c.csv", "d.tsv"):
        assert found(tmp_path / name) == EXPECTED, name
    assert found(tmp_path) == [*EXPECTED[:], *EXPECTED, *EXPECTED, *EXPECTED]


def test_tatoeba_s_own_table_has_no_names_and_is_read_by_number(tmp_path: Path) -> None:
    text = "".join(f"{en}\t{fr}\tCC-BY 2.0 (France) Attribution: tatoeba.org\n" for fr, en in EXPECTED)
    (tmp_path / "fra.txt").write_text(text, encoding="utf-8")
    assert found(tmp_path / "fra.txt", Columns("2", "1")) == EXPECTED
    with pytest.raises(UserError, match=r"fra.txt, row 1 has no text in 'fr' \(it has: 1, 2, 3\): name the columns"):
        found(tmp_path / "fra.txt")


def test_two_files_whose_lines_go_together(tmp_path: Path) -> None:
    one, other = tmp_path / "train.fr", tmp_path / "train.en"
    one.write_text("Je  suis étudiant.\n\nIl pleut.\n", encoding="utf-8")
    other.write_text("I am a student.\nNothing.\r\nIt rains.", encoding="utf-8")
    bad = BadRows("refuse")
    assert [(p.source, p.target) for p in read_parallel(one, other, "some", bad)] == EXPECTED
    assert bad.counts == {"no text": 1}
    other.write_text("I am a student.\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"train.fr has more lines than .*train.en \(1\)"):
        list(read_parallel(one, other, "some", bad))


def test_a_row_without_both_sentences_is_named_or_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"fr": "Oui.", "en": "Yes."}\n{"fr": "Non.", "de": "Nein."}\n')
    with pytest.raises(UserError, match=r"a.jsonl, row 2 has no text in 'en' \(it has: fr, de\)"):
        found(tmp_path / "a.jsonl")
    assert found(tmp_path / "a.jsonl", policy="skip") == [("Oui.", "Yes.")]


# ----------------------------------------------------------------------------------------------------------- kept aside


def collection() -> list[Pair]:
    """Every sentence with two translations, each of which translates two sentences; some pairs twice."""
    pairs = [Pair(f"phrase {n}", f"sentence {n}.", "one") for n in range(400)]
    pairs += [Pair(f"Phrase {n}!", f"Another sentence {n}", "two") for n in range(400)]
    return pairs + pairs[:50]


def test_no_sentence_that_is_kept_aside_is_learned_in_whatever_writing() -> None:
    parts = split(collection(), validation=20, test=40, seed=1)
    assert (len(parts.validation), len(parts.test)) == (20, 40)
    aside = {key(text) for pair in [*parts.validation, *parts.test] for text in (pair.source, pair.target)}
    assert not any({key(pair.source), key(pair.target)} & aside for pair in parts.train)
    assert len(aside) == 2 * 60  # nothing is measured twice
    assert parts.twins == 60 and len(parts.train) == 800 - 60 - 60


def test_the_split_depends_on_the_seed_alone() -> None:
    pairs = collection()
    one = split(pairs, 20, 40, seed=1)
    assert split(pairs[::-1], 20, 40, seed=1).test == one.test
    assert split(pairs, 20, 40, seed=2).test != one.test


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(UserError, match="19 different sentence pairs, too few"):
        split([Pair(str(n), f"n{n}", "one") for n in range(19)], 5, 5, seed=1)
    small = split([Pair(f"a{n}", f"b{n}", "one") for n in range(40)], 500, 1000, seed=1)
    assert (len(small.validation), len(small.test), len(small.train)) == (2, 4, 34)


@pytest.mark.real_data
def test_tatoeba_is_read_whole(real_data: Path) -> None:
    pairs = list(read_pairs(real_data / "translation" / "tatoeba_en_fr.jsonl.gz", "tatoeba", FRENCH, BadRows("refuse")))
    assert len(pairs) == 167_130
    parts = split(pairs, 500, 1000, seed=1)
    assert len(parts.validation) == 500 and len(parts.test) == 1000 and len(parts.train) > 150_000
