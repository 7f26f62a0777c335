"""`plutao key`: API keys, made, listed and revoked without a browser."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plutao.cli.user import Dir, Json, Url, open_service, say
from plutao.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from plutao.serve.tables.accounts import Account

app = typer.Typer(no_args_is_help=True, help="API keys: make, list, revoke.")
LOCAL = "local@localhost"
"""Whose keys they are where nobody has an account yet: a member that can't sign in."""


@app.command()
def create(
    dir: Dir = Path(),
    name: Annotated[str, typer.Option(help="What it is for.")] = "key",
    user: Annotated[str | None, typer.Option(metavar="EMAIL", help="Whose it is; left out: the only one's.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="inference, usage, admin; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="RUN/STAGE it may use; may be repeated.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="30d", help="After this time: 12h, 30d, 52w.")] = None,
    requests: Annotated[int | None, typer.Option(help="Requests a minute at most.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens a minute at most.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Requests at the same time at most.")] = None,
    budget: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Money it may spend, as 12.50.")] = None,
    period: Annotated[str, typer.Option(help="Of the budget: month, day or once.")] = "month",
    consent: Annotated[bool, typer.Option("--consent", help="Its answers may be kept and learned from.")] = False,
    database_url: Url = None,
    json: Json = False,
) -> None:
    """Make a key. It is shown once: only its digest is kept."""
    from plutao.serve import budgets, keys
    from plutao.serve.audit import By
    from plutao.serve.prices import to_micro

    rights = keys.KeyRights(
        scopes=scope or None,
        models=model or None,
        expires=None if expires is None else int(time.time()) + seconds(expires),
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        parallel=parallel,
        consent=consent,
    )
    with open_service(dir, database_url).writing() as db:
        row, key = keys.create(db, holder(db, user), name, rights)
        if budget is not None:
            budgets.set_budget(db, to_micro(budget), period, By(), key=row.id)
        made = {"key": key, "id": row.id, "name": row.name, "scopes": row.scopes, "expires": row.expires}
    say(json, made, key)
    if not json:
        typer.echo("Keep it now: it is not shown again.", err=True)


@app.command("list")
def list_keys(dir: Dir = Path(), database_url: Url = None, json: Json = False) -> None:
    """All keys, without what makes them work."""
    from sqlalchemy import select

    from plutao.serve.tables.accounts import Account
    from plutao.serve.tables.keys import ApiKey

    query = select(ApiKey, Account.email).join(Account, Account.id == ApiKey.account).order_by(ApiKey.id)
    fields = ("id", "name", "scopes", "models", "created", "expires", "revoked", "last_used")
    with open_service(dir, database_url).reading() as db:
        found = [
            {**{field: getattr(row, field) for field in fields}, "shown": f"sk-{row.prefix}…", "user": email}
            for row, email in db.execute(query)
        ]
    if json:
        say(True, {"keys": found}, "")
        return
    if not found:
        typer.echo(f"There is no key yet: `plutao key create {dir}` makes one.", err=True)
    for one in found:
        state = "revoked" if one["revoked"] else "expired" if one["expires"] and one["expires"] < time.time() else ""
        typer.echo(
            f"{one['id']}  {one['shown']}  {one['name']}  {one['user']}  {', '.join(one['scopes'])}  {state}".rstrip()
        )


@app.command()
def revoke(
    key: Annotated[str, typer.Option(help="Its number, or the key itself or its first letters.")],
    dir: Dir = Path(),
    database_url: Url = None,
    json: Json = False,
) -> None:
    """End a key: from its next request on it is refused."""
    from sqlalchemy import select

    from plutao.serve import keys
    from plutao.serve.audit import By
    from plutao.serve.tables.keys import ApiKey

    said = key.strip()
    which = ApiKey.id == int(said) if said.isdecimal() else ApiKey.prefix == said.removeprefix("sk-")[:10]
    with open_service(dir, database_url).writing() as db:
        row = db.scalars(select(ApiKey).where(which)).one_or_none()
        if row is None:
            raise UserError(f"There is no key {said[:13]!r}: `plutao key list {dir}` shows all.")
        keys.revoke(db, row, By())
        done = {"id": row.id, "name": row.name, "revoked": row.revoked}
    say(json, done, f"Key {done['id']} ({done['name']}) is revoked.")


def holder(db: "Session", email: str | None) -> "Account":
    """Whose a new key is: the named person's, else the only one's or the only owner's; where nobody is yet, nobody's.

    Raises:
        UserError: there is no such person, or there are several and none is named.
    """
    from sqlalchemy import select

    from plutao.serve import accounts
    from plutao.serve.tables.accounts import Account

    if email is not None:
        return accounts.need(db, email)
    people = db.scalars(select(Account).where(Account.disabled.is_(None), Account.role != "labeller")).all()
    owners = [account for account in people if account.role == "owner"]
    if not people:
        return accounts.create(db, LOCAL, "local", "member")
    if len(people) == 1 or len(owners) == 1:
        return people[0] if len(people) == 1 else owners[0]
    raise UserError("Several people have accounts: --user EMAIL says whose key it is.")


def seconds(duration: str) -> int:
    """30d → 2,592,000."""
    match = re.fullmatch(r"(\d{1,6})([mhdw])", duration.strip())
    if match is None:
        raise UserError(f"{duration!r} is no time: write it as 30m, 12h, 30d or 52w.")
    return int(match[1]) * {"m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]]
