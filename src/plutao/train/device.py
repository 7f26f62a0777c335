"""What this machine computes with: device, precision, compiler, threads."""

import os
import platform
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from plutao.errors import UserError


@dataclass(frozen=True)
class Device:
    """Where and how a stage computes."""

    kind: str
    """`cuda`, `mps` or `cpu`."""
    index: int
    precision: str
    """`bf16` (through autocast; weights stay fp32) or `fp32`."""
    compiled: bool
    """Whether the repeated block goes through torch.compile."""
    reason: str
    """Why precision and compilation are what they are, in words."""

    @property
    def place(self) -> torch.device:
        return torch.device(self.kind, self.index) if self.kind == "cuda" else torch.device(self.kind)

    def autocast(self) -> torch.autocast:
        """The context that forward passes run in."""
        return torch.autocast(self.kind, torch.bfloat16, enabled=self.precision == "bf16")


def choose(precision: str = "auto", compile: str = "auto", local_rank: int = 0) -> Device:
    """The best device here, with precision and compilation as the recipe asks or as the machine is good at.

    Raises:
        UserError: the recipe asks for what this machine does not have.
    """
    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    fast_bf16 = has_fast_bf16(kind)
    chosen = precision if precision != "auto" else ("bf16" if fast_bf16 else "fp32")
    reasons = [
        f"{chosen} as the recipe asks"
        if precision != "auto"
        else f"{chosen}, since this {kind} {'computes' if fast_bf16 else 'does not compute'} with bf16"
    ]
    fault = None if compile == "off" else compiler_fault(find_compiler())
    if compile == "on" and fault is not None:
        raise UserError(
            f'base.compile = "on" can\'t be done: {fault} (Debian, Ubuntu: apt-get install g++ python3-dev); "auto" does without.'
        )
    compiled = compile != "off" and fault is None and kind != "mps"
    reasons.append(
        "compiled"
        if compiled
        else "not compiled: the recipe says so"
        if compile == "off"
        else f"not compiled: {fault or 'this device can not'}, so training is slower"
    )
    return Device(kind, local_rank, chosen, compiled, "; ".join(reasons))


@cache
def has_fast_bf16(kind: str) -> bool:
    """Whether bf16 is computed in hardware (AMX, AVX512-BF16, Ampere and later), rather than emulated."""
    if kind == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    if kind == "mps":
        return False
    flags = cpu_flags()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets the processor announces (Linux; empty elsewhere)."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            line = next((line for line in file if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


@cache
def find_compiler() -> str | None:
    """Path of the C++ compiler that torch.compile would call on this machine; None without one."""
    named = os.environ.get("CXX")
    for candidate in [named] if named is not None else ["g++", "clang++", "c++", "cl"]:
        if candidate and (path := shutil.which(candidate)):
            return path
    return None


@cache
def compiler_fault(compiler: str | None) -> str | None:
    """Why `compiler` can't build what torch.compile writes (C++ that includes Python's headers); None where it can."""
    if compiler is None:
        return "no C++ compiler was found"
    if Path(compiler).stem == "cl":  # takes other options; it comes with all it needs
        return None
    command = [compiler, "-fsyntax-only", "-x", "c++", f"-I{sysconfig.get_path('include')}", "-"]
    try:
        tried = subprocess.run(command, input="#include <Python.h>\n", capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{compiler} does not work ({error})"
    if tried.returncode == 0:
        return None
    said = next((line for line in tried.stderr.splitlines() if "error" in line), "it says nothing")
    return f"{compiler} does not work ({said.strip()})"


def describe() -> dict[str, object]:
    """The machine, for reports: processor, cores, memory, accelerators, versions."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": memory_gb(),
        "bf16": has_fast_bf16("cpu"),
        "amx": "amx_bf16" in cpu_flags(),
        "compiler": find_compiler(),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def processor_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            return next(
                (line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine()
            )
    except OSError:
        if platform.system() == "Darwin":
            answer = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
            return answer.stdout.strip() or platform.machine()
        return platform.processor() or platform.machine()


def memory_gb() -> float | None:
    """Physical memory in GB (10⁹ bytes), where the system says."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
