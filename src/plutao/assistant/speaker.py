"""Who answers: a model that learned to talk, or a base model that is shown how by a few worked examples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plutao.errors import UserError
from plutao.evaluate.measure import name_of, worlds_of
from plutao.evaluate.responders import Example, PromptedBase, worked_examples
from plutao.generate.answers import Completion
from plutao.generate.chat import Chat, ChatPiece, Reply, converses, load_chat
from plutao.generate.engine import Engine, load_engine
from plutao.generate.sampling import Sampling
from plutao.project import resolve_model
from plutao.text.chat import Message, Messages

FRAME = (
    Example("Qual é a capital da França?", "Paris."),
    Example("How many days are in a week?", "Seven."),
    Example("Qual é o contrário de alto?", "Baixo."),
    Example("Which animal says meow?", "The cat."),
)
"""What a base model of no embedded world is shown."""


@dataclass(frozen=True)
class Speaker:
    """A model that answers, and its name."""

    name: str
    voice: "Chat | PromptedVoice"

    @property
    def engine(self) -> Engine:
        return self.voice.engine

    @property
    def learned_to_talk(self) -> bool:
        return isinstance(self.voice, Chat)

    def stream(self, messages: Messages, sampling: Sampling) -> Iterator[ChatPiece]:
        """One reply as it is written; the last piece brings it whole."""
        return self.voice.stream(messages, sampling)

    def several(self, messages: Messages, sampling: Sampling) -> list[str]:
        """`sampling.n` answers to one conversation."""
        if isinstance(self.voice, Chat):
            return [reply.text.strip() for reply in self.voice.answer([messages], sampling)[0]]
        return self.voice.several(messages, sampling)


class PromptedVoice:
    """A base model continues a plain list of questions and answers, one a line; its answer is the rest of the line."""

    def __init__(self, engine: Engine, examples: Sequence[Example]) -> None:
        self.engine, self._prompted = engine, PromptedBase(engine, examples)

    def several(self, messages: Messages, sampling: Sampling) -> list[str]:
        sampling = replace(sampling, stop=("\n",))
        [completions] = self.engine.complete([self._prompted.prompt(messages)], sampling, truncate_prompt=True)
        return [completion.text.strip() for completion in completions]

    def stream(self, messages: Messages, sampling: Sampling) -> Iterator[ChatPiece]:
        prompt = [self.engine.tokenizer.end_of_text, *self.engine.tokenizer.encode(self._prompted.prompt(messages))]
        begun = False
        for piece in self.engine.stream(prompt, replace(sampling, stop=("\n",)), truncate_prompt=True):
            text = piece.text if begun else piece.text.lstrip()
            begun = begun or bool(text)
            if text:
                yield ChatPiece(text)
            if piece.completion is not None:
                yield ChatPiece(reply=as_reply(prompt[piece.completion.truncated :], piece.completion))


def as_reply(prompt: list[int], completion: Completion) -> Reply:
    text = completion.text.strip()
    return Reply(
        messages=(Message("assistant", text),),
        text=text,
        prompt=prompt,
        tokens=completion.tokens,
        written=[True] * len(completion.tokens),
        logprobs=completion.token_logprobs,
        finish_reason=completion.finish_reason,
        seed=completion.seed,
    )


def find_speaker(root: Path, run: str | None = None, stage: str | None = None) -> Path:
    """The folder of the model that talks: RUN[:STAGE], by default the last stage of the current run that can.

    Raises:
        UserError: there is none of that name, or it is a reward model, which judges and says nothing.
    """
    folder = resolve_model(run, root, stage)
    if folder.name == "reward":
        raise UserError(f"{name_of(folder)} is a reward model: it judges answers and writes none. Name another stage.")
    return folder


def load_speaker(folder: Path, slots: int = 4) -> Speaker:
    """Raises UserError where the folder holds no model that can be loaded."""
    if converses(folder):
        return Speaker(name_of(folder), load_chat(folder, slots=slots))
    return Speaker(name_of(folder), PromptedVoice(load_engine(folder, slots=slots), examples_for(folder)))


def examples_for(folder: Path) -> Sequence[Example]:
    """Worked examples of the world that a model learned from, else general ones."""
    try:
        questions = worlds_of(folder)[0].questions("train", 400, 1)
    except UserError:
        return FRAME
    return worked_examples(questions)
