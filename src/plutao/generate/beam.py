"""Searching for the most probable sentence: greedily, or with a beam of several hypotheses side by side.

The beam is that of Sutskever et al. (2014, section 3.2): a hypothesis that ends leaves the beam, which goes on narrower. What is
compared at the end is log P ÷ lp with the length penalty lp = ((5 + length) ÷ 6)^α of Wu et al. (2016, section 7), as in
Vaswani et al. (2017, section 6.1): without it short sentences would win, for each word makes a sentence less probable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plutao.models.seq2seq import Seq2Seq, State, reorder, select


@dataclass(frozen=True)
class Hypothesis:
    """A sentence that was found."""

    tokens: tuple[int, ...]
    """Without the token that ends it."""
    log_probability: float
    """In nats; of the token that ends it, too."""
    score: float
    """log P ÷ length penalty: what hypotheses are ranked by."""


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) ÷ 6)^α; `length` counts the token that ends the sentence."""
    return float(((5 + length) / 6) ** alpha)


def forbid(model: Seq2Seq, logits: Float[Tensor, "... V"], drawable: int) -> Float[Tensor, "... V"]:
    """Log-probabilities in fp32 of what may be written: not padding, not the start, nothing that has no text."""
    logits = logits.float()
    logits[..., [model.config.pad, model.config.start]] = float("-inf")
    logits[..., drawable:] = float("-inf")
    return logits.log_softmax(dim=-1)


@torch.inference_mode()
def greedy(
    model: Seq2Seq, source: Int[Tensor, "B S"], limits: Sequence[int], drawable: int | None = None
) -> list[Hypothesis]:
    """Always the most probable next token.

    Args:
        limits: for each row, the most tokens to write; a sentence that has not ended then is ended.
        drawable: tokens of the vocabulary that stand for something; all where None.
    """
    return [found[0] for found in beam_search(model, source, limits, beam=1, alpha=0.0, drawable=drawable)]


@torch.inference_mode()
def beam_search(
    model: Seq2Seq,
    source: Int[Tensor, "B S"],
    limits: Sequence[int],
    beam: int = 4,
    alpha: float = 0.6,
    drawable: int | None = None,
) -> list[list[Hypothesis]]:
    """For each row the hypotheses that ended, the best first; at least one, at most `beam`.

    With a beam of 1 it is the greedy search; with one wide enough for all sentences up to the limit the first is the best
    of all.
    """
    search = Search(model, source, limits, beam, alpha, drawable or model.config.vocabulary)
    while len(search.alive):
        search.step()
    return [sorted(found, key=lambda each: -each.score) for found in search.ended]


class Search:
    """A beam search in progress: K hypotheses for each of the A sentences that are still searched for."""

    def __init__(
        self, model: Seq2Seq, source: Int[Tensor, "B S"], limits: Sequence[int], beam: int, alpha: float, drawable: int
    ) -> None:
        self.model, self.beam, self.alpha, self.drawable = model, beam, alpha, drawable
        self.place = source.device
        self.ended: list[list[Hypothesis]] = [[] for _ in limits]
        self.alive = list(range(len(limits)))  # which sentence a group of K hypotheses is of
        self.limits = list(limits)
        rows = torch.arange(len(limits), device=self.place).repeat_interleave(beam)
        self.state: State = select(model.start(source), rows)
        self.last = torch.full((len(rows),), model.config.start, device=self.place)
        self.written = torch.zeros(len(rows), 0, dtype=torch.long, device=self.place)
        self.scores = torch.full((len(limits), beam), float("-inf"), device=self.place)
        self.scores[:, 0] = 0.0  # all hypotheses are the same at first: only one counts

    def step(self) -> None:
        """One more token for every hypothesis."""
        logits, state = self.model.advance(self.last, self.state)
        steps = forbid(self.model, logits, self.drawable).view(len(self.alive), self.beam, -1)
        self.only_end_at_limits(steps)
        totals = self.scores[:, :, None] + steps
        best, places = totals.flatten(1).topk(self.beam)
        before = places // steps.shape[2] + self.beam * torch.arange(len(self.alive), device=self.place)[:, None]
        tokens = places % steps.shape[2]
        self.written = torch.cat((self.written[before.flatten()], tokens.flatten()[:, None]), dim=1)
        self.state, self.last = reorder(state, before.flatten()), tokens.flatten()
        self.scores = self.narrow(best)
        self.take_out_ended(tokens)
        self.drop_done()

    def only_end_at_limits(self, steps: Float[Tensor, "A K V"]) -> None:
        """Sentences as long as they may become must end now."""
        written = self.written.shape[1]
        full = torch.tensor([written >= self.limits[sentence] for sentence in self.alive], device=self.place)
        if full.any():
            ends = steps[full][..., self.model.config.end].clone()
            steps[full] = float("-inf")
            steps[full, :, self.model.config.end] = ends

    def narrow(self, best: Float[Tensor, "A K"]) -> Float[Tensor, "A K"]:
        """As many hypotheses have left the beam as ended; the others share what is left of it."""
        room = torch.tensor([self.beam - len(self.ended[sentence]) for sentence in self.alive], device=self.place)
        ranks = torch.arange(self.beam, device=self.place)
        return best.masked_fill(ranks >= room[:, None], float("-inf"))

    def take_out_ended(self, tokens: Int[Tensor, "A K"]) -> None:
        """Hypotheses that have just ended leave the beam."""
        ends = (tokens == self.model.config.end) & (self.scores > float("-inf"))
        for group, rank in ends.nonzero().tolist():
            words = self.written[group * self.beam + rank].tolist()
            total = float(self.scores[group, rank])
            penalty = length_penalty(len(words), self.alpha)
            self.ended[self.alive[group]].append(Hypothesis(tuple(words[:-1]), total, total / penalty))
        self.scores = self.scores.masked_fill(tokens == self.model.config.end, float("-inf"))

    def drop_done(self) -> None:
        """Sentences whose beam is empty, or can't find a better hypothesis any more, are no longer searched for."""
        best = self.scores.amax(dim=1).tolist()
        going = [group for group, sentence in enumerate(self.alive) if self.may_improve(sentence, best[group])]
        if len(going) == len(self.alive):
            return
        kept = torch.tensor(going, dtype=torch.long, device=self.place)
        rows = (kept[:, None] * self.beam + torch.arange(self.beam, device=self.place)).flatten()
        self.state, self.last = select(self.state, rows), self.last[rows]
        self.written, self.scores = self.written[rows], self.scores[kept]
        self.alive = [self.alive[group] for group in going]

    def may_improve(self, sentence: int, best: float) -> bool:
        """Whether what is alive can still become better than the best that ended: log P only falls, and no penalty is
        larger than that of the longest sentence allowed.
        """
        if best == float("-inf"):
            return False
        bound = best / length_penalty(self.limits[sentence] + 1, self.alpha)
        return not self.ended[sentence] or bound > max(each.score for each in self.ended[sentence])
