"""What an answer must look like where a program reads it: JSON, JSON of a schema, or a regular expression.

At every step the tokens that would break the form get no probability, so that the answer can be read whatever the model
knows (constrained decoding; Willard and Louf 2023, "Efficient guided generation"). The work is llguidance's.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from plutao.errors import UserError
from plutao.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

KEPT = 64
"""Compiled forms kept for requests that ask for the same one."""
SEPARATORS = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
"""JSON as Python writes it and as our models learn it; without free blanks an unsure model can't write them for ever."""


@dataclass(frozen=True)
class Grammar:
    """A form that an answer must have.

    Attributes:
        source: the JSON schema as text, the regular expression, or llguidance's variant of Lark; empty for `json_object`.
    """

    kind: Literal["json_object", "json_schema", "regex", "lark"]
    source: str = ""

    def compiled(self) -> str:
        """In llguidance's own language.

        Raises:
            UserError: the schema is no JSON object.
        """
        from llguidance import LLMatcher

        if self.kind == "regex":
            return LLMatcher.grammar_from_regex(self.source)
        if self.kind == "lark":
            return LLMatcher.grammar_from_lark(self.source)
        try:
            schema: Any = {"type": "object"} if self.kind == "json_object" else json.loads(self.source)
            if not isinstance(schema, dict):
                raise ValueError("it is no JSON object")
            return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=SEPARATORS)  # type: ignore[arg-type]
        except (ValueError, RecursionError) as error:
            raise UserError(f"The JSON schema can't be used: {error}.") from error


class Forms:
    """Compiles forms for one tokenizer; safe to call from several threads (compiling may take a second)."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, end_tokens: Iterable[int]) -> None:
        self._tokenizer, self._vocabulary, self._ends = tokenizer, vocabulary, sorted(end_tokens)
        self._words: LLTokenizer | None = None
        self._kept: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def form(self, grammar: Grammar) -> "LLMatcher":
        """A matcher at the form's beginning.

        Raises:
            UserError: the grammar is wrong, or larger than the limits allow.
        """
        with self._lock:
            if grammar not in self._kept:
                self._kept[grammar] = self._compile(grammar)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(grammar)
            return self._kept[grammar].deep_copy()

    def _compile(self, grammar: Grammar) -> "LLMatcher":
        from llguidance import LLMatcher

        matcher = LLMatcher(self._vocabulary_of_words(), grammar.compiled(), log_level=0)
        if matcher.is_error():
            what = {"regex": "regular expression", "lark": "grammar"}.get(grammar.kind, "JSON schema")
            said = matcher.get_error().splitlines()[0][:300]
            raise UserError(f"The {what} can't be used: {said}.")
        return matcher

    def _vocabulary_of_words(self) -> "LLTokenizer":
        from llguidance import LLTokenizer, TokenizerWrapper

        if self._words is None:
            described: Any = Described(self._tokenizer, self._vocabulary, self._ends)
            self._words = LLTokenizer(TokenizerWrapper(described), eos_token=self._ends)
        return self._words


class Described:
    """A tokenizer as llguidance asks for it: the bytes of every token, and which are special."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, ends: Sequence[int]) -> None:
        self.eos_token_id, self.bos_token_id = ends[0], None
        self.tokens = [tokenizer.token_bytes(token) for token in range(vocabulary)]
        self.special_token_ids = [token for token in tokenizer.special_ids if token < vocabulary]
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise TypeError("text is wanted")
        return self._tokenizer.encode(text)


def allowed(forms: Sequence["LLMatcher | None"], vocabulary: int) -> Bool[Tensor, "R V"]:
    """The tokens that each row's form lets come next; all, where it has none."""
    bits = torch.full((len(forms), -(-vocabulary // 32)), -1, dtype=torch.int32)
    for row, form in enumerate(forms):
        if form is not None:
            form.unsafe_compute_mask_ptr(bits[row].data_ptr(), bits.shape[1] * 4)
    each = bits.unsqueeze(-1) >> torch.arange(32, dtype=torch.int32) & 1
    return each.view(len(forms), -1)[:, :vocabulary].bool()
