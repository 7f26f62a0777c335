"""How a vocabulary is learned from text: one function a kind, each with its cutting rule, its model and its trainer.

The book's section 2.5 walks from characters over words to sub-words; the kinds here are those stops. Texts are read
once, as a stream: what stays in memory is the count of distinct words (of characters for `char`), never the text.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from plutao.errors import UserError
from plutao.text.special import SPECIAL_TOKENS, UNKNOWN, add_special_tokens, added

BYTES = 256
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # English contractions
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # a word, with the blank or sign before it
    r"|\p{N}"  # digits one by one, so that numbers are read place by place
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # signs
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"  # line ends, and blanks but for the last before a word
)
"""Where Qwen2 cuts text before merging bytes (Yang et al. 2024); llama.cpp knows it by the name `qwen2`."""


def train_backend(kind: str, texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A `tokenizers` tokenizer of that kind; see `plutao.text.tokenizer.train`, which wraps it."""
    assert kind in TRAINERS, f"no trainer for {kind!r}"
    least = len(SPECIAL_TOKENS) + (BYTES if kind == "bpe" else 1)
    if vocabulary < least:
        raise UserError(
            f"A {kind} vocabulary of {vocabulary} has no room for its basic tokens. "
            f"Set tokenizer.vocabulary to {least} or more."
        )
    backend = TRAINERS[kind](_not_empty(texts), vocabulary)
    size = backend.get_vocab_size()
    if size > vocabulary:
        raise _too_many_characters(kind, vocabulary)
    if kind != "char" and size < vocabulary:
        raise UserError(
            f"The text supports only {size} tokens of kind {kind}, not {vocabulary}. "
            f"Set tokenizer.vocabulary to {size} or less, or add more text."
        )
    assert [backend.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    return backend


def _too_many_characters(kind: str, vocabulary: int) -> UserError:
    return UserError(
        f"The text has more different characters than a {kind} vocabulary of {vocabulary} can hold. "
        "Raise tokenizer.vocabulary, or use kind bpe, which works on bytes."
    )


def _not_empty(texts: Iterable[str]) -> Iterator[str]:
    """The texts; a UserError at the end if there was not one character in them."""
    characters = 0
    for text in texts:
        characters += len(text)
        yield text
    if not characters:
        raise UserError("There is no text to learn a tokenizer from. Add documents to the data folder.")


def _bpe(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; on bytes, Radford et al. 2019): nothing is ever unknown.

    A pair met only once is not merged: a token for it would be memory of one place, not of the language.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        initial_alphabet=alphabet,
        special_tokens=_specials(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _wordpiece(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """WordPiece (Schuster & Nakajima 2012) as in BERT: words and signs apart, pieces inside a word begin with ##.

    The library numbers the inner characters as it meets them, in a random order, by which it then chooses between
    equally common pairs. Numbering them beforehand makes the same text give the same tokens; it needs a first look at
    all characters, for which the texts wait in a temporary file.
    """
    words = pre_tokenizers.BertPreTokenizer()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as waiting:
        characters: set[str] = set()
        for text in texts:
            characters.update(text)
            waiting.write(json.dumps(text) + "\n")
        waiting.seek(0)
        inner = ["##" + one for one in sorted(characters) if len(words.pre_tokenize_str(f"a{one}a")) == 1]
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocabulary, min_frequency=2, special_tokens=[*_specials(), *inner], show_progress=False
        )
        learner = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        learner.pre_tokenizer = words
        learner.train_from_iterator((json.loads(line) for line in waiting), trainer)
    backend = Tokenizer(models.WordPiece(learner.get_vocab(), unk_token=UNKNOWN))
    backend.pre_tokenizer = words
    backend.decoder = decoders.WordPiece(cleanup=False)
    add_special_tokens(backend)
    return backend


def _unigram(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Unigram (Kudo 2018): starts from too many pieces and drops those whose loss costs least; blanks are written ▁.

    Line ends and "<" stand alone. The model's table holds the special tokens with the best of scores: without the cut
    at "<", a special token typed in the text would be taken for the real one.
    """
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="never"),
            pre_tokenizers.Split(Regex(r"[<\n]"), behavior="isolated"),
        ]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary, unk_token=UNKNOWN, special_tokens=_specials(), show_progress=False
    )
    try:
        backend.train_from_iterator(texts, trainer)
    except UserError:
        raise
    except Exception as error:  # what `tokenizers` raises has no narrower type
        raise _too_many_characters("unigram", vocabulary) from error
    _settle(backend)
    return backend


def _settle(backend: Tokenizer) -> None:
    """Takes chance out of a Unigram model's scores, so that the same texts give the same tokenizer.

    The library adds scores up in a random order, which moves the fifteenth digit, and lines up the characters that
    pruning dropped just above the lowest score, also in a random order: they all get that lowest score here.
    """
    model = json.loads(backend.to_str())["model"]
    specials, pieces = model["vocab"][: len(SPECIAL_TOKENS)], model["vocab"][len(SPECIAL_TOKENS) :]
    lowest = min((score for _, score in pieces), default=0.0)
    queue_end = lowest + 0.0001 * sum(len(piece) == 1 for piece, _ in pieces)
    settled = [
        (piece, round(lowest if len(piece) == 1 and score <= queue_end else score, 6)) for piece, score in pieces
    ]
    settled.sort(key=lambda entry: (-entry[1], entry[0]))
    backend.model = models.Unigram([*map(tuple, specials), *settled], model["unk_id"], byte_fallback=False)


def _word(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Whole words and runs of signs, the commonest first; every other word is unknown (the book's section 2.5)."""
    backend = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=_specials(), show_progress=False)
    backend.train_from_iterator(texts, trainer)
    return backend


def _char(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """One token per character, the commonest first: byte-pair encoding's table before its first merge."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    by_count = sorted(counts, key=lambda character: (-counts[character], character))
    tokens = [*SPECIAL_TOKENS, *by_count[: vocabulary - len(SPECIAL_TOKENS)]]
    table = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(table, [], unk_token=UNKNOWN, fuse_unk=False))
    backend.decoder = decoders.Fuse()
    add_special_tokens(backend)
    return backend


def _specials() -> list[object]:
    return [added(token) for token in SPECIAL_TOKENS]


TRAINERS: dict[str, Callable[[Iterable[str], int], Tokenizer]] = {
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
    "word": _word,
    "char": _char,
}
