"""The exam of the assistant is held out by construction: no phrase of training, through any of its choices, can say one of its phrasings.

As `plutao.worlds.solar.examination` does for the completion exam; here the phrases are those of documents and dialogues,
the questions of dialogues within every frame that may stand around them.
"""

from collections.abc import Iterator
from typing import Any

from plutao.worlds.solar import examination
from plutao.worlds.solar.chat.talker import exam_phrasings
from plutao.worlds.solar.language import LANGUAGES
from plutao.worlds.solar.phrases import Slot, Tree, bank, parse

FRAMED = {"direct": "q", "indirect": "i", "other": "q"}  # frames of questions, and the slot where the question stands


def overlaps() -> list[tuple[str, str]]:
    """(exam phrasing, where a phrase of training can say it), for the assistant's exam and for the completion exam; must be none."""
    found = []
    for language in LANGUAGES:
        held = [*exam_cores(exam_phrasings(), language), *completion_cores(language)]
        patterns = {core: examination.symbols(parse(core)) for core in held}
        for where, tree in training_trees(language):
            possible = slots_of(tree)
            for core, pattern in patterns.items():
                if slots_of(parse(core)) <= possible and examination.contains(tree, pattern):
                    found.append((core, where))
    return found


def slots_of(tree: Tree) -> set[str]:
    """Every slot that may be filled in some choice; a phrase without a phrasing's slots cannot say it."""
    found: set[str] = set()
    for node in tree:
        if isinstance(node, list):
            found |= {slot for option in node for slot in slots_of(option)}
        elif type(node) is Slot:
            found.add(node)
    return found


def exam_cores(form: Any, language: str) -> Iterator[str]:
    """Every phrasing of chat_exam.toml in a language. A greeting is asked as it stands, any other one holds a slot."""
    for key, value in form.items():
        if key in (language, f"better-{language}"):
            yield from (phrasing.replace("{q}", "") for phrasing in value)
        elif isinstance(value, dict):
            yield from exam_cores(value, language)


def completion_cores(language: str) -> Iterator[str]:
    """The completion exam's, which dialogues must not say either."""
    for task, form in examination.phrasings().items():
        if task not in examination.OTHER_TASKS:
            yield from form[language]["prompts"]


def training_trees(language: str) -> Iterator[tuple[str, Tree]]:
    """Documents' phrases, dialogues' phrases, and questions in their frames."""
    yield from (("documents", tree) for tree in examination.training_phrases(language))
    chat, documents = bank("chat", language), bank("phrases", language)
    for section, keys in chat.items():
        for key, trees in keys.items():
            yield from ((f"{section}.{key}", tree) for tree in trees)
    direct = [tree for section in ("ask", "compare_ask") for trees in documents[section].values() for tree in trees]
    direct += [tree for section in ("ask", "compare", "sums") for trees in chat[section].values() for tree in trees]
    direct += [tree for key in ("future", "private", "beyond") for tree in chat["unknown"][key]]
    direct += [*chat["refuse"]["ask"], *chat["kind"]["ask"], *chat["kind"]["better"]]
    indirect = [tree for trees in chat["indirect"].values() for tree in trees]
    for key, slot in FRAMED.items():
        before, after = zip(*(around(frame, slot) for frame in chat["frames"][key]), strict=True)
        yield f"frames.{key}", (list(before), direct if slot == "q" else indirect, list(after))


def around(frame: Tree, slot: str) -> tuple[Tree, Tree]:
    """What a frame has before and after its question."""
    place = next(place for place, node in enumerate(frame) if type(node) is Slot and node == slot)
    return frame[:place], frame[place + 1 :]
