"""Who is calling: an API key or a signed-in browser becomes a Caller, and every route says which callers it lets in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

from plutao.serve.errors import forbidden, unauthenticated

Role = Literal["owner", "member", "labeller"]
Scope = Literal["inference", "usage", "admin"]
ROLES: tuple[Role, ...] = ("owner", "member", "labeller")
SCOPES: tuple[Scope, ...] = ("inference", "usage", "admin")


@dataclass(frozen=True)
class Caller:
    """Somebody whose identity is sure.

    Attributes:
        account: number of the account.
        key: number of the API key; None for a signed-in browser.
        scopes: what the key may be used for; a browser session has all that its role has.
        models: ids of the models it may use; None: all.
        consent: answers may be kept, to be replayed and learned from.
    """

    account: int
    role: Role
    key: int | None
    scopes: frozenset[str]
    models: frozenset[str] | None = None
    consent: bool = False

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


async def caller_of(request: Request) -> Caller:
    """FastAPI dependency: the caller, whatever they may do.

    Raises:
        ApiError: 401, nobody is known by what was sent.
    """
    raise unauthenticated("No API key was sent: put it in the header `Authorization: Bearer sk-…`.")


def require(*roles: Role, scope: Scope | None = None) -> Callable[[Caller], Awaitable[Caller]]:
    """A FastAPI dependency that lets in callers of these roles (none named: all roles) whose key has the scope."""

    async def check(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if roles and caller.role not in roles:
            raise forbidden(f"This is for {' or '.join(roles)}; you are a {caller.role}.", code="role")
        if scope is not None and scope not in caller.scopes:
            raise forbidden(f"This key has no scope {scope!r}: make one that has.", code="scope")
        return caller

    return check
