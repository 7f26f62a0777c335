"""Databases for tests, each test's own: copies of one that was migrated once, on SQLite and on PostgreSQL."""

import itertools
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from plutao.serve.database import Database, open_database

COUNT = itertools.count()


@dataclass
class Kind:
    """One kind of database. `server` is PostgreSQL's URL; None: SQLite files in `folder`."""

    folder: Path
    server: str | None = None
    made: list[Database] = field(default_factory=list)

    def empty(self) -> str:
        """The URL of a database that holds nothing."""
        if self.server is None:
            return f"sqlite:///{self.folder / f'empty{next(COUNT)}.db'}"
        return self._create("")

    def migrated(self) -> str:
        """The URL of a database with today's schema."""
        if not self.made:
            self.made.append(open_database(self.empty()))
            self.made[0].close()
        first = self.made[0].url.database or ""
        if self.server is None:
            path = self.folder / f"copy{next(COUNT)}.db"
            shutil.copy(first, path)
            return f"sqlite:///{path}"
        return self._create(f"TEMPLATE {first}")

    def drop(self, url: str) -> None:
        """A test is done with its database."""
        if self.server is not None:
            with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")  # type: ignore[arg-type]

    def _create(self, options: str) -> str:
        name = f"test{next(COUNT)}"
        with psycopg.connect(f"{self.server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {options}")  # type: ignore[arg-type]
        return f"{self.server}/{name}"
