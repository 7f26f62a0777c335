"""What the lens says of another temperature holds the truth, though only the most probable tokens are known."""

import json
import math
import random
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def softmax(logprobs: list[float], temperature: float) -> list[float]:
    weights = [math.exp(value / temperature) for value in logprobs]
    return [weight / sum(weights) for weight in weights]


def test_the_bounds_hold_the_true_probabilities(visit: Any) -> None:
    page = visit(email=None)
    page.goto("/sign-in")
    draw = random.Random(1)
    cases = []
    for _ in range(60):
        raw = sorted((draw.gauss(0, draw.choice([0.5, 2, 5])) for _ in range(50)), reverse=True)
        total = math.log(sum(math.exp(value) for value in raw))
        logprobs = [value - total for value in raw]
        cases.append((logprobs, draw.choice([0.1, 0.5, 0.9, 1.0, 1.3, 2.0])))
    given = [(logprobs[:12], 50, temperature) for logprobs, temperature in cases]
    told = page.evaluate(
        """async (cases) => {
            const { atTemperature } = await import("/static/lens.js");
            return cases.map((one) => atTemperature(...one));
        }""",
        json.loads(json.dumps(given)),
    )
    for (logprobs, temperature), answer in zip(cases, told, strict=True):
        true = softmax(logprobs, temperature)
        for probability, (low, high) in zip(true[:12], answer["known"], strict=True):
            assert low - 1e-9 <= probability <= high + 1e-9
            assert temperature != 1 or high - low < 1e-6  # nothing is unsure where nothing was changed
        low, high = answer["rest"]
        assert low - 1e-9 <= sum(true[12:]) <= high + 1e-9


def test_temperature_zero_takes_the_most_probable_token(visit: Any) -> None:
    page = visit(email=None)
    page.goto("/sign-in")
    told = page.evaluate(
        """async () => (await import("/static/lens.js")).atTemperature([Math.log(0.6), Math.log(0.3)], 9, 0)"""
    )
    assert told == {"known": [[1, 1], [0, 0]], "rest": [0, 0]}
