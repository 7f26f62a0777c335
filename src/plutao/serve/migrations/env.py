"""Alembic's door: the revisions run on the connection that plutao.serve.database hands over."""

from alembic import context

from plutao.serve.tables import metadata


def run() -> None:
    connection = context.config.attributes["connection"]
    assert connection is not None, "plutao.serve.migrations.upgrade gives the connection"
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    context.run_migrations()


run()
