"""Where rewards come from: the reward model, or any Python function that a recipe names in one line.

reward = "rewards.py:brevity"

def brevity(messages, answers):
    return [-len(answer) / 100 for answer in answers]
"""

import difflib
import importlib
import importlib.util
import inspect
import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from plutao.errors import UserError
from plutao.files import sha256
from plutao.generate.chat import Reply
from plutao.models.reward import RewardModel, encode_answer, score_tokens
from plutao.text.chat import Messages
from plutao.text.tokenizer import Tokenizer

MODEL = "model"
"""`rl.reward` where the reward is that of stage reward."""
FIRST_LINES = "def my_reward(messages, answers): return [float(len(answer)) for answer in answers]"


@dataclass(frozen=True)
class Prompt:
    """A conversation that waits for an answer."""

    messages: Messages
    ideal: str | None = None
    """A demonstration, where there is one: a reward function may ask for it."""


class Reward(Protocol):
    """Scores answers: a number for each reply to the prompt in the same place."""

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[Reply]) -> Float[Tensor, " N"]: ...


@dataclass
class ModelReward:
    """The reward model's number for the whole conversation, tool calls on the way included."""

    model: RewardModel
    tokenizer: Tokenizer

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[Reply]) -> Float[Tensor, " N"]:
        context = self.model.decoder.config.context
        rows = [
            encode_answer(self.tokenizer, (*prompt.messages, *reply.messages))
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        # An answer cut off by the context's end leaves no room for the reward's token: the beginning gives way.
        return score_tokens(self.model, [row[-context:] for row in rows])


@dataclass
class FunctionReward:
    """A person's own function: `f(messages, answers)` → one number an answer.

    `messages` holds for each answer the conversation before it, a list of {"role", "content"}; `answers` the texts. It may
    also ask, by these names, for `ideals` (demonstrations, None where there is none) and `ended` (whether the answer came
    to its end by itself).
    """

    name: str
    function: Callable[..., Any]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[Reply]) -> Float[Tensor, " N"]:
        messages = [[message.as_json() for message in prompt.messages] for prompt in prompts]
        known = {
            "ideals": [prompt.ideal for prompt in prompts],
            "ended": [reply.finish_reason == "stop" for reply in replies],
        }
        wanted = inspect.signature(self.function).parameters
        extras = {name: values for name, values in known.items() if name in wanted}
        try:
            scores = self.function(messages, [reply.text for reply in replies], **extras)
        except Exception as error:
            raise UserError(
                f"The reward function {self.name} failed: {in_words(error)}. Mend it and run again."
            ) from error
        return self.checked(scores, len(replies))

    def checked(self, scores: Any, count: int) -> Float[Tensor, " N"]:
        """The scores as numbers; raises UserError where they are none."""
        try:
            numbers = [float(score) for score in scores]
        except (TypeError, ValueError) as error:
            raise UserError(
                f"The reward function {self.name} must return a list of numbers and returned {scores!r:.80}."
            ) from error
        if len(numbers) != count:
            raise UserError(f"The reward function {self.name} returned {len(numbers)} numbers for {count} answers.")
        strange = next((place for place, number in enumerate(numbers) if not math.isfinite(number)), None)
        if strange is not None:
            raise UserError(f"The reward function {self.name} gave answer {strange + 1} the reward {numbers[strange]}.")
        return torch.tensor(numbers)


def load_function(name: str, root: Path) -> FunctionReward:
    """The function that `rl.reward` names: "file.py:function", relative to the project, or "package.module:function".

    Raises:
        UserError: no such file, module or function, or one that fails while it is loaded.
    """
    place, colon, function_name = name.partition(":")
    if not colon or not place or not function_name:
        raise UserError(
            f'rl.reward = "{name}" names no reward: write "model", "file.py:function" or "package.module:function".'
        )
    module = load_module(place, root, name)
    function = getattr(module, function_name, None)
    if callable(function):
        return FunctionReward(name, function)
    known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
    close = difflib.get_close_matches(function_name, known, n=1)
    meant = f"Did you mean {close[0]!r}?" if close else f"It has: {', '.join(known) or 'no function'}."
    raise UserError(f"{place} has no function {function_name!r}. {meant}")


def load_module(place: str, root: Path, name: str) -> ModuleType:
    path = root / place
    if place.endswith(".py") and not path.is_file():
        raise UserError(f'rl.reward = "{name}": there is no file {path}. It could begin with: {FIRST_LINES}')
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        specification = importlib.util.spec_from_file_location(f"plutao_reward_{path.stem}", path)
        assert specification is not None and specification.loader is not None, "a file that ends in .py can be loaded"
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    except ImportError as error:
        raise UserError(f'rl.reward = "{name}": {place} can\'t be imported: {error}.') from error
    except Exception as error:
        raise UserError(f'rl.reward = "{name}": {place} failed while it was loaded: {in_words(error)}.') from error
    return module


def reward_fingerprint(name: str, root: Path) -> str:
    """What names a reward by its content: the file's hash, where it is a file of the project."""
    path = root / name.partition(":")[0]
    return f"{name}:{sha256(path)}" if path.is_file() else name


def in_words(error: BaseException) -> str:
    """`KeyError: 'x' (rewards.py, line 12)`."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
