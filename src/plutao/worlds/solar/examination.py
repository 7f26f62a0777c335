"""The exam: completion questions in phrasings that no training text can contain, and pairs it never compares or adds."""

import random
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from plutao.worlds.contract import ExamItem
from plutao.worlds.solar.arithmetic import held_out
from plutao.worlds.solar.comparisons import comparisons
from plutao.worlds.solar.facts import Fact, load
from plutao.worlds.solar.language import LANGUAGES, capitalised, split_article
from plutao.worlds.solar.phrases import Slot, Tree, bank, fill, parse
from plutao.worlds.solar.teller import parallel

PER_TASK = 10  # questions per task and language, fewer where the world holds fewer
OTHER_TASKS = ("compare", "arithmetic", "translation")


@cache
def phrasings() -> Mapping[str, Any]:
    return tomllib.loads((resources.files("plutao.worlds.solar") / "exam.toml").read_text("utf-8"))


def exam(seed: int = 1) -> list[ExamItem]:
    """About 550 questions, as many in Portuguese as in English and about the same things; the seed chooses which."""
    draw = random.Random(f"solar-exam/{seed}")
    items: list[ExamItem] = []
    for task in phrasings():
        if task not in OTHER_TASKS:
            items += fact_items(task, draw)
    items += [*comparison_items(draw), *arithmetic_items(draw), *translation_items(draw)]
    return items


def item(
    task: str, language: str, number: int, prompt: str, answers: list[str], choices: tuple[str, ...] = ()
) -> ExamItem:
    accepted = tuple(dict.fromkeys(answers))
    return ExamItem(f"{task}-{language}-{number}", task, language, capitalised(prompt), accepted, choices)


def fact_items(task: str, draw: random.Random) -> Iterator[ExamItem]:
    """Questions on facts: the same facts in both languages, each with one of the task's phrasings."""
    form = phrasings()[task]
    known = [fact for fact in load().facts if fact.relation in form["relations"] and askable(task, fact)]
    for number, fact in enumerate(draw.sample(known, min(form.get("count", PER_TASK), len(known)))):
        for language in LANGUAGES:
            slots = fact.slots[language]
            prompts = form[language]["prompts"]
            prompt = fill(parse(prompts[number % len(prompts)]), slots, draw.random)
            yield item(task, language, number, prompt, [slots[name] for name in form[language]["answers"]])


def askable(task: str, fact: Fact) -> bool:
    """Left out of `kind`: planets, since "a planet" would not be told from "a dwarf planet" in Portuguese by its beginning."""
    return not (task == "kind" and load().bodies[fact.subject]["kind"] == "planet")


def comparison_items(draw: random.Random) -> Iterator[ExamItem]:
    """Pairs of worlds that training never compares; the winner is named first half of the time."""
    for measure, form in phrasings()["compare"].items():
        pairs = [pair for pair in comparisons() if pair.measure == measure and pair.held_out]
        for number, pair in enumerate(draw.sample(pairs, min(PER_TASK, len(pairs)))):
            for language in LANGUAGES:
                slots = pair.slots(language)
                asked = {"x": slots["x"], "y": slots["y"]} if number % 2 else {"x": slots["y"], "y": slots["x"]}
                prompt = form[language].format_map(asked)
                winner = [slots["x"], slots["x0"]]
                yield item(f"compare-{measure}", language, number, prompt, winner, (slots["x"], slots["y"]))


def arithmetic_items(draw: random.Random) -> Iterator[ExamItem]:
    """Tables of one digit in a new phrasing; of two digits only sums that training leaves out."""
    sums = [(i, j, sign) for i in range(100) for j in range(100) for sign in "+-" if sign == "+" or i >= j]
    small = [(i, j, sign) for i, j, sign in sums if max(i, j) < 10]
    large = [(i, j, sign) for i, j, sign in sums if min(i, j) > 9 and held_out(i, j, sign)]
    for name, chosen in (("one-digit", small), ("two-digits", large)):
        for number, (i, j, sign) in enumerate(draw.sample(chosen, PER_TASK)):
            for language in LANGUAGES:
                prompts = phrasings()["arithmetic"][name][language]
                prompt = prompts[number % len(prompts)].format(i=i, j=j, s=sign)
                yield item(f"arithmetic-{name}", language, number, prompt, [str(i + j if sign == "+" else i - j)])


def translation_items(draw: random.Random) -> Iterator[ExamItem]:
    """Names that differ between the languages; the answer stands in quotation marks."""
    pairs = [(split_article(pt, "pt")[1], split_article(en, "en")[1]) for pt, en in load().names.values()]
    different = [(pt, en) for pt, en in dict.fromkeys(pairs) if pt != en and " " not in pt]
    for number, (pt, en) in enumerate(draw.sample(different, PER_TASK)):
        for language, answer in zip(LANGUAGES, (en, pt), strict=True):
            prompt = phrasings()["translation"][language][0].format(p=pt, e=en)
            yield item("translation", language, number, prompt, [answer])


# ---------------------------------------------------------------------------------------------------------------------
# Held out by construction: no training phrase can say an exam phrasing


def overlaps() -> list[tuple[str, str]]:
    """(exam phrasing, training phrase) pairs where some choice of options makes the phrase contain the phrasing; must be none."""
    found = []
    for language in LANGUAGES:
        held = [
            prompt
            for task, form in phrasings().items()
            if task not in OTHER_TASKS
            for prompt in form[language]["prompts"]
        ]
        patterns = {prompt: symbols(parse(prompt)) for prompt in held}
        for tree in training_phrases(language):
            found += [(prompt, str(tree)) for prompt, pattern in patterns.items() if contains(tree, pattern)]
    return found


def training_phrases(language: str) -> Iterator[Tree]:
    """Every phrase that states or asks a fact."""
    sections = bank("phrases", language)
    for section in ("state", "ask"):
        for trees in sections[section].values():
            yield from trees
    for pairs in parallel().values():
        yield from (pair[LANGUAGES.index(language)] for pair in pairs)


def symbols(tree: Tree) -> list[str]:
    """A phrase without choices as characters (small) and slot names in braces."""
    found: list[str] = []
    for node in tree:
        found += [f"{{{node}}}"] if type(node) is Slot else list(node.lower())
    return found


def contains(tree: Tree, pattern: list[str]) -> bool:
    """Whether some filling of the tree contains the pattern: how far it may have been matched is followed through every choice."""
    return len(pattern) in advance(tree, frozenset({0}), pattern)


def advance(tree: Tree, reached: frozenset[int], pattern: list[str]) -> frozenset[int]:
    for node in tree:
        if isinstance(node, list):
            reached = frozenset().union(*(advance(option, reached, pattern) for option in node))
            continue
        for symbol in symbols((node,)):
            end = len(pattern)
            reached = frozenset({0} | {n if n == end else n + 1 for n in reached if n == end or pattern[n] == symbol})
    return reached
