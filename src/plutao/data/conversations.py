"""Conversations to learn from: read from files in any of the usual layouts, or written by a world; checked row by row.

What can't be learned from is refused with its file, row and field and an example of the right form, or, where the recipe
says so, counted: a conversation must end with the assistant, must not begin with it, and no turn may be empty.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plutao.data.layouts import MESSAGES, Misfit, from_templates, read_row
from plutao.data.sources.examples import Row, read_rows
from plutao.data.sources.rows import BadRows
from plutao.data.trees import best_conversations, is_tree, read_trees
from plutao.text.chat import Message, Messages, render


@dataclass(frozen=True)
class Conversation:
    """A conversation that ends with the assistant, and where it is from."""

    messages: Messages
    id: str
    source: str
    language: str | None = None
    license: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As it lies on disk: one line of a JSONL file."""
        known = {"id": self.id, "source": self.source, "language": self.language, "license": self.license}
        return {"messages": [message.as_json() for message in self.messages]} | {k: v for k, v in known.items() if v}


def read_conversations(
    path: Path,
    source: str,
    *,
    language: str | None = None,
    license: str | None = None,
    prompt: str | None = None,
    answer: str | None = None,
    bad: BadRows | None = None,
) -> Iterator[Conversation]:
    """The conversations of a file, a folder or a pattern; each row's layout is found out by itself.

    Args:
        source: the name that the conversations carry.
        language, license: of rows that do not say theirs.
        prompt, answer: templates such as "Translate: {en}" and "{pt}", for rows with other fields than the usual ones.
        bad: what happens to rows that do not fit; left out, they are refused.

    Raises:
        UserError: nothing to read there, or a row that does not fit, with its field and the right form.
    """
    assert (prompt is None) == (answer is None), "templates come in pairs"
    bad = bad or BadRows("refuse")
    reader: Callable[[Row], Messages] = from_templates(prompt, answer) if prompt and answer else read_row
    messages_of_trees: list[Row] = []
    for row in read_rows(path, bad):
        if reader is read_row and is_tree(row):
            messages_of_trees.append(row)
            continue
        try:
            messages = learnable(reader(row))
        except Misfit as problem:
            bad.found("no conversation", f"{row.where}: {problem}")
            continue
        yield Conversation(messages, row.id, source, row.language or language, row.license or license)
    for root in read_trees(messages_of_trees, bad):
        for number, messages in enumerate(best_conversations(root), start=1):
            if messages[-1].role == "assistant":
                name = root.id if number == 1 else f"{root.id}:{number}"
                yield Conversation(messages, name, source, root.language or language, license)


def learnable(messages: Messages) -> Messages:
    """The messages, an empty system prompt left out; raises Misfit where there is nothing right to learn."""
    if messages and messages[0].role == "system" and not messages[0].content.strip():
        messages = messages[1:]
    before: Message | None = None
    for number, message in enumerate(messages):
        if not message.content.strip() and not message.tool_calls and message.role != "tool":
            whose = "the assistant's answer" if message.role == "assistant" else f"what the {message.role} says"
            raise Misfit(f"turn {number + 1}", f"is empty: {whose} is missing")
        asked = before is not None and (before.role == "tool" or before.tool_calls)
        if message.role == "tool" and not asked:
            raise Misfit(f"turn {number + 1}", "is a tool's result that no tool call before it asks for")
        if message.role == "assistant" and all(earlier.role == "system" for earlier in messages[:number]):
            raise Misfit(f"turn {number + 1}", "is the assistant's, and nobody has said anything yet")
        before = message
    if before is None or before.role != "assistant":
        last = "no turn" if before is None else f"a turn of the {before.role}"
        raise Misfit("the conversation", f"ends with {last}; the assistant's answer is missing at its end", MESSAGES)
    return messages


def lot(messages: Messages, seed: int) -> float:
    """A number from 0 to 1 that belongs to what a conversation opens with, the same for all that open alike.

    Those with lots below the share that validation takes are kept aside: no prompt is in training and in validation.
    """
    opening = next((number for number, message in enumerate(messages) if message.role == "assistant"), len(messages))
    digest = hashlib.blake2b(f"{seed}\0{render(messages[:opening])}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
