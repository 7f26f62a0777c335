"""What the routes about people, keys and money share: who asks, where from, the database, and texts that can be kept."""

import pathlib
from typing import Annotated, Any, cast

from fastapi import Depends, Path, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from plutao.serve.api.asking import REFUSALS
from plutao.serve.audit import By
from plutao.serve.database import Database
from plutao.serve.identity import Caller, in_person, require
from plutao.serve.sessions import visitor_of


def database_of(request: Request) -> Database:
    return cast(Database, request.app.state.database)


def root_of(request: Request) -> pathlib.Path:
    """The project's folder."""
    root: pathlib.Path = request.app.state.settings.root
    return root


def by_of(request: Request, caller: Caller) -> By:
    return By(caller.account, visitor_of(request).address)


def storable(text: str) -> str:
    """Refuses what a database can't hold: NUL, and halves of characters."""
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character") from error
    return text


Kept = Annotated[Database, Depends(database_of)]
Owner = Annotated[Caller, Depends(require("owner", scope="admin"))]
Member = Annotated[Caller, Depends(require("owner", "member"))]
Person = Annotated[Caller, Depends(in_person)]
UsageReader = Annotated[Caller, Depends(require("owner", "member", scope="usage"))]

Number = Annotated[int, Path(ge=1, le=2**53, description="As lists tell it.")]
Short = Annotated[str, StringConstraints(max_length=200), AfterValidator(storable)]
Password = Annotated[str, StringConstraints(max_length=1000), AfterValidator(storable)]


DENIALS: dict[int | str, dict[str, Any]] = {status: REFUSALS[status] for status in (400, 401, 403, 404, 429)}
"""What all these routes may answer, for their description."""


class Asked(BaseModel):
    """A request's body: a field that is not known is a mistake, not a wish."""

    model_config = ConfigDict(extra="forbid")
