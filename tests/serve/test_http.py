"""What holds for every answer over HTTP: errors, headers, sizes, keys, streams that end, a server that stops well."""

import json
import re
import threading
import time
from pathlib import Path

import httpx
import pytest
from api_service import Service, start, stop
from stand_in import StandIn

QUESTION = {"model": "current", "messages": [{"role": "user", "content": "Qual é o maior planeta?"}], "temperature": 0}
SLOW = {"model": "current", "messages": [{"role": "user", "content": "Oi"}], "logit_bias": {}, "max_tokens": 150}


@pytest.fixture(scope="module")
def http(service: Service):  # type: ignore[no-untyped-def]
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.key}"}, timeout=60) as client:
        yield client


def refused(answer: httpx.Response, status: int) -> dict[str, str | None]:
    """An error in OpenAI's shape, with all four fields."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"] and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    error: dict[str, str | None] = body["error"]
    return error


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def test_errors_have_openais_four_fields_wherever_they_come_from(http: httpx.Client) -> None:
    assert refused(http.get("/nowhere"), 404)["code"] == "unknown_url"
    assert refused(http.put("/v1/models"), 405)["code"] == "method_not_allowed"
    broken = http.post("/v1/chat/completions", content=b'{"model": ', headers={"content-type": "application/json"})
    assert refused(broken, 400)["code"] == "invalid_json"
    assert refused(http.post("/v1/chat/completions", json=[1]), 400)["message"]
    assert refused(http.post("/v1/chat/completions", json={"model": "current"}), 400)["param"] == "messages"
    assert refused(http.post("/v1/chat/completions", content="x=1", headers={"content-type": "text/plain"}), 400)
    assert (
        refused(http.post("/v1/completions", json={"model": "none", "prompt": "x"}), 404)["code"] == "model_not_found"
    )


def test_depth_numbers_and_half_characters_do_no_harm(http: httpx.Client) -> None:
    deep = b'{"model": "current", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    refused(http.post("/v1/chat/completions", content=deep, headers={"content-type": "application/json"}), 400)
    json_type = {"content-type": "application/json"}
    for value in (b"NaN", b"Infinity", b"1e999"):
        body = json.dumps(QUESTION).encode().replace(b'"temperature": 0', b'"temperature": ' + value)
        assert (
            refused(http.post("/v1/chat/completions", content=body, headers=json_type), 400)["param"] == "temperature"
        )
    half = b'{"model": "\\ud800", "prompt": "x"}'
    assert http.post("/v1/completions", content=half, headers=json_type).status_code in (400, 404)
    inside = b'{"model": "current", "prompt": "a\\u0000b", "max_tokens": 1}'
    assert http.post("/v1/completions", content=inside, headers=json_type).status_code == 200


def test_a_body_beyond_the_limit_is_not_read(http: httpx.Client, service: Service) -> None:
    most = service.serving.settings.max_body
    told = http.post("/v1/chat/completions", content=b"x" * (most + 1), headers={"content-type": "application/json"})
    assert refused(told, 413)["code"] == "request_too_large"

    def pieces():  # type: ignore[no-untyped-def]
        for _ in range(most // 65536 + 2):
            yield b"x" * 65536

    untold = http.post("/v1/chat/completions", content=pieces(), headers={"content-type": "application/json"})
    refused(untold, 413)


def test_our_own_mistakes_are_a_500_that_tells_nothing(
    http: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise RuntimeError("the secret path /root")

    monkeypatch.setattr(service.backend, "count", broken)
    answer = http.post("/v1/chat/completions", json=QUESTION)
    assert refused(answer, 500)["code"] == "server_error" and "secret" not in answer.text

    async def worse() -> None:
        raise RuntimeError("the secret path /root")

    monkeypatch.setattr(service.backend, "models", worse)
    answer = http.get("/v1/models")
    assert refused(answer, 500)["type"] == "server_error" and "secret" not in answer.text
    assert answer.headers["x-request-id"].startswith("req_")


# ---------------------------------------------------------------------------------------------------------------------
# Keys and headers


def test_without_a_key_nothing_is_answered_but_whether_it_lives(service: Service) -> None:
    with httpx.Client(base_url=service.url) as nobody:
        assert nobody.get("/health").json() == {"status": "ok"}
        assert nobody.get("/ready").json()["models"] == 1
        for answer in (
            nobody.get("/v1/models"),
            nobody.post("/v1/chat/completions", json=QUESTION),
            nobody.post("/v1/embeddings", json={"model": "current", "input": "x"}),
            nobody.post("/tokenize", json={"prompt": "x"}),
            nobody.get("/metrics"),
            nobody.get("/v1/models", headers={"Authorization": "Bearer sk-wrong"}),
            nobody.get("/v1/models", headers={"Authorization": "Basic eDp5"}),
        ):
            assert refused(answer, 401)["type"] == "authentication_error"
        refused(
            nobody.post("/v1/chat/completions", json={"nonsense": 1}), 401
        )  # who has no key learns nothing of the form


def test_a_key_sees_only_its_models(service: Service) -> None:
    other = service.new_key(models=["another/sft"])
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {other}"}) as client:
        assert client.get("/v1/models").json()["data"] == []
        assert refused(client.post("/v1/chat/completions", json=QUESTION), 404)["code"] == "model_not_found"
        assert refused(client.get("/v1/models/tiny/sft"), 404)["code"] == "model_not_found"


def test_every_answer_has_an_id_and_security_headers(http: httpx.Client) -> None:
    seen = set()
    for path in ("/health", "/v1/models", "/nowhere", "/docs"):
        headers = http.get(path).headers
        assert re.fullmatch(r"req_[0-9a-f]{24}", headers["x-request-id"])
        seen.add(headers["x-request-id"])
        assert int(headers["openai-processing-ms"]) >= 0
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers
    assert len(seen) == 4


def test_browsers_of_other_sites_are_kept_out_unless_named(
    http: httpx.Client, talker_folder: Path, tmp_path: Path
) -> None:
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in http.options("/v1/chat/completions", headers=asks).headers
    assert "access-control-allow-origin" not in http.get("/v1/models", headers=asks).headers
    service, thread = start(tmp_path, StandIn(talker_folder), cors_origins=("https://a.example",))
    with httpx.Client(base_url=service.url) as client:
        assert client.options("/v1/models", headers=asks).headers["access-control-allow-origin"] == "https://a.example"
        asks["Origin"] = "https://b.example"
        assert "access-control-allow-origin" not in client.options("/v1/models", headers=asks).headers
    stop(service, thread)


def test_the_docs_need_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs").text
    assert "/v1/chat/completions" in page and "<script" not in page
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    described = http.get("/openapi.json").json()
    assert all("422" not in one["responses"] for path in described["paths"].values() for one in path.values())


def test_prometheus_reads_what_happened(http: httpx.Client) -> None:
    http.post("/v1/chat/completions", json=QUESTION)
    page = http.get("/metrics").text
    counted = re.search(r'plutao_tokens_total\{direction="completion",model="tiny/sft"\} ([\d.]+)', page)
    assert counted and float(counted[1]) > 5
    assert 'plutao_http_requests_total{method="POST",route="/v1/chat/completions",status="200"}' in page
    http.get("/made/up/by/a/stranger")
    assert "stranger" not in http.get("/metrics").text


# ---------------------------------------------------------------------------------------------------------------------
# Streams, and ends


def wait_until(true, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def endless(service: Service) -> dict[str, object]:
    """A request whose answer fills the context: the ends of turns are forbidden."""
    tokenizer = service.backend.engine.tokenizer
    ends = (tokenizer.special("<|im_end|>"), tokenizer.end_of_text)
    return {**SLOW, "logit_bias": {str(end): -100 for end in ends}, "temperature": 1}


def slow_down(service: Service, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.03) -> None:
    step = service.backend.engine.step

    def slowly():  # type: ignore[no-untyped-def]
        time.sleep(seconds)
        return step()

    monkeypatch.setattr(service.backend.engine, "step", slowly)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_leaves_ends_its_answer(
    http: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    slow_down(service, monkeypatch)
    body = {**endless(service), "stream": streaming}
    before = service.backend.steps
    with pytest.raises(httpx.ReadTimeout):
        if streaming:
            with http.stream("POST", "/v1/chat/completions", json=body, timeout=1) as answer:
                lines = answer.iter_lines()
                [next(lines) for _ in range(6)]
                raise httpx.ReadTimeout("enough")
        http.post("/v1/chat/completions", json=body, timeout=0.5)
    wait_until(lambda: service.backend.running == 0)
    assert service.backend.steps - before < 140, "it was written to its end"
    assert not service.backend.engine.busy


def test_what_was_read_by_one_who_left_is_paid(
    http: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(service, monkeypatch)
    counter = "plutao_http_requests_in_flight"
    with http.stream("POST", "/v1/chat/completions", json={**endless(service), "stream": True}) as answer:
        lines = answer.iter_lines()
        [next(lines) for _ in range(20)]
    wait_until(lambda: service.backend.running == 0)
    wait_until(lambda: f"{counter} 1.0" in http.get("/metrics").text)

    def last_row():  # type: ignore[no-untyped-def]
        from sqlalchemy import select

        from plutao.serve.tables.metering import Reservation, Usage

        with service.serving.app.state.database.reading() as db:
            return db.scalars(select(Usage).order_by(Usage.id.desc())).first(), db.scalars(select(Reservation)).all()

    wait_until(lambda: not last_row()[1])
    usage = last_row()[0]
    assert usage.prompt_tokens > 0 and 3 <= usage.completion_tokens < 140


def test_silence_in_a_stream_is_filled_with_comments(
    talker_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, thread = start(tmp_path, StandIn(talker_folder), ping=0.1)
    slow_down(service, monkeypatch, 0.35)
    headers = {"Authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
        body = {**QUESTION, "stream": True, "max_tokens": 2}
        assert ": ping" in client.post("/v1/chat/completions", json=body).text
    stop(service, thread)


def test_a_failure_within_a_stream_is_told_inside_it(
    http: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plutao.serve.backend.contract import EngineFailed

    step, calls = service.backend.engine.step, []

    def fails():  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) > 3:
            raise EngineFailed("it died")
        return step()

    monkeypatch.setattr(service.backend.engine, "step", fails)
    text = http.post("/v1/chat/completions", json={**QUESTION, "stream": True}).text
    assert "data: [DONE]" not in text
    assert json.loads(text.strip().splitlines()[-1].removeprefix("data: "))["error"]["type"] == "server_error"
    assert refused(http.post("/v1/chat/completions", json=QUESTION), 500)


def test_a_full_queue_says_when_to_come_again(
    http: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plutao.serve.backend.contract import Busy

    async def full(_: object):  # type: ignore[no-untyped-def]
        raise Busy(2.3)
        yield

    monkeypatch.setattr(service.backend, "run", full)
    for stream in (False, True):
        answer = http.post("/v1/chat/completions", json={**QUESTION, "stream": stream})
        assert refused(answer, 503)["code"] == "overloaded" and answer.headers["retry-after"] == "3"


def test_running_answers_finish_when_the_server_is_told_to_stop(
    talker_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, thread = start(tmp_path, StandIn(talker_folder), grace=15)
    slow_down(service, monkeypatch, 0.1)
    texts: list[str] = []

    def read() -> None:
        headers = {"Authorization": f"Bearer {service.key}"}
        answer = httpx.post(
            f"{service.url}/v1/chat/completions", json={**QUESTION, "stream": True}, headers=headers, timeout=30
        )
        texts.append(answer.text)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: service.backend.running)
    stop(service, thread)
    reader.join()
    assert "data: [DONE]" in texts[0] and '"finish_reason":"stop"' in texts[0]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/health")


def test_open_webuis_way_of_asking(http: httpx.Client) -> None:
    """GET /v1/models with a bearer, then a stream with usage and fields of its own."""
    assert http.get("/v1/models").json()["object"] == "list"
    body = {
        **QUESTION,
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_id": "x",
        "session_id": "y",
        "features": {"web_search": False},
        "tool_ids": [],
        "params": {},
    }
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert chunks[-1]["usage"]["completion_tokens"] > 0 and chunks[-1]["choices"] == []
