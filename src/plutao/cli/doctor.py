"""`plutao doctor`."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer


def doctor(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A folder whose disk is looked at.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this machine can do, what is missing, and how to mend it."""
    from plutao.train import device

    findings = examine(folder)
    if as_json:
        print(json.dumps({"machine": device.describe(), "findings": findings}, ensure_ascii=False, indent=2))
        return
    for finding in findings:
        print(f"{'ok     ' if finding['ok'] else 'missing'}  {finding['what']}: {finding['found']}")
        if not finding["ok"]:
            print(f"         {finding['remedy']}")


def examine(folder: Path) -> list[dict[str, Any]]:
    """One entry a thing looked at: what, found, ok, and the remedy where it is not."""
    from plutao.models.hardware import available_memory
    from plutao.train import device

    machine = device.describe()
    chosen, fault = device.choose(), device.compiler_fault(device.find_compiler())
    free_disk = shutil.disk_usage(folder if folder.is_dir() else Path()).free
    memory = available_memory()
    torch_range = str(machine["torch"]).split("+")[0].split(".")[:2]
    tested = (2, 11) <= (int(torch_range[0]), int(torch_range[1])) < (2, 14)
    instructions = (
        "AMX" if machine["amx"] else "AVX512-BF16" if machine["bf16"] else "no bf16 instructions: fp32 is used"
    )
    accelerators = ", ".join(map(str, machine["accelerators"])) if machine["accelerators"] else "none; the CPU trains"  # type: ignore[call-overload]
    return [
        finding("Python", machine["python"], True),
        finding("PyTorch", machine["torch"], tested, 'Install the tested range: pip install "torch>=2.11,<2.14".'),
        finding("processor", f"{machine['processor']}, {machine['cores']} cores, {instructions}", True),
        finding("accelerators", accelerators, True),
        finding("training", chosen.reason, True),
        finding(
            "C++ compiler",
            fault or machine["compiler"],
            fault is None,
            "Training is 2 to 3 times slower without one. "
            "Debian, Ubuntu: apt-get install g++ python3-dev; macOS: xcode-select --install.",
        ),
        finding(
            "free memory",
            f"{memory / 2**30:.1f} GiB",
            memory > 2 * 2**30,
            "Close other programs: small models need about 2 GiB.",
        ),
        finding(
            "free disk",
            f"{free_disk / 2**30:.1f} GiB",
            free_disk > 2 * 2**30,
            "Free some space: checkpoints and shards need about 2 GiB.",
        ),
        extra("transformers", "hf", "`plutao export` proves that its export answers the same"),
        extra("tensorboard", "track", 'sinks = ["tensorboard"] writes curves for TensorBoard'),
    ]


def finding(what: str, found: Any, ok: bool, remedy: str = "") -> dict[str, Any]:
    return {"what": what, "found": str(found), "ok": ok, "remedy": "" if ok else remedy}


def extra(package: str, name: str, use: str) -> dict[str, Any]:
    """An optional package: missing is no fault, but worth knowing."""
    there = importlib.util.find_spec(package) is not None
    return finding(
        package,
        "installed" if there else "not installed",
        there,
        f'Optional: with it, {use}. pip install "plutao[{name}]".',
    )
