"""Serving: prompts read in stretches and beginnings read before change nothing in what is written."""

import json
import re
from itertools import chain

import pytest
import torch

from plutao.errors import UserError
from plutao.generate.answers import Completion, Piece
from plutao.generate.engine import Engine
from plutao.generate.grammar import Grammar
from plutao.generate.sampling import Sampling
from plutao.generate.serving import ServingEngine
from plutao.models.decoder import Decoder
from plutao.text.tokenizer import Tokenizer

from .conftest import PROMPTS, make_model

LONG = list(range(20, 120))


def serving(model: Decoder, tokenizer: Tokenizer, **changes: object) -> ServingEngine:
    return ServingEngine(model, tokenizer, **{"slots": 4, "chunk": 16, **changes})  # type: ignore[arg-type]


def essence(completion: Completion) -> tuple[object, ...]:
    return completion.text, completion.tokens, completion.token_logprobs, completion.finish_reason


@pytest.mark.parametrize("compiled", [True, False])
def test_stretches_and_company_change_nothing(model: Decoder, tokenizer: Tokenizer, compiled: bool) -> None:
    """Sampled answers and their log-probabilities are those of the plain engine."""
    plain = Engine(model, tokenizer, slots=2, compiled=compiled)
    engine = serving(model, tokenizer, compiled=compiled)
    prompts = [*PROMPTS, LONG, LONG[:50], PROMPTS[1]]
    for sampling in (Sampling(seed=3, max_tokens=12, n=2), Sampling(temperature=0, max_tokens=8)):
        expected, written = plain.complete(prompts, sampling), engine.complete(prompts, sampling)
        for one, other in zip(chain(*expected), chain(*written), strict=True):
            assert other.tokens == one.tokens
            assert other.text == one.text
            if compiled:
                assert other.token_logprobs == one.token_logprobs
            else:
                assert other.token_logprobs == pytest.approx(one.token_logprobs, abs=1e-4)


def test_a_beginning_is_read_once(model: Decoder, tokenizer: Tokenizer) -> None:
    engine = serving(model, tokenizer)
    sampling = Sampling(seed=1, max_tokens=10)
    first = engine.complete([LONG], sampling)[0][0]
    again = engine.complete([LONG], sampling)[0][0]
    other = engine.complete([[*LONG[:40], 7, 8, 9]], sampling)[0][0]
    assert (first.cached, again.cached, other.cached) == (0, 96, 32)
    assert essence(again) == essence(first)
    assert essence(other) == essence(Engine(model, tokenizer).complete([[*LONG[:40], 7, 8, 9]], sampling)[0][0])


def test_a_conversation_goes_on_from_what_was_written(model: Decoder, tokenizer: Tokenizer) -> None:
    engine = serving(model, tokenizer)
    sampling = Sampling(seed=1, max_tokens=40, end_tokens=())
    first = engine.complete([LONG[:20]], sampling)[0][0]
    turn = [*LONG[:20], *first.tokens, 5, 6]
    assert engine.complete([turn], sampling)[0][0].cached == 48  # of the 59 whose keys are known, whole blocks


def test_beginnings_are_shared_only_under_one_salt(model: Decoder, tokenizer: Tokenizer) -> None:
    engine = serving(model, tokenizer)
    sampling = Sampling(seed=1, max_tokens=3)
    cached = []
    for salt in ("a", "b", "a"):
        request = engine.ask(LONG, sampling, salt=salt)
        while engine.busy:
            engine.step()
        cached.append(request.cached)
    assert cached == [0, 0, 96]


def test_what_is_kept_is_bounded_and_stays_right(model: Decoder, tokenizer: Tokenizer) -> None:
    """A store far too small for what comes: beginnings leave and come again, and no answer changes."""
    per_token = 2 * 2 * 2 * 16 * 4
    engine = serving(model, tokenizer, prefix_memory=8 * 16 * per_token)
    plain = Engine(model, tokenizer)
    generator = torch.Generator().manual_seed(0)
    stems = [torch.randint(16, 300, (64,), generator=generator).tolist() for _ in range(4)]
    sampling = Sampling(seed=5, max_tokens=6)
    for place in range(24):
        prompt = [*stems[place * 7 % 4][: 16 * (place % 4 + 1)], 20 + place]
        assert essence(engine.complete([prompt], sampling)[0][0]) == essence(plain.complete([prompt], sampling)[0][0])
        assert engine.prefixes.tokens <= 8 * 16
    assert engine.reused_tokens > 0


def test_new_weights_forget_what_was_read(tokenizer: Tokenizer) -> None:
    model = make_model(3)
    engine = serving(model, tokenizer)
    sampling = Sampling(temperature=0, max_tokens=10)
    engine.complete([LONG], sampling)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    engine.refresh()
    assert essence(engine.complete([LONG], sampling)[0][0]) == essence(
        Engine(model, tokenizer).complete([LONG], sampling)[0][0]
    )


def test_a_long_prompt_stalls_nobody(model: Decoder, tokenizer: Tokenizer) -> None:
    """While a prompt of 100 tokens is read in stretches of 16, another text gains a token at every step."""
    engine = serving(model, tokenizer)
    other = engine.submit([5, 6], Sampling(seed=1, max_tokens=50, end_tokens=()), streaming=True)
    engine.step()
    long = engine.submit(LONG, Sampling(seed=1, max_tokens=2), streaming=True)
    steps = 0
    while not (pieces := [piece for piece in engine.step() if piece.request == long]):
        steps += 1
    assert steps == 6
    assert pieces[0].tokens
    while engine.busy:
        pieces += engine.step()
    [written] = [piece.completion for piece in pieces if piece.request == other and piece.completion is not None]
    assert len(written.tokens) == 50


def test_short_prompts_pass_a_long_one(model: Decoder, tokenizer: Tokenizer) -> None:
    engine = serving(model, tokenizer)
    engine.submit(LONG, Sampling(seed=1, max_tokens=2))
    short = engine.submit([5, 6, 7], Sampling(seed=1, max_tokens=2), streaming=True)
    assert any(piece.request == short for piece in engine.step())


def test_abort_at_any_time_frees_everything(model: Decoder, tokenizer: Tokenizer) -> None:
    """In the queue, while the prompt is read, while it is written: the others get what they would have got."""
    expected = Engine(model, tokenizer).complete([[9, 8, 7]], Sampling(seed=2, max_tokens=30, end_tokens=()))[0][0]
    for steps in range(10):
        engine = serving(model, tokenizer, slots=2)
        kept = engine.submit([9, 8, 7], Sampling(seed=2, max_tokens=30, end_tokens=()))
        gone = [engine.submit(LONG, Sampling(seed=n, max_tokens=30, n=2)) for n in range(3)]
        pieces: list[Piece] = []
        for _ in range(steps):
            pieces += engine.step()
        for number in gone:
            engine.abort(number)
        assert engine.running <= 1
        while engine.busy:
            pieces += engine.step()
        [completion] = [piece.completion for piece in pieces if piece.request == kept and piece.completion]
        assert essence(completion) == essence(expected)
        assert engine.running == engine.waiting == 0


def test_a_prompts_own_log_probabilities(model: Decoder, tokenizer: Tokenizer) -> None:
    engine = serving(model, tokenizer, chunk=7)
    engine.complete([LONG[:60]], Sampling(seed=1, max_tokens=1))  # what is kept must not be skipped
    engine.ask(LONG[:60], Sampling(temperature=0, max_tokens=1, logprobs=2), scored=True)
    pieces = []
    while engine.busy:
        pieces += engine.step()
    scores = pieces[0].prompt
    assert scores is not None
    with torch.no_grad():
        expected = model(torch.tensor([LONG[:60]]))[0, :-1, : engine.vocabulary].log_softmax(-1)
    own = expected.gather(1, torch.tensor(LONG[1:60]).unsqueeze(1)).squeeze(1)
    assert scores.logprobs == pytest.approx(own.tolist(), abs=1e-4)
    assert [alternatives[0][0] for alternatives in scores.alternatives] == expected.argmax(-1).tolist()


def test_frequency_and_presence_penalties_are_openais(model: Decoder, tokenizer: Tokenizer) -> None:
    """mu[j] − c[j]·frequency − (c[j] > 0)·presence, counted over the answer alone."""
    sampling = Sampling(temperature=0, max_tokens=25, frequency_penalty=0.7, presence_penalty=0.4, end_tokens=())
    engine = serving(model, tokenizer, slots=3)
    prompts = [[5, 9, 17], [30, 31], [40], [41]]
    plain = Sampling(temperature=0, max_tokens=25, end_tokens=())
    numbers = [engine.submit(prompt, sampling if place % 2 == 0 else plain) for place, prompt in enumerate(prompts)]
    written = {}
    while engine.busy:
        written |= {piece.request: piece.completion for piece in engine.step() if piece.completion}
    for place, (number, prompt) in enumerate(zip(numbers, prompts, strict=True)):
        row, counts = list(prompt), torch.zeros(engine.vocabulary)
        with torch.no_grad():
            for _ in range(25):
                logits = model(torch.tensor([row]))[0, -1, : engine.vocabulary]
                if place % 2 == 0:
                    logits = logits - 0.7 * counts - 0.4 * (counts > 0)
                row.append(int(logits.argmax()))
                counts[row[-1]] += 1
        assert written[number].tokens == row[len(prompt) :]


def test_a_bias_forbids_and_forces(model: Decoder, tokenizer: Tokenizer) -> None:
    engine = serving(model, tokenizer)
    best = engine.complete([[5, 9]], Sampling(temperature=0, max_tokens=1))[0][0].tokens[0]
    forbidden = engine.complete([[5, 9]], Sampling(temperature=0, max_tokens=1, logit_bias=((best, -100.0),)))[0][0]
    forced = engine.complete([[5, 9]], Sampling(seed=1, max_tokens=4, logit_bias=((77, 100.0),)))[0][0]
    assert forbidden.tokens != [best]
    assert forced.tokens == [77] * 4
    with pytest.raises(UserError, match="logit_bias"):
        engine.complete([[5]], Sampling(logit_bias=((100_000, 1.0),)))


SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Plutão", "Sol"]}, "moons": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "moons"],
    "additionalProperties": False,
}


def test_answers_have_the_form_that_was_asked_for(model: Decoder, tokenizer: Tokenizer) -> None:
    """A model that knows nothing writes JSON of the schema, others beside it what they would have written."""
    engine = serving(model, tokenizer)
    sampling = Sampling(temperature=1.5, seed=4, max_tokens=60, n=3, grammar=Grammar("json_schema", json.dumps(SCHEMA)))
    numbers = [engine.submit([5, 9], sampling), engine.submit([5, 9], Sampling(seed=4, max_tokens=60))]
    written: dict[int, list[Completion]] = {number: [] for number in numbers}
    while engine.busy:
        for piece in engine.step():
            if piece.completion is not None:
                written[piece.request].append(piece.completion)
    for completion in written[numbers[0]]:
        value = json.loads(completion.text)
        assert value["name"] in ("Plutão", "Sol") and 0 <= value["moons"] <= 99
        assert completion.finish_reason == "stop"
    assert essence(written[numbers[1]][0]) == essence(
        Engine(model, tokenizer).complete([[5, 9]], Sampling(seed=4, max_tokens=60))[0][0]
    )


def test_a_regular_expression_is_kept(model: Decoder, tokenizer: Tokenizer) -> None:
    sampling = Sampling(seed=4, max_tokens=40, grammar=Grammar("regex", r"[0-9]{3}-[a-z]{2,4}"))
    text = serving(model, tokenizer).complete([[5, 9]], sampling)[0][0].text
    assert re.fullmatch(r"[0-9]{3}-[a-z]{2,4}", text)


@pytest.mark.parametrize(
    "grammar", [Grammar("regex", "([a-z"), Grammar("json_schema", "[1]"), Grammar("json_schema", '{"type": "strange"}')]
)
def test_a_form_that_is_none_is_refused(grammar: Grammar, model: Decoder, tokenizer: Tokenizer) -> None:
    engine = serving(model, tokenizer)
    with pytest.raises(UserError, match="can't be used"):
        engine.submit([5], Sampling(grammar=grammar))
    assert not engine.busy
