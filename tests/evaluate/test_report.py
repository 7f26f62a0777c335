"""The report says what the run folder holds, as a page, as Markdown and as the JSON that scripts rely on."""

import html.parser
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import fake_run
import pytest

from plutao.errors import UserError
from plutao.evaluate.report import build
from plutao.evaluate.report.figures import in_dark, shares, training_loss
from plutao.evaluate.report.history import read_history, smoothed, thin
from plutao.evaluate.report.numbers import Numbers
from plutao.evaluate.report.words import LANGUAGES, words
from plutao.files import read_json, write_json


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = fake_run.write_fake_run(tmp_path_factory.mktemp("runs") / "sistema-solar-1", steps=400)
    build(folder)
    return folder


@pytest.fixture
def fresh(run_dir: Path, tmp_path: Path) -> Path:
    """A run of one's own, to spoil."""
    return Path(shutil.copytree(run_dir, tmp_path / "run"))


class Page(html.parser.HTMLParser):
    """What a browser would run, load and show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[str, str]] = []  # (type, content)
        self.loads: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append((given.get("type") or "text/javascript", ""))
        self.loads += [given[name] or "" for name in ("src", "href") if name in given]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif not self._inside:
            self.text += data


def test_the_json_has_the_keys_that_scripts_rely_on(run_dir: Path) -> None:
    report = read_json(run_dir / "report.json")
    base = report["stages"]["base"]
    assert report["recipe"]["name"] == "sistema-solar"
    assert report["machine"]["device"] == "cpu" and report["machine"]["versions"]["torch"]
    assert report["seconds"] == pytest.approx(4.1 + 214.6)
    assert (base["parameters"], base["tokens"]) == (3_214_592, 400 * 4096)
    assert base["tokens_per_second"] == 27_310.4 and base["seconds"] == 214.6
    assert isinstance(base["validation"]["bits_per_byte"], float)
    exam = report["exam"]["base"]
    assert set(exam["overall"]) >= {"value", "low", "high", "n"}
    assert set(exam["by_task"]) >= {"capitals", "moons"} and set(exam["by_language"]) == {"pt", "en"}


def test_it_says_how_to_make_the_same_again(run_dir: Path) -> None:
    text = Page((run_dir / "report.html").read_text(encoding="utf-8")).text
    assert "cp runs/sistema-solar-1/recipe.toml again/plutao.toml" in text and "plutao run again" in text
    assert "the files that notes/*.jsonl names" in text, "a recipe is not enough where it names files"
    assert "9f2c51ab03d4e677" in text and "1c0de88a52f3b914" in text


def test_the_data_card_is_figure_72(run_dir: Path) -> None:
    solar = read_json(run_dir / "report.json")["data"]["sources"]["solar"]
    assert (solar["tokens"], solar["epochs"]) == (1_803_244, 3.12)
    assert solar["weight"] == pytest.approx(0.87), "weights are shares of the mix"


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_page_says_the_figures_in_words(fresh: Path, language: str) -> None:
    text = Page(build(fresh, language).read_text(encoding="utf-8")).text.replace("\u00a0", " ")
    expected = {
        "en": [
            "Report of run",
            "3.2 million parameters",
            "0.448 bits per byte (0.433 to 0.463)",
            "55%",
            "GPT-2's",
            "Apache-2.0",
        ],
        "pt": [
            "Relatório de run",
            "3,2 milhões de parâmetros",
            "0,448 bits por byte (0,433 a 0,463)",
            "55%",
            "Camberra",
        ],
    }
    for words_of_it in expected[language]:
        assert words_of_it in text
    assert "before training" in text or "antes do treinamento" in text
    assert "step skipped: the gradient was not finite" in text


def test_the_page_is_one_file_that_asks_for_nothing(run_dir: Path) -> None:
    text = (run_dir / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(address.startswith("#") for address in page.loads), page.loads
    assert "default-src 'none'" in text and "unsafe-eval" not in text
    runs = [content for kind, content in page.scripts if kind == "text/javascript"]
    assert sum("Plotly" in script and len(script) > 1e6 for script in runs) == 1, "plotly's script comes along once"
    assert len(text) - max(map(len, runs)) < 400_000, "the rest is small"


def test_every_figure_can_be_read_as_a_table(run_dir: Path) -> None:
    text = (run_dir / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r'data-figure="([\w-]+)-figure"', text)
    assert len(pictures) >= 6
    for picture in pictures:
        assert f'id="{picture}-table"' in text and f'id="{picture}-figure"' in text
        assert json.loads(text.split(f'id="{picture}-figure">')[1].split("</script>")[0])["data"]


HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)> {{ 7*7 }} | `x` [a](javascript:alert(1))'


def test_what_models_and_corpora_say_stays_text(fresh: Path) -> None:
    stage = read_json(fresh / "base/stage.json")
    stage["exam"]["by_task"][HOSTILE] = stage["exam"]["overall"]
    stage["exam"]["wrong"] = [
        {"task": HOSTILE, "language": "en", "prompt": HOSTILE, "expected": HOSTILE, "answered": HOSTILE}
    ]
    write_json(fresh / "base/stage.json", stage)
    card = read_json(fresh / "card.json")
    card["sources"]["solar"]["licenses"] = {HOSTILE: 1.0}
    write_json(fresh / "card.json", card)
    with (fresh / "base/metrics.jsonl").open("a", encoding="utf-8") as file:
        sample = {"prompt": HOSTILE, "text": HOSTILE + "\r\n# a heading?\u2028<b>"}
        file.write(
            json.dumps({"step": 1, "tokens": 4096, "seconds": 1.0, "samples": [sample]}, ensure_ascii=False) + "\n"
        )
        file.write(json.dumps({"step": 2, "event": HOSTILE}) + "\n")
    page = Page(build(fresh).read_text(encoding="utf-8"))
    assert HOSTILE in page.text, "shown as it is"
    assert all('alert("x")' not in content for kind, content in page.scripts if kind == "text/javascript")
    assert len([kind for kind, _ in page.scripts if kind == "text/javascript"]) == 2, "ours alone"
    markdown = (fresh / "report.md").read_text(encoding="utf-8")
    outside_code = [line for line in markdown.splitlines() if not line.startswith("    ")]
    assert not any(re.search(r"<script|<img|(?<!\\)\]\(javascript", line) for line in outside_code)
    assert not any("a heading?" in line for line in outside_code)


def test_the_markdown_has_whole_tables(run_dir: Path) -> None:
    lines = (run_dir / "report.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) > 40
    for before, row in pairwise(rows):
        if row.startswith("| ---"):
            assert before.count("|") == row.count("|")
    assert "# Report of sistema-solar-1" in lines
    for before, line in pairwise(lines):
        starts_or_ends_table = line.startswith("|") != before.startswith("|")
        if line.startswith("#") or starts_or_ends_table:
            assert not before or not line, f"no empty line between {before!r} and {line!r}"
        assert not re.search(r"[^#\s]#{2,} ", line), "a heading has a line of its own"


def test_a_run_with_only_a_tokenizer_has_a_report_too(fresh: Path) -> None:
    shutil.rmtree(fresh / "base")
    (fresh / "card.json").unlink()
    text = build(fresh).read_text(encoding="utf-8")
    assert "4,096 tokens" in text and "Plotly" not in text
    assert len(text) < 100_000


def test_a_text_that_compares_with_nothing_is_said(fresh: Path) -> None:
    stage = read_json(fresh / "base/stage.json")
    stage["validation"] |= {
        "bits_per_byte": None,
        "low": None,
        "high": None,
        "not_comparable": "the tokenizer loses text",
    }
    write_json(fresh / "base/stage.json", stage)
    assert "not given: the tokenizer loses text" in Page(build(fresh).read_text(encoding="utf-8")).text


def test_what_is_missing_or_damaged_is_named(fresh: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished stage"):
        build(tmp_path)
    with pytest.raises(UserError, match="report speaks en and pt"):
        build(fresh, "fr")
    (fresh / "recipe.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(UserError, match=r"recipe\.toml is damaged"):
        build(fresh)
    (fresh / "recipe.toml").unlink()
    with pytest.raises(UserError, match="can't be explained"):
        build(fresh)


def test_both_languages_say_the_same_things() -> None:
    keys = {language: set(dictionary) for language, dictionary in LANGUAGES.items()}
    assert keys["en"] == keys["pt"]
    for key in keys["en"]:
        fields = [set(re.findall(r"\{(\w+)\}", dictionary[key])) for dictionary in LANGUAGES.values()]
        assert fields[0] == fields[1], key


def test_a_history_cut_by_a_crash_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    lines = [{"step": step, "tokens": step, "seconds": 1.0, "loss": float(step)} for step in (1, 2, 3)]
    again = {"step": 2, "tokens": 2, "seconds": 1.0, "loss": 9.0}
    text = "".join(json.dumps(line) + "\n" for line in [*lines, again]) + '{"step": 4, "tok'
    (tmp_path / "metrics.jsonl").write_text(text)
    history = read_history(tmp_path / "metrics.jsonl")
    assert [(point["step"], point["loss"]) for point in history.training] == [(1, 1.0), (2, 9.0), (3, 3.0)]
    assert read_history(tmp_path / "none.jsonl").training == []


def test_thinning_averages_and_keeps_the_end() -> None:
    points: list[dict[str, Any]] = [
        {"step": step, "tokens": 10 * step, "seconds": 1.0, "loss": step % 2 * 2.0} for step in range(1, 1001)
    ]
    few = thin(points, 10)
    assert len(few) == 10 and few[-1]["step"] == 1000
    assert all(point["loss"] == pytest.approx(1.0) for point in few)
    assert thin(points[:5], 10) == points[:5]


def test_smoothing_does_not_lag() -> None:
    line = [float(10 - step) for step in range(10)]
    assert smoothed(line) == pytest.approx(line)


def test_figures_have_the_houses_colours_by_day_and_by_night(run_dir: Path) -> None:
    history = read_history(run_dir / "base/metrics.jsonl")
    exam = read_json(run_dir / "report.json")["exam"]["base"]
    for figure in (training_loss(history, "pt"), shares(exam["by_task"])):
        used = set(re.findall(r"#[0-9A-Fa-f]{6}", figure.to_json()))
        assert used <= set(in_dark), "a colour without its night"
    assert figure.data[0].x[-1] == max(share["value"] for share in exam["by_task"].values()), "the best is on top"


@pytest.mark.parametrize(
    ("said", "english", "portuguese"),
    [
        (lambda form: form.number(1234.5, 1), "1,234.5", "1.234,5"),
        (lambda form: form.big(3_400_000, of=True), "3.4 million", "3,4 milhões de"),
        (lambda form: form.big(1_200_000), "1.2 million", "1,2 milhão"),
        (lambda form: form.significant(1.21e14), "1.21 × 10¹⁴", "1,21 × 10¹⁴"),
        (lambda form: form.significant(0.00123), "0.00123", "0,00123"),
        (lambda form: form.size(8_012_331), "8.0 MB", "8,0 MB"),
        (lambda form: form.time(214.6), "3 min 35 s", "3 min 35 s"),
        (lambda form: form.time(7500), "2 h 5 min", "2 h 5 min"),
        (lambda form: form.percent(0.553), "55%", "55%"),
        (lambda form: form.percent(0.0035), "0.4%", "0,4%"),
    ],
)
def test_numbers_are_written_as_people_read_them(said: Any, english: str, portuguese: str) -> None:
    assert said(Numbers(words("en"))).replace("\u00a0", " ") == english
    assert said(Numbers(words("pt"))).replace("\u00a0", " ") == portuguese


@pytest.mark.browser
def test_a_browser_draws_every_figure_and_fetches_nothing(run_dir: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as drive:
        browser = drive.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        page.goto((run_dir / "report.html").as_uri())
        page.wait_for_selector(".plot svg.main-svg")
        drawn = page.evaluate(
            "[...document.querySelectorAll('.plot')].map(plot => plot.querySelectorAll('svg.main-svg').length)"
        )
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        sun = page.evaluate("document.querySelector('.plot .lines path:last-child, .plot .js-line').style.stroke")
        browser.close()
    assert all(drawn) and len(drawn) >= 6
    assert wrong == []
    assert wide <= 0, "a phone does not scroll sideways"
    assert sun
