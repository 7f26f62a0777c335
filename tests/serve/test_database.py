"""The database: created, carried forward from every earlier schema with what it holds, refused where it is not understood."""

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from databases import Kind

from plutao.errors import UserError
from plutao.serve import migrations
from plutao.serve.database import Database, open_database, read_url
from plutao.serve.tables import metadata


def test_a_new_database_has_exactly_the_tables_that_the_program_knows(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def fill(connection: sa.Connection) -> dict[str, dict[str, Any]]:
    """One row in every table of whatever schema there is; what was put in, by table."""
    known = sa.MetaData()
    known.reflect(connection)
    filled: dict[str, dict[str, Any]] = {}
    for table in known.sorted_tables:
        if table.name in ("alembic_version", "audit_head"):
            continue
        row = {column.name: value_for(column) for column in table.columns}
        row |= {"accounts": {"role": "owner"}, "links": {"purpose": "owner"}}.get(table.name, {})
        row |= {"budgets": {"period": "month", "key": None}, "jobs": {"state": "done"}}.get(table.name, {})
        row |= {"messages": {"role": "user", "state": "whole"}, "verdicts": {"verdict": "same"}}.get(table.name, {})
        row |= {"judgements": {"kind": "rank"}, "battles": {"vote": "tie"}}.get(table.name, {})
        connection.execute(table.insert().values(row))
        filled[table.name] = row
    return filled


def value_for(column: "sa.Column[Any]") -> Any:
    if isinstance(column.type, sa.JSON):
        return {"a": 1}
    if isinstance(column.type, sa.LargeBinary):
        return b"\x01\x02"
    if isinstance(column.type, sa.Boolean):
        return True
    if isinstance(column.type, sa.Float):
        return 0.5
    if isinstance(column.type, sa.Integer):
        return 1
    if isinstance(column.type, sa.DateTime):
        return datetime(2026, 1, 1, tzinfo=UTC)
    return "text"


@pytest.mark.parametrize("revision", migrations.known())
def test_an_older_schema_is_carried_forward_with_all_it_holds(kind: Kind, revision: str) -> None:
    url = kind.empty()
    old = Database(read_url(url, None))
    with old.engine.connect().execution_options(writes=True) as connection, connection.begin():
        migrations.upgrade(connection, revision)
        filled = fill(connection)
    old.close()

    database = open_database(url)
    with database.engine.connect() as connection:
        assert migrations.revision_of(connection) == migrations.head()
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for name, before in filled.items():
            table = sa.Table(name, sa.MetaData(), autoload_with=connection)
            after = connection.execute(sa.select(table)).mappings().one()
            assert {key: after[key] for key in before if key in after} == before, name
    if database.on_sqlite and revision != migrations.head():
        backup = Path(f"{database.url.database}.{revision}.bak")
        assert sqlite3.connect(backup).execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
    database.close()


def test_a_later_schema_is_refused_and_left_alone(kind: Kind) -> None:
    url = kind.migrated()
    database = Database(read_url(url, None))
    with database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999_future'"))
    with pytest.raises(UserError, match=r"9999_future.*Upgrade Plutão, or put back the backup"):
        open_database(url)
    with database.engine.connect() as connection:
        assert migrations.revision_of(connection) == "9999_future"
    database.close()


def test_somebody_elses_database_is_refused(kind: Kind) -> None:
    url = kind.empty()
    database = Database(read_url(url, None))
    with database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(sa.text("CREATE TABLE invoices (id INTEGER)"))
    with pytest.raises(UserError, match=r"belongs to something else .*invoices"):
        open_database(url)
    database.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plutao.db"
    path.write_text("a shopping list, longer than sixteen letters")
    with pytest.raises(UserError, match="is not an SQLite database"):
        open_database(root=tmp_path)
    assert path.read_text().startswith("a shopping list")


def test_a_damaged_database_is_refused_in_a_sentence(tmp_path: Path) -> None:
    open_database(root=tmp_path).close()
    path = tmp_path / "plutao.db"
    path.write_bytes(path.read_bytes()[:4096] + os.urandom(20_000))
    with pytest.raises(UserError, match=r"is damaged|can't be opened"):
        open_database(root=tmp_path)


def test_what_is_wrong_with_a_url_is_said_without_its_password() -> None:
    with pytest.raises(UserError, match="not understood"):
        open_database("plutao.db")
    with pytest.raises(UserError, match=r"mysql|driver"):
        open_database("mysql+pymysql://u:p@h/d")
    with pytest.raises(UserError, match="can't be opened") as refused:
        open_database("postgres://ana:verysecret@127.0.0.1:1/plutao")
    assert "verysecret" not in str(refused.value)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_nobody_else_can_read_the_file(tmp_path: Path) -> None:
    open_database(root=tmp_path).close()
    assert (tmp_path / "plutao.db").stat().st_mode & 0o077 == 0


def test_what_a_block_began_is_taken_back_when_it_fails(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing() as db:
        db.execute(sa.text("INSERT INTO house (name, value) VALUES ('currency', 'brl')"))
        _ = 1 / 0
    with database.reading() as db:
        assert db.execute(sa.text("SELECT count(*) FROM house")).scalar() == 0
