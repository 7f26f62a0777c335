"""Processes that are known again later: by their number and by when they began, because numbers are used again."""

import subprocess
from pathlib import Path

PROC = Path("/proc")


def began(number: int) -> str | None:
    """When a living process began, in a form that only equals itself; None where there is none, or one that only waits to
    be buried.
    """
    if not PROC.joinpath("self", "stat").exists():
        return asked_of_ps(number)
    try:
        # The second field is the program's name in brackets and may hold anything; what follows is plain
        fields = (PROC / str(number) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def asked_of_ps(number: int) -> str | None:
    """As `began`, on systems without /proc."""
    asked = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(number)], capture_output=True, text=True, check=False
    )
    state, _, moment = asked.stdout.strip().partition(" ")
    return moment.strip() or None if state and not state.startswith("Z") else None
