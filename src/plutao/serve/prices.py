"""What 1,000 tokens cost, in integers: millionths of the service's currency (the book, Figure 66)."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from plutao.errors import UserError
from plutao.serve import audit
from plutao.serve.audit import By
from plutao.serve.tables.base import now, table_of
from plutao.serve.tables.metering import House, Price

ANY = "*"
MICRO = 1_000_000
HIGHEST = 10**12
"""A million of the currency's unit: beyond it, sums could leave the database's integers."""


@dataclass(frozen=True)
class Tariff:
    """Micro-units for 1,000 tokens read, and for 1,000 written."""

    prompt: int = 0
    completion: int = 0

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Micro-units, rounded up once for the whole request: what costs anything costs at least one."""
        return -(-(prompt_tokens * self.prompt + completion_tokens * self.completion) // 1000)


_PRICE = table_of(Price)
_OF_MODEL = select(_PRICE.c.model, _PRICE.c.prompt, _PRICE.c.completion).where(
    or_(_PRICE.c.model == bindparam("wanted"), _PRICE.c.model == ANY)
)


def tariff_of(db: Session, model: str) -> Tariff:
    """A model's own price, else that of `*`, else nothing."""
    rows = {
        name: Tariff(prompt, completion)
        for name, prompt, completion in db.connection().execute(_OF_MODEL, {"wanted": model})
    }
    return rows.get(model) or rows.get(ANY) or Tariff()


def set_price(db: Session, model: str, tariff: Tariff, by: By) -> Price:
    """From now on; answers already begun keep the price they began with.

    Raises:
        UserError: a price that is negative or out of reason.
    """
    if not 0 <= min(tariff.prompt, tariff.completion) <= max(tariff.prompt, tariff.completion) <= HIGHEST:
        raise UserError(f"A price is between 0 and {HIGHEST // MICRO:,} for 1,000 tokens.")
    row = db.scalars(select(Price).where(Price.model == model).with_for_update()).one_or_none()
    if row is None:
        row = Price(model=model, prompt=0, completion=0, since=0)
        db.add(row)
    row.prompt, row.completion, row.since = tariff.prompt, tariff.completion, now()
    detail = {"prompt": tariff.prompt, "completion": tariff.completion}
    audit.record(db, "price.set", f"model {model}"[:200], actor=by.account, address=by.address, **detail)
    return row


def remove_price(db: Session, model: str, by: By) -> bool:
    """Whether there was one."""
    row = db.scalars(select(Price).where(Price.model == model)).one_or_none()
    if row is not None:
        db.delete(row)
        audit.record(db, "price.removed", f"model {model}"[:200], actor=by.account, address=by.address)
    return row is not None


def currency(db: Session) -> str:
    """The currency of all prices and budgets, as three lower-case letters."""
    row = db.get(House, "currency")
    return "usd" if row is None else row.value


def set_currency(db: Session, code: str, by: By) -> None:
    """Names the currency; numbers stay as they are.

    Raises:
        UserError: not three letters.
    """
    if not re.fullmatch(r"[A-Za-z]{3}", code):
        raise UserError(f"{code[:20]!r} is no currency: use its three letters, such as BRL, EUR or USD.")
    db.merge(House(name="currency", value=code.lower()))
    audit.record(db, "currency.set", code.lower(), actor=by.account, address=by.address)


def to_micro(amount: str | int | float) -> int:
    """An amount of money in millionths, exactly.

    Raises:
        UserError: no number, negative, or finer than a millionth.
    """
    try:
        value = Decimal(str(amount)) * MICRO
        exact = value == value.to_integral_value()
    except InvalidOperation as error:
        raise UserError(f"{str(amount)[:40]!r} is no amount of money: write it as 12.50.") from error
    if not exact or value < 0 or value > HIGHEST * MICRO:
        raise UserError(f"{str(amount)[:40]} is no amount that can be kept: from 0, with up to six decimals.")
    return int(value)


def in_words(micro: int) -> str:
    """An amount for people: two decimals, more where it has them."""
    whole, rest = divmod(micro, MICRO)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{decimals}"
