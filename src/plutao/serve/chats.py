"""Conversations as trees: branches, versions, what a model is given to read, sharing, export, and what is thought of them."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session, defer

from plutao.serve.errors import bad_request, not_found
from plutao.serve.identity import Caller, get_owned
from plutao.serve.secrets import digest, new_token
from plutao.serve.stored import plain
from plutao.serve.tables.base import now
from plutao.serve.tables.chats import ChatMessage, Conversation, Correction, Share, Thumb, Verdict
from plutao.text.chat import Message, Messages, ToolCall

TITLE = 60
LISTED = 60
REASONS = ("wrong", "off", "unclear", "language", "unsafe", "other")
"""Why a thumb goes down: not true, beside the question, unclear, not in the right language, harmful."""


@dataclass(frozen=True)
class Versions:
    """Where a message stands among the versions of its turn."""

    place: int
    """From 1."""
    total: int
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Branch:
    """One way through the tree, from its root to a leaf, by number."""

    ids: list[int]
    versions: dict[int, Versions]

    @property
    def last(self) -> int | None:
        return self.ids[-1] if self.ids else None


@dataclass
class Opinions:
    """What a reader has said of some messages, by message."""

    thumbs: dict[int, Thumb] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    corrections: dict[int, Correction] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------------------------------
# Conversations


def create(
    db: Session, caller: Caller, model: str, system: str = "", sampling: Mapping[str, Any] | None = None
) -> Conversation:
    """A new conversation; its consent is the account's to begin with."""
    conversation = Conversation(
        account=caller.account,
        title="",
        created=now(),
        changed=now(),
        pinned=False,
        consent=caller.consent,
        model=model,
        system=plain(system),
        sampling=dict(sampling or {}),
        leaf=None,
    )
    db.add(conversation)
    db.flush()
    return conversation


def listed(db: Session, caller: Caller, search: str = "") -> list[Conversation]:
    """The caller's conversations, pinned ones first, then by when something was said.

    Args:
        search: what stands in the title or in a message.
    """
    query = select(Conversation).where(Conversation.account == caller.account)
    if search.strip():
        like = "%" + search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        said = select(ChatMessage.conversation).where(
            ChatMessage.account == caller.account, ChatMessage.text.ilike(like, escape="\\")
        )
        query = query.where(or_(Conversation.title.ilike(like, escape="\\"), Conversation.id.in_(said)))
    query = query.order_by(Conversation.pinned.desc(), Conversation.changed.desc(), Conversation.id.desc())
    return list(db.scalars(query.limit(LISTED)))


def remove(db: Session, conversation: Conversation) -> None:
    """Deletes a conversation and all that hangs on it."""
    db.execute(delete(Conversation).where(Conversation.id == conversation.id))


# ---------------------------------------------------------------------------------------------------------------------
# The tree


def branch(db: Session, conversation: Conversation, leaf: int | None = None) -> Branch:
    """The branch that is shown, or the one that ends with `leaf`."""
    query = select(ChatMessage.id, ChatMessage.parent).where(ChatMessage.conversation == conversation.id)
    parents = {row.id: row.parent for row in db.execute(query.order_by(ChatMessage.id))}
    children: dict[int | None, list[int]] = {}
    for id, parent in parents.items():
        children.setdefault(parent, []).append(id)
    ids: list[int] = []
    at = leaf if leaf is not None else conversation.leaf
    while at is not None and at in parents:
        ids.append(at)
        at = parents[at]
    ids.reverse()
    versions = {}
    for id in ids:
        same = children[parents[id]]
        place = same.index(id)
        versions[id] = Versions(
            place + 1,
            len(same),
            same[place - 1] if place else None,
            same[place + 1] if place + 1 < len(same) else None,
        )
    return Branch(ids, versions)


def messages_of(db: Session, ids: Sequence[int]) -> list[ChatMessage]:
    """The messages of some numbers in their order, without what the lens needs."""
    found: dict[int, ChatMessage] = {}
    for start in range(0, len(ids), 500):
        query = select(ChatMessage).where(ChatMessage.id.in_(ids[start : start + 500])).options(defer(ChatMessage.lens))
        found |= {row.id: row for row in db.scalars(query)}
    return [found[id] for id in ids if id in found]


def neighbours(db: Session, message: ChatMessage) -> list[ChatMessage]:
    """The answers that were asked together with this one, itself among them."""
    query = select(ChatMessage).where(
        ChatMessage.conversation == message.conversation,
        ChatMessage.parent == message.parent,
        ChatMessage.beside.is_(True),
    )
    return list(db.scalars(query.options(defer(ChatMessage.lens)).order_by(ChatMessage.id)))


def writing_in(db: Session, conversation: Conversation) -> list[int]:
    """The answers of a conversation that are not finished, whatever branch they are on."""
    query = select(ChatMessage.id).where(ChatMessage.conversation == conversation.id, ChatMessage.state == "writing")
    return list(db.scalars(query))


def show(db: Session, conversation: Conversation, message: int) -> None:
    """Makes the branch through a message the one that is shown, down to its newest end."""
    query = select(ChatMessage.id, ChatMessage.parent).where(ChatMessage.conversation == conversation.id)
    newest: dict[int, int] = {}
    ids = set()
    for id, parent in db.execute(query.order_by(ChatMessage.id)):
        ids.add(id)
        if parent is not None:
            newest[parent] = id
    if message not in ids:
        raise not_found(f"There is no message {message} here.")
    while message in newest:
        message = newest[message]
    conversation.leaf = message


def ask(db: Session, conversation: Conversation, text: str, parent: int | None) -> ChatMessage:
    """A person's turn, after `parent`; it becomes the end of the branch.

    Raises:
        ApiError: 400, nothing is said; 404, the parent is no message of this conversation.
    """
    if not text.strip():
        raise bad_request("The message is empty.", "text")
    check_parent(db, conversation, parent)
    message = ChatMessage(
        conversation=conversation.id,
        account=conversation.account,
        parent=parent,
        role="user",
        text=plain(text),
        created=now(),
    )
    db.add(message)
    db.flush()
    conversation.leaf, conversation.changed = message.id, now()
    if not conversation.title:
        conversation.title = title_of(text)
    return message


def title_of(text: str) -> str:
    """A title from the first words."""
    words = " ".join(text.split())
    words = "".join(character for character in words if character.isprintable())
    title: str = plain(words if len(words) <= TITLE else words[:TITLE].rsplit(" ", 1)[0] + "…")
    return title[:200]


def check_parent(db: Session, conversation: Conversation, parent: int | None) -> None:
    if parent is not None:
        row = db.get(ChatMessage, parent)
        if row is None or row.conversation != conversation.id:
            raise not_found(f"There is no message {parent} here.")


def begin_answer(
    db: Session, conversation: Conversation, parent: int, model: str, beside: bool = False, text: str = ""
) -> ChatMessage:
    """An answer that is about to be written."""
    answer = ChatMessage(
        conversation=conversation.id,
        account=conversation.account,
        parent=parent,
        role="assistant",
        text=text,
        created=now(),
        state="writing",
        beside=beside,
        model=model,
        system=conversation.system,
        sampling=dict(conversation.sampling),
    )
    db.add(answer)
    db.flush()
    conversation.changed = now()
    return answer


def to_read(system: str, messages: Sequence[ChatMessage]) -> Messages:
    """What a model is given: the system prompt and the turns, tool calls between the words as they were."""
    turns: list[Message] = [Message("system", system)] if system.strip() else []
    for message in messages:
        if message.role == "user":
            turns.append(Message("user", message.text))
            continue
        start = 0
        for call in message.calls or ():
            turns.append(
                Message("assistant", message.text[start : call["at"]], (ToolCall(call["name"], call["arguments"]),))
            )
            turns.append(Message("tool", call["result"]))
            start = call["at"]
        turns.append(Message("assistant", message.text[start:]))
    return tuple(turns)


# ---------------------------------------------------------------------------------------------------------------------
# Opinions


def opinions(db: Session, caller: Caller, ids: Sequence[int]) -> Opinions:
    """What the caller said of messages."""
    found = Opinions()
    for thumb in db.scalars(select(Thumb).where(Thumb.account == caller.account, Thumb.message.in_(ids))):
        found.thumbs[thumb.message] = thumb
    for verdict in db.scalars(select(Verdict).where(Verdict.account == caller.account, Verdict.message.in_(ids))):
        found.verdicts[verdict.message] = verdict
    mine = select(Correction).where(Correction.account == caller.account, Correction.message.in_(ids))
    for correction in db.scalars(mine):
        found.corrections[correction.message] = correction
    return found


def judge(db: Session, answer: ChatMessage, good: bool | None, reason: str | None, comment: str) -> None:
    """A thumb for an answer; None takes it back."""
    db.execute(delete(Thumb).where(Thumb.message == answer.id, Thumb.account == answer.account))
    if good is not None:
        if reason is not None and reason not in REASONS:
            raise bad_request(f"There is no reason {reason[:40]!r}.", "reason")
        thumb = Thumb(message=answer.id, account=answer.account, created=now(), good=good, reason=reason)
        thumb.comment = plain(comment)
        db.add(thumb)


def compare(db: Session, answer: ChatMessage, verdict: str) -> None:
    """Whether a new version is better than the one before it."""
    query = select(func.max(ChatMessage.id)).where(
        ChatMessage.conversation == answer.conversation,
        ChatMessage.parent == answer.parent,
        ChatMessage.role == "assistant",
        ChatMessage.id < answer.id,
    )
    other = db.scalar(query)
    if other is None:
        raise bad_request("There is no version before this one to compare it with.")
    db.execute(delete(Verdict).where(Verdict.message == answer.id, Verdict.account == answer.account))
    db.add(Verdict(message=answer.id, other=other, account=answer.account, created=now(), verdict=verdict))


def correct(db: Session, answer: ChatMessage, text: str) -> None:
    """What the answer should have been; nothing takes the correction back."""
    db.execute(delete(Correction).where(Correction.message == answer.id, Correction.account == answer.account))
    if text.strip() and text.strip() != answer.text.strip():
        db.add(Correction(message=answer.id, account=answer.account, created=now(), text=plain(text)))


# ---------------------------------------------------------------------------------------------------------------------
# Out of the house


def share(db: Session, conversation: Conversation) -> str:
    """A link token for the branch that is shown; what is said later is not in it."""
    if conversation.leaf is None:
        raise bad_request("There is nothing to share yet.")
    token = new_token()
    db.add(
        Share(
            token=digest(token),
            conversation=conversation.id,
            account=conversation.account,
            leaf=conversation.leaf,
            created=now(),
        )
    )
    return token


def unshare(db: Session, conversation: Conversation) -> None:
    db.execute(delete(Share).where(Share.conversation == conversation.id))


def shared(db: Session, token: str) -> tuple[Conversation, list[ChatMessage]]:
    """What a link shows.

    Raises:
        ApiError: 404, there is no such link, or no more.
    """
    row = db.scalars(select(Share).where(Share.token == digest(token))).one_or_none()
    if row is None:
        raise not_found("This link shows nothing any more.")
    conversation = db.get_one(Conversation, row.conversation)
    return conversation, messages_of(db, branch(db, conversation, row.leaf).ids)


def as_json(conversation: Conversation, messages: Sequence[ChatMessage], opinions: Opinions) -> dict[str, Any]:
    """A branch with OpenAI's `messages`, and what is known of each."""
    rows = []
    for message in messages:
        row: dict[str, Any] = {"role": message.role, "content": message.text, "created": message.created}
        if message.role == "assistant":
            row |= {"model": message.model, "sampling": message.sampling, "state": message.state}
            row |= {"tool_calls": message.calls} if message.calls else {}
            if thumb := opinions.thumbs.get(message.id):
                row["thumb"] = {"good": thumb.good, "reason": thumb.reason, "comment": thumb.comment}
            if correction := opinions.corrections.get(message.id):
                row["correction"] = correction.text
        rows.append(row)
    return {
        "title": conversation.title,
        "created": conversation.created,
        "consent": conversation.consent,
        "system": conversation.system,
        "messages": rows,
    }


def as_markdown(conversation: Conversation, messages: Sequence[ChatMessage], names: Mapping[str, str]) -> str:
    """A branch for people; `names` says what to call who speaks."""
    parts = [f"# {conversation.title}\n"]
    for message in messages:
        who = names[message.role] + (f" ({message.model})" if message.model else "")
        parts.append(f"**{who}**\n\n{message.text}\n")
    return "\n".join(parts)


# ---------------------------------------------------------------------------------------------------------------------
# What the lens needs


def pack(lens: Mapping[str, Any]) -> bytes:
    return zlib.compress(json.dumps(lens, separators=(",", ":")).encode(), 6)


def unpack(packed: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(zlib.decompress(packed))
    return found


def answer_of(db: Session, caller: Caller, id: int) -> ChatMessage:
    """An answer of the caller's.

    Raises:
        ApiError: 404.
    """
    message = get_owned(db, ChatMessage, id, caller)
    if message.role != "assistant":
        raise not_found(f"Message {id} is no answer.")
    return message
