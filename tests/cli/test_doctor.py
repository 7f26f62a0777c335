"""`plutao doctor`: every finding says what was found, and what is missing how to mend it."""

import json
from pathlib import Path

import pytest
from commands import done

from plutao.cli import doctor
from plutao.train import device


def test_every_finding_is_whole_and_the_missing_have_a_remedy(tmp_path: Path) -> None:
    answer = json.loads(done("doctor", tmp_path, "--json").out)
    assert answer["machine"]["cores"] >= 1 and answer["machine"]["torch"]
    names = [finding["what"] for finding in answer["findings"]]
    assert {"Python", "PyTorch", "processor", "training", "C++ compiler", "free memory", "free disk"} <= set(names)
    for finding in answer["findings"]:
        assert finding["found"]
        assert bool(finding["remedy"]) is not finding["ok"]


def test_it_reads_well_on_a_terminal() -> None:
    lines = done("doctor").out.splitlines()
    assert all(line.startswith(("ok       ", "missing  ", "         ")) for line in lines)


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_compiler", lambda: None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    said = done("doctor").out
    assert (
        "missing  C++ compiler: no C++ compiler was found" in said
        and "apt-get install g++" in said
        and "xcode-select" in said
    )
    assert "not compiled: no C++ compiler was found, so training is slower" in said
    assert "missing  transformers: not installed\n         Optional: with it, `plutao export`" in said
    assert 'pip install "plutao[hf]"' in said


def test_little_memory_and_disk_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from plutao.models import hardware

    monkeypatch.setattr(hardware, "available_memory", lambda: 2**30)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2**29}))
    findings = {finding["what"]: finding for finding in json.loads(done("doctor", "--json").out)["findings"]}
    assert not findings["free memory"]["ok"] and findings["free memory"]["found"] == "1.0 GiB"
    assert not findings["free disk"]["ok"] and "Free some space" in findings["free disk"]["remedy"]
