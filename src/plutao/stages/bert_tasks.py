"""BERT's tasks: from the pretrained encoder and a fresh head to a model that judges texts, or marks answers in them
(Devlin et al. 2019, section 4).

Each task has a folder of its own in the stage's, tasks/<name>: a Hugging Face folder, its training's log and its card. One
that is done already, from the same rows and the same pretrained model, is not done again.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plutao.data import catalogue
from plutao.data.labelled import Example, LabelledBatches, Window, batch_of, kept_aside, read_labelled, windows
from plutao.errors import UserError
from plutao.evaluate.understanding import alike, answered, classified, words_in_common
from plutao.files import fingerprint, read_json, sha256, write_json
from plutao.models.encoder import EncoderConfig, MaskedModel, SequenceModel, SpanModel, take_over
from plutao.models.interop.bert import load_bert, load_labels, save_bert
from plutao.project import Project, is_complete, reuse_stage, whatever_is_in
from plutao.recipe.ancestors import BertTask
from plutao.stages.card import read_card, write_card
from plutao.stages.common import budget
from plutao.stages.plain import describe, train
from plutao.text.bert import Row, Signs, framed, join, signs_of
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train import parallel
from plutao.train.loop import Evaluate, without_compiling
from plutao.train.objectives import Objective
from plutao.train.objectives_encoder import classes, numbers, readable, spans
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

EPOCHS = 4.0
"""Where a task says nothing of its length (Devlin et al. 2019, appendix A.3: 2 to 4)."""
DROPOUT = 0.1
LONGEST_ANSWER = 30
"""Tokens."""
WORLD_COUNT = 2_000
AT_ONCE = 64
MAIN = {"classification": "accuracy", "similarity": "pearson", "answers": "f1"}
"""The measure that stands for a task."""
ON_THE_WAY = 256
"""Held-out rows looked at while it trains."""


# ---------------------------------------------------------------------------------------------------------------------
# The rows


def place(name: str, root: Path) -> Path:
    """A corpus of the catalogue, else a file of the project.

    Raises:
        UserError: it is neither, or can't be had.
    """
    if name in catalogue.catalogue(root):
        return catalogue.get(name, root)
    path = root / Path(name).expanduser()
    if not path.exists() and not any(mark in name for mark in "*?["):
        raise UserError(f"{path} is not there, and no corpus is called {name!r}: name a file, a folder or a corpus.")
    return path


def origin(task: BertTask, root: Path) -> Path | None:
    """Where a task's rows are; None where a world writes them."""
    if task.world is not None:
        return None
    return catalogue.get(task.corpus, root) if task.corpus is not None else place(task.path or "", root)


def check(task: BertTask, root: Path) -> None:
    """Raises UserError where the rows of a task, or those to measure with, are not there or not as they should be."""
    devices.choose(task.precision, task.compile)
    load(task, root, 0)


def identity(task: BertTask, root: Path) -> list[Any]:
    """Names a task by content: its settings and its rows."""
    settings = task.model_dump(mode="json", exclude={"path", "test"})
    files = [origin(task, root), place(task.test, root) if task.test is not None else None]
    return [settings, [sha256(file) for file in files if file is not None and file.is_file()]]


def load(task: BertTask, root: Path, seed: int) -> tuple[list[Example], list[Example]]:
    """The examples to learn from, and those to measure with.

    Raises:
        UserError: as `read_labelled`; or there is only one class, or nothing to measure with.
    """
    fields = (task.kind, task.text, task.second, task.label)
    where = origin(task, root)
    if where is None:
        assert task.world is not None
        examples = of_world(task, seed)
    else:
        examples = read_labelled(where, *fields, task.count)
    if task.test is not None:
        learned, measured = examples, read_labelled(place(task.test, root), *fields)
    else:
        learned, measured = kept_aside(examples, task.validation, seed)
    if not learned or not measured:
        raise UserError(
            f"Task {task.name!r} has {len(examples)} rows, too few to learn from and to measure with: add some."
        )
    if task.kind == "classification" and len({example.label for example in learned}) < 2:
        raise UserError(f"Task {task.name!r}: every row is of class {learned[0].label!r}; there must be two at least.")
    return learned, measured


def of_world(task: BertTask, seed: int) -> list[Example]:
    """A world's documents as rows with text, kind and language; drawn by another seed than the text's own."""
    assert task.world is not None
    count, found = task.count or WORLD_COUNT, []
    for document in world(task.world).documents(count / 1_000, seed + 1_000):
        fields = {"text": document.text, "kind": document.kind, "language": document.language}
        if task.label not in fields or task.kind != "classification":
            raise UserError(
                f"Task {task.name!r}: a world's documents are classified by kind or by language; set label."
            )
        found.append(Example(document.text, label=fields[task.label]))
        if len(found) == count:
            break
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The tasks


@dataclass(frozen=True)
class Prepared:
    """A task as tensors: what is learned from, by which model and objective."""

    task: BertTask
    model: SequenceModel | SpanModel
    objective: Objective
    rows: list[Row]
    labels: Tensor
    measured: list[Example]
    names: tuple[str, ...]
    """Of the classes, in order."""
    scale: tuple[float, float]
    """Numbers are learned less the first, divided by the second."""
    longest: int
    tokenizer: Tokenizer
    signs: Signs


def prepare(
    task: BertTask,
    learned: list[Example],
    measured: list[Example],
    pretrained: MaskedModel,
    tokenizer: Tokenizer,
    seed: int,
) -> Prepared:
    """Rows, labels and a model with the pretrained encoder and a fresh head."""
    config: EncoderConfig = replace(pretrained.config, dropout=DROPOUT)
    signs, longest = signs_of(tokenizer), min(task.longest or config.context, config.context)
    names: tuple[str, ...] = ()
    scale = (0.0, 1.0)
    model: SequenceModel | SpanModel
    if task.kind == "answers":
        model, objective = SpanModel(config), spans()
        cut = [w for n, one in enumerate(learned) for w in windows(one, n, tokenizer, signs, longest)]
        rows = [window.row for window in cut]
        labels = torch.tensor([span_of(window, learned[window.example]) for window in cut])
    else:
        rows = encode(learned, tokenizer, signs, longest)
        if task.kind == "classification":
            names = tuple(sorted({example.label for example in [*learned, *measured]}))
            model, objective = SequenceModel(config, len(names)), classes()
            labels = torch.tensor([names.index(example.label) for example in learned])
        else:
            told = torch.tensor([example.number for example in learned])
            scale = (float(told.mean()), max(float(told.std()), 1e-6))
            model, objective = SequenceModel(config, 1), numbers()
            labels = (told - scale[0]) / scale[1]
    model.initialise(seed)
    take_over(model, pretrained)
    return Prepared(task, model, objective, rows, labels, measured, names, scale, longest, tokenizer, signs)


def span_of(window: Window, example: Example) -> tuple[int, int]:
    """The first of the answers that lies in this window."""
    found = (window.span(answer) for answer in example.answers)
    return next((span for span in found if span != (0, 0)), (0, 0))


def encode(examples: Sequence[Example], tokenizer: Tokenizer, signs: Signs, longest: int) -> list[Row]:
    """Texts and pairs as rows."""
    first = tokenizer.encode_batch([example.text for example in examples])
    second = tokenizer.encode_batch([example.second or "" for example in examples])
    return [
        join(signs, one, other if example.second is not None else None, longest)
        for one, other, example in zip(first, second, examples, strict=True)
    ]


def run(
    project: Project,
    tasks: Sequence[BertTask],
    pretrained: MaskedModel,
    tokenizer: Tokenizer,
    world_: World,
    progress: Progress,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Fine-tunes for each task; the results by name.

    Args:
        minutes: wall time for all tasks; each gets its share by how many rows it has.
    """
    results: dict[str, Any] = {}
    loaded = [load(task, project.root, project.recipe.seed) for task in tasks]
    sizes = [len(learned) + len(measured) for learned, measured in loaded]
    ends = None if minutes is None else time.perf_counter() + 60 * minutes
    encoder = fingerprint(read_bytes(project.stage_dir("bert")))
    for number, (task, (learned, measured)) in enumerate(zip(tasks, loaded, strict=True)):
        folder = f"bert/tasks/{task.name}"
        inputs = fingerprint([identity(task, project.root), encoder, project.recipe.seed])
        if world_.size == 1 and not is_complete(project.stage_dir(folder), inputs):
            reuse_stage(project, folder, inputs)
        if is_complete(project.stage_dir(folder), inputs):
            results[task.name] = summary(read_card(project.stage_dir(folder)))
            continue
        if world_.first:
            begin(project.stage_dir(folder), inputs)
        parallel.largest(
            0.0, world_, devices.choose("fp32", "off", world_.local_rank).place
        )  # the others wait for that
        progress.note(f"Fine-tuning for {task.name}: {len(learned):,} rows, measured on {len(measured):,}.")
        left = None if ends is None else (ends - time.perf_counter()) / 60 * sizes[number] / sum(sizes[number:])
        prepared = prepare(task, learned, measured, pretrained, tokenizer, project.recipe.seed)
        card = tune(project, prepared, folder, world_, progress, left)
        out = project.stage_dir(folder)
        if world_.first:
            save_bert(prepared.model, out, pad=prepared.signs.pad, labels=prepared.names)
            framed(tokenizer).save(out, prepared.longest)
            write_card(out, task.name, inputs, card)
        results[task.name] = summary(card)
    return results


def begin(folder: Path, inputs: str) -> None:
    """Checkpoints that were begun from something else, such as a model that was pretrained anew since, are not gone on with."""
    if whatever_is_in(folder / "begun.json").get("inputs") != inputs:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        write_json(folder / "begun.json", {"inputs": inputs})


def read_bytes(folder: Path) -> list[Any]:
    """Names the pretrained model by its files; empty in processes that did not write it."""
    file = folder / "model.safetensors"
    return [sha256(file), read_json(folder / "config.json")] if file.is_file() else []


def tune(
    project: Project, prepared: Prepared, folder: str, world_: World, progress: Progress, minutes: float | None
) -> dict[str, Any]:
    """Trains for one task and measures it."""
    task, model = prepared.task, prepared.model
    lengths = (task.steps, task.epochs, task.minutes)
    settings = task if any(one is not None for one in lengths) else task.model_copy(update={"epochs": EPOCHS})
    batches = LabelledBatches(
        prepared.rows, prepared.labels, prepared.signs.pad, task.batch, project.recipe.seed, world_.rank, world_.size
    )
    device = devices.choose(task.precision, "off" if task.compile == "auto" else task.compile, world_.local_rank)
    trained = train(
        project,
        folder,
        model,
        prepared.objective,
        batches,
        settings,
        budget(settings, len(prepared.rows), task.batch, minutes),
        device,
        world_,
        progress,
        evaluate=validation(prepared, device),
    )
    model.to("cpu").eval()
    with without_compiling(device):
        card = describe(model.count_parameters(), device, trained, settings, project.recipe.seed)
        card |= {"kind": task.kind, "learned": len(prepared.rows), "scale": prepared.scale}
        card["measures"] = measure(prepared, prepared.measured)
    return card


def summary(card: dict[str, Any]) -> dict[str, Any]:
    """What the stage's own card says of a task."""
    return {key: card[key] for key in ("kind", "learned", "steps", "seconds", "measures")}


def validation(prepared: Prepared, device: devices.Device) -> Evaluate:
    """A quick measure for the way: the main figure on some of the held-out rows."""
    some = prepared.measured[:: -(-len(prepared.measured) // ON_THE_WAY)]
    main = MAIN[prepared.task.kind]

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, SequenceModel | SpanModel)
        found = measure(replace(prepared, model=model), some)
        return {main: float(found[main]["value"])}

    return evaluate


# ---------------------------------------------------------------------------------------------------------------------
# What they say


def measure(prepared: Prepared, examples: Sequence[Example]) -> dict[str, Any]:
    """A task's measures on these examples, each with its interval."""
    if prepared.task.kind == "answers":
        assert isinstance(prepared.model, SpanModel)
        said = mark(prepared.model, examples, prepared.tokenizer, prepared.signs, prepared.longest)
        return answered([one.text for one in said], [[answer.text for answer in one.answers] for one in examples])
    rows = encode(examples, prepared.tokenizer, prepared.signs, prepared.longest)
    scores = judge(prepared.model, rows, prepared.signs.pad)
    if prepared.task.kind == "classification":
        right = [prepared.names.index(example.label) for example in examples]
        return classified(scores.argmax(-1).tolist(), right, prepared.names)
    given = (scores[:, 0] * prepared.scale[1] + prepared.scale[0]).tolist()
    shared = [words_in_common(example.text, example.second or "") for example in examples]
    return alike(given, [example.number for example in examples], shared)


@torch.no_grad()
def judge(model: nn.Module, rows: Sequence[Row], pad: int) -> Float[Tensor, "N K"]:
    """The scores of many rows, whose lengths are brought together so that little is filled up."""
    place = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda number: len(rows[number].tokens))
    scores: dict[int, Tensor] = {}
    for begin in range(0, len(order), AT_ONCE):
        some = order[begin : begin + AT_ONCE]
        batch = batch_of([rows[number] for number in some], torch.zeros(len(some)), pad).to(place)
        scores.update(zip(some, model(*batch.inputs()).float().cpu(), strict=True))
    return torch.stack([scores[number] for number in range(len(rows))])


@dataclass(frozen=True)
class Marked:
    """An answer that was marked in a text, and its score: how much likelier than any other."""

    text: str
    score: float


@torch.no_grad()
def mark(
    model: SpanModel, examples: Sequence[Example], tokenizer: Tokenizer, signs: Signs, longest: int
) -> list[Marked]:
    """Of each question the stretch of its text, in any of its windows, whose beginning and end have the highest scores."""
    place = next(model.parameters()).device
    cut = [
        window
        for number, example in enumerate(examples)
        for window in windows(example, number, tokenizer, signs, longest)
    ]
    best = [Marked("", float("-inf"))] * len(examples)
    for begin in range(0, len(cut), AT_ONCE):
        some = cut[begin : begin + AT_ONCE]
        batch = batch_of([window.row for window in some], torch.zeros(len(some)), signs.pad).to(place)
        scores = model(*batch.inputs()).float()
        allowed = readable(batch.present, batch.segments)
        allowed[:, 0] = False
        for window, row, may in zip(some, scores.cpu(), allowed.cpu(), strict=True):
            found = best_span(row, may, window, examples[window.example].text)
            if found.score > best[window.example].score:
                best[window.example] = found
    return best


def best_span(scores: Float[Tensor, "T 2"], may: Tensor, window: Window, text: str) -> Marked:
    """The likeliest stretch of at most `LONGEST_ANSWER` tokens of a window."""
    count = len(window.places)
    at = slice(window.first, window.first + count)
    begin = scores[at, 0].masked_fill(~may[at], float("-inf"))
    end = scores[at, 1].masked_fill(~may[at], float("-inf"))
    both = begin[:, None] + end[None, :]
    near = torch.ones(count, count, dtype=torch.bool).triu() & ~torch.ones(count, count, dtype=torch.bool).triu(
        LONGEST_ANSWER
    )
    both = both.masked_fill(~near, float("-inf"))
    first, last = divmod(int(both.argmax()), count)
    return Marked(text[window.places[first][0] : window.places[last][1]], float(both.max()))


def predict(folder: Path, text: str, second: str | None = None) -> dict[str, Any]:
    """What the fine-tuned model of a folder says of one text or pair: the probability of each class, a number, or the answer that
    it marks in the text.

    Raises:
        UserError: the folder is no fine-tuned BERT's, or the question is missing.
    """
    model, tokenizer = load_bert(folder), Tokenizer.load(folder)
    scale = tuple(read_card(folder).get("scale", (0.0, 1.0))) if (folder / "stage.json").is_file() else (0.0, 1.0)
    signs, longest = signs_of(tokenizer), model.config.context
    example = Example(text, second)
    if isinstance(model, MaskedModel):
        raise UserError(f"{folder} is a pretrained BERT that was not fine-tuned: name the folder of a task.")
    if isinstance(model, SpanModel):
        if not second:
            raise UserError("This model marks the answer to a question in a text: give the question as --second.")
        marked = mark(model, [example], tokenizer, signs, longest)[0]
        return {"answer": marked.text, "score": marked.score}
    scores = judge(model, encode([example], tokenizer, signs, longest), signs.pad)[0]
    if model.outputs == 1:
        return {"number": float(scores[0]) * scale[1] + scale[0]}
    likely = zip(load_labels(folder), scores.softmax(-1).tolist(), strict=True)
    return {"classes": dict(sorted(likely, key=lambda one: -one[1]))}
