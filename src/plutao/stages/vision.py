"""Images: a convolutional network or a Vision Transformer learns to tell what it sees (the book's section 4.2 and conclusion).

The same loop, optimizer and files as for text; what differs is that a batch is of images.
"""

import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from plutao.data import catalogue
from plutao.data.image_batches import Augmentation, ImageBatches
from plutao.data.images import Images, floats, joined, read_images, split
from plutao.errors import UserError
from plutao.evaluate.intervals import wilson
from plutao.files import fingerprint, sha256
from plutao.models.interop.vision import save_vision
from plutao.models.vision import (
    ConvolutionalNetwork,
    ConvolutionConfig,
    PatchConfig,
    VisionModel,
    VisionTransformer,
)
from plutao.project import Project
from plutao.recipe import Recipe
from plutao.recipe.ancestors import ImageSource, VisionSettings
from plutao.stages.card import write_card
from plutao.stages.common import budget
from plutao.stages.plain import describe, train
from plutao.train import device as devices
from plutao.train.device import Device
from plutao.train.loop import Evaluate, without_compiling
from plutao.train.objectives_encoder import classes
from plutao.train.parallel import World
from plutao.train.progress import Progress, clock

TRY = "plutao inspect {place} --image 0"
AT_ONCE = 256
"""Images measured at once."""


def settings_of(recipe: Recipe) -> VisionSettings:
    assert recipe.vision is not None, "the recipe has no [vision] section"
    return recipe.vision


# ---------------------------------------------------------------------------------------------------------------------
# The data


def find(name: str, root: Path) -> Path:
    """A corpus of the catalogue, else a file of the project.

    Raises:
        UserError: it is neither, or can't be had.
    """
    if name in catalogue.catalogue(root):
        return catalogue.get(name, root)
    path = root / Path(name).expanduser()
    if not path.exists():
        raise UserError(f"{path} is not there, and no corpus is called {name!r}: name a file, a folder or a corpus.")
    return path


def places(source: ImageSource, root: Path) -> tuple[Path, Path | None]:
    """Where a source's images are, and its labels where they are apart."""
    named = source.path or source.corpus
    assert named is not None
    images = catalogue.get(named, root) if source.corpus is not None else find(named, root)
    return images, find(source.labels, root) if source.labels is not None else None


def identity(source: ImageSource, root: Path) -> list[Any]:
    """Names a source by content."""
    files = [place for place in places(source, root) if place is not None]
    below = [file for place in files for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    named = [[file.name, sha256(file)] for file in below if file.is_file()]
    return [source.model_dump(mode="json", exclude={"path", "corpus"}), named]


def inputs(project: Project) -> str:
    """Names what this stage depends on: its settings, the seed and the images."""
    settings, root = settings_of(project.recipe), project.root
    given = settings.model_dump(mode="json", exclude={"sources"})
    of_images = [identity(source, root) for source in settings.sources]
    return fingerprint(["vision", given, project.recipe.seed, of_images])


def load(settings: VisionSettings, root: Path, seed: int) -> tuple[Images, Images]:
    """The images to learn from, and those to measure with: the held-out sources, else a share drawn by the seed.

    Raises:
        UserError: as `read_images`; or nothing is left to learn from.
    """
    read: dict[bool, list[Images]] = {False: [], True: []}
    for source in settings.sources:
        images, labels = places(source, root)
        read[source.held_out].append(read_images(images, labels, settings.size, source.held_out))
    if not read[False]:
        raise UserError("Every source of [[vision.sources]] is held out: one must be left to learn from.")
    everything = joined([*read[False], *read[True]])
    if not read[True]:
        return split(everything, settings.validation, seed)
    count = sum(map(len, read[False]))
    return everything.take(torch.arange(count)), everything.take(torch.arange(count, len(everything)))


def held_out(project: Project) -> Images:
    """The images that a run's model was measured with."""
    return load(settings_of(project.recipe), project.root, project.recipe.seed)[1]


# ---------------------------------------------------------------------------------------------------------------------
# The stage


def make(settings: VisionSettings, images: Images, seed: int) -> VisionModel:
    """The model that the recipe asks for, with fresh weights; raises UserError where its shape does not fit the images."""
    channels, size, count = images.pixels.shape[1], images.pixels.shape[2], len(images.classes)
    s = settings
    model: VisionModel
    if s.kind == "cnn":
        model = ConvolutionalNetwork(
            ConvolutionConfig(channels, size, count, width=s.width or 16, layers=s.layers or 3, dropout=s.dropout)
        )
    else:
        width = s.width or 64
        model = VisionTransformer(
            PatchConfig(channels, size, count, s.patch, width, s.layers or 4, s.heads, 4 * width, s.dropout)
        )
    model.initialise(seed)
    return model


def check(recipe: Recipe, root: Path = Path()) -> None:
    """What can be refused before any long work: sources that are not there, and the precision.

    Raises:
        UserError: see above.
    """
    settings = settings_of(recipe)
    devices.choose(settings.precision, settings.compile)
    if not settings.sources:
        raise UserError("Stage vision has no images: name some in [[vision.sources]].")
    for source in settings.sources:
        places(source, root)


def run(project: Project, world_: World, progress: Progress, minutes: float | None = None) -> None:
    """Trains the model of [vision] and stores it, measured, in the run.

    Args:
        minutes: wall time for the stage, reading the images included, in place of the recipe's own length.
    """
    started = time.perf_counter()
    recipe, settings = project.recipe, settings_of(project.recipe)
    learned, measured = load(settings, project.root, recipe.seed)
    mean, deviation = learned.scale()
    model = make(settings, learned, recipe.seed)
    changes = Augmentation(settings.shift, settings.rotation, settings.mirror)
    batches = ImageBatches(learned, settings.batch, recipe.seed, mean, deviation, changes, world_.rank, world_.size)
    device = devices.choose(settings.precision, settings.compile, world_.local_rank)
    left = None if minutes is None else minutes - (time.perf_counter() - started) / 60
    trained = train(
        project,
        "vision",
        model,
        classes(settings.label_smoothing),
        batches,
        settings,
        budget(settings, 10 * len(learned) if settings.epochs is None else len(learned), settings.batch, left),
        device,
        world_,
        progress,
        evaluate=validation(measured, mean, deviation, device),
    )
    if not world_.first:
        return
    out = project.stage_dir("vision")
    model.to("cpu").eval()
    with without_compiling(device):
        results = describe(model.count_parameters(), device, trained, settings, recipe.seed)
        results |= measure(model, measured, mean, deviation)
    save_vision(model, out, learned.classes, mean, deviation)
    results |= {"kind": settings.kind, "images": len(learned), "held_out": len(measured), "epochs": batches.epochs()}
    results["data"] = [
        {"source": source.name, "held_out": source.held_out, "license": licence(source, project.root)}
        for source in settings.sources
    ]
    write_card(out, "vision", inputs(project), results | {"in_a_line": in_a_line(results)})


def in_a_line(card: dict[str, Any]) -> str:
    """What it came to."""
    share = card["accuracy"]
    return (
        f"{card['kind']}, {card['parameters']:,} parameters, {card['tokens']:,} images in {clock(card['seconds'])} "
        f"({card['tokens_per_second']:,.0f} a second); {share['value']:.1%} of {share['n']:,} held-out images told right "
        f"({share['low']:.1%}–{share['high']:.1%})."
    )


def licence(source: ImageSource, root: Path) -> str:
    own = catalogue.find(source.corpus, root).license if source.corpus is not None else None
    return source.license or own or "unknown"


@torch.no_grad()
def score(
    model: nn.Module, images: Images, mean: list[float], deviation: list[float], device: Device | None = None
) -> Float[Tensor, "N K"]:
    """The scores of each class for many images."""
    place = device.place if device is not None else torch.device("cpu")
    parts = [
        model(floats(pixels, mean, deviation).to(place)).float().cpu() for pixels in torch.split(images.pixels, AT_ONCE)
    ]
    return torch.cat(parts)


def measure(model: VisionModel, images: Images, mean: list[float], deviation: list[float]) -> dict[str, Any]:
    """Accuracy with its interval, overall and by class, and which class was taken for which (rows: what it was)."""
    scores = score(model, images, mean, deviation)
    said = scores.argmax(dim=1)
    right = said == images.labels
    by_class = {}
    for number, name in enumerate(images.classes):
        of_class = right[images.labels == number]
        if len(of_class):
            by_class[name] = wilson(int(of_class.sum()), len(of_class)).as_json()
    count = len(images.classes)
    confused = torch.bincount(images.labels * count + said, minlength=count * count).view(count, count)
    return {
        "accuracy": wilson(int(right.sum()), len(right)).as_json(),
        "by_class": by_class,
        "confusion": confused.tolist(),
        "validation": {"loss": float(F.cross_entropy(scores, images.labels)), "images": len(images)},
    }


def validation(images: Images, mean: list[float], deviation: list[float], device: Device) -> Evaluate:
    """A quick measure for the way: loss and accuracy on at most 2,000 held-out images."""
    some = images.take(torch.arange(0, len(images), max(1, len(images) // 2000)))

    def evaluate(model: nn.Module) -> dict[str, float]:
        scores = score(model, some, mean, deviation, device)
        right = (scores.argmax(dim=1) == some.labels).float().mean()
        return {"loss": float(F.cross_entropy(scores, some.labels)), "accuracy": float(right)}

    return evaluate
