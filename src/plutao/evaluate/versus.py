"""Any models' answers against each other, as `plutao compare` asks for it: which prompts, and who judges."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plutao.data.rankings import read_rankings
from plutao.errors import UserError
from plutao.evaluate import elo
from plutao.evaluate.contest import Prompt, by_reward_model, by_rule, chosen, compare_answers, pairs_among
from plutao.evaluate.measure import name_of, seed_of_run
from plutao.evaluate.responders import worked_examples
from plutao.evaluate.winrate import Judge, games_from_rankings, win_rates
from plutao.generate.chat import converses
from plutao.project import resolve_model
from plutao.text.chat import Message, Messages
from plutao.worlds.contract import World

EXAMPLE = '{"messages": [{"role": "user", "content": "…"}]} or {"prompt": "…"}'


@dataclass(frozen=True)
class Asked:
    """A prompt of a file."""

    id: str
    messages: Messages
    task: str = ""
    language: str = ""


@dataclass(frozen=True)
class People:
    """Where people's rankings come from, for the reader of rankings."""

    name: str = "people"
    language: str | None = None
    license: str | None = None


def versus(
    folders: Sequence[Path], worlds: Sequence[World], root: Path, prompts: Path | None, judge: str | None, most: int
) -> dict[str, Any] | None:
    """Win rates, ratings and diversity of models' answers; None where there is nothing to compare: no prompts, no judge, or
    nobody who converses.

    Args:
        prompts: a file of prompts in place of a world's exam questions.
        judge: RUN:reward or the folder of a reward model; or a file (.jsonl) of people's rankings of a run's answers.
        most: prompts at most.

    Raises:
        UserError: prompts without a judge, or a file that holds none.
    """
    if judge is not None and judge.endswith(".jsonl"):
        return by_people(folders, Path(judge))
    if prompts is None and (not worlds or not most or not any(map(converses, folders))):
        return None
    if prompts is not None and judge is None:
        raise UserError(
            f"Nothing says which answers to {prompts} are better: name a reward model with --judge RUN:reward."
        )
    seed = seed_of_run(folders[0])
    asked: Sequence[Prompt]
    asked = read_prompts(prompts)[:most] if prompts else chosen(worlds[0].questions("exam", None, seed), most, seed)
    examples = worked_examples(worlds[0].questions("train", 400, seed)) if worlds else []
    decide: Judge = by_reward_model(resolve_model(judge, root)) if judge else by_rule(worlds[0])
    found = compare_answers({name_of(folder): folder for folder in folders}, asked, decide, examples, seed)
    del found["answers"]
    return {"judge": "reward" if judge else "rule", **found}


def by_people(folders: Sequence[Path], rankings: Path) -> dict[str, Any]:
    """What people's rankings of a run's answers.jsonl say of its stages.

    Raises:
        UserError: the models are not stages of one run that kept its answers, or nobody ranked any of these.
    """
    run, names = folders[0].resolve().parent, [folder.name for folder in folders]
    path = run / "answers.jsonl"
    if any(folder.resolve().parent != run for folder in folders) or not path.is_file():
        raise UserError(
            f"People rank answers that were kept: {rankings} can judge stages of one run that has an answers.jsonl, "
            "as `plutao run` leaves it."
        )
    asked, answers = read_answers(path, names)
    games = games_from_rankings(read_rankings(rankings, People()), asked, answers)
    if not games:
        raise UserError(f"{rankings} ranks no two answers of these stages in {path}: rank those, or name another file.")
    return {
        "judge": "people",
        "prompts": len({game.prompt for game in games}),
        "win_rates": win_rates(games, pairs_among(dict.fromkeys(names))),
        "ratings": elo.as_json(elo.ratings(games)),
    }


def read_answers(path: Path, names: Sequence[str]) -> tuple[list[Asked], dict[str, list[str]]]:
    """The prompts of an answers.jsonl and what each stage answered.

    Raises:
        UserError: a stage that did not take part.
    """
    found = [row for row, _ in json_lines(path)]
    missing = [name for name in names if any(name not in row["answers"] for row in found)]
    if missing:
        raise UserError(f"{path} holds no answers of stage {missing[0]}: compare stages that answered.")
    asked = [Asked(row["id"], messages_of(row), row["task"], row["language"]) for row in found]
    return asked, {name: [row["answers"][name] for row in found] for name in names}


def read_prompts(path: Path) -> list[Asked]:
    """The prompts of a file: .txt, one a line; .jsonl rows with `messages` that end with the user, or with `prompt`.

    Raises:
        UserError: the file is not there, holds none, or a row does not fit.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: name a file of prompts, a line each, or .jsonl rows such as {EXAMPLE}.")
    if path.suffix != ".jsonl":
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        found = [Asked(str(place), (Message("user", line),)) for place, line in enumerate(lines, 1) if line]
    else:
        found = [Asked(str(row.get("id", place)), asked(row, path, place)) for row, place in json_lines(path)]
    if not found:
        raise UserError(f"{path} holds no prompt: write one a line.")
    return found


def asked(row: dict[str, Any], path: Path, place: int) -> Messages:
    """A row's conversation, up to the user's last turn."""
    try:
        messages = messages_of(row) if "messages" in row else (Message("user", str(row["prompt"])),)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}, row {place}: no prompt there. A row looks like {EXAMPLE}.") from error
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise UserError(f"{path}, row {place}: a prompt ends with what the user says. A row looks like {EXAMPLE}.")
    return messages


def messages_of(row: dict[str, Any]) -> Messages:
    return tuple(Message(message["role"], message["content"]) for message in row["messages"])


def json_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    for place, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, row {place}: no JSON ({error.msg}). A row looks like {EXAMPLE}.") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {place}: not an object. A row looks like {EXAMPLE}.")
        yield row, place
