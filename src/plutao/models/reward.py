"""The reward model: a decoder that gives a whole answer one number (the book, section 3.1, Figure 85).

What it reads is the conversation with the answer, up to the end of the assistant's turn, and then `<|reward|>`: there,
where all has been read, one linear layer turns the residual stream into the reward. As in InstructGPT (Ouyang et al.
2022), it starts from the fine-tuned model, and its rewards are shifted so that demonstrations get 0 on average.

On disk it is a Hugging Face …ForSequenceClassification folder with one label, whose logits are the rewards before the
shift; the shift is `reward_offset` in config.json.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.decoder import Decoder
from plutao.models.interop.huggingface import (
    as_theirs,
    describe,
    load_config,
    model_type,
    own_tensors,
    read_decoder,
)
from plutao.models.interop.weights import WHOLE, Weights, dtype_name, write_weights
from plutao.text.chat import END, Message, Messages, encode
from plutao.text.tokenizer import Tokenizer

REWARD = "<|reward|>"
SCORE = "score.weight"
"""The linear layer's name in the classes of transformers."""
CLASSES = {
    "llama": "LlamaForSequenceClassification",
    "qwen2": "Qwen2ForSequenceClassification",
    "qwen3": "Qwen3ForSequenceClassification",
    "gpt2": "GPT2ForSequenceClassification",
}
AT_ONCE = 8192
"""Tokens read in one pass when answers are scored: bounds the memory."""


class RewardModel(nn.Module):
    """A decoder's body and a linear layer that reads one number from the residual stream.

    Attributes:
        reward_token: the id of `<|reward|>`, where the reward is read.
        offset: taken off every reward; the mean reward of demonstrations, once `centre` was called.
    """

    offset: Tensor

    def __init__(self, decoder: Decoder, reward_token: int) -> None:
        super().__init__()
        # There is no next token to tell: the output layer goes, and with it its table where that is one of its own.
        decoder.config = replace(decoder.config, tied=True)
        decoder.head.weight = decoder.embedding.weight
        self.decoder = decoder
        self.score = nn.Linear(decoder.config.width, 1, bias=False, dtype=decoder.embedding.weight.dtype)
        nn.init.zeros_(self.score.weight)  # all answers begin equal; the gradient is not zero for that
        self.reward_token = reward_token
        self.register_buffer("offset", torch.zeros(()))

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder's blocks, which training compiles one by one."""
        return self.decoder.blocks

    def forward(self, tokens: Int[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None) -> Float[Tensor, " N"]:
        """The rewards at all N `<|reward|>` tokens, row by row from left to right.

        Args:
            segments: for rows that hold several texts, as in `Decoder.hidden`.
        """
        hidden = self.decoder.hidden(tokens, segments=segments)
        return self.read(hidden[tokens == self.reward_token])

    def everywhere(
        self, tokens: Int[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T"]:
        """The number read at every token: what a value function starts from."""
        return self.read(self.decoder.hidden(tokens, segments=segments))

    def read(self, hidden: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest"]:
        rewards: Tensor = self.score(hidden).squeeze(-1) - self.offset
        return rewards

    def centre(self, mean: float) -> None:
        """Shifts all rewards, so that what had `mean` has 0."""
        self.offset += mean


# ---------------------------------------------------------------------------------------------------------------------
# What it reads


def reward_token(tokenizer: Tokenizer) -> int:
    """Where rewards are read: `<|reward|>`; tokenizers of others, which lack it, end the text there."""
    return tokenizer.special(REWARD) if tokenizer.has(REWARD) else tokenizer.end_of_text


def encode_answer(tokenizer: Tokenizer, messages: Messages) -> list[int]:
    """The tokens a reward is read from: a conversation that ends with the assistant's answer, up to and with the end of
    its turn, and the reward's token.
    """
    assert messages[-1].role == "assistant", "the last message is the one that is judged"
    tokens = encode(tokenizer, messages)
    end = tokenizer.special(END)
    return [*tokens[: len(tokens) - tokens[::-1].index(end)], reward_token(tokenizer)]


def answered(prompt: Messages, answer: str) -> Messages:
    """The conversation with an answer."""
    return (*prompt, Message("assistant", answer))


def score_answers(
    model: RewardModel, tokenizer: Tokenizer, prompts: Sequence[Messages], answers: Sequence[str]
) -> Float[Tensor, " N"]:
    """The reward of each answer to the prompt in the same place, on the CPU in fp32.

    Raises:
        UserError: a prompt with its answer does not fit the model's context.
    """
    return score_conversations(model, tokenizer, [answered(*pair) for pair in zip(prompts, answers, strict=True)])


def score_conversations(
    model: RewardModel, tokenizer: Tokenizer, conversations: Iterable[Messages]
) -> Float[Tensor, " N"]:
    """The reward of each conversation's last message, tool calls on the way included; otherwise as `score_answers`."""
    return score_tokens(model, [encode_answer(tokenizer, messages) for messages in conversations])


@torch.inference_mode()
def score_tokens(model: RewardModel, rows: Sequence[Sequence[int]]) -> Float[Tensor, " N"]:
    """The reward of each row of tokens, which ends with the reward's token; otherwise as `score_answers`."""
    context = model.decoder.config.context
    longest = max((len(row) for row in rows), default=0)
    if longest > context:
        raise UserError(
            f"A conversation with its answer has {longest} tokens and the reward model's context holds {context}: "
            "shorten it, or train with a larger model.context."
        )
    rewards = torch.empty(len(rows))
    device = model.score.weight.device
    for places in alike(rows):
        width = max(len(rows[place]) for place in places)
        # What stands behind a row's end is seen by nothing before it.
        padded = torch.tensor([[*rows[place], *[0] * (width - len(rows[place]))] for place in places], device=device)
        last = torch.tensor([len(rows[place]) - 1 for place in places], device=device)
        hidden = model.decoder.hidden(padded)[torch.arange(len(places), device=device), last]
        rewards[places] = model.read(hidden).float().cpu()
    return rewards


def alike(rows: Sequence[Sequence[int]]) -> Iterable[list[int]]:
    """Places of rows of similar length, `AT_ONCE` tokens together at most."""
    places: list[int] = []
    for place in sorted(range(len(rows)), key=lambda place: len(rows[place])):
        if places and len(rows[place]) * (len(places) + 1) > AT_ONCE:
            yield places
            places = []
        places.append(place)
    if places:
        yield places


# ---------------------------------------------------------------------------------------------------------------------
# On disk


def save_reward(model: RewardModel, folder: Path, tokenizer: Tokenizer, dtype: torch.dtype | None = None) -> None:
    """Writes config.json, model.safetensors and the tokenizer into `folder`, other files there untouched.

    Raises:
        UserError: no Hugging Face class has this shape, or the folder can't be written.
    """
    decoder = model.decoder
    kind = model_type(decoder.config)
    dtype = dtype or decoder.embedding.weight.dtype
    theirs = as_theirs(own_tensors(decoder), kind, dtype) | {SCORE: model.score.weight.detach().to(dtype)}
    write_weights(theirs, folder / WHOLE)
    tokenizer.save(folder, decoder.config.context)
    settings = {
        "architectures": [CLASSES[kind]],
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
        "pad_token_id": tokenizer.pad,
        "dtype": dtype_name(dtype),
        "reward_token_id": model.reward_token,
        "reward_offset": float(model.offset),
    }
    write_json(folder / "config.json", describe(decoder.config, kind) | settings)


def load_reward(folder: Path, tokenizer: Tokenizer | None = None, dtype: torch.dtype = torch.float32) -> RewardModel:
    """The reward model of a folder.

    Args:
        tokenizer: of the model whose answers are to be judged.

    Raises:
        UserError: it is no reward model's folder, it is damaged, or its tokenizer is another than `tokenizer`.
    """
    settings = read_json(folder / "config.json")
    classes = settings.get("architectures", []) if isinstance(settings, dict) else []
    if not any(str(name).endswith("ForSequenceClassification") for name in classes):
        raise UserError(f"{folder} holds no reward model: `plutao run --stage reward` trains one.")
    own = Tokenizer.load(folder)
    if tokenizer is not None and own.fingerprint != tokenizer.fingerprint:
        raise UserError(
            f"The reward model in {folder} reads with another tokenizer than the model it is to judge: "
            "train it on that model's run, or name another reward model."
        )
    kind = str(settings.get("model_type"))
    config = replace(load_config(folder), tied=True)
    weights = Weights(folder)
    if SCORE not in weights:
        raise UserError(f"{folder} has no {SCORE}: it is no reward model, or its training has not ended.")
    token = settings.get("reward_token_id", reward_token(own))
    model = RewardModel(read_decoder(weights, config, kind, dtype, others=(SCORE,)), int(token))
    table = weights.read(SCORE).to(dtype)
    if table.shape != model.score.weight.shape:
        raise UserError(f"{folder} sorts into {len(table)} classes, where a reward model gives one number.")
    model.score.weight = nn.Parameter(table)
    model.centre(float(settings.get("reward_offset", 0.0)))
    return model.train(False)
