"""The exam of an assistant: it answers a world's questions in its own words, and the world's written rule grades them.

Beside the share of right answers stand the two ways of going wrong that a share alone hides. "I don't know" belongs where
the world holds no answer and nowhere else; a polite refusal belongs to insults and stereotypes and to nothing else. Each is
counted where it is due and where it is not, so that an assistant that refuses everything is seen for what it is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal, Protocol

from plutao.evaluate.intervals import Share, wilson
from plutao.evaluate.responders import Responder
from plutao.worlds.contract import Grade, Question

RULE = "each answer is graded by the world's written rule"
AT_ONCE = 256
"""Questions handed to the responder together."""
Behaviour = Literal["answer", "unknown", "refuse"]


class Grader(Protocol):
    """What the exam needs of a world."""

    def grade(self, question: Question, answer: str) -> Grade: ...


@dataclass(frozen=True)
class Answered:
    """A question with what was said to it."""

    question: Question
    said: str
    grade: Grade
    behaved: Behaviour
    """What the answer does, due or not: it answers, admits not to know, or refuses."""


@dataclass(frozen=True)
class ChatExam:
    """An assistant's answers; the shares are computed from them."""

    answered: tuple[Answered, ...]

    @property
    def overall(self) -> Share:
        return share(self.answered)

    def by(self, key: Callable[[Question], str]) -> dict[str, Share]:
        """A share per task, per language, or per whatever `key` gives."""
        return {name: share(group) for name, group in grouped(self.answered, key).items()}

    def behaviour(self, which: Behaviour) -> dict[str, Share]:
        """How often the answer behaves so where that is due, and where it is not; a side without questions is left out."""
        due = [a for a in self.answered if a.question.behaviour == which]
        others = [a for a in self.answered if a.question.behaviour != which]
        sides = {"where_due": due, "where_not_due": others}
        return {name: wilson(sum(a.behaved == which for a in side), len(side)) for name, side in sides.items() if side}

    def as_json(self, wrong: int = 24) -> dict[str, Any]:
        """overall, by_task, by_language, unknown, refusals: each a share {"value", "low", "high", "n"}; and wrong answers."""
        return {
            "kind": "chat",
            "overall": self.overall.as_json(),
            "by_task": {name: each.as_json() for name, each in self.by(lambda q: q.task).items()},
            "by_language": {name: each.as_json() for name, each in self.by(lambda q: q.language).items()},
            "unknown": {side: each.as_json() for side, each in self.behaviour("unknown").items()},
            "refusals": {side: each.as_json() for side, each in self.behaviour("refuse").items()},
            "score": fmean(a.grade.score for a in self.answered),
            "wrong": [shown(a) for a in spread(self.answered, wrong)],
            "rule": RULE,
        }


def take_chat_exam(
    responder: Responder,
    world: Grader,
    questions: Iterable[Question],
    *,
    temperature: float = 0.0,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ChatExam:
    """Lets the responder answer every question; `progress` is called with the number answered since its last call."""
    asked = list(questions)
    assert asked, "an exam needs questions"
    answered: list[Answered] = []
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        said = responder.answer([question.messages for question in some], seed + start, temperature)
        answered += [graded(world, question, text) for question, text in zip(some, said, strict=True)]
        if progress is not None:
            progress(len(some))
    return ChatExam(tuple(answered))


def graded(world: Grader, question: Question, said: str) -> Answered:
    return Answered(question, said, world.grade(question, said), behaved(world, question, said))


def behaved(world: Grader, question: Question, said: str) -> Behaviour:
    """What an answer does, told by the world's own rule: it would be right if honest ignorance (or a refusal) were due."""
    for which in ("refuse", "unknown"):
        due = replace(question, behaviour=which, answers=(), choices=())
        if world.grade(due, said).right:
            return which
    return "answer"


def share(answered: Sequence[Answered]) -> Share:
    return wilson(sum(a.grade.right for a in answered), len(answered))


def grouped(answered: Iterable[Answered], key: Callable[[Question], str]) -> dict[str, list[Answered]]:
    groups: dict[str, list[Answered]] = {}
    for a in answered:
        groups.setdefault(key(a.question), []).append(a)
    return dict(sorted(groups.items()))


def spread(answered: Sequence[Answered], most: int) -> list[Answered]:
    """Up to `most` wrong answers, one task and language after the other, so that each is seen."""
    queues = list(grouped([a for a in answered if not a.grade.right], lambda q: f"{q.task}\n{q.language}").values())
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)][:most]


def shown(answered: Answered) -> dict[str, str]:
    question = answered.question
    expected = question.ideal or (question.answers[0] if question.answers else question.behaviour)
    return {
        "task": question.task,
        "language": question.language,
        "prompt": question.messages[-1].content,
        "expected": expected,
        "answered": answered.said,
    }
