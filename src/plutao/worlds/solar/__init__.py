"""The Solar System, and a little of the Earth: a closed world of about 750 facts in Portuguese and English."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plutao.worlds.contract import Dialogue, ExamItem, Grade, Labeller, Question, WorldDocument
from plutao.worlds.solar import chat, facts
from plutao.worlds.solar.examination import exam
from plutao.worlds.solar.generator import KINDS, documents
from plutao.worlds.solar.language import LANGUAGES
from plutao.worlds.solar.translations import translations

LICENSE = "Apache-2.0"

__all__ = ["LICENSE", "SOLAR", "Solar", "documents", "exam"]


@dataclass(frozen=True)
class Solar:
    """The world as `plutao.worlds.world("solar")` gives it."""

    name: str = "solar"
    languages: tuple[str, ...] = LANGUAGES
    license: str = LICENSE

    def documents(self, megabytes: float, seed: int) -> Iterator[WorldDocument]:
        """About `megabytes` MB of documents, half Portuguese and half English by bytes; the same seed gives the same bytes."""
        return documents(megabytes, seed)

    def exam(self, seed: int = 1) -> list[ExamItem]:
        """Completion questions that training text never contains; the seed chooses which facts are asked."""
        return exam(seed)

    @property
    def labellers(self) -> tuple[Labeller, ...]:
        """Simulated people: each ranks answers by the written rule with weights and errors of their own."""
        return chat.LABELLERS

    def dialogues(self, count: int, seed: int) -> Iterator[Dialogue]:
        """`count` conversations with an assistant, half in each language; the same seed gives the same ones."""
        return chat.dialogues(count, seed)

    def questions(
        self, split: Literal["train", "validation", "exam"], count: int | None = None, seed: int = 1
    ) -> list[Question]:
        """Graded questions; those of the exam are asked in words, and about pairs, that nothing else contains."""
        return chat.questions(split, count, seed)

    def grade(self, question: Question, answer: str) -> Grade:
        """An answer by the written rule (chat/grading.py says it)."""
        return chat.grade(question, answer)

    def distractors(self, question: Question, seed: int) -> list[str]:
        """Plausible worse answers: wrong, evasive, in the other language, rude, long, about something else."""
        return chat.distractors(question, seed)

    def translations(self, count: int, seed: int) -> Iterator[Mapping[str, str]]:
        """`count` sentences, each in Portuguese and in English; the same seed gives the same ones."""
        return translations(count, seed)

    def describe(self) -> dict[str, Any]:
        """Counts of what the world holds, and where its facts come from."""
        world = facts.load()
        return {
            "facts": len(world.facts),
            "fact_language_pairs": facts.count(),
            "by_group": dict(Counter(fact.group for fact in world.facts)),
            "by_relation": dict(Counter(fact.relation for fact in world.facts)),
            "document_kinds": list(KINDS),
            "exam_tasks": dict(Counter(item.task for item in exam())),
            "chat_exam_tasks": dict(Counter(item.task for item in chat.questions("exam"))),
            "labellers": {labeller.name: labeller.rule for labeller in self.labellers},
            "sources": dict(world.sources),
        }


SOLAR = Solar()
