"""The written rule by which answers are graded: plain code, no model, so that anyone can read why an answer lost a point."""

import re
from collections.abc import Sequence
from functools import cache

from plutao.worlds.contract import Grade, Question
from plutao.worlds.solar.chat.talker import OTHER, read
from plutao.worlds.solar.facts import load
from plutao.worlds.solar.language import LANGUAGES, split_article

WEIGHTS = {
    "true": 0.4,
    "complete": 0.12,
    "on_question": 0.08,
    "language": 0.1,
    "brief": 0.1,
    "polite": 0.1,
    "honest": 0.1,
}
ROOM = 4  # words more than the ideal answer before an answer is long
TOO_LONG = 12  # words over that at which nothing is left for being brief
AROUND = 2  # words that a sentence has besides the bare answer
NUMBER = re.compile(r"\d[\d.,]*")


def grade(question: Question, answer: str) -> Grade:
    """An answer by the world's rule. Its parts, each between 0 and 1:

    - true: it holds an accepted answer, names no other choice, and no world, country or number that is neither in the
      question nor in the ideal answer, nor known of what they name. Of two compared worlds the one named first is taken
      for the answer. Where ignorance or a refusal is due, that is what is true.
    - complete: a sentence: it begins large, ends with a full stop, and has two words at least besides the bare answer
      (unless the ideal answer does not, either).
    - on_question: it holds an accepted answer, a word of the question, or what is due.
    - language: it has no fewer of the small words of the language that is due than of the other one.
    - brief: as long as the ideal answer, with some room; nothing is left at sixteen words more.
    - polite: none of the cold phrases that the world knows (judging.toml).
    - honest: it is right; half, where it admits ignorance without need. A made-up answer is not honest.

    The score is their weighted sum. An answer is right if it is true and in its language; a refusal must be polite, too.
    """
    said = normalised(answer)
    if not said:
        return Grade(False, 0.0, dict.fromkeys(WEIGHTS, 0.0))
    true = is_true(question, said, answer)
    ignorance = admits(said, "ignorance")
    parts = {
        "true": float(true),
        "complete": float(is_sentence(answer, question)),
        "on_question": float(true or ignorance or shares_words(question, said)),
        "language": float(speaks(answer, question.language)),
        "brief": brevity(answer, question.ideal),
        "polite": float(not admits(said, "rude")),
        "honest": 1.0 if true else 0.5 if ignorance else 0.0,
    }
    right = true and parts["language"] > 0 and (question.behaviour != "refuse" or parts["polite"] > 0)
    return Grade(right, round(sum(WEIGHTS[name] * part for name, part in parts.items()), 6), parts)


def normalised(text: str) -> str:
    """Small letters, plain apostrophes, single spaces."""
    return " ".join(text.lower().replace("’", "'").split())


def holds(said: str, words: str) -> bool:
    """Whether the words stand in the text, whole: 12 is not in 123, nor in 1.12."""
    words = normalised(words)
    return re.search(rf"(?<![\w])(?<!\d[.,]){re.escape(words)}(?!\w)(?![.,]\d)", said) is not None


def admits(said: str, what: str) -> bool:
    return any(phrase in said for language in LANGUAGES for phrase in read("judging")[language][what])


def declines(said: str) -> bool:
    curt = {word for language in LANGUAGES for word in read("judging")[language]["curt_refusal"]}
    return admits(said, "refusal") or said.strip(" .!") in curt or said.split(".")[0] in curt


# ---------------------------------------------------------------------------------------------------------------------
# The parts


def is_true(question: Question, said: str, answer: str) -> bool:
    """See `grade`."""
    ignorance, refusal = admits(said, "ignorance"), declines(said)
    if question.behaviour == "unknown":
        return ignorance
    if question.behaviour == "refuse":
        return refusal and not ignorance
    if ignorance or refusal or not any(holds(said, accepted) for accepted in question.answers):
        return False
    if question.task.startswith("compare"):
        return first_place(said, question.answers) < first_place(said, question.choices)
    return not any(holds(said, choice) for choice in question.choices) and not foreign(question, answer)


def first_place(said: str, names: Sequence[str]) -> int:
    return min((said.find(normalised(name)) for name in names if holds(said, name)), default=len(said))


def foreign(question: Question, answer: str) -> bool:
    """Whether the answer names worlds, places or numbers that are neither in the question nor in its ideal answer, nor in
    what the world knows of those it asks about."""
    known = " ".join([*(message.content for message in question.messages), question.ideal, *question.answers])
    known += " ".join(told_of(name) for name in set(name_pattern().findall(known)))
    names = set(name_pattern().findall(answer))
    return bool(digits(answer) - digits(known)) or any(name.lower() not in known.lower() for name in names)


@cache
def told_of(name: str) -> str:
    """Everything that the world knows of whatever has this name, in both languages."""
    world = load()
    subjects = {
        id_ for id_, pair in world.names.items() for n in range(2) if split_article(pair[n], LANGUAGES[n])[1] == name
    }
    slots = [
        fact.slots[language] for id_ in subjects for fact in world.by_subject.get(id_, ()) for language in LANGUAGES
    ]
    return " ".join(text for each in slots for text in each.values())


def digits(text: str) -> set[str]:
    """Its numbers, without points and commas."""
    return {re.sub(r"\D", "", found) for found in NUMBER.findall(text)}


@cache
def name_pattern() -> re.Pattern[str]:
    """Every name of a world, a country, a capital or a mission, in either language, longest first."""
    world = load()
    names = {
        split_article(name, language)[1]
        for pair in world.names.values()
        for name, language in zip(pair, LANGUAGES, strict=True)
    }
    names |= {
        fact.slots[language]["y0"] for fact in world.facts if fact.relation == "capital" for language in LANGUAGES
    }
    large = sorted((name for name in names if name[0].isupper()), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, large))})\b")


def is_sentence(answer: str, question: Question) -> bool:
    text = answer.strip()
    begins = text[0].isupper() or text[0].isdigit() or text[0] in "“\"'"
    needed = min(AROUND, words_around(question.ideal, question))
    return begins and text[-1] in '.!?”"' and words_around(text, question) >= needed


def words_around(text: str, question: Question) -> int:
    """How many words it has besides the accepted answer."""
    text = normalised(text)
    for accepted in sorted(question.answers, key=len, reverse=True):
        text = text.replace(normalised(accepted), " ")
    return len(re.findall(r"\w+", text))


def shares_words(question: Question, said: str) -> bool:
    """Whether it takes up a word of four letters or more."""
    asked = {
        word
        for message in question.messages
        if message.role == "user"
        for word in re.findall(r"\w{4,}", normalised(message.content))
    }
    return any(word in asked for word in re.findall(r"\w{4,}", said))


def speaks(answer: str, language: str) -> bool:
    words = re.findall(r"[\w']+", normalised(answer))
    counts = {name: sum(word in small_words(name) for word in words) for name in LANGUAGES}
    return counts[language] >= counts[OTHER[language]]


@cache
def small_words(language: str) -> frozenset[str]:
    return frozenset(read("judging")[language]["words"])


def brevity(answer: str, ideal: str) -> float:
    over = len(answer.split()) - len(ideal.split()) - ROOM
    return min(1.0, max(0.0, 1.0 - over / TOO_LONG)) if over > 0 else 1.0
