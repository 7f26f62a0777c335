"""OpenAI's messages, tools and forms of an answer, read into ours; what can't be read is refused by the field's name."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plutao.generate.grammar import Grammar
from plutao.serve.api.schemas.chat import ChatMessage, ChatRequest, ChatTool, ContentPart, ResponseFormat
from plutao.serve.api.schemas.chat import ToolChoice as AskedChoice
from plutao.serve.backend.contract import ToolChoice
from plutao.serve.errors import ApiError, bad_request
from plutao.text.chat import Message, Messages, Role, ToolCall

ROLES: dict[str, Role] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def read_messages(asked: Sequence[ChatMessage], where: str = "messages") -> Messages:
    """The conversation.

    Raises:
        ApiError: a part that is no text, arguments that are no JSON, a result without its call, or nothing to answer.
    """
    messages: list[Message] = []
    called: set[str] = set()
    for place, message in enumerate(asked):
        name = f"{where}[{place}]"
        calls = tuple(
            read_call(call.function, f"{name}.tool_calls[{i}]") for i, call in enumerate(message.tool_calls or ())
        )
        if calls and message.role != "assistant":
            raise bad_request(f"{name}: only an assistant's message has tool_calls.", f"{name}.tool_calls")
        if message.role == "tool" and message.tool_call_id not in called:
            raise bad_request(
                f"{name} answers the call {message.tool_call_id!r}, which no message before it makes.",
                f"{name}.tool_call_id",
            )
        called |= {call.id for call in message.tool_calls or ()}
        messages.append(Message(ROLES[message.role], read_content(message, name), calls))
    if messages[-1].role == "assistant":
        raise bad_request("The last message is the assistant's: there is nothing to answer.", where)
    return tuple(messages)


def read_content(message: ChatMessage, name: str) -> str:
    """A message's text, its parts joined."""
    content = message.content
    if content is None:
        if message.role == "assistant":
            return ""
        raise bad_request(f"{name} has no content.", f"{name}.content", "missing_required_parameter")
    if isinstance(content, str):
        return content
    return "".join(read_part(part, f"{name}.content[{place}]") for place, part in enumerate(content))


def read_part(part: ContentPart, name: str) -> str:
    if part.type in ("text", "input_text", "output_text") and part.text is not None:
        return part.text
    if part.type == "refusal" and part.refusal is not None:
        return part.refusal
    if part.type in ("text", "input_text", "output_text", "refusal"):
        raise bad_request(f"{name} has no text.", name, "missing_required_parameter")
    raise bad_request(
        f"{name} is of type {part.type!r}: these models read text only.", f"{name}.type", "unsupported_value"
    )


def read_call(function: Any, name: str) -> ToolCall:
    """A tool call of an earlier answer, `function` having a name and JSON arguments."""
    try:
        arguments = json.loads(function.arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise bad_request(
            f"{name}: the arguments are not JSON.", f"{name}.function.arguments", "invalid_value"
        ) from error
    if not isinstance(arguments, dict):
        raise bad_request(f"{name}: the arguments are no JSON object.", f"{name}.function.arguments", "invalid_value")
    return ToolCall(function.name, arguments)


# ---------------------------------------------------------------------------------------------------------------------
# Tools and forms


def read_tools(tools: Sequence[ChatTool] | None) -> tuple[Mapping[str, Any], ...]:
    """The client's tools."""
    read: list[Mapping[str, Any]] = []
    for place, tool in enumerate(tools or ()):
        if tool.type != "function" or tool.function is None:
            raise bad_request(
                f"tools[{place}] is of type {tool.type!r}: only functions can be called.",
                f"tools[{place}].type",
                "unsupported_value",
            )
        function = tool.function
        if any(function.name == other["name"] for other in read):
            raise bad_request(
                f"Two tools are called {function.name!r}.", f"tools[{place}].function.name", "invalid_value"
            )
        parameters = function.parameters or {"type": "object", "properties": {}}
        read.append({"name": function.name, "description": function.description or "", "parameters": parameters})
    return tuple(read)


def read_choice(
    choice: str | AskedChoice | None, tools: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], ToolChoice]:
    """(the tools that may be called, and whether one must be)."""
    if choice is None or isinstance(choice, str):
        if choice == "required" and not tools:
            raise bad_request("tool_choice is required, and there are no tools.", "tool_choice", "invalid_value")
        modes = {
            None: ToolChoice(),
            "auto": ToolChoice(),
            "none": ToolChoice("none"),
            "required": ToolChoice("required"),
        }
        return tools, modes[choice]
    if choice.type == "allowed_tools" and isinstance(choice.allowed_tools, dict):
        return allowed(choice.allowed_tools, tools)
    if choice.type != "function" or choice.function is None:
        raise bad_request(
            f"tool_choice is of type {choice.type!r}: name a function.", "tool_choice", "unsupported_value"
        )
    if not any(choice.function.name == tool["name"] for tool in tools):
        raise bad_request(
            f"tool_choice names {choice.function.name!r}, which is not among the tools.", "tool_choice", "invalid_value"
        )
    return tools, ToolChoice("named", choice.function.name)


def allowed(
    choice: dict[str, Any], tools: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], ToolChoice]:
    """`allowed_tools`: some of the tools, of which one may or must be called."""
    listed = choice.get("tools") if isinstance(choice.get("tools"), list) else []
    names = {
        str((tool.get("function") or tool).get("name"))
        for tool in listed or []
        if isinstance(tool, dict) and isinstance(tool.get("function") or tool, dict)
    }
    kept = tuple(tool for tool in tools if tool["name"] in names)
    if not kept or choice.get("mode") not in ("auto", "required"):
        raise bad_request(
            "tool_choice.allowed_tools needs a mode, auto or required, and some of the tools.",
            "tool_choice",
            "invalid_value",
        )
    return kept, ToolChoice("required" if choice["mode"] == "required" else "auto")


def read_form(form: ResponseFormat | None) -> Grammar | None:
    """The form that an answer must have; None for plain text."""
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return Grammar("json_object")
    if form.json_schema is None:
        raise bad_request(
            "response_format needs json_schema.", "response_format.json_schema", "missing_required_parameter"
        )
    return json_schema(form.json_schema.schema_, "response_format.json_schema.schema")


def json_schema(schema: dict[str, Any] | None, param: str) -> Grammar:
    if schema is None:
        raise bad_request(f"{param} is missing: the form of the answer.", param, "missing_required_parameter")
    return Grammar("json_schema", json.dumps(schema, ensure_ascii=False))


def refuse_unsupported(ask: ChatRequest) -> None:
    """Fields that would change the answer and can't: refused, where others are ignored.

    Raises:
        ApiError: 400 with the field's name.
    """
    wanted = {
        "audio": ask.audio is not None,
        "modalities": bool(set(ask.modalities or ["text"]) - {"text"}),
        "functions": ask.functions is not None,
        "function_call": ask.function_call is not None,
        "web_search_options": ask.web_search_options is not None,
        "moderation": ask.moderation is not None,
    }
    instead = {"functions": " Use tools.", "function_call": " Use tool_choice."}
    for name, asked in wanted.items():
        if asked:
            raise unsupported(name, instead.get(name, ""))


def unsupported(name: str, instead: str = "") -> ApiError:
    return bad_request(f"{name} is not supported here.{instead}", name, "unsupported_parameter")
