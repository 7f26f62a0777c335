"""What a tool is to a model that talks: a name, a schema of its arguments, and an answer in text."""

from typing import Any, Protocol


class Tool(Protocol):
    """A program that the assistant may call while it answers (the book's plugins, section 3.4)."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        ...

    def run(self, arguments: dict[str, Any]) -> str:
        """The result as text. What goes wrong is told to the model in the same way and is never raised."""
        ...
