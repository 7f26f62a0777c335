"""The contest at the end of a run: every stage answers the same held-out prompts, and the answers are compared blindly.

What comes of it is `comparisons.json` in the run's folder, which the report shows (win rates as in InstructGPT's figure, ratings,
diversity, sums by digits), and `answers.jsonl`: every answer of every stage, for people to read and to rank.

The prompts are a world's exam questions, whose phrasings and pairs are in no document, dialogue or training question; without a
world, prompts that were kept aside. All stages draw at the same temperature, which is the one that rollouts are drawn at; the
base model is shown a few worked examples.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from plutao.evaluate import arithmetic, elo
from plutao.evaluate.chat_exam import take_chat_exam
from plutao.evaluate.diversity import diversity
from plutao.evaluate.intervals import wilson
from plutao.evaluate.responders import ChatResponder, Example, Speaker, responder, worked_examples
from plutao.evaluate.winrate import Judge, games_from_scores, win_rates
from plutao.files import read_json, write_json, write_text
from plutao.generate.chat import Chat
from plutao.models.reward import answered, encode_answer, load_reward, score_answers
from plutao.project import Project
from plutao.text.chat import Messages
from plutao.text.tokenizer import Tokenizer
from plutao.worlds import world
from plutao.worlds.contract import Question, World

Note = Callable[[str], None]
STAGES = ("base", "sft", "rl", "dpo")
PAIRS = (("sft", "base"), ("rl", "sft"), ("dpo", "sft"), ("rl", "base"), ("dpo", "base"), ("rl", "dpo"))
"""(model, opponent) of the win rates that are told."""
PROMPTS, ROUND = 300, 100
"""Prompts compared, where there is time, and prompts that all stages answer before the clock is looked at."""
VARIED, DRAWS = 48, 4
"""Prompts on which diversity is measured, and answers drawn to each."""
SUMS = 16
"""Of each operation and number of digits."""
FOR_ANSWERS = 0.6
"""Share of the time that the comparisons may take; diversity and sums take the rest."""


class Prompt(Protocol):
    """A conversation that waits for an answer; a world's `Question` is one."""

    @property
    def id(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def messages(self) -> Messages: ...


def run(
    project: Project,
    world_name: str | None,
    note: Note | None = None,
    seconds: float | None = None,
    prompts: int | None = None,
    temperature: float = 1.0,
    asked: Sequence[Prompt] = (),
    examples: Sequence[Example] = (),
) -> dict[str, Any]:
    """Holds the contest of a run's stages and writes comparisons.json and answers.jsonl into its folder.

    Args:
        world_name: whose exam questions are answered and whose rule judges; None: the prompts `asked`, judged by the run's
            own reward model, which flatters the stage that learned from it.
        note: told, in a sentence, what was found.
        seconds: the time it may take; with less of it fewer prompts are compared (never fewer than one round of
            them), and what there is no time for is left out. None: as long as it takes.
        prompts: how many are compared; None: as many as the recipe says.
        asked: held-out prompts, where there is no world.
        examples: what the base model is shown then.
    """
    prompts = project.recipe.report.comparisons if prompts is None else prompts
    folders = {stage: project.stage_dir(stage) for stage in STAGES if is_trained(project.stage_dir(stage))}
    reward, seed = project.stage_dir("reward"), project.recipe.seed
    reward_folder = reward if is_trained(reward) else None
    if world_name is not None:
        found = compare_stages(folders, world(world_name), seed, seconds, prompts, temperature, reward=reward_folder)
    else:
        assert reward_folder is not None and asked, "without a world there must be prompts and a reward model"
        judge = by_reward_model(reward_folder)
        found = compare_answers(folders, asked[:prompts], judge, examples, seed, temperature, seconds)
        found |= {"judge": "reward", "simulated": False}
    answers = found.pop("answers")
    write_text(
        project.run_dir / "answers.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in answers)
    )
    write_json(project.run_dir / "comparisons.json", found)
    if note is not None:
        for name, rate in found["win_rates"].items():
            note(f"{name.replace('_', ' ')}: preferred in {in_words(rate)}.")
    return found


def is_trained(folder: Path) -> bool:
    path = folder / "stage.json"
    return path.is_file() and bool(read_json(path).get("complete"))


def in_words(rate: Mapping[str, Any]) -> str:
    return f"{rate['value']:.0%} ({rate['low']:.0%}–{rate['high']:.0%}) of {rate['n']} prompts"


def compare_stages(
    folders: Mapping[str, Path],
    world_: World,
    seed: int = 1,
    seconds: float | None = None,
    prompts: int = PROMPTS,
    temperature: float = 1.0,
    reward: Path | None = None,
) -> dict[str, Any]:
    """The contest itself, between any models by name, on a world's questions: win_rates, ratings, right, diversity,
    arithmetic, exam, answers.

    Args:
        reward: the folder of a reward model, which then judges the same answers too.
    """
    within = Clock(time.monotonic(), seconds)
    examples = worked_examples(world_.questions("train", 400, seed))
    speakers = {name: responder(folder, examples) for name, folder in folders.items()}
    questions = chosen(world_.questions("exam", None, seed), prompts, seed)
    answers = answer_all(speakers, questions, seed, temperature, within)
    questions = questions[: len(next(iter(answers.values()), []))]
    of_rule, scores = verdicts(questions, answers, by_rule(world_), seed)
    found: dict[str, Any] = {"world": world_.name, "judge": "rule", "simulated": True, "temperature": temperature}
    found |= of_rule
    found["right"] = {name: right(world_, questions, said) for name, said in answers.items()}
    found["examples"] = [[example.question, example.answer] for example in examples]
    if reward is not None:
        found["by_reward_model"], _ = verdicts(questions, answers, by_reward_model(reward), seed)
    found["diversity"] = varied(speakers, questions, seed, temperature, within)
    found["arithmetic"] = sums(speakers, world_, seed, within)
    found["exam"] = missing_exams(folders, speakers, world_, seed)
    found["seconds"] = round(time.monotonic() - within.started, 2)
    found["answers"] = rows(questions, answers, scores)
    return found


def compare_answers(
    folders: Mapping[str, Path],
    prompts: Sequence[Prompt],
    judge: Judge,
    examples: Sequence[Example] = (),
    seed: int = 1,
    temperature: float = 1.0,
    seconds: float | None = None,
) -> dict[str, Any]:
    """A contest on any prompts with any judge: win_rates, ratings, diversity, answers."""
    within = Clock(time.monotonic(), seconds)
    speakers = {name: responder(folder, examples) for name, folder in folders.items()}
    answers = answer_all(speakers, prompts, seed, temperature, within)
    prompts = prompts[: len(next(iter(answers.values()), []))]
    of_judge, scores = verdicts(prompts, answers, judge, seed)
    found: dict[str, Any] = {"temperature": temperature, **of_judge}
    found["diversity"] = varied(speakers, prompts, seed, temperature, within)
    found["answers"] = rows(prompts, answers, scores)
    return found


def verdicts(
    prompts: Sequence[Prompt], answers: Mapping[str, Sequence[str]], judge: Judge, seed: int
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """What a judge makes of the answers (prompts, win_rates, ratings), and the scores of each model's answers."""
    scores = {name: judge(prompts, said) for name, said in answers.items()}
    games = games_from_scores([prompt.id for prompt in prompts], scores)
    found = {
        "prompts": len(prompts),
        "win_rates": win_rates(games, pairs_among(answers)),
        "ratings": elo.as_json(elo.ratings(games, seed=seed)),
    }
    return found, scores


# ---------------------------------------------------------------------------------------------------------------------
# Judges


def by_rule(world_: World) -> Judge:
    """The world's written rule; the labellers it stands for are simulated."""

    def judge(prompts: Sequence[Any], answers: Sequence[str]) -> list[float]:
        return [world_.grade(question, said).score for question, said in zip(prompts, answers, strict=True)]

    return judge


def by_reward_model(folder: Path) -> Judge:
    """A reward model. It judges stages that learned to please it, so it is told beside another judge wherever there is one.

    Raises:
        UserError: the folder holds no reward model, or its tokenizer is not there.
    """
    tokenizer = Tokenizer.load(folder)
    model = load_reward(folder, tokenizer).eval()

    def judge(prompts: Sequence[Any], answers: Sequence[str]) -> list[float]:
        conversations = [prompt.messages for prompt in prompts]
        context = model.decoder.config.context
        read = [fitting(tokenizer, *pair, context) for pair in zip(conversations, answers, strict=True)]
        scores: list[float] = score_answers(model, tokenizer, conversations, read).tolist()
        return scores

    return judge


def fitting(tokenizer: Tokenizer, messages: Messages, answer: str, context: int) -> str:
    """The answer, or as much of it as fits a reward model's context: what a model babbles may be longer read than written."""
    while answer and len(encode_answer(tokenizer, answered(messages, answer))) > context:
        answer = answer[: len(answer) * 3 // 4]
    return answer


def right(world_: World, questions: Sequence[Question], answers: Sequence[str]) -> dict[str, Any]:
    """The share of answers that the world's rule calls right."""
    grades = [world_.grade(question, said) for question, said in zip(questions, answers, strict=True)]
    return wilson(sum(grade.right for grade in grades), len(grades)).as_json()


# ---------------------------------------------------------------------------------------------------------------------
# Parts


class Clock:
    """Says whether a share of the time is left; always, where there is no limit."""

    def __init__(self, started: float, seconds: float | None) -> None:
        self.started, self.seconds = started, seconds

    def __call__(self, share: float) -> bool:
        return self.seconds is None or time.monotonic() - self.started < share * self.seconds


def chosen(questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """Up to `count` questions, in such an order that any beginning of it holds tasks and languages in their turn."""
    chance = Random(f"contest/{seed}")
    groups: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        groups.setdefault((question.task, question.language), []).append(question)
    queues = [groups[key] for key in sorted(groups)]
    for queue in queues:
        chance.shuffle(queue)
    longest = max(map(len, queues), default=0)
    turns = [[queue[turn] for queue in queues if turn < len(queue)] for turn in range(longest)]
    for turn in turns:
        chance.shuffle(turn)
    return [question for turn in turns for question in turn][:count]


def answer_all(
    speakers: Mapping[str, Speaker], prompts: Sequence[Prompt], seed: int, temperature: float, within: Clock
) -> dict[str, list[str]]:
    """Every model's answers, a round of prompts at a time, as long as there is time."""
    answers: dict[str, list[str]] = {name: [] for name in speakers}
    for start in range(0, len(prompts), ROUND):
        if start and not within(FOR_ANSWERS):
            break
        some = [prompt.messages for prompt in prompts[start : start + ROUND]]
        for name, speaker in speakers.items():
            answers[name] += speaker.answer(some, seed + start, temperature)
    return answers


def pairs_among(names: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The pairs of a run's stages; of other models, every one against each before it."""
    if set(names) <= set(STAGES):
        return [pair for pair in PAIRS if set(pair) <= set(names)]
    order = list(names)
    return [(later, order[place]) for number, later in enumerate(order) for place in range(number)]


def varied(
    speakers: Mapping[str, Speaker], prompts: Sequence[Prompt], seed: int, temperature: float, within: Clock
) -> dict[str, Any]:
    """How varied each one's answers are, where there is time; all of them on the same prompts or none."""
    if temperature == 0 or not within(0.75):
        return {}
    some = [prompt.messages for prompt in prompts[:VARIED]]
    return {
        name: diversity(speaker, some, draws=DRAWS, temperature=temperature, seed=seed).as_json()
        for name, speaker in speakers.items()
    }


def sums(speakers: Mapping[str, Speaker], world_: World, seed: int, within: Clock) -> dict[str, Any]:
    """The last assistant's arithmetic with the calculator and without it, by digits; {} without an assistant."""
    last = [name for name, speaker in speakers.items() if isinstance(speaker, ChatResponder)]
    if not last or not within(0.95):
        return {}
    speaker = speakers[last[-1]]
    some = arithmetic.problems(world_.languages, SUMS, seed)
    without = ChatResponder(Chat(speaker.engine))
    return {
        "model": last[-1],
        "with": arithmetic.measure(speaker, some, seed),
        "without": arithmetic.measure(without, some, seed),
    }


def missing_exams(
    folders: Mapping[str, Path], speakers: Mapping[str, Speaker], world_: World, seed: int
) -> dict[str, Any]:
    """The exam of each assistant whose stage did not take it."""
    found = {}
    for name, folder in folders.items():
        card = read_json(folder / "stage.json") if (folder / "stage.json").is_file() else {}
        speaker = speakers[name]
        if isinstance(speaker, ChatResponder) and not card.get("exam"):
            exam = take_chat_exam(speaker, world_, world_.questions("exam", None, seed), seed=seed)
            found[name] = exam.as_json()
    return found


def rows(
    prompts: Sequence[Prompt], answers: Mapping[str, Sequence[str]], scores: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """answers.jsonl: for each prompt what every model said, and the score of each."""
    return [
        {
            "id": prompt.id,
            "task": prompt.task,
            "language": prompt.language,
            "messages": [message.as_json() for message in prompt.messages],
            "answers": {name: said[place] for name, said in answers.items()},
            "scores": {name: round(some[place], 4) for name, some in scores.items()},
        }
        for place, prompt in enumerate(prompts)
    ]
