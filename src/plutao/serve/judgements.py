"""Ranking on the pages: K answers of the present model to a prompt, put in order blind (the book, section 3.1, Figures 84 and 85).

Which sheet comes next: one that the person ranked before, unannounced, after every eighth; else, of those they have not dealt
with, the one on which the reward model is most likely to contradict people: where somebody ranked it already, how probable
the reward model holds the opposite; else how unsure it is itself. An order is most worth where the two disagree.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from plutao.assistant.feedback import Given
from plutao.assistant.labelling import REPEATED
from plutao.data.layouts import read_turns
from plutao.data.rankings import Ranking, dense, preferences
from plutao.evaluate.agreement import Agreement, agreement, agreements
from plutao.serve.errors import Refusal
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.base import now
from plutao.serve.tables.judgements import Demonstration, Judgement, Sheet
from plutao.text.chat import Message, Messages

LONGEST = 20_000
"""Characters of a prompt or of a written answer."""


@dataclass(frozen=True)
class Drawn:
    """Answers that a model has just written to a prompt."""

    messages: Messages
    language: str | None
    model: str
    fingerprint: str
    answers: tuple[str, ...]
    temperature: float
    seed: int
    rewards: tuple[float, ...] | None = None
    account: int | None = None
    """Who wrote the prompt, where it was somebody on these pages."""


@dataclass(frozen=True)
class Shown:
    """A sheet as one person sees it: the answers in an order of their own, which tells nothing."""

    sheet: Sheet
    order: tuple[int, ...]
    """Places of the answers, as they are shown."""
    again: bool
    """Asked for a second time; the person is not told."""

    @property
    def answers(self) -> list[str]:
        return [self.sheet.answers[place] for place in self.order]


def digest_of(messages: Messages) -> str:
    """Names a prompt by its content."""
    return hashlib.sha256(json.dumps(turns_of(messages), ensure_ascii=False).encode()).hexdigest()


def turns_of(messages: Messages) -> list[dict[str, Any]]:
    return [message.as_json() for message in messages]


def keep(db: Session, drawn: Drawn) -> Sheet:
    """Keeps answers for people to rank; they must be two or more, different, none of them empty."""
    assert len(set(drawn.answers)) == len(drawn.answers) >= 2
    sheet = Sheet(
        created=now(), account=drawn.account, prompt=digest_of(drawn.messages), messages=turns_of(drawn.messages),
        language=drawn.language, model=drawn.model, fingerprint=drawn.fingerprint, temperature=drawn.temperature,
        seed=drawn.seed, answers=list(drawn.answers), rewards=None if drawn.rewards is None else list(drawn.rewards),
    )  # fmt: skip
    db.add(sheet)
    db.flush()
    return sheet


def drawn_already(db: Session, fingerprint: str) -> set[str]:
    """Digests of the prompts that a model has answered here."""
    return set(db.scalars(select(Sheet.prompt).where(Sheet.fingerprint == fingerprint)))


# ---------------------------------------------------------------------------------------------------------------------
# What comes next


def next_sheet(db: Session, account: int, fingerprint: str) -> Shown | None:
    """The sheet that a person should see now, of those there are; None where more have to be drawn."""
    if (again := due_again(db, account)) is not None:
        return shown_to(again, account, True)
    waiting = waiting_for(db, account, fingerprint)
    if not waiting:
        return None
    orders = orders_of(db, [sheet.id for sheet in waiting])
    return shown_to(
        max(waiting, key=lambda sheet: (contradiction(sheet, orders.get(sheet.id, ())), -sheet.id)), account
    )


def waiting_for(db: Session, account: int, fingerprint: str) -> list[Sheet]:
    """Sheets of a model that a person has not dealt with."""
    dealt_with = select(Judgement.sheet).where(Judgement.account == account)
    query = select(Sheet).where(Sheet.fingerprint == fingerprint, Sheet.id.not_in(dealt_with))
    return list(db.scalars(query.order_by(Sheet.id)))


def shown_to(sheet: Sheet, account: int, again: bool = False) -> Shown:
    order = list(range(len(sheet.answers)))
    random.Random(f"{account}/{sheet.id}/{again}").shuffle(order)
    return Shown(sheet, tuple(order), again)


def orders_of(db: Session, sheets: Sequence[int]) -> dict[int, list[list[int]]]:
    """Everybody's first ranks of some sheets."""
    found: dict[int, list[list[int]]] = {}
    query = select(Judgement.sheet, Judgement.ranks).where(Judgement.sheet.in_(sheets), Judgement.kind == "rank")
    for sheet, ranks in db.execute(query):
        found.setdefault(sheet, []).append(ranks or [])
    return found


def contradiction(sheet: Sheet, orders: Sequence[Sequence[int]]) -> float:
    """How likely the reward model contradicts a person on a pair of these answers, between 0 and 1.

    Rewards r say that answer i is preferred to j with probability σ(r_i − r_j) (Bradley & Terry 1952): against people's
    orders, the mean probability of the opposite; without any, of the less likely side. Half where there are no rewards.
    """
    if not sheet.rewards:
        return 0.5
    likely = {(i, j): 1 / (1 + exp(-clipped(sheet.rewards[i] - sheet.rewards[j]))) for i, j in pairs(sheet)}
    if orders:
        against = [likely[(j, i)] for ranks in orders for i, j in preferences(ranks)]
    else:
        against = [min(likely[pair], 1 - likely[pair]) for pair in likely]
    return sum(against) / len(against) if against else 0.0


def pairs(sheet: Sheet) -> Iterator[tuple[int, int]]:
    for i, j in combinations(range(len(sheet.answers)), 2):
        yield i, j
        yield j, i


def clipped(difference: float) -> float:
    return max(-60.0, min(60.0, difference))


def due_again(db: Session, account: int) -> Sheet | None:
    """A sheet that a person ranked a while ago, when one is due: how steady somebody is bounds how far others can agree."""
    done = dict(db.execute(count_by_kind(account)).tuples().all())
    if done.get("rank", 0) < REPEATED * (done.get("repeat", 0) + 1):
        return None
    asked = select(Judgement.sheet).where(Judgement.account == account, Judgement.kind.in_(("repeat", "skip", "flag")))
    query = select(Judgement.sheet).where(Judgement.account == account, Judgement.kind == "rank")
    fresh = list(db.scalars(query.where(Judgement.sheet.not_in(asked)).order_by(Judgement.id)))
    earlier = fresh[: -REPEATED // 2] or fresh
    if not earlier:
        return None
    return db.get_one(Sheet, random.Random(f"{account}/{done.get('repeat', 0)}").choice(earlier))


def count_by_kind(account: int) -> Any:
    return select(Judgement.kind, func.count()).where(Judgement.account == account).group_by(Judgement.kind)


# ---------------------------------------------------------------------------------------------------------------------
# What is given


def find_sheet(db: Session, number: int) -> Sheet:
    """Raises UserError where there is no such sheet (any more)."""
    sheet = db.get(Sheet, number)
    if sheet is None:
        raise Refusal(f"There are no answers number {number} to rank: load the page again.", "sheet_gone")
    return sheet


def rank(db: Session, account: int, number: int, ranks: Mapping[int, int], correction: str = "") -> Judgement:
    """Keeps an order; the same sheet a second time is the hidden repeat.

    Args:
        ranks: place of an answer in the sheet → its rank, 1 the best; equal ones are ties, gaps are closed.
        correction: a better answer, kept as a demonstration.

    Raises:
        UserError: an answer without a rank, or a sheet that this person has ranked twice.
    """
    sheet = find_sheet(db, number)
    if sorted(ranks) != list(range(len(sheet.answers))) or not all(1 <= one <= len(ranks) for one in ranks.values()):
        raise Refusal(
            f"Give each of the {len(sheet.answers)} answers a rank from 1 to {len(sheet.answers)}.", "ranks_missing"
        )
    given = list(dense([ranks[place] for place in sorted(ranks)]))
    earlier = [one.kind for one in of_person(db, account, number)]
    kind = "rank" if "rank" not in earlier else "repeat"
    if kind in earlier:
        raise Refusal("You have ranked these answers: load the page for the next ones.", "ranked_already")
    judgement = note(db, account, number, kind, ranks=given)
    if correction.strip():
        demonstrate(db, account, messages_of(sheet), correction, sheet.language, number)
    return judgement


def of_person(db: Session, account: int, sheet: int) -> list[Judgement]:
    query = select(Judgement).where(Judgement.account == account, Judgement.sheet == sheet)
    return list(db.scalars(query))


def note(
    db: Session, account: int, sheet: int, kind: str, *, ranks: list[int] | None = None, reason: str = ""
) -> Judgement:
    judgement = Judgement(
        created=now(), account=account, sheet=sheet, kind=kind, ranks=ranks, reason=reason.strip()[:2000]
    )
    db.add(judgement)
    db.flush()
    return judgement


def set_aside(db: Session, account: int, number: int, kind: str, reason: str = "") -> None:
    """Keeps that somebody can't tell (`skip`), or that a prompt or an answer should not be used (`flag`)."""
    assert kind in ("skip", "flag")
    find_sheet(db, number)
    if kind not in [one.kind for one in of_person(db, account, number)]:
        note(db, account, number, kind, reason=reason)


def take_back(db: Session, account: int) -> int | None:
    """Forgets what a person gave last, for them to give it again; the sheet's number, None where there is nothing."""
    last = db.scalars(
        select(Judgement).where(Judgement.account == account).order_by(Judgement.id.desc()).limit(1)
    ).one_or_none()
    if last is None:
        return None
    for written in db.scalars(
        select(Demonstration).where(Demonstration.account == account, Demonstration.sheet == last.sheet)
    ):
        db.delete(written)
    db.delete(last)
    return last.sheet


def demonstrate(
    db: Session, account: int, messages: Messages, answer: str, language: str | None = None, sheet: int | None = None
) -> Demonstration:
    """Keeps a prompt with its ideal answer.

    Raises:
        UserError: one of the two is empty, or too long.
    """
    asked, answer = messages[-1].content.strip(), answer.strip()
    if not asked or not answer:
        raise Refusal("Write a prompt and its answer: neither may be empty.", "nothing_written")
    if max(len(asked), len(answer)) > LONGEST:
        raise Refusal(f"A prompt and an answer have {LONGEST} characters at most.", "too_long")
    row = Demonstration(
        created=now(), account=account, sheet=sheet, messages=turns_of(messages), answer=answer, language=language
    )
    db.add(row)
    db.flush()
    return row


def written_by(db: Session, account: int) -> set[str]:
    """Digests of the prompts that a person has answered."""
    query = select(Demonstration).where(Demonstration.account == account)
    return {digest_of(messages_of(row)) for row in db.scalars(query)}


def said(text: str) -> Messages:
    """A prompt that somebody typed.

    Raises:
        UserError: it is empty or too long.
    """
    if not text.strip():
        raise Refusal("Write a prompt first.", "no_prompt")
    if len(text) > LONGEST:
        raise Refusal(f"A prompt has {LONGEST} characters at most.", "too_long")
    return (Message("user", text.strip()),)


def messages_of(row: Sheet | Demonstration) -> Messages:
    return read_turns(row.messages)


# ---------------------------------------------------------------------------------------------------------------------
# What there is


@dataclass(frozen=True)
class Progress:
    """How much one person, and everybody, has done."""

    ranked: int
    repeated: int
    set_aside: int
    written: int
    ranked_by_all: int
    labellers: int

    @property
    def orders(self) -> int:
        """As the person counts them: a number that stands still would tell that a sheet was a repeat."""
        return self.ranked + self.repeated


def progress(db: Session, account: int) -> Progress:
    own = dict(db.execute(count_by_kind(account)).tuples().all())
    ranked = select(func.count(), func.count(Judgement.account.distinct())).where(Judgement.kind == "rank")
    total, labellers = db.execute(ranked).one()
    written = select(func.count()).select_from(Demonstration).where(Demonstration.account == account)
    return Progress(
        ranked=own.get("rank", 0),
        repeated=own.get("repeat", 0),
        set_aside=own.get("skip", 0) + own.get("flag", 0),
        written=db.scalar(written) or 0,
        ranked_by_all=total,
        labellers=labellers,
    )


def with_themselves(db: Session, account: int) -> Agreement:
    """How far a person's second orders are their first ones."""
    query = select(Judgement).where(Judgement.account == account, Judgement.kind.in_(("rank", "repeat")))
    orders: dict[int, dict[str, list[int]]] = {}
    for one in db.scalars(query):
        orders.setdefault(one.sheet, {})[one.kind] = one.ranks or []
    both = [(kinds["rank"], kinds["repeat"]) for kinds in orders.values() if len(kinds) == 2]
    return agreement((str(account), str(account)), both)


def between_people(db: Session) -> list[Agreement]:
    """The agreement of every two people who ranked the same answers; they are named by their accounts' numbers."""
    ranked = [
        Ranking(one.messages, one.completions, one.ranks, one.id, "web", labeller=one.labeller)
        for one in given(db)
        if one.completions
    ]
    return agreements(ranked)


def given(db: Session) -> Iterator[Given]:
    """All that people ranked and wrote here, for the stages to learn from. Whoever ranks does it for that: the page says so.

    A sheet that anybody flagged is left out, whoever ranked it.
    """
    flagged = select(Judgement.sheet).where(Judgement.kind == "flag")
    query = select(Judgement, Sheet).join(Sheet, Judgement.sheet == Sheet.id).where(Judgement.kind == "rank")
    for judgement, sheet in db.execute(query.where(Sheet.id.not_in(flagged)).order_by(Judgement.id)):
        yield Given(
            id=f"rank-{judgement.id}",
            labeller=f"person-{judgement.account}",
            messages=messages_of(sheet),
            completions=tuple(sheet.answers),
            ranks=tuple(judgement.ranks or ()),
            language=sheet.language,
            model=sheet.model,
        )
    for row in db.scalars(select(Demonstration).order_by(Demonstration.id)):
        yield Given(
            id=f"written-{row.id}",
            labeller=f"person-{row.account}",
            messages=messages_of(row),
            answer=row.answer,
            language=row.language,
        )


def names_of(db: Session, accounts: Sequence[int]) -> dict[int, str]:
    """People's names by the numbers of their accounts."""
    return {row.id: row.name for row in db.scalars(select(Account).where(Account.id.in_(accounts)))}
