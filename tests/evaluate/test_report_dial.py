"""The report says why `--time` chose the size, and what came of it."""

from pathlib import Path

import pytest
from fake_run import write_fake_run

from plutao.evaluate.report import build
from plutao.files import read_json, write_json


@pytest.mark.parametrize(("language", "title"), [("en", "Why this size"), ("pt", "Por que este tamanho")])
def test_a_size_that_the_dial_chose_is_explained(tmp_path: Path, language: str, title: str) -> None:
    run = write_fake_run(tmp_path / "runs" / "small-1", steps=50)
    assert title not in built(run, language)
    row = {"parameters": 918_720, "batch": 8, "tokens": 741_376, "epochs": 0.1, "tokens_per_second": 18_400.0}
    table = [
        {**row, "preset": "plutao-1m", "measured": True, "loss": 2.0625},
        {**row, "preset": "plutao-3m", "measured": False, "loss": None},
    ]
    write_json(run / "dial.json", {"preset": "plutao-1m", "batch": 8, "minutes": 1.5, "reasons": [], "table": table})
    told = built(run, language)
    assert told.index(title) < told.index("bits per byte" if language == "en" else "bits por byte", told.index(title))
    section = told[told.index(f"## {title}") :].split("\n## ")[0] if f"## {title}" in told else ""
    assert "▶ plutao-1m" in section and "≈18" in section and "| – |" in section
    reached = read_json(run / "base" / "stage.json")["validation"]["bits_per_byte"]
    assert f"{reached:.3f}".replace(".", "." if language == "en" else ",") in section
    assert read_json(run / "report.json")["dial"]["preset"] == "plutao-1m"


def built(run: Path, language: str) -> str:
    build(run, language)
    return (run / "report.md").read_text(encoding="utf-8")
