"""Bits per byte: how well a model predicts a text, in a unit that does not depend on how its tokenizer cuts it.

−Σ log2 p over the text's tokens, divided by its UTF-8 bytes. `<|endoftext|>` stands in front of each document and is
not predicted itself. A document longer than a decoder's context T is read in windows that advance by T/2: the first
window scores all its tokens, each later one the T/2 it adds, so every token is scored once, with at least T/2 tokens
before it where there are any. Of models that look back on a few tokens (n-grams, a feed-forward network) each token has
all of these before it; recurrent ones, whose reach has no end, are read in windows of `LONG` tokens, by halves.
Perplexity per token, exp(−Σ ln p ÷ tokens), is reported beside it; it compares only models that share a tokenizer.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from math import exp, log
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from plutao.errors import UserError
from plutao.evaluate.intervals import bootstrap_ratio
from plutao.models.decoder import Decoder
from plutao.models.language import DecoderLanguageModel, LanguageModel, target_log_probabilities
from plutao.text.tokenizer import Tokenizer

Document = str | tuple[str, str | None]
"""A text, or a text with its language."""

FEW_DOCUMENTS = 30
"""Below this the interval is drawn over passages instead of documents."""
PASSAGE = 256
"""Bytes of a passage; passages are joined two by two while there are more than MOST_PASSAGES of them."""
MOST_PASSAGES, MOST_DOCUMENTS = 512, 8192
LOGITS_AT_ONCE = 1 << 24
"""Largest number of logits held at once (positions × vocabulary): 64 MiB in fp32."""
LONG = 1024
"""Tokens of a window where a model's reach has no end, or ends sooner."""


@runtime_checkable
class Layered(Protocol):
    """A network whose last layer can be computed for some places alone."""

    def hidden(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]: ...
    def logits(self, hidden: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]: ...


@dataclass(frozen=True)
class BitsPerByte:
    """What was measured. `bits_per_byte` is None where it would compare with nothing, and `reason` says why."""

    bits_per_byte: float | None
    low: float | None
    high: float | None
    bytes: int
    tokens: int
    perplexity: float
    documents: int
    interval_over: str = "documents"
    """What was drawn again for the interval: "documents", or "passages" where there are few documents."""
    reason: str | None = None
    text_sha256: str = ""
    """Names the measured text: two measures compare only where this is equal."""
    by_language: dict[str, "BitsPerByte"] = field(default_factory=dict)
    unit_bits: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """Bits of each drawn unit, for paired comparison of two models; with `unit_bytes`."""
    unit_bytes: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    @property
    def comparable(self) -> bool:
        return self.reason is None

    def as_json(self) -> dict[str, Any]:
        """bits_per_byte, low, high, bytes; then tokens, perplexity, documents and the rest."""
        keys = ("bits_per_byte", "low", "high", "bytes", "tokens", "perplexity", "documents", "interval_over")
        data: dict[str, Any] = {key: getattr(self, key) for key in keys}
        if self.reason is not None:
            data["not_comparable"] = self.reason
        if self.text_sha256:
            data["text_sha256"] = self.text_sha256
        if self.by_language:
            data["by_language"] = {language: measure.as_json() for language, measure in self.by_language.items()}
        return data


def bits_per_byte(
    model: Decoder | LanguageModel,
    tokenizer: Tokenizer,
    documents: Iterable[Document],
    *,
    precision: Literal["fp32", "bf16"] = "fp32",
    tokens_at_once: int = 8192,
    progress: Callable[[int], None] | None = None,
) -> BitsPerByte:
    """Measures a model on a text. Memory is bounded by the longest document, not by the text.

    Args:
        documents: texts, or (text, language) pairs for figures per language; empty texts are passed over.
        precision: bf16 runs the blocks under autocast; probabilities are computed in fp32 either way.
        tokens_at_once: tokens of a forward pass (windows × T).
        progress: called with the bytes measured since its last call.

    Raises:
        UserError: the documents hold no text.
    """
    if isinstance(model, DecoderLanguageModel):
        model = model.decoder
    overall, languages, digest = Tally(), dict[str, Tally](), sha256()
    windows = all_windows(*window_of(model), tokenizer, documents, overall, languages, digest.update)
    with torch.inference_mode(), at_rest(model):
        while flight := take_flight(windows, 8 * tokens_at_once):
            for batch in batches(flight, tokens_at_once):
                score(model, batch, precision)
            if progress is not None:
                progress(sum(window.bytes for window in flight))
    if overall.bytes == 0:
        raise UserError("The text is empty: there is nothing to measure. Name files that hold text.")
    by_language = {language: tally.result() for language, tally in sorted(languages.items())}
    return overall.result(digest.hexdigest(), by_language)


@contextmanager
def at_rest(model: object) -> Iterator[None]:
    """Nothing is dropped out while a network is measured."""
    if not isinstance(model, nn.Module):
        yield
        return
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def window_of(model: Decoder | LanguageModel) -> tuple[int, int]:
    """How many tokens a window of this model has, and by how many it advances."""
    if isinstance(model, Decoder):
        return model.config.context, max(1, model.config.context // 2)
    if model.reach is None:
        return LONG, LONG // 2
    length = max(LONG, 2 * model.reach)
    return length, length - model.reach


# ---------------------------------------------------------------------------------------------------------------------
# Adding up


class Blocks:
    """Sums of (bits, bytes) per unit, in constant memory: past `most` units, neighbours are joined two by two.

    The joining depends on the text alone, never on a tokenizer: two models' blocks pair up.
    """

    def __init__(self, most: int) -> None:
        self.most, self.size, self.sums = most, 1, np.zeros((0, 2))

    def add(self, unit: int, sums: npt.NDArray[np.float64]) -> None:
        """Adds rows of (bits, bytes) to `unit` and those that follow it."""
        last = unit + len(sums) - 1
        while last // self.size >= self.most:
            even = np.pad(self.sums, ((0, len(self.sums) % 2), (0, 0)))
            self.sums, self.size = even[0::2] + even[1::2], self.size * 2
        blocks = (unit + np.arange(len(sums))) // self.size
        missing = blocks[-1] + 1 - len(self.sums)
        if missing > 0:
            self.sums = np.pad(self.sums, ((0, missing), (0, 0)))
        np.add.at(self.sums, blocks, sums)


class Tally:
    """What was measured of a text, or of its part in one language."""

    def __init__(self) -> None:
        self.bits, self.bytes, self.tokens, self.documents, self.passages = 0.0, 0, 0, 0, 0
        self.by_document, self.by_passage = Blocks(MOST_DOCUMENTS), Blocks(MOST_PASSAGES)
        self.lost = 0  # documents that the tokenizer does not give back byte for byte

    def open(self, size: int, tokens: int, intact: bool) -> tuple[int, int]:
        """Takes a document in, of `size` bytes; returns its number and its first passage's."""
        place = (self.documents, self.passages)
        self.by_document.add(self.documents, np.array([[0.0, size]]))
        ends = np.append(np.arange(PASSAGE, size, PASSAGE), size)
        self.by_passage.add(self.passages, np.stack([np.zeros(len(ends)), np.diff(ends, prepend=0)], axis=1))
        self.documents, self.passages = self.documents + 1, self.passages + len(ends)
        self.bytes, self.tokens, self.lost = self.bytes + size, self.tokens + tokens, self.lost + (not intact)
        return place

    def add(self, document: int, passage: int, bits: npt.NDArray[np.float64]) -> None:
        """`bits` of consecutive passages from `passage` on, all of `document`."""
        rows = np.stack([bits, np.zeros(len(bits))], axis=1)
        self.by_document.add(document, rows.sum(axis=0, keepdims=True))
        self.by_passage.add(passage, rows)
        self.bits += float(bits.sum())

    def result(self, text_sha256: str = "", by_language: dict[str, BitsPerByte] | None = None) -> BitsPerByte:
        over = "documents" if self.documents >= FEW_DOCUMENTS else "passages"
        units = (self.by_document if over == "documents" else self.by_passage).sums
        interval = bootstrap_ratio(units[:, 0], units[:, 1]) or (None, None)
        reason = None
        if self.lost:
            reason = (
                f"the tokenizer does not give {self.lost} of {self.documents} documents back byte for byte, "
                "so it does not predict this text but a simpler one"
            )
        return BitsPerByte(
            bits_per_byte=None if reason else self.bits / self.bytes,
            low=None if reason else interval[0],
            high=None if reason else interval[1],
            bytes=self.bytes,
            tokens=self.tokens,
            perplexity=exp(min(self.bits * log(2) / max(self.tokens, 1), 700.0)),
            documents=self.documents,
            interval_over=over,
            reason=reason,
            text_sha256=text_sha256,
            by_language=by_language or {},
            unit_bits=units[:, 0],
            unit_bytes=units[:, 1],
        )


# ---------------------------------------------------------------------------------------------------------------------
# Windows


@dataclass(frozen=True)
class Window:
    """One look of the model at a document: it reads `inputs` and is scored on its last `len(targets)` predictions."""

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    passages: npt.NDArray[np.int64]
    """The passage of the document that each target begins in."""
    places: list[tuple[Tally, int, int]]
    """Where the bits go: tally, the document's number in it, the number of the document's first passage in it."""
    bytes: int
    """Bytes that the targets stand for."""

    def credit(self, nats: npt.NDArray[np.float64]) -> None:
        """Puts the targets' −ln p where they belong."""
        first = int(self.passages[0])
        bits = np.bincount(self.passages - first, weights=nats / log(2)).astype(np.float64)
        for tally, document, passage in self.places:
            tally.add(document, passage + first, bits)


def all_windows(
    length: int,
    stride: int,
    tokenizer: Tokenizer,
    documents: Iterable[Document],
    overall: Tally,
    languages: dict[str, Tally],
    digest: Callable[[bytes], None],
) -> Iterator[Window]:
    """Every document's windows in order; the documents are entered in the tallies on the way."""
    lengths = np.full(tokenizer.vocabulary_size, -1)  # bytes of each token, found when it is first met
    pairs = ((document, None) if isinstance(document, str) else document for document in documents)
    filled = ((text, language) for text, language in pairs if text)
    while some := list(islice(filled, 64)):
        for (text, language), tokens in zip(some, tokenizer.encode_batch([text for text, _ in some]), strict=True):
            raw = text.encode()
            digest(len(raw).to_bytes(8, "big") + raw)
            if not tokens:  # a tokenizer that drops what it does not know may leave nothing to predict
                overall.open(len(raw), 0, intact=False)
                continue
            for token in set(tokens):
                if lengths[token] < 0:
                    lengths[token] = len(tokenizer.token_bytes(token))
            tallies = [overall] if not language else [overall, languages.setdefault(language, Tally())]
            intact = tokenizer.decode(tokens) == text
            places = [(tally, *tally.open(len(raw), len(tokens), intact)) for tally in tallies]
            ends = np.cumsum(lengths[tokens]) * (len(raw) / max(1, int(lengths[tokens].sum())))
            yield from windows_of([tokenizer.end_of_text, *tokens], np.append(0.0, ends), length, stride, places)


def windows_of(
    sequence: list[int], ends: npt.NDArray[np.float64], length: int, stride: int, places: list[tuple[Tally, int, int]]
) -> Iterator[Window]:
    """Windows of `length` tokens over <|endoftext|> and a document, each `stride` tokens further on; `ends[i]` is the byte
    where token i ends.
    """
    whole = np.array(sequence, np.int64)
    passage_count = int(np.ceil(ends[-1] / PASSAGE))
    scored = 1  # the next token to be scored; token 0 is <|endoftext|>
    start = 0
    while scored < len(whole):
        stop = min(start + length, len(whole) - 1)
        begins = np.floor(ends[scored - 1 : stop] / PASSAGE + 1e-9).astype(np.int64)
        passages = np.minimum(begins, max(0, passage_count - 1))
        size = round(ends[stop]) - round(ends[scored - 1])
        yield Window(whole[start:stop], whole[scored : stop + 1], passages, places, size)
        scored, start = stop + 1, start + stride


def take_flight(windows: Iterator[Window], tokens: int) -> list[Window]:
    """The next windows, about `tokens` inputs in all."""
    flight: list[Window] = []
    while tokens > 0 and (window := next(windows, None)) is not None:
        flight.append(window)
        tokens -= len(window.inputs)
    return flight


def batches(flight: list[Window], tokens_at_once: int) -> Iterator[list[Window]]:
    """The flight cut into batches of about equal lengths, so that little is padded."""
    batch: list[Window] = []
    for window in sorted(flight, key=lambda window: -len(window.inputs)):
        if batch and (len(batch) + 1) * len(batch[0].inputs) > tokens_at_once:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def score(model: Decoder | LanguageModel, batch: list[Window], precision: Literal["fp32", "bf16"]) -> None:
    """One pass over a batch of windows. What pads them on the right is never looked at: nobody sees what comes later."""
    longest = max(len(window.inputs) for window in batch)
    tokens = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.zeros(len(batch), longest, dtype=torch.long)
    wanted = torch.zeros(len(batch), longest, dtype=torch.bool)
    for row, window in enumerate(batch):
        length = len(window.inputs)
        tokens[row, :length] = torch.from_numpy(window.inputs)
        wanted[row, length - len(window.targets) : length] = True
        targets[row, length - len(window.targets) : length] = torch.from_numpy(window.targets)
    if isinstance(model, nn.Module) and isinstance(model, Layered):
        nats = network_nats(model, tokens, targets, wanted, precision)
    else:
        assert isinstance(model, LanguageModel)
        nats = -target_log_probabilities(model, tokens, targets)[wanted]
    values, taken = nats.double().cpu().numpy(), 0
    for window in batch:
        window.credit(values[taken : taken + len(window.targets)])
        taken += len(window.targets)


def network_nats(
    model: nn.Module, tokens: Tensor, targets: Tensor, wanted: Tensor, precision: Literal["fp32", "bf16"]
) -> Float[Tensor, " N"]:
    """−ln p of the wanted targets; logits are computed for their places only, some at once."""
    assert isinstance(model, Layered)
    device = next(model.parameters()).device
    autocast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    with autocast:
        hidden = model.hidden(tokens.to(device))[wanted.to(device)]  # (N, D)
    answers = targets[wanted].to(device)
    pieces, start = [], 0
    at_once = 1024  # until the first logits tell how many tokens the model knows
    while start < len(answers):
        with autocast:
            logits = model.logits(hidden[start : start + at_once])  # (n, V)
        pieces.append(F.cross_entropy(logits.float(), answers[start : start + at_once], reduction="none"))
        start, at_once = start + at_once, max(1, LOGITS_AT_ONCE // logits.shape[1])
    return torch.cat(pieces)
