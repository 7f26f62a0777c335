"""Word vectors: words that keep the same company come to lie close together (the book's section 2.6)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from plutao import recipe as recipes
from plutao.data.catalogue import catalogue, get
from plutao.data.words import WordBatches, WordRun, build_words
from plutao.errors import UserError
from plutao.evaluate.word_vectors import analogies, read_pairs, read_questions, similarity
from plutao.files import fingerprint, sha256
from plutao.models.skipgram import SkipGram, SkipGramConfig, kernel
from plutao.models.word_vectors import WordVectors, save_vectors
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.recipe.ancestors import VectorsSettings
from plutao.stages.card import write_card
from plutao.stages.common import budget
from plutao.train import device as devices
from plutao.train.loop import Evaluate, Sample, fit
from plutao.train.parallel import World
from plutao.train.progress import Progress

TRY = "plutao inspect {place} --neighbours WORD (or --analogy, --map, --bias)"
READINGS = 5.0
"""Times the text is read where the recipe says nothing of its length."""
SHOWN = (50, 200, 800)
"""Ranks of the words whose neighbours are shown on the way, where the recipe names none."""


def settings_of(recipe: Recipe) -> VectorsSettings:
    assert recipe.vectors is not None, "only a recipe with [vectors] has this stage"
    return recipe.vectors


def check(recipe: Recipe, root: Path = Path()) -> None:
    """What can be refused before any long work: the compiler, and the tests that the recipe names.

    Raises:
        UserError: a test that is not there or can't be read; no compiler where the recipe insists on one.
    """
    settings = settings_of(recipe)
    if settings.compile == "on" and kernel() is None:
        raise UserError(
            'vectors.compile = "on" can\'t be done: no C++ compiler works here (Debian, Ubuntu: apt-get install g++); '
            '"auto" does without, more slowly.'
        )
    tests(settings, root)


def tests(settings: VectorsSettings, root: Path) -> dict[str, Path]:
    """The files of the tests that the recipe names, each read once to see that it can be."""
    found: dict[str, Path] = {}
    readers: dict[str, Callable[[Path], Any]] = {"similarity": read_pairs, "analogies": read_questions}
    for name, read in readers.items():
        named = getattr(settings, name)
        if named is not None:
            found[name] = get(named, root) if named in catalogue(root) else root / Path(named).expanduser()
            read(found[name])
    return found


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed, the documents and the tests."""
    settings = settings_of(project.recipe)
    measured = {name: sha256(path) for name, path in tests(settings, project.root).items()}
    return fingerprint(
        ["vectors", settings.model_dump(mode="json"), project.recipe.seed, project.documents.name, measured]
    )


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Learns the vectors of the recipe and stores them, measured, in the run.

    One process learns; others that torchrun started have nothing to do.

    Args:
        minutes: wall time the training may take, in place of the recipe's own length.
    """
    if not world_.first:
        return
    recipe, settings, out = project.recipe, settings_of(project.recipe), project.stage_dir("vectors")
    out.mkdir(parents=True, exist_ok=True)
    recipes.save(recipe, out / "recipe.toml")
    words = build_words(
        project.documents, project.data / "words", settings.lowercase, settings.least_count, settings.vocabulary
    )
    model = make(settings, words, recipe.seed)
    batches = WordBatches(words.run, settings.batch, recipe.seed)
    timed = (
        settings if any((settings.steps is not None, settings.minutes, settings.epochs)) else with_readings(settings)
    )
    length = budget(timed, batches.steps * settings.batch, settings.batch, minutes)
    device = devices.Device("cpu", 0, "fp32", False, how(model))
    files = tests(settings, project.root)
    trained = fit(
        model,
        None,
        batches,
        settings,
        length,
        out,
        device,
        evaluate=validation(files, settings) if settings.evaluate else None,
        sample=sampler(words, settings),
        progress=progress,
    )
    vectors = model.vectors(settings.lowercase)
    save_vectors(vectors, out, shape(settings))
    results = {
        "parameters": model.count_parameters(),
        "vocabulary": len(words.words),
        "words": words.total,
        "steps": trained.steps,
        "tokens": trained.tokens,
        "seconds": round(trained.seconds, 2),
        "tokens_per_second": round(trained.tokens_per_second, 1),
        "training_loss": trained.loss,
        "seed": recipe.seed,
        "device": device.kind,
        "precision": device.precision,
        "compiled": model.native is not None,
        "why": device.reason,
        "machine": devices.describe(),
        **measure(vectors, files),
    }
    write_card(out, "vectors", inputs(project), results | {"in_a_line": in_a_line(results)})


def with_readings(settings: VectorsSettings) -> VectorsSettings:
    return settings.model_copy(update={"epochs": READINGS})


def make(settings: VectorsSettings, words: WordRun, seed: int) -> SkipGram:
    """The model before its first step."""
    fields = {name: getattr(settings, name) for name in SkipGramConfig.__dataclass_fields__}
    model = SkipGram(SkipGramConfig(**fields), words.words, words.counts, settings.compile != "off")
    model.initialise(seed)
    return model


def shape(settings: VectorsSettings) -> dict[str, Any]:
    """What config.json tells of how the vectors were learned."""
    return {name: getattr(settings, name) for name in ("kind", "window", "negatives", "subsample")}


def how(model: SkipGram) -> str:
    if model.native is not None:
        return "fp32, compiled for this processor"
    return "fp32 through PyTorch, which is slower: without the compiled code"


def validation(files: dict[str, Path], settings: VectorsSettings) -> Evaluate | None:
    """A quick measure for the way: the likeness of pairs, where the recipe names a test of it."""
    if "similarity" not in files:
        return None
    pairs = read_pairs(files["similarity"])

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, SkipGram)
        found = similarity(model.vectors(settings.lowercase), pairs)
        return {} if found is None else {"similarity": found.value}

    return evaluate


def sampler(words: WordRun, settings: VectorsSettings) -> Sample:
    """Shows the neighbours of a few words while they are learned."""
    known = set(words.words)
    asked = [word for word in settings.sample_words if word in known]
    asked = asked or [words.words[rank] for rank in SHOWN if rank < len(words.words)] or words.words[:1]

    def sample(model: nn.Module) -> list[dict[str, str]]:
        assert isinstance(model, SkipGram)
        vectors = model.vectors(settings.lowercase)
        near = {word: [one.word for one in vectors.neighbours(word, 6)] for word in asked}
        return [{"prompt": word, "text": f" ≈ {', '.join(found)}"} for word, found in near.items()]

    return sample


def measure(vectors: WordVectors, files: dict[str, Path]) -> dict[str, Any]:
    """The tests that the recipe names, analogies by both methods."""
    results: dict[str, Any] = {}
    if "similarity" in files and (alike := similarity(vectors, read_pairs(files["similarity"]))) is not None:
        results["similarity"] = alike.as_json()
    if "analogies" in files:
        questions = read_questions(files["analogies"])
        results["analogies"] = {
            method: analogies(vectors, questions, method).as_json() for method in ("add", "multiply")
        }
    return results


def in_a_line(results: dict[str, Any]) -> str:
    """What the stage came to, in words."""
    parts = [
        f"{results['vocabulary']:,} words, {results['tokens'] / 1e6:.1f}M words read in {results['seconds']:.0f} s "
        f"({results['tokens_per_second']:,.0f} words/s)"
    ]
    if alike := results.get("similarity"):
        parts.append(f"likeness as people see it ρ = {alike['value']:.3f} ({alike['low']:.3f}–{alike['high']:.3f})")
    if solved := results.get("analogies", {}).get("add", {}).get("overall"):
        parts.append(f"{solved['value']:.1%} of {solved['n']:,} analogies")
    return "; ".join(parts) + "."
