"""One training of Joey NMT for a given wall time, and its translations; run by the Python that has it (`translation.py` does).

    python joey.py CONFIG.yaml SECONDS SOURCES OUT

Joey NMT counts epochs and updates, not minutes: the clock is looked at after each update, and the model of that moment counts.
"""

import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from joeynmt.config import load_config
from joeynmt.helpers import make_model_dir
from joeynmt.prediction import translate
from joeynmt.training import TrainManager, train


def train_for(cfg: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Trains until the time is over; what came of it."""
    make_model_dir(Path(cfg["model_dir"]), overwrite=True)
    step, started, done = TrainManager._train_step, 0.0, {"steps": 0, "tokens": 0, "parameters": 0}

    def timed(self: Any, batch: Any) -> Any:
        nonlocal started
        started = started or time.perf_counter()  # reading the text before the first step is not counted
        result = step(self, batch)
        done["steps"] += 1
        done["tokens"] += int(batch.ntokens)
        if time.perf_counter() - started > seconds:
            done["parameters"] = sum(parameter.numel() for parameter in self.model.parameters())
            self.stats.is_max_update = True
        return result

    TrainManager._train_step = timed
    train(0, 1, cfg, skip_test=True)
    return {**done, "seconds": round(time.perf_counter() - started, 1), "threads": torch.get_num_threads()}


def main() -> None:
    config, seconds, sources, out = sys.argv[1:]
    trained = train_for(load_config(Path(config)), float(seconds))
    cfg = load_config(Path(config))
    cfg["testing"]["load_model"] = str(
        max(Path(cfg["model_dir"]).glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    )
    # It prints translations; its own writing of a file asks for a setting that it has not.
    with (
        Path(sources).open(encoding="utf-8") as sys.stdin,
        Path(out).open("w", encoding="utf-8") as file,
        redirect_stdout(file),
    ):
        translate(cfg)
    Path(out).with_suffix(".json").write_text(json.dumps(trained))


if __name__ == "__main__":
    main()
