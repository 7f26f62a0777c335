"""Conversations as tokens: the form (ChatML) in which people's and assistants' turns are read and learned."""

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """An assistant asks for a tool: `arguments` by name, as the tool's JSON schema says."""

    name: str
    arguments: dict[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


Messages = tuple[Message, ...]
