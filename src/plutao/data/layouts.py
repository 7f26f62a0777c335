"""The layouts in which people keep conversations, and how a row of each becomes messages.

Which layout a row has is seen from its fields: OpenAI's `messages`, ShareGPT's `conversations`, Alpaca's `instruction`
and `output`, a `prompt` and its `response` by any of their usual names, a question about a text with its answers
(SQuAD's), a question with lettered alternatives (that of Brazil's ENEM). Open Assistant's trees are in `data.trees`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plutao.data.sources.examples import Row
from plutao.data.sources.rows import in_words
from plutao.text.chat import Message, Messages, Role, ToolCall

MESSAGES = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
PAIR = '{"prompt": "…", "response": "…"}'
CALLS = '"tool_calls": [{"type": "function", "function": {"name": "…", "arguments": {…}}}]'

ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
}
TURNS = ("messages", "conversations", "conversation")
PROMPTS = ("instruction", "prompt", "question", "query", "pergunta")
ANSWERS = ("output", "response", "completion", "answer", "answers", "resposta")
MATERIAL = ("input", "context")
"""What an instruction or question is about; it follows it behind an empty line."""


class Misfit(Exception):
    """What a row lacks: the field, what is wrong with it, and the right form as an example."""

    def __init__(self, field: str, problem: str, example: str = MESSAGES) -> None:
        super().__init__(f"{field} {problem}. The form is {example}.")


def read_row(row: Row) -> Messages:
    """The messages of a row in any of the layouts; raises Misfit."""
    fields = row.fields
    if ranked := next((name for name in ("completions", "chosen", "rejected") if name in fields), None):
        raise Misfit(
            f"field {ranked!r}", "says that these are ranked answers, which belong in [[reward.sources]]", PAIR
        )
    turns = next((name for name in TURNS if isinstance(fields.get(name), list)), None)
    if turns:
        messages = read_turns(fields[turns], turns)
    elif "alternatives" in fields:
        messages = read_multiple_choice(fields)
    else:
        messages = read_pair(fields)
    system = row.text("system", "system_prompt")
    return (Message("system", system), *messages) if system and messages[0].role != "system" else messages


# ---------------------------------------------------------------------------------------------------------------------
# Lists of turns: OpenAI's and ShareGPT's


def read_turns(turns: Sequence[Any], field: str = "messages") -> Messages:
    """A list of {"role", "content"} or {"from", "value"} objects; raises Misfit with the number of the turn."""
    if not turns:
        raise Misfit(f"field {field!r}", "has no turns")
    return tuple(read_turn(turn, f"{field}[{number}]") for number, turn in enumerate(turns))


def read_turn(turn: Any, place: str) -> Message:
    if not isinstance(turn, dict):
        raise Misfit(place, f"holds {in_words(turn)}, not a turn")
    said = turn.get("role", turn.get("from"))
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        known = "system, user, assistant, tool (or human, gpt …)"
        raise Misfit(place, f"has the role {said!r}, which is none of {known}")
    content = read_content(turn.get("content", turn.get("value")), place)
    if said == "function_call":
        return Message(role, "", (read_call(content, f"{place}.value"),))
    calls = turn.get("tool_calls") or ([turn["function_call"]] if turn.get("function_call") else [])
    if not isinstance(calls, list):
        raise Misfit(f"{place}.tool_calls", f"holds {in_words(calls)}, not a list", CALLS)
    if calls and role != "assistant":
        raise Misfit(f"{place}.tool_calls", "belongs to the assistant's turns only", CALLS)
    return Message(role, content, tuple(read_call(call, f"{place}.tool_calls[{n}]") for n, call in enumerate(calls)))


def read_content(content: Any, place: str) -> str:
    """Text, nothing, or OpenAI's list of parts, all of them text."""
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(read_part(part, f"{place}.content[{number}]") for number, part in enumerate(content))
    if not isinstance(content, str):
        raise Misfit(f"{place}.content", f"holds {in_words(content)}, not text")
    return content


def read_part(part: Any, place: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type", "an object without text") if isinstance(part, dict) else in_words(part)
    raise Misfit(place, f"is {kind}: only text can be learned")


def read_call(call: Any, place: str) -> ToolCall:
    """A tool call: OpenAI's {"function": {"name", "arguments"}}, the inner object alone, or either as JSON text."""
    call = from_json(call, place)
    call = call.get("function", call)
    name, arguments = (call.get("name"), call.get("arguments", {})) if isinstance(call, dict) else (None, {})
    if not isinstance(name, str) or not name:
        raise Misfit(f"{place}.name", "is missing", CALLS)
    return ToolCall(name, from_json(arguments, f"{place}.arguments"))


def from_json(value: Any, place: str) -> dict[str, Any]:
    """An object, also where it is given as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Misfit(place, f"is not valid JSON ({error})", CALLS) from error
    if not isinstance(value, dict):
        raise Misfit(place, f"holds {in_words(value)}, not an object", CALLS)
    return value


# ---------------------------------------------------------------------------------------------------------------------
# One question, one answer


def read_pair(fields: Mapping[str, Any]) -> Messages:
    """Alpaca's instruction (with its input) and output, a prompt and its response, a question (about a text) and answer."""
    instances = fields.get("instances")
    if (
        isinstance(instances, list) and instances and isinstance(instances[0], dict)
    ):  # Self-Instruct's: the first counts
        fields = {**fields, **instances[0]}
    prompt = next((name for name in PROMPTS if name in fields), None)
    material = next((name for name in MATERIAL if fields.get(name) not in (None, "")), None)
    prompt, material = (prompt, material) if prompt else (material, None)
    answer = next((name for name in ANSWERS if name in fields), None)
    if prompt is None or answer is None:
        have = ", ".join(map(repr, fields)) or "none"
        lacking = "a prompt" if answer else "an answer" if prompt else "a conversation"
        raise Misfit("the row", f"has no field with {lacking}; it has {have}", f"{MESSAGES} or {PAIR}")
    opening = read_side(fields[prompt], "user", prompt)
    if material and len(opening) == 1:
        about = opening[0].content + "\n\n" + only_text(fields[material], material)
        opening = (Message("user", about),)
    return (*read_history(fields.get("history")), *opening, *read_side(fields[answer], "assistant", answer))


def read_side(value: Any, role: Role, field: str) -> Messages:
    """One side of a pair: text, SQuAD's answers (the first counts), or, as TRL has them, a list of turns."""
    if isinstance(value, dict) and "text" in value:
        value = value["text"]
    if isinstance(value, list) and value and isinstance(value[0], dict) and "text" not in value[0]:
        return read_turns(value, field)
    if isinstance(value, list) and role == "assistant":
        first = value[0] if value else ""
        value = first.get("text") if isinstance(first, dict) else first
    return (Message(role, only_text(value, field)),)


def read_history(history: Any) -> Messages:
    """Alpaca's earlier turns, as some keep them: [["question", "answer"], …]."""
    if not history:
        return ()
    form = '{"history": [["question", "answer"]], "instruction": "…", "output": "…"}'
    if not isinstance(history, list):
        raise Misfit("field 'history'", f"holds {in_words(history)}, not a list", form)
    turns: list[Message] = []
    for number, exchange in enumerate(history):
        match exchange:
            case [str(question), str(answer)]:
                turns += [Message("user", question), Message("assistant", answer)]
            case _:
                raise Misfit(f"history[{number}]", "is not a question and its answer", form)
    return tuple(turns)


def read_multiple_choice(fields: Mapping[str, Any]) -> Messages:
    """A question with lettered alternatives, answered with the right one's letter and text."""
    form = '{"question": "…", "alternatives": [{"letter": "A", "text": "…"}, …], "correctAlternative": "A"}'
    lines: dict[str, str] = {}
    alternatives = fields["alternatives"]
    for number, alternative in enumerate(alternatives if isinstance(alternatives, list) else []):
        match alternative:
            case {"letter": str(letter), "text": str(text)}:
                lines[letter] = f"{letter}) {text}"
            case _:
                raise Misfit(f"alternatives[{number}]", "has no letter or no text", form)
    right = fields.get("correctAlternative")
    if right not in lines:
        raise Misfit("field 'correctAlternative'", f"is {right!r}, which is none of {', '.join(lines) or 'none'}", form)
    asked = [fields.get(name) for name in ("context", "question", "alternativesIntroduction")]
    question = "\n\n".join(part for part in asked if isinstance(part, str) and part.strip())
    return (Message("user", question + "\n" + "\n".join(lines.values())), Message("assistant", lines[right]))


def only_text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise Misfit(f"field {field!r}", f"holds {in_words(value)}, not text", PAIR)
    return value


# ---------------------------------------------------------------------------------------------------------------------
# Any other table: the recipe says how


def from_templates(prompt: str, answer: str) -> Callable[[Row], Messages]:
    """A reader of rows with other fields: `{field}` in the templates stands for what the row's field holds."""

    def read(row: Row) -> Messages:
        return (Message("user", fill(prompt, row.fields)), Message("assistant", fill(answer, row.fields)))

    return read


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """The template with each {field} replaced; {a.b} looks inside an object, {a.0} takes a list's first element."""

    def value(match: re.Match[str]) -> str:
        found: Any = fields
        for part in match[1].split("."):
            inside = isinstance(found, list) and part.isdigit() and int(part) < len(found)
            found = found[int(part)] if inside else found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(found, str | int | float) or isinstance(found, bool):
            raise Misfit(f"field {match[1]!r}", f"holds {in_words(found)}, not text", f"{{{match[1]!r}: '…'}}")
        return str(found)

    return re.sub(r"\{([\w.]+)\}", value, template)
