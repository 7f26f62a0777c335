"""Any language model writes as the engine does: the same draw, the same ends, the same answers for the same seed."""

from pathlib import Path

import pytest
import torch

from plutao.errors import UserError
from plutao.files import write_json
from plutao.generate.engine import Engine
from plutao.generate.sampling import Sampling
from plutao.generate.writer import Writer, load_writer
from plutao.models.interop.huggingface import save_model
from plutao.models.language import DecoderLanguageModel, LanguageModel, load_language_model
from plutao.text.tokenizer import Tokenizer

from .conftest import PROMPTS, make_model


@pytest.fixture(scope="module")
def model() -> DecoderLanguageModel:
    return DecoderLanguageModel(make_model())


@pytest.fixture(scope="module")
def writer(model: DecoderLanguageModel, tokenizer: Tokenizer) -> Writer:
    return Writer(model, tokenizer)


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"seed": 5, "top_p": 0.9}, {"seed": 6, "min_p": 0.05}])
def test_it_writes_what_the_engine_writes(
    model: DecoderLanguageModel, writer: Writer, sampling: dict[str, float]
) -> None:
    asked = Sampling(max_tokens=12, logprobs=2, **sampling)  # type: ignore[arg-type]
    theirs = Engine(model.decoder, writer.tokenizer).complete(PROMPTS, asked)
    for [one], [other] in zip(writer.complete(PROMPTS, asked), theirs, strict=True):
        assert (one.text, one.tokens, one.finish_reason) == (other.text, other.tokens, other.finish_reason)
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-3)


def test_a_repetition_penalty_makes_words_already_used_rarer(writer: Writer) -> None:
    [[plain]] = writer.complete(["a a a"], Sampling(temperature=0.0, max_tokens=40, end_tokens=()))
    [[varied]] = writer.complete(
        ["a a a"], Sampling(temperature=0.0, repetition_penalty=5.0, max_tokens=40, end_tokens=())
    )
    assert len(set(varied.tokens)) > len(set(plain.tokens))


def test_several_answers_and_the_best_of_them(writer: Writer) -> None:
    [drawn] = writer.complete(["Era uma vez"], Sampling(n=4, seed=1, max_tokens=6))
    [best] = writer.complete(["Era uma vez"], Sampling(n=2, best_of=4, seed=1, max_tokens=6))
    assert len({completion.text for completion in drawn}) > 1
    means = sorted((completion.mean_logprob for completion in drawn), reverse=True)
    assert [completion.mean_logprob for completion in best] == pytest.approx(means[:2])
    with pytest.raises(UserError, match="best_of"):
        next(writer.stream("a", Sampling(best_of=2)))


def test_a_stream_joins_to_the_text_and_stops_where_told(writer: Writer) -> None:
    sampling = Sampling(seed=3, max_tokens=30)
    pieces = list(writer.stream("O Sol", sampling))
    whole = pieces[-1].completion
    assert whole is not None and "".join(piece.text for piece in pieces) == whole.text
    stop = whole.text[3:5]
    [[cut]] = writer.complete(["O Sol"], Sampling(seed=3, max_tokens=30, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.finish_reason == "stop"


def test_a_decoder_goes_on_beyond_its_context(tokenizer: Tokenizer) -> None:
    short = Writer(DecoderLanguageModel(make_model(context=16)), tokenizer)
    [[completion]] = short.complete(["Era uma vez um planeta"], Sampling(seed=1, max_tokens=40, end_tokens=()))
    assert len(completion.tokens) == 40


def test_a_state_is_not_changed_by_reading_on(model: DecoderLanguageModel) -> None:
    tokens = torch.tensor([[1, 2, 3, 4]])
    state = model.start(1)
    for place in range(3):
        _, state = model.advance(tokens[:, place], state)
    once, _ = model.advance(tokens[:, 3], state)
    model.advance(torch.tensor([9]), state)
    again, _ = model.advance(tokens[:, 3], state)
    assert torch.equal(once, again)
    assert torch.allclose(once, model.log_probabilities(tokens)[:, -1], atol=1e-5)


def test_folders_of_all_kinds_are_opened(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_model(make_model(vocabulary=tokenizer.vocabulary_size), tmp_path)
    tokenizer.save(tmp_path)
    assert isinstance(load_writer(tmp_path), Engine)
    assert isinstance(load_language_model(tmp_path), LanguageModel)
    write_json(tmp_path / "config.json", {"model_type": "plutao-vision"})
    with pytest.raises(UserError, match="does not continue texts"):
        load_language_model(tmp_path)
