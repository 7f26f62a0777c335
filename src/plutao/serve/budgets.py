"""What an account or a key may spend. Money for an answer is set aside before its first token; the sum of what is spent and
set aside can't pass the budget, whatever happens at the same time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import ColumnElement, bindparam, or_, select, update
from sqlalchemy.orm import Session

from plutao.errors import UserError
from plutao.serve import audit
from plutao.serve.audit import By
from plutao.serve.tables.base import now, table_of
from plutao.serve.tables.metering import Budget

Period = Literal["month", "day", "once"]
PERIODS: tuple[Period, ...] = ("month", "day", "once")


def set_budget(
    db: Session, amount: int, period: str, by: By, *, account: int | None = None, key: int | None = None
) -> Budget:
    """Gives an account or a key a budget, or changes it; what was spent in the present period stays spent.

    Args:
        amount: micro-units for each period; 0 lets only what is free pass.
        period: "month" and "day" begin anew at 00:00 UTC; "once" never does.

    Raises:
        UserError: no such period, or a negative amount.
    """
    assert (account is None) != (key is None)
    if period not in PERIODS:
        raise UserError(f"There is no period {period!r}: a budget is for each month, each day, or once.")
    if amount < 0:
        raise UserError("A budget is 0 or more.")
    row = db.scalars(select(Budget).where(holder(account, key)).with_for_update()).one_or_none()
    if row is None:
        row = Budget(account=account, key=key, amount=amount, period=period, started=period_start(period, now()))
        db.add(row)
    elif row.period != period:
        row.period, row.started, row.spent = period, period_start(period, now()), 0
    row.amount = amount
    subject = f"account {account}" if key is None else f"key {key}"
    audit.record(db, "budget.set", subject, actor=by.account, address=by.address, amount=amount, period=period)
    db.flush()
    return row


def remove_budget(db: Session, by: By, *, account: int | None = None, key: int | None = None) -> bool:
    """Takes the limit away; whether there was one."""
    row = db.scalars(select(Budget).where(holder(account, key))).one_or_none()
    if row is not None:
        db.delete(row)
        subject = f"account {account}" if key is None else f"key {key}"
        audit.record(db, "budget.removed", subject, actor=by.account, address=by.address)
    return row is not None


def find(db: Session, *, account: int | None = None, key: int | None = None) -> Budget | None:
    """The budget of an account or of a key."""
    return db.scalars(select(Budget).where(holder(account, key))).one_or_none()


def spent_now(budget: Budget) -> int:
    """Micro-units spent in the present period, whether or not anything told the database that it began."""
    return budget.spent if budget.started >= period_start(budget.period, now()) else 0


def holder(account: int | None, key: int | None) -> ColumnElement[bool]:
    return Budget.key == key if account is None else Budget.account == account


# ---------------------------------------------------------------------------------------------------------------------
# Setting aside, spending, giving back
# Every answer passes here twice, so these statements are made once and go to the database past the mapper.

_BUDGET = table_of(Budget)
_ROW = _BUDGET.c.id == bindparam("budget")
_ALL_OF = (
    select(_BUDGET.c.id, _BUDGET.c.key, _BUDGET.c.period, _BUDGET.c.started)
    .where(or_(_BUDGET.c.account == bindparam("of_account"), _BUDGET.c.key == bindparam("of_key")))
    .order_by(_BUDGET.c.id)
)
_BEGIN = update(_BUDGET).where(_ROW, _BUDGET.c.started < bindparam("start")).values(started=bindparam("start"), spent=0)
_RESERVE = (
    update(_BUDGET)
    .where(_ROW, _BUDGET.c.spent + _BUDGET.c.reserved + bindparam("more") <= _BUDGET.c.amount)
    .values(reserved=_BUDGET.c.reserved + bindparam("more"))
)
_SPEND = (
    update(_BUDGET)
    .where(_ROW)
    .values(reserved=_BUDGET.c.reserved - bindparam("less"), spent=_BUDGET.c.spent + bindparam("cost"))
)


@dataclass(frozen=True)
class Limit:
    """A budget that an answer must fit."""

    id: int
    of_key: bool
    period: str
    started: int


def limits(db: Session, account: int, key: int | None) -> list[Limit]:
    """The account's budget and the key's, as far as there are any, by number."""
    rows = db.connection().execute(_ALL_OF, {"of_account": account, "of_key": key})
    return [Limit(number, of_key is not None, period, started) for number, of_key, period, started in rows]


def reserve(db: Session, limit: Limit, amount: int) -> bool:
    """Sets an amount aside; False where it would pass the budget. Where the budget's period is over, the next one begins
    with nothing spent.

    The question and the change are one statement: between them nobody else can set anything aside.
    """
    start = period_start(limit.period, now())
    if limit.started < start:
        db.connection().execute(_BEGIN, {"budget": limit.id, "start": start})
    return db.connection().execute(_RESERVE, {"budget": limit.id, "more": amount}).rowcount == 1


def spend_reserved(db: Session, budget: int, reserved: int, cost: int) -> None:
    """Turns what was set aside into what was spent; `cost` is no more than `reserved`, the rest is free again."""
    assert 0 <= cost <= reserved
    db.connection().execute(_SPEND, {"budget": budget, "less": reserved, "cost": cost})


def spend_late(db: Session, budgets: list[int], cost: int) -> int:
    """Spends what nothing is set aside for any more, as far as the budgets allow; the amount that they did."""
    rows = db.scalars(select(Budget).where(Budget.id.in_(budgets)).order_by(Budget.id).with_for_update()).all()
    paid = min([cost, *(max(row.amount - row.spent - row.reserved, 0) for row in rows)])
    for row in rows:
        row.spent += paid
    return paid


def period_start(period: str, moment: int) -> int:
    """When the period that holds `moment` began, in seconds since 1970, UTC."""
    if period == "once":
        return 0
    day = datetime.fromtimestamp(moment, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((day.replace(day=1) if period == "month" else day).timestamp())
