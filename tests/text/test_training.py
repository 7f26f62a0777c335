"""A vocabulary is learned from a stream of texts: the same each time, of the size asked, with a plain word where it can't be."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from plutao.errors import UserError
from plutao.text.tokenizer import Tokenizer, train

PROGRAM = """
import random, sys
from plutao.text.tokenizer import train
draw = random.Random(3)
syllables = ["so", "lu", "ter", "ra", "ão", "pla", "ne", "ta", "é", "x1", "ção", "the", "ing"]
texts = ["".join(draw.choice(syllables) + draw.choice(["", "", " ", ", ", "\\n"]) for _ in range(200)) for _ in range(60)]
print(train(sys.argv[1], texts, int(sys.argv[2])).fingerprint)
"""


@pytest.mark.parametrize(
    ("kind", "size"), [("bpe", 500), ("wordpiece", 300), ("unigram", 200), ("word", 500), ("char", 99)]
)
def test_the_same_texts_give_the_same_tokenizer_in_every_process(kind: str, size: int) -> None:
    runs = [
        subprocess.run([sys.executable, "-c", PROGRAM, kind, str(size)], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert len({run.stdout for run in runs}) == 1


def test_bpe_learns_the_commonest_pair_first() -> None:
    """Sennrich et al. 2016, figure 1, whose first two merges are "e s" and "es t" (here without the end-of-word sign)."""
    words = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
    bpe = train("bpe", words, 16 + 256 + 2)
    assert [bpe.token_text(token) for token in (272, 273)] == ["es", "est"]


def test_bpe_cuts_as_qwen2_does() -> None:
    """Digits one by one, a blank goes with its word, contractions apart, and no merge goes over a cut."""
    bpe = train("bpe", ["it's 1234 days, it's 1234 nights;  it's\n\n"] * 30, 286)
    pieces = [bpe.token_text(token) for token in bpe.encode("it's 1234 days")]
    assert pieces == ["it", "'s", " ", "1", "2", "3", "4", " days"]


def test_char_is_one_token_a_character_with_the_commonest_first() -> None:
    char = train("char", ["aab\n", "ab\r\n"], 100)
    assert char.vocabulary_size == 16 + 4, "the vocabulary is an upper bound"
    assert [char.token_text(token) for token in range(16, 20)] == ["a", "\n", "b", "\r"]
    few = train("char", ["aab\n", "ab\r\n"], 18)
    assert few.decode(few.encode("a\nb")) == "a\n<|unk|>"


def test_word_keeps_whole_words_and_joins_them_with_blanks() -> None:
    word = train("word", ["o sol é uma estrela. o sol!"], 16 + 7)
    assert word.decode(word.encode("o sol é\n\numa lua!")) == "o sol é uma <|unk|> !"


def test_wordpiece_writes_pieces_inside_a_word_with_two_hashes() -> None:
    wordpiece = train("wordpiece", ["planeta planetas planetinha cometa cometas"] * 20, 52)
    ids = wordpiece.encode("planetas")
    assert len(ids) < len("planetas")
    assert wordpiece.decode(ids) == "planetas"
    assert b"".join(map(wordpiece.token_bytes, ids)) == b"planetas"


def test_unigram_keeps_blanks_and_line_ends() -> None:
    unigram = train("unigram", ["o sol e a lua\ne a terra\n\n o sol"] * 20, 26)
    for text in ("o sol\n\n a lua", " a  lua\n"):
        assert unigram.decode(unigram.encode(text)) == text


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "word"])
def test_a_vocabulary_larger_than_the_text_supports_says_how_many_there_are(kind: str) -> None:
    texts = ["o sol e a lua e a terra"] * 5
    with pytest.raises(UserError, match="supports only") as refusal:
        train(kind, texts, 1000)
    size = int(str(refusal.value).split("supports only ")[1].split()[0])
    assert f"Set tokenizer.vocabulary to {size} or less" in str(refusal.value)
    assert train(kind, texts, size).vocabulary_size == size, "what the message advises works"


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_more_characters_than_the_vocabulary_holds_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match="more different characters"):
        train(kind, ["".join(map(chr, range(0x4E00, 0x4E80)))] * 3, 64)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "word", "char"])
def test_no_text_at_all_is_refused(kind: str) -> None:
    for texts in ([], ["", ""]):
        with pytest.raises(UserError, match="no text"):
            train(kind, texts, 300)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "word", "char"])
def test_an_error_of_the_source_comes_through(kind: str) -> None:
    def texts() -> Iterator[str]:
        yield "o sol"
        raise UserError("livro.txt is damaged.")

    with pytest.raises(UserError, match=r"livro\.txt is damaged"):
        train(kind, texts(), 300)


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(UserError, match="272 or more"):
        train("bpe", ["o sol"], 200)


@pytest.mark.parametrize(("kind", "size"), [("bpe", 285), ("wordpiece", 64), ("word", 1000), ("char", 99)])
def test_texts_are_read_as_a_stream_in_constant_memory(kind: str, size: int) -> None:
    """Twenty megabytes of text, never in memory at once: the process grows by far less."""
    program = (
        "import resource, sys\n"
        "from plutao.text.tokenizer import train\n"
        "train('bpe', ['o sol e a lua'] * 9, 275)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "line = 'o sol e a lua e a terra em torno dele ' * 260\n"
        "train(sys.argv[1], (line + str(n) for n in range(2000)), int(sys.argv[2]))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    command = [sys.executable, "-c", program, kind, str(size)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 15


def test_loading_needs_no_training(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tokenizer")
    train("bpe", ["o sol e a lua"] * 9, 275).save(folder)
    assert sorted(file.name for file in folder.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert Tokenizer.load(folder).encode("o sol")
