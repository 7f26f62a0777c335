"""What a model costs before anything runs: memory."""

import os
from pathlib import Path

from plutao.errors import UserError

GIB = 2**30


def available_memory() -> int:
    """Bytes that can be taken now: the machine's free memory, or what a container's limit leaves of it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([free, *control_group_room()])


def control_group_room() -> list[int]:
    """What Linux control groups (version 2's files, or version 1's) leave to this process; empty without a limit."""
    root = Path("/sys/fs/cgroup")
    pairs = [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")]
    rooms = []
    for limit, used in pairs:
        try:
            rooms.append(int((root / limit).read_text()) - int((root / used).read_text()))
        except (OSError, ValueError):  # no such version, or the word "max"
            continue
    return [max(0, room) for room in rooms]


def assert_memory(needed: int, what: str) -> None:
    """Raises UserError, before anything is allocated, where `needed` bytes are more than there is."""
    available = available_memory()
    if needed > available:
        raise UserError(
            f"{what} need {needed / GIB:.1f} GiB of memory and {available / GIB:.1f} GiB are free: "
            "close other programs, or take a smaller model."
        )
