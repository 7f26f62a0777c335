"""A PostgreSQL server of the tests' own, on loopback, where its programs are installed; it is gone when they end."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = ("initdb", "postgres")


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs."""
    found = [Path(shutil.which("postgres") or "/nowhere").resolve().parent]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if all((folder / name).exists() for name in NEEDED)), None)


@contextmanager
def server() -> Iterator[str]:
    """Runs a server; yields the URL of its first database, without the database's name.

    It never runs as root: PostgreSQL refuses that, so that then its own user starts it.
    """
    folder = programs()
    assert folder is not None
    root = Path(tempfile.mkdtemp(prefix="plutao-postgres-", dir=memory()))
    user = "postgres" if os.name == "posix" and os.geteuid() == 0 else None
    if user:
        shutil.chown(root, user, user)
    data, port = root / "data", free_port()
    as_user = {"user": user, "cwd": root} if user else {"cwd": root}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        [folder / "initdb", "-D", data, "-U", "plutao", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"],
        check=True,
        **as_user,  # type: ignore[call-overload]
        **quiet,
    )
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": root, "max_connections": 200}
    options |= {"fsync": "off", "max_wal_size": "96MB", "min_wal_size": "32MB", "shared_buffers": "64MB"}
    process = subprocess.Popen(
        [folder / "postgres", "-D", data, "-p", str(port), *(f"--{name}={value}" for name, value in options.items())],
        **as_user,  # type: ignore[call-overload]
        **quiet,
    )
    try:
        wait_for(port, process)
        yield f"postgresql://plutao@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
        process.wait(timeout=60)
        shutil.rmtree(root, ignore_errors=True)


def memory() -> str | None:
    """A folder in memory where there is room for it: the tests' databases come and go."""
    folder = Path("/dev/shm")
    return str(folder) if folder.is_dir() and shutil.disk_usage(folder).free > 2**30 else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"postgresql://plutao@127.0.0.1:{port}/postgres").close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None and time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.05)
