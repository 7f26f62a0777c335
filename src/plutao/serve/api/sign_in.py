"""Signing in and out: with a password, with a one-time link, with an OpenID Connect provider."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from plutao.serve import accounts, oidc, sessions
from plutao.serve.accounts import SignedIn
from plutao.serve.api.common import DENIALS, Asked, Kept, Password, Person, Short
from plutao.serve.api.schemas.common import ErrorResponse
from plutao.serve.audit import By
from plutao.serve.errors import not_found, unauthenticated
from plutao.serve.identity import same_origin
from plutao.serve.secrets import load_sealer
from plutao.serve.sessions import visitor_of
from plutao.serve.settings import ServeSettings
from plutao.serve.tables.accounts import Account

router = APIRouter(prefix="/api", tags=["people"], responses=DENIALS)
OwnPage = Depends(same_origin)
NO_PROVIDER: dict[int | str, dict[str, Any]] = {
    502: {"model": ErrorResponse, "description": "The provider does not answer as it should."}
}


class Me(BaseModel):
    """Who is signed in. `form_token` goes into the header X-Form-Token of whatever the page changes."""

    id: int
    email: str
    name: str
    role: str
    consent: bool
    has_password: bool
    form_token: str | None


class SignIn(Asked):
    email: Short
    password: Password


class FollowLink(Asked):
    """`email` and `name` are asked of the first owner alone."""

    token: Short
    password: Password
    email: Short = ""
    name: Short = ""


class LinkFound(BaseModel):
    purpose: str


class Provided(BaseModel):
    """How people may sign in."""

    password: bool = True
    provider: str | None


def me(account: Account, token: str | None) -> Me:
    return Me(
        id=account.id,
        email=account.email or "",
        name=account.name,
        role=account.role,
        consent=account.consent,
        has_password=account.password is not None,
        form_token=sessions.form_token(token) if token else None,
    )


def welcome(request: Request, response: Response, begun: SignedIn) -> Me:
    sessions.put_cookie(request, response, begun.token)
    return me(begun.account, begun.token)


@router.post("/session", response_model=Me, dependencies=[OwnPage], summary="Sign in")
def sign_in(ask: SignIn, request: Request, response: Response, database: Kept) -> Me:
    """Begins a session in a cookie. Wrong address and wrong password are told apart by nothing."""
    old = request.cookies.get(sessions.COOKIE)
    return welcome(
        request, response, accounts.sign_in(database, ask.email, ask.password, visitor_of(request), replaces=old)
    )


@router.get("/session", response_model=Me, summary="Who am I")
def who(request: Request, caller: Person, database: Kept) -> Me:
    with database.reading() as db:
        account = db.get_one(Account, caller.account)
    return me(account, request.cookies.get(sessions.COOKIE) if caller.key is None else None)


@router.delete("/session", status_code=204, summary="Sign out")
def sign_out(request: Request, response: Response, caller: Person, database: Kept) -> None:
    with database.writing() as db:
        sessions.end(db, request.cookies.get(sessions.COOKIE, ""))
    sessions.take_cookie(response)


# ---------------------------------------------------------------------------------------------------------------------
# One-time links


@router.get("/link", response_model=LinkFound, summary="What a one-time link is for")
def look_at_link(token: Annotated[Short, Query()], database: Kept) -> LinkFound:
    with database.reading() as db:
        link = accounts.find_link(db, token)
    if link is None:
        raise unauthenticated("This link was used already or is too old: ask for a new one.", "link")
    return LinkFound(purpose=link.purpose)


@router.post("/link", response_model=Me, dependencies=[OwnPage], summary="Follow a one-time link")
def follow_link(ask: FollowLink, request: Request, response: Response, database: Kept) -> Me:
    """Makes the owner's account, or sets a password; then signs in."""
    with database.writing() as db:
        begun = accounts.use_link(db, ask.token, ask.password, visitor_of(request), ask.email, ask.name)
    return welcome(request, response, begun)


# ---------------------------------------------------------------------------------------------------------------------
# OpenID Connect


def provider_of(request: Request) -> oidc.Provider:
    """The provider of the settings.

    Raises:
        ApiError: 404, there is none.
    """
    state = request.app.state
    if getattr(state, "provider", None) is None:
        settings = cast(ServeSettings, state.settings)
        if not settings.oidc_issuer or not settings.oidc_client_id:
            raise not_found("Nobody but ourselves signs people in here.", code="no_provider")
        sealer = load_sealer(settings.root)
        state.provider = oidc.Provider(
            settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret, sealer
        )
    return cast(oidc.Provider, state.provider)


def callback_of(request: Request) -> str:
    public = request.app.state.settings.public_url or str(request.base_url).rstrip("/")
    return f"{public}/api/oidc/callback"


@router.get("/sign-in", response_model=Provided, summary="How people may sign in")
def ways(request: Request) -> Provided:
    return Provided(provider=request.app.state.settings.oidc_issuer)


@router.get(
    "/oidc",
    status_code=303,
    response_class=RedirectResponse,
    responses=NO_PROVIDER,
    summary="Sign in with the provider",
)
def to_provider(request: Request) -> RedirectResponse:
    address, carried = provider_of(request).begin(callback_of(request))
    response = RedirectResponse(address, 303)
    secure = request.url.scheme == "https"
    response.set_cookie(
        oidc.COOKIE, carried, max_age=oidc.LASTS, httponly=True, samesite="lax", secure=secure, path="/api/oidc"
    )
    return response


@router.get(
    "/oidc/callback",
    status_code=303,
    response_class=RedirectResponse,
    responses=NO_PROVIDER,
    summary="Back from the provider",
)
def from_provider(
    request: Request, database: Kept, state: Annotated[str, Query()] = "", code: Annotated[str, Query()] = ""
) -> RedirectResponse:
    provider = provider_of(request)
    person = provider.finish(callback_of(request), request.cookies.get(oidc.COOKIE, ""), state, code)
    visitor = visitor_of(request)
    with database.writing() as db:
        account = oidc.account_of(db, person, request.app.state.settings.oidc_newcomers, By(None, visitor.address))
        token = accounts.begin_session(db, account, visitor, request.cookies.get(sessions.COOKIE))
    response = RedirectResponse("/", 303)
    sessions.put_cookie(request, response, token)
    response.delete_cookie(oidc.COOKIE, path="/api/oidc")
    return response
