"""Create .venv and install plutao into it, from a bare Python 3.11 or newer: `python scripts/setup.py [extra ...]`.

Nothing outside the standard library is used here, so that it runs before anything is installed. It is quiet and quick
when there is nothing to do: a stamp in .venv remembers what was installed last.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "plutao-installed.txt"
TORCH = "torch>=2.11,<2.14"
CPU_WHEELS = (
    "https://download.pytorch.org/whl/cpu"  # PyTorch's own index: no gigabytes of CUDA for a machine without a GPU
)


def main(extras: list[str]) -> None:
    if sys.version_info < (3, 11):
        sys.exit(
            f"Plutão needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12 test"
        )
    wanted = f"{sorted(extras)} {hashlib.sha256((ROOT / 'pyproject.toml').read_bytes()).hexdigest()} {sys.version}"
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    python = make_venv()
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    print("Installing into .venv (once; a few minutes, mostly PyTorch) …", flush=True)
    if not has_torch(python):
        index = ["--extra-index-url", CPU_WHEELS] if not has_nvidia() and answers(CPU_WHEELS) else []
        # "+cpu" builds sort above plain ones of the same version, so the extra index wins where it has the wheel
        run([*pip, *index, TORCH])
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    run([*pip, "--editable", target])
    STAMP.write_text(wanted)


def make_venv() -> Path:
    """The interpreter of .venv, created if it is not there."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        try:
            venv.create(VENV, with_pip=True, clear=VENV.exists())
        except subprocess.CalledProcessError:
            sys.exit(
                "Python could not create .venv: install its venv module (Debian, Ubuntu: apt-get install python3-venv)."
            )
    return python


def has_torch(python: Path) -> bool:
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([str(python), "-c", probe]).returncode == 0


def has_nvidia() -> bool:
    smi = shutil.which("nvidia-smi")
    return smi is not None and subprocess.run([smi, "-L"], capture_output=True).returncode == 0


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=4):
            return True
    except OSError:
        return False


def run(command: list[str]) -> None:
    if subprocess.run(command).returncode != 0:
        sys.exit("The installation failed; the lines above say why. Once mended, the same command goes on from here.")


if __name__ == "__main__":
    main(sys.argv[1:])
