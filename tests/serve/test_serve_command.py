"""`plutao serve` as a person starts and stops it."""

import json
import re
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from api_service import Service, project_of
from commands import done, refused, start
from sqlalchemy import func, select

from plutao.serve.audit import By
from plutao.serve.database import Database, open_database
from plutao.serve.prices import Tariff, set_price
from plutao.serve.tables.metering import Budget, Reservation, Usage

PASSWORD = "correct horse battery 42"


@pytest.fixture
def root(talker_folder: Path, tmp_path: Path) -> Path:
    return project_of(talker_folder, tmp_path)


def lines_until(process: "subprocess.Popen[str]", last: str) -> list[str]:
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line.strip())
        if last in line:
            break
    return told


def test_it_tells_how_to_begin_answers_and_ends_in_order(root: Path) -> None:
    process = start("serve", root, "--port", 0, PLUTAO_THREADS="1")
    try:
        told = lines_until(process, "Ctrl-C ends it.")
        text = "\n".join(told)
        address = re.search(r"http://127\.0\.0\.1:\d+", text)
        assert address, text
        link = re.search(r"http://\S+/setup\?token=\S+", text)
        assert link, "nobody has an account: the first start leads to one"
        page = httpx.get(link[0])
        assert page.status_code == 200 and "owner" in page.text
        token = link[0].partition("token=")[2]
        person = {"token": token, "email": "me@example.org", "name": "Me", "password": PASSWORD}
        assert httpx.post(f"{address[0]}/setup", data=person).status_code in (200, 303)  # 303: on to the pages
        assert httpx.post(f"{address[0]}/setup", data=person).status_code == 401, "the link works once"
        key = json.loads(done("key", "create", root, "--json").out)["key"]
        [curl] = [line for line in told if line.startswith("curl")]
        command = curl.replace("sk-…", key).replace("Olá!", "Qual é o maior planeta?")
        answer = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
        assert json.loads(answer.stdout)["object"] == "chat.completion", answer.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    assert process.stderr is not None and process.stderr.read() == ""


def test_what_keeps_it_from_starting_is_one_sentence(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    assert "no project" in refused("serve", empty)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "--port" in refused("serve", root, "--port", taken.getsockname()[1])
    (root / "serve.toml").write_text("prot = 1")
    assert "Did you mean 'port'?" in refused("serve", root)
    (root / "serve.toml").unlink()
    (root / "plutao.db").write_text("this is no database")
    assert "SQLite" in refused("serve", root, "--port", 0)


def test_another_engine_answers_behind_the_same_accounts(engine_service: Service, root: Path) -> None:
    """One of our services stands for vLLM, llama.cpp or any other engine with OpenAI's interface."""
    upstream = f"{engine_service.url}/v1"
    process = start("serve", root, "--port", 0, "--upstream", upstream, PLUTAO_UPSTREAM_KEY=engine_service.key)
    try:
        address = re.search(r"http://\S+?:\d+", "\n".join(lines_until(process, "Ctrl-C ends it.")))
        assert address
        run_with("user", "create", root, "--email", "me@example.org", "--role", "owner")
        key = json.loads(done("key", "create", root, "--json").out)["key"]
        with httpx.Client(base_url=address[0], headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            names = [model["id"] for model in client.get("/v1/models").json()["data"]]
            assert "tiny/sft" in names
            question = {"model": "tiny/sft", "messages": [{"role": "user", "content": "Qual é o maior planeta?"}]}
            answer = client.post("/v1/chat/completions", json={**question, "temperature": 0})
            assert answer.json()["choices"][0]["message"]["content"] == "O maior planeta é Júpiter."
            stream = client.post("/v1/chat/completions", json={**question, "temperature": 0, "stream": True})
            assert stream.text.rstrip().endswith("data: [DONE]")
            assert client.get("/metrics").status_code == 200
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_a_server_killed_under_load_comes_back_with_its_books_in_order(root: Path) -> None:
    """kill -9 while many answers are being written; what was paid stays paid, what was set aside is free again."""
    run_with("user", "create", root, "--email", "me@example.org", "--role", "owner")
    key = json.loads(done("key", "create", root, "--json", "--budget", "1").out)["key"]
    database = open_database(root=root)
    with database.writing() as db:
        set_price(db, "*", Tariff(1000, 3000), By())
    ask = {"model": "current", "messages": [{"role": "user", "content": "Qual é o maior planeta?"}], "max_tokens": 200}
    ask |= {"temperature": 2.0, "stream": True}  # long answers, of which many are cut off in their middle
    server, url = listening(root)
    heads = {"Authorization": f"Bearer {key}"}

    def talk() -> int:
        answered = 0
        with httpx.Client(base_url=url, headers=heads, timeout=60) as client:
            while True:
                try:
                    answered += client.post("/v1/chat/completions", json=ask).is_success
                except httpx.HTTPError:
                    return answered

    with ThreadPoolExecutor(12) as people:
        talks = [people.submit(talk) for _ in range(12)]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.05)
            server.send_signal(signal.SIGSTOP)  # to look at it in the middle of its work
            if books(database)[2] >= 5 and books(database)[3]:
                break
            server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait(timeout=60)
        answered = sum(talk.result(timeout=60) for talk in talks)
    amount, reserved, uses, waiting, spent, paid = books(database)
    assert waiting > 0, "nothing was being written"
    assert spent == paid and reserved > 0 and spent + reserved <= amount
    assert uses >= answered >= 5

    server, url = listening(root)
    try:
        assert books(database)[1:4:2] == (0, 0), "the dead server's reservations are given back"
        assert books(database)[4:] == (spent, paid)
        with httpx.Client(base_url=url, headers=heads, timeout=60) as client:
            answer = client.post("/v1/chat/completions", json={**ask, "temperature": 0, "stream": False})
            assert answer.json()["choices"][0]["message"]["content"] == "O maior planeta é Júpiter."
        assert books(database)[2] == uses + 1
    finally:
        server.terminate()
        server.wait(timeout=60)
        database.close()


def listening(root: Path) -> tuple["subprocess.Popen[str]", str]:
    server = start("serve", root, "--port", 0, PLUTAO_THREADS="1")
    address = re.search(r"http://127\.0\.0\.1:\d+", "\n".join(lines_until(server, "Ctrl-C ends it.")))
    assert address
    return server, address[0]


def books(database: Database) -> tuple[int, int, int, int, int, int]:
    """The one budget's amount, what is set aside, how many answers were paid, how many are held, spent, the sum of bills."""
    with database.reading() as db:
        budget = db.scalars(select(Budget)).one()
        uses, paid = db.execute(select(func.count(), func.coalesce(func.sum(Usage.cost), 0)).select_from(Usage)).one()
        waiting, held = db.execute(
            select(func.count(), func.coalesce(func.sum(Reservation.amount), 0)).select_from(Reservation)
        ).one()
    assert held == budget.reserved
    return budget.amount, budget.reserved, uses, waiting, budget.spent, paid


def run_with(*arguments: object) -> None:
    """A `plutao user …` whose password is typed."""
    command = ["plutao", *map(str, arguments)]
    ended = subprocess.run(command, input=f"{PASSWORD}\n", text=True, capture_output=True, env=here())
    assert ended.returncode == 0, ended.stderr


def here() -> dict[str, str]:
    """The environment in which `plutao` is this one."""
    import os
    import sys

    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
