"""Conversations that fine-tuning never saw, as prompts on which stages can be compared where no world asks the questions."""

from dataclasses import dataclass
from pathlib import Path

from plutao.data.conversations import read_conversations
from plutao.evaluate.responders import Example
from plutao.text.chat import Messages

EXAMPLES = 4  # conversations shown to the base model, which are not asked
SHORT = 200  # characters of a question or an answer that serves as an example


@dataclass(frozen=True)
class HeldOut:
    """A conversation up to its last answer, which is left out."""

    id: str
    task: str
    """The source."""
    language: str
    messages: Messages


def held_out(folder: Path, context: int) -> tuple[list[HeldOut], list[Example]]:
    """The prompts beside an SFT model, and a few short exchanges to show to a base model, which are none of the prompts.

    Prompts of more than two characters for each token of the `context` are left out: an answer must fit behind them.
    """
    asked: list[HeldOut] = []
    examples: list[Example] = []
    seen: set[Messages] = set()
    for number, conversation in enumerate(read_conversations(folder / "held_out.jsonl", "held out")):
        *before, answer = conversation.messages
        prompt = tuple(before)
        length = sum(len(message.content) for message in prompt)
        if prompt in seen or not prompt or prompt[-1].role != "user" or length > 2 * context:
            continue
        seen.add(prompt)
        question = prompt[-1].content
        if len(examples) < EXAMPLES and len(prompt) == 1 and max(len(question), len(answer.content)) <= SHORT:
            examples.append(Example(question, answer.content))
        else:
            asked.append(HeldOut(f"held-out-{number}", conversation.source, conversation.language or "unknown", prompt))
    return asked, examples
