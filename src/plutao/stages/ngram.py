"""An n-gram model: the next token from the last n − 1, counted in the training text (the book's sections 2.2 to 2.4, BOX 2).

Nothing is trained here: the shards are read once, every run of up to n tokens is counted, and Kneser–Ney makes
probabilities of the counts. On the way the models of all lower orders are measured and write a few lines.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from plutao import recipe as recipes
from plutao.data.sample import validation_texts
from plutao.data.shards import ShardIndex, TokenShards
from plutao.errors import UserError
from plutao.evaluate.exam import take_exam
from plutao.evaluate.orders import TEXTS, measure_orders, store
from plutao.evaluate.perplexity import bits_per_byte
from plutao.files import fingerprint
from plutao.generate.sampling import Sampling
from plutao.generate.writer import Writer
from plutao.models.interop.arpa import read_arpa
from plutao.models.ngram import WEIGHTS, load, save_model
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.recipe.ancestors import NgramSettings
from plutao.stages.card import write_card
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.ngram_counts import Counts, TokenStream, count
from plutao.train.ngram_model import Kneser
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

TRY = 'plutao complete {place} --stage ngram --prompt "…"'
LOOKED_AT = 400_000
"""Bytes of validation text on which each order is measured; the whole model sees all of it."""
PILOT = 200_000
"""Tokens counted first to learn how many a given time allows."""
SPARE = 0.6
"""Share of a given time that is counted in; the rest measures."""


def settings_of(recipe: Recipe) -> NgramSettings:
    assert recipe.ngram is not None, "the recipe has no [ngram] section"
    return recipe.ngram


def check(recipe: Recipe, root: Path = Path()) -> None:
    """What can be refused before any long work: an ARPA file that is not there."""
    settings = settings_of(recipe)
    if settings.arpa is not None and not (root / settings.arpa).is_file():
        raise UserError(
            f"ngram.arpa: {root / settings.arpa} is not there. Name an ARPA file, or leave it out to count."
        )


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed, the tokenizer and the documents."""
    settings = settings_of(project.recipe).model_dump(mode="json", exclude={"megabytes"})
    given = [project.recipe.seed, project.tokenizer().fingerprint, project.documents.name]
    return fingerprint(["ngram", settings, *given])


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Counts the n-grams of the text and stores the model, measured, in the run.

    Args:
        minutes: wall time for it; where the text is too long for that, a part of it is counted.
    """
    if not world_.first:  # one process counts
        return
    settings = settings_of(project.recipe)
    out = project.stage_dir("ngram")
    out.mkdir(parents=True, exist_ok=True)
    recipes.save(project.recipe, out / "recipe.toml")
    tokenizer = project.tokenizer()
    if settings.arpa is not None:
        results = from_arpa(project.root / settings.arpa, tokenizer, out)
    else:
        results = from_counts(project, tokenizer, out, progress, minutes)
    tokenizer.save(out)
    results |= measure(out, tokenizer, project.documents, project.recipe)
    write_card(out, "ngram", inputs(project), results)


def from_arpa(path: Path, tokenizer: Tokenizer, out: Path) -> dict[str, Any]:
    """A model that was made elsewhere, over this tokenizer's tokens."""
    started = time.perf_counter()
    model = read_arpa(path, tokenizer)
    sizes = [len(level) for level in model.levels]
    save_model(model, out, ngrams=sizes, source=path.name)
    facts = {"order": model.order, "ngrams": sizes, "parameters": model.count_parameters(), "tokens": 0}
    return facts | {"seconds": round(time.perf_counter() - started, 2), "tokens_per_second": 0.0}


def from_counts(
    project: Project, tokenizer: Tokenizer, out: Path, progress: Progress, minutes: float | None
) -> dict[str, Any]:
    """Counts, looks at every order, and writes the model."""
    settings, shards = settings_of(project.recipe), project.shards()
    limit = affordable(shards, tokenizer, settings, minutes, out)
    started = time.perf_counter()
    stream = stream_of(shards, tokenizer, limit)
    with tempfile.TemporaryDirectory(dir=out, prefix=".counting.", suffix=".tmp") as folder:
        counts = count(
            stream,
            settings.order,
            tokenizer.vocabulary_size,
            Path(folder),
            settings.megabytes,
            lambda n, found: progress.note(f"N-grams of order {n}: {found:,} different ones."),
        )
        kneser = Kneser(counts, Path(folder), settings.smoothing)
        sizes = kneser.write(out, settings.prune, settings.prune_entropy)
        seconds = time.perf_counter() - started
        look_at_orders(project, tokenizer, counts, kneser, out)
    model = load(out)
    return {
        "order": settings.order,
        "smoothing": settings.smoothing,
        "ngrams": sizes,
        "ngrams_seen": [len(table) for table in counts.tables],
        "parameters": model.count_parameters(),
        "bytes": (out / WEIGHTS).stat().st_size,
        "tokens": stream.tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(stream.tokens / seconds, 1),
        "seed": project.recipe.seed,
        "device": "cpu",
        "machine": devices.describe(),
        "context": settings.order - 1,
        "data": [{"source": name, "tokens": len(shard)} for name, shard in shards.open().items()],
    }


def stream_of(shards: ShardIndex, tokenizer: Tokenizer, limit: int | None) -> TokenStream:
    """All training text, or of each source its share of `limit` tokens."""
    sources: Sequence[TokenShards] = list(shards.open().values())
    total = sum(map(len, sources))
    share = min(1.0, (limit or total) / max(total, 1))
    arrays = [shard.tokens[: round(len(shard) * share)] for shard in sources]
    return TokenStream([array for array in arrays if len(array)], tokenizer.end_of_text)


def affordable(
    shards: ShardIndex, tokenizer: Tokenizer, settings: NgramSettings, minutes: float | None, out: Path
) -> int | None:
    """How many tokens to count: what the recipe says, and no more than a given time allows, by the speed of a short try."""
    if minutes is None:
        return settings.tokens
    stream, started = stream_of(shards, tokenizer, PILOT), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=out, prefix=".counting.", suffix=".tmp") as folder:
        counts = count(stream, settings.order, tokenizer.vocabulary_size, Path(folder), settings.megabytes)
        Kneser(counts, Path(folder), settings.smoothing).write(Path(folder) / "model")
    speed = stream.tokens / (time.perf_counter() - started)
    return min(max(PILOT, int(SPARE * 60 * minutes * speed)), settings.tokens or shards.tokens())


def look_at_orders(project: Project, tokenizer: Tokenizer, counts: Counts, kneser: Kneser, out: Path) -> None:
    """Measures orders 1, 2 … N and leaves orders.json and a page of them beside the model."""
    recipe, settings = project.recipe, settings_of(project.recipe)
    documents = [(part.text, part.language or None) for part in validation_texts(project.documents, LOOKED_AT)]
    words: npt.NDArray[np.bool_] = counts.table(1).counts.read(0, counts.vocabulary) > 0
    seen = [int(words.sum()), *(len(table) for table in counts.tables[1:])]
    sampling = Sampling(max_tokens=settings.sample_tokens, n=TEXTS, seed=recipe.seed, end_tokens=())
    orders = measure_orders(kneser.model, words, seen, tokenizer, documents, sampling)
    facts = {"name": recipe.name, "tokens": counts.tokens, "vocabulary": counts.vocabulary}
    store(orders, out, facts, recipe.report.language)


def measure(out: Path, tokenizer: Tokenizer, documents: Path, recipe: Recipe) -> dict[str, Any]:
    """Bits per byte of the whole validation text, and the exam of each world the text is of."""
    model = load(out)
    texts = ((document.text, document.language or "") for document in validation_texts(documents))
    results: dict[str, Any] = {"validation": bits_per_byte(model, tokenizer, texts).as_json()}
    for name in sorted({source.world for source in recipe.data.sources if source.world}):
        results["exam"] = take_exam(Writer(model, tokenizer), tokenizer, world(name).exam(recipe.seed)).as_json()
    return results
