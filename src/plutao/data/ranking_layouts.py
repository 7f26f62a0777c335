"""The layouts in which others keep who preferred what, each turned into conversations, answers and ranks.

A layout is found out by its fields. What a row lacks is said with the row and the field; nothing is guessed.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from plutao.data.layouts import Misfit, read_turns
from plutao.data.sources.examples import Row
from plutao.data.sources.rows import BadRows, in_words
from plutao.data.trees import Node, read_trees
from plutao.text.chat import Message, Messages

MOST_ANSWERS = 9
"""Answers of one ranking at most, where a prompt has more graded ones: as many as people were given to rank in InstructGPT."""
Fields = Mapping[str, Any]


class NotARanking(Exception):
    """A row that holds no ranking: what kind of fault it has, and a sentence that names the field; where it is nobody's
    `mistake`, it is only counted.
    """

    def __init__(self, kind: str, sentence: str, mistake: bool = True) -> None:
        super().__init__(kind, sentence)
        self.kind, self.sentence, self.mistake = kind, sentence, mistake


@dataclass(frozen=True)
class Raw:
    """A ranking as it was found; `asked`, `answered` and `ranked` are the fields it came from, for messages."""

    messages: Messages
    completions: Sequence[str]
    ranks: Sequence[float]
    asked: str = "messages"
    answered: str = "completions"
    ranked: str = "ranks"
    id: str = ""
    labeller: str | None = None
    group: str | None = None
    demonstration: str | None = None
    language: str | None = None
    license: str | None = None
    turns: Sequence[Messages] = ()
    """All that each answer added to the conversation, where one is more than a text."""


Read = Iterator[tuple[str, Raw | NotARanking]]


@dataclass(frozen=True)
class Layout:
    """`fits` tells by a file's first row; `read` gives what each row holds with where it stands."""

    fields: str
    """In words, for messages."""
    fits: Callable[[Fields], bool]
    read: Callable[[Iterable[Row], BadRows], Read]


def row_by_row(read: Callable[[Row], list[Raw]]) -> Callable[[Iterable[Row], BadRows], Read]:
    """A layout's reader from one that takes a single row."""

    def read_all(rows: Iterable[Row], bad: BadRows) -> Read:
        for row in rows:
            try:
                found: Sequence[Raw | NotARanking] = read(row)
            except NotARanking as error:
                found = [error]
            for one in found:
                yield row.where, one

    return read_all


# ---------------------------------------------------------------------------------------------------------------------
# Fields


def text_of(fields: Fields, name: str) -> str:
    """A field that must hold text."""
    if name not in fields:
        raise NotARanking("no such field", f"field {name!r} is missing; it has {', '.join(map(repr, fields))}.")
    if not isinstance(fields[name], str):
        raise NotARanking("not text", f"field {name!r} holds {in_words(fields[name])}, not text.")
    return str(fields[name])


def messages_of(value: Any, name: str) -> Messages:
    """A list of messages in OpenAI's layout or ShareGPT's."""
    if not isinstance(value, list):
        raise NotARanking("no messages", f"field {name!r} holds {in_words(value)}, not a list of messages.")
    try:
        return read_turns(value, name)
    except Misfit as error:
        raise NotARanking("no messages", str(error).removesuffix(".")) from error


def asked_of(
    fields: Fields, names: Sequence[str] = ("messages", "prompt", "instruction", "question")
) -> tuple[Messages, str]:
    """The conversation that was answered, and the field it came from: messages, or a text of the user's."""
    name = next((name for name in names if name in fields), None)
    if name is None:
        wanted = ", ".join(map(repr, names))
        raise NotARanking("no prompt", f"there is no prompt: none of the fields {wanted} is there.")
    if isinstance(fields[name], list):
        return messages_of(fields[name], name), name
    text = text_of(fields, name)
    more = fields.get("input") if name == "instruction" else None
    return (Message("user", f"{text}\n\n{more}" if isinstance(more, str) and more.strip() else text),), name


def turns_of(value: Any, name: str) -> Messages:
    """An answer: a text, or a list of messages that ends with the assistant's (tool calls and results before it)."""
    if isinstance(value, list):
        messages = messages_of(value, name)
        if messages[-1].role != "assistant":
            raise NotARanking("no answer", f"field {name!r} must end with the assistant's message.")
        return messages
    if not isinstance(value, str):
        raise NotARanking("not text", f"field {name!r} holds {in_words(value)}, not text.")
    return (Message("assistant", value),)


def texts_of(turns: Sequence[Messages]) -> dict[str, Any]:
    """The answers as a ranking holds them: their last words, and all their turns where one has several."""
    several = any(len(answer) > 1 for answer in turns)
    return {"completions": [answer[-1].content for answer in turns], "turns": turns if several else ()}


def about(row: Row) -> dict[str, Any]:
    """What many layouts say of a row besides the ranking itself."""
    others = {name: row.text(name) for name in ("labeller", "group", "demonstration")}
    return {"id": row.id, "language": row.language, "license": row.license} | others


# ---------------------------------------------------------------------------------------------------------------------
# Ours, and pairs


def read_ours(row: Row) -> list[Raw]:
    messages, asked = asked_of(row.fields, ("messages", "prompt"))
    completions, ranks = row.fields.get("completions"), row.fields.get("ranks")
    if not isinstance(completions, list):
        raise NotARanking("no answers", f"field 'completions' holds {in_words(completions)}, not a list of texts.")
    if not isinstance(ranks, list):
        raise NotARanking("ranks", f"field 'ranks' holds {in_words(ranks)}, not a list of whole numbers (1 = best).")
    for place, rank in enumerate(ranks):
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise NotARanking("ranks", f"field 'ranks[{place}]' is {rank!r}: ranks are whole numbers from 1, the best.")
    turns = [turns_of(value, f"completions[{place}]") for place, value in enumerate(completions)]
    return [Raw(messages, ranks=ranks, asked=asked, **texts_of(turns), **about(row))]


def read_pair(row: Row) -> list[Raw]:
    """`chosen` and `rejected`: texts with a prompt, transcripts of hh-rlhf, or lists of messages (with a prompt, or
    with the prompt in both).
    """
    chosen, rejected = row.fields["chosen"], row.fields.get("rejected")
    if isinstance(chosen, str) and TURN.match(chosen):
        return [read_transcripts(row)]
    asked = ("messages", "prompt", "instruction", "question")
    if isinstance(chosen, list) and not any(name in row.fields for name in asked):
        messages, answers = split_alike(messages_of(chosen, "chosen"), messages_of(rejected, "rejected"))
        return [Raw(messages, answers, (1, 2), "chosen", "chosen", **about(row))]
    if "topic" in row.fields and not any(name in row.fields for name in asked):
        return [read_debate(row)]
    messages, name = asked_of(row.fields, asked)
    turns = (turns_of(chosen, "chosen"), turns_of(rejected, "rejected"))
    return [Raw(messages, ranks=(1, 2), asked=name, answered="chosen and rejected", **texts_of(turns), **about(row))]


def split_alike(chosen: Messages, rejected: Messages) -> tuple[Messages, tuple[str, str]]:
    """(the conversation both have in common, the two last answers)."""
    if chosen[:-1] != rejected[:-1]:
        raise NotARanking(
            "two conversations",
            "fields 'chosen' and 'rejected' differ before the last answer: these are two conversations.",
        )
    if not chosen[-1].role == rejected[-1].role == "assistant":
        raise NotARanking("no answer", "fields 'chosen' and 'rejected' must end with the assistant's message.")
    return chosen[:-1], (chosen[-1].content, rejected[-1].content)


TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def read_transcripts(row: Row) -> Raw:
    """hh-rlhf (Bai et al. 2022): whole conversations as text, alike up to the last answer."""
    transcripts = [transcript(text_of(row.fields, name), name) for name in ("chosen", "rejected")]
    messages, answers = split_alike(*transcripts)
    return Raw(messages, answers, (1, 2), "chosen", "chosen and rejected", **about(row))


def transcript(text: str, name: str) -> Messages:
    parts = TURN.split(text)
    if parts[0].strip():
        raise NotARanking("no transcript", f"field {name!r} does not begin with a turn of 'Human: …'.")
    return tuple(
        Message(SPEAKERS[speaker], said.strip())  # type: ignore[arg-type]  # the values of SPEAKERS are roles
        for speaker, said in zip(parts[1::2], parts[2::2], strict=True)
    )


def read_debate(row: Row) -> Raw:
    """UKPConvArg (Habernal & Gurevych 2016): which of two arguments for one side of a debate convinces more."""
    topic = text_of(row.fields, "topic")
    debate, _, side = topic.partition("_")
    question, side = debate.replace("-", " ").strip(), side.replace("-", " ").strip()
    asks = Message("user", f"Debate: {question}\nSide: {side}\nGive a convincing argument.")
    answers = (text_of(row.fields, "chosen"), text_of(row.fields, "rejected"))
    return Raw((asks,), answers, (1, 2), "topic", "chosen and rejected", **(about(row) | {"group": debate}))


# ---------------------------------------------------------------------------------------------------------------------
# Judgements of several people on two answers


def read_judgements(row: Row) -> list[Raw]:
    """PandaLM (Wang et al. 2023): `annotator1`, `annotator2` … say 1 or 2 for the better answer, 0 for a tie."""
    fields = row.fields
    messages, asked = asked_of(fields, ("instruction",))
    answers = (text_of(fields, "response1"), text_of(fields, "response2"))
    if not (answers[0].strip() and answers[1].strip()):
        raise NotARanking("empty answer", f"field {'response2' if answers[0].strip() else 'response1'!r} is empty.")
    ranks = {0: (1, 1), 1: (1, 2), 2: (2, 1)}
    found = []
    for name in sorted(name for name in fields if re.fullmatch(r"annotator\d+", name)):
        if isinstance(fields[name], bool) or fields[name] not in ranks:
            raise NotARanking("no judgement", f"field {name!r} is {fields[name]!r}: it must be 0 (tie), 1 or 2.")
        own = about(row) | {"id": f"{row.id}-{name}", "labeller": name, "group": messages[0].content}
        found.append(Raw(messages, answers, ranks[fields[name]], asked, "response1 and response2", name, **own))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Graded answers


def read_graded(rows: Iterable[Row], bad: BadRows) -> Read:
    """Answers with a score, one a row, gathered by prompt: the higher the score, the better the rank.

    A prompt's answers make rankings of at most `MOST_ANSWERS`, drawn evenly; all of them are one group.
    """
    prompts: dict[str, list[Graded]] = {}
    for row in rows:
        try:
            graded = grade_of(row)
        except NotARanking as error:
            bad.found(error.kind, f"{row.where}: {error.sentence}")
        else:
            prompts.setdefault(graded.prompt, []).append(graded)
    for prompt, answers in prompts.items():
        if len(answers) == 1:
            alone = NotARanking("one answer", f"prompt {prompt!r} has one answer.", mistake=False)
            yield answers[0].row.where, alone
            continue
        random.Random(crc32(prompt.encode())).shuffle(answers)
        parts = -(-len(answers) // MOST_ANSWERS)
        for number in range(parts):
            yield answers[number].row.where, ranking_of(answers[number::parts], f"{prompt}-{number + 1}")


@dataclass(frozen=True)
class Graded:
    """One answer and its score."""

    prompt: str
    messages: Messages
    answer: str
    score: float
    row: Row


ANSWERS = ("answer", "response", "completion", "essay", "output")


def grade_of(row: Row) -> Graded:
    messages, _ = asked_of(row.fields, ("messages", "prompt", "question", "instruction"))
    name = next((name for name in ANSWERS if name in row.fields), None)
    if name is None:
        raise NotARanking(
            "no answer", f"there is no answer: none of the fields {', '.join(map(repr, ANSWERS))} is there."
        )
    text, score = text_of(row.fields, name), row.fields.get("score")
    if not text.strip():
        raise NotARanking("empty answer", f"field {name!r} is empty.")
    if not isinstance(score, int | float) or isinstance(score, bool) or score != score:
        raise NotARanking("no score", f"field 'score' holds {in_words(score)}, not a number.")
    title = row.text("title")
    prompt = str(row.fields.get("prompt_id") or messages[-1].content[:60])
    return Graded(prompt, messages, f"{title}\n\n{text}" if title else text, float(score), row)


def ranking_of(answers: Sequence[Graded], identity: str) -> Raw:
    """The ranking of some answers to one prompt."""
    first = answers[0]
    return Raw(
        first.messages,
        [answer.answer for answer in answers],
        [-answer.score for answer in answers],
        "prompt",
        "answer",
        "score",
        id=identity,
        group=first.prompt,
        language=first.row.language,
        license=first.row.license,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Open Assistant's trees


def read_ranked_trees(rows: Iterable[Row], bad: BadRows) -> Read:
    """Open Assistant (Köpf et al. 2023): the replies to one message that people ranked, 0 the best; replies that nobody
    ranked are left out.
    """
    rows = list(rows)
    places = {str(row.fields["message_id"]): row.where for row in rows if "message_id" in row.fields}
    for root in read_trees(rows, bad):
        waiting: list[tuple[Node, Messages]] = [(root, ())]
        while waiting:
            node, before = waiting.pop()
            path = (*before, node.message)
            waiting += [(reply, path) for reply in reversed(node.replies)]
            ranked = [reply for reply in node.replies if reply.rank is not None]
            if node.message.role == "user" and len(ranked) > 1:
                yield (
                    places.get(node.id, f"{rows[0].where} (message {node.id})"),
                    ranking_of_replies(path, node, ranked, root),
                )


def ranking_of_replies(path: Messages, node: Node, ranked: Sequence[Node], root: Node) -> Raw:
    """The ranked replies to the end of a path."""
    answers = [reply.message.content for reply in ranked]
    ranks = [reply.rank or 0 for reply in ranked]
    return Raw(path, answers, ranks, "text", "text", "rank", id=node.id, group=root.id, language=root.language)


def has(*names: str) -> Callable[[Fields], bool]:
    """Whether a row has all of these fields."""
    return lambda fields: all(name in fields for name in names)


LAYOUTS = (
    Layout("'messages', 'completions' and 'ranks'", has("completions"), row_by_row(read_ours)),
    Layout("'chosen' and 'rejected'", has("chosen"), row_by_row(read_pair)),
    Layout("'response1', 'response2' and 'annotator1'", has("response1", "annotator1"), row_by_row(read_judgements)),
    Layout("'message_id', 'role' and 'rank' (Open Assistant)", has("message_id"), read_ranked_trees),
    Layout("'prompt' with 'replies'", lambda fields: isinstance(fields.get("prompt"), dict), read_ranked_trees),
    Layout("'prompt', 'answer' and 'score'", has("score"), read_graded),
)
