"""Charts as data: every number of a training is drawn, and the table says the same."""

import json
from pathlib import Path

from plutao.evaluate.report.history import read_history
from plutao.web import charts
from plutao.web.charts import Chart, Series
from plutao.web.pages.runs import verdict
from plutao.web.words import say


def english(key: str, **values: object) -> str:
    return say("en", key, **values)


def test_every_measure_of_a_training_is_drawn_with_what_was_held_out(tmp_path: Path) -> None:
    lines = [
        {"step": step, "tokens": 10 * step, "seconds": step, "loss": 5 / step, "learning_rate": 0.1, "kl": 0.1 * step}
        for step in range(1, 6)
    ]
    lines.append({"step": 5, "tokens": 50, "seconds": 5, "validation": {"loss": 1.5, "kl": 0.4, "odd_one": 3.0}})
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 6, "los')  # the last line is being written
    drawn = {one.id: one for one in charts.of_stage(read_history(file), "rl", "run · rl · step 5", english)}
    assert set(drawn) == {"loss", "kl", "odd_one", "learning_rate"}
    assert drawn["kl"].title == "KL from the SFT model" and drawn["kl"].shows == "run · rl · step 5"
    assert [one.kind for one in drawn["kl"].series] == ["line", "dots"]
    assert drawn["kl"].series[1].y == [0.4]
    assert charts.in_detail(drawn["odd_one"], english) and not charts.in_detail(drawn["kl"], english)


def test_the_table_of_a_chart_has_every_point_once() -> None:
    chart = Chart("a", "A", "", "x", "y", [Series("one", [1, 2], [5, 6]), Series("two", [2, 3], [7, 8])], "shows")
    assert chart.table() == (["x", "one", "two"], [[1, 5, None], [2, 6, 7], [3, None, 8]])


def test_numbers_are_written_as_the_language_does() -> None:
    english_form, portuguese_form = charts.short("en"), charts.short("pt")
    assert english_form(1234.0) == "1,234" and portuguese_form(1234.0) == "1.234"
    assert portuguese_form(0.5) == "0,500" and portuguese_form(2_500_000) == "2,5 M"


def test_a_difference_is_sure_only_where_intervals_do_not_overlap() -> None:
    assert verdict([[0.5, 0.4, 0.6, "%"], [0.9, 0.8, 0.95, "%"]]) == "better"
    assert verdict([[0.5, 0.4, 0.6, "3"], [0.9, 0.8, 0.95, "3"]], lower_is_better=True) == "worse"
    assert verdict([[0.5, 0.4, 0.6, "%"], [0.55, 0.5, 0.7, "%"]]) == "unsure"
    assert verdict([[0.5, None, None, "2"], [0.9, None, None, "2"]]) == "unknown"
    assert verdict([[0.5, 0.4, 0.6, "%"], None]) == "unknown"
