"""A throwaway model for looking at: trained in seconds on a few sentences, small enough to see every number.

For notebooks and first lessons where no trained run is at hand. It knows its sentences by heart and little else.
"""

import torch

from plutao.data.pack import Batch
from plutao.models.decoder import Decoder
from plutao.models.presets import decoder_config
from plutao.text.tokenizer import Tokenizer, train
from plutao.train.objectives import next_token

SENTENCES = (
    "Mais vale um pássaro na mão do que dois voando.",
    "Os pássaros estão cantando.",
    # Four, three, two and one of ten: the probabilities of the book's Figure 55.
    *(f"Eu vou retirar dinheiro no caixa{end}" for end in (".", " agora.", " amanhã.", " do banco.")),
    *(f"Eu vou retirar dinheiro no banco{end}" for end in (".", " agora.", " amanhã.")),
    *(f"Eu vou retirar dinheiro no supermercado{end}" for end in (".", " agora.")),
    "Eu vou retirar dinheiro no restaurante.",
    "O Sol é uma estrela. Plutão é um planeta anão.",
    "Plutão conversa com o Sol. O Sol fala, Plutão escuta.",
    "A inteligência artificial é capaz de aprender.",
    "A inteligência artificial é capaz de prever.",
    "The Sun is a star. Pluto is a dwarf planet.",
    "Pluto talks with the Sun. The Sun speaks, Pluto listens.",
    "The Moon turns around the Earth, and the Earth turns around the Sun.",
    "Jupiter is the largest planet. Saturn has rings.",
    "A bird in the hand is worth two in the bush.",
)
VOCABULARY, CONTEXT, STEPS, ROWS = 500, 64, 90, 12


def small_model(seed: int = 0, steps: int = STEPS) -> tuple[Decoder, Tokenizer]:
    """A decoder of two layers and its tokenizer, trained on `SENTENCES`; the same seed gives the same model."""
    tokenizer = train("bpe", [" ".join(SENTENCES)] * 2, VOCABULARY)
    shape = {"layers": 2, "width": 64, "heads": 2, "hidden": 128}
    model = Decoder(decoder_config("plutao-1m", vocabulary=VOCABULARY, context=CONTEXT, **shape))
    model.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    documents = [[tokenizer.end_of_text, *tokenizer.encode(sentence)] for sentence in SENTENCES]
    objective = next_token()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        tokens = torch.stack([row(documents, generator) for _ in range(ROWS)])
        optimizer.zero_grad()
        loss, _ = objective(model, Batch(tokens[:, :-1], tokens[:, 1:]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval(), tokenizer


def row(documents: list[list[int]], generator: torch.Generator) -> torch.Tensor:
    """Sentences in random order, one after another, until a row is full."""
    order = torch.randperm(len(documents), generator=generator).tolist()
    joined = [token for place in order for token in documents[place]]
    return torch.tensor((joined + joined)[: CONTEXT + 1])
