"""Models side by side: the same text and the same questions for each, and whether the difference is more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plutao.evaluate.chat_exam import ChatExam
from plutao.evaluate.exam import ExamResult
from plutao.evaluate.intervals import Difference, paired_difference
from plutao.evaluate.measure import Measured
from plutao.evaluate.perplexity import BitsPerByte


@dataclass(frozen=True)
class Pair:
    """Two models on the same text: how many bits per byte `second` needs more than `first`, and what that means."""

    first: str
    second: str
    difference: Difference | None
    verdict: str
    exam_difference: Difference | None = None
    exam_verdict: str = ""

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"first": self.first, "second": self.second, "verdict": self.verdict}
        found["difference"] = None if self.difference is None else self.difference.as_json()
        if self.exam_verdict:
            found["exam_verdict"] = self.exam_verdict
            found["exam_difference"] = None if self.exam_difference is None else self.exam_difference.as_json()
        return found


@dataclass(frozen=True)
class Comparison:
    """Each model's measures, and each further model against the first."""

    models: tuple[Measured, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
    contest: Mapping[str, Any] | None = None
    """What came of comparing their answers (`contest.compare_answers`), where they could be asked."""

    def as_json(self) -> dict[str, Any]:
        found = {
            "models": [model.as_json() for model in self.models],
            "pairs": [pair.as_json() for pair in self.pairs],
            "notes": list(self.notes),
        }
        return found if self.contest is None else found | {"contest": dict(self.contest)}


def compare(models: Sequence[Measured], contest: Mapping[str, Any] | None = None) -> Comparison:
    """Compares models that were measured on the same text: every further one with the first."""
    assert len(models) >= 2
    first = models[0]
    pairs = tuple(pair_of(first, second) for second in models[1:])
    return Comparison(tuple(models), pairs, tuple(notes_on(models)), contest)


def pair_of(first: Measured, second: Measured) -> Pair:
    difference, text_verdict = compare_texts(first.name, first.text, second.name, second.text)
    if first.exam is None or second.exam is None:
        return Pair(first.name, second.name, difference, text_verdict)
    exam_difference, exam_verdict = compare_exams(first.name, first.exam, second.name, second.exam)
    return Pair(first.name, second.name, difference, text_verdict, exam_difference, exam_verdict)


def compare_texts(a: str, first: BitsPerByte, b: str, second: BitsPerByte) -> tuple[Difference | None, str]:
    """The paired difference in bits per byte and the verdict in words; no difference where they do not compare."""
    if first.text_sha256 != second.text_sha256:
        return None, f"not comparable: {a} and {b} were measured on different texts"
    for name, measure in ((a, first), (b, second)):
        if measure.reason is not None:
            return None, f"not comparable: for {name}, {measure.reason}"
    difference = paired_difference(first.unit_bits, second.unit_bits, first.unit_bytes)
    if difference is None:
        return None, "can't tell: the text is too short to say how much chance there is in it"
    return difference, verdict(a, b, difference)


def verdict(a: str, b: str, difference: Difference) -> str:
    """`difference` is b − a in bits per byte, where fewer is better."""
    if not difference.decided:
        low, high = signed(difference.low), signed(difference.high)
        return f"can't tell: {b} differs by {signed(difference.value)} bits per byte ({low} to {high}), which may be chance"
    better = b if difference.value < 0 else a
    nearest, furthest = sorted((abs(difference.low), abs(difference.high)))
    return f"{better} is better: {abs(difference.value):.3f} bits per byte fewer ({nearest:.3f}–{furthest:.3f})"


def compare_exams(
    a: str, first: ExamResult | ChatExam, b: str, second: ExamResult | ChatExam
) -> tuple[Difference | None, str]:
    """The paired difference in the share of right answers, and the verdict in words."""
    if isinstance(first, ChatExam) != isinstance(second, ChatExam):
        talks, continues = (a, b) if isinstance(first, ChatExam) else (b, a)
        return None, f"not comparable: {talks} answered questions and {continues} completed sentences"
    (questions, first_right), (others, second_right) = marks(first), marks(second)
    if questions != others:
        return None, f"not comparable: {a} and {b} were asked different questions"
    right = [first_right, second_right]
    difference = paired_difference(right[0], right[1], [1.0] * len(right[0]))
    if difference is None:
        return None, "can't tell: one question is too few"
    points, low, high = (100 * value for value in (difference.value, difference.low, difference.high))
    if not difference.decided:
        amounts = [signed(value, 1) for value in (points, low, high)]
        return (
            difference,
            f"can't tell: {b} gets {amounts[0]} points ({amounts[1]} to {amounts[2]}), which may be chance",
        )
    better = b if points > 0 else a
    nearest, furthest = sorted((abs(low), abs(high)))
    return difference, f"{better} is better: {abs(points):.1f} points more of the exam ({nearest:.1f}–{furthest:.1f})"


def marks(exam: ExamResult | ChatExam) -> tuple[list[str], list[float]]:
    """(the questions' ids, 1 for each that was answered rightly and 0 for each that was not)."""
    if isinstance(exam, ChatExam):
        return [each.question.id for each in exam.answered], [float(each.grade.right) for each in exam.answered]
    return [each.item.id for each in exam.answered], [float(each.right) for each in exam.answered]


def notes_on(models: Sequence[Measured]) -> list[str]:
    """What a reader must know before believing the figures."""
    first = models[0]
    return [
        f"{model.name} learned from other documents than {first.name}: if this text was among them, its figure flatters it."
        for model in models[1:]
        if model.data is None or model.data != first.data
    ]


def signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
