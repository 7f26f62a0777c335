"""Plausible worse answers to a question, each bad in a way of its own."""

import re

from plutao.worlds.contract import Question
from plutao.worlds.solar.chat.facts import of_relation, topics
from plutao.worlds.solar.chat.talker import OTHER, Talker

NEEDLESS = 0.4
"""Share of the questions with needless ignorance among the answers: in more, not to know looks like a fault by itself."""


def distractors(question: Question, seed: int) -> list[str]:
    """A wrong fact, needless ignorance or a made-up answer, another language, rudeness, length, an answer to something else,
    a single word, as far as the question allows; none is the ideal answer."""
    talker = Talker(question.language, f"distractors/{seed}/{question.id}")
    found = [
        *wrong_facts(question, talker),
        elsewhere(question, talker),
        made_up(talker) if question.behaviour == "unknown" else needless(talker),
        in_other_language(question, talker),
        talker.say("style", "cold", {"a": question.ideal}),
        talker.say("style", "wordy", {"a": question.ideal}),
    ]
    if question.answers:
        found.append(f"{question.answers[0][:1].upper()}{question.answers[0][1:]}.")
    if question.behaviour == "refuse":
        found.append(made_up(talker))
    return [text for text in dict.fromkeys(found) if text and text != question.ideal]


def wrong_facts(question: Question, talker: Talker) -> list[str]:
    """The ideal sentence with another choice, or another number, in its place."""
    if question.choices:
        right = next((answer for answer in question.answers if answer.lower() in question.ideal.lower()), "")
        if right:
            wrong = talker.pick(question.choices)
            return [re.sub(re.escape(right), lambda _: wrong, question.ideal, flags=re.IGNORECASE)]
    changed = re.sub(r"\d", lambda found: str((int(found[0]) + 1 + int(talker.draw() * 8)) % 10), question.ideal)
    return [changed] if changed != question.ideal else []


def elsewhere(question: Question, talker: Talker) -> str:
    """A true sentence about something else."""
    relation, fact = talker.pick(topics())
    return talker.say("answer", relation, fact.slots[question.language])


def needless(talker: Talker) -> str:
    """“I don't know” where an answer is known, or nothing."""
    return talker.say("unknown", "answer", {}) if talker.chance(NEEDLESS) else ""


def made_up(talker: Talker) -> str:
    """An answer where none is due."""
    fact = talker.pick(of_relation("capital"))
    return talker.say("answer", "capital", fact.slots[talker.language])


def in_other_language(question: Question, talker: Talker) -> str:
    """An answer of the same sort in the wrong language: for lack of its translation, of something near it."""
    other = Talker(OTHER[question.language], str(talker.draw()))
    if question.behaviour == "unknown":
        return other.say("unknown", "answer", {})
    if question.behaviour == "refuse":
        return other.say("refuse", "answer", {})
    if question.task.startswith("arithmetic"):
        return other.say("sums", "answer", {"r": question.answers[0]})
    for relation, fact in topics():
        if (
            talker.language in fact.slots
            and talker.say("answer", relation, fact.slots[question.language]) == question.ideal
        ):
            return other.say("answer", relation, fact.slots[other.language])
    return ""
