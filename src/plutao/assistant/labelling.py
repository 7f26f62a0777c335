"""Labelling: people put a model's answers in order, or write what it should have answered (the book, section 3.1,
stages 2 and 3; Figures 81, 82, 84 and 85).

A labeller sees K answers without knowing where they come from, in an order of their own. What they give lies on the disk
before the next prompt is shown: orders in data/rankings/<labeller>.jsonl and written answers in
data/conversations/<labeller>.jsonl, as the stages read them; what was skipped or flagged, and the second orders of
answers that are shown again to see how steady a labeller is, in data/feedback/<labeller>.jsonl.
"""

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plutao.assistant import rows
from plutao.assistant.speaker import Speaker
from plutao.data.conversations import Conversation
from plutao.data.rankings import Ranking, dense, read_rankings, reordered
from plutao.errors import UserError
from plutao.evaluate.agreement import Agreement, agreement, agreements
from plutao.generate.sampling import Sampling
from plutao.project import RECIPE_FILE
from plutao.text.chat import Message, Messages

REPEATED = 8
"""After so many new rankings an earlier one is shown again."""
MOST_ANSWERS = 9
"""One digit names an answer. InstructGPT's labellers ranked 4 to 9 (Ouyang et al. 2022, section 3.5)."""


@dataclass(frozen=True)
class Prompt:
    """What is asked."""

    messages: Messages
    language: str | None = None

    @property
    def key(self) -> str:
        return json.dumps([message.as_json() for message in self.messages], ensure_ascii=False)


@dataclass(frozen=True)
class Sheet:
    """What a labeller has before them: a prompt and answers to it, in an order that tells nothing."""

    prompt: Prompt
    answers: tuple[str, ...]
    repeats: Ranking | None = None
    """The earlier ranking of the same answers, which the labeller is not told of."""
    problem: str = ""
    """Why there are no answers: the prompt is longer than the context, for one."""


@dataclass(frozen=True)
class File:
    """A source of rankings, as their reader wants it named."""

    name: str
    language: str | None = None
    license: str | None = None


class Desk:
    """One labeller's work in a project: what they have given, and what comes next."""

    def __init__(self, root: Path, labeller: str) -> None:
        """Raises UserError where `root` is no project, or the labeller's name can't be a file's."""
        if not (root / RECIPE_FILE).is_file():
            raise UserError(
                f"{root} is no project: `plutao new {root}` makes one; its data folder keeps what people give."
            )
        self.data, self.labeller = root / "data", labeller
        self.rankings_file = rows.file_of(self.data / "rankings", labeller)
        self.conversations_file = rows.file_of(self.data / "conversations", labeller)
        self.feedback_file = rows.file_of(self.data / "feedback", labeller)
        self.rankings = list(read_file(self.rankings_file))
        self.events = list(rows.read(self.feedback_file))
        self.demonstrations: dict[str, str] = {}

    # -----------------------------------------------------------------------------------------------------------------
    # What comes next

    def sheets(self, prompts: Iterable[Prompt], speaker: Speaker, sampling: Sampling) -> Iterator[Sheet]:
        """A sheet for each prompt that this labeller has not dealt with; now and then an earlier one again.

        Answers that others ranked are shown as they are, so that orders can be compared; else `sampling.n` are drawn.
        A prompt whose answers are all alike or empty comes as a sheet with fewer than two.
        """
        others = self._of_others(speaker.name)
        for prompt in prompts:
            if prompt.key in self._dealt_with(speaker.name):
                continue
            try:
                answers = others.get(prompt.key) or distinct_answers(speaker, prompt, sampling)
            except UserError as error:
                yield Sheet(prompt, (), problem=str(error))
                continue
            yield self._sheet(prompt, answers)
            if (earlier := self._due()) is not None:
                yield self._sheet(Prompt(earlier.messages), earlier.completions, earlier)

    def _sheet(self, prompt: Prompt, answers: Sequence[str], repeats: Ranking | None = None) -> Sheet:
        shuffled = list(answers)
        random.Random(f"{self.labeller}/{prompt.key}/{repeats is not None}").shuffle(shuffled)
        return Sheet(prompt, tuple(shuffled), repeats)

    def _dealt_with(self, model: str) -> set[str]:
        """Prompts that this labeller ranked with answers of this model, or skipped or flagged."""
        ranked = {row_key(row) for row in rows.read(self.rankings_file) if row.get("model") == model}
        return ranked | {row_key(row) for row in self.events if row.get("kind") in ("skip", "flag")}

    def _of_others(self, model: str) -> dict[str, tuple[str, ...]]:
        """The answers of this model that other labellers ranked, by prompt."""
        found: dict[str, tuple[str, ...]] = {}
        for path in sorted(self.rankings_file.parent.glob("*.jsonl")):
            for row in rows.read(path) if path != self.rankings_file else ():
                if row.get("model") == model and isinstance(row.get("completions"), list):
                    found.setdefault(row_key(row), tuple(map(str, row["completions"])))
        return found

    def _due(self) -> Ranking | None:
        """An earlier ranking to be asked for again, when one is due."""
        again = [row_key(row) for row in self.events if row.get("kind") == "repeat"]
        if len(self.rankings) < REPEATED * (len(again) + 1):
            return None
        fresh = [ranking for ranking in self.rankings if Prompt(ranking.messages).key not in again]
        return (
            random.Random(f"{self.labeller}/{len(again)}").choice(fresh[: -REPEATED // 2] or fresh) if fresh else None
        )

    # -----------------------------------------------------------------------------------------------------------------
    # What is given

    def rank(self, sheet: Sheet, ranks: tuple[int, ...], more: dict[str, Any]) -> None:
        """Keeps an order; `more` says which model wrote the answers, and how."""
        ranking = Ranking(
            messages=sheet.prompt.messages,
            completions=sheet.answers,
            ranks=ranks,
            id=f"{self.labeller}-{len(self.rankings) + 1}",
            source="label",
            language=sheet.prompt.language,
            labeller=self.labeller,
            demonstration=self.demonstrations.get(sheet.prompt.key),
        )
        row = ranking.as_json() | more | {"time": rows.now()}
        if sheet.repeats is not None:
            self._event("repeat", row)
            return
        rows.append(self.rankings_file, row)
        self.rankings.append(ranking)

    def demonstrate(self, prompt: Prompt, answer: str) -> int:
        """Keeps a written answer as a conversation to learn from; returns how many this labeller has written."""
        written = 1 + sum(1 for _ in rows.read(self.conversations_file))
        messages = (*prompt.messages, Message("assistant", answer))
        conversation = Conversation(messages, f"{self.labeller}-{written}", "label", prompt.language)
        rows.append(self.conversations_file, conversation.as_json() | {"labeller": self.labeller, "time": rows.now()})
        self.demonstrations[prompt.key] = answer
        return written

    def skip(self, sheet: Sheet) -> None:
        self._event("skip", self._what(sheet.prompt))

    def flag(self, sheet: Sheet, reason: str) -> None:
        """Keeps that a prompt or an answer should not be used."""
        self._event("flag", self._what(sheet.prompt) | {"completions": list(sheet.answers), "reason": reason})

    def _what(self, prompt: Prompt) -> dict[str, Any]:
        messages = [message.as_json() for message in prompt.messages]
        return {"messages": messages, "labeller": self.labeller, "time": rows.now()}

    def _event(self, kind: str, row: dict[str, Any]) -> None:
        rows.append(self.feedback_file, {"kind": kind, **row})
        self.events.append({"kind": kind, **row})

    # -----------------------------------------------------------------------------------------------------------------
    # How far people agree

    def agreements(self) -> list[Agreement]:
        """This labeller with their own earlier orders, and every two labellers of the project."""
        everybody = [
            ranking for path in sorted(self.rankings_file.parent.glob("*.jsonl")) for ranking in read_file(path)
        ]
        own = self._with_oneself()
        return [*([own] if own.prompts else []), *agreements(everybody)]

    def _with_oneself(self) -> Agreement:
        first = {(Prompt(r.messages).key, frozenset(r.completions)): r for r in self.rankings}
        orders = []
        for row in self.events:
            known = first.get((row_key(row), frozenset(row.get("completions", ()))))
            if row.get("kind") == "repeat" and known is not None:
                orders.append((row["ranks"], reordered(known, row["completions"])))
        return agreement((self.labeller, self.labeller), orders)


def row_key(row: dict[str, Any]) -> str:
    """The prompt of a row, as `Prompt.key` writes it."""
    return json.dumps(row.get("messages"), ensure_ascii=False)


def read_file(path: Path) -> Iterator[Ranking]:
    """The rankings of a labeller's file; none where there is no file yet."""
    return read_rankings(path, File("label")) if path.is_file() and path.stat().st_size else iter(())


def distinct_answers(speaker: Speaker, prompt: Prompt, sampling: Sampling) -> tuple[str, ...]:
    """Answers that differ and are not empty, `sampling.n` of them if that many come in two attempts."""
    assert sampling.seed is not None
    found: dict[str, None] = {}
    for attempt in range(2):
        wanted = replace(sampling, seed=sampling.seed + attempt)
        found |= dict.fromkeys(answer for answer in speaker.several(prompt.messages, wanted) if answer)
        if len(found) >= sampling.n:
            break
    return tuple(found)[: sampling.n]


def parse_order(text: str, count: int, say: dict[str, str]) -> tuple[int, ...]:
    """The rank of each answer from an order such as `2 1=3 4`, best first; `>` and `,` may stand between.

    Raises:
        UserError: an answer is missing or named twice, or it is no order; in the words of `say`.
    """
    named = re.findall(r"[0-9]|=|[^\s>,]", text)
    groups: list[list[int]] = []
    tie = False
    for sign in named:
        if sign == "=":
            if not groups or tie:
                raise UserError(say["order_unread"])
            tie = True
            continue
        if not sign.isdecimal():
            raise UserError(say["order_unread"])
        number = int(sign)
        if not 1 <= number <= count:
            raise UserError(say["order_unknown"].format(count=count, text=sign))
        if any(number in group for group in groups):
            raise UserError(say["order_twice"].format(number=number))
        if tie:
            groups[-1].append(number)
        else:
            groups.append([number])
        tie = False
    missing = [str(number) for number in range(1, count + 1) if not any(number in group for group in groups)]
    if missing or tie:
        raise UserError(say["order_missing"].format(missing=", ".join(missing)) if missing else say["order_unread"])
    ranks = {number: rank for rank, group in enumerate(groups, 1) for number in group}
    return dense([ranks[number] for number in range(1, count + 1)])


# ---------------------------------------------------------------------------------------------------------------------
# Prompts


def read_prompts(path: Path) -> Iterator[Prompt]:
    """The prompts of a file: a line each, or (.jsonl) rows with `messages` or a text in `prompt`.

    Raises:
        UserError: the file is not there or not text, or a row that holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there: --prompts names a file with a prompt on each line.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}): convert it first.") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield prompt_of(line.strip(), path, number) if path.suffix == ".jsonl" else said(line.strip())


def said(text: str, language: str | None = None) -> Prompt:
    """A prompt that is one message."""
    return Prompt((Message("user", text),), language)


def prompt_of(line: str, path: Path, number: int) -> Prompt:
    """The prompt of one row; the answer that may stand at its end is left out."""
    right = '{"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}]}'
    try:
        row = json.loads(line)
        if isinstance(row.get("prompt"), str) and row["prompt"].strip():
            return said(row["prompt"], row.get("language"))
        messages = [Message(one["role"], one["content"]) for one in row["messages"]]
        while messages and messages[-1].role != "user":
            messages.pop()
        if messages:
            return Prompt(tuple(messages), row.get("language"))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{path}, row {number}: holds no prompt. The right form: {right}.")
