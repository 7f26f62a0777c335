"""What machines can do: named accelerators by their data sheets, and the memory of this one."""

import difflib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from plutao.errors import UserError

GIB = 2**30
THIS = "this machine"
WATTS_A_CORE = 10.0
"""Assumed of a processor at work, its memory counted in: between a laptop's 5 and a server's 15."""


@dataclass(frozen=True)
class Hardware:
    """One device. Rates are dense matrix products in bf16 with fp32 sums (fp16 on the older ones), from data sheets."""

    name: str
    flops: float
    """Peak operations per second."""
    memory: int
    """Bytes."""
    watts: float | None = None
    """Its rated power."""
    price_per_hour: float | None = None
    """US dollars for renting it an hour: the order of public list prices in 2025. Give your own where money counts."""


HARDWARE: dict[str, Hardware] = {
    device.name.lower(): device
    for device in [
        Hardware("V100", 125e12, 32 * GIB, 300, 1.00),
        Hardware("T4", 65e12, 16 * GIB, 70, 0.40),
        Hardware("L4", 121e12, 24 * GIB, 72, 0.70),
        Hardware("RTX4090", 165e12, 24 * GIB, 450, 0.50),
        Hardware("A100", 312e12, 80 * GIB, 400, 1.80),
        Hardware("H100", 989e12, 80 * GIB, 700, 3.00),
        Hardware("H200", 989e12, 141 * GIB, 700, 3.80),
        Hardware("B200", 2250e12, 180 * GIB, 1000, 6.00),
        Hardware("MI300X", 1307e12, 192 * GIB, 750, 2.50),
    ]
}


def parse_hardware(text: str) -> tuple[int, Hardware]:
    """`8xH100` → (8, its data); `A100` is one; `this` is the machine this runs on.

    Raises:
        UserError: a form or a name we do not know.
    """
    if text.lower() == "this":
        return 1, this_machine()
    match = re.fullmatch(r"(?:(\d+)\s*[x×*]\s*)?([A-Za-z0-9-]+)", text.strip())
    name = match[2].lower().removesuffix("-80gb") if match else text
    if match is None or name not in HARDWARE or match[1] in ("0", "00"):
        close = difflib.get_close_matches(name.lower(), HARDWARE, n=1, cutoff=0.5)
        meant = f" Did you mean {HARDWARE[close[0]].name}?" if close else ""
        known = ", ".join(device.name for device in HARDWARE.values())
        raise UserError(f"--hardware {text} is not known.{meant} Write this, or as in 8xH100 one of: {known}.")
    return int(match[1] or 1), HARDWARE[name]


def this_machine() -> Hardware:
    """This machine: its accelerator by the data sheet, or its processor by multiplying matrices for a moment.

    What the processor reaches stands in for a data sheet; its power is assumed.
    """
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name().upper().replace(" ", "")
        listed = next((device for key, device in HARDWARE.items() if key.upper() in name), None)
        free = torch.cuda.mem_get_info()[0]
        return Hardware(THIS, matrix_rate("cuda"), free) if listed is None else replace(listed, name=THIS, memory=free)
    return Hardware(THIS, matrix_rate("cpu"), available_memory(), WATTS_A_CORE * (os.cpu_count() or 1))


def matrix_rate(device: str) -> float:
    """Operations a second of the best of half a second's matrix products, in bf16 where that is computed in hardware."""
    import time

    import torch

    size, best = (8192 if device == "cuda" else 1024), float("inf")
    fast = device == "cuda" or torch.cpu._is_avx512_bf16_supported()
    left, right = torch.ones(2, size, size, dtype=torch.bfloat16 if fast else torch.float32, device=device)
    started = time.perf_counter()
    while time.perf_counter() - started < 0.5:
        before = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
    return 2 * size**3 / best


def available_memory() -> int:
    """Bytes that can be taken now: the machine's free memory, or what a container's limit leaves of it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([free, *control_group_room(Path("/sys/fs/cgroup"))])


def control_group_room(root: Path) -> list[int]:
    """What Linux control groups (version 2's files, or version 1's) leave to this process; empty without a limit."""
    pairs = [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")]
    rooms = []
    for limit, used in pairs:
        try:
            rooms.append(max(0, int((root / limit).read_text()) - int((root / used).read_text())))
        except (OSError, ValueError):  # no such version, or the word "max"
            continue
    return rooms


def assert_memory(needed: int, what: str) -> None:
    """Raises UserError, before anything is allocated, where `needed` bytes are more than there is."""
    available = available_memory()
    if needed > available:
        raise UserError(
            f"{what} need {needed / GIB:.1f} GiB of memory and {available / GIB:.1f} GiB are free: "
            "close other programs, or take a smaller model."
        )
