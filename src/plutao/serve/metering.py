"""The meter: before an answer its worst case is set aside, afterwards what it really took is paid and noted.

    async with meter(caller, model, prompt_tokens, max_completion_tokens) as bill:
        …
        bill.settle(prompt_tokens, completion_tokens)

Leaving without `settle` gives everything back. So does a crash: what a server set aside is leased, and a server that no
longer renews its leases loses them.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from filelock import FileLock, Timeout
from sqlalchemy import Row, bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from plutao.serve import budgets
from plutao.serve.database import Database, add_missing
from plutao.serve.errors import ApiError, out_of_quota, rate_limited
from plutao.serve.identity import Caller
from plutao.serve.prices import Tariff, tariff_of
from plutao.serve.tables.base import now, table_of
from plutao.serve.tables.keys import ApiKey
from plutao.serve.tables.metering import RateWindow, Reservation, Usage

log = logging.getLogger("plutao.serve")
P = ParamSpec("P")
Result = TypeVar("Result")

LEASE = 60
"""Seconds after which what a dead server set aside is free again."""


@dataclass(frozen=True)
class Held:
    """What is set aside for one answer, as the database has it."""

    id: str
    tariff: Tariff
    amount: int
    budgets: tuple[int, ...]
    headers: dict[str, str]


@dataclass
class Bill:
    """An answer's bill while it is being written.

    Attributes:
        headers: how much the key has left in this minute, as OpenAI's `x-ratelimit-…` headers.
    """

    headers: dict[str, str] = field(default_factory=dict)
    tokens: tuple[int, int] | None = None

    def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """What was really read and written; paid when the block ends, however it ends."""
        self.tokens = (prompt_tokens, completion_tokens)


class MachineClock:
    """Shares the machine's time among the answers being written: each of n gets 1/n of every second, so that all shares
    together are the time in which the machine was busy.
    """

    def __init__(self) -> None:
        self._running = 0
        self._share = 0.0  # seconds that an answer which was there from the beginning would have by now
        self._last = time.monotonic()

    def enter(self) -> float:
        self._advance()
        self._running += 1
        return self._share

    def leave(self, entered: float) -> float:
        """Seconds of the machine since `enter` gave `entered`."""
        self._advance()
        self._running -= 1
        return self._share - entered

    def _advance(self) -> None:
        present = time.monotonic()
        if self._running:
            self._share += (present - self._last) / self._running
        self._last = present


class Meter:
    """The meter of one server process."""

    def __init__(self, database: Database, lease: int = LEASE) -> None:
        self.database, self.lease = database, lease
        self.holder = secrets.token_hex(8)
        self.clock = MachineClock()
        self._renewing: asyncio.Task[None] | None = None
        self._alone: FileLock | None = None

    async def start(self) -> None:
        """Gives back what servers that died had set aside, and begins to renew our own leases."""
        await run_in_threadpool(self.recover)
        self._renewing = asyncio.create_task(self._renew())

    async def stop(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        if self._alone is not None:
            self._alone.release()

    def recover(self) -> int:
        """Gives back what is nobody's any more; how many answers that was.

        Whoever holds the lock beside an SQLite file is its only server: all that is set aside in it was a dead one's.
        """
        everything = False
        if self.database.on_sqlite and self._alone is None:
            lock = FileLock(f"{self.database.url.database}.serving", thread_local=False)
            try:
                lock.acquire(blocking=False)
                self._alone, everything = lock, True
            except Timeout:
                pass
        return release_dead(self.database, everything)

    @asynccontextmanager
    async def __call__(
        self, caller: Caller, model: str, prompt_tokens: int, max_completion_tokens: int, endpoint: str = "completions"
    ) -> AsyncIterator[Bill]:
        """Sets the worst case aside while the block runs.

        Raises:
            ApiError: 429, it does not fit the budget (`insufficient_quota`) or the key's minute (`rate_limit_exceeded`).
        """
        held, left = await finish(self.hold, caller, model, (prompt_tokens, max_completion_tokens))
        if left is not None:
            await finish(release, self.database, held.id)
            raise left
        bill, began, entered = Bill(held.headers), time.monotonic(), self.clock.enter()
        try:
            yield bill
        finally:
            seconds, waited = self.clock.leave(entered), time.monotonic() - began
            if bill.tokens is None:
                _, left = await finish(release, self.database, held.id)
            else:
                used = {
                    "moment": now(),
                    "account": caller.account,
                    "key": caller.key,
                    "model": model,
                    "endpoint": endpoint,
                    "prompt_tokens": bill.tokens[0],
                    "completion_tokens": bill.tokens[1],
                    "seconds": seconds,
                    "waited": waited,
                }
                _, left = await finish(pay, self.database, held, used)
            if left is not None:
                raise left

    def hold(self, caller: Caller, model: str, tokens: tuple[int, int]) -> Held:
        """Sets the worst case aside; where it does not fit, what the dead left behind is swept up and it is tried again."""
        try:
            return hold(self.database, caller, model, tokens, self.holder, self.lease)
        except ApiError as error:
            if error.code != "insufficient_quota" or not release_dead(self.database):
                raise
        return hold(self.database, caller, model, tokens, self.holder, self.lease)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.lease / 4)
            try:
                await run_in_threadpool(renew, self.database, self.holder, self.lease)
                await run_in_threadpool(release_dead, self.database)
            except Exception:
                log.exception("leases could not be renewed; it is tried again")


async def finish(
    function: Callable[P, Result], *args: P.args, **options: P.kwargs
) -> tuple[Result, asyncio.CancelledError | None]:
    """Runs a function in a thread to its end, even where the task is cancelled meanwhile; the cancellation comes with the
    result. A caller that leaves in the wrong moment must not leave money behind.
    """
    work = asyncio.create_task(run_in_threadpool(function, *args, **options))
    left: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            left = error
    return work.result(), left


# ---------------------------------------------------------------------------------------------------------------------
# In the database. Rows are locked in one order everywhere, so that nobody waits in a circle: the reservation, the key's
# minute, budgets by number. Every answer passes here twice: the statements are made once and go past the mapper.

_KEY, _WINDOW = table_of(ApiKey), table_of(RateWindow)
_RESERVATION, _USAGE = table_of(Reservation), table_of(Usage)
_LIMITS = select(_KEY.c.requests_per_minute, _KEY.c.tokens_per_minute, _KEY.c.parallel).where(
    _KEY.c.id == bindparam("of")
)
_TAKE = (
    delete(_RESERVATION)
    .where(_RESERVATION.c.id == bindparam("of"))
    .returning(
        _RESERVATION.c.key,
        _RESERVATION.c.window,
        _RESERVATION.c.tokens,
        _RESERVATION.c.amount,
        _RESERVATION.c.account_budget,
        _RESERVATION.c.key_budget,
    )
)
_LEARN = (
    update(_WINDOW)
    .where(_WINDOW.c.key == bindparam("of"), _WINDOW.c.minute == bindparam("of_minute"))
    .values(tokens=_WINDOW.c.tokens + bindparam("more"))
)
_SET_ASIDE, _NOTE = insert(_RESERVATION), insert(_USAGE)


def hold(
    database: Database, caller: Caller, model: str, tokens: tuple[int, int], holder: str, lease: int = LEASE
) -> Held:
    """One transaction: the key's minute, the budgets, the reservation."""
    with database.writing() as db:
        present = now()
        headers = count_request(db, caller.key, sum(tokens), present) if caller.key is not None else {}
        tariff = tariff_of(db, model)
        amount = tariff.cost(*tokens)
        fitting = budgets.limits(db, caller.account, caller.key)
        for limit in fitting:
            if not budgets.reserve(db, limit, amount):
                whose = "This key's" if limit.of_key else "Your account's"
                raise out_of_quota(
                    f"{whose} budget does not hold what this request may cost; ask for fewer tokens, or for more budget."
                )
        row: dict[str, Any] = {
            "id": secrets.token_hex(16),
            "holder": holder,
            "account": caller.account,
            "key": caller.key,
            "model": model,
            "account_budget": next((limit.id for limit in fitting if not limit.of_key), None),
            "key_budget": next((limit.id for limit in fitting if limit.of_key), None),
            "prompt_price": tariff.prompt,
            "completion_price": tariff.completion,
            "amount": amount,
            "tokens": sum(tokens),
            "window": present - present % 60,
            "created": present,
            "lease": present + lease,
        }
        db.connection().execute(_SET_ASIDE, row)
        return Held(row["id"], tariff, amount, tuple(limit.id for limit in fitting), headers)


def count_request(db: Session, key: int, tokens: int, present: int) -> dict[str, str]:
    """Counts a request in its key's minute; what is left, as headers.

    Raises:
        ApiError: 429, the minute is full, or too many answers are being written for this key.
    """
    requests_limit, tokens_limit, parallel = db.connection().execute(_LIMITS, {"of": key}).one()
    if requests_limit is None and tokens_limit is None and parallel is None:
        return {}
    minute, wait = present - present % 60, 60 - present % 60
    add_missing(db, RateWindow, key=key, minute=minute, requests=0, tokens=0)
    window = db.scalars(select(RateWindow).where(RateWindow.key == key).with_for_update()).one()
    if window.minute != minute:
        window.minute, window.requests, window.tokens = minute, 0, 0
    if requests_limit is not None and window.requests >= requests_limit:
        raise rate_limited(f"This key may send {requests_limit} requests a minute.", wait)
    if tokens_limit is not None and window.tokens + tokens > tokens_limit:
        raise rate_limited(f"This key may use {tokens_limit} tokens a minute; this request may take {tokens}.", wait)
    running = select(func.count()).select_from(Reservation).where(Reservation.key == key, Reservation.lease > present)
    if parallel is not None and (db.scalar(running) or 0) >= parallel:
        raise rate_limited(f"This key may have {parallel} requests answered at the same time.", 1)
    window.requests, window.tokens = window.requests + 1, window.tokens + tokens
    headers: dict[str, str] = {}
    for what, limit, count in (("requests", requests_limit, window.requests), ("tokens", tokens_limit, window.tokens)):
        if limit is not None:
            left = {"limit": str(limit), "remaining": str(limit - count), "reset": f"{wait}s"}
            headers |= {f"x-ratelimit-{name}-{what}": value for name, value in left.items()}
    return headers


def pay(database: Database, held: Held, used: Mapping[str, Any]) -> None:
    """Pays what an answer took, gives the rest back, and notes it, all in one transaction.

    What was set aside is the most that is ever paid: should an answer have taken more, the rest is noted as unbilled.

    Args:
        used: columns of `Usage` but for the money.
    """
    tokens = (used["prompt_tokens"], used["completion_tokens"])
    cost = held.tariff.cost(*tokens)
    with database.writing() as db:
        row = take(db, held.id, sum(tokens))
        if row is None:  # the lease ran out meanwhile, as on a computer that slept
            paid = budgets.spend_late(db, list(held.budgets), cost)
        else:
            paid = min(cost, held.amount)
            for budget in held.budgets:
                budgets.spend_reserved(db, budget, held.amount, paid)
        db.flush()
        db.connection().execute(_NOTE, {**used, "cost": paid, "unbilled": cost - paid})


def release(database: Database, reservation: str) -> bool:
    """Gives back all that was set aside for an answer; False where somebody did already."""
    with database.writing() as db:
        row = take(db, reservation, 0)
        if row is None:
            return False
        for budget in sorted(filter(None, (row.account_budget, row.key_budget))):
            budgets.spend_reserved(db, budget, row.amount, 0)
        return True


def take(db: Session, reservation: str, tokens: int) -> Row[*tuple[Any, ...]] | None:
    """Takes a reservation away: whoever gets it here answers for its money. The key's minute learns the true tokens."""
    row = db.connection().execute(_TAKE, {"of": reservation}).one_or_none()
    if row is not None and row.key is not None:
        learned = {"of": row.key, "of_minute": row.window, "more": tokens - row.tokens}
        db.connection().execute(_LEARN, learned)
    return row


def renew(database: Database, holder: str, lease: int = LEASE) -> None:
    """A server lives: its leases run on."""
    with database.writing() as db:
        db.execute(update(Reservation).where(Reservation.holder == holder).values(lease=now() + lease))


def release_dead(database: Database, everything: bool = False) -> int:
    """Gives back what is set aside and no longer leased, or all; how many answers that was."""
    with database.reading() as db:
        query = select(Reservation.id)
        dead = list(db.scalars(query if everything else query.where(Reservation.lease <= now())))
    return sum(release(database, reservation) for reservation in dead)
