"""The first look inside, for the report: how the base model reads a sentence it never learned from, and how it draws the next token."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from plutao.data.sample import validation_texts
from plutao.errors import UserError
from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.section import Section, Strip
from plutao.evaluate.report.words import words

if TYPE_CHECKING:
    from plutao.look.view import View

STAGE = "base"
LARGEST = 2_000_000_000
"""Bytes of weights up to which the model is loaded for this; a larger one can be looked at with `plutao inspect`."""
SHORTEST, LONGEST = 40, 100
"""Characters of the sentence."""
TOP, SEED = 8, 0
"""Tokens listed, and the seed of the draw that is shown: its r is neither near 0 nor near 1."""


def first_look(run_dir: Path, facts: dict[str, Any], language: str) -> Section | None:
    """Coloured tokens, the next-token table and the walk of softmax; None where the model or a sentence is missing."""
    folder = run_dir / STAGE
    weights = [path.stat().st_size for path in folder.glob("*.safetensors")]
    sentence = a_sentence(run_dir, facts, language)
    if not weights or sum(weights) > LARGEST or sentence is None:
        return None
    try:
        strip, views = looks(folder, sentence, language)
    except UserError:
        return None  # a folder that can't be read is no reason to have no report
    say = words(language)
    step = facts["stages"][STAGE].get("steps")
    shows = say["shows"].format(run=facts["run"], stage=STAGE, step=Numbers(say).number(step) if step else "–")
    section = Section("look", say["look_section"], say["look_section_note"].format(stage=STAGE), shows)
    section.paragraphs = [f"“{sentence}”"]
    section.strip = strip
    section.large = list(views)  # type: ignore[arg-type]  # a view has what an exhibit has
    return section


def looks(folder: Path, sentence: str, language: str) -> "tuple[Strip, list[View]]":
    """The coloured tokens, and the views of what comes next, from the model in a folder."""
    from plutao.look import next_token, softmax, tokens
    from plutao.models.interop.huggingface import load_model
    from plutao.text.tokenizer import Tokenizer

    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    beginning = half_of(sentence)
    cut = tokens.cut(tokenizer, sentence)
    seen = tokens.view(cut, language)
    tinted = [
        (token.text, str(token.id), tokens.TINTS[place % len(tokens.TINTS)]) for place, token in enumerate(cut.tokens)
    ]
    strip = Strip(seen.title, seen.note, tinted, list(seen.columns), [list(row) for row in seen.rows])
    return strip, [
        next_token.view(next_token.next_tokens(model, tokenizer, beginning, TOP), language),
        softmax.view(softmax.softmax_steps(model, tokenizer, beginning, 1.0, SEED, TOP), language),
    ]


def half_of(sentence: str) -> str:
    """The first half of the words: what comes next is then worth asking."""
    parts = sentence.split(" ")
    return " ".join(parts[: max(2, len(parts) // 2)])


def a_sentence(run_dir: Path, facts: dict[str, Any], language: str) -> str | None:
    """The first short sentence of the validation text, in the report's language where there is one in it."""
    documents = run_dir.resolve().parents[1] / "data" / "documents" / str(facts["fingerprints"].get("data"))
    found: list[tuple[bool, str]] = []
    try:
        for part in validation_texts(documents, limit=200_000):
            if sentence := sentence_in(part.text):
                found.append((part.language == language, sentence))
            if found and found[-1][0]:
                break
    except UserError:
        return None
    return max(found, key=lambda each: each[0])[1] if found else None


def sentence_in(text: str) -> str | None:
    """The first line's beginning that ends like a sentence and is neither too short nor too long."""
    for line in text.splitlines():
        for end in (place + 1 for place, sign in enumerate(line[:LONGEST]) if sign in ".!?"):
            if end >= SHORTEST and (end == len(line) or line[end] == " "):
                return line[:end].strip()
    return None
