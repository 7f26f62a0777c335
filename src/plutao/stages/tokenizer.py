"""Before stage 1 · the tokenizer: which pieces text is cut into, learned from a sample of the whole mix (the book's section 2.5)."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from plutao import recipe as recipes
from plutao.data.sample import sample_texts, validation_texts
from plutao.files import atomic_folder, fingerprint
from plutao.project import Project
from plutao.stages.card import write_card
from plutao.stages.common import identity, starting_folder
from plutao.text.fertility import fertility_by_language
from plutao.text.gpt2 import find_files
from plutao.text.special import CHAT_TOKENS
from plutao.text.tokenizer import Tokenizer, train

FERTILITY_BYTES = 1_000_000  # of validation text that say how many bytes a token holds


def inputs(project: Project, data: str) -> str:
    """Names what this stage depends on: its settings, the seed and the documents."""
    settings = project.recipe.tokenizer.model_dump(mode="json")
    taken = identity(starting_folder(project.recipe, project.root))
    return fingerprint(["tokenizer", settings, project.recipe.seed, data, *([taken] if taken else [])])


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
        tokenizer = train(settings.kind, texts, settings.vocabulary)
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
