"""The service under load: many people at once, each reading their answer as it is written.

    python benchmarks/serving.py PROJECT --seconds 300 --clients 64 --against serve --against continuous

With `--full` answers go on to `--max-tokens` instead of ending where the model ends them (the demo's have 12 tokens).

Starts `plutao serve` on the project with an account and a database of its own, and lets clients ask it for so many seconds,
each its next question as soon as the last one is answered. Every answer is compared with what the engine writes alone.
Reported: tokens a second, beside those of the engine itself answering the same questions in one batch; time to the first
token and between tokens (median and 95th percentile); memory at the beginning and end. `--against` lets `transformers serve`
(plain, or with its continuous batching) answer the same questions of the same model afterwards, in the same run.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from plutao.generate.chat import load_chat
from plutao.generate.sampling import Sampling
from plutao.project import resolve_model
from plutao.text.chat import Message
from plutao.text.tokenizer import Tokenizer
from plutao.worlds import world

QUESTIONS = 64
"""Different ones; every client begins with another."""


@dataclass
class Question:
    """What is asked, with the answer that the engine gives alone."""

    text: str
    seed: int
    answer: str = ""


@dataclass
class Measured:
    """What the clients saw."""

    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    tokens: int = 0
    requests: int = 0
    errors: list[str] = field(default_factory=list)
    wrong: int = 0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    folder = resolve_model(arguments.model, arguments.project)
    asked = [
        Question(question.messages[-1].content, place)
        for place, question in enumerate(world("solar").questions("validation", QUESTIONS, 5))
    ]
    result: dict[str, Any] = {
        "model": str(folder.relative_to(arguments.project)),
        "clients": arguments.clients,
        "slots": arguments.slots,
        "seconds": arguments.seconds,
        "max_tokens": arguments.max_tokens,
        "full": arguments.full,
        "cores": os.cpu_count(),
        "processor": processor(),
        "sides": {},
    }
    arguments.bias = endless(folder) if arguments.full else {}
    own = alone(folder, asked, arguments)
    result["engine_alone_tokens_per_second"] = round(own, 1)
    with plutao(arguments) as server:
        ours = asyncio.run(load(server, "current", asked, arguments, checked=True))
    ours["share_of_engine_alone"] = round(ours["tokens_per_second"] / own, 3)
    result["sides"]["plutao serve"] = ours
    for kind in arguments.against:
        with transformers(folder, kind == "continuous", arguments) as server:
            theirs = asyncio.run(load(server, str(folder.resolve()), asked, arguments, checked=False))
        theirs["plutao_is_faster"] = round(ours["tokens_per_second"] / max(theirs["tokens_per_second"], 1e-9), 2)
        name = "transformers serve" + (", continuous batching" if kind == "continuous" else "")
        result["sides"][name] = theirs
    return result


def endless(folder: Path) -> dict[str, float]:
    """The bias by which answers go on to their last token."""
    tokenizer = Tokenizer.load(folder)
    return {str(tokenizer.special("<|im_end|>")): -100.0, str(tokenizer.end_of_text): -100.0}


def alone(folder: Path, asked: list[Question], arguments: argparse.Namespace) -> float:
    """Tokens a second of the engine by itself, with as many slots, in batches; notes the right answers on the way."""
    chat = load_chat(folder, slots=arguments.slots)
    sampling = Sampling(
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
        logit_bias=tuple((int(token), bias) for token, bias in arguments.bias.items()),
    )
    for question in asked:
        sampled = replace(sampling, seed=question.seed)
        question.answer = chat.answer([(Message("user", question.text),)], sampled)[0][0].text
    conversations = [(Message("user", question.text),) for question in asked] * 8
    begun = time.perf_counter()
    replies = chat.answer(conversations, sampling)
    return sum(sum(reply.written) for [reply] in replies) / (time.perf_counter() - begun)


# ---------------------------------------------------------------------------------------------------------------------
# The servers


@dataclass(frozen=True)
class Server:
    """One that can be asked."""

    url: str
    key: str
    pid: int


@contextlib.contextmanager
def plutao(arguments: argparse.Namespace) -> Iterator[Server]:
    """`plutao serve`, with an owner and a key made for this run."""
    with tempfile.TemporaryDirectory() as place:
        database = f"sqlite:///{place}/bench.db"
        common = [sys.executable, "-m", "plutao"]
        own = ["--database-url", database, str(arguments.project)]
        person = [*common, "user", "create", "--email", "bench@example.org", "--role", "owner", *own]
        subprocess.run(person, input="correct horse battery staple\n", text=True, check=True, stdout=subprocess.DEVNULL)
        made = subprocess.run([*common, "key", "create", "--json", *own], text=True, check=True, capture_output=True)
        port = free_port()
        command = [*common, "serve", str(arguments.project), "--port", str(port), "--database-url", database]
        environment = {**os.environ, "PLUTAO_SLOTS": str(arguments.slots), "PLUTAO_QUEUE": str(arguments.clients)}
        if arguments.threads:
            environment["PLUTAO_THREADS"] = str(arguments.threads)
        with running(command, environment) as process:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/health", process)
            yield Server(f"{url}/v1", json.loads(made.stdout)["key"], process.pid)


@contextlib.contextmanager
def transformers(folder: Path, continuous: bool, arguments: argparse.Namespace) -> Iterator[Server]:
    """`transformers serve` on the same folder, in single precision too."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder.resolve())]
    command += ["--device", "cpu", "--dtype", "float32", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--continuous-batching"] if continuous else []
    with running(command, {**os.environ, "HF_HUB_OFFLINE": "1"}) as process:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield Server(f"http://127.0.0.1:{port}/v1", "none", process.pid)


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield process
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-4000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit("the server ended by itself")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


# ---------------------------------------------------------------------------------------------------------------------
# The clients


async def load(
    server: Server, model: str, asked: list[Question], arguments: argparse.Namespace, checked: bool
) -> dict[str, Any]:
    """Warms up with one round of the questions, then measures."""
    people = [Client(server) for _ in range(arguments.clients)]
    warm = Measured()
    await client_of(people[0], model, asked, 0, arguments, warm, time.monotonic() + 60, most=1)
    before, begun = processor_seconds(server.pid), time.monotonic()
    own = time.process_time()
    end = begun + arguments.seconds
    memory = asyncio.create_task(watch_memory(server.pid, arguments.seconds))
    seen = Measured()
    clients = [client_of(one, model, asked, place, arguments, seen, end) for place, one in enumerate(people)]
    await asyncio.gather(*clients)
    spent, after = time.monotonic() - begun, processor_seconds(server.pid)
    own = time.process_time() - own
    memories = await memory
    return {
        "tokens_per_second": round(seen.tokens / spent, 1),
        "requests": seen.requests,
        "tokens": seen.tokens,
        "errors": len(seen.errors),
        "first_errors": seen.errors[:3],
        "wrong_answers": seen.wrong if checked else None,
        "first_token_seconds": percentiles(seen.first),
        "between_tokens_seconds": percentiles(seen.between),
        "memory_megabytes": memories,
        "processor_seconds": {name: round(after[name] - before[name], 2) for name in after}
        | {"clients": round(own, 2)},
    }


class Client:
    """One connection that is kept. Clients share the machine with the server, so this one reads no more than it must:
    status, chunks of events, and from each event its JSON.
    """

    def __init__(self, server: Server) -> None:
        url = urlsplit(server.url)
        self.host, self.port, self.path, self.key = url.hostname, url.port, url.path, server.key
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def events(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """What `data:` lines hold; each chunk that is sent ends with a whole event.

        Raises:
            RuntimeError: any status but 200.
        """
        if self.reader is None or self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        try:
            content = json.dumps(body).encode()
            head = f"POST {self.path}/chat/completions HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.key}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            self.writer.write(head.encode() + content)
            answer = await self.reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{answer.decode()} {(await self.reader.read(500)).decode()}"[:400])
            while not (chunk := await self.reader.readuntil(b"\n\r\n")).startswith(b"0\r\n"):
                for line in chunk.splitlines():
                    if line.startswith(b"data: {"):
                        yield json.loads(line[6:])
        except BaseException:
            self.writer.close()
            self.reader = self.writer = None
            raise


async def client_of(
    client: Client,
    model: str,
    asked: list[Question],
    place: int,
    arguments: argparse.Namespace,
    seen: Measured,
    end: float,
    most: int = 10**9,
) -> None:
    """One person: asks, reads, asks again."""
    while time.monotonic() < end and most:
        most -= 1
        question = asked[place % len(asked)]
        place += 1
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question.text}],
            "max_tokens": arguments.max_tokens,
            "temperature": arguments.temperature,
            "seed": question.seed,
            "logit_bias": arguments.bias or None,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            text = await read_answer(client, body, seen)
        except (OSError, EOFError, ValueError, RuntimeError) as error:
            seen.errors.append(f"{type(error).__name__}: {error}"[:300])
            await asyncio.sleep(0.2)
            continue
        seen.requests += 1
        seen.wrong += text != question.answer


async def read_answer(client: Client, body: dict[str, Any], seen: Measured) -> str:
    """The text of one streamed answer; notes when each piece came."""
    asked = last = time.perf_counter()
    texts: list[str] = []
    counted = None
    async for chunk in client.events(body):
        if "error" in chunk:
            raise RuntimeError(str(chunk["error"])[:200])
        if chunk.get("usage"):
            counted = chunk["usage"]["completion_tokens"]
        for choice in chunk.get("choices") or ():
            text = (choice.get("delta") or {}).get("content")
            if text:
                now = time.perf_counter()
                (seen.between if texts else seen.first).append(now - (last if texts else asked))
                last = now
                texts.append(text)
    seen.tokens += len(texts) if counted is None else counted
    return "".join(texts)


def percentiles(values: list[float]) -> dict[str, float] | None:
    if len(values) < 2:
        return None
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 4), "p95": round(cuts[94], 4)}


async def watch_memory(pid: int, seconds: float) -> dict[str, float]:
    """Resident memory of the server with its children, after a fifth of the time and at its end."""
    await asyncio.sleep(seconds / 5)
    early = resident(pid)
    await asyncio.sleep(seconds * 0.75)
    return {"early": early, "late": resident(pid)}


def resident(pid: int) -> float:
    total = 0
    for folder in family(pid):
        with contextlib.suppress(OSError):
            if found := re.search(r"VmRSS:\s+(\d+)", (folder / "status").read_text()):
                total += int(found[1])
    return round(total / 1024, 1)


def processor_seconds(pid: int) -> dict[str, float]:
    """What the server and its children have used so far."""
    used = {"server": 0.0, "children": 0.0}
    for folder in family(pid):
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        name = "server" if folder.name == str(pid) else "children"
        used[name] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def family(pid: int) -> list[Path]:
    """The folders in /proc of a process and its children."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            parent = re.search(r"PPid:\s+(\d+)", status.read_text())
            if str(pid) in (status.parent.name, parent and parent[1]):
                found.append(status.parent)
    return found


def processor() -> str:
    with contextlib.suppress(OSError):
        if found := re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--model", help="RUN[:STAGE]; must be the current one")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--threads", type=int, help="of the engine's process")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--full", action="store_true", help="answers go on to --max-tokens")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--against", action="append", choices=("serve", "continuous"), default=[])
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments), indent=2))


if __name__ == "__main__":
    main()
