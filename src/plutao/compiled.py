"""C++ of our own, compiled once for this machine where a compiler is found; what it does can always be done without it."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fopenmp")


def library(name: str, sources: Sequence[Path]) -> ctypes.CDLL | None:
    """The library of these sources, built where it is not there yet (a second or two, once); None where it can't be."""
    compiler = next((found for name in compilers() if (found := shutil.which(name))), None)
    if compiler is None:
        return None
    path = folder() / f"{name}-{key(compiler, sources)}.so"
    try:
        if not path.exists():
            build(compiler, sources, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None


def compilers() -> Sequence[str]:
    """Names of C++ compilers, the one to take first; the environment's CXX is the only one where it is set."""
    named = os.environ.get("CXX")
    return [named] if named is not None else ["g++", "clang++", "c++"]


def build(compiler: str, sources: Sequence[Path], path: Path) -> None:
    """Compiles beside `path` and moves the result there, so that processes that build at once do no harm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        built = Path(place) / path.name
        command = [compiler, *FLAGS, *map(str, sources), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        built.replace(path)


def folder() -> Path:
    """Where built code is kept between processes."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "plutao"


def key(compiler: str, sources: Sequence[Path]) -> str:
    """Changes with the sources, the compiler and the processor, for each of which the code is made."""
    processor = b""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
        processor = next((line for line in lines if line.startswith((b"flags", b"Features"))), b"")
    version = f"{compiler} {Path(compiler).stat().st_mtime} {FLAGS}".encode()
    content = b"".join(source.read_bytes() for source in sources)
    return hashlib.sha256(content + version + processor).hexdigest()[:16]
