"""Signing in over HTTP: with a password, with a link, with a provider that may lie; keys and what they may not do."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from joserfc.jwk import RSAKey
from oidc_provider import CLIENT, SECRET, Provider, provider
from sqlalchemy import select

from plutao.serve import accounts, keys, refusals, sessions
from plutao.serve.api import keys as key_routes
from plutao.serve.api import money, own, people, sign_in, usage
from plutao.serve.audit import By
from plutao.serve.database import Database, open_database
from plutao.serve.keys import FORM, KeyRights
from plutao.serve.tables.accounts import Account, BrowserSession
from plutao.serve.tables.base import now
from plutao.serve.tables.keys import ApiKey
from plutao.web.pages import people as pages

PASSWORD = "four words nobody joins"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(root=tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def liar() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture
def app(database: Database, tmp_path: Path) -> FastAPI:
    """The routes about people alone: they need no model."""
    app = FastAPI()
    app.state.database = database
    settings = {"public_url": None, "root": tmp_path, "oidc_newcomers": None}
    app.state.settings = SimpleNamespace(oidc_issuer=None, oidc_client_id=None, oidc_client_secret=None, **settings)
    refusals.install(app)
    for part in (pages, sign_in, own, people, key_routes, money, usage):
        app.include_router(part.router)
    return app


def browser(app: FastAPI, address: str = "https://plutao.example") -> TestClient:
    return TestClient(app, base_url=address, follow_redirects=False)


def make(database: Database, name: str = "ana", role: str = "member", password: str | None = PASSWORD) -> int:
    with database.writing() as db:
        return accounts.create(db, f"{name}@example.org", name, role, password).id


def enter(client: TestClient, name: str = "ana") -> dict[str, Any]:
    answer = client.post("/api/session", json={"email": f"{name}@example.org", "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    client.headers["x-form-token"] = answer.json()["form_token"]
    client.headers["sec-fetch-site"] = "same-origin"
    return answer.json()


# ---------------------------------------------------------------------------------------------------------------------
# Sessions in a browser (rules 2 and 3)


def test_the_cookie_is_not_for_scripts_not_for_other_sites_and_only_for_https(app: FastAPI, database: Database) -> None:
    make(database)
    for address, secure in (("https://plutao.example", True), ("http://127.0.0.1:8000", False)):
        answer = browser(app, address).post("/api/session", json={"email": "ana@example.org", "password": PASSWORD})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert ("secure" in cookie) == secure


def test_signing_in_and_out(app: FastAPI, database: Database) -> None:
    make(database)
    client = browser(app)
    assert client.get("/api/session").status_code == 401
    before = enter(client)
    first = client.cookies[sessions.COOKIE]
    assert client.get("/api/session").json()["email"] == "ana@example.org"
    after = enter(client)
    assert client.cookies[sessions.COOKIE] != first  # another id at each sign-in
    assert before["form_token"] != after["form_token"]
    stolen = client.cookies[sessions.COOKIE]
    assert client.delete("/api/session").status_code == 204
    client.cookies.set(sessions.COOKIE, stolen)
    assert client.get("/api/session").status_code == 401


def test_another_password_signs_out_the_other_devices_and_not_this_one(app: FastAPI, database: Database) -> None:
    make(database)
    phone, laptop = browser(app), browser(app)
    enter(phone)
    enter(laptop)
    assert len(laptop.get("/api/me/devices").json()["data"]) == 2
    wrong = laptop.put("/api/me/password", json={"old": "not this one", "new": "another four words here"})
    assert wrong.status_code == 403
    right = laptop.put("/api/me/password", json={"old": PASSWORD, "new": "another four words here"})
    assert right.status_code == 200
    assert laptop.get("/api/session").status_code == 200
    assert phone.get("/api/session").status_code == 401


def test_a_form_carries_its_token_as_a_field(app: FastAPI, database: Database) -> None:
    make(database)
    client = browser(app)
    token = enter(client)["form_token"]
    del client.headers["x-form-token"]
    assert client.post("/api/me/forget", data={"x": "y"}).status_code == 403
    # the token lets it pass; what the route then makes of a form is its own affair
    assert client.post("/api/me/forget", data={"form_token": token}).status_code == 400


def test_behind_a_proxy_the_public_address_is_our_own(app: FastAPI, database: Database) -> None:
    make(database)
    app.state.settings.public_url = "https://assistant.example"
    client = browser(app, "http://10.0.0.5:8000")
    asked = {"email": "ana@example.org", "password": PASSWORD}
    for origin, status in (("https://assistant.example", 200), ("http://10.0.0.5:8000", 403), ("null", 403)):
        assert client.post("/api/session", json=asked, headers={"origin": origin}).status_code == status


# ---------------------------------------------------------------------------------------------------------------------
# Links


def test_the_owner_follows_the_set_up_link_in_a_browser_without_scripts(app: FastAPI, database: Database) -> None:
    with database.writing() as db:
        link = accounts.owner_link(db)
    client = browser(app)
    page = client.get("/setup", params={"token": link}, headers={"accept-language": "pt-BR"})
    assert "Este serviço é seu" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    form = {"token": link, "email": "ana@example.org", "name": '"><script>alert(1)</script>', "password": "short"}
    refused = client.post("/setup", data=form)
    assert refused.status_code == 400
    assert "too short" in refused.text
    assert "<script" not in refused.text
    done = client.post("/setup", data=form | {"password": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert client.get("/api/session").json()["role"] == "owner"
    assert client.get("/setup", params={"token": link}).status_code == 401


def test_somebody_invited_chooses_their_password(app: FastAPI, database: Database) -> None:
    make(database, "owner", "owner")
    owner, guest = browser(app), browser(app)
    enter(owner, "owner")
    invited = owner.post("/api/people", json={"email": "rui@example.org", "role": "labeller"})
    assert invited.status_code == 201
    link = invited.json()["link"].partition("token=")[2]
    assert guest.get("/api/link", params={"token": link}).json() == {"purpose": "password"}
    assert guest.post("/api/link", json={"token": link, "password": PASSWORD}).json()["role"] == "labeller"
    assert guest.post("/api/link", json={"token": link, "password": PASSWORD}).status_code == 401


# ---------------------------------------------------------------------------------------------------------------------
# Keys (rule 4)


def test_a_key_is_shown_once_and_can_be_found_by_those_who_look_for_leaks(app: FastAPI, database: Database) -> None:
    make(database)
    client = browser(app)
    enter(client)
    made = client.post("/api/keys", json={"name": "bot", "models": ["run-1/sft"], "parallel": 2})
    key = made.json()["key"]
    assert FORM.fullmatch(key)
    assert key not in client.get("/api/keys").text
    assert client.get("/api/keys").json()["data"][0]["shown"] == key[:13] + "…"
    assert key not in client.get("/api/me/data").text


def test_a_key_mistyped_made_up_revoked_expired_or_of_somebody_shut_out_opens_nothing(database: Database) -> None:
    make(database, "owner", "owner")
    number = make(database)
    with database.writing() as db:
        account = db.get_one(Account, number)
        row, key = keys.create(db, account, "k")
        assert keys.find(db, key) is not None
        swapped = key[:-8] + key[-7] + key[-8] + key[-6:]
        for wrong in ("", "sk-", key[:-1], key + "a", swapped, keys.new_key(), keys.new_key(row.prefix)):
            assert keys.find(db, wrong) is None, wrong
        row.expires = now() - 1
        assert keys.find(db, key) is None
        row.expires = None
        account.disabled = now()
        db.flush()
        assert keys.find(db, key) is None
        account.disabled = None
        keys.revoke(db, row, By())
        db.flush()
        assert keys.find(db, key) is None


def test_after_a_rotation_both_secrets_work_for_a_while_with_one_budget(app: FastAPI, database: Database) -> None:
    make(database)
    client = browser(app)
    enter(client)
    made = client.post("/api/keys", json={"name": "bot"}).json()
    turned = client.post(f"/api/keys/{made['about']['id']}/rotate", json={"overlap": 60}).json()
    assert turned["key"] != made["key"]
    with database.writing() as db:
        old, new = keys.find(db, made["key"]), keys.find(db, turned["key"])
        assert old is not None
        assert new is not None
        assert old[0].id == new[0].id
        db.get_one(ApiKey, new[0].id).old_until = now() - 1
        db.flush()
        assert keys.find(db, made["key"]) is None
        assert keys.find(db, turned["key"]) is not None


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_what_a_key_may_do_is_the_same_in_whichever_header_it_comes(
    app: FastAPI, database: Database, header: str
) -> None:
    number = make(database, "owner", "owner")
    with database.writing() as db:
        account = db.get_one(Account, number)
        _, plain = keys.create(db, account, "plain")
        _, narrow = keys.create(db, account, "narrow", KeyRights(scopes=["inference"]))
        _, admin = keys.create(db, account, "admin", KeyRights(scopes=["admin"]))
    client = browser(app)

    def ask(key: str, method: str, path: str, **options: Any) -> int:
        value = f"Bearer {key}" if header == "authorization" else key
        status: int = client.request(method, path, headers={header: value}, **options).status_code
        return status

    usage_path = "/v1/organization/costs?start_time=0"
    assert ask(plain, "GET", usage_path) == 200
    assert ask(narrow, "GET", usage_path) == 403
    assert ask(narrow + "x", "GET", usage_path) == 401
    assert ask(plain, "GET", "/api/people") == 403  # an owner's key, and still not one that administers
    assert ask(admin, "GET", "/api/people") == 200
    for path in ("/api/me/data", "/api/keys", "/api/session"):
        assert ask(plain, "GET", path) == 403  # a key that leaked makes no others and takes no data along
    assert ask(plain, "POST", "/api/keys", json={}) == 403
    assert ask(plain, "POST", "/api/me/forget", json={}) == 403


def test_a_wrong_key_is_not_mended_by_a_good_cookie(app: FastAPI, database: Database) -> None:
    make(database)
    client = browser(app)
    enter(client)
    for wrong in ("Bearer sk-wrong", "Basic YTpi", "Bearer"):
        assert client.get("/api/session", headers={"authorization": wrong}).status_code == 401


def test_nobody_gives_themselves_more_than_their_role_has(app: FastAPI, database: Database) -> None:
    other = make(database, "other")
    number = make(database)
    client = browser(app)
    enter(client)
    assert client.post("/api/keys", json={"scopes": ["admin"]}).status_code == 400
    assert client.post("/api/keys", json={"account": other}).status_code == 404
    with database.writing() as db:
        account = db.get_one(Account, number)
        account.role = "owner"
        row, _ = keys.create(db, account, "k", KeyRights(scopes=["admin", "inference"]))
        account.role = "member"
        assert keys.rights_of(row, account.role) == {"inference"}  # a role that shrinks takes its keys along


# ---------------------------------------------------------------------------------------------------------------------
# OpenID Connect


def with_provider(app: FastAPI, liar: Provider, newcomers: str | None = None) -> TestClient:
    liar.lies, liar.alg, liar.signs_with = {}, "RS256", None
    liar.person = {"sub": "subject-1", "email": "ana@example.org", "email_verified": True, "name": "Ana"}
    settings = app.state.settings
    settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret = liar.issuer, CLIENT, SECRET
    settings.oidc_newcomers = newcomers
    return browser(app)


def go(client: TestClient, liar: Provider) -> Any:
    """To the provider and back."""
    away = client.get("/api/oidc")
    assert away.status_code == 303
    back = liar.authorize(away.headers["location"])
    return client.get(back)


def test_somebody_whom_the_provider_knows_comes_in(app: FastAPI, database: Database, liar: Provider) -> None:
    client = with_provider(app, liar, "labeller")
    answer = go(client, liar)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.get("/api/session").json()["role"] == "labeller"
    liar.person["email"] = "new-address@example.org"  # the same person: the subject counts, not the address
    go(client, liar)
    with database.reading() as db:
        assert [account.email for account in db.scalars(select(Account))] == ["ana@example.org"]
        assert len(list(db.scalars(select(BrowserSession)))) == 1  # the session before was replaced


def test_an_account_is_joined_by_a_verified_address_only(app: FastAPI, database: Database, liar: Provider) -> None:
    number = make(database)
    client = with_provider(app, liar)
    for unverified in (False, None, "true", 1):
        liar.person["email_verified"] = unverified
        assert go(client, liar).status_code == 403
    liar.person["email_verified"] = True
    assert go(client, liar).status_code == 303
    assert client.get("/api/session").json()["id"] == number
    liar.person["sub"] = "subject-2"  # somebody else who got the same address later
    assert go(client, liar).status_code == 403


def test_newcomers_are_refused_unless_the_settings_let_them_in(app: FastAPI, liar: Provider) -> None:
    client = with_provider(app, liar)
    assert go(client, liar).status_code == 403
    assert client.get("/api/session").status_code == 401


def test_somebody_shut_out_does_not_come_in_by_the_provider(app: FastAPI, database: Database, liar: Provider) -> None:
    client = with_provider(app, liar, "member")
    go(client, liar)
    make(database, "owner", "owner")
    with database.writing() as db:
        account = accounts.need(db, "ana@example.org")
        accounts.disable(db, account, By())
    assert go(browser(app), liar).status_code == 403


@pytest.mark.parametrize(
    "lie",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"aud": ["another client"]},
        {"aud": [CLIENT, "another client"], "azp": "another client"},
        {"nonce": "another nonce"},
        {"nonce": None},
        {"exp": 1_000_000_000},
        {"sub": ""},
        {"sub": None},
        {"sub": 7},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_from_them_now_is_refused(app: FastAPI, liar: Provider, lie: dict[str, Any]) -> None:
    client = with_provider(app, liar, "member")
    liar.lies = lie
    assert go(client, liar).status_code == 401
    assert client.get("/api/session").status_code == 401


@pytest.mark.parametrize("alg", ["none", "HS256", "another key"])
def test_a_token_that_the_provider_did_not_sign_is_refused(app: FastAPI, liar: Provider, alg: str) -> None:
    client = with_provider(app, liar, "member")
    if alg == "another key":
        liar.signs_with = RSAKey.generate_key(2048, {"kid": "one"})
    else:
        liar.alg = alg
    assert go(client, liar).status_code == 401


def test_who_comes_back_must_be_who_was_sent(app: FastAPI, liar: Provider) -> None:
    client, victim = with_provider(app, liar, "member"), browser(app)
    back = liar.authorize(client.get("/api/oidc").headers["location"])
    assert victim.get(back).status_code == 401  # without the cookie of the one who began
    victim.get("/api/oidc")
    assert victim.get(back).status_code == 401  # with the cookie of another beginning
    carried = client.cookies["plutao_oidc"]
    client.cookies.clear()
    forged = carried[:-6] + ("AAAA" if carried[-6:-2] != "AAAA" else "BBBB") + carried[-2:]
    assert client.get(back, headers={"cookie": f"plutao_oidc={forged}"}).status_code == 401
    assert client.get(back, headers={"cookie": f"plutao_oidc={carried}"}).status_code == 303


def test_keys_that_the_provider_changed_are_read_anew(app: FastAPI, liar: Provider) -> None:
    client = with_provider(app, liar, "member")
    assert go(client, liar).status_code == 303
    before = liar.key
    try:
        liar.key = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})
        assert go(client, liar).status_code == 303
    finally:
        liar.key = before


def test_a_provider_that_does_not_answer_is_named(app: FastAPI, liar: Provider) -> None:
    client = with_provider(app, liar)
    app.state.settings.oidc_issuer = "http://127.0.0.1:9"
    answer = client.get("/api/oidc")
    assert answer.status_code == 502
    assert "127.0.0.1:9" in answer.json()["error"]["message"]
