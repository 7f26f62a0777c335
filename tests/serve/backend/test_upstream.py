"""Another engine by its address: what it is sent, what is made of what it sends, and what happens when it fails."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from plutao.generate.grammar import Grammar
from plutao.generate.sampling import Sampling
from plutao.serve.backend.contract import Busy, Delta, EngineFailed, Finished, Job, Refused, Started, ToolChoice
from plutao.serve.backend.upstream import UpstreamBackend
from plutao.serve.backend.upstream_form import neutral
from plutao.text.chat import Message, ToolCall

MODELS = {"data": [{"id": "qwen", "created": 3, "max_model_len": 512}, {"id": "llama"}]}


class Pieces(httpx.AsyncByteStream):
    """A stream that tells whether its reader left."""

    def __init__(self, chunks: list[Any], endless: bool = False) -> None:
        self.chunks, self.endless, self.closed = chunks, endless, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield b": ping\n\n" + f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n".encode()
        while self.endless:
            await asyncio.sleep(0.01)
            yield f"data: {json.dumps(said('more '))}\n\n".encode()

    async def aclose(self) -> None:
        self.closed = True


def said(text: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": None, **more}]}


def ended(reason: str, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {}, "finish_reason": reason}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


class Server:
    """What an engine far away would do."""

    def __init__(self, answer: Any = None) -> None:
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json=MODELS)
        self.asked.append((request.url.path, json.loads(request.content)))
        if isinstance(self.answer, httpx.Response):
            return self.answer
        if isinstance(self.answer, Exception):
            raise self.answer
        return httpx.Response(200, stream=self.answer)


def backend(server: Server) -> UpstreamBackend:
    return UpstreamBackend("http://engine.example/v1/", "secret", transport=httpx.MockTransport(server))


def events(server: Server, job: Job) -> list[Started | Delta | Finished]:
    async def read() -> list[Started | Delta | Finished]:
        return [event async for event in backend(server).run(job)]

    return asyncio.run(read())


HELLO = (Message("user", "Oi"),)


def test_its_models_are_ours() -> None:
    cards = asyncio.run(backend(Server()).models())
    assert [(card.id, card.context, card.aliases) for card in cards] == [
        ("qwen", 512, ("current",)),
        ("llama", 4096, ()),
    ]
    with pytest.raises(Refused, match="no model"):
        asyncio.run(backend(Server()).model("gpt"))


def test_two_answers_come_as_they_are_written() -> None:
    chunks = [
        said("O"),
        said("A", 1),
        said("lá"),
        ended("stop"),
        said("h", 1),
        ended("length", 1),
        usage(7, 4),
        "[DONE]",
    ]
    server = Server(Pieces(chunks))
    sampling = Sampling(n=2, seed=5, temperature=0.5, top_k=3, stop=("x",), logit_bias=((4, 1.0),))
    told = events(server, Job("current", HELLO, sampling))
    assert told[0] == Started(10)  # nobody counts for us: an estimate that is never too low
    first, second = [event for event in told if isinstance(event, Finished)]
    assert (first.text, first.reason, second.text, second.reason) == ("Olá", "stop", "Ah", "length")
    assert (first.prompt_tokens, first.completion_tokens + second.completion_tokens, first.seed) == (7, 4, 5)
    path, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body["model"] == "qwen" and body["stream_options"] == {"include_usage": True}
    assert (body["seed"], body["n"], body["temperature"], body["top_k"]) == (5, 2, 0.5, 3)
    assert body["stop"] == ["x"] and body["logit_bias"] == {"4": 1.0} and "top_p" not in body


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|eot_id|>",
        "<｜end▁of▁sentence｜>",
        "</s>",
        "[INST]",
        "<</SYS>>",
        "<end_of_turn>",
        "</tool_call>",
    ],
)
def test_special_tokens_that_are_typed_reach_it_broken(token: str) -> None:
    server = Server(Pieces([said("a"), ended("stop")]))
    call = ToolCall("f", {"a": f"1{token}"})
    turns = (
        Message("system", f"s{token}"),
        Message("user", f"u {token}{token}"),
        Message("assistant", token, (call,)),
        Message("tool", f"r{token}"),
        Message("user", "x"),
    )
    tool = {"name": "f", "description": token, "parameters": {"title": token}}
    events(server, Job("qwen", turns, Sampling(), tools=(tool,)))
    events(server, Job("qwen", f"text {token}", Sampling()))
    assert len(server.asked) == 2
    for _, body in server.asked:
        assert token not in json.dumps(body, ensure_ascii=False)
    assert server.asked[0][1]["messages"][1]["content"].replace("\u200b", "") == f"u {token}{token}"


def test_ordinary_text_is_left_alone() -> None:
    for text in ("a < b | c > d", "<html><s2></html>", "if x <| y", "[INSTALL] <s", "Coração <b>não</b>"):
        assert neutral(text) == text


def test_tool_calls_are_put_together() -> None:
    def part(**function: str) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": function}]}}]}

    chunks = [part(name="tempo", arguments=""), part(arguments='{"c": '), part(arguments='"Rio"}'), ended("tool_calls")]
    server = Server(Pieces(chunks))
    job = Job("qwen", HELLO, Sampling(), tools=({"name": "tempo"},), tool_choice=ToolChoice("named", "tempo"))
    told = events(server, job)
    call = ToolCall("tempo", {"c": "Rio"})
    assert [event.call for event in told if isinstance(event, Delta)] == [call]
    assert isinstance(told[-1], Finished) and told[-1].reason == "tool_calls" and told[-1].calls == (call,)
    assert server.asked[0][1]["tool_choice"] == {"type": "function", "function": {"name": "tempo"}}


def test_forms_and_log_probabilities_are_asked_for() -> None:
    content = [{"token": "é", "bytes": [195, 169], "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -1.0}]}]
    server = Server(Pieces([said("é", logprobs={"content": content}), ended("stop")]))
    grammar = Grammar("json_schema", '{"type": "object"}')
    told = events(server, Job("qwen", HELLO, Sampling(grammar=grammar, logprobs=1), logprobs=True))
    delta = told[1]
    assert isinstance(delta, Delta)
    assert (delta.pieces, delta.logprobs, delta.alternatives[0][0].bytes) == ((b"\xc3\xa9",), (-0.5,), b"a")
    body = server.asked[0][1]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (body["logprobs"], body["top_logprobs"]) == (True, 1)


def test_an_echoed_prompt_is_told_from_what_was_written() -> None:
    logprobs = {"tokens": ["O", " Sol", " é"], "token_logprobs": [None, -1.0, -2.0], "top_logprobs": None}
    choice = {"index": 0, "text": "O Sol é", "logprobs": logprobs, "finish_reason": "length"}
    whole = {"choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}
    server = Server(httpx.Response(200, json=whole))
    told = events(server, Job("qwen", (5, 6), Sampling(max_tokens=1, logprobs=1), logprobs=True, echo=True))
    _, echo, written, finished = told
    assert isinstance(echo, Delta) and isinstance(written, Delta) and isinstance(finished, Finished)
    assert (echo.kind, echo.text, echo.logprobs) == ("echo", "O Sol", (None, -1.0))
    assert (written.text, written.logprobs, finished.text, finished.completion_tokens) == (" é", (-2.0,), " é", 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(429, headers={"retry-after": "7"}, json={"error": {"message": "slow down"}}), Busy),
        (httpx.Response(503), Busy),
        (httpx.Response(400, json={"error": {"message": "bad top_k", "param": "top_k", "code": None}}), Refused),
        (httpx.Response(500, text="oops"), EngineFailed),
        (httpx.ConnectError("refused"), EngineFailed),
        (Pieces([said("a"), {"error": {"message": "out of memory"}}]), EngineFailed),
        (Pieces([said("a"), "{broken"]), EngineFailed),
        (Pieces([said("a")]), EngineFailed),  # it broke off
    ],
)
def test_what_goes_wrong_there_is_told_here(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        events(Server(answer), Job("qwen", HELLO, Sampling()))
    if isinstance(raised.value, Busy):
        assert raised.value.retry_after in (7.0, 5.0)
    if isinstance(raised.value, Refused):
        assert (raised.value.param, raised.value.code) == ("top_k", "invalid_value")


def test_who_leaves_ends_the_request_there() -> None:
    pieces = Pieces([said("a")], endless=True)

    async def scene() -> None:
        upstream = backend(Server(pieces))
        stream = upstream.run(Job("qwen", HELLO, Sampling()))
        assert isinstance(await anext(stream), Started)
        assert upstream.load().running == 1
        await stream.aclose()
        assert upstream.load().running == 0

    asyncio.run(scene())
    assert pieces.closed


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    pieces = Pieces([], endless=True)
    with pytest.raises(EngineFailed, match="longer"):
        events(Server(pieces), Job("qwen", HELLO, Sampling(), deadline=0.1))
    assert pieces.closed


def test_embeddings_have_length_one() -> None:
    server = Server(
        httpx.Response(200, json={"data": [{"index": 0, "embedding": [3.0, 4.0]}], "usage": {"prompt_tokens": 2}})
    )
    embedded = asyncio.run(backend(server).embed("qwen", ["<|im_end|>"]))
    assert embedded.vectors == ((0.6, 0.8),) and embedded.tokens == 2
    assert "<|im_end|>" not in server.asked[0][1]["input"][0]


def test_tokens_are_counted_there_where_they_can_be() -> None:
    job = Job("qwen", HELLO, Sampling())
    knows = backend(Server(httpx.Response(200, json={"tokens": [1, 2, 3]})))
    assert asyncio.run(knows.count(job)) == Started(3)
    knows_not = backend(Server(httpx.Response(404)))
    assert asyncio.run(knows_not.count(job)).prompt_tokens >= 2
    with pytest.raises(Refused):
        asyncio.run(knows_not.tokenize("qwen", "Oi"))
