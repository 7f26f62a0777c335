"""How BERT reads: [CLS] in front, [SEP] behind each text, [MASK] in a hole (Devlin et al. 2019, section 3).

Our tokenizers have other names for them: the first reserved token opens, <|endoftext|> separates. Folders published with
a vocab.txt alone, as the first BERTs were, become tokenizers here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from plutao.errors import UserError
from plutao.files import read_json
from plutao.text.special import END_OF_TEXT, MASK, PAD

if TYPE_CHECKING:
    from plutao.text.tokenizer import Tokenizer

OPENS = "<|reserved_0|>"
"""What our own tokenizers write for [CLS]."""
SIGNS = {
    "opens": ("cls_token", "[CLS]", OPENS),
    "separates": ("sep_token", "[SEP]", END_OF_TEXT),
    "mask": ("mask_token", "[MASK]", MASK),
    "pad": ("pad_token", "[PAD]", PAD),
}
"""Each with its role in tokenizer_config.json, BERT's name and ours."""
PUBLISHED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = "vocab.txt"


@dataclass(frozen=True)
class Signs:
    """Ids of the tokens that hold rows together."""

    opens: int
    separates: int
    mask: int
    pad: int


@dataclass(frozen=True)
class Row:
    """One text or a pair of texts as BERT reads it; `segments` is 0 for the first text, 1 for the second."""

    tokens: list[int]
    segments: list[int]


def signs_of(tokenizer: "Tokenizer") -> Signs:
    """The ids of a tokenizer's signs: by the roles its settings name, by BERT's names, or by ours.

    Raises:
        UserError: it has no token for one of them.
    """
    found = {}
    for sign, (role, theirs, ours) in SIGNS.items():
        named = tokenizer.settings.get(role)
        named = named["content"] if isinstance(named, dict) else named
        token = next((name for name in (named, theirs, ours) if name and tokenizer.has(name)), None)
        if token is None:
            raise UserError(
                f"This tokenizer has no {theirs} (nor {ours}), which BERT needs: train one with plutao, or take a BERT's."
            )
        found[sign] = tokenizer.special(token)
    return Signs(**found)


def framed(tokenizer: "Tokenizer") -> "Tokenizer":
    """The tokenizer for a BERT's folder: other programs (`transformers`) frame texts with its signs, and find the mask.

    Its ids are the same; here, `join` frames.
    """
    signs = signs_of(tokenizer)
    names = {role: tokenizer.token_name(getattr(signs, sign)) for sign, (role, _, _) in SIGNS.items()}
    read = ["input_ids", "token_type_ids", "attention_mask"]
    with_frame = tokenizer.with_frame(names["cls_token"], names["sep_token"])
    return with_frame.with_settings(**names, model_input_names=read, chat_template=None)


def join(signs: Signs, first: list[int], second: list[int] | None, longest: int) -> Row:
    """[CLS] first [SEP], or [CLS] first [SEP] second [SEP]; of texts that are too long together, the longer loses its end
    until they fit (Devlin et al. 2019, published code).
    """
    if second is None:
        first = first[: longest - 2]
    else:
        room = longest - 3
        half = room // 2
        if len(second) <= half:
            first = first[: room - len(second)]
        elif len(first) <= half:
            second = second[: room - len(first)]
        elif len(first) + len(second) > room:
            first, second = first[: room - half], second[:half]
    tokens = [signs.opens, *first, signs.separates]
    segments = [0] * len(tokens)
    if second is not None:
        tokens += [*second, signs.separates]
        segments += [1] * (len(second) + 1)
    return Row(tokens, segments)


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder holds a WordPiece vocabulary as the first BERTs were published with."""
    return (folder / VOCABULARY).is_file()


def load_backend(folder: Path) -> tokenizers.Tokenizer:
    """BERT's WordPiece from vocab.txt, a token a line; lower case and without accents where tokenizer_config.json says so.

    Raises:
        UserError: the file is not one of BERT's.
    """
    file = folder / VOCABULARY
    try:
        tokens = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text: fetch it again.") from error
    table = {token.rstrip("\r"): number for number, token in enumerate(tokens) if token}
    if lacking := [token for token in PUBLISHED if token not in table]:
        raise UserError(f"{file} has no {', '.join(lacking)}: it is not a BERT vocabulary.")
    config = folder / "tokenizer_config.json"
    settings = read_json(config) if config.is_file() else {}
    lower = bool(settings.get("do_lower_case", True))
    backend = tokenizers.Tokenizer(models.WordPiece(table, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=lower,
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in PUBLISHED])
    return backend


def published_settings() -> dict[str, str]:
    """What tokenizer_config.json says of the signs, for a vocabulary that comes without one."""
    names = {role: theirs for role, theirs, _ in SIGNS.values()}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", **names}


def with_frame(saved: str, opens: str, separates: str) -> str:
    """A tokenizer.json that puts [CLS] and [SEP] where BERT has them, for programs that let it."""
    backend = tokenizers.Tokenizer.from_str(saved)
    ids = {token: backend.token_to_id(token) for token in (opens, separates)}
    backend.post_processor = TemplateProcessing(
        single=[f"{opens}:0", "$A:0", f"{separates}:0"],
        pair=[f"{opens}:0", "$A:0", f"{separates}:0", "$B:1", f"{separates}:1"],
        special_tokens=list(ids.items()),
    )
    text: str = backend.to_str(pretty=True)
    return text
