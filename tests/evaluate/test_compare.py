"""Two models on one text: the better one is named only where it is more than chance; what does not compare is said."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plutao.errors import UserError
from plutao.evaluate.compare import compare, compare_exams, compare_texts
from plutao.evaluate.exam import Answered, ExamResult
from plutao.evaluate.measure import Measured, measure, name_of, text_of_files, worlds_of
from plutao.evaluate.perplexity import BitsPerByte
from plutao.files import write_json, write_text
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.models.interop.huggingface import save_model
from plutao.text.tokenizer import train
from plutao.worlds import world

TEXT = "Plutão é um planeta anão do Cinturão de Kuiper.\nA dwarf planet orbits the Sun.\n" * 20


def measured_text(bits: Any, sha256: str = "same", reason: str | None = None) -> BitsPerByte:
    units = np.asarray(bits, float)
    sizes = np.full(len(units), 100.0)
    mean = float(units.sum() / sizes.sum())
    value = None if reason else mean
    return BitsPerByte(
        value, value, value, 100 * len(units), 50, 4.0, len(units),
        reason=reason, text_sha256=sha256, unit_bits=units, unit_bytes=sizes,
    )  # fmt: skip


def random_bits(seed: int, shift: float = 0.0) -> Any:
    hardness = np.random.default_rng(0).normal(180.0, 30.0, 80)
    return hardness + shift + np.random.default_rng(seed).normal(0, 2.0, 80)


def test_the_better_model_is_named_with_by_how_much() -> None:
    difference, verdict = compare_texts("A", measured_text(random_bits(1)), "B", measured_text(random_bits(2, -3.1)))
    assert difference is not None and difference.value == pytest.approx(-0.031, abs=0.006)
    assert re.fullmatch(r"B is better: 0\.0[23]\d bits per byte fewer \(0\.02\d–0\.03\d\)", verdict)
    _, other_way = compare_texts("B", measured_text(random_bits(2, -3.1)), "A", measured_text(random_bits(1)))
    assert other_way == verdict, "the order of the names changes nothing"


def test_what_may_be_chance_is_not_called_better() -> None:
    _, verdict = compare_texts("A", measured_text(random_bits(1)), "B", measured_text(random_bits(2)))
    assert verdict.startswith("can't tell: B differs by")


def test_what_does_not_compare_is_said_with_its_reason() -> None:
    whole, lossy = measured_text(random_bits(1)), measured_text(random_bits(2), reason="the tokenizer loses accents")
    assert compare_texts("A", whole, "B", lossy) == (None, "not comparable: for B, the tokenizer loses accents")
    difference, verdict = compare_texts("A", whole, "B", measured_text(random_bits(2), sha256="other"))
    assert difference is None and "different texts" in verdict
    assert "too short" in compare_texts("A", measured_text([5.0]), "B", measured_text([6.0]))[1]


def answers(right: list[bool]) -> ExamResult:
    items = world("solar").exam(1)
    return ExamResult(tuple(Answered(item, "", is_right) for item, is_right in zip(items, right, strict=False)))


def test_exams_are_compared_question_by_question() -> None:
    weak, strong = answers([i % 4 == 0 for i in range(100)]), answers([i % 2 == 0 for i in range(100)])
    difference, verdict = compare_exams("A", weak, "B", strong)
    assert difference is not None and difference.value == pytest.approx(0.25)
    assert verdict.startswith("B is better: 25.0 points more")
    assert compare_exams("A", weak, "B", weak)[1].startswith("can't tell")
    assert "different questions" in compare_exams("A", weak, "B", answers([True] * 50))[1]


def test_models_of_other_data_come_with_a_warning() -> None:
    text = measured_text(random_bits(1))
    models = [Measured(name, text, None, 10, None, None, data) for name, data in (("a", "x"), ("b", "x"), ("c", "y"))]
    comparison = compare(models)
    assert [pair.second for pair in comparison.pairs] == ["b", "c"]
    assert len(comparison.notes) == 1 and comparison.notes[0].startswith("c learned from other documents")
    assert json.loads(json.dumps(comparison.as_json()))["models"][0]["bits_per_byte"] == pytest.approx(1.8, abs=0.2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two untrained models of one run's shape, as stages rest on disk, and a text."""
    root = tmp_path_factory.mktemp("project")
    tokenizer = train("bpe", [TEXT], 290)
    shape = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "hidden": 64}
    for number in (1, 2):
        model = Decoder(DecoderConfig(vocabulary=tokenizer.vocabulary_size, context=64, **shape))
        model.initialise(number)
        out = root / "runs" / f"toy-{number}" / "base"
        out.mkdir(parents=True)
        save_model(model, out)
        tokenizer.save(out)
        write_json(out / "stage.json", {"complete": True, "tokens": 1000, "seconds": 2.5})
        write_json(out.parent / "run.json", {"recipe": "r", "data": "d", "created": f"2026-01-0{number}T00:00:00Z"})
        write_text(out.parent / "recipe.toml", 'name = "toy"\n')
    write_text(root / "some.txt", TEXT)
    return [root / "runs" / f"toy-{number}" / "base" for number in (1, 2)]


def test_models_on_disk_are_measured_on_files(folders: list[Path]) -> None:
    texts = text_of_files(["some.txt"], folders[0].parents[2])
    measured = [measure(folder, texts) for folder in folders]
    assert [model.name for model in measured] == ["toy-1/base", "toy-2/base"]
    assert measured[0].text.bytes == len(TEXT.encode())
    assert (measured[0].tokens, measured[0].seconds, measured[0].data) == (1000, 2.5, "d")
    assert measured[0].text.text_sha256 == measured[1].text.text_sha256
    assert compare(measured).pairs[0].verdict


def test_a_run_without_a_world_has_no_exam(folders: list[Path]) -> None:
    with pytest.raises(UserError, match="no embedded world"):
        worlds_of(folders[0])
    assert name_of(Path("/models/gpt2")) == "gpt2"


def test_files_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.bin").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=r"picture\.bin"):
        text_of_files(["picture.bin"], tmp_path)
    with pytest.raises(UserError, match="not there"):
        text_of_files(["none.txt"], tmp_path)


def test_eval_prints_the_contracts_json(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = pytest.importorskip("plutao.cli.evaluate").evaluate
    root = folders[0].parents[2]
    evaluate(root, "toy-1", None, [str(root / "some.txt")], [], True)
    data = json.loads(capsys.readouterr().out)
    assert set(data) >= {"bits_per_byte", "low", "high", "bytes"} and data["bytes"] == len(TEXT.encode())
    evaluate(root, "toy-1:base", None, [str(root / "some.txt")], [], False)
    assert "toy-1/base: " in capsys.readouterr().out
    with pytest.raises(UserError, match="--text FILES"):
        evaluate(root, "toy-1", None, [], [], False)
    with pytest.raises(UserError, match="The tasks are: exam"):
        evaluate(root, "toy-1", None, [], ["mmlu"], False)


def test_compare_prints_the_models_and_the_verdict(folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    command = pytest.importorskip("plutao.cli.compare").compare
    root = folders[0].parents[2]
    command(["toy-1", "toy-2:base"], root, [str(root / "some.txt")])
    out = capsys.readouterr().out
    assert "toy-1/base" in out and "bits per byte" in out
    assert "can't tell" in out or "is better" in out
    command(["toy-1", "toy-2"], root, [str(root / "some.txt")], as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert len(data["models"]) == 2 and data["pairs"][0]["verdict"]
    with pytest.raises(UserError, match="two models or more"):
        command(["toy-1"], root, [])
