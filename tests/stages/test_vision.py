"""Stage vision from a recipe to a folder that sees: both kinds, held-out images, resuming, and what people can look at."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import done, refused

from plutao.data.images import read_images
from plutao.files import read_json
from plutao.models.interop.vision import load_classes, load_vision
from plutao.models.vision import VisionTransformer

Image = pytest.importorskip("PIL.Image")
RECIPE = """name = "tiny-vision"

[vision]
kind = "KIND"
steps = STEPS
batch = 16
width = 16
layers = 2
patch = 4
rotation = 5
compile = "off"
evaluate = 1

[[vision.sources]]
name = "shapes"
path = "shapes"

[vision.optimizer]
learning_rate = 0.01
"""


def shapes(folder: Path, count: int = 30) -> None:
    """Lines that lie and lines that stand, grey, at chance."""
    random = np.random.default_rng(1)
    for name in ("deitada", "em-pe"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            table = random.integers(0, 60, (12, 12)).astype(np.uint8)
            place = random.integers(3, 9)
            if name == "deitada":
                table[place, 1:11] = 250
            else:
                table[1:11, place] = 250
            Image.fromarray(table).save(folder / name / f"{number}.png")


def make(root: Path, kind: str, steps: int = 60) -> Path:
    shapes(root / "shapes")
    (root / "plutao.toml").write_text(RECIPE.replace("KIND", kind).replace("STEPS", str(steps)), encoding="utf-8")
    return root


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_lines_that_lie_are_told_from_lines_that_stand(kind: str, tmp_path: Path) -> None:
    root = make(tmp_path, kind, 60 if kind == "cnn" else 150)
    done("run", root)
    out = root / "runs" / "tiny-vision-1" / "vision"
    card = read_json(out / "stage.json")
    assert card["accuracy"]["n"] == card["held_out"] == 6
    assert card["accuracy"]["value"] >= 5 / 6
    assert card["images"] == 54 and sum(map(sum, card["confusion"])) == 6
    assert card["parameters"] == load_vision(out).count_parameters()
    assert isinstance(load_vision(out), VisionTransformer) == (kind == "vit")
    assert load_classes(out) == ["deitada", "em-pe"]
    page = tmp_path / "page.html"
    seen = json.loads(done("inspect", root, "--image", 0, "--json", "--html", page).out)
    assert seen["image"]["right"] in ("deitada", "em-pe")
    assert page.stat().st_size > 10_000
    of_file = json.loads(done("inspect", root, "--image", root / "shapes" / "em-pe" / "3.png", "--json").out)
    assert of_file["image"]["right"] is None
    assert "There are 6 held-out images" in refused("inspect", root, "--image", 99)
    assert "done already" in (again := done("run", root)).err + again.out


def test_a_source_can_be_kept_for_measuring(tmp_path: Path) -> None:
    root = make(tmp_path, "cnn", 2)
    shapes(root / "others", 4)
    with (root / "plutao.toml").open("a") as file:
        file.write('\n[[vision.sources]]\nname = "others"\npath = "others"\nheld_out = true\n')
    done("run", root)
    card = read_json(root / "runs" / "tiny-vision-1" / "vision" / "stage.json")
    assert (card["images"], card["held_out"]) == (60, 8)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('path = "shapes"', 'path = "nix"', "nix is not there"),
        ("patch = 4", "patch = 5", "patches of 5 × 5"),
        ("[[vision.sources]]", "[[vision.sources]]\nheld_out = true", "held out"),
    ],
)
def test_what_can_not_be_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    root = make(tmp_path, "vit", 1)
    recipe = (root / "plutao.toml").read_text()
    (root / "plutao.toml").write_text(recipe.replace(old, new, 1))
    assert message in refused("run", root)


@pytest.mark.real_data
def test_a_few_hundred_real_digits_are_enough_to_begin_with(real_data: Path, tmp_path: Path) -> None:
    """One epoch of the recipe: not its 0.99 yet, and far from chance."""
    done("new", tmp_path / "digits", "--recipe", "imagens")
    told = ("vision.epochs=1", "vision.evaluate=0")
    done("run", tmp_path / "digits", *(word for one in told for word in ("--set", one)))
    card = read_json(tmp_path / "digits" / "runs" / "imagens-1" / "vision" / "stage.json")
    assert card["accuracy"]["n"] == 1_000
    assert card["accuracy"]["low"] > 0.75
    assert read_images(real_data / "images" / "cifar10_train_subset.tar").pixels.shape[1] == 3


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("kind", "epochs", "least"), [("cnn", 8, 0.985), ("vit", 12, 0.96)])
def test_digits_are_read_as_well_as_the_pages_say(
    kind: str, epochs: int, least: float, real_data: Path, tmp_path: Path
) -> None:
    """On 1,000 held-out digits of 10,000; docs/vision.md records what it came to."""
    done("new", tmp_path / "digits", "--recipe", "imagens")
    done("run", tmp_path / "digits", "--set", f"vision.kind={kind}", "--set", f"vision.epochs={epochs}")
    card = read_json(tmp_path / "digits" / "runs" / "imagens-1" / "vision" / "stage.json")
    assert card["accuracy"]["n"] == 1_000
    assert card["accuracy"]["value"] >= least
