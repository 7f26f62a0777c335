"""The service's database: SQLite beside the project by default, PostgreSQL by URL; its schema is brought up to date here."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from plutao.errors import UserError
from plutao.serve import migrations
from plutao.serve.tables import Base

FILE = "plutao.db"
PATIENCE = 30
"""Seconds that a writer waits for another one."""
MIGRATING = 0x506C7574
"""PostgreSQL's advisory lock that keeps two servers from upgrading at once."""


class Database:
    """Short transactions on one database.

    `reading()` and `writing()` give a session that commits when its block ends well and takes everything back otherwise.
    Only one writer at a time gets into SQLite; on PostgreSQL rows are locked as they are changed.
    """

    def __init__(self, url: URL) -> None:
        self.url = url
        self.engine = make_engine(url)
        # SQLite's own queue of writers asks again and again; threads of one process wait for each other here instead
        self._one_writer = threading.Lock() if self.on_sqlite else nullcontext()

    @property
    def name(self) -> str:
        """The database in words, without a password."""
        return self.url.database or "" if self.on_sqlite else self.url.render_as_string(hide_password=True)

    @property
    def on_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with (
            self._one_writer,
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            session.connection(execution_options={"writes": True})
            yield session

    def close(self) -> None:
        self.engine.dispose()


def add_missing(db: Session, table: type[Base], **values: Any) -> None:
    """Adds a row unless one of its key is there; of several at once one adds it, and none fails."""
    insert = sqlite.insert if db.get_bind().dialect.name == "sqlite" else postgresql.insert
    db.execute(insert(table).values(**values).on_conflict_do_nothing())


def open_database(url: str | None = None, root: Path | None = None) -> Database:
    """The database, created or upgraded where needed.

    Args:
        url: of SQLAlchemy; None: `plutao.db` in `root`.

    Raises:
        UserError: it can't be reached, or holds what this version does not understand.
    """
    database = Database(read_url(url, root))
    try:
        if database.on_sqlite:
            check_file(Path(database.url.database or ""))
        prepare(database)
    except DatabaseError as error:
        database.close()
        if isinstance(error, OperationalError):
            words, mend = "can't be opened", remedy(database)
        else:
            words, mend = "is damaged", "Put back a backup, or move it away to begin anew."
        raise UserError(f"The database {database.name} {words}: {first_line(error)}. {mend}") from error
    except BaseException:
        database.close()
        raise
    return database


def read_url(url: str | None, root: Path | None) -> URL:
    """The URL as SQLAlchemy wants it; `postgres://…` is what hosting companies hand out."""
    if url is None:
        return URL.create("sqlite", database=str(((root or Path()) / FILE).resolve()))
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError) as error:
        raise UserError(
            "The database URL is not understood: use sqlite:////path/to/plutao.db or postgresql://user:password@host/name."
        ) from error
    except ImportError as error:
        raise UserError(
            f"The driver of {parsed.get_backend_name()} is not installed ({error.name}): `pip install 'plutao[postgres]'`."
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UserError(f"{parsed.get_backend_name()} is no database for Plutão: use SQLite or PostgreSQL.")
    return parsed


def make_engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=20, max_overflow=20, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": PATIENCE}, pool_size=20, max_overflow=20)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where sqlite3 guesses
        connection.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")  # readers never wait for the writer
        connection.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # A writer takes its place in the queue at once: a reader that turned writer midway could be refused.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")

    return engine


# ---------------------------------------------------------------------------------------------------------------------
# The schema


def check_file(path: Path) -> None:
    """Refuses a file that is there and no SQLite database; a new one can be read by nobody else."""
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} to keep the database in: create it, or name another place.")
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                raise UserError(f"{path} is not an SQLite database: move it away, or name another with --database-url.")
    path.touch(mode=0o600)


def prepare(database: Database) -> None:
    """Creates the schema, or upgrades an older one in one transaction, or refuses what it does not know."""
    with database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        if not database.on_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATING})
        present = migrations.revision_of(connection)
        tables = set(inspect(connection).get_table_names())
        check_revision(database, present, tables)
        if present != migrations.head():
            if present is not None and database.on_sqlite:
                back_up(database, present)
            migrations.upgrade(connection)


def check_revision(database: Database, present: str | None, tables: set[str]) -> None:
    """Refuses a schema that no version of Plutão made, or a later one."""
    if present is None and tables - {"alembic_version"}:
        some = ", ".join(sorted(tables)[:3])
        raise UserError(
            f"The database {database.name} belongs to something else (it has tables such as {some}): name an empty one."
        )
    if present is not None and present not in migrations.known():
        raise UserError(
            f"The database {database.name} has schema {present}, and this version of Plutão knows none later than "
            f"{migrations.head()}. Upgrade Plutão, or put back the backup made before the upgrade."
        )


def back_up(database: Database, revision: str) -> None:
    """A copy beside the SQLite file, before it is changed: an upgrade can't be taken back otherwise."""
    path = Path(database.url.database or "")
    source, target = sqlite3.connect(path), sqlite3.connect(path.with_name(f"{path.name}.{revision}.bak"))
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    path.with_name(f"{path.name}.{revision}.bak").chmod(0o600)


def first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")


def remedy(database: Database) -> str:
    if database.on_sqlite:
        return "Check that its folder can be written, or that no other program holds it."
    return "Check that the server runs, and the URL's host, name, user and password."
