"""Graded questions: those of training and validation, in training's phrasings, and the exam, which nothing else contains."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

from plutao.text.chat import Message, Messages
from plutao.worlds.contract import Question
from plutao.worlds.solar.chat import facts, limits, sentences, sums
from plutao.worlds.solar.chat.dialogues import KINDS, any_kind, conversation, earlier
from plutao.worlds.solar.chat.talker import Exchange, Talker, exam_phrasings, reserved
from plutao.worlds.solar.language import LANGUAGES

Split = Literal["train", "validation", "exam"]
PER_RELATION = 10


def questions(split: Split, count: int | None = None, seed: int = 1) -> list[Question]:
    """`count` questions of a split (all of the exam, 1,000 of the others, where it is not said), half in each language.

    Those of `exam` have phrasings and pairs that no document, dialogue or other question contains; the seed chooses the
    facts asked. Those of `validation` are asked in training's phrasings, but never in training.
    """
    if split == "exam":
        return exam(count, seed)
    talkers = {language: Talker(language, f"solar-{split}/{seed}/{language}") for language in LANGUAGES}
    found: dict[Messages, Question] = {}
    while len(found) < (count or 1000):
        talker = talkers[LANGUAGES[len(found) % 2]]
        exchanges = [drawn_for_validation(talker)] if split == "validation" else conversation(talker)[1]
        item = asked(f"{split}-{seed}-{len(found)}", exchanges)
        found.setdefault(item.messages, item)
    return list(found.values())


def drawn_for_validation(talker: Talker) -> Exchange:
    while True:
        kind = any_kind(talker)
        exchange = KINDS[kind][0](talker)
        if kind != "manners" and reserved(exchange.ask):
            return exchange


def asked(name: str, exchanges: list[Exchange]) -> Question:
    """The last of the exchanges as a question, with the others before it."""
    *before, last = exchanges
    told = (Message("system", exchanges[0].system),) if exchanges[0].system else ()
    return Question(
        id=name,
        task=last.task,
        language=last.language,
        messages=(*told, *earlier(before), Message("user", last.ask)),
        behaviour=last.behaviour,
        answers=last.answers,
        choices=last.choices,
        ideal=last.good,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The exam


def exam(count: int | None, seed: int) -> list[Question]:
    """Every task in both languages; with `count`, so many of them, drawn evenly."""
    by_language: list[list[Question]] = []
    for language in LANGUAGES:
        talker = Talker(language, f"solar-chat-exam/{seed}/{language}", exam=True)
        found: dict[Messages, Question] = {}
        for exchanges in exam_exchanges(talker):
            item = asked(f"exam-{language}-{len(found)}", exchanges)
            found.setdefault(item.messages, item)
        items = list(found.values())
        by_language.append(items if count is None else talker.random.sample(items, min(len(items), count // 2)))
    return [item for items in by_language for item in items]


def exam_exchanges(talker: Talker) -> Iterator[list[Exchange]]:
    """The exam of one language, task by task."""
    form = exam_phrasings()
    for relation, asks in form["fact"].items():
        known = facts.of_relation(relation)
        for fact in talker.random.sample(known, min(asks.get("count", PER_RELATION), len(known))):
            yield [facts.fact_exchange(talker, relation, fact)]
    yield from followed(talker, form["follow"]["count"])
    makers: list[tuple[int, Callable[[Talker], Exchange]]] = [
        (form["other"]["count"], facts.other_language),
        (form["task"]["translate"]["count"], sentences.translation),
        (form["task"]["sentiment"]["count"], sentences.sentiment),
        (form["task"]["grammar"]["count"], sentences.grammar),
        (form["task"]["keywords"]["count"], sentences.keywords),
        (form["unknown"]["names"], limits.unknown_name),
        (form["refuse"]["count"], limits.refusal),
        (form["kind"]["count"], limits.kindness),
        (form["kind"]["better-count"], limits.better),
    ]
    for number, make in makers:
        for _ in range(number):
            yield [make(talker)]
    yield from compared(talker)
    for number in range(form["sums"]["count"]):
        yield [sums.sum_exchange(talker, 1 + number % sums.LONGEST)]
    for key in ("future", "private", "beyond"):
        for _ in range(form["unknown"][key]["count"]):
            yield [limits.beyond(talker, key)]
    for key in form["manners"]:
        yield [limits.manners(talker, key)]


def compared(talker: Talker) -> Iterator[list[Exchange]]:
    """Pairs of worlds; the winner is named first half of the time."""
    form = exam_phrasings()["compare"]
    for measure in (key for key in form if key != "count"):
        pairs = facts.kept_pairs(measure)
        for number, pair in enumerate(talker.random.sample(list(pairs), min(form["count"], len(pairs)))):
            yield [facts.compared(talker, pair, first=number % 2 == 0)]


def followed(talker: Talker, count: int) -> Iterator[list[Exchange]]:
    """A fact, its answer, and the same question about another subject."""
    phrasings = exam_phrasings()["follow"][talker.language]
    done = 0
    while done < count:
        relation, fact = talker.next("topics", facts.topics())
        other = facts.another(talker, relation, fact)
        if other is not None and relation in exam_phrasings()["fact"]:
            ask = talker.ask_plainly(phrasings[done % len(phrasings)], other.slots[talker.language])
            ask = ask.removesuffix("?") + "."
            second = facts.fact_exchange(talker, relation, other, ask)
            yield [facts.fact_exchange(talker, relation, fact), replace(second, task="follow-up")]
            done += 1
