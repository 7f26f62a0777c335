"""Before stage 1 · the tokenizer: which pieces text is cut into, learned from a sample of the whole mix (the book's section 2.5)."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from plutao import recipe as recipes
from plutao.data.sample import sample_texts, validation_texts
from plutao.data.sources.rows import BadRows
from plutao.files import atomic_folder, fingerprint
from plutao.project import Project
from plutao.stages import examples
from plutao.stages.card import write_card
from plutao.stages.common import identity, starting_folder
from plutao.text.chat import pieces
from plutao.text.fertility import fertility_by_language
from plutao.text.gpt2 import find_files
from plutao.text.special import CHAT_TOKENS
from plutao.text.tokenizer import Tokenizer, train

CONVERSATIONS = 10_000  # of each source that the tokenizer is trained on, besides the text
FERTILITY_BYTES = 1_000_000  # of validation text that say how many bytes a token holds


def inputs(project: Project, data: str) -> str:
    """Names what this stage depends on: its settings, the seed and the documents."""
    settings = project.recipe.tokenizer.model_dump(mode="json")
    taken = identity(starting_folder(project.recipe, project.root))
    spoken = examples.identity(conversation_places(project))
    return fingerprint(["tokenizer", settings, project.recipe.seed, data, *filter(None, (taken, spoken))])


def conversation_places(project: Project) -> list[examples.Place]:
    """Where the conversations of a recipe with stage sft lie; not those that people of the project write, for one more of
    them must not begin everything anew.
    """
    sft = project.recipe.sft
    found = [] if sft is None else examples.places(sft.sources, project.root, "conversations")
    return [place for place in found if place.source is not None]


def conversation_texts(project: Project) -> Iterator[str]:
    """What is said in the first `CONVERSATIONS` conversations of each source: how people ask and assistants answer (tool
    calls among it) is cut into as few pieces as the pretraining text is.
    """
    for place in conversation_places(project):
        source = place.source
        if source is not None:
            few = min(source.count or CONVERSATIONS, CONVERSATIONS)
            place = replace(place, source=source.model_copy(update={"count": few}))
        bad = BadRows(project.recipe.data.bad_rows)
        for conversation in examples.conversations_of(place, project.recipe.seed, bad)[:CONVERSATIONS]:
            yield from (piece.text for piece in pieces(conversation.messages) if not piece.special)


def run(project: Project, documents: Path, stage_inputs: str, note: Callable[[str], None]) -> Tokenizer:
    """Trains the tokenizer, or takes the ready one the recipe names, and stores it in the run.

    Raises:
        UserError: the text does not support the vocabulary, or the ready tokenizer can't be read.
    """
    settings = project.recipe.tokenizer
    started = time.perf_counter()
    if folder := starting_folder(project.recipe, project.root):
        tokenizer = taken_over(folder, note)
    elif settings.path is not None:
        tokenizer = Tokenizer.load(project.root / settings.path)
    else:
        weights = {source.name: source.weight for source in project.recipe.data.sources}
        texts = sample_texts(documents, settings.sample_megabytes, project.recipe.seed, weights)
        tokenizer = train(settings.kind, chain(texts, conversation_texts(project)), settings.vocabulary)
    seconds = time.perf_counter() - started
    samples = [(document.language, document.text) for document in validation_texts(documents, FERTILITY_BYTES)]
    held = fertility_by_language({"ours": tokenizer, **beside(project)}, samples)
    results = {
        "seconds": round(seconds, 2),
        "kind": tokenizer.kind,
        "vocabulary": tokenizer.vocabulary_size,
        "reversible": tokenizer.reversible,
        "fingerprint": tokenizer.fingerprint,
        "bytes_per_token": {of: {name: round(value, 3) for name, value in by.items()} for of, by in held.items()},
    }
    with atomic_folder(project.stage_dir("tokenizer")) as folder:
        tokenizer.save(folder)
        recipes.save(project.recipe, folder / "recipe.toml")
        write_card(folder, "tokenizer", stage_inputs, results)
    took = f"{tokenizer.kind}, {tokenizer.vocabulary_size:,} tokens, in {seconds:.1f} s"
    note(f"Tokenizer: {took}; bytes per token: {in_words(held)}.")
    return tokenizer


def taken_over(folder: Path, note: Callable[[str], None]) -> Tokenizer:
    """The tokenizer of the model that the recipe starts from, with the tokens of conversations added where it has none."""
    tokenizer = Tokenizer.load(folder)
    lacking = [token for token in CHAT_TOKENS if not tokenizer.has(token)]
    if lacking:
        note(f"The tokenizer of {folder} has no {', '.join(lacking)}: added behind its last token, for conversations.")
    return tokenizer.with_special_tokens(CHAT_TOKENS)


def beside(project: Project) -> dict[str, Tokenizer]:
    """GPT-2's tokenizer to compare with, where its two files are at hand: in data/gpt2 or PLUTAO_DATA/assets."""
    folders = [project.data / "gpt2"]
    if local := os.environ.get("PLUTAO_DATA"):
        folders.append(Path(local) / "assets")
    return next(({"gpt2": Tokenizer.load(folder)} for folder in folders if find_files(folder)), {})


def in_words(held: dict[str, dict[str, float]]) -> str:
    """`pt 4.12 (GPT-2 2.71), en 4.33 (GPT-2 4.25)`."""
    others = {language: f" (GPT-2 {by['gpt2']:.2f})" if "gpt2" in by else "" for language, by in held.items()}
    return ", ".join(f"{language} {by['ours']:.2f}{others[language]}".strip() for language, by in held.items())
