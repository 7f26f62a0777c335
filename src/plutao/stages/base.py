"""Stage 1 · pretraining: from random weights to a base model that continues text (the book's section 3.1)."""

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from plutao import recipe as recipes
from plutao.data.pack import PretrainBatches
from plutao.data.sample import validation_texts
from plutao.data.shards import ShardIndex
from plutao.errors import UserError
from plutao.evaluate.exam import take_exam
from plutao.evaluate.perplexity import bits_per_byte
from plutao.files import fingerprint
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.models.cost import Precision, assert_fits, flops_per_token, largest_batch, training_memory
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.hardware import available_memory
from plutao.models.interop.huggingface import save_model
from plutao.models.presets import decoder_config
from plutao.project import Project
from plutao.recipe import Recipe, TrainSettings
from plutao.stages.card import write_card
from plutao.text.tokenizer import Tokenizer
from plutao.train import device as devices
from plutao.train.budget import Budget
from plutao.train.loop import Evaluate, Sample, Trained, fit, without_compiling
from plutao.train.objectives import next_token
from plutao.train.parallel import World
from plutao.train.progress import Progress
from plutao.worlds import world

PROMPT_CHARACTERS = 24  # of validation text, where the recipe gives no prompts


def inputs(project: Project, tokenizer: Tokenizer, data: str) -> str:
    """Names what this stage depends on: its settings, the model's, the seed, the tokenizer and the documents."""
    recipe = project.recipe
    settings = [recipe.base.model_dump(mode="json"), recipe.model.model_dump(mode="json"), recipe.seed]
    return fingerprint(["base", settings, tokenizer.fingerprint, data])


def shape(recipe: Recipe, vocabulary: int) -> DecoderConfig:
    """The decoder a recipe asks for. Its table of embeddings is rounded up to a multiple of 64 rows, which compute faster.

    Raises:
        UserError: no such preset, or a shape that can't exist.
    """
    changes = recipe.model.model_dump(exclude={"preset", "context"})
    padded = math.ceil(vocabulary / 64) * 64
    return decoder_config(recipe.model.preset, vocabulary=padded, context=recipe.model.context, **changes)


def check(recipe: Recipe) -> None:
    """What can be refused before any long work: the shape, its memory, the precision and the compiler.

    Raises:
        UserError: see above; the sentence says what to lower.
    """
    settings = recipe.base
    config = shape(recipe, recipe.tokenizer.vocabulary)
    device = devices.choose(settings.precision, settings.compile)
    if device.kind == "cpu":
        precision: Precision = "bf16" if device.precision == "bf16" else "fp32"
        assert_fits(config, settings.micro_batch or 1, config.context, settings.optimizer.kind, precision)


def fitting(settings: TrainSettings, config: DecoderConfig, device: devices.Device, world_: World) -> TrainSettings:
    """The settings with the rows computed at once: as given, else the largest even share of the batch that memory holds."""
    if settings.micro_batch is not None:
        return settings
    free = torch.cuda.mem_get_info(device.place)[0] if device.kind == "cuda" else available_memory()
    precision: Precision = "bf16" if device.precision == "bf16" else "fp32"
    most = largest_batch(config, free, config.context, settings.optimizer.kind, precision)
    rows = settings.batch // world_.size
    fits = max((share for share in range(1, rows + 1) if rows % share == 0 and share <= most), default=1)
    return settings.model_copy(update={"micro_batch": fits})


def assert_room(config: DecoderConfig, recipe: Recipe, out: Path) -> None:
    """Says before training that its checkpoints (one more than is kept, for a moment) and its model won't fit on the disk.

    Raises:
        UserError: with the numbers, and what to do.
    """
    keep = recipe.base.keep_checkpoints
    memory = training_memory(config, 1, optimizer=recipe.base.optimizer.kind, precision="fp32")
    there = sum(file.stat().st_size for file in (out / "checkpoints").rglob("*") if file.is_file())
    needed = (keep + 1) * (memory.weights + memory.optimizer) + memory.weights - there
    free = shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"The disk of {out} has {free / 1e9:,.3f} GB free, and training needs {needed / 1e9:,.3f} GB there for "
            f"{keep} checkpoints, the next one and the model: free some space, or lower base.keep_checkpoints."
        )


def run(
    project: Project,
    documents: Path,
    shards: ShardIndex,
    stage_inputs: str,
    world_: World,
    progress: Progress,
    minutes: float | None = None,
) -> None:
    """Pretrains the model of the recipe and stores it, measured, in the run.

    Args:
        minutes: wall time the training may take, in place of the recipe's own length.
    """
    recipe = project.recipe
    settings = recipe.base
    tokenizer = project.tokenizer()
    config = shape(recipe, tokenizer.vocabulary_size)
    model = Decoder(config)
    model.initialise(recipe.seed)
    weights = {source.name: source.weight for source in recipe.data.sources}
    batches = PretrainBatches(
        shards.open(), weights, settings.batch, config.context, recipe.seed, settings.layout, world_.rank, world_.size
    )
    device = devices.choose(settings.precision, settings.compile, world_.local_rank)
    settings = fitting(settings, config, device, world_)
    budget = plan(recipe, shards, settings.batch * config.context, minutes)
    out = project.stage_dir("base")
    out.mkdir(parents=True, exist_ok=True)
    assert_room(config, recipe, out)
    recipes.save(recipe, out / "recipe.toml")
    torch.manual_seed(recipe.seed + world_.rank)  # dropout draws from here; each process its own
    trained = fit(
        model,
        next_token(settings.label_smoothing, device.compiled),
        batches,
        settings,
        budget,
        out,
        device,
        world=world_,
        evaluate=validation(documents, tokenizer, settings.evaluate_tokens, device.precision)
        if settings.evaluate
        else None,
        sample=sampler(recipe, tokenizer, documents),
        progress=progress,
    )
    if not world_.first:
        return
    model.to("cpu").eval()
    save_model(model, out, bos=tokenizer.end_of_text, eos=tokenizer.end_of_text, pad=tokenizer.pad)
    tokenizer.save(out)
    results = describe(config, device, trained, settings.batch, batches, recipe)
    with without_compiling(device):
        results |= measure(model, tokenizer, documents, recipe)
    write_card(out, "base", stage_inputs, results)


def plan(recipe: Recipe, shards: ShardIndex, tokens_per_step: int, minutes: float | None) -> Budget:
    """The recipe's length as steps, or as seconds where it is given in minutes; one epoch where nothing is said.

    `minutes` are for all that is left to do: what measuring will take is kept back (its windows overlap by half).
    """
    settings = recipe.base
    if minutes is not None:
        return Budget(seconds=60 * minutes, measured_tokens=2 * shards.tokens("validation"))
    if settings.minutes is not None:
        return Budget(seconds=60 * settings.minutes)
    if settings.steps is not None:
        return Budget(steps=settings.steps)
    tokens = settings.tokens if settings.tokens is not None else (settings.epochs or 1.0) * shards.tokens()
    return Budget(steps=max(1, round(tokens / tokens_per_step)))


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


def describe(
    config: DecoderConfig,
    device: devices.Device,
    trained: Trained,
    batch: int,
    batches: PretrainBatches,
    recipe: Recipe,
) -> dict[str, Any]:
    """What was trained, on what, how fast, at which cost."""
    flops = flops_per_token(config, config.context)
    return {
        "parameters": config.parameters(),
        "steps": trained.steps,
        "tokens": trained.tokens,
        "seconds": round(trained.seconds, 2),
        "tokens_per_second": round(trained.tokens_per_second, 1),
        "flops": flops * trained.tokens,
        "training_loss": trained.loss,
        "skipped_steps": trained.skipped,
        "seed": recipe.seed,
        "device": device.kind,
        "precision": device.precision,
        "compiled": device.compiled,
        "why": device.reason,
        "machine": devices.describe(),
        "batch": batch,
        "context": config.context,
        "data": [vars(row) for row in batches.mixture()],
    }


def measure(model: Decoder, tokenizer: Tokenizer, documents: Path, recipe: Recipe) -> dict[str, Any]:
    """Bits per byte of the whole validation text, and the exam of each world the text is of."""
    texts = ((document.text, document.language or "") for document in validation_texts(documents))
    precision = "bf16" if devices.choose(recipe.base.precision, "off").precision == "bf16" else "fp32"
    results: dict[str, Any] = {"validation": bits_per_byte(model, tokenizer, texts, precision=precision).as_json()}  # type: ignore[arg-type]
    for name in sorted({source.world for source in recipe.data.sources if source.world}):
        results["exam"] = take_exam(Engine(model, tokenizer), tokenizer, world(name).exam(recipe.seed)).as_json()
    return results
