"""Tools that whoever asks brings along: told to the model in its system prompt, and the form its calls must have.

A call is constrained to the tool's own JSON schema, so that what comes back can be run whatever the model learned.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plutao.generate.grammar import SEPARATORS, Grammar
from plutao.serve.backend.contract import ToolChoice
from plutao.text.chat import CALL, CALL_END, Message, Messages

INTRODUCTION = "Functions:\n{tools}\nTo call one, write its name and arguments as a tool call."
"""Short: a small model's context is short."""


def introduce(messages: Messages, tools: Sequence[Mapping[str, Any]]) -> Messages:
    """The conversation with the tools named at the end of its system prompt."""
    if not tools:
        return messages
    shown = [{name: value for name, value in tool.items() if value} for tool in tools]
    told = INTRODUCTION.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in shown))
    if messages and messages[0].role == "system":
        return (Message("system", f"{messages[0].content}\n\n{told}"), *messages[1:])
    return (Message("system", told), *messages)


def calls_grammar(tools: Sequence[Mapping[str, Any]], choice: ToolChoice) -> Grammar:
    """Words and calls of the tools (`auto`), or a call alone (`required`, `named`)."""
    if choice.mode == "named":
        tools = [tool for tool in tools if tool["name"] == choice.name]
    start = "text? call*" if choice.mode == "auto" else "call"
    bodies = [f"tool_{place}: %json {json.dumps(call_schema(tool))}" for place, tool in enumerate(tools)]
    any_of = " | ".join(f"tool_{place}" for place in range(len(tools)))
    lines = [
        f"start: {start}",
        "text: /(?s:.+)/",
        f"call: {CALL} ( {any_of} ) {CALL_END}",
        *bodies,
    ]
    return Grammar("lark", "\n".join(lines))


def call_schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of a call of one tool."""
    return {
        "type": "object",
        "properties": {
            "name": {"const": tool["name"]},
            "arguments": tool.get("parameters") or {"type": "object"},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
        "x-guidance": SEPARATORS,
    }
