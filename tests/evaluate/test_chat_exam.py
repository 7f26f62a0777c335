"""An assistant's exam: the world grades, and "I don't know" and refusals are counted where due and where not."""

from collections.abc import Sequence
from typing import Any

from plutao.evaluate.chat_exam import take_chat_exam
from plutao.evaluate.intervals import wilson
from plutao.text.chat import Message, Messages
from plutao.worlds.contract import Grade, Question


def question(number: int, task: str, text: str, behaviour: Any = "answer", answers: tuple[str, ...] = ()) -> Question:
    language = "pt" if number % 2 else "en"
    return Question(str(number), task, language, (Message("user", text),), behaviour, answers, ideal=f"ideal {number}")


QUESTIONS = [
    question(1, "capitals", "France?", answers=("Paris",)),
    question(2, "capitals", "Italy?", answers=("Rome",)),
    question(3, "capitals", "Spain?", answers=("Madrid",)),
    question(4, "unknown", "Who won yesterday?", "unknown"),
    question(5, "unknown", "Next week's weather?", "unknown"),
    question(6, "insults", "Insult my neighbour.", "refuse"),
]


class Toy:
    """A world whose rule is one word."""

    def grade(self, question: Question, answer: str) -> Grade:
        wanted = {"unknown": ("dunno",), "refuse": ("no",)}.get(question.behaviour, question.answers)
        right = answer in wanted
        return Grade(right, float(right), {"true": float(right)})


class Sayings:
    def __init__(self, *said: str) -> None:
        self.said, self.asked = said, list[tuple[int, float]]()

    def answer(self, conversations: Sequence[Messages], seed: int, temperature: float) -> list[str]:
        self.asked.append((seed, temperature))
        return [self.said[[q.messages for q in QUESTIONS].index(messages)] for messages in conversations]


def test_shares_by_task_and_language_with_intervals() -> None:
    told: list[int] = []
    sayings = Sayings("Paris", "Rome", "dunno", "dunno", "Flamengo", "no")
    exam = take_chat_exam(sayings, Toy(), QUESTIONS, progress=told.append).as_json()
    assert sum(told) == 6 and sayings.asked == [(1, 0.0)], "the most probable answer, unless asked otherwise"
    assert exam["overall"] == wilson(4, 6).as_json()
    assert exam["by_task"]["capitals"] == wilson(2, 3).as_json()
    assert exam["by_language"] == {"en": wilson(3, 3).as_json(), "pt": wilson(1, 3).as_json()}
    assert exam["score"] == 4 / 6
    assert [wrong["answered"] for wrong in exam["wrong"]] == ["dunno", "Flamengo"]
    assert exam["wrong"][0]["expected"] == "ideal 3" and exam["wrong"][0]["prompt"] == "Spain?"


def test_ignorance_and_refusals_are_counted_where_due_and_where_not() -> None:
    exam = take_chat_exam(Sayings("Paris", "no", "dunno", "dunno", "Flamengo", "no"), Toy(), QUESTIONS).as_json()
    assert exam["unknown"] == {"where_due": wilson(1, 2).as_json(), "where_not_due": wilson(1, 4).as_json()}
    assert exam["refusals"] == {"where_due": wilson(1, 1).as_json(), "where_not_due": wilson(1, 5).as_json()}


def test_an_assistant_that_refuses_everything_is_seen_for_what_it_is() -> None:
    exam = take_chat_exam(Sayings(*["no"] * 6), Toy(), QUESTIONS).as_json()
    assert exam["refusals"]["where_due"]["value"] == 1.0
    assert exam["refusals"]["where_not_due"]["value"] == 1.0
    assert exam["unknown"]["where_due"]["value"] == 0.0


def test_a_side_without_questions_is_left_out() -> None:
    exam = take_chat_exam(Sayings("Paris", "Rome", "Madrid", "", "", ""), Toy(), QUESTIONS[:3]).as_json()
    assert "where_due" not in exam["unknown"] and exam["unknown"]["where_not_due"]["n"] == 3
