"""What tests share: what this machine lacks is skipped with a reason and counted, and fails where CI=true."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as the command line does: before torch is imported

import pytest
import torch

torch.set_num_threads(1)  # the models of tests are too small to share


def missing(marker: str) -> str | None:
    """Why tests with this marker can't run here; None where they can."""
    if marker == "real_data":
        folder = os.environ.get("PLUTAO_DATA")
        return None if folder and Path(folder).is_dir() else "PLUTAO_DATA does not name a folder of corpora"
    if marker == "compiler":
        return None if shutil.which(os.environ.get("CXX", "c++")) else "no C++ compiler"
    if marker == "browser":
        return None if shutil.which("chromium") else "no Chromium"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers():
        if reason := missing(marker.name):
            if os.environ.get("CI") == "true":
                pytest.fail(f"{reason}, and CI=true asks for every test")
            pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} not run: {reason}")


@pytest.fixture
def real_data() -> Path:
    return Path(os.environ["PLUTAO_DATA"])
