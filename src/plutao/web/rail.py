"""The rail: where one can go. Each page adds its entry here."""

from dataclasses import dataclass

from plutao.serve.roles import Role


@dataclass(frozen=True)
class Entry:
    """A place in the rail."""

    path: str
    words: str
    """Key of its name in the catalogue."""
    icon: str
    """A symbol of static/icons.svg."""
    roles: frozenset[Role] = frozenset(("owner", "member", "labeller"))


ANSWERED: frozenset[Role] = frozenset(("owner", "member"))
"""Those who may have answers written."""

RAIL: list[Entry] = [
    Entry("/chat", "base.conversations", "chat", ANSWERED),
    Entry("/lens", "base.lens", "lens", ANSWERED),
    Entry("/rank", "rank.title", "rank"),
    Entry("/write", "rank.write", "write"),
    Entry("/arena", "arena.title", "arena"),
    Entry("/runs", "runs.title", "runs", ANSWERED),
    Entry("/inside", "inside.title", "inside", ANSWERED),
    Entry("/owner", "owner.title", "people", frozenset(("owner",))),
    Entry("/feedback", "wayback.title", "back", frozenset(("owner",))),
]


def entries_for(role: str) -> list[Entry]:
    return [entry for entry in RAIL if role in entry.roles]
