"""`plutao serve`: the models of a project for people and programs, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    dir: Annotated[Path, typer.Argument(help="The project's folder.")] = Path(),
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in. [127.0.0.1]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [8000]")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL of the database. [plutao.db in the project]")
    ] = None,
    upstream: Annotated[
        str | None, typer.Option(help="Base address of an OpenAI-compatible engine that answers in place of ours.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings. [serve.toml in the project]")] = None,
) -> None:
    """Serve the project's models over an OpenAI-compatible API, with accounts and keys."""
    from plutao.errors import UserError
    from plutao.project import RECIPE_FILE
    from plutao.serve.running import Serving
    from plutao.serve.settings import load_settings

    if not (dir / RECIPE_FILE).is_file():
        raise UserError(f"{dir} is no project (it has no {RECIPE_FILE}): `plutao new {dir}` makes one.")
    given = {"host": host, "port": port, "database_url": database_url, "upstream": upstream}
    serving = Serving(load_settings(dir, config, given), tell=typer.echo)
    serving.run()
