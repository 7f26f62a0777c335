"""N-grams are counted exactly, whatever the size of the pieces, in memory that the text does not decide."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from counted import END, VOCABULARY, counted, documents, ngrams_of, plainly

from plutao.train.columns import Column, gather, merge, ranks
from plutao.train.ngram_counts import TokenStream


@pytest.mark.parametrize("megabytes", [256.0, 0.001])
def test_counts_equal_those_of_a_plain_dictionary(tmp_path: Path, megabytes: float) -> None:
    texts = documents(200)
    counts = counted(texts, tmp_path, 5, megabytes)
    if megabytes < 1:
        assert counts.piece < sum(map(len, texts)) / 4, "so that pieces have to be merged"
    there, wanted = ngrams_of(counts), plainly(texts, 5)
    assert [
        n for n, table in enumerate(wanted, 1) if n > 1 and dict.fromkeys(there[n - 1]) != dict.fromkeys(sorted(table))
    ] == []
    for n in range(1, 6):
        found = counts.table(n).counts.read(0, 1 << 30).tolist()
        assert {ngram: times for ngram, times in zip(there[n - 1], found, strict=True) if times} == dict(wanted[n - 1])


def test_adjusted_counts_are_the_different_tokens_in_front(tmp_path: Path) -> None:
    texts = documents(100)
    counts = counted(texts, tmp_path, 4, megabytes=0.001)
    there, plain = ngrams_of(counts), plainly(texts, 4)
    for n in range(1, 4):
        in_front = Counter(ngram[1:] for ngram in plain[n])
        for ngram, adjusted in zip(there[n - 1], counts.table(n).adjusted.read(0, 1 << 30).tolist(), strict=True):
            begins = n > 1 and ngram[0] == END  # nothing stands in front of the beginning of a text
            assert adjusted == (plain[n - 1][ngram] if begins else in_front[ngram])


def test_each_ngram_knows_its_suffix(tmp_path: Path) -> None:
    counts = counted(documents(50), tmp_path, 4, megabytes=0.001)
    there = ngrams_of(counts)
    for n in range(2, 5):
        suffixes = counts.table(n).suffixes.read(0, 1 << 30).tolist()
        assert [there[n - 2][place] for place in suffixes] == [ngram[1:] for ngram in there[n - 1]]


def test_a_stream_ends_a_text_and_may_be_cut(tmp_path: Path) -> None:
    stream = TokenStream([np.array([END, 5, 6], np.uint16), np.array([END, 7], np.uint16)], END)
    assert stream.read(0, 99).tolist() == [END, 5, 6, END, 7, END]
    assert stream.read(2, 5).tolist() == [6, END, 7]
    assert TokenStream(stream.arrays, END, limit=2).read(0, 99).tolist() == [END, 5, END]


def test_columns_are_joined_by_pieces(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    numbers = np.sort(chance.choice(100_000, 5_000, replace=False)).astype(np.uint64)
    column = Column.empty(tmp_path / "column", "<u8")
    column.append(numbers)
    places = chance.integers(0, 5_000, 2_000)
    assert (gather(column, places, 64) == numbers[places]).all()
    assert (ranks(column, numbers[::7], 64) == np.arange(5_000)[::7]).all()
    runs = []
    for number in range(5):
        part = np.unique(chance.integers(0, 3_000, 1_000)).astype(np.uint64)
        run = Column.empty(tmp_path / f"run.{number}", "<u8"), Column.empty(tmp_path / f"times.{number}", "<u4")
        run[0].append(part)
        run[1].append(np.full(len(part), number + 1))
        runs.append(run)
    keys, times = Column.empty(tmp_path / "keys", "<u8"), Column.empty(tmp_path / "times", "<u4")
    merge(runs, keys, times, 128)
    wanted = Counter[int]()
    for number, (part, _) in enumerate(runs):
        wanted.update(dict.fromkeys(part.read(0, 1 << 30).tolist(), number + 1))
    assert dict(zip(keys.read(0, 1 << 30).tolist(), times.read(0, 1 << 30).tolist(), strict=True)) == dict(wanted)
    assert keys.read(0, 1 << 30).tolist() == sorted(wanted)


PROGRAM = """
import sys, tempfile
from pathlib import Path
import numpy as np
from plutao.train.kneser_ney import estimate
from plutao.train.ngram_counts import TokenStream, count
tokens = np.random.default_rng(0).zipf(1.3, 1_500_000) % 4000
def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = most()
with tempfile.TemporaryDirectory() as folder:
    counts = count(TokenStream([tokens.astype(np.uint16)], 0), 3, 4000, Path(folder), float(sys.argv[1]))
    estimate(counts, Path(folder))
    size = sum(file.stat().st_size for file in Path(folder).iterdir())
print(most() - before, size // 1024)
"""


def test_memory_is_bounded_by_the_setting_and_not_by_the_text() -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("only Linux tells how much memory a process took at the most")
    taken = {}
    for megabytes in (12, 400):
        program = [sys.executable, "-c", PROGRAM, str(megabytes)]
        found = subprocess.run(program, capture_output=True, text=True, check=True, timeout=300)
        taken[megabytes], on_disk = map(int, found.stdout.split())
    assert taken[12] < 16_000, "kB: twelve megabytes, and some for the program itself"
    assert on_disk > 2 * taken[12], "what was worked on is larger than what it took"
    assert taken[400] > 2 * taken[12], "given more, it takes more: the measure can tell"


def test_the_vocabulary_is_there_whole(tmp_path: Path) -> None:
    counts = counted([[END, 1, 2]], tmp_path, 2)
    assert len(counts.table(1)) == VOCABULARY
    assert counts.tokens == 3
