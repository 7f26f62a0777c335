"""The law of scaling: its constants are found again, repeated text and large batches count as their papers say."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from plutao.errors import UserError
from plutao.models.scaling import DEFAULT, Law, Rung, fit, predict, useful_tokens

TRUE = Law(E=0.9, A=12.0, alpha=0.24, B=160.0, beta=0.38, K=5.0, D0=3e5)


def trained(law: Law, sizes: list[float], lengths: list[float], batches: list[int], noise: float = 0.0) -> list[Rung]:
    """What trainings would come to if `law` were true, `noise` up and down in turn."""
    rungs = [
        Rung(int(size), int(length), batch, 10**12, law.loss(size, length, batch))
        for size in sizes
        for length in lengths
        for batch in batches
    ]
    return [replace(rung, loss=rung.loss * (1 + noise * (-1) ** place)) for place, rung in enumerate(rungs)]


SIZES, LENGTHS = [1e6, 3e6, 7e6, 3e7], [2.5e5, 1e6, 4e6, 1.6e7]


def test_known_constants_are_found_again() -> None:
    found = fit(trained(TRUE, SIZES, LENGTHS, [1024, 4096]))
    for name in ("E", "A", "alpha", "B", "beta", "K", "D0"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=0.03), name


def test_hoffmanns_own_law_is_found_again() -> None:
    """Hoffmann et al. 2022, equation 10: E = 1.69, A = 406.4, B = 410.7, α = 0.34, β = 0.28 (batches do not matter there)."""
    law = Law(1.69, 406.4, 0.34, 410.7, 0.28, K=1e9)
    found = fit(trained(law, [7e7, 4e8, 2e9, 1e10], [1e9, 1e10, 1e11, 4e11], [0]), K=1e9, D0=0.0)
    assert pytest.approx(1.69, rel=0.02) == found.E
    assert found.alpha == pytest.approx(0.34, rel=0.02) and found.beta == pytest.approx(0.28, rel=0.02)


def test_noise_moves_the_predictions_little() -> None:
    found = fit(trained(TRUE, SIZES, LENGTHS, [2048], noise=0.003), K=TRUE.K, D0=TRUE.D0)
    for size, length in ((5e6, 3e6), (1e7, 1e7), (3e7, 3e7)):
        assert found.loss(size, length, 2048) == pytest.approx(TRUE.loss(size, length, 2048), rel=0.02)


def test_trainings_of_one_size_fit_nothing() -> None:
    with pytest.raises(UserError, match=r"3 trainings of 3 sizes and 1 lengths.*--sizes"):
        fit(trained(TRUE, [1e6, 3e6, 7e6], [1e6], [2048]))
    with pytest.raises(UserError, match="6 or more"):
        fit(trained(TRUE, [1e6, 3e6], [1e6, 2e6], [2048]))


def test_text_read_again_is_worth_less() -> None:
    """Muennighoff et al. 2023: up to 4 epochs nearly as good as fresh text; by 40 nothing is gained any more."""
    text = 1e6

    def worth(epochs: float) -> float:
        return useful_tokens(epochs * text, 0, text, TRUE.K) / text

    assert worth(0.5) == 0.5 and worth(1) == 1
    assert 3.6 < worth(4) < 4
    assert worth(41) - worth(40) < 0.1
    assert worth(1000) == pytest.approx(1 + 15.387756, rel=1e-3)
    assert all(worth(e + 0.1) > worth(e) for e in (0.9, 1.0, 5, 20)), "and never worse"


def test_a_small_text_feeds_no_large_model() -> None:
    small, large = (TRUE.loss(1e6, 2e6, 2048, unique=unique) for unique in (1e5, math.inf))
    assert small > large
    gain_of_size = [TRUE.loss(1e6, 2e6, 2048, u) - TRUE.loss(1e8, 2e6, 2048, u) for u in (1e5, math.inf)]
    assert 0 <= gain_of_size[0] < gain_of_size[1]


def test_small_steps_learn_more_from_few_tokens() -> None:
    few, many = ([TRUE.loss(3e6, tokens, batch) for batch in (1024, 4096)] for tokens in (5e5, 5e7))
    assert few[0] < few[1] and many[0] < many[1]
    assert few[1] / few[0] > many[1] / many[0], "at many tokens the batch matters less"


def test_the_best_size_follows_the_law() -> None:
    tokens = 1e7
    best = TRUE.optimal_parameters(tokens)
    operations = best * tokens

    def at(size: float) -> float:
        return TRUE.E + TRUE.A / size**TRUE.alpha + TRUE.B / (TRUE.D0 + operations / size) ** TRUE.beta

    assert at(best) < min(at(best * 1.1), at(best / 1.1))


def test_the_law_that_ships_is_the_fit_of_the_trainings_it_names() -> None:
    data = json.loads((Path(__file__).parents[2] / "docs" / "scaling.json").read_text(encoding="utf-8"))
    rungs = [Rung(**{name: rung[name] for name in Rung.__dataclass_fields__}) for rung in data["rungs"]]
    assert DEFAULT.source.startswith(f"{len(rungs)} trainings") and data["text"] in DEFAULT.source
    found = fit(rungs, K=DEFAULT.K)
    for rung in rungs:
        assert predict(DEFAULT, rung) == pytest.approx(rung.loss, rel=0.02)
        assert predict(DEFAULT, rung) == pytest.approx(predict(found, rung), rel=0.003)
