"""The special tokens: one fixed list, so that an id means the same in every tokenizer we train."""

from tokenizers import AddedToken, Tokenizer

END_OF_TEXT, PAD, UNKNOWN, MASK = "<|endoftext|>", "<|pad|>", "<|unk|>", "<|mask|>"

SPECIAL_TOKENS: tuple[str, ...] = (
    END_OF_TEXT,  # stands between documents
    PAD,  # fills rows of unequal length; never learned
    UNKNOWN,  # what a word or character tokenizer has never seen
    MASK,  # the hole that masked language modelling fills
    "<|im_start|>",  # ChatML: a turn begins …
    "<|im_end|>",  # … and ends
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<|reward|>",  # where the reward model reads its score
    *(f"<|reserved_{number}|>" for number in range(5)),  # room for what comes later, without moving any id
)
"""Ids 0 to 15 of our own tokenizers, in this order; GPT-2's vocabulary has the missing ones appended after its own."""

CHAT_TOKENS = SPECIAL_TOKENS[4:11]
"""What conversations and rewards need; tokenizers of other makers get those they lack."""


def added(token: str) -> AddedToken:
    """The token as `tokenizers` wants it: matched exactly, touching no blank around it."""
    return AddedToken(token, special=True, normalized=False)


def add_special_tokens(backend: Tokenizer) -> None:
    """Declares the special tokens; those the vocabulary already holds keep their ids, the others are appended."""
    backend.add_special_tokens([added(token) for token in SPECIAL_TOKENS])
