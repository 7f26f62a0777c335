"""Stage vectors from a recipe to a folder one can look into: measured, resumed, exported; and what is refused first."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import done, refused

from plutao.data.words import WordBatches
from plutao.errors import Interrupted
from plutao.files import read_json
from plutao.models.interop import word2vec
from plutao.models.skipgram import SkipGram, SkipGramConfig
from plutao.models.word_vectors import load_vectors
from plutao.recipe import ScheduleSettings, TrainSettings
from plutao.train.budget import Budget
from plutao.train.device import Device
from plutao.train.loop import fit

RECIPE = """name = "tiny-vectors"

[[data.sources]]
name = "solar"
world = "solar"
megabytes = 0.15

[vectors]
width = 24
epochs = 2
batch = 2000
least_count = 3
subwords = true
buckets = 500
similarity = "pairs.tsv"
analogies = "questions.txt"
sample_words = ["mars", "not-there"]
evaluate = 1
sample_at = [1.0]

[vectors.optimizer]
learning_rate = 0.05
"""


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    run = np.random.default_rng(0).integers(-1, 40, 3000).astype(np.int32)

    def trained(out: Path, stop_at: int | None = None) -> SkipGram:
        class Batches(WordBatches):
            def __next__(self) -> Any:
                if self.step == stop_at:
                    signal.raise_signal(signal.SIGINT)
                return super().__next__()

        counts = np.bincount(run[run >= 0], minlength=40)
        model = SkipGram(SkipGramConfig(width=8), [f"w{number}" for number in range(40)], counts)
        model.initialise(1)
        settings = TrainSettings(batch=200, schedule=ScheduleSettings(warmup=0, decay=1), evaluate=0)
        fit(model, None, Batches(run, 200, 1), settings, Budget(steps=20), out, Device("cpu", 0, "fp32", False, ""))
        return model

    whole = trained(tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(tmp_path / "parts", stop_at=8)
    resumed = trained(tmp_path / "parts")
    assert torch.equal(whole.inputs, resumed.inputs) and torch.equal(whole.outputs, resumed.outputs)
    assert whole.outputs.any()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vectors") / "project"
    root.mkdir()
    (root / "plutao.toml").write_text(RECIPE)
    (root / "pairs.tsv").write_text("mars\tvenus\t9\nmars\twater\t3\nmoon\tplanet\t6\nsun\tthe\t1\nsun\tzzz\t1\n")
    (root / "questions.txt").write_text(": planets\nmars red earth blue\nmars planet moon satellite\n")
    done("run", str(root))
    return root


def test_the_stage_learns_and_measures(project: Path) -> None:
    folder = project / "runs" / "tiny-vectors-1" / "vectors"
    card = read_json(folder / "stage.json")
    assert card["complete"] and card["steps"] > 5
    assert not (folder.parent / "tokenizer").exists() and not (project / "data" / "shards").exists()
    assert card["similarity"]["n"] + card["similarity"]["unknown"] == 5
    assert card["similarity"]["n"] >= 3 and card["similarity"]["unknown"] >= 1
    assert card["analogies"]["multiply"]["overall"]["n"] >= 1
    vectors = load_vectors(folder)
    assert len(vectors.words) == card["vocabulary"] and vectors.lowercase
    assert card["parameters"] == 24 * (2 * len(vectors.words) + 500)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    assert any("similarity" in line.get("validation", {}) for line in lines)
    [samples] = [line["samples"] for line in lines if "samples" in line]
    assert [sample["prompt"] for sample in samples] == ["mars"]


def test_what_was_learned_can_be_looked_at_and_taken_elsewhere(project: Path, tmp_path: Path) -> None:
    seen = json.loads(done("inspect", str(project), "--neighbours", "Mars", "--top", "3", "--json").out)
    assert seen["neighbours"]["known"] and len(seen["neighbours"]["found"]) == 3
    told = done("inspect", str(project), "--analogy", "mars planet moon", "--language", "pt").out
    assert "está para" in told and "3CosMul" in told
    page = tmp_path / "map.html"
    done("inspect", str(project), "--map", "--html", str(page))
    assert page.read_text().count("js-plotly-plot") or "scatter3d" in page.read_text()
    out = tmp_path / "vectors.bin"
    told = done("export", str(project), "--to", "word2vec-binary", "--out", str(out)).out
    assert "gensim" in told
    assert np.array_equal(word2vec.read(out).vectors, load_vectors(project / "runs/tiny-vectors-1/vectors").vectors)
    assert json.loads(done("inspect", "--run", str(out), "--neighbours", "moon", "--json").out)["neighbours"]["found"]


def test_what_cannot_be_done_is_refused_in_a_sentence(project: Path) -> None:
    assert "three words" in refused("inspect", str(project), "--analogy", "mars planet")
    assert "tests.txt" in refused("run", str(project), "--set", "vectors.similarity=tests.txt")
    told = refused("run", str(project), "--set", "vectors.optimizer.weight_decay=0.1")
    assert "optimizer.learning_rate can be set" in told
