"""Embedded closed worlds: text to learn from and an exam to be graded by, without any download."""

import difflib
from collections.abc import Mapping

from plutao.errors import UserError
from plutao.worlds.contract import Dialogue, ExamItem, Grade, Labeller, Question, World, WorldDocument
from plutao.worlds.solar import SOLAR

WORLDS: Mapping[str, World] = {SOLAR.name: SOLAR}

__all__ = ["WORLDS", "Dialogue", "ExamItem", "Grade", "Labeller", "Question", "World", "WorldDocument", "world"]


def world(name: str) -> World:
    """The world of that name. Raises UserError with the known names where there is none."""
    if name in WORLDS:
        return WORLDS[name]
    close = difflib.get_close_matches(name, WORLDS, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    raise UserError(f"There is no world called {name!r}.{meant} Known worlds: {', '.join(WORLDS)}.")
