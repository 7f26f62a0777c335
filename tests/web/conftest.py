"""The real server with a tiny assistant that learned to talk, and Chromium looking at it."""

import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_service import CONTEXT, Service, project_of, start, stop
from browsing import CHROMIUM, DESK, FLAGS, PASSWORD, SERIOUS
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from stand_in import StandIn
from talker import save_talker

from plutao.files import read_json, write_json
from plutao.serve import accounts
from plutao.serve.backend.contract import Delta, Finished, Job, Started
from plutao.serve.passwords import passwords


@pytest.fixture(scope="session", autouse=True)
def weak_hashes() -> None:
    """Argon2id that takes no time."""
    passwords._hash = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))


class Slow(StandIn):
    """The stand-in, with a pause at each token where a test wants to see an answer grow, and no end of an answer before its
    last token where the test must meet it under way.
    """

    pause = 0.0
    endless = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        step = self.engine.step

        def slowly() -> Any:
            time.sleep(self.pause)
            return step()

        self.engine.step = slowly  # type: ignore[method-assign]

    async def run(self, job: Job) -> AsyncGenerator[Started | Delta | Finished]:
        if self.endless:
            tokenizer = self.engine.tokenizer
            ends = (tokenizer.special("<|im_end|>"), tokenizer.end_of_text)
            never = tuple((token, -100.0) for token in ends)
            job = replace(job, sampling=replace(job.sampling, logit_bias=never))
        async with aclosing(super().run(job)) as events:
            async for event in events:
                yield event


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with one owner, owner@example.org."""
    model = tmp_path_factory.mktemp("talker")
    save_talker(model)
    config = read_json(model / "config.json")
    write_json(model / "config.json", {**config, "max_position_embeddings": CONTEXT})
    root = project_of(model, tmp_path_factory.mktemp("site"))
    running, thread = start(root, Slow(model))
    with running.serving.app.state.database.writing() as db:
        accounts.set_password(db, accounts.need(db, "owner@example.org"), PASSWORD, accounts.By())
    yield running
    assert isinstance(thread, threading.Thread)
    stop(running, thread)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


Opener = Callable[..., Any]


@pytest.fixture
def visit(chromium: Any, site: Service) -> Iterator[Opener]:
    """`visit(size, language, dark, signed_in)`: a page of a fresh browser. A script's error or a refusal by the content
    security policy fails the test.
    """
    contexts, wrong = [], []

    def open_page(
        size: tuple[int, int] = DESK, language: str = "en", dark: bool = False, email: str | None = "owner@example.org"
    ) -> Any:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            locale="pt-BR" if language == "pt" else "en-US",
            color_scheme="dark" if dark else "light",
            base_url=site.url,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if "Content Security Policy" in line.text else None)
        page.on("request", lambda one: wrong.append(one.url) if not one.url.startswith((site.url, "data:")) else None)
        if email is not None:
            page.goto("/sign-in?back=/account")
            page.fill("#email", email)
            page.fill("#password", PASSWORD)
            page.click("form.stack button")
            page.wait_for_url("**/account")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def axe() -> Callable[[Any], None]:
    """`axe(page)`: nothing that axe calls serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    def check(page: Any) -> None:
        # axe is put into the page by a debugger's door, which the content security policy does not close
        found = Axe().run(page)
        serious = [
            f"{one['id']}: {one['help']} – {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in found.response["violations"]
            if one["impact"] in SERIOUS
        ]
        assert serious == [], page.url

    return check
