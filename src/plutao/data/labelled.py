"""Labelled texts: rows with a class, a number, or answers marked in a text, for the tasks that BERT is fine-tuned for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plutao.data.batch import Readings, RowBatch
from plutao.data.sources.examples import read_rows
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.text.bert import Row, Signs, join
from plutao.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Answer:
    """A stretch of the text that answers the question, and where it begins, in characters."""

    text: str
    start: int


@dataclass(frozen=True)
class Example:
    """A text, or a text and what is asked or compared, with what is right."""

    text: str
    second: str | None = None
    label: str = ""
    number: float = 0.0
    answers: tuple[Answer, ...] = ()
    """What people marked; several may be right; none where the text has no answer."""


def read_labelled(
    path: Path, kind: str, text: str, second: str | None, label: str, count: int | None = None
) -> list[Example]:
    """The rows of a file, a folder or a pattern as examples of a task of this kind (`classification`, `similarity`,
    `answers`); `text`, `second` and `label` name the fields.

    Raises:
        UserError: nothing is there; or a row lacks a field, or has something else in it.
    """
    found = []
    for row in read_rows(path, BadRows("refuse")):
        found.append(example_of(row.fields, row.where, kind, text, second, label))
        if len(found) == count:
            break
    if not found:
        raise UserError(f"{path} has no row to learn from: add some.")
    return found


def example_of(fields: Mapping[str, Any], where: str, kind: str, text: str, second: str | None, label: str) -> Example:
    """One row; raises UserError that names it, the field, and an example of the right form."""
    first = string(fields, text, where)
    other = string(fields, second, where) if second is not None else None
    if label not in fields and kind != "answers":
        raise UserError(f"{where} has no field {label!r}: it has {', '.join(fields)}. Name the right one as `label`.")
    value = fields.get(label)
    if kind == "classification":
        if isinstance(value, list | dict):
            raise UserError(f'{where}: {label} holds {value!r:.60}, not a class, as {{"{label}": "positive"}}.')
        return Example(first, other, label=str(value))
    if kind == "similarity":
        try:
            return Example(first, other, number=float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise UserError(f'{where}: {label} holds {value!r:.60}, not a number, as {{"{label}": 3.5}}.') from error
    return Example(first, other, answers=tuple(answers_of(value, first, where, label)))


def string(fields: Mapping[str, Any], name: str, where: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where} has no text in field {name!r}: it has {', '.join(fields)}. Name the right field.")
    return value


def answers_of(value: Any, text: str, where: str, label: str) -> Iterator[Answer]:
    """The answers of a row: SQuAD's list of {"text", "answer_start"}, or its table of two lists.

    An answer that does not stand where it says is looked for, nearest first; one that stands nowhere is left out.
    """
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        starts = value.get("answer_start") or [0] * len(value["text"])
        value = [{"text": one, "answer_start": start} for one, start in zip(value["text"], starts, strict=False)]
    for one in value or ():
        if not isinstance(one, Mapping) or not isinstance(one.get("text"), str):
            form = f'{{"{label}": [{{"text": "Plutão", "answer_start": 12}}]}}'
            raise UserError(f"{where}: {label} holds {one!r:.60}, not an answer, as {form}.")
        start = int(one.get("answer_start") or 0)
        if one["text"] and (place := nearest(text, one["text"], start)) is not None:
            yield Answer(one["text"], place)


def nearest(text: str, part: str, start: int) -> int | None:
    """Where `part` stands in `text` nearest to `start`."""
    places, place = [], text.find(part)
    while place >= 0:
        places.append(place)
        place = text.find(part, place + 1)
    return min(places, key=lambda one: abs(one - start), default=None)


def kept_aside(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples to learn from, and about `share` of them to measure with. Those of one text stay together, so that no text that
    is asked about was learned from.
    """
    texts = sorted({example.text for example in examples}, key=lambda text: sha256(f"{seed} {text}".encode()).digest())
    aside: set[str] = set()
    sizes: dict[str, int] = {}
    for example in examples:
        sizes[example.text] = sizes.get(example.text, 0) + 1
    wanted, have = max(1, round(share * len(examples))), 0
    for text in texts:
        if have >= wanted:
            break
        aside.add(text)
        have += sizes[text]
    learned = [example for example in examples if example.text not in aside]
    return learned, [example for example in examples if example.text in aside]


# ---------------------------------------------------------------------------------------------------------------------
# As tokens


@dataclass(frozen=True)
class Window:
    """A stretch of a text that is searched for an answer, with its question; where its tokens stand in the text."""

    row: Row
    first: int
    """Where in the row the text begins."""
    places: list[tuple[int, int]]
    """Of each of its tokens, in characters of the whole text."""
    example: int
    """Which example it is of."""

    def span(self, answer: Answer) -> tuple[int, int]:
        """Where in the row the answer's first and last token stand; (0, 0), [CLS], where it is not wholly in the window."""
        end = answer.start + len(answer.text)
        covered = [n for n, (begin, stop) in enumerate(self.places) if begin < end and stop > answer.start]
        if not covered or self.places[0][0] > answer.start or self.places[-1][1] < end:
            return 0, 0
        return self.first + covered[0], self.first + covered[-1]


def windows(example: Example, number: int, tokenizer: Tokenizer, signs: Signs, longest: int) -> list[Window]:
    """The windows of a text, each half over the next (Devlin et al. 2019, published code: a document stride)."""
    question = tokenizer.encode(example.second or "")[: longest // 2]
    ids, places = tokenizer.encode_with_places(example.text)
    room = longest - 3 - len(question)
    starts = [0]
    while starts[-1] + room < len(ids):
        starts.append(starts[-1] + max(1, room // 2))
    return [
        Window(
            join(signs, question, ids[start : start + room], longest),
            len(question) + 2,
            places[start : start + room],
            number,
        )
        for start in starts
    ]


@dataclass(frozen=True)
class TextBatch(RowBatch):
    """Rows of texts, filled up to the same length, with what is right: classes (B,), numbers (B,), or spans (B, 2)."""

    tokens: Int[Tensor, "B T"]
    present: Bool[Tensor, "B T"]
    segments: Int[Tensor, "B T"]
    labels: Int[Tensor, "B"] | Float[Tensor, "B"] | Int[Tensor, "B 2"]

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """What a model is called with."""
        return self.tokens, self.present, self.segments


def batch_of(rows: Sequence[Row], labels: Tensor, pad: int) -> TextBatch:
    """Rows filled up to the longest of them."""
    longest = max(len(row.tokens) for row in rows)
    tokens = torch.full((len(rows), longest), pad)
    segments = torch.zeros((len(rows), longest), dtype=torch.long)
    present = torch.zeros((len(rows), longest), dtype=torch.bool)
    for place, row in enumerate(rows):
        tokens[place, : len(row.tokens)] = torch.tensor(row.tokens)
        segments[place, : len(row.tokens)] = torch.tensor(row.segments)
        present[place, : len(row.tokens)] = True
    return TextBatch(tokens, present, segments, labels)


class LabelledBatches(Readings, Iterator[TextBatch]):
    """Endless batches of labelled rows, every epoch all of them once in a new order, drawn by the seed."""

    def __init__(
        self, rows: Sequence[Row], labels: Tensor, pad: int, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        """Raises UserError where the batch can't be shared evenly."""
        super().__init__(len(rows), batch, seed, rank, world)
        self.rows, self.labels, self.pad = rows, labels, pad

    def __next__(self) -> TextBatch:
        places = self.draw()
        return batch_of([self.rows[place] for place in places], self.labels[places], self.pad)
