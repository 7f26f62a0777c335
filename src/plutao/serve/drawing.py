"""Answers for people to judge: which prompts are asked, what the models write to them, and what the reward model thinks of it.

Prompts, in this order: those of files in data/prompts (a line each, or .jsonl), then the questions of the embedded world that
the run learned from.
"""

import asyncio
import functools
import secrets
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from plutao.assistant.labelling import Prompt, read_prompts
from plutao.errors import UserError
from plutao.evaluate.measure import worlds_of
from plutao.generate.sampling import Sampling
from plutao.models.reward import RewardModel, load_reward, score_answers
from plutao.serve import judgements
from plutao.serve.answering import Answering, Services
from plutao.serve.api.asking import salt_of
from plutao.serve.backend.catalogue import stamp
from plutao.serve.backend.contract import Finished, Job, ModelCard
from plutao.serve.database import Database
from plutao.serve.identity import Caller
from plutao.serve.judgements import Drawn, digest_of
from plutao.serve.tables.judgements import Sheet
from plutao.text.chat import Messages
from plutao.text.tokenizer import Tokenizer

ANSWERS = 4
"""K: InstructGPT's labellers ranked 4 to 9 (Ouyang et al. 2022, section 3.5)."""
TEMPERATURE = 1.0
TOKENS = 128
WORLD_PROMPTS = 2000
ATTEMPTS = 8
"""Prompts whose answers are all alike before it is said that there is nothing to rank."""


async def write(
    services: Services, caller: Caller, card: ModelCard, messages: Messages, count: int, endpoint: str, seed: int
) -> list[str]:
    """A model's answers to a prompt, paid for as the API's are.

    Raises:
        ApiError: no money, no room, or the prompt is too long.
    """
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=min(TOKENS, card.context // 2), n=count, seed=seed)
    job = Job(
        model=card.id,
        prompt=messages,
        sampling=sampling,
        run_tools=True,
        deadline=services.settings.request_timeout,
        salt=salt_of(caller),
    )
    answering = await Answering.begin(services, caller, card, [job], endpoint)
    found: dict[int, str] = {}
    try:
        async with aclosing(answering.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if event is not None and isinstance(event[1], Finished):
                    found[event[1].index] = (event[1].messages[-1].content if event[1].messages else "") or event[
                        1
                    ].text
    finally:
        await answering.close()
    return [storable(found[index]) for index in sorted(found)]


def storable(text: str) -> str:
    """The text without what a database can't hold."""
    return text.replace("\0", "").encode(errors="ignore").decode().strip()


async def draw(
    services: Services, database: Database, caller: Caller, card: ModelCard, prompt: Prompt, own: bool = False
) -> Sheet | None:
    """Keeps a sheet of a model's answers to a prompt; None where they are all alike.

    Args:
        own: whether the caller wrote the prompt.
    """
    seed = secrets.randbits(31)
    answers: dict[str, None] = {}
    for attempt in range(2):
        written = await write(services, caller, card, prompt.messages, ANSWERS, "ranking", seed + attempt)
        answers |= dict.fromkeys(answer for answer in written if answer)
        if len(answers) >= ANSWERS:
            break
    if len(answers) < 2:
        return None
    drawn = Drawn(
        prompt.messages,
        prompt.language,
        card.id,
        card.fingerprint,
        tuple(answers)[:ANSWERS],
        TEMPERATURE,
        seed,
        account=caller.account if own else None,
    )
    rewards = await run_in_threadpool(rewards_of, card.folder, drawn.messages, drawn.answers)

    def keep() -> Sheet:
        with database.writing() as db:
            return judgements.keep(db, replace(drawn, rewards=rewards))

    return await run_in_threadpool(keep)


async def draw_next(services: Services, database: Database, caller: Caller, card: ModelCard) -> Sheet | None:
    """A sheet for the next prompt that this model has not answered here; None where there is no prompt left."""

    def asked() -> set[str]:
        with database.reading() as db:
            return judgements.drawn_already(db, card.fingerprint)

    dealt_with = await run_in_threadpool(asked)
    root = services.settings.root
    fresh = await run_in_threadpool(fresh_prompts, root, card.folder, dealt_with, ATTEMPTS)
    for prompt in fresh:
        if (sheet := await draw(services, database, caller, card, prompt)) is not None:
            return sheet
    return None


def fresh_prompts(root: Path, folder: Path | None, dealt_with: set[str], count: int) -> list[Prompt]:
    """The next prompts that were not dealt with."""
    found: list[Prompt] = []
    for prompt in prompts_of(root, folder):
        if len(found) == count:
            break
        if digest_of(prompt.messages) not in dealt_with:
            found.append(prompt)
    return found


def prompts_of(root: Path, folder: Path | None) -> Iterator[Prompt]:
    """The project's prompts; raises UserError for a file that holds none."""
    for path in sorted((root / "data" / "prompts").glob("*")):
        if path.suffix in (".txt", ".jsonl"):
            yield from read_prompts(path)
    if folder is not None:
        yield from world_prompts(folder)


@functools.lru_cache(maxsize=8)
def world_prompts(folder: Path) -> tuple[Prompt, ...]:
    try:
        worlds = worlds_of(folder)
    except UserError:
        return ()
    return tuple(
        Prompt(question.messages, question.language)
        for world in worlds
        for question in world.questions("train", WORLD_PROMPTS, 1)
    )


# ---------------------------------------------------------------------------------------------------------------------
# What the reward model thinks


def rewards_of(folder: Path | None, prompt: Messages, answers: tuple[str, ...]) -> tuple[float, ...] | None:
    """The reward of each answer by the reward model of the same run; None where it has none that can judge them."""
    beside = None if folder is None else folder.parent / "reward"
    if beside is None or not (beside / "config.json").is_file():
        return None
    try:
        model, tokenizer = judge_in(beside, stamp(beside))
        found = score_answers(model, tokenizer, [prompt] * len(answers), answers)
    except UserError:
        return None  # too long for it, or another tokenizer's
    return tuple(float(reward) for reward in found)


@functools.lru_cache(maxsize=1)
def judge_in(folder: Path, _: tuple[tuple[str, int, int], ...]) -> tuple[RewardModel, Tokenizer]:
    tokenizer = Tokenizer.load(folder)
    return load_reward(folder, tokenizer), tokenizer


async def two_answers(
    services: Services, caller: Caller, cards: tuple[ModelCard, ModelCard], messages: Messages
) -> tuple[str, str]:
    """What two models answer, both asked at once; raises ApiError as `write`."""
    seeds = [secrets.randbits(31) for _ in cards]
    [left], [right] = await asyncio.gather(
        *(write(services, caller, card, messages, 1, "arena", seed) for card, seed in zip(cards, seeds, strict=True))
    )
    return left, right
