"""For owners: people, keys, models, prices and budgets, usage, the audit log, and what lies on the disk."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from plutao.errors import UserError
from plutao.serve import accounts, audit, budgets, keys, prices, usage, wayback
from plutao.serve.answering import Services
from plutao.serve.api.common import Kept, Number, Short, by_of, root_of
from plutao.serve.api.keys import holder_of
from plutao.serve.api.money import MEASURED_OVER, budget_out
from plutao.serve.api.people import find, link_address
from plutao.serve.backend.contract import EngineFailed, ModelCard
from plutao.serve.errors import ApiError, not_found
from plutao.serve.identity import Caller, get_owned
from plutao.serve.prices import MICRO, Tariff, to_micro
from plutao.serve.roles import ROLES
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.base import now
from plutao.serve.tables.keys import ApiKey
from plutao.serve.tables.metering import Budget, Price
from plutao.serve.usage import DAY, Filter
from plutao.web import charts, storage
from plutao.web.charts import Chart, Series
from plutao.web.people import OwnerReader
from plutao.web.templating import in_words, language_of, page, translator

router = APIRouter(prefix="/owner", include_in_schema=False)
AUDIT_LINES = 100
PERIODS = (7, 30, 90)
"""Days that the usage page can show."""


def shown(request: Request, name: str, problem: str = "", **context: Any) -> Response:
    """One of the owner's pages; what it tells is kept by no browser."""
    response = page(request, f"owner/{name}.html", 400 if problem else 200, tab=name, problem=problem, **context)
    response.headers["cache-control"] = "no-store"
    return response


def names_of(db: Session) -> dict[int, str]:
    """What accounts are called; a forgotten one goes by its number."""
    return {one.id: one.name or one.email or f"#{one.id}" for one in db.scalars(select(Account))}


@router.get("")
def beginning(caller: OwnerReader) -> Response:
    return RedirectResponse("/owner/people", 303)


# ---------------------------------------------------------------------------------------------------------------------
# People


@router.get("/people")
def people(request: Request, caller: OwnerReader, database: Kept) -> Response:
    return people_page(request, database)


def people_page(request: Request, database: Kept, problem: str = "", link: str = "", of: str = "") -> Response:
    with database.reading() as db:
        everybody = db.scalars(select(Account).order_by(Account.id)).all()
    return shown(request, "people", problem, everybody=everybody, roles=ROLES, link=link, of=of)


@router.post("/people")
def invite(
    request: Request,
    caller: OwnerReader,
    database: Kept,
    email: Annotated[Short, Form()] = "",
    name: Annotated[Short, Form()] = "",
    role: Annotated[Short, Form()] = "member",
) -> Response:
    """Makes an account; the link to choose a password is shown once."""
    by = by_of(request, caller)
    try:
        with database.writing() as db:
            account = accounts.create(db, email, name, one_of(ROLES, role), by=by)
            link = link_address(request, accounts.password_link(db, account, by))
    except (UserError, ApiError) as error:
        return people_page(request, database, in_words(request, error))
    return people_page(request, database, link=link, of=account.email or "")


def one_of(allowed: tuple[str, ...], value: str) -> str:
    if value not in allowed:
        raise UserError(f"There is no {value[:40]!r} here: choose {', '.join(allowed)}.")
    return value


@router.post("/people/{id}")
def change(
    request: Request,
    id: Number,
    caller: OwnerReader,
    database: Kept,
    role: Annotated[Short, Form()] = "",
    disabled: Annotated[Short, Form()] = "",
) -> Response:
    """Another role; let in or shut out."""
    by = by_of(request, caller)
    try:
        with database.writing() as db:
            account = find(db, id)
            if role and role != account.role:
                accounts.set_role(db, account, one_of(ROLES, role), by)
            if disabled and (disabled == "true") != (account.disabled is not None):
                (accounts.disable if disabled == "true" else accounts.enable)(db, account, by)
    except (UserError, ApiError) as error:
        return people_page(request, database, in_words(request, error))
    return RedirectResponse("/owner/people", 303)


@router.post("/people/{id}/link")
def new_link(request: Request, id: Number, caller: OwnerReader, database: Kept) -> Response:
    with database.writing() as db:
        account = find(db, id)
        link = link_address(request, accounts.password_link(db, account, by_of(request, caller)))
    return people_page(request, database, link=link, of=account.email or "")


@router.post("/people/{id}/forget")
def forget(request: Request, id: Number, caller: OwnerReader, database: Kept) -> Response:
    try:
        with database.reading() as db:
            account = find(db, id)
        wayback.forget(database, root_of(request), account, by_of(request, caller))
    except (UserError, ApiError) as error:
        return people_page(request, database, in_words(request, error))
    return RedirectResponse("/owner/people", 303)


# ---------------------------------------------------------------------------------------------------------------------
# Keys


@router.get("/keys")
def all_keys(request: Request, caller: OwnerReader, database: Kept) -> Response:
    return keys_page(request, database)


def keys_page(request: Request, database: Kept, problem: str = "", key: str = "") -> Response:
    with database.reading() as db:
        found = db.scalars(select(ApiKey).order_by(ApiKey.revoked.is_not(None), ApiKey.id.desc())).all()
        holders = db.scalars(select(Account).where(Account.disabled.is_(None), Account.role != "labeller")).all()
        names = names_of(db)
    return shown(request, "keys", problem, keys=found, holders=holders, names=names, key=key, present=now())


@router.post("/keys")
def new_key(
    request: Request,
    caller: OwnerReader,
    database: Kept,
    name: Annotated[Short, Form()] = "",
    account: Annotated[Short, Form()] = "",
    days: Annotated[Short, Form()] = "",
    requests_per_minute: Annotated[Short, Form()] = "",
) -> Response:
    """A key; it is shown once."""
    try:
        holder = whole(account)
        lives, rate = whole(days), whole(requests_per_minute)
        rights = keys.KeyRights(expires=now() + lives * DAY if lives else None, requests_per_minute=rate)
        with database.writing() as db:
            _, key = keys.create(db, holder_of(db, caller, holder), name, rights, by_of(request, caller))
    except (UserError, ApiError) as error:
        return keys_page(request, database, in_words(request, error))
    return keys_page(request, database, key=key)


def whole(text: str) -> int | None:
    """A whole number of 1 or more; nothing where nothing was written."""
    if not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdigit() and 0 < int(text) < 10**9):
        raise UserError(f"{text[:40]!r} is no whole number of 1 or more.")
    return int(text)


@router.post("/keys/{id}/revoke")
def revoke(request: Request, id: Number, caller: OwnerReader, database: Kept) -> Response:
    with database.writing() as db:
        keys.revoke(db, get_owned(db, ApiKey, id, caller, owners_too=True), by_of(request, caller))
    return RedirectResponse("/owner/keys", 303)


@router.post("/keys/{id}/rotate")
def rotate(request: Request, id: Number, caller: OwnerReader, database: Kept) -> Response:
    """Another secret, shown once; the old one is good for a day yet."""
    with database.writing() as db:
        row = get_owned(db, ApiKey, id, caller, owners_too=True)
        if row.revoked is not None or (row.expires is not None and row.expires <= now()):
            raise not_found("This key is revoked or expired: make a new one.")
        key = keys.rotate(db, row, DAY, by_of(request, caller))
    return keys_page(request, database, key=key)


# ---------------------------------------------------------------------------------------------------------------------
# Models


async def cards_of(request: Request) -> list[ModelCard]:
    services: Services = request.app.state.services
    try:
        return await services.backend.models()
    except EngineFailed:
        return []


@router.get("/models")
async def models(request: Request, caller: OwnerReader) -> Response:
    services: Services = request.app.state.services
    return shown(request, "models", cards=await cards_of(request), load=services.backend.load())


# ---------------------------------------------------------------------------------------------------------------------
# Prices and budgets


@router.get("/money")
def money(request: Request, caller: OwnerReader, database: Kept) -> Response:
    return money_page(request, database)


def money_page(request: Request, database: Kept, problem: str = "") -> Response:
    lately = Filter(now() - MEASURED_OVER, now() + 1)
    with database.reading() as db:
        tariffs = db.scalars(select(Price).order_by(Price.model)).all()
        used = {str(one.group["model"]): one for one in usage.sums(db, lately, 0, ["model"])}
        limits = [budget_out(row) for row in db.scalars(select(Budget).order_by(Budget.id))]
        context = {
            "tariffs": tariffs,
            "used": used,
            "budgets": limits,
            "currency": prices.currency(db).upper(),
            "names": names_of(db),
            "key_names": {one.id: one.name for one in db.scalars(select(ApiKey))},
            "holders": db.scalars(select(Account).where(Account.forgotten.is_(None))).all(),
            "live_keys": db.scalars(select(ApiKey).where(ApiKey.revoked.is_(None))).all(),
        }
    return shown(request, "money", problem, micro=MICRO, periods=budgets.PERIODS, **context)


def of_money(request: Request, database: Kept, change: Callable[[Session], object]) -> Response:
    """Makes a change of prices or budgets; back to the page, or the page with what was wrong."""
    try:
        with database.writing() as db:
            change(db)
    except (UserError, ApiError) as error:
        return money_page(request, database, in_words(request, error))
    return RedirectResponse("/owner/money", 303)


def amount(text: str) -> int:
    return to_micro(text.strip().replace(",", ".") or "0")


@router.post("/prices")
def set_price(
    request: Request,
    caller: OwnerReader,
    database: Kept,
    model: Annotated[Short, Form()] = "",
    prompt: Annotated[Short, Form()] = "",
    completion: Annotated[Short, Form()] = "",
) -> Response:
    def change(db: Session) -> None:
        tariff = Tariff(amount(prompt), amount(completion))
        prices.set_price(db, model.strip() or prices.ANY, tariff, by_of(request, caller))

    return of_money(request, database, change)


@router.post("/prices/remove")
def remove_price(
    request: Request, caller: OwnerReader, database: Kept, model: Annotated[Short, Form()] = ""
) -> Response:
    return of_money(request, database, lambda db: prices.remove_price(db, model, by_of(request, caller)))


@router.post("/currency")
def set_currency(
    request: Request, caller: OwnerReader, database: Kept, currency: Annotated[Short, Form()] = ""
) -> Response:
    return of_money(request, database, lambda db: prices.set_currency(db, currency.strip(), by_of(request, caller)))


@router.post("/budgets")
def set_budget(
    request: Request,
    caller: OwnerReader,
    database: Kept,
    holder: Annotated[Short, Form()] = "",
    limit: Annotated[Short, Form()] = "",
    period: Annotated[Short, Form()] = "month",
) -> Response:
    def change(db: Session) -> None:
        budgets.set_budget(db, amount(limit), period, by_of(request, caller), **holder_in(db, caller, holder))

    return of_money(request, database, change)


def holder_in(db: Session, caller: Caller, holder: str) -> dict[str, int]:
    """`account 3` or `key 7`, as the page's list names them."""
    kind, _, number = holder.partition(" ")
    if kind == "account":
        return {"account": find(db, whole(number) or 0).id}
    if kind == "key":
        return {"key": get_owned(db, ApiKey, whole(number) or 0, caller, owners_too=True).id}
    raise UserError("Choose the person or the key whose budget it is.")


@router.post("/budgets/remove")
def remove_budget(
    request: Request, caller: OwnerReader, database: Kept, holder: Annotated[Short, Form()] = ""
) -> Response:
    def change(db: Session) -> None:
        budgets.remove_budget(db, by_of(request, caller), **holder_in(db, caller, holder))

    return of_money(request, database, change)


# ---------------------------------------------------------------------------------------------------------------------
# Usage


@router.get("/usage")
def used(
    request: Request, caller: OwnerReader, database: Kept, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> Response:
    """By day, model, person and key."""
    end = now() + 1
    start = (end - 1) // DAY * DAY - (days - 1) * DAY
    which = Filter(start, end)
    with database.reading() as db:
        by_day = usage.sums(db, which, DAY)
        tables = [(kind, usage.sums(db, which, 0, [kind])) for kind in ("model", "user_id", "api_key_id", "endpoint")]
        names = {
            "user_id": names_of(db),
            "api_key_id": {one.id: f"{one.name} (sk-{one.prefix}…)" for one in db.scalars(select(ApiKey))},
        }
        currency = prices.currency(db).upper()
    context: dict[str, Any] = {
        "days": days,
        "periods": PERIODS,
        "start": start,
        "tables": tables,
        "names": names,
        "micro": MICRO,
    }
    drawn = usage_charts(request, by_day, start, days, currency)
    total = {key: sum(getattr(one, key) for one in by_day) for key in TOTALS}
    short = charts.short(language_of(request))
    return shown(
        request, "usage", charts=drawn, total=total, currency=currency, short=short, script_words=("charts",), **context
    )


TOTALS = ("requests", "prompt_tokens", "completion_tokens", "cost", "unbilled", "seconds")


def usage_charts(request: Request, by_day: list[usage.Sum], start: int, days: int, currency: str) -> list[Chart]:
    """Tokens, requests and money of each day."""
    t = translator(request)
    moments = [start + place * DAY for place in range(days)]
    form = "%d/%m" if language_of(request) == "pt" else "%b %d"
    labels = [datetime.fromtimestamp(moment, UTC).strftime(form) for moment in moments]
    told = {one.start: one for one in by_day}

    def series(name: str, key: str, voice: str, scale: float = 1.0) -> Series:
        values = [float(getattr(told[moment], key)) / scale if moment in told else 0.0 for moment in moments]
        return Series(name, [float(place) for place in range(days)], values, voice, "bars")

    shows = t("owner.usage_shows", days=days)
    tokens = [series(t("owner.read"), "prompt_tokens", "pluto"), series(t("owner.written"), "completion_tokens", "sun")]
    requests = [series(t("owner.requests"), "requests", "sun")]
    cost = [series(currency, "cost", "sun", MICRO)]
    day = t("owner.day")
    return [
        Chart("tokens", t("owner.tokens"), t("owner.tokens_note"), day, "", tokens, shows, labels, True),
        Chart("requests", t("owner.requests"), "", day, "", requests, shows, labels, True),
        Chart("cost", t("owner.cost"), t("owner.cost_note"), day, "", cost, shows, labels, True),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# The audit log and the disk


@router.get("/audit")
def audit_log(
    request: Request,
    caller: OwnerReader,
    database: Kept,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> Response:
    with database.reading() as db:
        lines = list(audit.lines(db, before, AUDIT_LINES))
        broken, names = audit.broken_at(db), names_of(db)
    older = lines[-1].id if len(lines) == AUDIT_LINES else None
    return shown(request, "audit", lines=lines, broken=broken, names=names, older=older)


@router.get("/storage")
def on_disk(request: Request, caller: OwnerReader, database: Kept) -> Response:
    root = root_of(request)
    return shown(request, "storage", **storage.measure(root, database))
