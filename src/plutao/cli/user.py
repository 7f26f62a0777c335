"""`plutao user`: people of the service, without a browser."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.serve.database import Database

app = typer.Typer(no_args_is_help=True, help="People of the service: make, list, shut out, give a new password.")

Dir = Annotated[Path, typer.Argument(metavar="[DIR]", help="The project's folder.")]
Email = Annotated[str, typer.Option(help="The person's e-mail address.")]
Url = Annotated[str | None, typer.Option("--database-url", help="Another database than the settings name.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def create(
    email: Email,
    dir: Dir = Path(),
    name: Annotated[str, typer.Option(help="What to call them.")] = "",
    role: Annotated[str, typer.Option(help="owner, member or labeller.")] = "member",
    link: Annotated[bool, typer.Option("--link", help="Print a one-time link to choose the password.")] = False,
    database_url: Url = None,
    json: Json = False,
) -> None:
    """Make an account. The password is asked for, or read as one line from a pipe."""
    from plutao.serve import accounts
    from plutao.serve.audit import By

    database = open_service(dir, database_url)
    password = None if link else new_password()
    with database.writing() as db:
        account = accounts.create(db, email, name, role, password)
        token = accounts.password_link(db, account, By()) if link else None
        made = {"id": account.id, "email": account.email, "role": account.role}
    if token is not None:
        made["link"] = accounts.link_address(service_address(dir), token)
    say(json, made, f"{made['email']} is {role} now.")
    if token is not None and not json:
        typer.echo(made["link"])


@app.command("list")
def list_people(dir: Dir = Path(), database_url: Url = None, json: Json = False) -> None:
    """Everybody who has an account."""
    from sqlalchemy import select

    from plutao.serve.tables.accounts import Account

    with open_service(dir, database_url).reading() as db:
        people = [
            {
                "id": account.id,
                "email": account.email,
                "name": account.name,
                "role": account.role,
                "disabled": account.disabled is not None,
                "created": account.created,
            }
            for account in db.scalars(select(Account).where(Account.forgotten.is_(None)).order_by(Account.id))
        ]
    if json:
        say(True, {"people": people}, "")
    elif not people:
        typer.echo(f"Nobody has an account yet: `plutao user create {dir} --role owner` makes one.", err=True)
    for one in people if not json else ():
        typer.echo(f"{one['email']}  {one['role']}  {one['name']}{'  (disabled)' if one['disabled'] else ''}")


@app.command()
def disable(email: Email, dir: Dir = Path(), database_url: Url = None, json: Json = False) -> None:
    """Shut somebody out: their sessions end, their keys are refused; what they have stays."""
    from plutao.serve import accounts
    from plutao.serve.audit import By

    with open_service(dir, database_url).writing() as db:
        account = accounts.need(db, email)
        accounts.disable(db, account, By())
        done = {"id": account.id, "email": account.email, "disabled": True}
    say(json, done, f"{done['email']} is shut out.")


@app.command()
def password(
    email: Email,
    dir: Dir = Path(),
    link: Annotated[bool, typer.Option("--link", help="Print a one-time link to choose it.")] = False,
    database_url: Url = None,
    json: Json = False,
) -> None:
    """Give a new password (asked for, or a line from a pipe) or a link to choose one; every session of theirs ends."""
    from plutao.serve import accounts
    from plutao.serve.audit import By

    database = open_service(dir, database_url)
    with database.reading() as db:
        accounts.need(db, email)  # said before a password is asked for
    chosen = None if link else new_password()
    with database.writing() as db:
        account = accounts.need(db, email)
        done = {"id": account.id, "email": account.email}
        if chosen is not None:
            accounts.set_password(db, account, chosen, By())
        else:
            done["link"] = accounts.link_address(service_address(dir), accounts.password_link(db, account, By()))
    say(json, done, str(done["link"]) if link else f"{done['email']} has a new password.")


# ---------------------------------------------------------------------------------------------------------------------


def open_service(root: Path, url: str | None) -> "Database":
    """The database of a project's service.

    Raises:
        UserError: there is no project, or its database can't be used.
    """
    from plutao.project import RECIPE_FILE
    from plutao.serve.database import open_database
    from plutao.serve.settings import load_settings

    if not (root / RECIPE_FILE).is_file():
        raise UserError(f"{root} is no project (it has no {RECIPE_FILE}): `plutao new {root}` makes one.")
    settings = load_settings(root, given={"database_url": url})
    return open_database(settings.database_url, settings.root)


def service_address(root: Path) -> str:
    from plutao.serve.settings import load_settings

    return load_settings(root).address


def new_password() -> str:
    """What is typed twice alike, or one line of a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    chosen: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return chosen


def say(json: bool, data: object, sentence: str) -> None:
    """The answer, as JSON on stdout or as a sentence."""
    from json import dumps

    typer.echo(dumps(data, ensure_ascii=False) if json else sentence)
