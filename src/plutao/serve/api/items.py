"""The items of the Responses API, read into a conversation and made of an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from plutao.generate.grammar import Grammar
from plutao.serve.api.asking import new_id
from plutao.serve.api.conversation import json_schema, read_call, read_choice, read_part, read_tools
from plutao.serve.api.schemas.chat import CalledFunction, ChatTool, ContentPart
from plutao.serve.api.schemas.chat import ToolChoice as AskedChoice
from plutao.serve.api.schemas.responses import InputItem, InputRequest, TextFormat
from plutao.serve.backend.contract import ToolChoice
from plutao.serve.errors import bad_request
from plutao.text.chat import Message, Messages

Item = dict[str, Any]


def read_items(items: Sequence[InputItem], instructions: str | None) -> Messages:
    """The conversation. Instructions are the system's words; calls that follow one another are one turn.

    Raises:
        ApiError: an item that can't be read, a result without its call, or nothing to answer.
    """
    messages: list[Message] = [Message("system", instructions)] if instructions else []
    called: set[str] = set()
    for place, item in enumerate(items):
        where = f"input[{place}]"
        if item.type == "message":
            messages.append(read_message(item, where))
        elif item.type == "function_call":
            call = read_function_call(item, where)
            called.add(item.call_id or "")
            if messages and messages[-1].role == "assistant":
                last = messages.pop()
                messages.append(Message("assistant", last.content, (*last.tool_calls, call)))
            else:
                messages.append(Message("assistant", "", (call,)))
        elif item.type == "function_call_output":
            if item.call_id not in called:
                raise bad_request(
                    f"{where} answers the call {item.call_id!r}, which no item before it makes.", f"{where}.call_id"
                )
            messages.append(Message("tool", text_of(item.output, f"{where}.output")))
        elif item.type != "reasoning":  # another model's thoughts say nothing to ours
            message = f"{where} is of type {item.type!r}: only messages and function calls can be read."
            raise bad_request(message, f"{where}.type", "unsupported_value")
    if not messages or messages[-1].role not in ("user", "tool", "system"):
        raise bad_request("The last item is the assistant's: there is nothing to answer.", "input")
    return tuple(messages)


def read_message(item: InputItem, where: str) -> Message:
    if item.role is None:
        raise bad_request(f"{where} has no role.", f"{where}.role", "missing_required_parameter")
    role = "system" if item.role == "developer" else item.role
    return Message(role, text_of(item.content, f"{where}.content"))


def read_function_call(item: InputItem, where: str) -> Any:
    if not item.name or not item.call_id:
        raise bad_request(f"{where} needs a name and a call_id.", where, "missing_required_parameter")
    return read_call(CalledFunction.model_construct(name=item.name, arguments=item.arguments or "{}"), where)


def text_of(content: str | list[ContentPart] | None, where: str) -> str:
    if content is None:
        raise bad_request(f"{where} is missing.", where, "missing_required_parameter")
    if isinstance(content, str):
        return content
    return "".join(read_part(part, f"{where}[{place}]") for place, part in enumerate(content))


def read_response_tools(ask: InputRequest) -> tuple[tuple[Mapping[str, Any], ...], ToolChoice]:
    """Tools and choice: as in chat/completions, but without the frame around a function."""
    tools = [
        ChatTool.model_validate({"type": tool.type, "function": tool.model_dump() if tool.name else None})
        for tool in ask.tools or ()
    ]
    asked = ask.tool_choice
    if asked is None or isinstance(asked, str):
        return read_choice(asked, read_tools(tools))
    if asked.type == "allowed_tools":
        choice = AskedChoice(type=asked.type, allowed_tools={"mode": asked.mode, "tools": asked.tools or []})
    else:
        function = {"name": asked.name} if asked.name else None
        choice = AskedChoice.model_validate({"type": asked.type, "function": function})
    return read_choice(choice, read_tools(tools))


def read_format(form: TextFormat | None) -> Grammar | None:
    """The form that the text must have."""
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return Grammar("json_object")
    return json_schema(form.schema_, "text.format.schema")


# ---------------------------------------------------------------------------------------------------------------------
# Items going out


def message_item(id: str, text: str, status: str, logprobs: list[Item] | None = None) -> Item:
    return {"id": id, "type": "message", "role": "assistant", "status": status, "content": [text_part(text, logprobs)]}


def text_part(text: str, logprobs: list[Item] | None = None) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def call_item(id: str, call_id: str, name: str, arguments: str, status: str) -> Item:
    return {
        "id": id,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def input_item(item: Item) -> Item:
    """An item of a stored request as GET …/input_items tells it: with an id, and its content in parts."""
    kind = item.get("type", "message")
    prefix = {"message": "msg_", "function_call": "fc_"}.get(kind, "item_")
    told = {**item, "type": kind, "id": new_id(prefix), "status": "completed"}
    if kind == "message":
        content = item.get("content", "")
        parts = [{"text": content}] if isinstance(content, str) else content
        texts = [str(part.get("text") or part.get("refusal") or "") for part in parts]
        answer = item.get("role") == "assistant"
        told["content"] = [text_part(text) if answer else {"type": "input_text", "text": text} for text in texts]
    return told
