"""A ladder of trainings: every rung is trained once, the law is fitted to all, and the pictures show both."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import done, refused, tiny_project

from plutao.evaluate import scaling
from plutao.evaluate.scaling import Ladder, views
from plutao.models.scaling import DEFAULT, Law
from plutao.stages.ladder import Climb, climbs, parse_count

LAW = Law(0.9, 12.0, 0.24, 160.0, 0.38, 5.0, 3e5, "some trainings")


def card(preset: str, parameters: int, tokens: int, batch: int = 2048) -> dict[str, Any]:
    loss = LAW.loss(parameters, tokens, batch)
    return {
        "complete": True,
        "text": "this",
        "preset": preset,
        "parameters": parameters,
        "tokens": tokens,
        "batch_tokens": batch,
        "unique_tokens": 10**9,
        "flops": 6.5 * parameters * tokens,
        "seconds": 10.0,
        "tokens_per_second": tokens / 10,
        "validation": {"loss": 3.0, "bits_per_byte": loss},
    }


SIZES = {"plutao-1m": 900_000, "plutao-3m": 3_300_000, "plutao-7m": 7_200_000}
CARDS = [card(name, size, tokens) for name, size in SIZES.items() for tokens in (250_000, 1_000_000, 4_000_000)]


def write(folder: Path, cards: list[dict[str, Any]]) -> Path:
    for number, one in enumerate(cards):
        rung = folder / f"rung-{number}"
        rung.mkdir(parents=True)
        (rung / "stage.json").write_text(json.dumps(one))
    return folder


def test_the_law_is_fitted_to_all_rungs_of_this_text(tmp_path: Path) -> None:
    other = card("plutao-1m", 900_000, 250_000) | {"text": "another", "validation": {"bits_per_byte": 9.0}}
    begun = card("plutao-1m", 900_000, 250_000) | {"complete": False}
    ladder = scaling.read(write(tmp_path, [*CARDS, other, begun]), "this", "livros")
    assert len(ladder.cards) == 9 and ladder.note == ""
    assert ladder.law.loss(2e6, 2e6, 2048) == pytest.approx(LAW.loss(2e6, 2e6, 2048), rel=0.01)
    assert ladder.law.source == "9 trainings of 0.9M to 7.2M parameters on 0.25M to 4.00M tokens of livros"
    page = scaling.store(ladder, tmp_path, "pt").read_text()
    assert "Tamanho de modelo não é documento" in page and 'src="http' not in page
    assert json.loads((tmp_path / "law.json").read_text())["source"] == ladder.law.source
    assert len(json.loads((tmp_path / "scaling.json").read_text())["rungs"]) == 9


def test_too_few_rungs_are_shown_beside_the_law_that_ships(tmp_path: Path) -> None:
    ladder = scaling.read(write(tmp_path, CARDS[::3]), "this", "livros")
    assert ladder.law == DEFAULT and "6 or more" in ladder.note
    scaling.store(ladder, tmp_path)
    assert not (tmp_path / "law.json").exists()


def test_every_picture_has_the_trainings_and_the_law() -> None:
    shown = views(Ladder("x", (*CARDS, card("plutao-3m", 3_300_000, 1_000_000, 8192)), LAW))
    assert [view.id for view in shown] == ["by_size", "by_tokens", "by_flops"]
    for view in shown:
        markers = [trace for trace in view.figure.data if trace.mode == "markers"]
        lines = [trace for trace in view.figure.data if trace.mode == "lines"]
        assert len(markers) == len(lines) == 3
        assert sum(len(trace.x) for trace in markers) == 9, "another batch does not lie on the lines"
        for trace in lines:
            assert list(trace.y) == sorted(trace.y, reverse=True), "more of it never harms"
        assert len(view.rows) == 10
    flops = shown[2].figure.data[0].x
    assert flops[0] == pytest.approx(6.5 * 900_000 * 250_000)


def test_ladders_are_written_as_people_write_numbers() -> None:
    assert [parse_count(text) for text in ("250k", "1M", "1.5e6", "8")] == [250_000, 1_000_000, 1_500_000, 8]
    assert [climb.name for climb in climbs(["plutao-1m"], [2_000_000, 500_000], None, [8])] == [
        "plutao-1m-500k-b8",
        "plutao-1m-2000k-b8",
    ]
    assert climbs(["a", "b"], [1], 2.0, [4]) == [Climb("a", 4, minutes=2.0), Climb("b", 4, minutes=2.0)]


def test_the_command_trains_each_rung_once(tmp_path: Path) -> None:
    root = tiny_project(tmp_path / "tiny")
    rungs = ("--scaling", root, "--sizes", "1m,3m", "--tokens", "500,1k,2k")
    found = json.loads(done("compare", *rungs, "--json").out)
    assert len(found["rungs"]) == 6 and found["note"] == ""
    assert found["rungs"][2]["bits_per_byte"] < found["rungs"][0]["bits_per_byte"], "more text, fewer bits"
    cards = sorted((root / "runs" / "scaling").glob("*/stage.json"))
    written = [path.stat().st_mtime_ns for path in cards]
    again = done("compare", *rungs)
    assert [path.stat().st_mtime_ns for path in cards] == written
    assert "The law: L = " in again.out and "plutao-3m" in again.out and "scaling.html" in again.out
    assert not list((root / "runs" / "scaling").glob("*/checkpoints"))
    assert "--tokens and --time contradict" in refused("compare", *rungs, "--time", "1m")
    assert "not a number of tokens" in refused("compare", "--scaling", root, "--tokens", "many")
