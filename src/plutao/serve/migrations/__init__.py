"""The schema's history: each revision leads from the one before; databases of every release are carried forward."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

FOLDER = Path(__file__).parent


def configuration(connection: Connection | None = None) -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings


@cache
def known() -> tuple[str, ...]:
    """Names of all revisions, oldest first."""
    script = ScriptDirectory.from_config(configuration())
    return tuple(revision.revision for revision in script.walk_revisions())[::-1]


def head() -> str:
    """The newest revision: what this version of Plutão works with."""
    return known()[-1]


def revision_of(connection: Connection) -> str | None:
    """The revision of a database; None where it has no schema of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    heads = MigrationContext.configure(connection).get_current_heads()
    return ", ".join(heads) if heads else None


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Brings the schema forward, inside the connection's transaction."""
    command.upgrade(configuration(connection), revision)
