"""Fixtures of the service's tests; what they are made of is in api_service.py, databases.py and postgres.py."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import postgres
import pytest
from api_service import CONTEXT, Service, project_of, start, stop
from databases import Kind
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from stand_in import StandIn
from talker import save_talker

from plutao.files import read_json, write_json
from plutao.serve.database import Database, open_database
from plutao.serve.passwords import passwords


@pytest.fixture(scope="session")
def talker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The talker, which was taught in a context of 160 tokens, with room for tools to be described."""
    folder = tmp_path_factory.mktemp("talker")
    save_talker(folder)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "max_position_embeddings": CONTEXT})
    return folder


@pytest.fixture(scope="session")
def service(talker_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for all tests that leave it as it was."""
    running, thread = start(tmp_path_factory.mktemp("project"), StandIn(talker_folder))
    yield running
    stop(running, thread)


@pytest.fixture(scope="session")
def engine_service(talker_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service as `plutao serve` runs it: a project, and our engine in a process of its own."""
    root = project_of(talker_folder, tmp_path_factory.mktemp("engine"))
    running, thread = start(root, None, threads=1)
    yield running
    stop(running, thread)


@pytest.fixture(scope="session", autouse=True)
def weak_hashes() -> None:
    """Argon2id that takes no time: what it costs in earnest has a test of its own."""
    passwords._hash = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Kind]]:
    """The kinds of database that this machine can run; PostgreSQL is started when a test first asks for it."""
    running: dict[str, Kind] = {"sqlite": Kind(tmp_path_factory.mktemp("sqlite"))}
    with ExitStack() as stack:
        if postgres.programs() is not None:
            running["postgresql"] = Kind(tmp_path_factory.mktemp("postgres"), stack.enter_context(postgres.server()))
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest, kinds: dict[str, Kind]) -> Kind:
    """Each kind of database in its turn."""
    if request.param not in kinds:
        pytest.skip("no PostgreSQL server programs (Debian, Ubuntu: apt-get install postgresql)")
    return kinds[request.param]


@pytest.fixture
def database(kind: Kind) -> Iterator[Database]:
    """A fresh database with today's schema."""
    url = kind.migrated()
    opened = open_database(url)
    yield opened
    opened.close()
    kind.drop(url)
