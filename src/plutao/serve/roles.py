"""What people may do: three roles, and the scopes of their keys."""

from typing import Literal

Role = Literal["owner", "member", "labeller"]
Scope = Literal["inference", "usage", "admin"]
ROLES: tuple[Role, ...] = ("owner", "member", "labeller")
SCOPES: tuple[Scope, ...] = ("inference", "usage", "admin")

OF_ROLE: dict[str, frozenset[str]] = {
    "owner": frozenset(SCOPES),
    "member": frozenset({"inference", "usage"}),
    "labeller": frozenset(),  # ranks and writes answers on the pages; no programs
}


def scopes_of(role: str) -> frozenset[str]:
    """The scopes that a key of this role's can have, and that its browser sessions do have."""
    return OF_ROLE[role]
