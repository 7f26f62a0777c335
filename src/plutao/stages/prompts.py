"""What reinforcement learning asks: the prompts of rankings, of conversations, or of a world, and those kept aside to
measure with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from plutao.data.conversations import lot
from plutao.data.ranking_layouts import LAYOUTS
from plutao.data.rankings import read_rankings
from plutao.data.settings import ExampleSource
from plutao.data.sources.examples import read_rows
from plutao.data.sources.rows import BadRows
from plutao.errors import UserError
from plutao.generate.chat import Chat
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.stages.examples import WORLD_COUNT, Place, conversations_of, places
from plutao.stages.rewards import Prompt
from plutao.text.chat import Messages
from plutao.worlds import world
from plutao.worlds.contract import Question

MEASURED = 64
"""Prompts that models are measured on before and after; they are never trained on."""
KEPT_ASIDE = 0.1
"""Of the prompts from files, at most this share is kept aside for that …"""
FEWEST = 8
"""… unless that were fewer than these: then models are measured on the prompts they are trained on."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of a training."""

    train: list[Prompt]
    measured: list[Prompt]
    long: int
    """How many were left out because they leave no room for an answer."""


def sources_of(recipe: Recipe) -> tuple[ExampleSource, ...]:
    """Where the prompts come from: what the recipe names, else the rankings' sources, else the conversations'."""
    assert recipe.rl is not None and recipe.sft is not None, "a recipe with rl has sft"
    return recipe.rl.prompts or (recipe.reward.sources if recipe.reward else ()) or recipe.sft.sources


def places_of(recipe: Recipe, root: Path) -> list[Place]:
    """The places of these sources, and of people's own rankings in the project."""
    return places(sources_of(recipe), root, "rankings")


def collect(project: Project, chat: Chat) -> Prompts:
    """The prompts to train on and those to measure with.

    Raises:
        UserError: a source can't be read, or no prompt leaves room for an answer.
    """
    recipe = project.recipe
    assert recipe.rl is not None
    found: list[Prompt] = []
    aside: list[Prompt] = []
    for place in places_of(recipe, project.root):
        if place.source is not None and place.source.world is not None:
            asked = world(place.source.world)
            found += of_world(asked.questions("train", place.source.count or WORLD_COUNT, recipe.seed))
            aside += of_world(asked.questions("validation", MEASURED, recipe.seed))
        else:
            # What other stages read too has been judged there; here it only asks.
            found += of_files(place, recipe.seed, BadRows(recipe.data.bad_rows if recipe.rl.prompts else "skip"))
    return divided(found, aside, chat, recipe.rl.max_tokens, recipe.seed)


def of_world(questions: Sequence[Question]) -> list[Prompt]:
    return [Prompt(question.messages, question.ideal or None) for question in questions]


def of_files(place: Place, seed: int, bad: BadRows) -> list[Prompt]:
    """The prompts of rankings, or of conversations up to what a person said last."""
    assert place.path is not None
    first = next(read_rows(place.path, BadRows("skip")), None)
    if first is None or not any(layout.fits(first.fields) for layout in LAYOUTS):
        rows = conversations_of(place, seed, bad)
        return [Prompt(question_of(row.messages), row.messages[-1].content) for row in rows]
    count = None if place.source is None else place.source.count
    rankings = islice(read_rankings(place.path, place, bad), count)
    return [Prompt(ranking.messages, ranking.demonstration) for ranking in rankings]


def question_of(messages: Messages) -> Messages:
    """A conversation up to its last message that a person wrote."""
    last = max(place for place, message in enumerate(messages) if message.role == "user")
    return messages[: last + 1]


def divided(found: Sequence[Prompt], aside: Sequence[Prompt], chat: Chat, max_tokens: int, seed: int) -> Prompts:
    """Each prompt once, those without room for an answer left out, and some kept aside for measuring."""
    different = {prompt.messages: prompt for prompt in reversed([*aside, *found])}
    fitting = [prompt for prompt in different.values() if has_room(chat, prompt.messages, max_tokens)]
    if not fitting:
        raise UserError(
            "There is no prompt to learn from: "
            + (
                f"each of the {len(different):,} is longer than what the context of {chat.engine.context} tokens leaves "
                f"beside an answer of rl.max_tokens = {max_tokens}. Lower rl.max_tokens, or train with a larger model.context."
                if different
                else "name some under [[rl.prompts]] or [[reward.sources]]."
            )
        )
    kept = {prompt.messages for prompt in aside}
    if not kept:
        lots = sorted(fitting, key=lambda prompt: lot(prompt.messages, seed))
        share = int(KEPT_ASIDE * len(fitting))
        kept = {prompt.messages for prompt in lots[: min(MEASURED, share) if share >= FEWEST else 0]}
    train = [prompt for prompt in fitting if prompt.messages not in kept]
    measured = [prompt for prompt in fitting if prompt.messages in kept][:MEASURED]
    long = len(different) - len(fitting)
    return Prompts(train or measured, measured or train[:MEASURED], long)


def has_room(chat: Chat, messages: Messages, max_tokens: int) -> bool:
    """Whether the model can read a prompt and has room to answer it."""
    try:
        tokens, _ = chat.prompt(messages, max_tokens)
    except UserError:
        return False
    return len(tokens) + min(max_tokens, chat.engine.context // 2) <= chat.engine.context
