"""The stream of documents: kinds by weight, the two languages in balance, the same bytes for the same seed."""

from collections.abc import Callable, Iterator, Mapping

from plutao.worlds.contract import WorldDocument
from plutao.worlds.solar import arithmetic, comparisons, descriptions, dialogues, stories, words
from plutao.worlds.solar.language import LANGUAGES
from plutao.worlds.solar.teller import Teller

# How often each kind is written. Facts are what the exam asks for, so kinds that state them plainly come most often.
KINDS: Mapping[str, tuple[Callable[[Teller], str], int]] = {
    "description": (descriptions.description, 24),
    "list": (descriptions.catalogue, 10),
    "comparison": (comparisons.comparison, 11),
    "story": (stories.story, 7),
    "diary": (stories.diary, 7),
    "letter": (stories.letter, 6),
    "dialogue": (dialogues.dialogue, 9),
    "sun-and-pluto": (dialogues.sun_and_pluto, 4),
    "quiz": (dialogues.quiz, 14),
    "words": (words.word_page, 9),
    "analogy": (words.analogy, 4),
    "translation": (words.translation, 7),
    "arithmetic": (arithmetic.arithmetic, 12),
}


def documents(megabytes: float, seed: int) -> Iterator[WorldDocument]:
    """About `megabytes` MB (10⁶ bytes of UTF-8) of documents, never held in memory at once; the language with fewer bytes so
    far goes next.

    Figures for 8 MB, seed 1, are in docs/world.md.
    """
    tellers = {language: Teller(language, f"solar/{seed}/{language}") for language in LANGUAGES}
    written = dict.fromkeys(LANGUAGES, 0)
    names, weights = list(KINDS), [weight for _, weight in KINDS.values()]
    number = 0
    while sum(written.values()) < megabytes * 1e6:
        language = min(LANGUAGES, key=lambda name: written[name])
        teller = tellers[language]
        kind = teller.random.choices(names, weights)[0]
        text = KINDS[kind][0](teller)
        written[language] += len(text.encode())
        yield WorldDocument(text, f"solar-{seed}-{number}", language, kind)
        number += 1
