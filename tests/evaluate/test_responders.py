"""The base model is shown how to answer, and answers in one line; worked examples are short and varied."""

from dataclasses import dataclass, replace

import pytest

from plutao.evaluate.responders import Example, PromptedBase, worked_examples
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder, DecoderConfig
from plutao.text.chat import Message
from plutao.text.tokenizer import train

TEXT = "— What is Pluto?\n— A dwarf planet.\n\n— O que é o Sol?\n— Uma estrela.\n" * 10
EXAMPLES = [Example("O que é o Sol?", "Uma estrela."), Example("What is Pluto?", "A dwarf planet.")]
ASK = ((Message("user", "What is\nthe Sun?"),), (Message("user", "O que é Plutão?"),))


@pytest.fixture(scope="module")
def engine() -> Engine:
    tokenizer = train("bpe", [TEXT], 300)
    shape = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 2, "head_width": 16, "hidden": 64}
    model = Decoder(DecoderConfig(vocabulary=tokenizer.vocabulary_size, context=128, **shape))
    model.initialise(1)
    return Engine(model.eval(), tokenizer, slots=4)


def test_the_base_model_reads_worked_examples_in_plain_text(engine: Engine) -> None:
    base = PromptedBase(engine, EXAMPLES)
    assert base.prompt(ASK[0]) == (
        "— O que é o Sol?\n— Uma estrela.\n\n— What is Pluto?\n— A dwarf planet.\n\n— What is the Sun?\n—"
    )
    talk = (Message("system", "Be brief."), *ASK[0], Message("assistant", "A star."), Message("user", "And Pluto?"))
    assert base.prompt(talk).endswith("\n\n— What is the Sun?\n— A star.\n— And Pluto?\n—")


def test_an_answer_ends_with_its_line_and_does_not_depend_on_the_others(engine: Engine) -> None:
    base = PromptedBase(engine, EXAMPLES, max_tokens=40)
    together = [some[0] for some in base.say(ASK * 3, 5, 1.0)]
    assert len(together) == 6 and all("\n" not in said.text for said in together)
    alone = engine.complete([base.prompt(ASK[1])], Sampling(max_tokens=40, stop=("\n",), seed=5 * 1_000_003 + 1))
    assert together[1].text == alone[0][0].text.strip()
    assert len({said.text for said in together[0::2]}) > 1, "equal prompts draw from numbers of their own"
    assert base.answer(ASK, 5, 1.0) == [said.text for said in together[:2]]
    several = base.say(ASK, 5, 1.0, n=3)
    assert [len(some) for some in several] == [3, 3] and several[1][0] == together[1]
    assert all(log <= 0 for some in several for said in some for log in said.logprobs)


def test_a_prompt_longer_than_the_context_keeps_the_question(engine: Engine) -> None:
    base = PromptedBase(engine, EXAMPLES * 6, max_tokens=8)
    whole = PromptedBase(engine, [], max_tokens=8)
    assert len(engine.tokenizer.encode(base.prompt(ASK[0]))) > 128
    assert base.answer(ASK[:1], 1, 0.0)
    assert base.prompt(ASK[0]).endswith(whole.prompt(ASK[0]))


@dataclass(frozen=True)
class Question:
    task: str
    language: str
    messages: tuple[Message, ...]
    ideal: str


def test_examples_are_short_and_take_languages_in_turn_and_each_kind_once() -> None:
    pool = [
        Question(task, language, (Message("user", f"{task} {language} {'x' * length}"),), "ideal\nanswer")
        for task in ("capitals", "moons", "sums-1", "sums-2", "sizes", "unknown")
        for language in ("pt", "en")
        for length in (5, 30, 60, 200)
    ]
    found = worked_examples(pool, 4)
    kinds, languages = zip(*((example.question.split()[0].split("-")[0], example.question.split()[1]) for example in found),
                           strict=True)  # fmt: skip
    assert len(set(kinds)) == 4 and languages == ("en", "pt", "en", "pt")
    assert all(len(example.question) < 60 and example.answer == "ideal answer" for example in found)
    assert len(worked_examples(pool, 50)) == 5, "no kind twice"
    assert worked_examples(pool, 4) == found
    assert worked_examples([replace(pool[0], ideal="")], 3) == []
