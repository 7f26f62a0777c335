"""The report of a run with all stages says how the assistant was made, with the keys that scripts rely on."""

import json
import re
import shutil
from pathlib import Path

import fake_assistant
import fake_run
import pytest

from plutao.evaluate.report import build
from plutao.evaluate.report.looks import half_of, sentence_in
from plutao.evaluate.report.wins_view import ladder_of
from plutao.files import read_json, write_json


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    folder: Path = fake_run.write_fake_run(root / "runs" / "sistema-solar-1", steps=400)
    fake_assistant.write_fake_assistant(folder)
    fake_assistant.add_model(folder, root)
    build(folder)
    return folder


@pytest.fixture
def fresh(run_dir: Path, tmp_path: Path) -> Path:
    """A run of one's own, to spoil; away from its project, and so without texts to look at."""
    return Path(shutil.copytree(run_dir, tmp_path / "runs" / "run"))


def is_share(found: object) -> bool:
    return isinstance(found, dict) and {"value", "low", "high", "n"} <= found.keys()


def test_the_json_has_the_keys_that_scripts_rely_on(run_dir: Path) -> None:
    report = read_json(run_dir / "report.json")
    reward, rl = report["stages"]["reward"], report["stages"]["rl"]
    assert is_share(reward["pair_accuracy"]) and set(reward["baselines"]) == {"longer", "random"}
    assert (rl["reward_before"], rl["reward_after"], rl["kl"]) == (-0.41, 0.93, 5.4)
    for stage in ("base", "sft", "rl"):
        exam = report["exam"][stage]
        assert is_share(exam["overall"]) and all(map(is_share, exam["by_task"].values()))
        assert set(exam["by_language"]) == {"pt", "en"}
        assert is_share(report["ratings"][stage])
    assert is_share(report["win_rates"]["sft_over_base"]) and is_share(report["win_rates"]["rl_over_sft"])
    assert report["comparisons"]["simulated"] is True


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            [
                "In blind comparisons on 300 held-out prompts, SFT's answers are preferred to the base model's in ",
                "RL's answers are preferred to SFT's in ",
                "The labellers are simulated",
                "no person judged",
                "Good enough for RL",
                "“I don't know”, where not due",
                "the target of 6 was held",
                "Bradley–Terry with ties",
                "with the calculator",
                "They make 5789.",
                "A first look inside",
            ],
        ),
        (
            "pt",
            [
                "as respostas do SFT são preferidas às do modelo base em ",
                "Os rotuladores são simulados",
                "nenhuma pessoa julgou",
                "“não sei”, onde não cabe",
                "com a calculadora",
                "Um primeiro olhar por dentro",
            ],
        ),
    ],
)
def test_page_and_markdown_say_how_it_was_made(run_dir: Path, language: str, said: list[str]) -> None:
    page = build(run_dir, language).read_text(encoding="utf-8").replace("&#39;", "'")
    markdown = (run_dir / "report.md").read_text(encoding="utf-8").replace("\\", "")
    for words in said:
        assert words in page, words
        assert words in markdown, words


def test_every_figure_has_its_table_and_no_two_share_a_name(run_dir: Path) -> None:
    text = build(run_dir).read_text(encoding="utf-8")
    pictures = re.findall(r'data-figure="([\w-]+)-figure"', text)
    expected = {"reward-accuracy", "reward-calibration", "rl-reward", "rl-kl", "rl-entropy", "rl-length", "rl-clip_fraction",
                "rl-best-of-n", "win-rates", "ratings", "right", "exams-by_task", "diversity-likeness", "arithmetic-digits",
                "next", "softmax"}  # fmt: skip
    assert expected <= set(pictures) and len(pictures) == len(set(pictures))
    for picture in pictures:
        assert f'id="{picture}-table"' in text
        assert json.loads(text.split(f'id="{picture}-figure">')[1].split("</script>")[0])["data"]
    ids = re.findall(r'<section id="([\w-]+)"', text)
    assert len(ids) == len(set(ids))
    assert all(f'id="{anchor}"' in text for anchor in re.findall(r'href="#([\w-]+)"', text))


def test_stages_come_in_the_order_of_the_circle(run_dir: Path) -> None:
    text = build(run_dir).read_text(encoding="utf-8")
    ids = re.findall(r'<section id="([\w-]+)"', text)
    order = ["data", "tokenizer", "learning-base", "exam-base", "conversations", "learning-sft", "reward", "rl", "wins",
             "exams", "diversity", "arithmetic", "answers", "look", "cost", "repeat"]  # fmt: skip
    assert [anchor for anchor in ids if anchor in order] == order
    assert "exam-sft" not in ids, "two assistants' exams are shown side by side"


def test_what_models_answer_stays_text(fresh: Path) -> None:
    hostile = '</script><script>alert("x")</script>'
    rows = [json.loads(line) for line in (fresh / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[0]["answers"]["rl"] = rows[0]["messages"][0]["content"] = hostile
    (fresh / "answers.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    rl = read_json(fresh / "rl" / "stage.json")
    rl["diagnosis"] = hostile
    write_json(fresh / "rl" / "stage.json", rl)
    text = build(fresh).read_text(encoding="utf-8")
    assert '<script>alert("x")' not in text and "&lt;script&gt;alert" in text
    outside_code = [
        line for line in (fresh / "report.md").read_text(encoding="utf-8").splitlines() if line[:4] != "    "
    ]
    assert not any("<script" in line for line in outside_code)


def test_a_run_that_stopped_after_sft_has_a_report_of_what_there_is(fresh: Path) -> None:
    for name in ("reward", "rl"):
        shutil.rmtree(fresh / name)
    for name in ("comparisons.json", "answers.jsonl"):
        (fresh / name).unlink()
    text = build(fresh).read_text(encoding="utf-8")
    ids = re.findall(r'<section id="([\w-]+)"', text)
    assert "exam-sft" in ids and not {"reward", "rl", "wins", "answers", "look"} & set(ids)
    assert "“I don&#39;t know”, where due" in text


def test_reward_models_without_a_second_labeller_and_exams_of_the_contest_are_told(fresh: Path) -> None:
    reward = read_json(fresh / "reward" / "stage.json")
    reward["labellers"] = {"agreement": None, "of_agreement": None}
    write_json(fresh / "reward" / "stage.json", reward)
    rl = read_json(fresh / "rl" / "stage.json")
    found = read_json(fresh / "comparisons.json")
    found["exam"] = {"rl": rl.pop("exam")}
    write_json(fresh / "rl" / "stage.json", rl)
    write_json(fresh / "comparisons.json", found)
    text = build(fresh).read_text(encoding="utf-8")
    assert "labellers with each other" not in text
    assert list(read_json(fresh / "report.json")["exam"]) == ["base", "sft", "rl"]


def test_a_win_rate_is_turned_round_where_the_other_was_measured() -> None:
    rates = {
        "sft_over_base": {"value": 0.9, "low": 0.86, "high": 0.93},
        "rl_over_sft": {"value": 0.6, "low": 0.55, "high": 0.65},
    }
    ladder = ladder_of(rates)
    assert list(ladder) == ["base", "sft", "rl"]
    assert ladder["base"] == pytest.approx({"value": 0.1, "low": 0.07, "high": 0.14})
    assert ladder_of({"rl_over_base": rates["rl_over_sft"]}) == {}


def test_the_sentence_that_is_looked_at_is_whole_and_short() -> None:
    assert sentence_in("Curto.\nPlutão é um planeta anão do Cinturão de Kuiper. E mais.") == (
        "Plutão é um planeta anão do Cinturão de Kuiper."
    )
    assert sentence_in("A day lasts 153.3 hours on that small world.") == "A day lasts 153.3 hours on that small world."
    assert sentence_in("no end in sight " * 20) is None
    assert half_of("Plutão é um planeta anão.") == "Plutão é"


def test_the_page_stays_light(run_dir: Path) -> None:
    text = build(run_dir).read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(text) - max(map(len, scripts)) < 600_000


@pytest.mark.browser
def test_a_browser_draws_every_figure_and_fetches_nothing(run_dir: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    build(run_dir, "pt")
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
        page.wait_for_selector("#softmax svg.main-svg")
        drawn = page.evaluate(
            "[...document.querySelectorAll('.plot')].map(plot => plot.querySelectorAll('svg.main-svg').length)"
        )
        page.click("#reward details.curves > summary")
        page.wait_for_timeout(300)
        width = page.evaluate(
            "document.querySelector('#reward details.curves .main-svg').getBoundingClientRect().width"
        )
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        browser.close()
    assert all(drawn) and len(drawn) >= 20
    assert wrong == []
    assert wide <= 0, "a phone does not scroll sideways"
    assert 250 < width <= 350, "what was folded away has its place's width"
