"""The reward model: what it reads, where, and that transformers reads the same number from its folder."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from plutao.errors import UserError
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import save_model
from plutao.models.presets import decoder_config
from plutao.models.reward import (
    RewardModel,
    encode_answer,
    load_reward,
    reward_token,
    save_reward,
    score_answers,
    score_conversations,
    score_tokens,
)
from plutao.text.chat import Message, ToolCall, encode
from plutao.text.tokenizer import Tokenizer, train

ASKS = (Message("user", "what is pluto?"),)
ANSWERS = ["a dwarf planet.", "the sun, of course, which is much larger.", "ice"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("bpe", ["the sun and pluto talk about ice: a dwarf planet, of course, which is small.\n"] * 5, 300)


def reward_model(tokenizer: Tokenizer, **changes: object) -> RewardModel:
    shape = {"context": 64, "layers": 2, "width": 32, "heads": 2, **changes}
    decoder = Decoder(decoder_config("plutao-1m", vocabulary=tokenizer.vocabulary_size, **shape))
    decoder.initialise(0)
    for parameter in decoder.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    model = RewardModel(decoder, reward_token(tokenizer))
    nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(2))
    return model.eval()


def rewards(model: RewardModel, tokenizer: Tokenizer) -> Tensor:
    return score_answers(model, tokenizer, [ASKS] * len(ANSWERS), ANSWERS)


def test_it_reads_up_to_the_end_of_the_turn_and_the_reward_token(tokenizer: Tokenizer) -> None:
    read = encode_answer(tokenizer, (*ASKS, Message("assistant", "ice")))
    opening = encode(tokenizer, ASKS, generation_prompt=True)
    assert read == [
        *opening,
        *tokenizer.encode("ice"),
        tokenizer.special("<|im_end|>"),
        tokenizer.special("<|reward|>"),
    ]
    # Typed by somebody, the token is text: a reward is read once, at the end.
    typed = encode_answer(tokenizer, (*ASKS, Message("assistant", "<|reward|>")))
    assert typed.count(tokenizer.special("<|reward|>")) == 1


def test_packed_side_by_side_answers_get_the_rewards_they_get_alone(tokenizer: Tokenizer) -> None:
    model = reward_model(tokenizer)
    rows = [encode_answer(tokenizer, (*ASKS, Message("assistant", answer))) for answer in ("ice", "a dwarf")]
    tokens = torch.tensor([rows[0] + rows[1]])
    segments = torch.tensor([[1] * len(rows[0]) + [2] * len(rows[1])])
    together = model(tokens, segments)
    alone = torch.cat([model(torch.tensor([row])) for row in rows])
    assert together.shape == (2,)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(score_tokens(model, rows), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.everywhere(tokens, segments)[0, -1], alone[1], atol=1e-5, rtol=0)


def test_centring_moves_all_rewards_alike(tokenizer: Tokenizer) -> None:
    model = reward_model(tokenizer)
    before = rewards(model, tokenizer)
    model.centre(float(before.mean()))
    after = rewards(model, tokenizer)
    assert after.mean().abs() < 1e-6
    torch.testing.assert_close(after - after[0], before - before[0])


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2", "untied"])
def test_transformers_reads_the_same_number_from_the_folder(tokenizer: Tokenizer, tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    as_gpt2 = {"norm": "layer", "positions": "learned", "activation": "gelu_tanh", "bias": True, "qk_norm": False}
    changes = {"qwen3": {}, "llama": {"qk_norm": False}, "gpt2": as_gpt2, "untied": {"tied": False}}[kind]
    model = reward_model(tokenizer, **changes)
    model.centre(0.5)
    save_reward(model, tmp_path, tokenizer)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, local_files_only=True).eval()
    assert theirs.config.num_labels == 1
    rows = [encode_answer(tokenizer, (*ASKS, Message("assistant", answer))) for answer in ANSWERS]
    width = max(map(len, rows))
    padded = torch.tensor([row + [tokenizer.pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad():
        logits = theirs(padded, attention_mask=mask).logits.squeeze(-1)
    torch.testing.assert_close(rewards(model, tokenizer), logits - 0.5, atol=1e-5, rtol=0)
    again = load_reward(tmp_path, tokenizer)
    torch.testing.assert_close(rewards(again, tokenizer), rewards(model, tokenizer), atol=0, rtol=0)
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_tool_calls_on_the_way_are_read_too(tokenizer: Tokenizer) -> None:
    model = reward_model(tokenizer, context=256)
    call = Message("assistant", tool_calls=(ToolCall("calculator", {"expression": "1+1"}),))
    whole = (*ASKS, call, Message("tool", "2"), Message("assistant", "2"))
    other = (*ASKS, call, Message("tool", "3"), Message("assistant", "2"))
    first, second = score_conversations(model, tokenizer, [whole, other])
    assert first != second


def test_a_reward_model_of_another_tokenizer_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_reward(reward_model(tokenizer), tmp_path, tokenizer)
    other = train("bpe", ["jupiter and saturn are giants of gas, and mars is red and dry and cold.\n"] * 5, 300)
    with pytest.raises(UserError, match="another tokenizer"):
        load_reward(tmp_path, other)


def test_what_is_no_reward_model_or_does_not_fit_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = reward_model(tokenizer)
    save_model(model.decoder, tmp_path)
    with pytest.raises(UserError, match="no reward model"):
        load_reward(tmp_path)
    with pytest.raises(UserError, match="context holds 64"):
        score_answers(model, tokenizer, [ASKS], ["ice " * 100])


def test_a_folder_of_many_classes_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = reward_model(tokenizer)
    model.score = nn.Linear(32, 3, bias=False)
    save_reward(model, tmp_path, tokenizer)
    with pytest.raises(UserError, match="3 classes"):
        load_reward(tmp_path)
