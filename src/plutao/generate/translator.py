"""A translator: text in one language becomes text in another."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from plutao.files import read_json
from plutao.generate.beam import Hypothesis, beam_search
from plutao.models.seq2seq import Seq2Seq, load_seq2seq
from plutao.text.tokenizer import Tokenizer

LONGER = 50  # tokens that a translation may have more than its source (Vaswani et al. 2017, section 6.1)
AT_ONCE = 4096  # source tokens, times the beam, that are translated together


@dataclass(frozen=True)
class Translation:
    """A translation that was found."""

    text: str
    tokens: tuple[int, ...]
    log_probability: float
    """In nats, of the whole sentence."""
    score: float
    """log P ÷ length penalty: what the search ranks by."""


@dataclass(frozen=True)
class Translator:
    """A model with its tokenizer, its languages and its way of searching."""

    model: Seq2Seq
    tokenizer: Tokenizer
    source: str
    """Language that it reads, as a code: "fr"."""
    target: str
    """Language that it writes."""
    beam: int = 4
    length_penalty: float = 0.6

    def encode(self, text: str) -> list[int]:
        """The tokens of a source sentence; the last is the one that ends it."""
        return [*self.tokenizer.encode(text), self.model.config.end]

    def rows(self, sources: Sequence[Sequence[int]]) -> Int[Tensor, "B S"]:
        """Sentences as rows of one matrix, the shorter ones filled up."""
        place = self.model.embedding.weight.device
        table = torch.full((len(sources), max(map(len, sources))), self.model.config.pad)
        for row, tokens in enumerate(sources):
            table[row, : len(tokens)] = torch.tensor(tokens)
        return table.to(place)

    def translate(
        self,
        texts: Sequence[str],
        beam: int | None = None,
        longest: int | None = None,
        ready: Callable[[int], None] | None = None,
    ) -> list[list[Translation]]:
        """For each text, which is one sentence, its translations, the best first.

        Args:
            beam: hypotheses kept side by side; 1 is the greedy search.
            longest: tokens to write at most; else 50 more than are read.
            ready: is told how many texts have just been translated.
        """
        beam = beam or self.beam
        sources = [self.encode(text) for text in texts]
        found: dict[int, list[Translation]] = {}
        training = self.model.training
        self.model.eval()
        try:
            for places in alike(sources, AT_ONCE // beam):
                limits = [longest or len(sources[place]) + LONGER for place in places]
                rows = self.rows([sources[place] for place in places])
                drawable = self.tokenizer.vocabulary_size
                hypotheses = beam_search(self.model, rows, limits, beam, self.length_penalty, drawable)
                found |= {
                    place: [self.of(each) for each in some] for place, some in zip(places, hypotheses, strict=True)
                }
                if ready is not None:
                    ready(len(places))
        finally:
            self.model.train(training)
        return [found[place] for place in range(len(texts))]

    def of(self, hypothesis: Hypothesis) -> Translation:
        text = self.tokenizer.decode(hypothesis.tokens)
        return Translation(text, hypothesis.tokens, hypothesis.log_probability, hypothesis.score)


def alike(sources: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Places of sentences of like length, together about `most` tokens with padding."""
    group: list[int] = []
    for place in sorted(range(len(sources)), key=lambda place: len(sources[place])):
        if group and (len(group) + 1) * len(sources[place]) > most:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def load_translator(folder: Path) -> Translator:
    """The translator of a model's folder.

    Raises:
        UserError: the folder holds none, or a damaged one.
    """
    model = load_seq2seq(folder)
    config = read_json(folder / "config.json")
    return Translator(
        model, Tokenizer.load(folder), config["source"], config["target"], config["beam"], config["length_penalty"]
    )
