"""Word vectors beside gensim's: the same words, settings and tests, one worker each; speed and what was learned.

    PLUTAO_DATA=FOLDER python benchmarks/vectors.py --recipe vetores-pt

Speed counts words of the text times the readings of it, over the processor's time (all threads together, so that whatever
else the machine does counts little) from lists of words to trained vectors; the counting of words, which both do before, is
left out. Both sides read the same documents in the same order, in this process, in turn, once for each seed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plutao.data.catalogue import get
from plutao.data.documents import build_documents
from plutao.data.words import WordBatches, numbered, word_lists
from plutao.evaluate.word_vectors import Pair, Question, analogies, read_pairs, read_questions, similarity
from plutao.models.skipgram import SkipGram, SkipGramConfig
from plutao.models.word_vectors import WordVectors
from plutao.recipe import Recipe, parse, shipped
from plutao.recipe.ancestors import VectorsSettings
from plutao.train.schedule import rate

Lists = list[list[str]]


def measure(recipe: Recipe, seeds: int, compiled: bool) -> dict[str, Any]:
    """Both sides with each seed; ratios are ours ÷ gensim's of one seed."""
    settings = recipe.vectors
    assert settings is not None and settings.similarity and settings.analogies
    here = Path.cwd()
    pairs, questions = read_pairs(get(settings.similarity, here)), read_questions(get(settings.analogies, here))
    with tempfile.TemporaryDirectory() as place:
        card = build_documents(recipe.data, recipe.seed, here, Path(place), lambda done, total: None)
        lists = list(word_lists(card.folder, settings.lowercase))
    sides: dict[str, list[dict[str, float]]] = {"plutao": [], "gensim": []}
    for seed in range(1, seeds + 1):
        for name, train in (("plutao", ours), ("gensim", theirs)):
            vectors, seconds = train(lists, settings, seed, compiled)
            found = judged(vectors, pairs, questions)
            words = sum(map(len, lists)) * (settings.epochs or 1)
            sides[name].append({"words_per_second": round(words / seconds), **found})
            print(f"  seed {seed}, {name}: {sides[name][-1]}", file=sys.stderr, flush=True)
    return told(sides, lists, settings)


def ours(lists: Lists, settings: VectorsSettings, seed: int, compiled: bool) -> tuple[WordVectors, float]:
    counter = Counter(word for words in lists for word in words)
    frequent = sorted((-count, word) for word, count in counter.items() if count >= settings.least_count)
    words, counts = [word for _, word in frequent], np.array([-count for count, _ in frequent])
    fields = {name: getattr(settings, name) for name in SkipGramConfig.__dataclass_fields__}
    started = time.process_time()
    model = SkipGram(SkipGramConfig(**fields), words, counts, compiled)
    model.initialise(seed)
    run = np.concatenate(list(numbered(words, iter(lists))))
    batches = WordBatches(run, settings.batch, seed)
    steps = round(batches.steps * (settings.epochs or 1))
    for step in range(steps):
        model.learn(next(batches), rate(step, steps, settings.schedule) * settings.optimizer.learning_rate)
    return model.vectors(settings.lowercase), time.process_time() - started


def theirs(lists: Lists, settings: VectorsSettings, seed: int, compiled: bool) -> tuple[WordVectors, float]:
    import gensim

    kinds: dict[bool, Any] = {False: gensim.models.Word2Vec, True: gensim.models.FastText}
    parts = {"min_n": settings.shortest, "max_n": settings.longest, "bucket": settings.buckets}
    model = kinds[settings.subwords](
        vector_size=settings.width,
        window=settings.window,
        min_count=settings.least_count,
        sg=int(settings.kind == "skipgram"),
        negative=settings.negatives,
        sample=settings.subsample,
        alpha=settings.optimizer.learning_rate,
        workers=1,
        seed=seed,
        **(parts if settings.subwords else {}),
    )
    model.build_vocab(lists)
    started = time.process_time()
    model.train(lists, total_examples=model.corpus_count, epochs=int(settings.epochs or 1))
    seconds = time.process_time() - started
    return WordVectors(model.wv.index_to_key, model.wv.vectors, lowercase=settings.lowercase), seconds


def judged(vectors: WordVectors, pairs: list[Pair], questions: list[Question]) -> dict[str, float]:
    alike, solved = similarity(vectors, pairs), analogies(vectors, questions)
    assert alike is not None and solved.overall is not None
    return {"similarity": round(alike.value, 4), "analogies": round(solved.overall.value, 4)}


def told(sides: dict[str, list[dict[str, float]]], lists: Lists, settings: VectorsSettings) -> dict[str, Any]:
    """Means over the seeds, each with its lowest and highest; and what is between the sides."""
    keys = ("words_per_second", "similarity", "analogies")
    means = {name: {key: spread([seed[key] for seed in seeds]) for key in keys} for name, seeds in sides.items()}
    each = [
        ours["words_per_second"] / theirs["words_per_second"]
        for ours, theirs in zip(sides["plutao"], sides["gensim"], strict=True)
    ]
    return {
        "words": sum(map(len, lists)),
        "settings": {
            key: getattr(settings, key)
            for key in ("kind", "subwords", "width", "window", "negatives", "subsample", "least_count", "epochs")
        },
        "seeds": len(each),
        "sides": means,
        "speed_ratio": {
            "ratio": round(statistics.median(each), 2), "low": round(min(each), 2), "high": round(max(each), 2)
        },
        "differences": {
            key: round(means["plutao"][key]["mean"] - means["gensim"][key]["mean"], 4) for key in keys[1:]
        },
    }  # fmt: skip


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": round(statistics.mean(values), 4), "low": min(values), "high": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="vetores-pt", help="a shipped recipe with a [vectors] section")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--torch", action="store_true", help="our side without its compiled code")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = parse(shipped()[arguments.recipe], overrides=arguments.set)
    result = measure(recipe, arguments.seeds, not arguments.torch)
    if arguments.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
