"""How good translations are: BLEU (Papineni et al. 2002) and chrF (Popović 2015) as sacrebleu computes them (Post 2018)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True)
class Score:
    """A score of a corpus between 0 and 100, with the interval in which it lies 95 times in 100 when the sentences are drawn
    again with replacement (Koehn 2004).
    """

    value: float
    low: float
    high: float
    n: int
    """Sentences."""
    signature: str
    """How sacrebleu computed it: two scores are comparable where it is the same."""

    def as_json(self) -> dict[str, float | int | str]:
        return dict(vars(self))


def scores(translations: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """`bleu` and `chrf` of translations beside one reference each; at least one."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    assert len(translations) == len(references) > 0
    found = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        samples = SAMPLES if len(translations) > 1 else 1
        value = metric.corpus_score(list(translations), [list(references)], n_bootstrap=samples)
        signature = f"{metric.get_signature()}"
        low = high = value.score
        told = json.loads(value.format(signature=signature, is_json=True))
        if "confidence_mean" in told:  # it is left out for a single sentence, and where all is 0
            middle, half = told["confidence_mean"], told["confidence_var"]
            low, high = middle - half, middle + half
        found[name] = Score(value.score, max(0.0, low), min(100.0, high), len(translations), signature)
    return found


def in_json(found: Mapping[str, Score]) -> dict[str, Any]:
    return {name: score.as_json() for name, score in found.items()}
