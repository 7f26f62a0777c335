"""The pages as they look: axe finds nothing serious, on phone and desktop, in both languages, light and dark."""

from typing import Any

import pytest
from browsing import DESK, PHONE

pytestmark = pytest.mark.browser
WAYS = [(PHONE, "pt", True), (PHONE, "en", False), (DESK, "pt", False), (DESK, "en", True)]


@pytest.mark.parametrize(("size", "language", "dark"), WAYS)
def test_the_pages_are_for_everybody(visit: Any, axe: Any, size: tuple[int, int], language: str, dark: bool) -> None:
    stranger = visit(size, language, dark, email=None)
    stranger.goto("/sign-in")
    axe(stranger)
    page = visit(size, language, dark)
    axe(page)
    page.goto("/chat")
    axe(page)
    page.fill("#message", "Qual é o maior planeta?")
    page.keyboard.press("Enter")
    page.locator('chat-answer:not([data-state="writing"])').wait_for()
    page.click("[data-settings]")
    axe(page)
    page.click("[data-close-drawer]")
    page.click("chat-answer [data-lens]")
    page.locator(".lens-text .token").first.click()
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("html").get_attribute("lang") == ("pt-BR" if language == "pt" else "en")


def test_language_and_look_are_remembered(visit: Any) -> None:
    page = visit(language="en")
    page.click("[name=language][value=pt]")
    assert page.locator("html").get_attribute("lang") == "pt-BR"
    page.click("[name=theme][value=dark]")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.wait_for_load_state("load")  # the stylesheet too
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 23)"


def test_the_keys_of_the_chat(visit: Any) -> None:
    page = visit()
    page.goto("/chat")
    page.keyboard.press("?")
    page.locator("#drawer dl.keys").wait_for()
    page.keyboard.press("Escape")
    page.locator("#drawer").wait_for(state="hidden")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "message"
