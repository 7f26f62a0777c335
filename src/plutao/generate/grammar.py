"""What an answer must look like where a program reads it: JSON, JSON of a schema, or a regular expression.

At every step the tokens that would break the form get no probability, so that the answer can be read whatever the model
knows (constrained decoding; Willard and Louf 2023, "Efficient guided generation"). The work is llguidance's.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Grammar:
    """A form that an answer must have; `source` is the JSON schema as text, or the expression (empty for any JSON object)."""

    kind: Literal["json_object", "json_schema", "regex", "lark"]
    source: str = ""
