"""Answers that are kept: only with consent, whole enough to be told again, written again and learned from.

Consent is the caller's own (`consent` of a key or an account), and a request may say otherwise with `store`.
"""

import struct
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from sqlalchemy import delete, select
from starlette.concurrency import run_in_threadpool

from plutao.serve.backend.contract import Finished, ModelCard
from plutao.serve.database import Database, add_missing
from plutao.serve.errors import not_found
from plutao.serve.identity import Caller
from plutao.serve.tables.answers import Answer, Template
from plutao.serve.tables.base import now


class Keeper:
    """Keeps the answers to one request, or none of them."""

    def __init__(self, request: Request, caller: Caller, card: ModelCard, endpoint: str, store: bool | None) -> None:
        self._state, self._caller, self._card, self._endpoint = request.app.state, caller, card, endpoint
        self.keeps = caller.consent if store is None else store

    async def keep(self, id: str, ask: BaseModel, ended: Sequence[Finished], told: BaseModel) -> None:
        """Puts what was asked and all that came of it into the database, one row an answer."""
        if not self.keeps:
            return
        template = str((await self._state.services.backend.tokenizer_info(self._card.id)).get("chat_template", ""))
        request = {"asked": ask.model_dump(mode="json", exclude_none=True), "told": told.model_dump(mode="json")}
        rows = [self._row(f"{id}-{place}", end, plain(request)) for place, end in enumerate(ended)]
        await run_in_threadpool(write, self._state.database, rows, template)

    def _row(self, id: str, end: Finished, request: dict[str, Any]) -> Answer:
        replay = end.replay
        how: dict[str, Any] = {"written": [int(one) for one in end.written]}
        if replay is not None:
            how |= {"settings": replay.sampling, "precision": replay.precision, "compiled": replay.compiled}
        return Answer(
            id=id,
            created=now(),
            account=self._caller.account,
            key=self._caller.key,
            endpoint=self._endpoint,
            model=self._card.id,
            fingerprint=self._card.fingerprint,
            template=replay.template if replay is not None else None,
            request=request,
            sampling=how,
            seed=end.seed,
            index=end.index,
            prompt_tokens=struct.pack(f"<{len(end.prompt)}i", *end.prompt),
            tokens=struct.pack(f"<{len(end.tokens)}i", *end.tokens),
            log_probabilities=struct.pack(f"<{len(end.logprobs)}f", *end.logprobs),
            text=plain(end.text),
            finish_reason=end.reason,
        )


def write(database: Database, rows: Sequence[Answer], template: str) -> None:
    with database.writing() as db:
        if rows[0].template is not None:
            add_missing(db, Template, digest=rows[0].template, text=template)
        db.add_all(rows)


def plain(value: Any) -> Any:
    """JSON without what databases can't hold: the character NUL, and halves of characters."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


# ---------------------------------------------------------------------------------------------------------------------
# Told again


async def told(request: Request, caller: Caller, id: str, endpoint: str) -> dict[str, Any]:
    """The answer as it was told.

    Raises:
        ApiError: 404, nothing of this caller's is kept under that name.
    """
    row = await find(request, caller, id, endpoint)
    answer: dict[str, Any] = row.request["told"]
    return answer


async def find(request: Request, caller: Caller, id: str, endpoint: str) -> Answer:
    """The first row of a request's answers, as `told`."""

    def read(database: Database) -> Answer | None:
        with database.reading() as db:
            mine = select(Answer).where(Answer.id == f"{id}-0", Answer.account == caller.account)
            return db.scalars(mine.where(Answer.endpoint == endpoint)).one_or_none()

    row = await run_in_threadpool(read, request.app.state.database)
    if row is None:
        raise not_found(f"No answer is kept under {id!r}: it was not stored, was deleted, or is not yours.", "id")
    return row


async def forget(request: Request, caller: Caller, id: str, endpoint: str) -> None:
    """Deletes all answers to a request; raises as `told`."""
    row = await find(request, caller, id, endpoint)
    names = [f"{id}-{place}" for place in range(len(row.request["told"].get("choices", [None])))]

    def remove(database: Database) -> None:
        with database.writing() as db:
            db.execute(delete(Answer).where(Answer.id.in_(names), Answer.account == caller.account))

    await run_in_threadpool(remove, request.app.state.database)
