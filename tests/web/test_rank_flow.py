"""Answers put in order by dragging them, and without any script at all."""

from collections.abc import Iterator
from typing import Any

import pytest
from api_service import Service
from browsing import PASSWORD
from sqlalchemy import delete, select

from plutao.serve import judgements
from plutao.serve.judgements import Drawn
from plutao.serve.tables.judgements import Judgement, Sheet
from plutao.text.chat import Message

pytestmark = pytest.mark.browser
ANSWERS = ("Marte.", "É Vênus.", "O planeta vermelho é Marte.")


@pytest.fixture
def sheet(site: Service) -> Iterator[int]:
    """A sheet of three answers that waits; it goes afterwards, with what was made of it."""
    database, card = site.serving.app.state.database, site.backend.card
    question = (Message("user", "Que planeta é vermelho?"),)
    with database.writing() as db:
        number = judgements.keep(db, Drawn(question, "pt", card.id, card.fingerprint, ANSWERS, 1.0, 1)).id
    yield number
    with database.writing() as db:
        db.execute(delete(Judgement).where(Judgement.sheet == number))
        db.execute(delete(Sheet).where(Sheet.id == number))


def given(site: Service, sheet: int) -> list[int]:
    """The ranks of the sheet's answers, in the order in which it holds them."""
    with site.serving.app.state.database.reading() as db:
        return list(db.scalars(select(Judgement.ranks).where(Judgement.sheet == sheet)).one())


def test_an_answer_is_dragged_to_its_place(visit: Any, site: Service, sheet: int) -> None:
    page = visit()
    page.goto(f"/rank?sheet={sheet}")
    page.locator("rank-list.scripted").wait_for()
    shown = page.locator(".answer .answer-text").all_inner_texts()
    grip, first = page.locator(".answer .grip").nth(2).bounding_box(), page.locator(".answer").first.bounding_box()
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(grip["x"], first["y"] + 4, steps=12)
    page.mouse.up()
    dragged = [shown[2], shown[0], shown[1]]
    assert page.locator(".answer .answer-text").all_inner_texts() == dragged
    page.click("#keep")
    page.wait_for_url("**/rank")
    assert given(site, sheet) == [dragged.index(answer) + 1 for answer in ANSWERS]


def test_without_script_each_answer_has_a_field_for_its_rank(chromium: Any, site: Service, sheet: int) -> None:
    context = chromium.new_context(java_script_enabled=False, base_url=site.url, locale="pt-BR")
    try:
        page = context.new_page()
        page.goto("/sign-in?back=/rank")
        page.fill("#email", "owner@example.org")
        page.fill("#password", PASSWORD)
        page.click("form.stack button")
        page.goto(f"/rank?sheet={sheet}")
        wanted = dict(zip(ANSWERS, ("1", "3", "1"), strict=True))
        for row in page.locator(".answer").all():
            row.locator("select").select_option(wanted[row.locator(".answer-text").inner_text()])
        page.click("#keep")
        page.wait_for_url("**/rank")
        assert given(site, sheet) == [1, 2, 1]  # places without gaps: two first ones, then a second
    finally:
        context.close()
