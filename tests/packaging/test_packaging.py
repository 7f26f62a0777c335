"""The unit and the Containerfile say what is true of the package."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from plutao.serve.settings import ServeSettings

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging" / "plutao.service"
CONTAINERFILE = ROOT / "packaging" / "Containerfile"


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian, Ubuntu: apt-get install systemd)")
    unit = tmp_path / "plutao.service"
    unit.write_text(UNIT.read_text().replace("/opt/plutao/bin/plutao", sys.executable))
    checked = subprocess.run([program, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    complaints = [line for line in checked.stderr.splitlines() if "plutao.service" in line]
    assert not complaints, checked.stderr


def test_a_stop_leaves_time_for_running_answers() -> None:
    seconds = re.search(r"TimeoutStopSec=(\d+)", UNIT.read_text())
    assert seconds and int(seconds[1]) > ServeSettings().grace + 10


def test_the_container_is_built_from_files_that_are_there_and_from_our_range_of_torch() -> None:
    text = CONTAINERFILE.read_text()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    torch = next(one for one in project["dependencies"] if one.startswith("torch"))
    assert f'"{torch}"' in text and "postgres" in project["optional-dependencies"]
    assert "USER plutao" in text and "PLUTAO_HOST" in text
    assert {"host"} <= set(ServeSettings.model_fields)
