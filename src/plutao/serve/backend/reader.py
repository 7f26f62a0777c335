"""From what was asked to the tokens that a model reads: what the engine's process gets is token ids and settings alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from plutao.errors import UserError
from plutao.generate.sampling import Sampling
from plutao.generate.tools import Calculator
from plutao.serve.backend.contract import Job, ModelCard, Prompt, Refused, Started, template_hash
from plutao.serve.backend.offered import calls_grammar, introduce
from plutao.text.chat import CALL, END, Message, Messages, encode
from plutao.text.tokenizer import Tokenizer

FORBIDDEN = -100.0
"""Bias of a token that is never to be written."""


@dataclass(frozen=True)
class Order:
    """A job as the engine's process takes it."""

    tokens: tuple[int, ...]
    sampling: Sampling
    """With the ends of the answer."""
    cut: int
    talks: bool
    """Whether turns and tool calls are told apart from words."""
    outside: frozenset[str] = frozenset()
    """Tools that the client runs."""
    run_tools: bool = False
    scored: bool = False
    """Whether tokens are told with the words."""
    echo: bool = False
    framed: bool = False
    """Whether the first token of the prompt was put there by us."""
    trim: bool = False
    salt: str = ""
    deadline: float | None = None

    @property
    def started(self) -> Started:
        return Started(len(self.tokens), self.cut)


class Reader:
    """Reads jobs for one model. Every method may take as long as tokenizing the text does."""

    def __init__(self, card: ModelCard) -> None:
        assert card.folder is not None, "a model of ours lies in a folder"
        self.card = card
        self.tokenizer = Tokenizer.load(card.folder)
        self.template = template_hash(str(self.tokenizer.settings.get("chat_template", "")))
        ends = [self.tokenizer.end_of_text]
        self.ends = (self.tokenizer.special(END), *ends) if card.chats else tuple(ends)
        self._worked_prompt: Callable[[Messages], str] | None = None

    def read(self, job: Job) -> Order:
        """The job's tokens and settings.

        Raises:
            Refused: the prompt is too long, a token is strange, or the settings don't fit the model.
        """
        sampling = replace(job.sampling, end_tokens=self.ends)
        known = min(self.card.vocabulary, self.tokenizer.vocabulary_size)
        if strange := [token for token, _ in sampling.logit_bias if token >= known]:
            raise Refused(f"Token {strange[0]} is not in the vocabulary of {known}.", param="logit_bias")
        if not is_conversation(job.prompt):
            return self._read_text(job, sampling)
        if sampling.drawn > sampling.n:
            raise Refused("best_of is for completions; for answers ask for n and choose among them.", param="best_of")
        if job.echo:
            raise Refused("echo is for completions: a conversation is not repeated.", param="echo")
        return self._read_chat(job, sampling) if self.card.chats else self._read_worked(job, sampling)

    def _read_text(self, job: Job, sampling: Sampling) -> Order:
        tokens = self.tokens(job.prompt) or [self.tokenizer.end_of_text]
        strange = [token for token in tokens if not 0 <= token < self.card.vocabulary]
        if strange:
            last = self.card.vocabulary - 1
            raise Refused(f"Token {strange[0]} is not in the vocabulary: ids go from 0 to {last}.", param="prompt")
        # A full context leaves room for one token more: the one that is drawn after it is not read again.
        tokens, cut = self._fit(tokens, job, self.card.context)
        return Order(
            tuple(tokens),
            sampling,
            cut,
            talks=False,
            scored=job.logprobs,
            echo=job.echo,
            framed=isinstance(job.prompt, str) and not cut,
            salt=job.salt,
            deadline=job.deadline,
        )

    def _read_chat(self, job: Job, sampling: Sampling) -> Order:
        assert is_conversation(job.prompt)
        choice, offered = job.tool_choice, job.tools if job.tool_choice.mode != "none" else ()
        if (offered or choice.mode in ("required", "named")) and not self.tokenizer.has(CALL):
            raise Refused("This model has no tokens for tool calls.", param="tools")
        messages = introduce(job.prompt, offered)
        tokens, cut = self._fit_turns(messages, job)
        if offered:
            if sampling.grammar is not None:
                raise Refused("response_format and tools can't be asked for at the same time.", param="response_format")
            ours = [described(Calculator())] if job.run_tools else []
            sampling = replace(sampling, grammar=calls_grammar([*offered, *ours], choice))
        elif choice.mode == "none" and self.tokenizer.has(CALL):
            never = (self.tokenizer.special(CALL), FORBIDDEN)
            sampling = replace(sampling, logit_bias=(*sampling.logit_bias, never))
        return Order(
            tuple(tokens),
            sampling,
            cut,
            talks=True,
            outside=frozenset(tool["name"] for tool in offered),
            run_tools=job.run_tools and choice.mode != "none",
            scored=job.logprobs,
            salt=job.salt,
            deadline=job.deadline,
        )

    def _read_worked(self, job: Job, sampling: Sampling) -> Order:
        """For a base model: worked examples, then the conversation; its answer is the rest of the line."""
        assert is_conversation(job.prompt)
        if job.tools or job.tool_choice.mode in ("required", "named"):
            raise Refused(f"{self.card.id} never learned to talk: it can't call tools.", param="tools")
        text = self._worked(job.prompt)
        tokens, cut = self._fit([self.tokenizer.end_of_text, *self.tokenizer.encode(text)], job, self.card.context)
        if sampling.grammar is None:
            sampling = replace(sampling, stop=(*sampling.stop, "\n"))
        return Order(
            tuple(tokens),
            sampling,
            cut,
            talks=False,
            scored=job.logprobs,
            trim=True,
            salt=job.salt,
            deadline=job.deadline,
        )

    def _worked(self, messages: Messages) -> str:
        if self._worked_prompt is None:
            from plutao.assistant.speaker import examples_for
            from plutao.evaluate.responders import PromptedBase

            engine: Any = None  # only the prompt is made here
            self._worked_prompt = PromptedBase(engine, examples_for(self._folder())).prompt
        return self._worked_prompt(messages)

    def _folder(self) -> Path:
        assert self.card.folder is not None
        return self.card.folder

    # -----------------------------------------------------------------------------------------------------------------
    # Tokens

    def tokens(self, prompt: Prompt) -> list[int]:
        """What the model reads of a prompt, before it is made to fit."""
        if isinstance(prompt, str):
            return [self.tokenizer.end_of_text, *self.tokenizer.encode(prompt)]
        if not is_conversation(prompt):
            return [token for token in prompt if isinstance(token, int)]
        if self.card.chats:
            return encode(self.tokenizer, prompt, generation_prompt=True)
        return [self.tokenizer.end_of_text, *self.tokenizer.encode(self._worked(prompt))]

    def _fit(self, tokens: list[int], job: Job, room: int) -> tuple[list[int], int]:
        """(the tokens that are read, how many were cut from the beginning): half of the context at most for the answer."""
        if len(tokens) <= room:
            return tokens, 0
        if not job.truncate:
            raise self._too_long(len(tokens), room, job)
        kept = max(self.card.context - job.sampling.max_tokens + 1, self.card.context // 2, 1)
        return tokens[-kept:], len(tokens) - kept

    def _fit_turns(self, messages: Messages, job: Job) -> tuple[list[int], int]:
        """As `_fit`, but whole turns go, the oldest first; the system prompt and the last message stay."""
        tokens = encode(self.tokenizer, messages, generation_prompt=True)
        whole, context = len(tokens), self.card.context
        if whole < context:
            return tokens, 0
        if not job.truncate:
            raise self._too_long(whole, context - 1, job)
        system = messages[:1] if messages[0].role == "system" else ()
        rest = list(messages[len(system) :])
        room = context - min(job.sampling.max_tokens, context // 4)
        while len(tokens) > room and (later := next_user(rest)) is not None:
            rest = rest[later:]
            tokens = encode(self.tokenizer, (*system, *rest), generation_prompt=True)
        if len(tokens) >= context:
            raise self._too_long(len(tokens), context - 1, job)
        return tokens, whole - len(tokens)

    def _too_long(self, tokens: int, room: int, job: Job) -> Refused:
        what = "messages" if is_conversation(job.prompt) else "prompt"
        return Refused(
            f"This model's context holds {self.card.context} tokens, and the {what} would take {tokens}: shorten it by "
            f"at least {tokens - room}.",
            "context_length_exceeded",
            what,
        )

    def fit_input(self, text: str | Sequence[int]) -> list[int]:
        """An input to be embedded.

        Raises:
            Refused: it is longer than the context, or holds a strange token.
        """
        job = Job(self.card.id, text if isinstance(text, str) else tuple(text), Sampling())
        try:
            return list(self._read_text(job, Sampling()).tokens)
        except Refused as refused:
            raise Refused(refused.message.replace("the prompt", "the input"), refused.code, "input") from refused


def is_conversation(prompt: Prompt) -> TypeGuard[Messages]:
    return isinstance(prompt, tuple) and bool(prompt) and isinstance(prompt[0], Message)


def next_user(messages: Sequence[Message]) -> int | None:
    """Where the next question after the first message begins."""
    return next((place for place, message in enumerate(messages) if place and message.role == "user"), None)


def described(tool: Calculator) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def refusal(error: UserError) -> Refused:
    """What the engine can't do, as the caller is told."""
    return Refused(str(error))
