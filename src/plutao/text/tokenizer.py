"""The tokenizer: how text becomes numbers and comes back (the book's section 2.5).

Two promises hold for every kind. What is typed in a text is text: "<|im_end|>" in a document becomes ordinary tokens,
never the special one; only our own code writes special tokens, by `special`. And what is saved loads in `transformers`'
`PreTrainedTokenizerFast` with the same ids. There, special strings in a text do become special tokens, as chat
templates need, unless `split_special_tokens=True` is passed: then it does what `encode` does here.
"""

import codecs
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from plutao.errors import UserError
from plutao.files import fingerprint, read_json, write_json, write_text
from plutao.text import bert, gpt2
from plutao.text.special import END_OF_TEXT, MASK, PAD, SPECIAL_TOKENS, UNKNOWN, added
from plutao.text.template import TEMPLATE
from plutao.text.training import train_backend

__all__ = ["SPECIAL_TOKENS", "IncrementalDecoder", "Tokenizer", "train"]

ROLES = ("bos_token", "eos_token", "pad_token", "unk_token", "mask_token", "cls_token", "sep_token")
OUR_SETTINGS: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": END_OF_TEXT,
    "eos_token": END_OF_TEXT,
    "pad_token": PAD,
    "unk_token": UNKNOWN,
    "mask_token": MASK,
    "clean_up_tokenization_spaces": False,
    "chat_template": TEMPLATE,
}


def train(kind: str, texts: Iterable[str], vocabulary: int) -> "Tokenizer":
    """Learns a tokenizer from a stream of texts, in memory that does not grow with their length.

    Args:
        kind: "bpe" (bytes, merged), "wordpiece", "unigram", "word" or "char".
        texts: read once, in order; the same texts give the same tokenizer.
        vocabulary: number of tokens, the 16 special ones included; for "char" an upper bound.

    Raises:
        UserError: there is no text, or it supports fewer tokens than asked.
    """
    return Tokenizer(train_backend(kind, texts, vocabulary))


class Tokenizer:
    """Text to ids and back, around a Hugging Face `tokenizers` tokenizer.

    Attributes:
        kind: "bpe", "wordpiece", "unigram", "word", "char" or "gpt2".
        settings: what tokenizer_config.json holds, the chat template among it (`text.template`).
        vocabulary_size: rows an embedding needs, special tokens included.
        reversible: text comes back byte for byte. Kind "char" promises it for the characters it knows; `gives_back`
            tells of a given text.
    """

    def __init__(self, backend: tokenizers.Tokenizer, settings: dict[str, Any] | None = None, saved: str | None = None):
        """`saved` is the tokenizer.json the backend was read from, which `save` writes again as it was."""
        self._backend = backend
        self._saved = saved or backend.to_str(pretty=True)
        self._description: dict[str, Any] = json.loads(self._saved)
        self._table: dict[str, int] = backend.get_vocab(with_added_tokens=True)
        if settings is None:
            settings = {key: value for key, value in OUR_SETTINGS.items() if key not in ROLES or value in self._table}
        self.settings = settings
        self.vocabulary_size = 1 + max(self._table.values())
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True  # special tokens typed in text stay text

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and other processes get a tokenizer built anew: the backend alone would forget how it treats text."""
        return Tokenizer, (self._backend, self.settings, self._saved)

    # What it is

    @cached_property
    def kind(self) -> str:
        model = self._description["model"]
        if model["type"] != "BPE":
            return {"WordPiece": "wordpiece", "Unigram": "unigram", "WordLevel": "word"}[model["type"]]
        if self._byte_level:
            return "gpt2" if self._table.get(END_OF_TEXT) == gpt2.END_OF_TEXT_ID else "bpe"
        return "bpe" if model["merges"] else "char"

    @cached_property
    def reversible(self) -> bool:
        if self.kind == "char":
            return True
        keeps_bytes = self._byte_level and all(character in self._table for character in BYTE_OF_CHARACTER)
        adds_blank = _mentions(self._description["pre_tokenizer"], "add_prefix_space", True)
        return keeps_bytes and not adds_blank and self._description["normalizer"] is None

    def gives_back(self, text: str) -> bool:
        """Whether this very text comes back byte for byte."""
        return self.decode(self.encode(text)) == text

    @cached_property
    def fingerprint(self) -> str:
        """Names the tokenizer by its content."""
        return fingerprint(self._description)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of all special tokens."""
        added = self._backend.get_added_tokens_decoder()
        return frozenset(number for number, token in added.items() if token.special)

    @property
    def end_of_text(self) -> int:
        """The token between documents: <|endoftext|>, or what another maker's tokenizer ends a text with."""
        return self._role(END_OF_TEXT, "eos_token")

    @property
    def pad(self) -> int:
        """The token that fills rows; tokenizers without one (GPT-2's) use the end of text."""
        if self._table.get(PAD) is None and not self.settings.get("pad_token"):
            return self.end_of_text
        return self._role(PAD, "pad_token")

    def has(self, token: str) -> bool:
        """Whether a token with exactly this text is in the vocabulary."""
        return token in self._table

    def special(self, token: str) -> int:
        """The id of a special token.

        Raises:
            UserError: this tokenizer does not have it.
        """
        number = self._table.get(token)
        if number is None:
            raise UserError(f"This tokenizer has no token {token}. Use one trained by plutao, or another model.")
        return number

    def _role(self, ours: str, role: str) -> int:
        if ours in self._table:
            return self._table[ours]
        token = self.settings.get(role)
        return self.special(token["content"] if isinstance(token, dict) else token or ours)

    @cached_property
    def _byte_level(self) -> bool:
        """Tokens stand for bytes, each byte written as one visible character (GPT-2's way)."""
        return self._description["model"]["type"] == "BPE" and _mentions(
            self._description["decoder"], "type", "ByteLevel"
        )

    # Text to ids and back

    def encode(self, text: str) -> list[int]:
        """The ids of a text; special tokens typed in it stay text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts, on all cores (TOKENIZERS_PARALLELISM=false keeps it to one).

        While it runs it holds about a hundred bytes a token: give it some megabytes at a time. Halves of surrogate
        pairs, which JSON can smuggle into a string but no encoding can write, are read as U+FFFD.
        """
        try:
            encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:
            whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
            encodings = self._backend.encode_batch_fast(whole, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_with_places(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids of a text, and where in it each of them begins and ends, in characters."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are shown as they are written, broken characters as U+FFFD."""
        text: str = self._backend.decode(ids, skip_special_tokens=False)
        return text

    # One token

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for: exactly for byte-level kinds, else the UTF-8 of its text (blanks as blanks).

        Ids beyond the vocabulary, which models with padded tables have, stand for nothing.
        """
        written = self._backend.id_to_token(token) or ""
        if self._byte_level and all(character in BYTE_OF_CHARACTER for character in written):
            return bytes(BYTE_OF_CHARACTER[character] for character in written)
        if self.kind == "wordpiece":
            return written.removeprefix("##").encode()
        if self._byte_level or self.kind in ("word", "char"):
            return written.encode()
        if one_byte := re.fullmatch(r"<0x([0-9A-F]{2})>", written):
            return bytes.fromhex(one_byte[1])
        return written.replace("▁", " ").encode()

    def token_name(self, token: int) -> str:
        """A token as the vocabulary writes it: `##ção`, `Ġde`; empty for ids beyond the vocabulary."""
        return self._backend.id_to_token(token) or ""

    def continues_word(self, token: int) -> bool:
        """Whether a token goes on with the word of the token before it: `##` in front, or no blank and a letter or digit."""
        if token in self.special_ids:
            return False
        if self.kind == "wordpiece":
            return self.token_name(token).startswith("##")
        first = self.token_bytes(token)[:1]
        halved = b"\x80" <= first < b"\xc0"  # a character that began in the token before
        return self.kind != "word" and (halved or self.token_text(token)[:1].isalnum())

    def token_text(self, token: int) -> str:
        r"""A token for display; the bytes of a broken character are shown as \xNN."""
        return self.token_bytes(token).decode("utf-8", errors="backslashreplace")

    # On disk

    def save(self, folder: Path, context: int | None = None) -> None:
        """Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json into `folder`, beside what is there.

        Args:
            context: the longest text the model takes, in tokens (`model_max_length`).
        """
        settings = self.settings | ({} if context is None else {"model_max_length": context})
        write_text(folder / "tokenizer.json", self._saved)
        write_json(folder / "tokenizer_config.json", settings)
        write_json(folder / "special_tokens_map.json", {role: settings[role] for role in ROLES if settings.get(role)})

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Reads a folder of ours, any Hugging Face folder with tokenizer.json, GPT-2's two files (see `text.gpt2`),
        or BERT's vocab.txt (see `text.bert`).

        Raises:
            UserError: nothing to read there, or a damaged file.
        """
        if (folder / "tokenizer.json").is_file():
            return cls._load_hugging_face(folder)
        if files := gpt2.find_files(folder):
            return cls(gpt2.load_backend(*files))
        if bert.has_vocabulary(folder):
            return cls(bert.load_backend(folder), bert.published_settings())
        raise UserError(
            f"There is no tokenizer in {folder}. It needs tokenizer.json, GPT-2's encoder.json and vocab.bpe, or BERT's vocab.txt."
        )

    @classmethod
    def _load_hugging_face(cls, folder: Path) -> "Tokenizer":
        file = folder / "tokenizer.json"
        read_json(file)
        saved = file.read_text(encoding="utf-8")
        try:
            backend = backend_of(saved)
        except Exception as error:  # what `tokenizers` raises has no narrower type
            raise UserError(
                f"{file} is damaged ({error}): put back a good copy, or delete it and train it again."
            ) from error
        config = folder / "tokenizer_config.json"
        return cls(backend, read_json(config) if config.is_file() else None, saved)

    # With something more

    def with_settings(self, **changes: Any) -> "Tokenizer":
        """The same tokenizer with other settings in tokenizer_config.json."""
        return Tokenizer(self._backend, self.settings | changes, self._saved)

    def with_frame(self, opens: str, separates: str) -> "Tokenizer":
        """The same tokenizer, which other programs let put `opens` before a text and `separates` behind it (`text.bert`)."""
        saved = bert.with_frame(self._saved, opens, separates)
        return Tokenizer(backend_of(saved), self.settings, saved)

    def with_special_tokens(self, tokens: Sequence[str]) -> "Tokenizer":
        """The tokenizer with these special tokens; those it lacks get ids behind its last one."""
        lacking = [token for token in tokens if not self.has(token)]
        if not lacking:
            return self
        backend = tokenizers.Tokenizer.from_str(self._saved)
        backend.add_special_tokens([added(token) for token in lacking])
        saved = backend.to_str(pretty=True)
        return Tokenizer(backend_of(saved), self.settings, saved)


def backend_of(saved: str) -> tokenizers.Tokenizer:
    """The backend that a tokenizer.json describes.

    Makers mark some tokens, such as Qwen's <tool_call>, as not special; typed in a text they are text all the same. Runs
    of blanks that some vocabularies add are text, and stay tokens.
    """
    description = json.loads(saved)
    for token in description["added_tokens"]:
        token["special"] = token["special"] or not token["content"].isspace()
    return tokenizers.Tokenizer.from_str(json.dumps(description))


class IncrementalDecoder:
    """Decodes a text token by token as it is written: pieces join to exactly what `decode` gives for the whole."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._by_bytes = tokenizer._byte_level or tokenizer.kind == "char"
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._ids: list[int] = []
        self._shown = ""

    def add(self, token: int) -> str:
        """The text that this token completes: empty while only part of a character has come."""
        if self._by_bytes:
            return self._utf8.decode(self._tokenizer.token_bytes(token))
        self._ids.append(token)
        whole = self._tokenizer.decode(self._ids)
        return "" if whole.endswith("\ufffd") else self._show(whole)

    @property
    def holds(self) -> bool:
        """Whether part of a character has come and is not shown yet."""
        if self._by_bytes:
            return bool(self._utf8.getstate()[0])
        return self._tokenizer.decode(self._ids) != self._shown

    def finish(self) -> str:
        """What is left at the end; a character that never was completed comes as U+FFFD."""
        if self._by_bytes:
            return self._utf8.decode(b"", final=True)
        return self._show(self._tokenizer.decode(self._ids))

    def _show(self, whole: str) -> str:
        """Words joined by blanks depend on their neighbours, so the text is what the longer decoding has more."""
        piece = whole[len(self._shown) :]
        self._shown = whole
        return piece


def _byte_characters() -> dict[str, int]:
    """GPT-2's visible character for each byte: itself where it can be seen, else the next free one from U+0100 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}


BYTE_OF_CHARACTER = _byte_characters()


def _mentions(description: Any, key: str, value: Any) -> bool:
    """Whether `key: value` stands anywhere in the nested description of a pre-tokenizer or decoder."""
    if isinstance(description, dict):
        return description.get(key) == value or any(_mentions(inner, key, value) for inner in description.values())
    return isinstance(description, list) and any(_mentions(inner, key, value) for inner in description)
