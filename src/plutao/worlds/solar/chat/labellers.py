"""Simulated people who rank answers: each weighs the parts of the written rule in a way of their own, and errs."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plutao.worlds.contract import Question
from plutao.worlds.solar.chat.grading import WEIGHTS, grade

NOISE = 0.037  # standard deviation of what a labeller adds to an answer's worth
DISTRACTED = 0.05  # the share of questions that a labeller reads without attention
NOISE_THEN = 0.3


@dataclass(frozen=True)
class SimulatedLabeller:
    """Ranks by the weighted parts of the rule, with noise, more of it where attention slips; answers whose parts are alike tie.

    How often labellers disagree with the rule and with each other is measured in docs/world.md.
    """

    name: str
    rule: str
    weights: Mapping[str, float] = field(repr=False)

    def utility(self, question: Question, answer: str) -> float:
        """What the answer is worth to this person, before the error."""
        parts = grade(question, answer).parts
        return sum(self.weights[part] * parts[part] for part in self.weights)

    def rank(self, question: Question, answers: Sequence[str], seed: int) -> tuple[int, ...]:
        """1 for the best answer; equal ranks are ties. The same seed gives the same ranks."""
        exact = [round(self.utility(question, answer), 3) for answer in answers]
        draw = random.Random(f"{self.name}/{seed}/{question.id}/{question.messages[-1].content}")
        noise = NOISE_THEN if draw.random() < DISTRACTED else NOISE
        felt = {worth: worth + draw.gauss(0, noise) for worth in sorted(set(exact))}
        order = sorted(felt.values(), reverse=True)
        return tuple(1 + order.index(felt[worth]) for worth in exact)


def labeller(name: str, rule: str, **more: float) -> SimulatedLabeller:
    """A labeller whose weights are those of the rule times `more`, summing to one."""
    weights = {part: weight * more.get(part, 1.0) for part, weight in WEIGHTS.items()}
    total = sum(weights.values())
    return SimulatedLabeller(name, rule, {part: weight / total for part, weight in weights.items()})


LABELLERS = (
    labeller("Ana", "the rule as it is written"),
    labeller("Bento", "the rule, with brevity worth twice as much", brief=2.0),
    labeller("Clara", "the rule, with courtesy worth twice as much", polite=2.0),
    labeller(
        "Davi", "the rule, with truth worth half as much again and completeness a little less", true=1.5, complete=0.8
    ),
    labeller(
        "Eva",
        "the rule, with whole sentences and the right language worth half as much again",
        complete=1.5,
        language=1.5,
    ),
)
