"""Open Assistant's trees: a prompt, several replies to it, several to each of those; people ranked the replies.

They come as one message a row, which names its parent, or as one tree a row, with `replies` inside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plutao.data.layouts import ROLES, Misfit
from plutao.data.sources.examples import Row
from plutao.data.sources.rows import BadRows
from plutao.text.chat import Message, Messages

MESSAGE = '{"message_id": "…", "parent_id": null, "role": "prompter", "text": "…"}'


@dataclass
class Node:
    """A message of a tree. `rank` is its place among its siblings, 0 the best; None where people did not rank it."""

    id: str
    message: Message
    language: str | None
    rank: int | None
    replies: list["Node"] = field(default_factory=list)

    @property
    def best(self) -> "Node":
        """The reply that people ranked best; the first where none is ranked."""
        return min(self.replies, key=lambda reply: (reply.rank is None, reply.rank or 0))


def is_tree(row: Row) -> bool:
    """Whether the row is a message of a tree or a whole one."""
    prompt = row.fields.get("prompt")
    return "message_id" in row.fields or (isinstance(prompt, dict) and "replies" in prompt)


def read_trees(rows: Sequence[Row], bad: BadRows) -> list[Node]:
    """The trees that these rows hold, in the order of their prompts; deleted messages, and replies to them, are left out.

    Raises:
        UserError: a message without text, role or parent, where bad rows are refused.
    """
    nodes: dict[str, Node] = {}
    parents: list[tuple[Row, Node, str | None]] = []
    roots: list[Node] = []
    for row in rows:
        try:
            if "message_id" in row.fields:
                node = read_node(row.fields)
                nodes[node.id] = node
                parents.append((row, node, row.text("parent_id")))
            else:
                roots.append(read_nested(row.fields["prompt"]))
        except Misfit as problem:
            bad.found("no message of a tree", f"{row.where}: {problem}")
    for row, node, parent in parents:
        if parent is None:
            roots.append(node)
        elif parent in nodes:
            nodes[parent].replies.append(node)
        else:
            bad.found(
                "a reply to nothing", f"{row.where}: parent_id {parent!r} is in no row; keep whole trees together."
            )
    return [without_deleted(root) for root in roots if not deleted(root)]


def read_node(fields: Mapping[str, Any]) -> Node:
    """One message; raises Misfit."""
    text, role, rank = fields.get("text"), ROLES.get(str(fields.get("role"))), fields.get("rank")
    if role not in ("user", "assistant"):
        raise Misfit("field 'role'", f"is {fields.get('role')!r}, neither prompter nor assistant", MESSAGE)
    if not isinstance(text, str) or not text.strip():
        raise Misfit("field 'text'", "is empty", MESSAGE)
    gone = fields.get("deleted") is True or fields.get("review_result") is False
    message = Message(role, "" if gone else text)
    language = fields.get("lang")
    return Node(
        id=str(fields.get("message_id")),
        message=message,
        language=language if isinstance(language, str) else None,
        rank=int(rank) if isinstance(rank, int | float) else None,
    )


def read_nested(fields: Mapping[str, Any]) -> Node:
    """A message with its replies inside; raises Misfit."""
    node = read_node(fields)
    replies = fields.get("replies") or []
    node.replies = [read_nested(reply) for reply in replies if isinstance(reply, dict)]
    return node


def deleted(node: Node) -> bool:
    return not node.message.content


def without_deleted(node: Node) -> Node:
    node.replies = [without_deleted(reply) for reply in node.replies if not deleted(reply)]
    return node


def best_conversations(root: Node) -> Iterator[Messages]:
    """The conversations of a tree in which every answer is the one that people ranked best; each ends with the assistant.

    Where several people went on from an answer, each way is a conversation.
    """
    yield from follow(root, ())


def follow(node: Node, before: Messages) -> Iterator[Messages]:
    here = (*before, node.message)
    if node.message.role == "user":
        if node.replies:
            yield from follow(node.best, here)
        return
    longer = [conversation for reply in node.replies for conversation in follow(reply, here)]
    yield from longer or [here]
