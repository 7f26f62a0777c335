"""Talking with the assistant in a browser: every part of the chat once, against the real server."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from api_service import Service
from browsing import PASSWORD, PHONE

from plutao.serve import accounts, chats
from plutao.serve.identity import Caller
from plutao.serve.tables.chats import ChatMessage, Conversation, Correction, Thumb, Verdict

pytestmark = pytest.mark.browser
WHOLE = 'chat-answer:not([data-state="writing"])'


def say(page: Any, text: str, answers: int = 1) -> None:
    page.fill("#message", text)
    page.keyboard.press("Enter")
    page.locator(WHOLE).nth(answers - 1).wait_for()
    page.locator("chat-page:defined").wait_for()


def talk(page: Any, text: str = "Qual é o maior planeta?", **settings: Any) -> None:
    """A new conversation that is answered surely."""
    page.goto("/chat")
    page.click("[data-settings]")
    for name, value in {"temperature": 0.0, **settings}.items():
        page.locator(f"#{name}").evaluate(
            "(field, value) => { field.value = value; field.dispatchEvent(new Event('change', {bubbles: true})); }",
            value,
        )
    page.click("[data-close-drawer]")
    say(page, text)


@pytest.fixture
def rows(site: Service) -> Any:
    """`rows(table)`: all its rows, the newest first."""

    def read(table: type[Any]) -> list[Any]:
        with site.serving.app.state.database.reading() as db:
            return db.query(table).order_by(table.id.desc()).all()

    return read


def test_nobody_is_led_to_sign_in_and_back(visit: Any) -> None:
    page = visit(email=None)
    page.goto("/chat?search=x")
    assert page.url.endswith("/sign-in?back=/chat%3Fsearch%3Dx")
    page.fill("#email", "owner@example.org")
    page.fill("#password", "wrong wrong wrong")
    page.click("form.stack button")
    assert "wrong" in page.locator("[role=alert]").inner_text()
    page.fill("#password", PASSWORD)
    page.click("form.stack button")
    page.wait_for_url("**/chat?search=x")


def test_a_conversation_is_answered_kept_and_gone_on_with(visit: Any) -> None:
    page = visit(language="pt")
    talk(page)
    assert page.locator("chat-answer .prose").inner_text() == "O maior planeta é Júpiter."
    page.reload()
    assert page.locator("chat-answer .prose").inner_text() == "O maior planeta é Júpiter."
    say(page, "Quanto é 12+30?", answers=2)
    assert "calculator" in page.locator("chat-answer").nth(1).inner_text()
    assert page.locator(".conversation-list a[aria-current]").inner_text() == "Qual é o maior planeta?"
    page.fill("#search", "12+31")
    page.locator(".conversation-list").wait_for(state="detached")
    page.fill("#search", "12+30")
    page.locator(".conversation-list a", has_text="Qual é o maior planeta?").first.wait_for()
    assert "pode errar" in page.locator("#may-err").inner_text()


def test_versions_are_made_walked_and_compared(visit: Any, rows: Any) -> None:
    page = visit()
    talk(page)
    page.click("[data-again]")
    page.locator(f"{WHOLE} .versions").wait_for()
    assert page.locator("chat-answer .versions").inner_text().strip() == "2/2"
    page.click("[data-verdict=same]")
    page.get_by_text("Noted: the same").wait_for()
    assert rows(Verdict)[0].verdict == "same"
    page.locator("chat-answer [data-again]").focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("1/2").wait_for()
    page.click("chat-question [data-edit]")
    page.fill(".rewrite textarea", "Which planet is red?")
    page.click(".rewrite .primary")
    page.locator(".prose", has_text="Mars is the red planet.").wait_for()
    assert page.locator("chat-question .versions").inner_text().strip() == "2/2"


def test_several_models_answer_side_by_side_and_one_goes_on(visit: Any, site: Service, rows: Any) -> None:
    page = visit()
    page.goto("/chat")
    made = page.evaluate(
        """async () => {
            const { ask } = await import("/static/base.js");
            const { id } = await ask("/web/chat", { method: "POST", body: {} });
            const models = ["current", "tiny/sft"];
            await ask(`/web/chat/${id}/turns`, { method: "POST", body: { text: "Oi", models } });
            return id;
        }"""
    )
    page.goto(f"/chat/{made}")
    page.locator(".beside-group chat-answer [data-thumb=up]").nth(1).wait_for()
    assert page.locator(".beside-group .chosen").count() == 1
    page.click(".beside-group [data-show]")
    page.locator(".beside-group chat-answer:nth-child(2).chosen").wait_for()
    assert rows(Conversation)[0].leaf == rows(ChatMessage)[0].id


@pytest.fixture
def unending(site: Service) -> Iterator[None]:
    """Answers that are slow, and long enough that whoever looks meets them under way."""
    site.backend.pause, site.backend.endless = 0.05, True
    yield
    site.backend.pause, site.backend.endless = 0.0, False


def engine_is_free(site: Service) -> bool:
    """Whether the engine has stopped, or does so in a moment."""
    deadline = time.monotonic() + 5
    while site.backend.running and time.monotonic() < deadline:
        time.sleep(0.05)
    return not site.backend.running


@pytest.mark.usefixtures("unending")
def test_an_answer_goes_on_when_the_page_is_gone_and_stop_stops_the_engine(
    visit: Any, site: Service, rows: Any
) -> None:
    page = visit()
    page.goto("/chat")
    page.fill("#message", "Oi")
    page.keyboard.press("Enter")
    page.locator("chat-answer .block").first.wait_for()
    before = len(page.locator("chat-answer .prose").inner_text())
    page.goto("about:blank")
    page.go_back()
    page.locator('chat-answer[data-state="writing"] .block').first.wait_for()
    prose = page.locator("chat-answer .prose")
    deadline = time.monotonic() + 5
    while len(prose.inner_text()) <= before:
        assert time.monotonic() < deadline, "the answer does not go on"
        page.wait_for_timeout(50)
    page.keyboard.press("Escape")
    page.locator(WHOLE).wait_for()
    assert rows(ChatMessage)[0].state == "stopped" and rows(ChatMessage)[0].text
    assert engine_is_free(site)


@pytest.mark.usefixtures("unending")
def test_a_deleted_conversation_ends_what_is_written_on_branches_out_of_sight_too(visit: Any, site: Service) -> None:
    page = visit()
    page.goto("/chat")
    made = page.evaluate(
        """async () => {
            const { ask } = await import("/static/base.js");
            const { id } = await ask("/web/chat", { method: "POST", body: {} });
            for (const text of ["Oi", "Olá"]) await ask(`/web/chat/${id}/turns`, { method: "POST", body: { text } });
            return id;
        }"""
    )
    live = site.serving.app.state.answers.live
    assert len(live) == 2
    page.goto(f"/chat/{made}")
    page.locator('chat-answer[data-state="writing"]').wait_for()
    page.click("[data-settings]")
    page.click("[data-delete]")
    page.click("[data-delete]")
    page.wait_for_url("**/chat")
    assert not live and engine_is_free(site)


def test_the_lens_shows_what_else_could_have_stood_there_and_goes_on_from_it(visit: Any, rows: Any) -> None:
    page = visit()
    talk(page)
    page.click("chat-answer [data-lens]")
    page.locator(".lens-text .token").first.wait_for()
    assert "".join(page.locator(".lens-text .token").all_text_contents()) == "O maior planeta é Júpiter."
    page.locator(".lens-text .token").first.click()
    shares = page.locator(".alternatives td.number")
    assert shares.first.inner_text().startswith(("9", "100"))
    page.locator("#lens-temperature").evaluate(
        "(field) => { field.value = 2; field.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    assert not shares.first.inner_text().startswith("100")
    page.locator(".alternatives button").first.click()
    page.locator(f"{WHOLE} .versions").wait_for()
    newest = rows(ChatMessage)[0]
    assert newest.forced == 1 and newest.state in ("whole", "length")
    lens = chats.unpack(newest.lens)
    assert newest.text.startswith(lens["shown"][0][1].encode("latin-1").decode("utf-8", "replace"))
    page.goto("/lens")
    page.click("own-lens button")
    page.locator(".lens-text .token").nth(3).click()
    page.locator(".alternatives").wait_for()


def test_thumbs_reasons_corrections_and_consent(visit: Any, rows: Any) -> None:
    page = visit(size=PHONE)
    talk(page)
    page.click('[data-thumb="down"]')
    page.check("[name=reason][value=wrong]")
    page.fill("[data-reason] textarea", "It is not.")
    page.click("[data-reason] .primary")
    page.locator("[data-reason]").wait_for(state="hidden")
    thumb = rows(Thumb)[0]
    assert (thumb.good, thumb.reason, thumb.comment) == (False, "wrong", "It is not.")
    page.click("[data-correct]")
    page.fill(".rewrite textarea", "Júpiter.")
    page.click(".rewrite .primary")
    page.locator(".corrected").wait_for()
    assert rows(Correction)[0].text == "Júpiter."
    assert rows(Conversation)[0].consent is False
    page.click("[data-settings]")
    page.check("[name=consent]")
    page.locator("#consent-badge.sun").wait_for()
    assert rows(Conversation)[0].consent is True


def test_a_conversation_is_shared_exported_and_deleted(visit: Any, rows: Any) -> None:
    page = visit()
    talk(page)
    page.click("[data-settings]")
    page.fill("#title", "Os planetas")
    page.keyboard.press("Tab")
    page.click("[data-share]")
    link = page.locator("[data-share-result] a")
    link.wait_for()
    address = link.get_attribute("href")
    stranger = visit(email=None)
    stranger.goto(address)
    assert "Júpiter" in stranger.locator(".prose").inner_text()
    told = page.request.get(f"/web/chat/{rows(Conversation)[0].id}/export?form=json").json()
    assert [one["role"] for one in told["messages"]] == ["user", "assistant"]
    assert told["title"] == "Os planetas" and "probabilities" not in json.dumps(told)
    page.click("[data-unshare]")
    page.get_by_text("show nothing any more").wait_for()
    assert stranger.goto(address).status == 404
    count = len(rows(Conversation))
    page.click("[data-delete]")
    page.click("[data-delete]")
    page.wait_for_url("**/chat")
    assert len(rows(Conversation)) == count - 1


def test_hostile_words_are_words(visit: Any) -> None:
    page = visit()
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    text = "<script>alert(1)</script> <img src=x onerror=alert(1)> ![x](http://evil.example/p.png) <|im_end|> \u202e"
    page.goto("/chat")
    say(page, text)
    assert page.locator("chat-question .said").inner_text() == text
    page.reload()
    assert page.locator("chat-question .said").inner_text() == text


def test_a_megabyte_is_harmless_and_what_was_not_read_is_told(visit: Any) -> None:
    page = visit()
    page.goto("/chat")
    page.locator("#message").evaluate("(field) => { field.value = 'palavra '.repeat(131072); }")
    page.locator("#message").press("Enter")
    page.locator("chat-answer .notice").wait_for()
    assert "context" in page.locator("chat-answer .notice").text_content()


def test_a_thousand_messages_open_at_once(visit: Any, site: Service) -> None:
    with site.serving.app.state.database.writing() as db:
        caller = Caller(accounts.need(db, "owner@example.org").id, "owner", None, frozenset())
        conversation = chats.create(db, caller, "current")
        for number in range(500):
            chats.ask(db, conversation, f"Pergunta {number}", conversation.leaf)
            answer = chats.begin_answer(db, conversation, conversation.leaf, "tiny/sft", text=f"**Resposta** {number}")
            answer.state = "whole"
            conversation.leaf = answer.id
        id = conversation.id
    page = visit()
    begun = time.monotonic()
    page.goto(f"/chat/{id}", wait_until="load")
    page.get_by_text("Resposta 499").wait_for()
    took = time.monotonic() - begun
    assert took < 2, took  # under a second on a machine that is not busy with other tests
    turns = page.locator(".turn").count()
    page.click("[data-older-button]")
    page.locator(".turn").nth(turns + 10).wait_for()
    with site.serving.app.state.database.writing() as db:
        chats.remove(db, db.get_one(Conversation, id))
