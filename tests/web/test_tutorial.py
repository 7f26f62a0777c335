"""The tutorial of docs/tutorial-web.md as somebody follows it: an account, a conversation, ten rankings, a training, the measured
comparison, a promotion and a way back. The model is tiny and its training short; everything else is real.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from api_service import start, stop
from browsing import PASSWORD, PHONE

from plutao import pipeline
from plutao.project import current_run, next_name, open_project
from plutao.serve import accounts

pytestmark = pytest.mark.browser
RECIPE = """
name = "tiny"
seed = 1

[data]
[[data.sources]]
name = "solar"
world = "solar"
megabytes = 0.3

[tokenizer]
vocabulary = 600

[model]
preset = "plutao-1m"
layers = 2
width = 64
context = 128

[base]
steps = 40
batch = 8
precision = "fp32"
compile = "off"
evaluate = 1
evaluate_tokens = 512

[sft]
steps = 60
batch = 8
precision = "fp32"
compile = "off"
evaluate = 1
[[sft.sources]]
name = "solar"
world = "solar"
count = 300

[reward]
steps = 20
batch = 4
answers = 2
precision = "fp32"
compile = "off"
evaluate = 1
[[reward.sources]]
name = "solar"
world = "solar"
count = 24

[dpo]
steps = 4
batch = 4
precision = "fp32"
compile = "off"
evaluate = 0

[report]
comparisons = 0
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `plutao run` leaves: tiny-1, its last stage learned from the world's simulated rankings."""
    root = tmp_path_factory.mktemp("tutorial")
    (root / "plutao.toml").write_text(RECIPE, encoding="utf-8")
    pipeline.run(root)
    return root


@pytest.fixture(scope="module")
def service(project: Path) -> Iterator[Any]:
    with opened(project) as running:
        yield running


@contextmanager
def opened(project: Path, threads: int | None = 1) -> Iterator[Any]:
    """The service before anybody has an account: the link that `plutao serve` shows is all there is."""
    running, thread = start(project, None, threads=threads)
    with running.serving.app.state.database.writing() as db:
        # the owner whom `start` makes leaves; newcomers begin anew
        owner = accounts.need(db, "owner@example.org")
        owner.email, owner.role, owner.disabled = "gone@example.org", "member", 1
        running.link = accounts.link_address(running.url, accounts.owner_link(db) or "")
    yield running
    stop(running, thread)


def rank(page: Any, number: int) -> None:
    """Puts the answers of a sheet in order, each time in another way, and keeps the order."""
    page.locator("rank-list.scripted").wait_for()
    if number % 3 == 0:
        page.get_by_label("Answer 2 further up").click()
    else:
        for key in ("2", "=", "1") if number % 3 == 1 else ("1", "2"):
            page.keyboard.press(key)
    page.locator("#keep").click()
    page.get_by_text(f"{number} of 10 rankings").wait_for()


def test_from_an_account_to_a_measured_and_promoted_model(service: Any, project: Path, chromium: Any, axe: Any) -> None:
    follow(service, project, chromium, axe, minutes=3)


@pytest.mark.slow
def test_the_same_with_the_demo_takes_less_than_twenty_minutes(
    tmp_path: Path, chromium: Any, axe: Any, record_property: Any
) -> None:
    """With the project that `make demo` leaves, which PLUTAO_DEMO names: `PLUTAO_DEMO=demo pytest -m slow tests/web`."""
    if "PLUTAO_DEMO" not in os.environ:
        pytest.skip("PLUTAO_DEMO names no project that `make demo` made")
    project = Path(shutil.copytree(os.environ["PLUTAO_DEMO"], tmp_path / "demo", symlinks=True))
    began = time.monotonic()
    with opened(project, threads=None) as service:
        follow(service, project, chromium, axe, minutes=20)
    minutes = (time.monotonic() - began) / 60
    record_property("minutes", minutes)
    assert minutes < 20, f"it took {minutes:.1f} minutes"


def follow(service: Any, project: Path, chromium: Any, axe: Any, minutes: float) -> None:
    """The tutorial from its first line to its last; a training may take so many minutes."""
    before = current_run(project)
    assert before is not None
    after = next_name(open_project(project))
    context = chromium.new_context(locale="en-US", base_url=service.url)
    page = context.new_page()
    page.set_default_timeout(60_000)

    page.goto(service.link)  # 1. an account
    page.fill("#email", "ana@example.org")
    page.fill("#name", "Ana")
    page.fill("#password", PASSWORD)
    page.click("form button.primary")
    page.wait_for_url("**/chat")

    page.fill("#message", "Which planet is red?")  # 2. a conversation
    page.keyboard.press("Enter")
    page.locator('chat-answer:not([data-state="writing"])').wait_for()

    page.goto("/rank")  # 3. ten rankings
    for number in range(1, 11):
        draw = page.get_by_role("button", name="Next prompt")
        if draw.count():
            draw.click()
        rank(page, number)
    axe(page)

    page.get_by_role("link", name="Train with them").click()  # 4. a training
    page.wait_for_url("**/feedback")
    kept = int(page.locator(".sums dd").first.inner_text())
    assert kept == 9  # one of the ten was a hidden repeat
    page.get_by_role("button", name="Make the data set and train").click()
    page.get_by_text("Training. What it says").wait_for()

    page.locator(".verdict").wait_for(timeout=minutes * 60_000)  # 5. the measured comparison
    told = page.locator(".training").inner_text()
    assert after in told and "Answers preferred" in told and "made of 9 rankings" in told
    assert current_run(project) == before  # nothing changed for those who talk
    axe(page)

    page.get_by_role("button", name=f"Let people talk to {after}").click()  # 6. promoted, and back again
    page.get_by_role("button", name=f"Go back to {before}").wait_for()
    assert current_run(project) == after
    page.get_by_role("button", name=f"Go back to {before}").click()
    page.get_by_role("button", name=f"Let people talk to {after}").wait_for()
    assert current_run(project) == before
    context.close()

    rows = [json.loads(line) for line in (project / "data/rankings/web.jsonl").read_text().splitlines()]
    assert len(rows) == 9 and {row["model"].partition("/")[0] for row in rows} == {before}
    learned = (project / f"runs/{after}/reward/rankings.jsonl").read_text()
    assert all(json.dumps(row["id"]) in learned for row in rows)  # exactly these reached the reward model
    assert json.loads((project / f"runs/{after}/feedback.json").read_text())["rankings"] == 9


def test_votes_in_the_arena_tell_the_names_afterwards(service: Any, chromium: Any, axe: Any) -> None:
    with service.serving.app.state.database.writing() as db:
        if accounts.find(db, "rui@example.org") is None:
            accounts.create(db, "rui@example.org", "Rui", "labeller", PASSWORD)
    context = chromium.new_context(
        locale="pt-BR", base_url=service.url, color_scheme="dark", viewport={"width": PHONE[0], "height": PHONE[1]}
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto("/sign-in?back=/arena")
    page.fill("#email", "rui@example.org")
    page.fill("#password", PASSWORD)
    page.click("form.stack button")
    page.wait_for_url("**/arena")
    axe(page)
    page.fill("#prompt", "<script>alert(1)</script> Qual é o maior planeta?")
    page.get_by_role("button", name="Pedir as duas respostas").click()
    page.wait_for_url("**/arena/*")
    assert "tiny-" not in page.locator("main").inner_text()
    axe(page)
    page.keyboard.press("=")
    page.locator(".verdict").wait_for()
    assert page.locator("main").inner_text().count("tiny-1/") >= 2
    assert "<script>alert(1)</script>" in page.locator(".asked").inner_text()
    page.goto("/arena?language=pt")
    assert page.locator("tbody tr").count() == 2
    page.goto("/rank")
    axe(page)
    page.goto("/write")
    page.fill("#prompt", "Que planeta é vermelho?")
    page.fill("#answer", "Marte.")
    page.get_by_role("button", name="Guardar").click()
    assert "Você já escreveu 1" in page.locator("[role=status]").first.inner_text()
    axe(page)
    context.close()
