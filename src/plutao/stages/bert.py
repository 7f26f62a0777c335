"""BERT: an encoder learns to fill in what is masked, and is then fine-tuned for tasks (Devlin et al. 2019; the book, section 2.12).

The book says that BERT's pieces of words often come from byte-pair encoding; the paper takes WordPiece, as the recipes here do.
Any kind of tokenizer works.
"""

import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from plutao import recipe as recipes
from plutao.data.masking import MaskedBatch, MaskedBatches
from plutao.data.pack import NOT_LEARNED
from plutao.data.shards import ShardIndex
from plutao.errors import UserError
from plutao.evaluate.intervals import wilson
from plutao.files import fingerprint, write_json
from plutao.look.fill import fill
from plutao.models.encoder import EncoderConfig, MaskedModel
from plutao.models.hardware import GIB, available_memory
from plutao.models.interop.bert import load_bert, save_bert
from plutao.models.interop.bert import load_config as load_shape
from plutao.project import Project, list_runs, whatever_is_in
from plutao.recipe import Recipe
from plutao.recipe.ancestors import BertSettings
from plutao.stages import bert_tasks
from plutao.stages.card import write_card
from plutao.stages.common import budget, identity, mixture_in_json
from plutao.stages.plain import describe, train
from plutao.text.bert import framed, signs_of
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train import parallel
from plutao.train.device import Device
from plutao.train.loop import Evaluate, Sample, without_compiling
from plutao.train.objectives_encoder import masked_language
from plutao.train.parallel import World
from plutao.train.progress import Progress, clock

TRY = 'plutao inspect {place} --fill --text "… [MASK] …"'
MEASURED_ROWS = 512
"""Rows of validation text, at most, whose holes are told at the end; an eighth of them on the way."""
AT_ONCE = 32
PRETRAINED = "pretrained.json"
"""What the pretraining was made of and came to, beside its weights; stage.json says the same once the tasks are done."""


def settings_of(recipe: Recipe) -> BertSettings:
    assert recipe.bert is not None, "the recipe has no [bert] section"
    return recipe.bert


def starting_folder(settings: BertSettings, root: Path) -> Path | None:
    """The folder of the BERT that the recipe starts from; None where it starts from random weights.

    Raises:
        UserError: there is none.
    """
    if settings.start_from is None:
        return None
    folder = root / Path(settings.start_from).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} holds no model (bert.start_from): give a folder with config.json and model.safetensors."
        )
    return folder


def inputs(project: Project) -> str:
    """Names what this stage depends on: what its pretraining does, and the tasks with their rows."""
    of_tasks = [bert_tasks.identity(task, project.root) for task in settings_of(project.recipe).tasks]
    return fingerprint([inputs_of_pretraining(project), of_tasks])


def inputs_of_pretraining(project: Project) -> str:
    """Names what the pretraining depends on: its settings, the seed, the tokenizer, the documents, the model it starts from."""
    settings = settings_of(project.recipe)
    given = settings.model_dump(mode="json", exclude={"tasks", "fine_tuning"})
    data = [project.tokenizer().fingerprint, project.documents.name]
    taken = identity(starting_folder(settings, project.root))
    return fingerprint(["bert", given, project.recipe.seed, *data, taken])


def shape(settings: BertSettings, vocabulary: int, root: Path = Path()) -> EncoderConfig:
    """The encoder that the recipe asks for, or that of the model it starts from.

    Raises:
        UserError: a shape that can't be, or a model whose vocabulary is another.
    """
    s = settings
    if folder := starting_folder(s, root):
        theirs = load_shape(folder)
        if vocabulary > theirs.vocabulary:
            raise UserError(
                f"The tokenizer has {vocabulary:,} tokens and the model of {folder} knows {theirs.vocabulary:,}: "
                f'set tokenizer.path = "{s.start_from}" too.'
            )
        return theirs
    hidden = s.hidden or 4 * s.width
    return EncoderConfig(vocabulary, s.context, s.layers, s.width, s.heads, hidden, dropout=s.dropout)


def check(recipe: Recipe, root: Path = Path()) -> None:
    """What can be refused before any long work: the shape, its memory, the precision, the tasks' rows.

    Raises:
        UserError: see above; the sentence says what to change.
    """
    settings = settings_of(recipe)
    device = devices.choose(settings.precision, settings.compile)
    if settings.start_from is None:
        config = shape(settings, recipe.tokenizer.vocabulary, root)
        needed = 16 * (config.vocabulary * config.width + config.layers * 12 * config.width**2)
        if device.kind == "cpu" and needed > (free := available_memory()):
            raise UserError(
                f"Training this BERT needs {needed / GIB:.1f} GiB for its weights, gradients and optimizer, and "
                f"{free / GIB:.1f} GiB are free: lower bert.width or bert.layers."
            )
    else:
        starting_folder(settings, root)
    for task in settings.tasks:
        bert_tasks.check(task, root)


def first_model(settings: BertSettings, vocabulary: int, root: Path, seed: int) -> MaskedModel:
    """The model before its first step.

    Raises:
        UserError: as `shape`; or the folder's model fills nothing in, or can't judge what follows where that is asked for.
    """
    config = shape(settings, vocabulary, root)
    if folder := starting_folder(settings, root):
        theirs = load_bert(folder)
        if not isinstance(theirs, MaskedModel):
            raise UserError(f"{folder} is a BERT that was fine-tuned: start from one that fills in masks.")
        if settings.next_sentence and theirs.pooler is None:
            raise UserError(f"The model of {folder} never judged what follows: set bert.next_sentence = false.")
        return theirs
    model = MaskedModel(config, settings.next_sentence)
    model.initialise(seed)
    return model


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Pretrains the BERT of the recipe, stores it measured, and fine-tunes it for each task.

    One that is pretrained already from the same inputs, in this run or another, is taken as it is: other tasks don't cost
    another pretraining.

    Args:
        minutes: wall time for all of it, in place of the recipe's own lengths; `fine_tuning` of it is the tasks'.
    """
    started = time.perf_counter()
    settings, tokenizer = settings_of(project.recipe), project.tokenizer()
    found = pretrained(project) if world_.size == 1 else None
    model, results = found or pretrain(project, tokenizer, world_, progress, minutes)
    out = project.stage_dir("bert")
    if world_.first:
        save_bert(model, out, pad=signs_of(tokenizer).pad)
        framed(tokenizer).save(out, results["context"])
        recipes.save(project.recipe, out / "recipe.toml")
        write_json(out / PRETRAINED, {"inputs": inputs_of_pretraining(project), "results": results})
    place = devices.choose(settings.precision, "off", world_.local_rank).place
    parallel.largest(0.0, world_, place)  # the other processes wait for the folder, by which tasks know the model
    left = None if minutes is None else minutes - (time.perf_counter() - started) / 60
    results |= {"tasks": bert_tasks.run(project, settings.tasks, model, tokenizer, world_, progress, left)}
    if world_.first:
        write_card(out, "bert", inputs(project), results | {"in_a_line": in_a_line(results)})


def pretrained(project: Project) -> tuple[MaskedModel, dict[str, Any]] | None:
    """The model and the results of an earlier pretraining from the same inputs, if there is one."""
    wanted = inputs_of_pretraining(project)
    for run in [project.run, *reversed(list_runs(project.root))]:
        folder = project.runs / str(run) / "bert"
        card = whatever_is_in(folder / PRETRAINED)
        if card.get("inputs") == wanted and (folder / "model.safetensors").is_file():
            model = load_bert(folder)
            assert isinstance(model, MaskedModel)
            return model, card["results"]
    return None


def pretrain(
    project: Project, tokenizer: Tokenizer, world_: World, progress: Progress, minutes: float | None
) -> tuple[MaskedModel, dict[str, Any]]:
    """The pretraining itself; the model comes back on the CPU, with what the card says of it."""
    recipe, settings = project.recipe, settings_of(project.recipe)
    shards = project.shards()
    model = first_model(settings, tokenizer.vocabulary_size, project.root, recipe.seed)
    context = min(settings.context, model.config.context)
    batches = MaskedBatches(
        shards.open(),
        recipe.data.weights,
        tokenizer,
        settings.batch,
        context,
        recipe.seed,
        share=settings.masked,
        whole_words=settings.whole_words,
        next_sentence=settings.next_sentence,
        rank=world_.rank,
        world=world_.size,
    )
    device = devices.choose(settings.precision, settings.compile, world_.local_rank)
    held_out = validation_batches(settings, shards, tokenizer, context, recipe.seed)
    share = 1 - settings.fine_tuning if settings.tasks else 1.0
    length = budget(settings, shards.tokens(), settings.batch * context, None if minutes is None else minutes * share)
    trained = train(
        project,
        "bert",
        model,
        masked_language(),
        batches,
        settings,
        length,
        device,
        world_,
        progress,
        evaluate=validation(held_out[: max(1, len(held_out) // 8)], device),
        sample=sampler(settings, tokenizer),
    )
    model.to("cpu").eval()
    with without_compiling(device):
        results = describe(model.count_parameters(), device, trained, settings, recipe.seed)
        results |= {"validation": measure(model, held_out), "context": context, "next_sentence": settings.next_sentence}
    return model, results | {"data": mixture_in_json(batches.mixture())}


def in_a_line(card: dict[str, Any]) -> str:
    """What it came to, and each task's main measure."""
    parts = [
        f"{card['parameters'] / 1e6:.1f}M parameters, {card['tokens'] / 1e6:.2f}M tokens in {clock(card['seconds'])} "
        f"({card['tokens_per_second']:,.0f} a second)"
    ]
    if told := card["validation"].get("accuracy"):
        parts.append(f"{told['value']:.1%} of {told['n']:,} masked tokens told right")
    for name, task in card["tasks"].items():
        main = bert_tasks.MAIN[task["kind"]]
        found = task["measures"][main]
        parts.append(
            f"{name}: {main} {found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f}, n = {found['n']:,})"
        )
    return "; ".join(parts) + "."


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


def validation_batches(
    settings: BertSettings, shards: ShardIndex, tokenizer: Tokenizer, context: int, seed: int
) -> list[MaskedBatch]:
    """Rows of validation text with holes, the same every time; none where the text is too short for a row.

    Their holes are drawn as BERT's are, words in pieces or whole as the training's; a row has one text.
    """
    sources = {name: one for name, one in shards.open("validation").items() if len(one) >= context - 2}
    if not sources:
        return []
    rows = max(1, min(MEASURED_ROWS, sum(map(len, sources.values())) // context))
    drawn = MaskedBatches(
        sources,
        {},
        tokenizer,
        min(AT_ONCE, rows),
        context,
        seed,
        share=settings.masked,
        whole_words=settings.whole_words,
    )
    return [next(drawn) for _ in range(-(-rows // AT_ONCE))]


@torch.no_grad()
def told(model: MaskedModel, batches: list[MaskedBatch], device: Device | None = None) -> tuple[float, int, int]:
    """Over all holes: the sum of the losses in nats, how many were told right, how many there are."""
    loss, right, count = 0.0, 0, 0
    for batch in batches:
        here = batch.to(device.place) if device is not None else batch
        where = here.targets != NOT_LEARNED
        scores = model.logits(model.encoder(here.tokens, here.present, here.segments)[where]).float()
        loss += float(F.cross_entropy(scores, here.targets[where], reduction="sum"))
        right += int((scores.argmax(-1) == here.targets[where]).sum())
        count += int(where.sum())
    return loss, right, count


def measure(model: MaskedModel, batches: list[MaskedBatch]) -> dict[str, Any]:
    """Loss in nats per hole, and how many holes are told right, with its interval."""
    if not batches:
        return {}
    loss, right, count = told(model, batches)
    return {"loss": loss / count, "accuracy": wilson(right, count).as_json(), "masked_tokens": count}


def validation(batches: list[MaskedBatch], device: Device) -> Evaluate | None:
    """A quick measure for the way."""
    if not batches:
        return None

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, MaskedModel)
        with device.autocast():
            loss, right, count = told(model, batches, device)
        return {"loss": loss / count, "accuracy": right / count}

    return evaluate


def sampler(settings: BertSettings, tokenizer: Tokenizer) -> Sample | None:
    """Fills in the recipe's prompts while it trains: the three likeliest words of each hole."""
    if not settings.prompts:
        return None

    def sample(model: nn.Module) -> list[dict[str, str]]:
        assert isinstance(model, MaskedModel)
        told = [fill(model, tokenizer, prompt, top=3) for prompt in settings.prompts]
        return [
            {
                "prompt": one.text,
                "text": "; ".join(
                    ", ".join(f"{g.text} {g.probability:.0%}" for g in hole.guesses) for hole in one.holes
                ),
            }
            for one in told
        ]

    return sample
