"""The real application on a real port of this machine, with a tiny model that learned to talk, and OpenAI's client for it."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import OpenAI
from stand_in import StandIn

from plutao.serve import accounts, keys
from plutao.serve.running import Serving
from plutao.serve.settings import ServeSettings

CONTEXT = 640
"""Tokens that the tiny model reads at once."""


@dataclass
class Service:
    """A running service."""

    serving: Serving
    backend: StandIn | Any
    url: str
    key: str

    def client(self, strict: bool = True, **options: object) -> OpenAI:
        """OpenAI's own client, which refuses answers with a field missing or of a wrong type."""
        return OpenAI(
            base_url=f"{self.url}/v1",
            api_key=self.key,
            max_retries=0,
            timeout=60,
            _strict_response_validation=strict,
            **options,  # type: ignore[arg-type]
        )

    def new_key(self, email: str = "owner@example.org", role: str = "owner", **rights: object) -> str:
        with self.serving.app.state.database.writing() as db:
            account = accounts.find(db, email) or accounts.create(db, email, "", role, "correct horse battery 42")
            return keys.create(db, account, "test", keys.KeyRights(**rights))[1]  # type: ignore[arg-type]


def project_of(model: Path, root: Path) -> Path:
    """A project whose only run, `tiny`, has the model as its stage sft."""
    (root / "plutao.toml").write_text('name = "tiny"\n')
    (root / "runs" / "tiny").mkdir(parents=True)
    (root / "runs" / "tiny" / "run.json").write_text('{"created": "2026-01-01T00:00:00Z"}')
    (root / "runs" / "tiny" / "sft").symlink_to(model, target_is_directory=True)
    return root


def start(root: Path, backend: StandIn | None, **settings: object) -> tuple[Service, threading.Thread]:
    """A service in a thread of this process, ready to be asked; without a backend it is our engine, in a process of its own."""
    serving = Serving(
        ServeSettings(root=root, port=0, **settings),  # type: ignore[arg-type]
        tell=lambda _: None,
        backend=backend,
    )
    service = Service(serving, serving.app.state.services.backend, serving.settings.address, "")
    service.key = service.new_key()
    thread = threading.Thread(target=serving.server.run, args=([serving.socket],), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not serving.server.started:
        assert time.monotonic() < deadline and thread.is_alive(), "the service did not start"
        time.sleep(0.01)
    return service, thread


def stop(service: Service, thread: threading.Thread) -> None:
    service.serving.server.should_exit = True
    thread.join(timeout=20)
    assert not thread.is_alive(), "the service did not stop"
