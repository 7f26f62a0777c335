"""Signing in with an OpenID Connect provider: the code flow with PKCE, state and nonce; the provider's word is checked
before it counts.
"""

import json
import secrets
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.integrations.httpx_client import OAuth2Client, OAuthError
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from sqlalchemy import select
from sqlalchemy.orm import Session

from plutao.errors import UserError
from plutao.serve import accounts
from plutao.serve.audit import By
from plutao.serve.errors import ApiError, forbidden, unauthenticated
from plutao.serve.secrets import Sealer, same
from plutao.serve.tables.accounts import Account

COOKIE = "plutao_oidc"
LASTS = 10 * 60
"""Seconds that a person has at the provider."""
SIGNED_WITH = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures that only the provider can make: never "none", never one that our own secret could make."""
PATIENCE = 10.0


@dataclass(frozen=True)
class Person:
    """Who the provider says it is."""

    issuer: str
    subject: str
    email: str | None
    verified: bool
    name: str


class Provider:
    """An OpenID Connect provider, as a client of it.

    Args:
        issuer: its address; what it can do is read from `/.well-known/openid-configuration` there, when first needed.
        sealer: seals the cookie in which a browser carries state, nonce and verifier while it is away.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        sealer: Sealer,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.issuer, self.client_id, self._secret = issuer.rstrip("/"), client_id, client_secret
        self._sealer, self._transport = sealer, transport
        self._about: dict[str, Any] | None = None
        self._keys: KeySet | None = None

    def begin(self, redirect: str) -> tuple[str, str]:
        """The address to send the browser to, and what its cookie must hold meanwhile."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        with self._client(redirect) as client:
            address, _ = client.create_authorization_url(
                self.about()["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
            )
        carried = {"state": state, "nonce": nonce, "verifier": verifier}
        return str(address), self._sealer.seal(json.dumps(carried))

    def finish(self, redirect: str, cookie: str, state: str, code: str) -> Person:
        """Who came back.

        Raises:
            ApiError: 401, this browser was not sent, or the provider's word does not hold.
        """
        opened = self._sealer.unseal(cookie, LASTS)
        carried = json.loads(opened) if opened else {}
        if not carried or not same(state, carried["state"]):
            raise unauthenticated("Signing in took too long or began in another browser: try again.", "oidc_state")
        try:
            with self._client(redirect) as client:
                token = client.fetch_token(self.about()["token_endpoint"], code=code, code_verifier=carried["verifier"])
            claims = self.check(str(token.get("id_token", "")), carried["nonce"], token.get("access_token"))
        except (OAuthError, JoseError, ValueError, KeyError) as error:
            raise unauthenticated(f"{self.issuer} could not say who you are ({error}): try again.", "oidc") from error
        email = claims.get("email")
        return Person(
            issuer=self.issuer,
            subject=str(claims["sub"]),
            email=str(email) if email else None,
            verified=claims.get("email_verified") is True,
            name=str(claims.get("name") or claims.get("preferred_username") or ""),
        )

    def check(self, id_token: str, nonce: str, access_token: str | None = None) -> dict[str, Any]:
        """The claims of an ID token, once its signature, issuer, audience, age and nonce are right.

        Raises:
            JoseError, ValueError: they are not.
        """
        registry = JWSRegistry(algorithms=SIGNED_WITH, strict_check_header=False)
        try:
            decoded = jwt.decode(id_token, self.keys(), registry=registry)
        except (JoseError, ValueError):  # perhaps the provider changed its keys since we read them
            decoded = jwt.decode(id_token, self.keys(anew=True), registry=registry)
        needed = {"iss": {"essential": True, "value": self.about()["issuer"]}}
        needed["aud"] = {"essential": True, "value": self.client_id}
        facts = {"nonce": nonce, "client_id": self.client_id, "access_token": access_token}
        claims = CodeIDToken(decoded.claims, decoded.header, needed, facts)
        claims.validate(leeway=60)
        if not isinstance(decoded.claims.get("sub"), str) or not decoded.claims["sub"]:
            raise ValueError("it names nobody")
        return dict(decoded.claims)

    def about(self) -> dict[str, Any]:
        """The provider's own description.

        Raises:
            ApiError: 502, it can't be reached, or describes somebody else.
        """
        if self._about is None:
            found = self._get(f"{self.issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != self.issuer:
                raise unreachable(self.issuer, "it calls itself otherwise")
            self._about = found
        return self._about

    def keys(self, anew: bool = False) -> KeySet:
        if self._keys is None or anew:
            self._keys = KeySet.import_key_set(self._get(self.about()["jwks_uri"]))  # type: ignore[arg-type]
        return self._keys

    def _get(self, address: str) -> dict[str, Any]:
        try:
            with httpx.Client(transport=self._transport, timeout=PATIENCE) as client:
                found = client.get(address).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise unreachable(self.issuer, str(error)) from error
        if not isinstance(found, dict):
            raise unreachable(self.issuer, f"{address} holds no JSON object")
        return found

    def _client(self, redirect: str) -> OAuth2Client:
        return OAuth2Client(
            self.client_id,
            self._secret,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope="openid email profile",
            redirect_uri=redirect,
            code_challenge_method="S256",
            transport=self._transport,
            timeout=PATIENCE,
        )


def unreachable(issuer: str, why: str) -> ApiError:
    return ApiError(
        502, f"The sign-in provider {issuer} does not answer as it should ({why}).", "server_error", code="oidc"
    )


def account_of(db: Session, person: Person, newcomers: str | None, by: By) -> Account:
    """The account of a person whom the provider vouches for; a new one where newcomers are let in.

    Somebody who has an account with a password is joined to it only by an address that the provider verified.

    Args:
        newcomers: the role of people who have no account yet; None: they are refused.

    Raises:
        ApiError: 403, there is no account for them, or it is disabled.
    """
    query = select(Account).where(Account.issuer == person.issuer, Account.subject == person.subject)
    account = db.scalars(query).one_or_none()
    if account is None and person.email and person.verified:
        account = accounts.find(db, person.email)
        if account is not None and account.subject is not None:
            raise forbidden("Somebody else of that provider uses this address here: ask an owner.", "oidc_taken")
        if account is not None:
            account.issuer, account.subject = person.issuer, person.subject
            accounts.record(db, by, "account.joined", account)
    if account is None:
        account = newcomer(db, person, newcomers, by)
    if account.disabled is not None:
        raise forbidden("This account is disabled: ask an owner.", "disabled")
    return account


def newcomer(db: Session, person: Person, role: str | None, by: By) -> Account:
    if role is None or not person.email or not person.verified:
        raise forbidden("There is no account for you here: ask an owner to make one.", "no_account")
    try:
        return accounts.create(db, person.email, person.name, role, identity=(person.issuer, person.subject), by=by)
    except UserError as error:
        raise forbidden(str(error), "no_account") from error
