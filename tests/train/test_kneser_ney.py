"""Kneser–Ney as NLTK computes it, as its papers define it, and pruned."""

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from counted import END, VOCABULARY, counted, documents, plainly

from plutao.models.ngram import NgramModel, load
from plutao.train.kneser_ney import discounts
from plutao.train.ngram_counts import Counts, TokenStream, count
from plutao.train.ngram_model import Kneser

Ngram = tuple[int, ...]


def estimated(counts: Counts, folder: Path, smoothing: str = "modified", discount: float | None = None) -> Kneser:
    return Kneser(counts, folder, smoothing, discount)  # type: ignore[arg-type]


def probabilities(model: NgramModel, context: Ngram) -> list[float]:
    """p of every token after a context."""
    return model.log_probabilities(torch.tensor([context]))[0, -1].double().exp().tolist()


def test_plain_kneser_ney_equals_nltks(tmp_path: Path) -> None:
    nltk = pytest.importorskip("nltk.lm", reason="NLTK is not installed: pip install 'plutao[parity]'")
    chance = np.random.default_rng(0)
    tokens = (np.cumsum(chance.integers(0, 3, 3000)) * 7 % 11 + 1).tolist()  # 1 to 11; no text ends in between
    counts = count(TokenStream([np.array(tokens, np.uint16)], END), 3, 12, tmp_path)
    model = estimated(counts, tmp_path, "plain", discount=0.1).model(3)
    theirs = nltk.KneserNeyInterpolated(3, discount=0.1)
    words = [str(token) for token in [*tokens, END]]
    theirs.fit(
        [[tuple(words[start : start + n]) for n in (1, 2, 3) for start in range(len(words) - n + 1)]],
        vocabulary_text=[str(token) for token in range(12)],
    )
    seen = set(pairwise(tokens))
    contexts = [*sorted(seen)[:12], *[pair for pair in ((1, 5), (9, 2), (11, 11)) if pair not in seen]]
    for context in contexts:
        wanted = [theirs.score(str(token), [str(word) for word in context]) for token in range(12)]
        assert probabilities(model, context) == pytest.approx(wanted, rel=1e-3)


def slowly(texts: list[list[int]], order: int) -> Callable[[int, Ngram], float]:
    """Interpolated modified Kneser–Ney, written from its definition (Chen & Goodman 1999, section 4.1)."""
    plain = plainly(texts, order)
    adjusted = [Counter[Ngram]() for _ in range(order)]
    adjusted[-1] = plain[-1]
    for n in range(1, order):
        in_front = Counter(ngram[1:] for ngram in plain[n])
        adjusted[n - 1] = Counter(
            {ngram: plain[n - 1][ngram] if n > 1 and ngram[0] == END else in_front[ngram] for ngram in plain[n - 1]}
        )
    taken = []
    for table in adjusted:
        number = Counter(table.values())
        if not all(number[k] for k in (1, 2, 3)):  # single tokens, all of them frequent
            taken.append([0.0, 0.5, 1.0, 1.5])
            continue
        y = number[1] / (number[1] + 2 * number[2])
        taken.append([0.0, *(k - (k + 1) * y * number[k + 1] / number[k] for k in (1, 2, 3))])
    followers: list[dict[Ngram, dict[int, int]]] = []
    for table in adjusted:
        after: dict[Ngram, dict[int, int]] = defaultdict(dict)
        for ngram, times in table.items():
            after[ngram[:-1]][ngram[-1]] = times
        followers.append(after)

    def probability(token: int, context: Ngram) -> float:
        n = len(context) + 1
        below = 1 / VOCABULARY if n == 1 else probability(token, context[1:])
        after = followers[n - 1].get(context)
        if after is None:
            return below
        total = sum(after.values())
        own = after.get(token, 0)
        share = sum(taken[n - 1][min(times, 3)] for times in after.values()) / total
        return (own - taken[n - 1][min(own, 3)]) / total + share * below

    return probability


def test_modified_kneser_ney_equals_its_definition(tmp_path: Path) -> None:
    texts = documents(200)
    model = estimated(counted(texts, tmp_path, 4, megabytes=0.001), tmp_path).model(4)
    wanted = slowly(texts, 4)
    for text in documents(6, seed=9):
        for end in range(1, min(len(text), 12)):
            context = tuple(text[max(0, end - 3) : end])
            found = probabilities(model, context)
            assert found == pytest.approx([wanted(token, context) for token in range(VOCABULARY)], rel=1e-4)


def test_discounts_are_those_of_the_paper(tmp_path: Path) -> None:
    counts = counted(documents(300), tmp_path, 3)
    n = np.bincount(counts.table(3).adjusted.read(0, 1 << 30))
    y = n[1] / (n[1] + 2 * n[2])
    wanted = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
    assert discounts(counts.table(3).adjusted, "modified", 64) == pytest.approx(wanted)
    assert discounts(counts.table(3).adjusted, "plain", 64) == pytest.approx((y, y, y))


def test_a_text_too_small_to_estimate_discounts_still_makes_a_model(tmp_path: Path) -> None:
    model = estimated(counted([[END, 1, 2, 3]], tmp_path, 3), tmp_path).model(3)
    found = probabilities(model, (1, 2))
    assert sum(found) == pytest.approx(1, abs=1e-5)
    assert max(range(VOCABULARY), key=found.__getitem__) == 3


@pytest.mark.parametrize("smoothing", ["modified", "plain"])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_all_tokens_together_have_probability_one(tmp_path: Path, smoothing: str, order: int) -> None:
    kneser = estimated(counted(documents(80), tmp_path, 4), tmp_path, smoothing)
    rows = kneser.model(order).log_probabilities(torch.tensor(documents(1, seed=3)[:1]))
    assert rows.double().exp().sum(-1).tolist()[0] == pytest.approx([1.0] * rows.shape[1], abs=1e-5)


def nats(model: NgramModel, texts: list[list[int]]) -> float:
    """Mean loss per token."""
    total = [model.target_log_probabilities(torch.tensor([text]), torch.tensor([[*text[1:], END]])) for text in texts]
    return -float(torch.cat(total, 1).mean())


def test_a_longer_context_foretells_better_until_the_text_is_too_small(tmp_path: Path) -> None:
    kneser = estimated(counted(documents(600), tmp_path, 3), tmp_path)
    held_out = documents(60, seed=5)
    losses = [nats(kneser.model(order), held_out) for order in (1, 2, 3)]
    assert losses[1] < losses[0] - 0.5
    assert losses[2] < losses[1] + 0.1, "the third token tells nothing here, and costs next to nothing"


def test_pruning_by_counts_leaves_out_the_rare_ones_and_still_sums_to_one(tmp_path: Path) -> None:
    counts = counted(documents(300), tmp_path / "counts", 4)
    kneser = estimated(counts, tmp_path / "counts")
    whole, pruned = kneser.write(tmp_path / "whole"), kneser.write(tmp_path / "pruned", (0, 0, 1, 1))
    assert whole[:2] == pruned[:2] and pruned[2] < whole[2] and pruned[3] < whole[3]
    often = int((counts.table(4).counts.read(0, 1 << 30) > 1).sum())
    assert pruned[3] == often, "of the highest order exactly those counted twice and more"
    model = load(tmp_path / "pruned")
    rows = model.log_probabilities(torch.tensor(documents(1, seed=4)))
    assert rows.double().exp().sum(-1).flatten().tolist() == pytest.approx([1.0] * rows.shape[1], abs=1e-5)


def test_pruning_by_entropy_leaves_out_much_and_loses_little(tmp_path: Path) -> None:
    kneser = estimated(counted(documents(300), tmp_path / "counts", 4), tmp_path / "counts")
    held_out = documents(60, seed=5)
    sizes, losses = [], []
    for threshold in (0.0, 3e-5, 3e-4):
        sizes.append(sum(kneser.write(tmp_path / "model", entropy=threshold)))
        model = load(tmp_path / "model")
        losses.append(nats(model, held_out))
        rows = model.log_probabilities(torch.tensor(documents(1, seed=4)))
        assert rows.double().exp().sum(-1).flatten().tolist() == pytest.approx([1.0] * rows.shape[1], abs=1e-5)
    assert sizes[1] < 0.5 * sizes[0] and losses[1] < losses[0] + 0.01, "half of them say next to nothing"
    assert sizes[2] < 0.2 * sizes[1] and losses[2] > losses[0] + 0.05, "in the end it is felt"


def test_what_entropy_pruning_would_cost_is_what_it_costs(tmp_path: Path) -> None:
    """Stolcke's divergence of one n-gram equals the change of the expected log-probability that its removal makes."""
    from plutao.train import ngram_pruning

    kneser = estimated(counted(documents(200), tmp_path, 2), tmp_path)
    model = kneser.model(2)
    joint = np.exp(np.asarray(model.levels[0].log_probabilities, np.float64))
    [piece] = ngram_pruning.pieces_of(kneser.counts, kneser.levels, 2)
    found = ngram_pruning.rise(piece, joint[piece.contexts[piece.starts]])
    for place in (0, 7, 100):
        context = int(piece.contexts[place])
        before = np.array(probabilities(model, (context,)))
        token = int(model.levels[1].words[place])
        there = piece.contexts == context
        kept = there.copy()
        kept[place] = False
        words = np.asarray(model.levels[1].words)
        share = (1 - piece.own[kept].sum()) / (1 - piece.below[kept].sum())
        after = share * joint
        after[words[kept]] = piece.own[kept]
        assert after.sum() == pytest.approx(1, abs=1e-5) and before[token] == pytest.approx(piece.own[place], rel=1e-4)
        divergence = joint[context] * float((before * np.log(before / after)).sum())
        assert found[place] == pytest.approx(np.expm1(divergence), rel=2e-2, abs=1e-9)
