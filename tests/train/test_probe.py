"""How fast a machine trains: measured with real steps, remembered, and reckoned for shapes between and beyond."""

from pathlib import Path

import pytest
import torch
from toys import CPU

from plutao.models.presets import decoder_config
from plutao.recipe import BaseSettings
from plutao.train.probe import PATIENCE, Memory, Speed, estimate, interpolate, measure, of_shape

SETTINGS = BaseSettings(batch=4)
TINY = decoder_config("plutao-1m", vocabulary=64, context=16, layers=2, width=32, heads=2)


def test_a_few_steps_tell_what_a_row_and_an_update_cost() -> None:
    speed = measure(TINY, SETTINGS, CPU, 4)
    assert 0 < speed.row < 1 and 0 < speed.update < 1 and speed.compiling >= 0
    larger = measure(decoder_config("plutao-1m", vocabulary=64, context=128, layers=6, width=128), SETTINGS, CPU, 4)
    assert larger.row > speed.row


def test_large_steps_make_more_tokens_a_second() -> None:
    speed = Speed(row=0.01, update=0.04, compiling=1.0)
    assert speed.tokens_per_second(4, 256) == pytest.approx(4 * 256 / 0.08)
    assert speed.tokens_per_second(64, 256) > 2 * speed.tokens_per_second(2, 256)


def test_measuring_leaves_no_trace_in_what_is_trained_afterwards() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    measure(TINY, SETTINGS, CPU, 4)
    assert torch.equal(torch.rand(4), expected)


def test_speeds_between_and_beyond_follow_those_that_were_measured() -> None:
    points = [(1.0, 2.0), (100.0, 200.0)]
    assert interpolate(points, 10, slope=0.5) == pytest.approx(20)  # on the line between
    assert interpolate(points, 10_000, slope=0.5) == pytest.approx(2000)  # ten times the last by the slope
    assert interpolate(points, 100, slope=0.5) == 200
    small, large = decoder_config("plutao-1m"), decoder_config("plutao-15m")
    known = [(large, Speed(0.4, 0.2, 9.0)), (small, Speed(0.04, 0.02, 5.0))]
    middle = estimate(decoder_config("plutao-3m"), known)
    assert 0.04 < middle.row < 0.4 and 0.02 < middle.update < 0.2
    assert estimate(decoder_config("plutao-350m"), known).row > 4 * 0.4
    assert estimate(large, known[:1]) == Speed(pytest.approx(0.4), pytest.approx(0.2), 9.0)


def test_a_speed_is_remembered_for_its_machine_and_shape(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    speed = Speed(0.1, 0.2, 0.3)
    Memory(path, SETTINGS, CPU).put(TINY, speed)
    assert Memory(path, SETTINGS, CPU).get(TINY) == speed
    assert Memory(path, SETTINGS, CPU).get(decoder_config("plutao-1m")) is None
    other = type(CPU)(CPU.kind, CPU.index, "bf16", CPU.compiled, CPU.reason)
    assert Memory(path, SETTINGS, other).get(TINY) is None, "in bf16 it is another speed"
    path.write_text("{")
    assert Memory(path, SETTINGS, CPU).get(TINY) is None, "a damaged file is as none"
    Memory(path, SETTINGS, CPU).put(TINY, speed)
    assert Memory(path, SETTINGS, CPU).get(TINY) == speed
    assert Memory(None, SETTINGS, CPU).get(TINY) is None


def test_a_shape_that_would_take_minutes_is_reckoned_from_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def quick(config: object, *rest: object) -> Speed:
        tried.append(config)
        return Speed(0.05, 0.1, 1.0)

    monkeypatch.setattr("plutao.train.probe.measure", quick)
    memory = Memory(None, SETTINGS, CPU)
    giant = of_shape(decoder_config("gpt3-175b"), SETTINGS, CPU, memory, peak=1e12)
    assert [shape.width for shape in tried] == [256] and giant.row > PATIENCE  # plutao-7m stood in
    assert of_shape(TINY, SETTINGS, CPU, memory, peak=1e12) == Speed(0.05, 0.1, 1.0)
    assert tried[-1] == TINY
