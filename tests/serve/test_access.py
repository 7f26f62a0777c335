"""Every route, asked by everybody: nobody, somebody else, a labeller, the member whose things they are, and the owner."""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from access import CALLERS, rows
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session
from stand_in import StandIn

from plutao.serve import accounts, arena, budgets, chats, judgements, keys, sessions
from plutao.serve.app import create_app
from plutao.serve.audit import By
from plutao.serve.database import Database, open_database
from plutao.serve.identity import Caller
from plutao.serve.keys import KeyRights
from plutao.serve.prices import Tariff, set_price
from plutao.serve.sessions import Visitor
from plutao.serve.settings import ServeSettings
from plutao.serve.tables.accounts import BrowserSession
from plutao.serve.tables.answers import Answer
from plutao.serve.tables.base import now

TABLE = rows()
COUNT = itertools.count()
PASSWORD = "four words nobody joins"
FORMS = ("/sign-in", "/sign-out", "/account", "/preferences")
"""Pages' forms, whose fields are not sent as JSON."""


@dataclass
class World:
    """A service with people, and the member's things. Each request finds it as it was in the beginning."""

    app: FastAPI
    client: TestClient
    file: Path
    cookies: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    things: dict[str, object] = field(default_factory=dict)
    link: str = ""

    def ask(self, method: str, path: str, caller: str, **options: Any) -> Any:
        """The answer to a caller, on a fresh copy of the database."""
        copy = self.file.with_name(f"copy{next(COUNT)}.db")
        shutil.copy(self.file, copy)
        before: Database = self.app.state.database
        database = Database(before.url.set(database=str(copy)))
        self.app.state.database = self.app.state.meter.database = database
        headers = dict(options.pop("headers", {}))
        self.client.cookies.clear()
        if caller in self.cookies and not path.startswith("/v1/"):
            self.client.cookies.set(sessions.COOKIE, self.cookies[caller])
            headers |= {"x-form-token": sessions.form_token(self.cookies[caller]), "sec-fetch-site": "same-origin"}
        elif caller in self.keys and path.startswith("/v1/"):
            headers["authorization"] = f"Bearer {self.keys[caller]}"
        try:
            return self.client.request(method, path, headers=headers, follow_redirects=False, **options)
        finally:
            self.app.state.database = self.app.state.meter.database = before
            database.close()
            copy.unlink()


@pytest.fixture(scope="module")
def world(talker_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("service")
    database = open_database(root=root)
    settings = ServeSettings(root=root, oidc_issuer="http://127.0.0.1:9", oidc_client_id="plutao")
    app = create_app(settings, StandIn(talker_folder), database)
    world = World(app, TestClient(app, base_url="http://testserver"), root / "world.db")
    with database.writing() as db:
        for caller in CALLERS[1:]:
            role = "member" if caller == "other" else caller
            account = accounts.create(db, f"{caller}@example.org", caller, role, PASSWORD)
            world.cookies[caller] = sessions.begin(db, account.id, Visitor("browser", "testclient"))
            if role != "labeller":
                scopes = ["inference", "usage", "admin"] if role == "owner" else None
                row, world.keys[caller] = keys.create(db, account, caller, KeyRights(scopes=scopes))
                world.things |= {"key": row.id} if caller == "member" else {}
            if caller == "member":
                world.things["account"] = account.id
                world.link = accounts.password_link(db, account, By())
                sessions.begin(db, account.id, Visitor("phone", "testclient"))
                db.flush()
                newest = select(BrowserSession.id).order_by(BrowserSession.id.desc())
                world.things["device"] = db.scalars(newest.limit(1)).one()
                db.add_all(stored(account.id, row.id))
                match = (("tiny/sft", "Olá."), ("other/sft", "Oi."))
                world.things["battle"] = arena.begin(db, account.id, judgements.said("Oi"), "pt", *match).id
                world.things |= talked(db, Caller(account.id, "member", None, frozenset()))
                budgets.set_budget(db, 10**6, "month", By(), account=account.id)
        set_price(db, "tiny/sft", Tariff(1, 1), By())
    database.close()
    shutil.copy(root / "plutao.db", world.file)
    yield world


def talked(db: Session, caller: Caller) -> dict[str, object]:
    """A conversation with a question and two versions of its answer; the second one is the thing."""
    conversation = chats.create(db, caller, "current")
    question = chats.ask(db, conversation, "Oi", None)
    for text in ("Olá.", "Oi."):
        answer = chats.begin_answer(db, conversation, question.id, "tiny/sft", text=text)
        answer.state, answer.fingerprint = "whole", "0123456789abcdef"
        answer.lens = chats.pack({"prompt": [0], "tokens": [20], "shown": [[20, text, -0.5, [[21, "A", -1.0]]]]})
    conversation.leaf = answer.id
    return {"conversation": conversation.id, "message": answer.id, "share": chats.share(db, conversation)}


BODIES: dict[str, dict[str, Any]] = {
    "/web/chat/{id}/turns": {"text": "Oi"},
    "/web/chat/{id}/show": {"message": 2},
    "/web/messages/{id}/instead": {"place": 0, "token": 21},
    "/web/messages/{id}/thumb": {"good": False, "reason": "wrong"},
    "/web/messages/{id}/verdict": {"verdict": "better"},
    "/web/messages/{id}/correction": {"text": "Oi, tudo bem?"},
    "/web/lens": {"text": "Oi"},
}
"""What the pages' scripts send."""


def stored(account: int, key: int) -> list[Answer]:
    """An answer of each kind that the API keeps."""
    told = {"id": "x", "object": "response", "output": []}
    asked = {"model": "tiny/sft", "input": [{"type": "message", "role": "user", "content": "hello"}]}
    return [
        Answer(
            id=id,
            created=now(),
            account=account,
            key=key,
            endpoint=endpoint,
            model="tiny/sft",
            fingerprint="0",
            request={"asked": asked, "told": told},
            sampling={},
            seed=1,
            index=0,
            prompt_tokens=b"",
            tokens=b"",
            log_probabilities=b"",
            text="",
            finish_reason="stop",
        )
        for id, endpoint in (("chatcmpl-member-0", "chat.completions"), ("resp_member-0", "responses"))
    ]


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """Every (method, path) that the application answers."""
    from fastapi import routing

    walk = getattr(routing, "iter_route_contexts", None)  # newer versions keep included routers nested
    found = set()
    for one in walk(app.routes) if walk else app.routes:
        route = getattr(one, "route", one)
        methods = getattr(one, "methods", None) or getattr(route, "methods", None) or {"MOUNT"}
        found |= {(method, one.path) for method in methods if method not in ("HEAD", "OPTIONS")}
    return found


def test_every_route_is_listed(world: World) -> None:
    there = routes(world.app)
    assert there - set(TABLE) == set(), "say in tests/serve/access.py whom these are for"
    assert set(TABLE) - there == set(), "these are gone"


def filled(world: World, method: str, path: str) -> tuple[str, dict[str, Any]]:
    """A request for the member's thing, right enough to be let through."""
    if path.startswith("/v1/responses/{id}"):
        path = path.replace("{id}", "resp_member")
    things = world.things
    if path in BODIES:
        return path.replace("{id}", str(things["message" if "messages" in path else "conversation"])), {
            "json": BODIES[path]
        }
    for start, id in (
        ("/api/keys", things["key"]),
        ("/api/people", things["account"]),
        ("/api/me/devices", things["device"]),
        ("/account/devices", things["device"]),
        ("/owner/people", things["account"]),
        ("/owner/keys", things["key"]),
        ("/trainings", 7),
        ("/web/trainings", 7),
        ("/chat/", things["conversation"]),
        ("/web/chat/", things["conversation"]),
        ("/web/messages/", things["message"]),
        ("/arena/", things["battle"]),
        ("/rank/", 1),
        ("/feedback/", 1),
        ("/v1/chat", "chatcmpl-member"),
    ):
        if path.startswith(start):
            path = path.replace("{id}", str(id))
    path = path.replace("{name}", "style.css").replace("{id:path}", "tiny/sft").replace("{kind}", "completions")
    options: dict[str, Any] = {"json": {}} if method in ("POST", "PUT", "PATCH") else {}
    path = path.replace("{token}", str(things["share"]))
    if path.endswith("/older"):
        options["params"] = {"before": things["message"]}
    if path in ("/setup", "/api/link"):
        options["params"] = {"token": world.link}
    if path in ("/setup", "/api/link", "/api/session") and method == "POST":
        options = {"data": {"token": "x"}} if path == "/setup" else {"json": {}}
    if method == "POST" and path.startswith(FORMS):
        options = {"data": {"password": PASSWORD, "new": PASSWORD}}
    if path.startswith("/arena/") and method == "POST":
        options = {"data": {"choice": "tie"}}
    if "organization" in path or path.startswith(("/api/usage", "/api/costs")):
        options["params"] = {"start_time": 0}
    if (method, path) == ("DELETE", "/api/prices"):
        options["params"] = {"model": "tiny/sft"}
    if (method, path) == ("DELETE", "/api/budgets"):
        options["params"] = {"account": things["account"]}
    if path == "/api/me/forget":
        options["json"] = {"password": PASSWORD}
    return path, options


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("method", "template"), sorted(TABLE))
def test_a_caller_gets_what_the_table_says(world: World, method: str, template: str, caller: str) -> None:
    path, options = filled(world, method, template)
    answer = world.ask(method, path, caller, **options)
    expected = TABLE[method, template][caller]
    if expected == "yes":
        assert answer.status_code not in (401, 403, 404, 405, 500), answer.text
    elif expected == "303":
        assert answer.headers["location"].startswith("/sign-in?back=/"), answer.text
    else:
        assert answer.status_code == int(expected), answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("method", "template"), sorted(key for key in TABLE if key[1].startswith("/v1/")))
def test_a_cookie_opens_nothing_of_the_api(world: World, method: str, template: str) -> None:
    path, options = filled(world, method, template)
    headers = {"cookie": f"{sessions.COOKIE}={world.cookies['owner']}"}
    headers["x-form-token"] = sessions.form_token(world.cookies["owner"])
    assert world.ask(method, path, "nobody", headers=headers, **options).status_code == 401


UNSAFE = sorted(
    (method, path) for (method, path), answers in TABLE.items() if method != "GET" and answers["owner"] != "401"
)


@pytest.mark.parametrize(
    ("method", "template"),
    [key for key in UNSAFE if not key[1].startswith("/v1/") and TABLE[key]["nobody"] == "401"],
)
def test_a_browsers_session_changes_nothing_for_another_sites_page(world: World, method: str, template: str) -> None:
    path, options = filled(world, method, template)
    token = sessions.form_token(world.cookies["owner"])
    for headers in (
        {"sec-fetch-site": "cross-site", "x-form-token": token},
        {"sec-fetch-site": "same-site", "x-form-token": token},
        {"origin": "https://evil.example", "x-form-token": token},
        {"origin": "null", "x-form-token": token},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin", "x-form-token": "0" * 64},
    ):
        cookie = {"cookie": f"{sessions.COOKIE}={world.cookies['owner']}"}
        assert world.ask(method, path, "nobody", headers=headers | cookie, **options).status_code == 403, headers


@pytest.mark.parametrize("path", ["/api/session", "/api/link", "/setup"])
def test_signing_in_is_not_for_other_sites_pages_either(world: World, path: str) -> None:
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        answer = world.ask("POST", path, "nobody", headers=headers, json={"email": "a", "password": "b", "token": "c"})
        assert answer.status_code == 403
