"""lm-evaluation-harness measures a model over the API as it measures the same files with transformers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from api_service import Service

lm_eval = pytest.importorskip(
    "lm_eval", reason="lm-evaluation-harness is not installed (pip install 'plutao[harness]')"
)

QUESTIONS = [
    ("O maior planeta é", ["Júpiter.", "Marte.", "Plutão."], 0),
    ("Mars is the", ["red planet.", "blue planet.", "Sun."], 0),
    ("Which planet is red?", [" Mars", " Júpiter", " Olá"], 0),
    ("Olá. Eu falo do", ["céu.", "mar.", "planet."], 0),
    ("12+30 dá", [" 75.", " 42.", " 12."], 1),
    ("25+50 dá", [" 75.", " 42.", " zero."], 0),
    ("Não se divide por", [" céu.", " zero.", " red."], 1),
    ("Qual é o maior", [" planeta?", " red?", " zero?"], 0),
]


def task(folder: Path) -> dict[str, Any]:
    """A multiple-choice task of our own, read from a file of this machine."""
    rows = [{"question": q, "choices": choices, "right": right} for q, choices, right in QUESTIONS]
    path = folder / "questions.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "task": "planets",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "right",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["remote", "huggingface"])
def test_the_same_score_as_with_transformers(
    engine_service: Service, talker_folder: Path, tmp_path: Path, tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", engine_service.key)
    over_http = {
        "model": "current",
        "base_url": f"{engine_service.url}/v1/completions",
        "tokenizer_backend": tokenizer,
        "num_concurrent": 2,
    }
    if tokenizer == "remote":
        over_http["auth_token"] = engine_service.key
    else:
        over_http["tokenizer"] = str(talker_folder)
    here = {"pretrained": str(talker_folder), "dtype": "float32", "device": "cpu"}
    ours, theirs = (
        measure(model, arguments, tmp_path) for model, arguments in (("local-completions", over_http), ("hf", here))
    )
    assert ours["scores"] == theirs["scores"]
    assert ours["scores"]["acc,none"] > 0.5, "the model learned some of the answers by heart"
    for one, other in zip(ours["logprobs"], theirs["logprobs"], strict=True):
        assert math.isclose(one[0], other[0], abs_tol=1e-3) and one[1] == other[1]


def measure(model: str, arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    result = lm_eval.simple_evaluate(
        model=model, model_args=arguments, tasks=[task(folder)], log_samples=True, bootstrap_iters=0, batch_size=1
    )
    scores = {name: value for name, value in result["results"]["planets"].items() if name.startswith("acc")}
    samples = sorted(result["samples"]["planets"], key=lambda sample: sample["doc_id"])
    told = [(float(pair[0]), bool(pair[1])) for sample in samples for pair in (r[0] for r in sample["resps"])]
    return {"scores": {k: v for k, v in scores.items() if "stderr" not in k}, "logprobs": told}
