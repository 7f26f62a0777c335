"""What was used, added up: by time, model, key and account; for programs that read OpenAI's usage, and as a table."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import ColumnElement, func, literal, select
from sqlalchemy.orm import Session

from plutao.serve.prices import in_words
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.keys import ApiKey
from plutao.serve.tables.metering import Usage

Group = Literal["model", "api_key_id", "user_id", "endpoint"]
COLUMNS = {"model": Usage.model, "api_key_id": Usage.key, "user_id": Usage.account, "endpoint": Usage.endpoint}
DAY = 24 * 3600


@dataclass(frozen=True)
class Filter:
    """Which usage is meant. `start` is part of it, `end` is not; seconds since 1970. None: all."""

    start: int
    end: int
    accounts: Sequence[int] | None = None
    keys: Sequence[int] | None = None
    models: Sequence[str] | None = None
    endpoints: Sequence[str] | None = None
    not_endpoints: Sequence[str] = ()


@dataclass(frozen=True)
class Sum:
    """Usage of one group in one bucket of time. `cost` is in micro-units; `seconds` are the machine's."""

    start: int
    group: dict[str, str | int | None]
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int
    unbilled: int
    seconds: float

    @property
    def seconds_per_1000_tokens(self) -> float | None:
        """What 1,000 tokens, read or written, took of the machine."""
        tokens = self.prompt_tokens + self.completion_tokens
        return 1000 * self.seconds / tokens if tokens else None


def sums(db: Session, which: Filter, width: int, groups: Sequence[str] = ()) -> list[Sum]:
    """Usage added up, oldest first.

    Args:
        width: of a bucket, in seconds; buckets begin at multiples of it since 1970, days at 00:00 UTC. 0: one bucket.
        groups: of `Group`; usage that differs in one of them is told apart.
    """
    columns = [COLUMNS[group] for group in groups]
    start = (Usage.moment - Usage.moment % width if width else literal(which.start)).label("start")
    query = select(
        start,
        *columns,
        func.count(),
        func.sum(Usage.prompt_tokens),
        func.sum(Usage.completion_tokens),
        func.sum(Usage.cost),
        func.sum(Usage.unbilled),
        func.sum(Usage.seconds),
    )
    query = query.where(*conditions(which)).group_by("start", *columns).order_by("start", *columns)
    found = []
    for row in db.execute(query):
        values = list(row)
        group = dict(zip(groups, values[1:-6], strict=True))
        requests, prompt, completion, cost, unbilled, seconds = values[-6:]
        found.append(
            Sum(int(values[0]), group, requests, int(prompt), int(completion), int(cost), int(unbilled), float(seconds))
        )
    return found


def conditions(which: Filter) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [Usage.moment >= which.start, Usage.moment < which.end]
    if which.accounts is not None:
        wanted.append(Usage.account.in_(which.accounts))
    if which.keys is not None:
        wanted.append(Usage.key.in_(which.keys))
    if which.models is not None:
        wanted.append(Usage.model.in_(which.models))
    if which.endpoints is not None:
        wanted.append(Usage.endpoint.in_(which.endpoints))
    if which.not_endpoints:
        wanted.append(Usage.endpoint.not_in(which.not_endpoints))
    return wanted


# ---------------------------------------------------------------------------------------------------------------------
# A table for people

HEAD = (
    "day",
    "model",
    "endpoint",
    "key",
    "account",
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "cost",
    "currency",
    "machine_seconds",
    "seconds_per_1000_tokens",
)


def as_csv(db: Session, which: Filter, currency: str) -> Iterator[str]:
    """Lines of CSV: one for each day, model, endpoint and key."""
    names = {key.id: f"{key.name} (sk-{key.prefix}…)" for key in db.scalars(select(ApiKey))}
    people = {account.id: account.email or f"account {account.id}" for account in db.scalars(select(Account))}
    yield line(HEAD)
    for one in sums(db, which, DAY, ("model", "endpoint", "api_key_id", "user_id")):
        key, account = one.group["api_key_id"], one.group["user_id"]
        assert isinstance(account, int)
        per_1000 = one.seconds_per_1000_tokens
        yield line(
            (
                datetime.fromtimestamp(one.start, UTC).date().isoformat(),
                one.group["model"],
                one.group["endpoint"],
                "" if key is None else names.get(int(key), f"key {key}"),
                people[account],
                one.requests,
                one.prompt_tokens,
                one.completion_tokens,
                in_words(one.cost),
                currency.upper(),
                f"{one.seconds:.3f}",
                "" if per_1000 is None else f"{per_1000:.3f}",
            )
        )


def line(values: Sequence[object]) -> str:
    """One line; a text that a spreadsheet would take for a formula is made plain."""
    out = io.StringIO()
    plain = [
        f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value
        for value in values
    ]
    csv.writer(out).writerow(plain)
    return out.getvalue()
