"""Stage 1 · pretraining: from random weights to a base model that continues text (the book's section 3.1)."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from plutao.data.pack import PretrainBatches
from plutao.data.sample import validation_texts
from plutao.data.shards import ShardIndex
from plutao.evaluate.exam import take_exam
from plutao.evaluate.perplexity import bits_per_byte
from plutao.files import fingerprint
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.models.cost import Precision, assert_fits
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.interop.huggingface import load_config, load_model, save_model
from plutao.models.presets import decoder_config
from plutao.models.vocabulary import grow
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.stages.card import write_card
from plutao.stages.common import budget, describe, identity, mixture_in_json, row_length, starting_folder, train
from plutao.stages.common import fitting as fitting
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.budget import Budget
from plutao.train.loop import Evaluate, Sample, without_compiling
from plutao.train.objectives import next_token
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

PROMPT_CHARACTERS = 24  # of validation text, where the recipe gives no prompts


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the model's, the seed, the tokenizer and the documents."""
    return depends_on(project, project.tokenizer(), project.documents.name)


def depends_on(project: Project, tokenizer: Tokenizer, data: str) -> str:
    recipe = project.recipe
    settings = [recipe.base.model_dump(mode="json"), recipe.model.model_dump(mode="json"), recipe.seed]
    taken = identity(starting_folder(recipe, project.root))
    return fingerprint(["base", settings, tokenizer.fingerprint, data, *([taken] if taken else [])])


def shape(recipe: Recipe, vocabulary: int, root: Path = Path()) -> DecoderConfig:
    """The decoder a recipe asks for: its preset's, or that of the model it starts from (looked for from `root`).

    Its table of embeddings is rounded up to a multiple of 64 rows, which compute faster.

    Raises:
        UserError: no such preset or model, or a shape that can't exist.
    """
    padded = math.ceil(vocabulary / 64) * 64
    if folder := starting_folder(recipe, root):
        theirs = load_config(folder)
        context = theirs.context if theirs.positions == "learned" else row_length(recipe, theirs)
        rows = theirs.vocabulary if theirs.vocabulary >= vocabulary else padded
        return replace(theirs, context=context, vocabulary=rows, dropout=recipe.model.dropout)
    changes = recipe.model.model_dump(exclude={"preset", "context", "start_from"})
    return decoder_config(recipe.model.preset, vocabulary=padded, context=recipe.model.context, **changes)


def check(recipe: Recipe, root: Path = Path()) -> None:
    """What can be refused before any long work: the shape, its memory, the precision and the compiler.

    Raises:
        UserError: see above; the sentence says what to lower.
    """
    settings = recipe.base
    config = shape(recipe, recipe.tokenizer.vocabulary, root)
    device = devices.choose(settings.precision, settings.compile)
    if device.kind == "cpu":
        precision: Precision = "bf16" if device.precision == "bf16" else "fp32"
        length = row_length(recipe, config)
        assert_fits(config, settings.micro_batch or 1, length, settings.optimizer.kind, precision)


def first_model(project: Project, tokenizer: Tokenizer) -> Decoder:
    """The model before its first step: random weights, or those of the model that the recipe starts from."""
    recipe = project.recipe
    config = shape(recipe, tokenizer.vocabulary_size, project.root)
    if folder := starting_folder(recipe, project.root):
        return grow(load_model(folder), config, recipe.seed)
    model = Decoder(config)
    model.initialise(recipe.seed)
    return model


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Pretrains the model of the recipe and stores it, measured, in the run.

    Args:
        minutes: wall time the training may take, in place of the recipe's own length.
    """
    recipe, settings = project.recipe, project.recipe.base
    tokenizer, documents, shards = project.tokenizer(), project.documents, project.shards()
    model = first_model(project, tokenizer)
    config, context = model.config, row_length(recipe, model.config)
    batches = PretrainBatches(
        shards.open(),
        recipe.data.weights,
        settings.batch,
        context,
        recipe.seed,
        settings.layout,
        world_.rank,
        world_.size,
    )
    device = devices.choose(settings.precision, settings.compile, world_.local_rank)
    trained = train(
        project,
        "base",
        model,
        config,
        next_token(settings.label_smoothing, device.compiled),
        batches,
        settings,
        plan(recipe, shards, settings.batch * context, minutes),
        device,
        world_,
        progress,
        evaluate=validation(documents, tokenizer, settings.evaluate_tokens, device.precision),
        sample=sampler(recipe, tokenizer, documents),
    )
    if not world_.first:
        return
    out = project.stage_dir("base")
    model.to("cpu").eval()
    save_model(model, out, bos=tokenizer.end_of_text, eos=tokenizer.end_of_text, pad=tokenizer.pad)
    tokenizer.save(out)
    results = describe(config, device, trained, settings, recipe) | {"data": mixture_in_json(batches.mixture())}
    with without_compiling(device):
        results |= measure(model, tokenizer, documents, recipe)
    write_card(out, "base", inputs(project), results)


def plan(recipe: Recipe, shards: ShardIndex, tokens_per_step: int, minutes: float | None) -> Budget:
    """How long to train; the time that measuring takes (its windows overlap by half) is kept back of `minutes`."""
    return budget(recipe.base, shards.tokens(), tokens_per_step, minutes, 2 * shards.tokens("validation"))


def validation(documents: Path, tokenizer: Tokenizer, tokens: int, precision: str) -> Evaluate:
    """A quick measure for the way: the first `tokens` tokens or so of the validation text."""
    some, have = [], 0
    for document in validation_texts(documents, limit=8 * tokens):
        ids = tokenizer.encode(document.text)[: tokens - have]
        some.append(tokenizer.decode(ids))
        have += len(ids)
        if have >= tokens:
            break

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, Decoder)
        measured = bits_per_byte(model, tokenizer, some, precision="bf16" if precision == "bf16" else "fp32")
        comparable = {} if measured.bits_per_byte is None else {"bits_per_byte": measured.bits_per_byte}
        return {"loss": math.log(measured.perplexity), **comparable}

    return evaluate


def sampler(recipe: Recipe, tokenizer: Tokenizer, documents: Path) -> Sample:
    """Lets the model continue a few texts while it learns: the recipe's prompts, or how validation documents begin."""
    settings = recipe.base
    prompts = list(settings.sample_prompts)
    if not prompts:
        prompts = [document.text[:PROMPT_CHARACTERS] for document in validation_texts(documents, limit=100_000)][:3]
    sampling = Sampling(temperature=0.8, max_tokens=settings.sample_tokens, seed=recipe.seed)

    def sample(model: nn.Module) -> list[dict[str, str]]:
        assert isinstance(model, Decoder)
        completions = Engine(model, tokenizer).complete(prompts, sampling)
        return [{"prompt": prompt, "text": some[0].text} for prompt, some in zip(prompts, completions, strict=True)]

    return sample


def measure(model: Decoder, tokenizer: Tokenizer, documents: Path, recipe: Recipe) -> dict[str, Any]:
    """Bits per byte of the whole validation text, and the exam of each world the text is of."""
    texts = ((document.text, document.language or "") for document in validation_texts(documents))
    precision = "bf16" if devices.choose(recipe.base.precision, "off").precision == "bf16" else "fp32"
    results: dict[str, Any] = {"validation": bits_per_byte(model, tokenizer, texts, precision=precision).as_json()}  # type: ignore[arg-type]
    for name in sorted({source.world for source in recipe.data.sources if source.world}):
        results["exam"] = take_exam(Engine(model, tokenizer), tokenizer, world(name).exam(recipe.seed)).as_json()
    return results
