"""Networks that see, side by side: accuracy against parameters and time, on the same images, each for the same processor time.

    PLUTAO_DATA=FOLDER python benchmarks/vision.py --images mnist --minutes 1

Each model is one run of the recipe `imagens` with other settings, in a folder that is thrown away. Time is the processor's of this
process (with one thread what a quiet machine's clock would say), so that whatever else the machine does counts little. A model
sees as many images as fit into it: how many a second is tried first.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from plutao import recipe as recipes
from plutao.data.image_batches import Augmentation, ImageBatches
from plutao.project import Project
from plutao.recipe.ancestors import VisionSettings
from plutao.stages import vision
from plutao.train.objectives_encoder import classes
from plutao.train.optimizer import Optimizers
from plutao.train.parallel import World
from plutao.train.progress import Silence

MODELS: dict[str, dict[str, Any]] = {
    "cnn, 8 channels": {"kind": "cnn", "width": 8},
    "cnn, 16 channels": {"kind": "cnn", "width": 16},
    "vit, width 32, patches of 4": {"kind": "vit", "width": 32, "layers": 4},
    "vit, width 64, patches of 4": {"kind": "vit", "width": 64, "layers": 4},
}
SOURCES: dict[str, list[dict[str, str]]] = {
    "mnist": [{"name": "mnist", "corpus": "mnist-images", "labels": "mnist-labels"}],
    "cifar": [{"name": "cifar", "corpus": "cifar10-subset"}],
}
RATE = {"cnn": 0.004, "vit": 0.002}
TRIED = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", choices=sorted(SOURCES), default="mnist")
    parser.add_argument("--minutes", type=float, default=1.0, help="processor time for each model")
    parser.add_argument("--models", default="", help="only those whose name begins so, as cnn")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, changes in MODELS.items():
        if name.startswith(given.models):
            rows.append({"model": name, **measure(given.images, changes, 60 * given.minutes)})
            print(in_words(rows[-1]), file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps({"images": given.images, "minutes": given.minutes, "models": rows}, indent=2))
        return
    print(f"{'model':30} {'parameters':>10} {'images/s':>9} {'epochs':>7} {'accuracy':>9}  interval of 95%")
    print("\n".join(map(in_words, rows)))


def in_words(row: dict[str, Any]) -> str:
    share = row["accuracy"]
    return (
        f"{row['model']:30} {row['parameters']:>10,} {row['images_per_second']:>9,.0f} {row['epochs']:>7.1f} "
        f"{share['value']:>9.3f}  {share['low']:.3f}–{share['high']:.3f}"
    )


def measure(images: str, changes: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One model trained for so much processor time, and what it came to."""
    mirror = images == "cifar"
    usual = recipes.parse(recipes.shipped()["imagens"])
    assert usual.vision is not None
    rate = {"learning_rate": RATE[changes["kind"]], "matrix_learning_rate": 5 * RATE[changes["kind"]]}
    given = (
        usual.vision.model_dump()
        | changes
        | {"sources": SOURCES[images], "mirror": mirror, "evaluate": 0, "epochs": None}
    )
    given["optimizer"] |= rate
    speed = images_per_second(VisionSettings.model_validate(given))
    steps = max(1, round(seconds * speed / usual.vision.batch))
    settings = VisionSettings.model_validate(given | {"steps": steps})
    with tempfile.TemporaryDirectory() as place:
        project = Project(Path(place), usual.model_copy(update={"vision": settings}), "benchmark")
        begun = time.process_time()
        vision.run(project, World(), Silence())
        used = time.process_time() - begun
        card = json.loads((project.stage_dir("vision") / "stage.json").read_text(encoding="utf-8"))
    return {
        "parameters": card["parameters"],
        "images_per_second": speed,
        "epochs": card["epochs"],
        "seconds": used,
        "accuracy": card["accuracy"],
    }


def images_per_second(settings: VisionSettings) -> float:
    """How many images a second of processor time are learned from."""
    learned, _ = vision.load(settings, Path(), 1)
    model = vision.make(settings, learned, 1)
    changes = Augmentation(settings.shift, settings.rotation, settings.mirror)
    batches = ImageBatches(learned, settings.batch, 1, *learned.scale(), changes)
    objective, optimizer = classes(), Optimizers(model, settings.optimizer, "cpu")
    begun = 0.0
    for step in range(TRIED + 1):
        if step == 1:  # the first one warms up
            begun = time.process_time()
        objective(model, next(batches))[0].backward()
        optimizer.step(0.0)
        optimizer.zero_grad()
    return TRIED * settings.batch / (time.process_time() - begun)


if __name__ == "__main__":
    main()
