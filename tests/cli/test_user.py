"""`plutao user` and `plutao key`: the service's people and keys without a browser."""

import json
from pathlib import Path

import pytest
import typer.testing

from plutao import project
from plutao.cli import build, key
from plutao.errors import UserError
from plutao.serve import keys
from plutao.serve.database import open_database

PASSWORD = "four words nobody joins\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project.create(tmp_path / "p", "shakespeare")
    return tmp_path / "p"


def run(*arguments: str, typed: str = "") -> str:
    result = typer.testing.CliRunner().invoke(build(arguments), list(arguments), input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_script_gets_a_key_that_works_before_anybody_has_an_account(root: Path) -> None:
    made = json.loads(run("key", "create", str(root), "--json"))
    database = open_database(root=root)
    with database.reading() as db:
        found = keys.find(db, made["key"])
        assert found is not None
        assert found[1].role == "member"
        assert set(found[0].scopes) == {"inference", "usage"}
    database.close()


def test_people_are_made_listed_given_passwords_and_shut_out(root: Path) -> None:
    run("user", "create", str(root), "--email", "Ana@Example.org", "--role", "owner", typed=PASSWORD)
    run("user", "create", str(root), "--email", "rui@example.org", typed=PASSWORD)
    people = json.loads(run("user", "list", str(root), "--json"))["people"]
    assert [(one["email"], one["role"]) for one in people] == [
        ("ana@example.org", "owner"),
        ("rui@example.org", "member"),
    ]
    run("user", "password", str(root), "--email", "rui@example.org", typed="another four words here\n")
    link = json.loads(run("user", "password", str(root), "--email", "rui@example.org", "--link", "--json"))["link"]
    assert link.startswith("http://127.0.0.1:8000/setup?token=")
    run("user", "disable", str(root), "--email", "rui@example.org")
    assert "rui@example.org  member  rui  (disabled)" in run("user", "list", str(root))


def test_keys_are_made_listed_and_revoked(root: Path) -> None:
    made = json.loads(
        run(
            "key",
            "create",
            str(root),
            "--name",
            "bot",
            "--expires",
            "30d",
            "--budget",
            "1.50",
            "--parallel",
            "2",
            "--json",
        )
    )
    listed = run("key", "list", str(root))
    assert made["key"][:13] in listed
    assert made["key"] not in listed
    run("key", "revoke", str(root), "--key", made["key"])
    assert "revoked" in run("key", "list", str(root))


def test_what_is_wrong_is_said_in_a_sentence(root: Path, tmp_path: Path) -> None:
    cases = (
        (("key", "create", str(tmp_path)), "is no project"),
        (("key", "create", str(root), "--user", "nobody@example.org"), "There is no account"),
        (("key", "create", str(root), "--expires", "soon"), "30m, 12h, 30d"),
        (("key", "create", str(root), "--budget", "ten"), "no amount of money"),
        (("key", "create", str(root), "--scope", "everything"), "can't have scope"),
        (("key", "revoke", str(root), "--key", "77"), "There is no key"),
        (("user", "create", str(root), "--email", "ana"), "not an e-mail address"),
        (("user", "create", str(root), "--email", "ana@example.org", "--role", "king"), "no role 'king'"),
        (("user", "disable", str(root), "--email", "nobody@example.org"), "There is no account"),
    )
    for arguments, message in cases:
        with pytest.raises(UserError, match=message):
            run(*arguments, typed=PASSWORD)


def test_where_several_people_are_a_key_needs_a_name(root: Path) -> None:
    for name in ("ana", "rui"):
        run("user", "create", str(root), "--email", f"{name}@example.org", typed=PASSWORD)
    with pytest.raises(UserError, match="--user EMAIL"):
        run("key", "create", str(root))


def test_times_are_read() -> None:
    assert [key.seconds(text) for text in ("30m", "12h", "30d", "1w")] == [1800, 43_200, 2_592_000, 604_800]
