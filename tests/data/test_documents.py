"""From sources to Parquet: split, card, reuse, refusals, constant memory."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from plutao.data.documents import build_documents
from plutao.data.sample import sample_texts, validation_texts
from plutao.data.settings import DataSettings, Source
from plutao.data.store import read_parts
from plutao.errors import UserError


def settings(**values) -> DataSettings:
    values.setdefault("sources", (Source(name="s", path="texts"),))
    return DataSettings(**values)


def write_texts(root: Path, **texts: str) -> None:
    (root / "texts").mkdir(exist_ok=True)
    for name, text in texts.items():
        (root / "texts" / f"{name}.txt").write_bytes(text.encode())


def write_rows(root: Path, texts: list[str]) -> None:
    (root / "texts").mkdir(exist_ok=True)
    rows = "".join(json.dumps({"text": text, "id": f"r{number}"}) + "\n" for number, text in enumerate(texts))
    (root / "texts" / "rows.jsonl").write_text(rows, encoding="utf-8")


def texts_of(folder: Path, split: str, source: str = "s") -> dict[str, str]:
    texts: dict[str, str] = {}
    for part in read_parts(folder / source / f"{split}.parquet"):
        texts[part.id] = texts.get(part.id, "") + part.text
    return texts


def test_documents_are_split_whole_and_none_is_lost_or_doubled(tmp_path):
    texts = [f"document {number} " * (1 + number % 7) for number in range(400)]
    write_rows(tmp_path, texts)
    card = build_documents(settings(validation=0.1), 1, tmp_path, tmp_path / "out")
    train, validation = texts_of(card.folder, "train"), texts_of(card.folder, "validation")
    assert not train.keys() & validation.keys()
    assert train | validation == {f"r{number}": text for number, text in enumerate(texts)}
    source = card.sources["s"]
    assert source.validation.bytes == pytest.approx(0.1 * source.bytes, rel=0.02)
    assert source.train.documents + source.validation.documents == source.documents == 400
    assert source.bytes == source.characters == sum(map(len, texts))


def test_the_split_depends_on_the_seed_alone(tmp_path):
    write_rows(tmp_path, [f"document {number}" for number in range(100)])
    chosen = [
        set(texts_of(build_documents(settings(), seed, tmp_path, tmp_path / out).folder, "validation"))
        for seed, out in ((1, "a"), (1, "b"), (2, "c"))
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_two_documents_of_unequal_length_keep_the_short_one_aside(tmp_path):
    write_texts(tmp_path, long="long " * 1000, short="short")
    card = build_documents(settings(), 1, tmp_path, tmp_path / "out")
    assert list(texts_of(card.folder, "validation")) == ["short.txt"]


def test_one_document_can_only_be_split_by_its_tail(tmp_path):
    write_texts(tmp_path, only="0123456789" * 20)
    with pytest.raises(UserError, match=r"Source 's' is a single document.*set data.split = \"tail\""):
        build_documents(settings(), 1, tmp_path, tmp_path / "out")
    card = build_documents(settings(split="tail", validation=0.1), 1, tmp_path, tmp_path / "out")
    assert texts_of(card.folder, "train") == {"only.txt": "0123456789" * 18}
    assert texts_of(card.folder, "validation") == {"only.txt": "0123456789" * 2}


def test_the_tail_of_a_long_document_is_exact_across_its_parts(tmp_path):
    text = "".join(f"linha número {number}\n" for number in range(200_000))  # four parts
    write_texts(tmp_path, long=text, short="abcdefghij")
    card = build_documents(settings(split="tail", validation=0.3), 1, tmp_path, tmp_path / "out")
    cut = int(len(text) * 0.7)
    assert texts_of(card.folder, "train") == {"long.txt": text[:cut], "short.txt": "abcdefg"}
    assert texts_of(card.folder, "validation") == {"long.txt": text[cut:], "short.txt": "hij"}
    for split in ("train", "validation"):
        numbers = [part.part for part in read_parts(card.folder / "s" / f"{split}.parquet") if part.id == "long.txt"]
        assert numbers == list(range(len(numbers)))
    assert [document.text for document in validation_texts(card.folder)] == [text[cut:], "hij"]


@pytest.mark.real_data
def test_the_last_tenth_of_tiny_shakespeare_is_what_the_field_measures_on(tmp_path, real_data):
    source = Source(name="s", corpus="tinyshakespeare")
    card = build_documents(settings(sources=(source,), split="tail", validation=0.1), 1, tmp_path, tmp_path / "out")
    assert card.sources["s"].train.characters == 1_003_854
    assert card.sources["s"].validation.characters == 111_540
    assert card.sources["s"].languages == {"en": 1.0}
    text = (real_data / "pretrain" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    assert "".join(document.text for document in validation_texts(card.folder)) == text[1_003_854:]


def test_the_card_tells_languages_licences_and_what_was_skipped(tmp_path):
    rows = [{"text": "a" * 30, "language": "pt", "license": "CC0-1.0"}, {"text": "b" * 10}, {"text": ""}, {"no": 1}]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "texts" / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "texts" / "cut.txt.gz").write_bytes(gzip.compress(b"words" * 99)[:-9])
    source = Source(name="s", path="texts", language="en", license="mine")
    card = build_documents(settings(sources=(source,), bad_rows="skip"), 1, tmp_path, tmp_path / "out").sources["s"]
    assert card.languages == {"pt": 0.75, "en": 0.25}
    assert card.licenses == {"CC0-1.0": 0.75, "mine": 0.25}
    assert card.skipped == {"no text": 1, "no text field": 1, "not a text file": 1, "damaged archive": 1}
    assert (card.files, card.documents, card.bytes) == (3, 2, 40)
    assert any("photo.png" in example for example in card.skipped_examples)


def test_a_file_that_is_no_text_is_refused_before_anything_is_written(tmp_path):
    write_texts(tmp_path, a="one", b="two")
    (tmp_path / "texts" / "c.txt").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(
        UserError, match=r'c\.txt is a PNG image, not text\. Move it away, or set data\.bad_rows = "skip"'
    ):
        build_documents(settings(), 1, tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_files_without_a_word_are_said_to_be_empty(tmp_path):
    write_texts(tmp_path, a="", b=" \n")
    with pytest.raises(UserError, match=r"Source 's' has no text \(2 × no text\)"):
        build_documents(settings(), 1, tmp_path, tmp_path / "out")


def test_a_recipe_without_sources_says_how_to_add_them(tmp_path):
    with pytest.raises(UserError, match="plutao data add"):
        build_documents(DataSettings(), 1, tmp_path, tmp_path / "out")


def test_an_equal_build_is_reused_and_a_change_of_text_or_settings_makes_another(tmp_path):
    write_texts(tmp_path, a="one " * 50, b="two " * 50)
    first = build_documents(settings(), 1, tmp_path, tmp_path / "out")
    stamp = (first.folder / "card.json").stat().st_mtime_ns
    assert build_documents(settings(), 1, tmp_path, tmp_path / "out") == first
    weighed = settings(sources=(Source(name="s", path="./texts", weight=2),))
    assert build_documents(weighed, 1, tmp_path, tmp_path / "out") == first
    assert (first.folder / "card.json").stat().st_mtime_ns == stamp
    write_texts(tmp_path, a="One " * 50)
    second = build_documents(settings(), 1, tmp_path, tmp_path / "out")
    third = build_documents(settings(validation=0.4), 1, tmp_path, tmp_path / "out")
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3
    assert texts_of(first.folder, "train") != texts_of(second.folder, "train") or texts_of(
        first.folder, "validation"
    ) != texts_of(second.folder, "validation")


def test_progress_never_goes_back_and_ends_at_the_whole(tmp_path):
    write_rows(tmp_path, ["text " * 30] * 200)
    seen = []
    build_documents(settings(), 1, tmp_path, tmp_path / "out", lambda done, total: seen.append((done, total)))
    size = (tmp_path / "texts" / "rows.jsonl").stat().st_size
    done = [value for value, _ in seen]
    assert done == sorted(done) and done[-1] == size and {total for _, total in seen} == {size}


def test_a_sample_for_the_tokenizer_is_drawn_from_the_whole_mix_by_weight(tmp_path):
    (tmp_path / "texts").mkdir()
    for name, letter in (("large", "L"), ("small", "s")):
        rows = [letter * 1000 for _ in range(3000 if name == "large" else 300)]
        (tmp_path / "texts" / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows))
    sources = tuple(Source(name=name, path=f"texts/{name}.jsonl") for name in ("large", "small"))
    folder = build_documents(settings(sources=sources), 1, tmp_path, tmp_path / "out").folder

    def sizes(**options) -> tuple[int, int]:
        text = "".join(sample_texts(folder, **options))
        return text.count("L"), text.count("s")

    assert sizes(megabytes=0.11, seed=1) == pytest.approx((100_000, 10_000), rel=0.01)
    assert sizes(megabytes=0.1, seed=1, weights={"large": 1, "small": 1}) == pytest.approx((50_000, 50_000), rel=0.01)
    large, small = sizes(megabytes=1, seed=1, weights={"large": 1, "small": 9})
    assert small == 294_000 and large == pytest.approx(
        706_000, rel=0.01
    )  # all the small one has, once; the rest from the large
    assert sizes(megabytes=99, seed=1) == (2_940_000, 294_000)


def test_samples_are_the_same_for_the_same_seed_and_spread_over_the_text(tmp_path):
    write_rows(tmp_path, [f"{number:06} " + "text " * 400 for number in range(20_000)])  # 40 MB: several row groups
    folder = build_documents(settings(), 1, tmp_path, tmp_path / "out").folder
    one, same, other = (list(sample_texts(folder, 0.5, seed)) for seed in (3, 3, 4))
    assert one == same != other
    numbers = [int(text[:6]) for text in one if text[:6].isdigit()]
    assert min(numbers) < 5_000 and max(numbers) > 15_000


def test_a_limited_look_at_validation_takes_beginnings_of_many_documents(tmp_path):
    write_rows(tmp_path, [f"{number:03} " * 500 for number in range(200)])
    folder = build_documents(settings(validation=0.3), 1, tmp_path, tmp_path / "out").folder
    texts = [document.text for document in validation_texts(folder, limit=8000)]
    assert len(texts) == 16 and sum(map(len, texts)) == pytest.approx(8000, rel=0.01)
    whole = [document.text for document in validation_texts(folder)]
    assert all(text == full[: len(text)] for text, full in zip(texts, whole, strict=False))


MEASURE = """
import resource, sys
from pathlib import Path
from plutao.data.documents import build_documents
from plutao.data.sample import sample_texts
from plutao.data.settings import DataSettings, Source
from plutao.data.shards import build_shards

class Letters:
    vocabulary_size, end_of_text, fingerprint = 257, 256, "letters"
    def encode_batch(self, texts):
        return [[ord(letter) & 127 for letter in text[::4]] for text in texts]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

root, growth = Path(sys.argv[1]), []
for name in ("small", "large"):
    settings = DataSettings(sources=(Source(name="s", path=name),), split="tail", validation=0.1)
    card = build_documents(settings, 1, root, root / "out" / name)
    build_shards(card.folder, Letters(), root / "shards")
    assert sum(len(text) for text in sample_texts(card.folder, 5, 1)) > 4e6
    growth.append(peak())
print(card.bytes, growth[1] - growth[0])
"""


def test_ten_times_the_text_needs_no_more_memory(tmp_path):
    line = "Constant memory: what is read is written before more is read; nothing is kept but counts.\n"
    for name, megabytes in (("small", 6), ("large", 60)):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "one.txt").open("w") as file:
            for number in range(int(megabytes * 1e6 / 2) // len(line)):
                file.write(f"{number % 10}{line[1:]}")
        with gzip.open(tmp_path / name / "rows.jsonl.gz", "wt", compresslevel=1) as file:
            for number in range(int(megabytes * 1e6 / 2) // 900):
                file.write(json.dumps({"id": number, "text": line * 10}) + "\n")
    output = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path], check=True, capture_output=True, text=True
    ).stdout
    size, growth = output.split()
    assert int(size) > 55e6
    assert float(growth) < 60, f"{growth} MB more for ten times the text"


def test_a_world_writes_its_own_documents_in_its_languages(tmp_path):
    source = Source(name="w", world="solar", megabytes=0.3)
    card = build_documents(settings(sources=(source,)), 1, tmp_path, tmp_path / "out").sources["w"]
    assert card.bytes == pytest.approx(300_000, rel=0.1)
    assert set(card.languages) == {"pt", "en"} and card.licenses == {"Apache-2.0": 1.0}
    with pytest.raises(UserError, match="no world called 'sollar'"):
        wrong = settings(sources=(Source(name="w", world="sollar"),))
        build_documents(wrong, 1, tmp_path, tmp_path / "out")
