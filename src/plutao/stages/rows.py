"""Any row that a stage trains on, as training sees it."""

from pathlib import Path

from plutao import recipe as recipes
from plutao.data.conversation_batches import ConversationBatches
from plutao.data.pack import Batch, PackedBatch, PretrainBatches
from plutao.errors import UserError
from plutao.models.interop.huggingface import load_config
from plutao.project import Project, current_run, list_runs
from plutao.stages import base, demonstrations
from plutao.stages.common import row_length
from plutao.text.tokenizer import Tokenizer
from plutao.train.parallel import World

STAGES = ("base", "sft")


def run_of(root: Path, name: str) -> Project:
    """A run of the project in `root`, with the recipe that it was made with; "current" is the one in use.

    Raises:
        UserError: there is no such run.
    """
    run = current_run(root) if name == "current" else name
    recipe = root / "runs" / run / "recipe.toml"
    if not recipe.is_file():
        known = ", ".join(list_runs(root)) or "none yet"
        raise UserError(f"There is no run {run!r}. The runs in {root} are: {known}.")
    return Project(root, recipes.load(recipe), run)


def training_row(project: Project, stage: str, number: int) -> tuple[Tokenizer, Batch | PackedBatch]:
    """The row that a stage learns from after `number` others, alone in a batch, with the tokenizer it is written in.

    The run needs its tokenizer, and for sft its base model; the stage itself need not have been trained.

    Raises:
        UserError: the stage has no rows of tokens, or its data can't be read.
    """
    if stage not in STAGES:
        raise UserError(f"Stage {stage!r} has no rows with a mask: {' and '.join(STAGES)} have.")
    recipe, tokenizer = project.recipe, project.tokenizer()
    if stage == "base":
        config = base.shape(recipe, tokenizer.vocabulary_size, project.root)
        batch, context = recipe.base.batch, row_length(recipe, config)
        shards = project.shards().open()
        batches = PretrainBatches(shards, recipe.data.weights, batch, context, recipe.seed, recipe.base.layout)
        return tokenizer, row_of(batches, batch, number)
    if recipe.sft is None:
        raise UserError("This recipe has no stage sft: add an [sft] section with [[sft.sources]].")
    context = row_length(recipe, load_config(project.stage_dir("base")))
    made = demonstrations.read(project, tokenizer, context)
    return tokenizer, row_of(
        demonstrations.batches_of(project, tokenizer, made, context, World()), recipe.sft.batch, number
    )


def row_of(batches: PretrainBatches | ConversationBatches, batch: int, number: int) -> Batch | PackedBatch:
    """The row after `number` others."""
    for _ in range(number // batch):
        next(batches)
    return next(batches).split(1)[number % batch]
