"""`plutao replay`: an answer that the service keeps, written once more from what it came from."""

from json import dumps
from pathlib import Path
from typing import Annotated

import typer


def replay(
    answer: Annotated[str, typer.Argument(help="The answer's id, as the API told it.")],
    dir: Annotated[Path, typer.Argument(help="The project's folder.")] = Path(),
    database_url: Annotated[str | None, typer.Option(help="Another database than the settings name.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Write a stored answer again, with the same weights, settings and seed; fails where it comes out differently."""
    from plutao.cli.user import open_service
    from plutao.errors import UserError
    from plutao.serve import replay as replaying

    done = replaying.replay(open_service(dir, database_url), dir, answer)
    if json:
        typer.echo(dumps(done.as_json(), ensure_ascii=False))
    else:
        typer.echo(done.text)
    if not done.same:
        raise UserError(
            f"{done.id} came out differently (log-probabilities differ by up to {done.difference:.2g}): another machine or "
            "another version of PyTorch computes the last digits in its own way."
        )
    typer.echo("The same, token for token.", err=True)
