"""The world as an assistant knows it: dialogues that are true and varied, an exam that nothing else contains."""

import re
from collections import Counter
from itertools import islice

import pytest

from plutao.generate.tools.calculator import calculate
from plutao.text.chat import Message
from plutao.worlds import Dialogue, Question, world
from plutao.worlds.solar.chat import facts, limits, sums
from plutao.worlds.solar.chat.dialogues import STYLES
from plutao.worlds.solar.chat.overlaps import overlaps
from plutao.worlds.solar.chat.talker import Talker

solar = world("solar")


@pytest.fixture(scope="module")
def sample() -> list[Dialogue]:
    return list(solar.dialogues(12_000, seed=3))


@pytest.fixture(scope="module")
def exam() -> list[Question]:
    return solar.questions("exam")


def user_texts(dialogues: list[Dialogue]) -> set[str]:
    return {message.content for dialogue in dialogues for message in dialogue.messages if message.role == "user"}


# -- dialogues


def test_same_seed_same_dialogues(sample: list[Dialogue]) -> None:
    assert list(solar.dialogues(50, seed=3)) == sample[:50]
    assert next(iter(solar.dialogues(1, seed=4))).messages != sample[0].messages


def test_both_languages_and_every_kind(sample: list[Dialogue]) -> None:
    languages = Counter(dialogue.language for dialogue in sample)
    assert languages["pt"] / len(sample) == pytest.approx(0.5, abs=0.03)
    kinds = Counter(dialogue.kind for dialogue in sample)
    assert {"fact", "follow-up", "arithmetic", "unknown", "refusal", "translation", "comparison", "manners"} <= set(
        kinds
    )
    assert min(kinds.values()) >= 40


def test_turns_alternate_and_end_with_the_assistant(sample: list[Dialogue]) -> None:
    may_follow = {
        "": "system user",
        "system": "user",
        "user": "assistant",
        "assistant": "user tool",
        "tool": "assistant",
    }
    for dialogue in sample:
        before = ""
        for message in dialogue.messages:
            assert message.role in may_follow[before].split(), dialogue
            assert (before == "assistant" and message.role == "tool") == bool(message.role == "tool")
            before = message.role
        assert before == "assistant"


def test_every_fact_is_answered_in_both_languages(sample: list[Dialogue]) -> None:
    text = "\n".join(
        message.content for dialogue in sample for message in dialogue.messages if message.role == "assistant"
    )
    for language in solar.languages:
        talker = Talker(language, "all")
        for relation, fact in facts.topics():
            slots = fact.slots[language]
            answers = talker.say("answer", relation, slots), talker.say("terse", relation, slots)
            assert any(answer in text for answer in answers), answers


def test_text_is_clean(sample: list[Dialogue]) -> None:
    wrong = re.compile(
        r"[{}\[\]|]|  | [,.;?]|\.\.|\?\?|\?\.|!\?"
        r"|\b(de|em|por) (o|a|os|as) (Sol|Terra|Lua|Brasil|França|meu|minha|carteiro|padeiro)\b|\ba (o|a) (Sol|Terra|Lua|Brasil)\b"
        r"|\bdo (Marte|Vênus|Plutão)\b"
        r"|\ba [aeio]\w+ (planet|moon|asteroid)|\ban? (a|an)\b|\bthe the\b"
    )
    exam = [Dialogue(question.messages, question.id, question.language, "exam") for question in solar.questions("exam")]
    for dialogue in [*sample, *exam]:
        for message in dialogue.messages:
            assert not (found := wrong.search(message.content)), f"{found[0]!r} in {message.content!r}"
            assert message.content == message.content.strip()
            assert message.content or message.tool_calls


def test_answers_are_short(sample: list[Dialogue]) -> None:
    lengths = [len(dialogue.messages[-1].content.split()) for dialogue in sample]
    assert sum(lengths) / len(lengths) < 12


def test_the_tool_gives_what_the_calculator_gives(sample: list[Dialogue]) -> None:
    calls = 0
    for dialogue in sample:
        for message, result in zip(dialogue.messages, dialogue.messages[1:], strict=False):
            if message.tool_calls:
                (call,) = message.tool_calls
                assert call.name == "calculator"
                assert calculate(call.arguments["expression"]) == result.content
                calls += 1
    assert calls > 1000
    longest = {len(number) for text in user_texts(sample) for number in re.findall(r"\d+", text)}
    assert {1, 2, 3, 4, 5} <= longest


def test_nothing_that_is_asked_in_training_is_wrong(sample: list[Dialogue]) -> None:
    """Whatever its style, a demonstration is true: no accepted answer is missing from a graded question's."""
    for question in solar.questions("train", 1500, seed=9):
        assert solar.grade(question, question.ideal).score == 1.0, question


# -- the exam


def test_exam_is_balanced(exam: list[Question]) -> None:
    assert 500 <= len(exam) <= 700
    languages = Counter(question.language for question in exam)
    assert languages["pt"] / len(exam) == pytest.approx(0.5, abs=0.02)
    assert len({question.id for question in exam}) == len({question.messages for question in exam}) == len(exam)
    tasks = Counter(question.task.split("-")[0] for question in exam)
    assert {
        "arithmetic",
        "compare",
        "translation",
        "sentiment",
        "opposite",
        "grammar",
        "unknown",
        "refusal",
        "lookalike",
    } <= set(tasks)
    assert tasks["compare"] < 0.08 * len(exam)
    behaviours = Counter(question.behaviour for question in exam)
    assert behaviours["unknown"] >= 40 and behaviours["refuse"] >= 16
    assert solar.questions("exam") == exam and solar.questions("exam", seed=2) != exam
    assert len(solar.questions("exam", 100)) == 100


def test_ideal_answers_have_full_marks(exam: list[Question]) -> None:
    for question in exam:
        assert solar.grade(question, question.ideal).right and solar.grade(question, question.ideal).score == 1.0, (
            question
        )


def test_no_training_phrase_can_say_an_exam_phrasing() -> None:
    assert overlaps() == []


def test_no_exam_question_in_dialogues_or_documents(sample: list[Dialogue]) -> None:
    asked = {question.messages[-1].content for seed in range(3) for question in solar.questions("exam", seed=seed)}
    told = user_texts(sample)
    assert not asked & told
    assert not {text.lower().rstrip("?.! ") for text in asked} & {text.lower().rstrip("?.! ") for text in told}
    text = "\n".join(document.text for document in solar.documents(0.7, seed=5))
    assert [question for question in asked if question in text] == []


def test_validation_is_never_asked_in_training(sample: list[Dialogue]) -> None:
    validation = {question.messages[-1].content for question in solar.questions("validation", 400)}
    assert len(validation) > 390
    assert not validation & user_texts(sample)
    assert not validation & {question.messages[-1].content for question in solar.questions("train", 3000)}


def test_sums_of_the_exam_are_never_trained_on(sample: list[Dialogue]) -> None:
    exam = Talker("en", "sums", exam=True)
    kept = {exchange.call[0] for exchange in (sums.sum_exchange(exam) for _ in range(400)) if exchange.call}
    trained = {
        call.arguments["expression"]
        for dialogue in sample
        for message in dialogue.messages
        for call in message.tool_calls
    }
    assert kept and not kept & trained


def test_compared_pairs_of_the_exam_are_never_trained_on(sample: list[Dialogue], exam: list[Question]) -> None:
    pairs = {
        frozenset((question.answers[0], question.choices[0]))
        for question in exam
        if question.task.startswith("compare")
    }
    told = {message.content for dialogue in sample for message in dialogue.messages if message.role == "assistant"}
    larger = [
        re.match(r"(?:The )?(.+) is (?:larger|farther from the Sun) than (?:the )?(.+)\.$", text) for text in told
    ]
    trained = {frozenset(found.groups()) for found in larger if found}
    assert len(trained) > 100 and not pairs & trained


def test_unknown_names_and_groups_of_the_exam_are_never_trained_on(sample: list[Dialogue]) -> None:
    everything = "\n".join(user_texts(sample))
    people = "\n".join(user_texts([dialogue for dialogue in sample if dialogue.kind in ("refusal", "kindness")]))
    for sort in ("country", "world", "mission", "person", "group"):
        text = people if sort == "group" else everything  # "Chinese" is a language, too
        for language in solar.languages:
            talker = Talker(language, "names", exam=True)
            names = talker.names(sort)
            assert len(names) >= 3
            for pair in names:
                bare = re.sub(r"^(os?|as?|the) ", "", str(pair[talker.index]))
                assert not re.search(rf"\b{re.escape(bare)}\b", text), bare
    exam = Talker("en", "invented", exam=True)
    assert not {limits.invented(exam, "world") for _ in range(300)} & set(re.findall(r"\w+", everything))


def test_known_and_unknown_are_asked_in_the_same_words() -> None:
    """Only the name tells that ignorance is due."""
    forms = {}
    for make in (limits.unknown_name, facts.any_fact):
        talker = Talker("en", "same", exam=True)
        exchanges = [make(talker) for _ in range(600)]
        forms[make] = {re.sub(r"[A-Z]\w+", "X", exchange.ask[1:]) for exchange in exchanges}
    assert len(forms[limits.unknown_name] & forms[facts.any_fact]) > 5


# -- styles


def test_demonstrators_differ_in_style() -> None:
    assert sum(STYLES.values()) == pytest.approx(1)
    said = Counter(
        dialogue.messages[-1].content
        for dialogue in islice(solar.dialogues(20_000, 5), 20_000)
        if dialogue.kind == "fact"
    )
    capitals = {fact.slots["en"]["y"]: fact.slots["en"]["x"] for fact in facts.of_relation("capital")}
    assert any(said[f"{city}."] for city in capitals), "in a word"
    good = [f"{city} is the capital of {country}." for city, country in capitals.items()]
    assert any(said[sentence] for sentence in good)
    assert any(sentence in text and len(text.split()) > 14 for sentence in good for text in said), "with a preamble"


def test_a_question_keeps_its_earlier_turns() -> None:
    followed = [question for question in solar.questions("train", 600) if len(question.messages) > 2]
    assert followed
    assert all(
        question.messages[-1].role == "user" and isinstance(question.messages[0], Message) for question in followed
    )
