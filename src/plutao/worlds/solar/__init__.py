"""The Solar System, and a little of the Earth: a closed world of about 750 facts in Portuguese and English."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plutao.worlds.contract import ExamItem, WorldDocument
from plutao.worlds.solar import facts
from plutao.worlds.solar.examination import exam
from plutao.worlds.solar.generator import KINDS, documents
from plutao.worlds.solar.language import LANGUAGES

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
            "sources": dict(world.sources),
        }


SOLAR = Solar()
