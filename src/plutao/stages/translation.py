"""Stage translation: an encoder and a decoder learn to say in one language what was said in another (the book's chapter 4)."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from plutao.data import catalogue
from plutao.data.documents import world_version
from plutao.data.pack import NOT_LEARNED
from plutao.data.pair_batches import Marks, PairBatch, PairBatches, by_length, rows_of
from plutao.data.pairs import Columns, Pair, Split, read_pairs, read_parallel, split
from plutao.data.sources.find import find_files
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.evaluate.intervals import bootstrap_ratio
from plutao.evaluate.translation import in_json, scores
from plutao.files import fingerprint, sha256, write_text
from plutao.generate.translator import Translator
from plutao.models.seq2seq import Seq2Seq, Seq2SeqConfig, make, save_seq2seq
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.recipe.ancestors import PairSource, TranslationSettings
from plutao.stages.card import write_card
from plutao.stages.common import budget, noncommercial
from plutao.stages.examples import below
from plutao.stages.plain import describe, train
from plutao.text import tokenizer as tokenizers
from plutao.text.special import PAD
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.device import Device
from plutao.train.loop import Evaluate, Sample
from plutao.train.objectives_translation import translation
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

TRY = 'plutao complete {place} --prompt "…", plutao inspect {place} --translate "…"'
START, END = "<|im_start|>", "<|im_end|>"  # the book's <sos> and <eos>
WORLD_COUNT = 10_000  # pairs that a world writes where the recipe does not say how many
TOKENIZER_BYTES = 32_000_000  # of pairs that the vocabulary is learned from
SAMPLES = 3  # validation sentences that are translated on the way
AT_ONCE = 50_000  # sentences encoded together
Numbers = npt.NDArray[np.float64]
Ids = list[int]


def settings_of(recipe: Recipe) -> TranslationSettings:
    assert recipe.translation is not None, "the recipe has no [translation] section"
    return recipe.translation


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed and the sentence pairs."""
    settings = settings_of(project.recipe)
    found = [identity(source, project.root) for source in settings.sources]
    return fingerprint(["translation", settings.model_dump(mode="json"), project.recipe.seed, found])


def identity(source: PairSource, root: Path) -> Any:
    """Names the pairs of a source by content."""
    if source.world is not None:
        return world_version(source.world)
    return [
        [file.name, sha256(file.path)] for place in paths_of(source, root) for file in find_files(str(place), Path())
    ]


def paths_of(source: PairSource, root: Path) -> list[Path]:
    """Where a source's files are; a corpus is fetched if it has to be."""
    if source.corpus is not None:
        return [catalogue.get(source.corpus, root)]
    return [below(root, path) for path in (source.path, source.target_path) if path is not None]


def check(recipe: Recipe, root: Path) -> None:
    """What can be refused before any long work: no pairs, what is not there, a language that a world does not speak, a shape
    that can't be.

    Raises:
        UserError: see above.
    """
    settings = settings_of(recipe)
    devices.choose(settings.precision, settings.compile)
    if not settings.sources:
        raise UserError("Stage translation has nothing to learn from: name sentence pairs in [[translation.sources]].")
    for source in settings.sources:
        if source.world is not None:
            spoken = world(source.world).languages
            if not {settings.source, settings.target} <= set(spoken):
                raise UserError(
                    f"The world {source.world!r} speaks {' and '.join(spoken)}, not {settings.source} and {settings.target}: "
                    "set translation.source and translation.target to these."
                )
        for path in paths_of(source, root):
            find_files(str(path), Path())
    with torch.device("meta"):
        make(shape(settings, settings.vocabulary))


def shape(settings: TranslationSettings, vocabulary: int) -> Seq2SeqConfig:
    """The encoder and decoder that a recipe asks for."""
    return Seq2SeqConfig(
        kind=settings.kind,
        vocabulary=vocabulary,
        layers=settings.layers,
        width=settings.width,
        heads=settings.heads,
        hidden=settings.hidden or 4 * settings.width,
        cell=settings.cell,
        dropout=settings.dropout,
        shared=settings.shared,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The data


@dataclass
class Pairs:
    """All pairs, those kept aside apart from the others, and what the card says of their sources."""

    parts: Split
    card: dict[str, dict[str, Any]] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)


def read(settings: TranslationSettings, root: Path, seed: int) -> Pairs:
    """Reads the pairs of all sources and keeps some aside.

    Raises:
        UserError: a row that does not fit (where bad rows are refused), or too few pairs.
    """
    everything: list[Pair] = []
    card: dict[str, dict[str, Any]] = {}
    for source in settings.sources:
        bad = BadRows(settings.bad_rows)
        found = list(pairs_of(source, settings, root, seed, bad))
        if not found:
            raise UserError(f"The source {source.name!r} has no sentence pairs: check its path and its fields.")
        everything += found
        card[source.name] = {
            "origin": source.path or source.corpus or source.world,
            "pairs": len(found),
            "license": license_of(source, root),
            "skipped": dict(bad.counts),
            "skipped_examples": bad.examples,
        }
    parts = split(everything, settings.validation, settings.test, seed)
    for name, some in (("train", parts.train), ("validation", parts.validation), ("test", parts.test)):
        of = Counter(pair.origin for pair in some)
        for source_name in card:
            card[source_name][name] = of[source_name]
    return Pairs(parts, card, {name: each["license"] or "" for name, each in card.items()})


def pairs_of(
    source: PairSource, settings: TranslationSettings, root: Path, seed: int, bad: BadRows
) -> "islice[Pair] | list[Pair]":
    """The pairs of one source."""
    if source.world is not None:
        written = world(source.world).translations(source.count or WORLD_COUNT, seed)
        return [Pair(each[settings.source], each[settings.target], source.name) for each in written]
    columns = columns_of(source, settings)
    path, *target = paths_of(source, root)
    found = read_parallel(path, target[0], source.name, bad) if target else read_pairs(path, source.name, columns, bad)
    return islice(found, source.count)


def columns_of(source: PairSource, settings: TranslationSettings) -> Columns:
    return Columns(source.source_field or settings.source, source.target_field or settings.target)


def license_of(source: PairSource, root: Path) -> str | None:
    if source.license is not None:
        return source.license
    if source.corpus is not None:
        return catalogue.find(source.corpus, root).license
    return world(source.world).license if source.world is not None else None


def make_tokenizer(pairs: Sequence[Pair], vocabulary: int) -> Tokenizer:
    """One vocabulary of both languages, from the pairs that are learned from (Vaswani et al. 2017, section 5.1).

    Raises:
        UserError: the pairs support no vocabulary of that size.
    """
    texts, size = [], 0
    for pair in pairs:
        size += len(pair.source) + len(pair.target)
        texts += [pair.source, pair.target]
        if size > TOKENIZER_BYTES:
            break
    try:
        return tokenizers.train("bpe", texts, vocabulary)
    except UserError as error:
        raise UserError(str(error).replace("tokenizer.", "translation.")) from error


def encode(tokenizer: Tokenizer, pairs: Sequence[Pair], longest: int | None) -> list[tuple[Ids, Ids]]:
    """Pairs as tokens, without marks; those with more than `longest` on a side are left out."""
    found = []
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        sides = (tokenizer.encode_batch([p.source for p in some]), tokenizer.encode_batch([p.target for p in some]))
        found += [(s, t) for s, t in zip(*sides, strict=True) if longest is None or max(len(s), len(t)) <= longest]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The stage


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Trains a translator and stores it, measured, in the run.

    Args:
        minutes: wall time the training may take, in place of the recipe's own length.
    """
    recipe, settings = project.recipe, settings_of(project.recipe)
    made = read(settings, project.root, recipe.seed)
    tokenizer = make_tokenizer(made.parts.train, settings.vocabulary)
    marks = Marks(tokenizer.special(START), tokenizer.special(END), tokenizer.special(PAD))
    model = make(shape(settings, tokenizer.vocabulary_size))
    assert (model.config.start, model.config.end, model.config.pad) == (marks.start, marks.end, marks.pad)
    model.initialise(recipe.seed)
    translator = Translator(model, tokenizer, settings.source, settings.target, settings.beam, settings.length_penalty)
    learned = encode(tokenizer, made.parts.train, settings.longest)
    if len(learned) < world_.size:
        raise UserError(f"All sentence pairs are longer than {settings.longest} tokens: raise translation.longest.")
    batches = PairBatches(learned, marks, settings.batch, recipe.seed, world_.rank, world_.size)
    held = held_rows(encode(tokenizer, made.parts.validation, None), marks, settings.batch)
    device = devices.choose(settings.precision, settings.compile, world_.local_rank)
    trained = train(
        project,
        "translation",
        model,
        translation(settings.label_smoothing, device.compiled),
        batches,
        settings,
        budget(settings, batches.steps_per_epoch, 1, minutes, reading_to_come(held, made.parts.test, tokenizer)),
        device,
        world_,
        progress,
        evaluate=validation(held, device),
        sample=sampler(translator, made.parts.validation),
    )
    if not world_.first:
        return
    out = project.stage_dir("translation")
    store(translator, out)
    results = describe(model.count_parameters(), device, trained, settings, recipe.seed)
    results |= {"kind": settings.kind, "source": settings.source, "target": settings.target}
    results |= {"sources": made.card, "noncommercial": noncommercial(made.licenses), "epochs": round(batches.epochs, 3)}
    results |= {"left_out": {"twins": made.parts.twins, "too_long": len(made.parts.train) - len(learned)}}
    results |= measure(translator, made.parts, held, out)
    write_card(out, "translation", inputs(project), results | {"in_a_line": in_a_line(results)})


def store(translator: Translator, out: Path) -> None:
    """The folder of a translator: config.json (with how it searches), model.safetensors, the tokenizer's files."""
    model = translator.model
    model.to("cpu").eval()
    told = {name: getattr(translator, name) for name in ("source", "target", "beam", "length_penalty")}
    save_seq2seq(model, out, **told)
    translator.tokenizer.save(out)


def held_rows(pairs: Sequence[tuple[Ids, Ids]], marks: Marks, most: int) -> list[PairBatch]:
    """Validation pairs as batches."""
    return [rows_of([pairs[place] for place in group], marks) for group in by_length(pairs, range(len(pairs)), most)]


def reading_to_come(held: Sequence[PairBatch], test: Sequence[Pair], tokenizer: Tokenizer) -> int:
    """Tokens that measuring reads at the end; those that it writes count six times, for writing takes so much longer."""
    written = sum(len(ids) for ids in tokenizer.encode_batch([pair.target for pair in test]))
    return sum(batch.tokens.numel() for batch in held) + 6 * written


def validation(held: Sequence[PairBatch], device: Device) -> Evaluate:
    """The loss of the pairs kept aside, without label smoothing, in nats per token."""

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Seq2Seq)
        with device.autocast():
            nats, counts = sentence_losses(model, held)
        return {"loss": float(nats.sum() / counts.sum())}

    return evaluate


@torch.inference_mode()
def sentence_losses(model: Seq2Seq, batches: Sequence[PairBatch]) -> tuple[Numbers, Numbers]:
    """For each pair the nats that its translation costs, and its tokens: two arrays (pairs,)."""
    place = model.embedding.weight.device
    nats, counts = [], []
    for batch in batches:
        batch = batch.to(place)
        logits = model(batch.source, batch.tokens).float()
        losses = F.cross_entropy(logits.transpose(1, 2), batch.targets, ignore_index=NOT_LEARNED, reduction="none")
        nats.append(losses.sum(dim=1).cpu().double().numpy())
        counts.append((batch.targets != NOT_LEARNED).sum(dim=1).cpu().double().numpy())
    return np.concatenate(nats), np.concatenate(counts)


def sampler(translator: Translator, held: Sequence[Pair]) -> Sample:
    """Lets the model translate a few sentences that it has not seen while it learns, greedily."""
    prompts = [pair.source for pair in held[:SAMPLES]]

    def sample(model: nn.Module) -> list[dict[str, str]]:
        assert model is translator.model
        found = translator.translate(prompts, beam=1)
        return [{"prompt": prompt, "text": some[0].text} for prompt, some in zip(prompts, found, strict=True)]

    return sample


def measure(translator: Translator, parts: Split, held: Sequence[PairBatch], out: Path) -> dict[str, Any]:
    """The loss of the validation pairs; BLEU and chrF of the test pairs, in all and by source; test.jsonl has them all."""
    nats, counts = sentence_losses(translator.model, held)
    loss = float(nats.sum() / counts.sum())
    low, high = bootstrap_ratio(nats, counts) or (None, None)
    measured = {"loss": loss, "low": low, "high": high, "perplexity": float(np.exp(loss)), "pairs": len(nats)}
    test = parts.test
    found = [some[0].text for some in translator.translate([pair.source for pair in test])]
    of_all = in_json(scores(found, [pair.target for pair in test]))
    names = sorted({pair.origin for pair in test})
    by_source: dict[str, Any] = {names[0]: of_all} if len(names) == 1 else {}
    for name in names if len(names) > 1 else []:
        some = [(text, pair.target) for text, pair in zip(found, test, strict=True) if pair.origin == name]
        by_source[name] = in_json(scores([text for text, _ in some], [target for _, target in some]))
    rows = [
        {"source": pair.source, "translation": text, "reference": pair.target, "of": pair.origin}
        for text, pair in zip(found, test, strict=True)
    ]
    write_text(out / "test.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {"validation": measured, "translation": of_all | {"by_source": by_source, "examples": rows[:5]}}


def in_a_line(results: Mapping[str, Any]) -> str:
    """What the stage came to."""
    bleu, chrf = results["translation"]["bleu"], results["translation"]["chrf"]
    return (
        f"{results['kind']}, {results['source']} → {results['target']}, {results['parameters'] / 1e6:.1f}M parameters, "
        f"{results['epochs']:.1f} epochs in {results['seconds']:,.0f} s; perplexity {results['validation']['perplexity']:.2f}, "
        f"BLEU {bleu['value']:.1f} ({bleu['low']:.1f}–{bleu['high']:.1f}), chrF {chrf['value']:.1f} "
        f"({chrf['low']:.1f}–{chrf['high']:.1f}) on {bleu['n']:,} sentences."
    )
