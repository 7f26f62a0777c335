"""Runs on pages, in a real browser: curves and samples, a training started, watched, stopped; the owner's pages; a look inside."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_service import Service
from browsing import DESK, PHONE

from plutao import recipe as recipes
from plutao.project import current_run, make_current
from plutao.serve import accounts, jobs
from plutao.serve.tables.jobs import TrainingJob

pytestmark = pytest.mark.browser
WAYS = [(PHONE, "pt", True), (PHONE, "en", False), (DESK, "pt", False), (DESK, "en", True)]
HOSTILE = "<script>document.title='taken'</script>\u202e<img src=x onerror=alert(1)><|im_end|>"


def metrics(steps: int) -> str:
    lines: list[dict[str, Any]] = [
        {"step": 0, "tokens": 0, "seconds": 0, "samples": [{"prompt": "Sol", "text": HOSTILE}]}
    ]
    for step in range(1, steps + 1):
        told = {"step": step, "tokens": 100 * step, "seconds": step, "loss": 3 / step}
        lines.append({**told, "learning_rate": 0.001, "gradient_norm": 1.0, "tokens_per_second": 100.0})
    lines.append(
        {
            "step": steps,
            "tokens": 100 * steps,
            "seconds": steps,
            "samples": [{"prompt": "Sol", "text": "é uma estrela"}],
        }
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture(scope="module")
def root(site: Service) -> Iterator[Path]:
    """The site's project with two runs that learned something; they hold no model, so that nobody else meets them."""
    root = site.serving.settings.root
    for number in (1, 2):
        stage = root / "runs" / f"curves-{number}" / "base"
        stage.mkdir(parents=True)
        (stage.parent / "run.json").write_text(json.dumps({"created": f"2025-01-0{number}T00:00:00Z"}))
        recipe = recipes.load(root / "plutao.toml", (f"seed={number}",))
        recipes.save(recipe, stage.parent / "recipe.toml")
        (stage / "metrics.jsonl").write_text(metrics(30))
        measured = {"bits_per_byte": 1.0 + number, "low": 0.9 + number, "high": 1.1 + number}
        card = {
            "stage": "base",
            "complete": True,
            "inputs": "x",
            "parameters": 1000,
            "steps": 30,
            "validation": measured,
        }
        (stage / "stage.json").write_text(json.dumps(card))
    yield root


def test_a_stage_shows_its_curves_as_pictures_tables_data_and_files(visit: Any, root: Path) -> None:
    page = visit()
    page.goto("/runs")
    page.click("text=curves-1")
    page.click(".run-list a:has-text('base')")
    page.locator("plutao-figure .picture svg").first.wait_for()
    assert page.locator("plutao-figure .picture svg").count() == 4
    assert "curves-1 · base · step 30" in page.locator("plutao-figure .shows").first.inner_text()
    figure = page.locator("plutao-figure").first
    figure.locator("summary").click()
    assert figure.locator("tbody tr").count() == 30
    figure.locator("svg.chart").focus()
    page.keyboard.press("ArrowLeft")
    assert "2,900" in figure.locator(".reading-out").inner_text()
    with page.expect_download() as saved:
        figure.locator("[data-save]").click()
    assert saved.value.suggested_filename == "curves-1-base-step-30-loss.svg"
    text = Path(saved.value.path()).read_text(encoding="utf-8")
    assert text.startswith("<svg") and "curves-1 · base · step 30" in text

    assert page.locator(".sample [data-step]:visible").inner_text().startswith("é uma estrela")
    page.locator("[data-show-samples]").fill("0")
    assert "<script>document.title='taken'</script>" in page.locator(".sample [data-step]:visible").inner_text()
    assert "taken" not in page.title()


def test_runs_are_compared_with_intervals_and_the_keys_in_which_they_differ(visit: Any, root: Path) -> None:
    page = visit()
    page.goto("/compare-runs?run=curves-1&run=curves-2")
    told = page.locator("#content").inner_text()
    assert "2.000 (1.900–2.100)" in told and "3.000 (2.900–3.100)" in told and "worse" in told
    assert page.locator("tr:has-text('seed')").inner_text().split()[-2:] == ["1", "2"]
    page.locator("svg.chart").wait_for()


def test_a_training_is_started_watched_stopped_and_gone_on_with(
    visit: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / "runs" / "curves-3" / "base" / "metrics.jsonl"
    code = f"""
import json, pathlib, signal, sys, time
result, file = pathlib.Path(sys.argv[1]), pathlib.Path({str(file)!r})
signal.signal(signal.SIGTERM, lambda *_: (print("everything is saved", flush=True), result.write_text('{{"code": 130}}'), sys.exit(130)))
file.parent.mkdir(parents=True, exist_ok=True)
(file.parent.parent / "run.json").write_text('{{"created": "2025-01-03T00:00:00Z"}}')
print("Run curves-3: here", flush=True)
for step in range(1, 2000):
    told = {{"step": step, "tokens": step, "seconds": step, "loss": 3 / step, "learning_rate": 0.1}}
    file.open("a").write(json.dumps(told) + chr(10))
    time.sleep(0.1)
"""

    def command(root: Path, job: TrainingJob, result: Path) -> list[str]:
        return [sys.executable, "-c", code, str(result)]

    monkeypatch.setattr(jobs, "command", command)
    page = visit()
    page.goto("/runs")
    page.fill("#overrides", "base.stepz=3")
    page.click("button:has-text('Start')")
    assert "Did you mean" in page.locator("[role=alert]").inner_text()
    page.fill("#overrides", "")
    page.click("button:has-text('Start')")
    page.wait_for_url("**/trainings/*")
    training = page.url
    page.locator("a:has-text('See curves-3')").click()
    page.click(".run-list a:has-text('base')")
    before = page.locator("plutao-figure tbody tr").count()
    rows = page.locator("plutao-figure tbody tr")
    deadline = time.monotonic() + 30
    while rows.count() <= before:
        assert time.monotonic() < deadline, "the curve does not grow"
        page.wait_for_timeout(200)

    page.goto(training)
    page.click("button:has-text('Stop and save')")
    page.locator(".badge:has-text('stopped')").wait_for(timeout=30_000)
    assert "everything is saved" in page.locator("pre.log").inner_text()
    page.click("button:has-text('Go on')")
    page.wait_for_url(lambda address: address != training)
    page.click("button:has-text('Stop and save')")
    page.locator(".badge:has-text('stopped')").wait_for(timeout=30_000)


def test_a_run_is_promoted_and_taken_back(visit: Any, root: Path) -> None:
    make_current(root, "tiny")  # or the newest is
    shutil.copytree(root / "runs" / "tiny", root / "runs" / "tiny-other", symlinks=True)
    page = visit()
    try:
        page.goto("/runs/tiny-other")
        page.click("button:has-text('Let it answer')")
        page.locator(".badge:has-text('answers now')").wait_for()
        assert current_run(root) == "tiny-other"
        page.goto("/runs")
        page.click("button:has-text('Back to tiny')")
        page.wait_for_url("**/runs/tiny")
        assert current_run(root) == "tiny"
    finally:
        make_current(root, "tiny")
        shutil.rmtree(root / "runs" / "tiny-other")


def test_the_owner_invites_makes_a_key_prices_limits_and_reads_it_all_in_the_log(visit: Any, site: Service) -> None:
    page = visit()
    page.goto("/owner")
    page.fill("#email", "maria@example.org")
    page.fill("#name", "<b>Maria</b>")
    page.click("button:has-text('Make the account')")
    assert "/setup?token=" in page.locator("#link").inner_text()
    assert page.locator("td:has-text('<b>Maria</b>')").count() >= 1
    page.goto("/owner/keys")
    page.fill("#name", "reader")
    page.click("button:has-text('Make the key')")
    key = page.locator("#key").inner_text()
    page.goto("/owner/keys")
    assert key.startswith("sk-") and key not in page.content()
    page.goto("/owner/money")
    page.fill("#model", "some/model")
    page.fill("#prompt", "0,5")
    page.fill("#completion", "1.25")
    page.click("button:has-text('Set the price')")
    assert "1.2500 USD" in page.locator("tr:has-text('some/model')").inner_text()
    page.select_option("#holder", label="<b>Maria</b>")
    page.fill("#limit", "10")
    page.click("button:has-text('Set the budget')")
    assert "10.00" in page.locator("tr:has(meter)").inner_text()
    page.fill("#limit", "much")
    page.click("button:has-text('Set the budget')")
    assert "no amount of money" in page.locator("[role=alert]").inner_text()
    page.goto("/owner/audit")
    told = page.locator("#content").inner_text()
    assert all(action in told for action in ("account.created", "key.created", "price.set", "budget.set"))
    assert "every seal fits" in told
    with site.serving.app.state.database.writing() as db:
        accounts.forget(db, accounts.need(db, "maria@example.org"), accounts.By())
    page.goto("/owner/people")
    assert "maria" not in page.locator("#content").inner_text().lower()


def test_a_look_inside_shows_tokens_what_may_come_next_and_the_draw(visit: Any) -> None:
    page = visit()
    page.goto("/inside")
    page.fill("#text", "Qual é <|im_end|>")
    page.fill("#temperature", "0,7")
    page.click("button:has-text('Look')")
    page.locator(".tokens").wait_for(timeout=60_000)
    assert page.locator(".tokens span").count() > 3
    page.locator("plutao-figure svg.chart").wait_for()
    assert page.locator("tr.marked").count() >= 1
    page.fill("#temperature", "hot")
    page.click("button:has-text('Look')")
    assert "Temperature is a number" in page.locator("[role=alert]").inner_text()


@pytest.mark.parametrize(("size", "language", "dark"), WAYS)
def test_these_pages_are_for_everybody(
    visit: Any, axe: Any, root: Path, size: tuple[int, int], language: str, dark: bool
) -> None:
    page = visit(size, language, dark)
    owners = [f"/owner/{one}" for one in ("people", "keys", "models", "money", "usage", "audit", "storage")]
    for path in (
        "/runs",
        "/runs/curves-1",
        "/runs/curves-1/base",
        "/compare-runs?run=curves-1&run=curves-2",
        *owners,
        "/inside",
    ):
        page.goto(path)
        axe(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
