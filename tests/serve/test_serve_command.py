"""`plutao serve` as a person starts and stops it."""

import json
import re
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest
from api_service import Service, project_of
from commands import done, refused, start

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
        arguments = ("user", "create", root, "--email", "me@example.org", "--role", "owner")
        created = subprocess.run(
            ["plutao", *map(str, arguments)], input=f"{PASSWORD}\n", text=True, capture_output=True, env=here()
        )
        assert created.returncode == 0, created.stderr
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


def here() -> dict[str, str]:
    """The environment in which `plutao` is this one."""
    import os
    import sys

    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
