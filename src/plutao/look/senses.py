"""One word, two senses: do its vectors tell them apart? (The book, section 2.12; Peters et al. 2018, section 5.3.)

A word vector of the older kind is one and the same in "o banco da praça" and "o banco emprestou". ELMo's depends on the
sentence. Here it is measured on sentences written for it (senses.toml), which no training text holds.
"""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from plutao.errors import UserError
from plutao.look.view import View, canvas, label, numbers, percent
from plutao.look.words import phrases
from plutao.models.elmo import Elmo, Mixture, words_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Layer:
    """What one layer (or the mixture of all) makes of the senses."""

    name: str
    """characters, 1, 2 …, mixture."""
    within: float
    """Mean cosine of two sentences of one sense."""
    between: float
    """Mean cosine of two sentences of different senses."""
    told_apart: float
    """Share of the sentences whose nearest other one has their sense; ties count half."""


@dataclass(frozen=True)
class Senses:
    """A word in sentences of two senses."""

    word: str
    names: list[str]
    sentences: list[str]
    sense: list[int]
    layers: list[Layer]
    map: list[tuple[float, float]]
    """Of the last layer's vectors, each sentence's place on their two main directions."""


def written() -> dict[str, Any]:
    """The words there are sentences for."""
    return tomllib.loads(resources.files("plutao.look").joinpath("senses.toml").read_text(encoding="utf-8"))


def senses(model: Elmo, word: str) -> Senses:
    """Measures the vectors of `word` in the sentences written for it.

    Raises:
        UserError: there are no sentences for this word.
    """
    known = written()
    if word not in known:
        raise UserError(f"There are no sentences with two senses of {word!r}: the words are {', '.join(known)}.")
    groups: list[list[str]] = known[word]["sentences"]
    sentences = [sentence for group in groups for sentence in group]
    sense = [number for number, group in enumerate(groups) for _ in group]
    vectors = torch.stack([vector_of(model, word, sentence) for sentence in sentences], dim=1)  # (L, N, W)
    same = torch.tensor(sense)[:, None] == torch.tensor(sense)
    names = ["characters", *(str(number) for number in range(1, len(vectors)))]
    layers = [measured(name, each, same) for name, each in zip(names, vectors, strict=True)]
    with torch.inference_mode():
        # Each layer is normalised first (Peters et al. 2018, section 3.2), or the loudest would be all that is heard.
        mixed = Mixture(len(vectors))(F.layer_norm(vectors, vectors.shape[-1:]))
        layers.append(measured("mixture", mixed, same))
    return Senses(word, known[word]["names"], sentences, sense, layers, main_directions(vectors[-1]))


def vector_of(model: Elmo, word: str, sentence: str) -> Float[Tensor, "L W"]:
    """The word's vectors in a sentence, from each layer."""
    words = words_of(sentence)
    place = next(number for number, each in enumerate(words) if each.lower() == word)
    return model.vectors([word if number == place else each for number, each in enumerate(words)])[:, place]


def measured(name: str, vectors: Float[Tensor, "N W"], same: Bool[Tensor, "N N"]) -> Layer:
    """Cosines of all pairs, and whose nearest neighbour has its sense."""
    unit = F.normalize(vectors.double(), dim=-1)
    cosines = unit @ unit.T
    itself = torch.eye(len(same), dtype=torch.bool)
    others = cosines.masked_fill(itself, -2.0)
    nearest = (others - others.amax(1, keepdim=True)).abs() < 1e-9
    right = (nearest & same).sum(1) / nearest.sum(1)
    return Layer(name, float(cosines[same & ~itself].mean()), float(cosines[~same].mean()), float(right.mean()))


def main_directions(vectors: Float[Tensor, "N W"]) -> list[tuple[float, float]]:
    """Where each vector lies on the two directions in which they differ most (principal components)."""
    centred = vectors.double() - vectors.double().mean(0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    return [(float(x), float(y)) for x, y in (left * sizes)[:, :2].tolist()]


def view(seen: Senses, language: str = "en") -> View:
    """The table of layers."""
    say, form = phrases(language), numbers(language)
    names = {"characters": say["layer_characters"], "mixture": say["layer_mixture"]}
    counts = " + ".join(str(seen.sense.count(number)) for number in range(len(seen.names)))
    return View(
        id="senses",
        title=say["senses"].format(word=seen.word),
        note=say["senses_note"].format(counts=counts),
        columns=[say["layer"], say["within"], say["between"], say["told_apart"]],
        rows=[
            [
                names.get(each.name, each.name),
                form.number(each.within, 3),
                form.number(each.between, 3),
                percent(form, each.told_apart),
            ]
            for each in seen.layers
        ],
        draw=lambda: picture(seen, language),
    )


def picture(seen: Senses, language: str) -> "go.Figure":
    """The sentences on the map of the last layer: a shape for each sense."""
    import plotly.graph_objects as go

    from plutao.evaluate.report.figures import PLUTO, SUN

    figure = canvas("", "", language, height=420)
    for number, (name, colour, symbol) in enumerate(zip(seen.names, (SUN, PLUTO), ("circle", "square"), strict=True)):
        places = [place for place, sense in enumerate(seen.sense) if sense == number]
        figure.add_trace(
            go.Scatter(
                x=[seen.map[place][0] for place in places],
                y=[seen.map[place][1] for place in places],
                mode="markers",
                name=f"{seen.word} {name}",
                marker={"color": colour, "symbol": symbol, "size": 11},
                hoverinfo="text",
                hovertext=[label(seen.sentences[place]) for place in places],
            )
        )
    figure.update_layout(showlegend=True, title={"text": phrases(language)["senses_map"], "font": {"size": 12}})
    return figure
