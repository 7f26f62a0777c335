"""The completion exam of a world: the model continues a prompt greedily, and what it says first is right or wrong.

The rule, in full. The continuation is taken up to the end of its line. Both it and the accepted answers are reduced to
their words: Unicode NFC, case ignored, accents kept, punctuation dropped except inside a word or a number
(`guarda-chuva`, `4.5`). The continuation is right when its first words are exactly the words of an accepted answer:
"Júpiter, o maior" answers "júpiter"; "Jupiter" (no accent), "Júpiteres" and "não é Júpiter" do not.

Beside each share stands its floor: what one gets who ignores the prompt and gives, for each task and language, the one
answer that is right most often there.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from plutao.evaluate.intervals import Share, wilson
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.generate.writer import Writer
from plutao.text.tokenizer import Tokenizer

RULE = "greedy; the first words said must be an accepted answer's (case and punctuation ignored, accents kept)"
SPARE_TOKENS = 3
"""Tokens allowed beyond the longest accepted answer, so that a word that goes on is seen to go on."""
AT_ONCE = 256
"""Prompts handed to the engine together."""


class Item(Protocol):
    """What the exam needs of a question; a world's `ExamItem` is one."""

    @property
    def id(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def answers(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Answered:
    """A question with what the model said to it."""

    item: Item
    said: str
    right: bool


@dataclass(frozen=True)
class ExamResult:
    """An exam's answers; the shares are computed from them."""

    answered: tuple[Answered, ...]

    @property
    def overall(self) -> Share:
        return share_of(self.answered)

    def by(self, key: Callable[[Item], str]) -> dict[str, Share]:
        """A share per task, per language, or per whatever `key` gives."""
        return {name: share_of(group) for name, group in grouped(self.answered, key).items()}

    def as_json(self, wrong: int = 24) -> dict[str, Any]:
        """overall, by_task, by_language, each {"value", "low", "high", "n", "floor"}; up to `wrong` wrong answers."""
        by_task, by_language = (
            grouped(self.answered, lambda item: item.task),
            grouped(self.answered, lambda item: item.language),
        )
        return {
            "overall": with_floor(self.answered),
            "by_task": {task: with_floor(group) for task, group in by_task.items()},
            "by_language": {language: with_floor(group) for language, group in by_language.items()},
            "wrong": [shown(answered) for answered in spread(self.answered, wrong)],
            "rule": RULE,
        }


def take_exam(
    engine: Engine | Writer,
    tokenizer: Tokenizer,
    items: Iterable[Item],
    progress: Callable[[int], None] | None = None,
) -> ExamResult:
    """Lets the engine's model answer every item; `progress` is called with the number answered since its last call."""
    answered: list[Answered] = []
    questions = list(items)
    assert questions, "an exam needs questions"
    for start in range(0, len(questions), AT_ONCE):
        some = questions[start : start + AT_ONCE]
        longest = max(
            len(tokens) for item in some for tokens in tokenizer.encode_batch([f" {answer}" for answer in item.answers])
        )
        sampling = Sampling(temperature=0.0, max_tokens=longest + SPARE_TOKENS, stop=("\n",))
        completions = engine.complete([item.prompt for item in some], sampling, truncate_prompt=True)
        said = [completion[0].text for completion in completions]
        answered += [Answered(item, text, is_right(text, item.answers)) for item, text in zip(some, said, strict=True)]
        if progress is not None:
            progress(len(some))
    return ExamResult(tuple(answered))


def is_right(continuation: str, answers: Sequence[str]) -> bool:
    """Whether the continuation begins with the words of an accepted answer (the rule at the top of this file)."""
    said = words(continuation.strip().partition("\n")[0])
    return any(said[: len(wanted)] == wanted for answer in answers if (wanted := words(answer)))


def words(text: str) -> list[str]:
    """The words and numbers of a text, in lower case; a minus in front of a number belongs to it."""
    plain = unicodedata.normalize("NFC", text).casefold().replace("−", "-").replace("’", "'")
    return re.findall(r"(?<!\w)-?\d+(?:[.,]\d+)*(?!\w)|\w+(?:['-]\w+)*", plain)


def floor(items: Sequence[Item]) -> float:
    """The share of items that the best constant answer of each task and language gets right."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.task, item.language), []).append(item)
    return sum(most_common_answer(group) for group in groups.values()) / len(items)


def most_common_answer(items: Sequence[Item]) -> int:
    """How many of the items one and the same answer gets right, at best."""
    return max(
        Counter(answer for item in items for answer in {tuple(words(answer)) for answer in item.answers}).values()
    )


def share_of(answered: Sequence[Answered]) -> Share:
    return wilson(sum(a.right for a in answered), len(answered))


def with_floor(answered: Sequence[Answered]) -> dict[str, float | int]:
    return {**share_of(answered).as_json(), "floor": floor([a.item for a in answered])}


def grouped(answered: Iterable[Answered], key: Callable[[Item], str]) -> dict[str, list[Answered]]:
    groups: dict[str, list[Answered]] = {}
    for a in answered:
        groups.setdefault(key(a.item), []).append(a)
    return dict(sorted(groups.items()))


def spread(answered: Sequence[Answered], most: int) -> list[Answered]:
    """Up to `most` wrong answers, one task and language after the other, so that each is seen."""
    queues = list(grouped([a for a in answered if not a.right], lambda item: f"{item.task}\n{item.language}").values())
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)][:most]


def shown(answered: Answered) -> dict[str, str]:
    item = answered.item
    said = answered.said.strip().partition("\n")[0]
    return {
        "task": item.task,
        "language": item.language,
        "prompt": item.prompt,
        "expected": item.answers[0],
        "answered": said,
    }
