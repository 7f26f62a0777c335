"""Corpora by name: local copies, downloads that break off, and what is refused; the server is on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from plutao.data import download
from plutao.data.catalogue import catalogue, ensure, get
from plutao.data.settings import DataSettings, Source
from plutao.errors import UserError

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT at /corpus.txt; `cuts` says after how many bytes each of the next answers breaks off."""

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self.asked: list[str | None] = []
        self.content = CONTENT
        self.ranges = True
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/corpus.txt"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        span = handler.headers.get("Range")
        self.asked.append(span)
        if self.status != 200:
            handler.send_error(self.status)
            return
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and self.ranges else 0
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "WAITS", (0.01, 0.01, 0.01))
    monkeypatch.delenv("PLUTAO_DATA", raising=False)
    running = Server()
    yield running
    running.close()


def add_corpus(root: Path, address: str = "", size: int | None = len(CONTENT), name: str = "mine") -> None:
    (root / "data").mkdir(exist_ok=True)
    lines = [f"[{name}]", 'file = "corpus.txt"', f'sha256 = "{DIGEST}"', 'license = "CC0-1.0"', 'language = "pt"']
    lines += [f'address = "{address}"'] if address else ['origin = "an archive"']
    lines += [f"bytes = {size}"] if size else []
    with (root / "data" / "corpora.toml").open("a") as file:
        file.write("\n".join(lines) + "\n")


def test_a_corpus_is_fetched_once_and_checked(tmp_path, server):
    add_corpus(tmp_path, server.address)
    seen: list[tuple[int, int]] = []
    path = get("mine", tmp_path, lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "data" / "corpora" / "corpus.txt" and path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert get("mine", tmp_path) == path and len(server.asked) == 1
    assert [file.name for file in path.parent.iterdir()] == ["corpus.txt"]


def test_a_broken_connection_is_resumed_where_it_broke(tmp_path, server):
    add_corpus(tmp_path, server.address)
    server.cuts = [300_000, 200_000]
    assert get("mine", tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(tmp_path, server):
    add_corpus(tmp_path, server.address)
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(
        UserError, match=r"could not be fetched \(the connection .*tried 4 times.*goes on where it broke"
    ):
        get("mine", tmp_path)
    assert get("mine", tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=100000-"


def test_a_server_that_cannot_resume_sends_all_again(tmp_path, server):
    add_corpus(tmp_path, server.address)
    server.cuts, server.ranges = [300_000], False
    assert get("mine", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_file_that_is_not_the_one_of_the_catalogue_is_refused_and_removed(tmp_path, server, size):
    add_corpus(tmp_path, server.address, size)
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(UserError, match=rf"gave another file than expected.*not {DIGEST[:12]}"):
        get("mine", tmp_path)
    assert list((tmp_path / "data" / "corpora").iterdir()) == []


def test_a_file_of_another_length_is_refused(tmp_path, server):
    add_corpus(tmp_path, server.address)
    server.content = CONTENT[:1000]
    with pytest.raises(UserError, match="gave 1,000 bytes where 1,024,000 were expected"):
        get("mine", tmp_path)


def test_an_address_without_the_file_is_said_at_once(tmp_path, server):
    add_corpus(tmp_path, server.address)
    server.status = 404
    with pytest.raises(UserError, match="answered 404 Not Found: the address in the catalogue"):
        get("mine", tmp_path)
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_said_after_a_few_attempts(tmp_path, server):
    address = server.address
    server.close()
    add_corpus(tmp_path, address)
    with pytest.raises(UserError, match=r"does not answer: .*tried 4 times: check the connection"):
        get("mine", tmp_path)
    server._server = Server()._server  # the fixture closes again


def test_a_local_copy_is_found_by_name_and_content(tmp_path, server, monkeypatch):
    add_corpus(tmp_path)
    for folder, content in (("a", b"something else"), ("b/c", CONTENT)):
        (tmp_path / "local" / folder).mkdir(parents=True)
        (tmp_path / "local" / folder / "corpus.txt").write_bytes(content)
    monkeypatch.setenv("PLUTAO_DATA", str(tmp_path / "local"))
    assert get("mine", tmp_path) == tmp_path / "local" / "b" / "c" / "corpus.txt"
    (tmp_path / "local" / "b" / "c" / "corpus.txt").write_bytes(b"changed")
    with pytest.raises(UserError, match="is not the corpus 'mine': its SHA-256 is"):
        get("mine", tmp_path)


def test_a_corpus_without_an_address_says_where_to_put_its_file(tmp_path, server):
    with pytest.raises(
        UserError, match=r"no single public file.*COST-ELTeC/ELTeC-por.*put eltec_por\.jsonl\.gz at .*PLUTAO_DATA"
    ):
        get("eltec-por", tmp_path)


def test_what_cannot_be_had_is_noticed_before_anything_is_downloaded(tmp_path, server):
    add_corpus(tmp_path, server.address)
    settings = DataSettings(sources=(Source(name="a", corpus="mine"), Source(name="b", corpus="eltec-por")))
    with pytest.raises(UserError, match="eltec-por"):
        ensure(settings, tmp_path)
    assert server.asked == []


def test_unknown_names_and_wrong_entries_are_explained(tmp_path):
    with pytest.raises(
        UserError, match=r"no corpus 'shakespear' in the catalogue\. It has: tinyshakespeare, eltec-por"
    ):
        get("shakespear", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "corpora.toml").write_text('[x]\nfile = "x.txt"\nlicense = "MIT"\n')
    with pytest.raises(UserError, match=r"corpora\.toml, \[x\]: sha256: field required"):
        catalogue(tmp_path)


@pytest.mark.real_data
def test_the_catalogue_names_the_files_that_are_there(tmp_path, real_data):
    for name, corpus in catalogue(tmp_path).items():
        path = get(name, tmp_path)
        assert path.is_relative_to(real_data) and path.stat().st_size == corpus.bytes
        of_images = name.startswith(("mnist", "cifar"))  # pictures speak no language
        assert corpus.license and corpus.description and (corpus.address or corpus.origin)
        assert bool(corpus.language) != of_images
