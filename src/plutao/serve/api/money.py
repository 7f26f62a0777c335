"""Prices and budgets: seen by whoever pays, set by owners."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import or_, select

from plutao.serve import budgets, prices, usage
from plutao.serve.api.common import DENIALS, Asked, Kept, Member, Owner, Short, by_of
from plutao.serve.api.people import find as find_account
from plutao.serve.budgets import Period
from plutao.serve.errors import bad_request, not_found
from plutao.serve.identity import get_owned
from plutao.serve.prices import MICRO, Tariff, to_micro
from plutao.serve.tables.base import now
from plutao.serve.tables.keys import ApiKey
from plutao.serve.tables.metering import Budget, Price

router = APIRouter(prefix="/api", tags=["money"], responses=DENIALS)
MEASURED_OVER = 30 * usage.DAY

Holder = Annotated[int | None, Query(ge=1, le=2**53)]
Money = Annotated[float, Field(ge=0, le=1e12, description="In the service's currency; up to six decimals.")]


class PriceOut(BaseModel):
    """Money for 1,000 tokens, and beside it what 1,000 tokens took of the machine in the last 30 days, in seconds."""

    model: str
    prompt: float
    completion: float
    since: int | None
    seconds_per_1000_tokens: float | None


class Prices(BaseModel):
    currency: str
    data: list[PriceOut]


class NewPrice(Asked):
    """For 1,000 tokens; model `*` is for all that have no price of their own."""

    model: Annotated[Short, Field(min_length=1)]
    prompt: Money
    completion: Money


class Currency(Asked):
    currency: Short


class BudgetOut(BaseModel):
    id: int
    account: int | None
    key: int | None
    amount: float
    period: str
    spent: float
    reserved: float
    left: float


class Budgets(BaseModel):
    currency: str
    data: list[BudgetOut]


class NewBudget(Asked):
    """Of an account or of a key: one of the two."""

    account: Annotated[int | None, Field(ge=1, le=2**53)] = None
    key: Annotated[int | None, Field(ge=1, le=2**53)] = None
    amount: Money
    period: Period = "month"


# ---------------------------------------------------------------------------------------------------------------------
# Prices


@router.get("/prices", response_model=Prices, summary="What tokens cost, in money and in seconds")
def list_prices(caller: Member, database: Kept) -> Prices:
    """Of every model that has a price or was used lately."""
    with database.reading() as db:
        rows = {row.model: row for row in db.scalars(select(Price))}
        lately = usage.Filter(now() - MEASURED_OVER, now() + 1)
        measured = {one.group["model"]: one.seconds_per_1000_tokens for one in usage.sums(db, lately, 0, ["model"])}
        currency = prices.currency(db)
    names = sorted({*rows, *(str(name) for name in measured)})
    return Prices(currency=currency, data=[price_out(name, rows, measured.get(name)) for name in names])


def price_out(model: str, rows: dict[str, Price], seconds: float | None) -> PriceOut:
    row = rows.get(model) or rows.get(prices.ANY)
    return PriceOut(
        model=model,
        prompt=row.prompt / MICRO if row else 0,
        completion=row.completion / MICRO if row else 0,
        since=row.since if row else None,
        seconds_per_1000_tokens=seconds,
    )


@router.put("/prices", response_model=PriceOut, summary="Set a price")
def set_price(ask: NewPrice, request: Request, caller: Owner, database: Kept) -> PriceOut:
    """From the next request on."""
    with database.writing() as db:
        tariff = Tariff(to_micro(ask.prompt), to_micro(ask.completion))
        row = prices.set_price(db, ask.model, tariff, by_of(request, caller))
        return price_out(row.model, {row.model: row}, None)


@router.delete("/prices", status_code=204, summary="Take a price away")
def remove_price(model: Annotated[Short, Query()], request: Request, caller: Owner, database: Kept) -> None:
    with database.writing() as db:
        if not prices.remove_price(db, model, by_of(request, caller)):
            raise not_found(f"{model} has no price of its own.", "model")


@router.put("/currency", response_model=Prices, summary="Name the currency")
def set_currency(ask: Currency, request: Request, caller: Owner, database: Kept) -> Prices:
    """Numbers stay as they are."""
    with database.writing() as db:
        prices.set_currency(db, ask.currency, by_of(request, caller))
    return list_prices(caller, database)


# ---------------------------------------------------------------------------------------------------------------------
# Budgets


@router.get("/budgets", response_model=Budgets, summary="My budgets, or everybody's")
def list_budgets(
    caller: Member, database: Kept, everybody: Annotated[bool, Query(description="For owners.")] = False
) -> Budgets:
    mine = or_(Budget.account == caller.account, ApiKey.account == caller.account)
    query = select(Budget).outerjoin(ApiKey, ApiKey.id == Budget.key).order_by(Budget.id)
    if not (everybody and caller.role == "owner" and "admin" in caller.scopes):
        query = query.where(mine)
    with database.reading() as db:
        return Budgets(currency=prices.currency(db), data=[budget_out(row) for row in db.scalars(query)])


def budget_out(row: Budget) -> BudgetOut:
    spent = budgets.spent_now(row)
    return BudgetOut(
        id=row.id,
        account=row.account,
        key=row.key,
        amount=row.amount / MICRO,
        period=row.period,
        spent=spent / MICRO,
        reserved=row.reserved / MICRO,
        left=max(row.amount - spent - row.reserved, 0) / MICRO,
    )


@router.put("/budgets", response_model=BudgetOut, summary="Set a budget")
def set_budget(ask: NewBudget, request: Request, caller: Owner, database: Kept) -> BudgetOut:
    """What was spent in the present period stays spent."""
    if (ask.account is None) == (ask.key is None):
        raise bad_request("Name the account or the key whose budget it is: one of the two.", "account")
    with database.writing() as db:
        if ask.key is not None:
            get_owned(db, ApiKey, ask.key, caller, owners_too=True)
        else:
            find_account(db, ask.account or 0)
        by = by_of(request, caller)
        return budget_out(
            budgets.set_budget(db, to_micro(ask.amount), ask.period, by, account=ask.account, key=ask.key)
        )


@router.delete("/budgets", status_code=204, summary="Take a budget away")
def remove_budget(request: Request, caller: Owner, database: Kept, account: Holder = None, key: Holder = None) -> None:
    """Then nothing limits what is spent."""
    if (account is None) == (key is None):
        raise bad_request("Name the account or the key whose budget it is: one of the two.", "account")
    with database.writing() as db:
        if not budgets.remove_budget(db, by_of(request, caller), account=account, key=key):
            raise not_found("There is no such budget.")
