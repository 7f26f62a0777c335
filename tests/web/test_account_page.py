"""A person's own page: the first owner's link, devices, all that is kept, and being forgotten."""

from typing import Any

import pytest
from api_service import Service
from browsing import DESK, PASSWORD

from plutao.serve import accounts, chats
from plutao.serve.identity import Caller
from plutao.serve.tables.accounts import Account
from plutao.serve.tables.chats import ChatMessage, Conversation, Correction, Thumb, Verdict

pytestmark = pytest.mark.browser


def test_a_link_makes_a_password_and_signs_in(visit: Any, site: Service) -> None:
    with site.serving.app.state.database.writing() as db:
        account = accounts.create(db, "rui@example.org", "Rui", "member")
        token = accounts.password_link(db, account, accounts.By())
    page = visit(email=None)
    page.goto(f"/setup?token={token}")
    page.fill("#password", "abcabcabcabc")
    page.click("form.stack button")
    assert page.locator("[role=alert]").inner_text()
    page.fill("#password", PASSWORD)
    page.click("form.stack button")
    page.wait_for_url("**/chat")
    assert page.goto(f"/setup?token={token}").status == 401


def test_all_that_is_kept_is_saved_and_then_taken_away(visit: Any, site: Service) -> None:
    database = site.serving.app.state.database
    with database.writing() as db:
        account = accounts.create(db, "lia@example.org", "Lia", "member", PASSWORD)
        conversation = chats.create(db, Caller(account.id, "member", None, frozenset()), "current")
        question = chats.ask(db, conversation, "Oi", None)
        for text in ("Olá.", "Oi."):
            answer = chats.begin_answer(db, conversation, question.id, "tiny/sft", text=text)
            answer.state = "whole"
        chats.judge(db, answer, False, "wrong", "não")
        chats.compare(db, answer, "worse")
        chats.correct(db, answer, "Oi, Lia.")
        chats.share(db, conversation)
        number = account.id
    page = visit(DESK, "pt", email="lia@example.org")
    with page.expect_download() as saved:
        page.click("a[download]")
    kept = saved.value.path().read_text(encoding="utf-8")
    for part in (
        "Oi, Lia.",
        "conversations",
        "thumbs",
        "verdicts",
        "shares",
        "n\\u00e3o" if "\\u00e3" in kept else "não",
    ):
        assert part in kept
    page.click("details summary")
    page.fill("#password", PASSWORD)
    page.click("details form button")
    page.wait_for_url("**/sign-in")
    with database.reading() as db:
        for table in (Conversation, ChatMessage, Thumb, Verdict, Correction):
            assert db.query(table).filter_by(account=number).count() == 0
        assert db.get_one(Account, number).email is None
