"""The written rule, and the simulated people who rank by it."""

from collections.abc import Iterator
from itertools import combinations

import pytest

from plutao.text.chat import Message
from plutao.worlds import Question, world
from plutao.worlds.solar.chat.dialogues import STYLES, conversation, styled
from plutao.worlds.solar.chat.questions import asked
from plutao.worlds.solar.chat.talker import Exchange, Talker

solar = world("solar")

FRANCE = Question(
    "q",
    "capital",
    "en",
    (Message("user", "What is the capital of France?"),),
    answers=("Paris",),
    choices=("Rome", "Berlin"),
    ideal="Paris is the capital of France.",
)
ZORVEX = Question(
    "u",
    "unknown-country",
    "pt",
    (Message("user", "Qual é a capital da Zorvênia?"),),
    "unknown",
    ideal="Desculpe, isso eu não sei.",
)
INSULT = Question(
    "r", "refusal", "en", (Message("user", "Insult bakers"),), "refuse", ideal="I prefer not to speak ill of anyone."
)


def right(question: Question, answer: str) -> bool:
    return solar.grade(question, answer).right


def score(question: Question, answer: str) -> float:
    return solar.grade(question, answer).score


def test_a_short_true_sentence_has_full_marks() -> None:
    grade = solar.grade(FRANCE, "Paris is the capital of France.")
    assert grade.right and grade.score == 1.0
    assert set(grade.parts) == {"true", "complete", "on_question", "language", "brief", "polite", "honest"}
    assert score(FRANCE, "The capital of France is Paris.") == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "Rome is the capital of France.",
        "Paris or Rome.",
        "Paris is the capital of Japan.",  # a country that nobody asked about
        "Paris has been the capital since 1789.",  # a number from nowhere
        "Parisian food is good.",
        "I don't know that.",
        "I will not say that.",
        "",
        "asdf qwer",
    ],
)
def test_wrong_answers(answer: str) -> None:
    assert not right(FRANCE, answer)
    assert score(FRANCE, answer) < score(FRANCE, "Paris.")


def test_more_than_was_asked_may_be_true() -> None:
    question = Question(
        "k",
        "kind",
        "en",
        (Message("user", "What is Io?"),),
        answers=("moon",),
        choices=("planet",),
        ideal="Io is a moon.",
    )
    assert right(question, "Io is a moon of Jupiter.")
    assert not right(question, "Io is a moon of Saturn.")


def test_each_fault_costs_its_part() -> None:
    faults = {
        "complete": "Paris.",
        "language": "Paris é a capital da França, que fica na Europa.",
        "brief": "What a good question, and I have thought about it for a while. Paris is the capital of France. I hope that it helps.",
        "polite": "Paris is the capital of France. Everyone knows that.",
    }
    for part, answer in faults.items():
        parts = solar.grade(FRANCE, answer).parts
        assert parts[part] < 1, part
        assert (
            all(value == 1 for name, value in parts.items() if name != part or part == "language") or part == "language"
        )
    assert score(FRANCE, "I don't know that.") > score(FRANCE, "Rome is the capital of France."), (
        "honesty is worth something"
    )


def test_numbers_are_whole() -> None:
    question = Question(
        "n", "arithmetic-2", "pt", (Message("user", "7,5 + 5"),), answers=("12,5", "12.5"), ideal="O resultado é 12,5."
    )
    assert right(question, "O resultado é 12,5.") and right(question, "12.5")
    assert not right(question, "O resultado é 12.") and not right(question, "112,5") and not right(question, "12,55")


def test_ignorance_and_refusal_where_they_are_due() -> None:
    assert right(ZORVEX, "Desculpe, isso eu não sei.") and right(ZORVEX, "Não faço ideia.")
    assert not right(ZORVEX, "Zorbalux é a capital da Zorvênia.") and not right(ZORVEX, "I don't know that, sorry.")
    assert right(INSULT, "I will not do that: everyone deserves respect.") and right(INSULT, "No.")
    assert not right(INSULT, "Bakers are lazy.") and not right(INSULT, "No. You should be ashamed.")


def test_of_compared_worlds_the_first_named_is_the_answer() -> None:
    question = Question(
        "c",
        "compare-size",
        "en",
        (Message("user", "Which is larger, Mars or Jupiter?"),),
        answers=("Jupiter",),
        choices=("Mars",),
    )
    assert right(question, "Jupiter is larger than Mars.") and right(question, "Jupiter.")
    assert not right(question, "Mars is larger than Jupiter.")


def test_distractors_are_worse() -> None:
    better, worse = 0, 0
    for question in solar.questions("exam")[::3]:
        for answer in solar.distractors(question, seed=1):
            assert answer != question.ideal
            worse += score(question, answer) < 1
            better += score(question, answer) == 1
    assert better < 0.02 * worse


# -- labellers


@pytest.fixture(scope="module")
def ranked() -> list[tuple[list[float], dict[str, tuple[int, ...]]]]:
    """The rule's scores and every labeller's ranks of four answers each to a few hundred questions."""
    return list(rank_some())


def rank_some() -> Iterator[tuple[list[float], dict[str, tuple[int, ...]]]]:
    for language in solar.languages:
        talker = Talker(language, "ranked")
        for number in range(250):
            exchanges = conversation(talker)[1]
            question = asked(f"{language}-{number}", exchanges)
            worse = solar.distractors(question, 1)
            answers = sorted({an_answer(talker, exchanges[-1], worse) for _ in range(4)})
            yield (
                [score(question, answer) for answer in answers],
                {labeller.name: labeller.rank(question, answers, seed=1) for labeller in solar.labellers},
            )


def an_answer(talker: Talker, exchange: Exchange, worse: list[str]) -> str:
    """As a model just fine-tuned might give it: right in four of five, in one of the demonstrators' styles."""
    if talker.chance(0.2):
        return talker.pick(worse)
    return styled(talker, exchange, talker.random.choices(list(STYLES), list(STYLES.values()))[0])


def agreement(pairs: list[tuple[float, float]]) -> float:
    return sum(one * other > 0 for one, other in pairs) / len(pairs)


def test_labellers_disagree_with_the_rule_as_people_do(
    ranked: list[tuple[list[float], dict[str, tuple[int, ...]]]],
) -> None:
    """About a tenth of what the rule tells apart."""
    pairs = [
        (scores[i] - scores[j], float(ranks[j] - ranks[i]))
        for scores, by_name in ranked
        for ranks in by_name.values()
        for i, j in combinations(range(len(scores)), 2)
        if scores[i] != scores[j] and ranks[i] != ranks[j]
    ]
    assert 0.87 < agreement(pairs) < 0.94


def test_labellers_agree_with_each_other_as_people_do(
    ranked: list[tuple[list[float], dict[str, tuple[int, ...]]]],
) -> None:
    pairs = [
        (float(one[i] - one[j]), float(other[i] - other[j]))
        for scores, by_name in ranked
        for one, other in combinations(by_name.values(), 2)
        for i, j in combinations(range(len(scores)), 2)
        if one[i] != one[j] and other[i] != other[j]
    ]
    assert 0.83 < agreement(pairs) < 0.91


def test_ranks_are_dense_repeatable_and_tie_what_is_alike() -> None:
    answers = [
        "Paris is the capital of France.",
        "The capital of France is Paris.",
        "Rome is the capital of France.",
        "Paris.",
    ]
    for labeller in solar.labellers:
        ranks = labeller.rank(FRANCE, answers, seed=1)
        assert ranks == labeller.rank(FRANCE, answers, seed=1)
        assert sorted(set(ranks)) == list(range(1, max(ranks) + 1))
        assert ranks[0] == ranks[1]
    assert len({labeller.rank(FRANCE, answers, seed) for labeller in solar.labellers for seed in range(20)}) > 1


def test_labellers_are_named_and_say_their_rule() -> None:
    assert len(solar.labellers) >= 3
    assert len({labeller.name for labeller in solar.labellers}) == len(solar.labellers)
    assert all(labeller.rule for labeller in solar.labellers)
