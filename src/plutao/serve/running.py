"""The process: listens, says how it can be reached, and on Ctrl-C or SIGTERM lets running answers finish."""

import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from plutao.errors import UserError
from plutao.serve import accounts
from plutao.serve.app import create_app
from plutao.serve.backend.contract import Backend
from plutao.serve.database import Database
from plutao.serve.settings import ServeSettings

KEEP_ALIVE = 75
"""Seconds that a quiet connection stays open: longer than clients keep theirs, so that they never write into a closed one."""


class Serving:
    """`plutao serve` without the command line."""

    def __init__(
        self, settings: ServeSettings, tell: Callable[[str], None] = print, backend: Backend | None = None
    ) -> None:
        """Opens the port and the database.

        Raises:
            UserError: one of them can't be had.
        """
        self.socket = listen(settings)
        port = self.socket.getsockname()[1]
        self.settings, self.tell = settings.model_copy(update={"port": port}), tell
        try:
            self.app = create_app(self.settings, backend)
        except BaseException:
            self.socket.close()
            raise
        config = uvicorn.Config(
            self.app,
            host=settings.host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            lifespan="on",
            ws="none",
            proxy_headers=True,
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_graceful_shutdown=round(settings.grace),
            timeout_keep_alive=KEEP_ALIVE,
        )
        self.server = Server(config, self._welcome)

    def run(self) -> None:
        """Answers until it is told to stop; raises what kept it from starting."""
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the envelope logs what goes wrong, with an id
        with interrupts_end_quietly():
            self.server.run([self.socket])
        failed: Exception | None = getattr(self.app.state, "failed", None)
        if failed is not None:
            raise failed

    def _welcome(self) -> None:
        address = self.settings.address
        database: Database = self.app.state.database
        with database.writing() as db:
            link = accounts.owner_link(db)
        self.tell(f"Plutão answers at {address} (API: {address}/v1, its description: {address}/docs).")
        if link is not None:
            self.tell("Nobody has an account yet. Whoever opens this link first, within a day, becomes the owner:")
            self.tell(f"  {address}/setup?token={link}")
            self.tell("or: plutao user create, then plutao key create.")
        self.tell("To try it, with a key from `plutao key create`:")
        self.tell(
            f"  curl {address}/v1/chat/completions -H 'Authorization: Bearer sk-…' -H 'Content-Type: application/json' "
            """-d '{"model": "current", "messages": [{"role": "user", "content": "Olá!"}]}'"""
        )
        self.tell("Ctrl-C ends it.")


class Server(uvicorn.Server):
    """uvicorn's server, which tells when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._ready()


def listen(settings: ServeSettings) -> socket.socket:
    """The socket that requests arrive at.

    Raises:
        UserError: the port is taken, needs more rights, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"{settings.host}:{settings.port} can't be listened on ({error.strerror or error}): name another --port, or "
            "--port 0 for a free one."
        ) from error
    return listener


@contextlib.contextmanager
def interrupts_end_quietly() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more when all is done; that is no error."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
