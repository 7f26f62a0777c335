"""The engine writes what the model says: as transformers does, alone as in company, and to each answer's own end."""

from pathlib import Path

import pytest
import torch

from plutao.errors import UserError
from plutao.generate.answers import Completion, StopScanner
from plutao.generate.engine import Engine, load_engine
from plutao.generate.sampling import Sampling
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import save_model
from plutao.text.tokenizer import Tokenizer

from .conftest import PROMPTS, make_model

GREEDY = Sampling(temperature=0, max_tokens=30, end_tokens=())


def one(engine: Engine, prompt: str | list[int], sampling: Sampling) -> Completion:
    return engine.complete([prompt], sampling)[0][0]


def written_without_cache(model: Decoder, prompt: list[int], tokens: int, vocabulary: int) -> list[int]:
    row = list(prompt)
    with torch.no_grad():
        for _ in range(tokens):
            row.append(int(model(torch.tensor([row]))[0, -1, :vocabulary].argmax()))
    return row[len(prompt) :]


SHAPES = [
    {},
    {"qk_norm": True, "kv_heads": 4, "tied": False},
    {"qkv_bias": True, "kv_heads": 1},
    {"norm": "layer", "positions": "learned", "activation": "gelu_tanh", "bias": True, "kv_heads": 4},
]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_cache_changes_nothing(shape: dict[str, object], compiled: bool, tokenizer: Tokenizer) -> None:
    model = make_model(1, **shape)
    engine = Engine(model, tokenizer, slots=3, compiled=compiled)
    for prompt in ([5, 9, 300, 17], list(range(20, 75))):
        written = one(engine, prompt, GREEDY)
        assert written.tokens == written_without_cache(model, prompt, 30, tokenizer.vocabulary_size)


def test_log_probabilities_are_the_models_own(model: Decoder, engine: Engine) -> None:
    """Temperature, truncation and penalty change what is drawn, not what is reported."""
    prompt = [5, 9, 300, 17]
    sampling = Sampling(temperature=0.6, top_k=7, repetition_penalty=1.3, seed=1, max_tokens=20, logprobs=3)
    answer = one(engine, prompt, sampling)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer.tokens]))[0, len(prompt) - 1 : -1, : engine.vocabulary]
    expected = logits.log_softmax(-1)
    told = torch.tensor(answer.token_logprobs)
    assert torch.allclose(told, expected.gather(1, torch.tensor(answer.tokens).unsqueeze(1)).squeeze(1), atol=1e-4)
    best = expected.topk(3)
    assert [[token for token, _ in row] for row in answer.alternatives] == best.indices.tolist()
    assert torch.allclose(
        torch.tensor([[value for _, value in row] for row in answer.alternatives]), best.values, atol=1e-4
    )


def test_greedy_tokens_equal_transformers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    model = make_model(3, vocabulary=tokenizer.vocabulary_size)
    save_model(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS if prompt]
    ours = Engine(model, tokenizer, slots=len(prompts)).complete(
        prompts, Sampling(temperature=0, max_tokens=40, end_tokens=())
    )
    for prompt, answers in zip(prompts, ours, strict=True):
        expected = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=40, do_sample=False, eos_token_id=None, pad_token_id=1
        )[0, len(prompt) :].tolist()
        assert answers[0].tokens == expected


@pytest.mark.parametrize("compiled", [True, False])
def test_a_text_is_the_same_alone_and_in_company(model: Decoder, tokenizer: Tokenizer, compiled: bool) -> None:
    """Greedy and drawn, with every kind of setting, bit by bit: tokens and log-probabilities."""
    settings = [
        Sampling(temperature=(0, 1, 0.7, 1.4)[i % 4], top_k=(0, 12)[i % 2], top_p=(1, 0.9, 0.5)[i % 3], seed=i,
                 min_p=(0, 0.05)[i // 2 % 2], repetition_penalty=(1, 1.3)[i // 5 % 2], max_tokens=5 + 3 * i, logprobs=i % 3)
        for i in range(24)
    ]  # fmt: skip
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(24)]
    lonely = Engine(model, tokenizer, slots=1, compiled=compiled)
    assert lonely.independent, "this machine's matrix kernels treat rows differently"
    alone = [one(lonely, prompt, sampling) for prompt, sampling in zip(prompts, settings, strict=True)]
    company = Engine(model, tokenizer, slots=7, compiled=compiled)
    numbers = [company.submit(prompt, sampling) for prompt, sampling in zip(prompts, settings, strict=True)]
    together = {}
    while company.busy:
        together |= {piece.request: piece.completion for piece in company.step() if piece.completion}
    assert [together[number] for number in numbers] == alone


def test_seeds_reproduce_and_unseeded_answers_tell_theirs(engine: Engine) -> None:
    sampling = Sampling(seed=11, max_tokens=25)
    assert one(engine, "Era uma", sampling) == one(engine, "Era uma", sampling)
    assert one(engine, "Era uma", Sampling(seed=12, max_tokens=25)).tokens != one(engine, "Era uma", sampling).tokens
    fresh = one(engine, "Era uma", Sampling(max_tokens=25))
    assert one(engine, "Era uma", Sampling(max_tokens=25, seed=fresh.seed)) == fresh


def test_tokens_beyond_the_tokenizer_are_never_drawn(tokenizer: Tokenizer) -> None:
    model = make_model(0, tied=False)
    with torch.no_grad():
        model.head.weight[tokenizer.vocabulary_size :] = 0
        model.head.weight[: tokenizer.vocabulary_size] *= 0.01
    engine = Engine(model, tokenizer, slots=8)
    answers = engine.complete([[3, 4]], Sampling(temperature=2.0, n=8, max_tokens=60, end_tokens=(), seed=0))[0]
    drawn = {token for answer in answers for token in answer.tokens}
    assert max(drawn) < tokenizer.vocabulary_size < model.config.vocabulary


def test_n_answers_differ_and_each_can_be_had_again(model: Decoder, tokenizer: Tokenizer) -> None:
    """More answers than slots: those that wait write what they would have written."""
    wide = Engine(model, tokenizer, slots=8).complete(["O Sol"], Sampling(seed=5, n=6, max_tokens=15))[0]
    narrow = Engine(model, tokenizer, slots=2).complete(["O Sol"], Sampling(seed=5, n=6, max_tokens=15))[0]
    assert wide == narrow
    assert len({tuple(answer.tokens) for answer in wide}) > 1


def test_a_prompt_is_read_once_for_all_its_answers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    prefill = engine._prefill
    monkeypatch.setattr(
        engine, "_prefill", lambda start, requests: read.append(len(requests)) or prefill(start, requests)
    )
    engine.complete(["O Sol falava"], Sampling(n=4, max_tokens=5))
    assert read == [1]


def test_best_of_gives_the_most_probable_answers(engine: Engine) -> None:
    every = engine.complete(["Era"], Sampling(seed=2, n=8, max_tokens=12))[0]
    best = engine.complete(["Era"], Sampling(seed=2, n=2, best_of=8, max_tokens=12))[0]
    ranked = sorted(every, key=lambda answer: -answer.mean_logprob)
    assert [answer.tokens for answer in best] == [answer.tokens for answer in ranked[:2]]
    with pytest.raises(UserError, match="best_of"):
        engine.submit("Era", Sampling(best_of=2), streaming=True)


def test_a_stop_text_ends_the_answer_before_it(engine: Engine) -> None:
    whole = one(engine, "Era uma vez", Sampling(seed=4, max_tokens=40, end_tokens=()))
    assert len(whole.text) > 12
    stop = whole.text[7:11]
    stopped = one(engine, "Era uma vez", Sampling(seed=4, max_tokens=40, stop=("never comes", stop), end_tokens=()))
    assert stopped.finish_reason == "stop"
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert len(stopped.tokens) < len(whole.tokens)


def test_a_stream_joins_to_the_text_and_shows_no_part_of_a_stop_text(engine: Engine) -> None:
    for seed in range(6):
        sampling = Sampling(seed=seed, max_tokens=40, temperature=1.3)
        whole = one(engine, "Coração", sampling)
        pieces = list(engine.stream("Coração", sampling))
        assert "".join(piece.text for piece in pieces) == whole.text
        assert [token for piece in pieces for token in piece.tokens] == whole.tokens
        assert pieces[-1].completion == whole
        stop = (whole.text[5:9] or "x",)
        stopped = Sampling(seed=seed, max_tokens=40, temperature=1.3, stop=stop)
        shown = "".join(piece.text for piece in engine.stream("Coração", stopped))
        assert shown == one(engine, "Coração", stopped).text
        assert stop[0] not in shown


def test_the_scanner_holds_back_only_what_may_begin_a_stop_text() -> None:
    scanner = StopScanner(["\n\nUser:", "END"])
    assert scanner.add("Olá\n") == ("Olá", False)
    assert scanner.add("\nUsar") == ("\n\nUsar", False)
    assert scanner.add(" E") == (" ", False)
    assert scanner.add("N") == ("", False)
    assert scanner.finish() == "EN"
    assert scanner.add("fim\n\nUs") == ("fim", False)
    assert scanner.add("er: x") == ("", True)


def test_an_end_token_ends_the_answer_and_is_no_text(engine: Engine) -> None:
    free = one(engine, "Era", Sampling(temperature=0, max_tokens=20, end_tokens=()))
    end = free.tokens[6]
    ended = one(engine, "Era", Sampling(temperature=0, max_tokens=20, end_tokens=(end,)))
    first = free.tokens.index(end)
    assert (ended.finish_reason, ended.tokens) == ("stop", free.tokens[: first + 1])
    assert ended.text == engine.tokenizer.decode(free.tokens[:first])


def test_an_unsure_model_stops(engine: Engine) -> None:
    sampling = Sampling(temperature=0, max_tokens=40, logprobs=1, end_tokens=())
    best = [alternatives[0][1] for alternatives in one(engine, "Era", sampling).alternatives]
    bound = sorted(best)[len(best) // 2]
    stopped = one(
        engine, "Era", Sampling(temperature=0, max_tokens=40, end_tokens=(), stop_probability=2.718281828**bound)
    )
    assert stopped.finish_reason == "probability"
    assert len(stopped.tokens) == next(place for place, value in enumerate(best) if value < bound - 1e-6)


def test_the_contexts_end_ends_the_answer(engine: Engine) -> None:
    answer = one(engine, [7] * 120, Sampling(max_tokens=50, end_tokens=(), seed=0))
    assert (answer.finish_reason, len(answer.tokens)) == ("length", 128 - 120 + 1)
    assert len(one(engine, [7] * 128, Sampling(max_tokens=50, end_tokens=(), seed=0)).tokens) == 1


def test_a_prompt_that_is_too_long_is_refused_or_visibly_cut(engine: Engine) -> None:
    prompt = list(range(20, 220))
    with pytest.raises(UserError, match=r"200 tokens.*128"):
        engine.complete([prompt])
    [[cut]] = engine.complete([prompt], Sampling(temperature=0, max_tokens=10, end_tokens=()), truncate_prompt=True)
    assert cut.truncated + cut.prompt_tokens == 200
    assert len(cut.tokens) == 10
    assert (
        cut.tokens == one(engine, prompt[cut.truncated :], Sampling(temperature=0, max_tokens=10, end_tokens=())).tokens
    )


def test_a_token_outside_the_vocabulary_is_refused(engine: Engine) -> None:
    with pytest.raises(UserError, match="99999"):
        engine.submit([1, 99999])


def test_abort_frees_the_slot_and_leaves_the_others_alone(engine: Engine) -> None:
    sampling = Sampling(seed=1, max_tokens=30, end_tokens=())
    expected = one(engine, "The fox", sampling)
    numbers = [engine.submit(prompt, sampling) for prompt in ("Era", "The fox", "Sol", "um", "waits for a slot")]
    for _ in range(4):
        engine.step()
    assert len(engine._active) == 4
    [partial] = engine.abort(numbers[0])
    assert partial.finish_reason == "aborted" and 0 < len(partial.tokens) < 30
    assert engine.abort(numbers[0]) == []
    engine.step()
    assert len(engine._active) == 4, "the one that waited has the slot"
    ended = {}
    while engine.busy:
        ended |= {piece.request: piece.completion for piece in engine.step() if piece.completion}
    assert set(ended) == set(numbers[1:])
    assert ended[numbers[1]] == expected


def test_leaving_a_stream_early_frees_its_slot(engine: Engine) -> None:
    stream = engine.stream("Era", Sampling(max_tokens=50, end_tokens=()))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not engine.busy


def test_what_others_wait_for_is_not_lost(engine: Engine) -> None:
    number = engine.submit("Era", Sampling(max_tokens=3, end_tokens=()))
    one(engine, "The fox", Sampling(max_tokens=20, end_tokens=()))
    assert [piece.request for piece in engine.step() if piece.completion] == [number]


@pytest.mark.parametrize("compiled", [True, False])
def test_bf16_says_nearly_the_same(model: Decoder, tokenizer: Tokenizer, compiled: bool) -> None:
    exact = Engine(model, tokenizer, compiled=compiled)
    rough = Engine(model, tokenizer, dtype=torch.bfloat16, compiled=compiled)
    for prompt in PROMPTS:
        first, second = (
            one(engine, prompt, Sampling(temperature=0, max_tokens=1, logprobs=1)) for engine in (exact, rough)
        )
        assert first.alternatives[0][0][1] == pytest.approx(second.alternatives[0][0][1], abs=0.1)
    assert exact.independent
    assert rough.compiled or not rough.independent, "PyTorch's bf16 products differ with the rows beside them"


def test_new_weights_are_taken_over(tokenizer: Tokenizer) -> None:
    model = make_model(5)
    engine = Engine(model, tokenizer)
    model.load_state_dict(make_model(6).state_dict())
    engine.refresh()
    assert one(engine, [4, 5, 6], GREEDY).tokens == one(Engine(make_model(6), tokenizer), [4, 5, 6], GREEDY).tokens


def test_an_engine_from_a_folder(tmp_path: Path, model: Decoder, tokenizer: Tokenizer) -> None:
    save_model(model, tmp_path)
    tokenizer.save(tmp_path)
    loaded = load_engine(tmp_path)
    assert one(loaded, "Era", GREEDY).tokens == one(Engine(model, tokenizer), "Era", GREEDY).tokens
