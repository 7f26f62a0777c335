"""What a recipe says: every section with its keys, their types, defaults and one line of explanation each."""

import typing
from typing import Literal

from pydantic import Field, model_validator

from plutao.data.settings import DataSettings, ExampleSource, Settings
from plutao.files import fingerprint
from plutao.recipe.ancestors import (
    BertSettings,
    ElmoSettings,
    NgramSettings,
    RecurrentSettings,
    TranslationSettings,
    VectorsSettings,
    VisionSettings,
)
from plutao.recipe.training import OptimizerSettings, TrainSettings

Stage = Literal[
    "tokenizer",
    "base",
    "sft",
    "reward",
    "rl",
    "dpo",
    "ngram",
    "vectors",
    "recurrent",
    "elmo",
    "bert",
    "translation",
    "vision",
]
STAGES: tuple[Stage, ...] = typing.get_args(Stage)
ANCESTORS: tuple[Stage, ...] = STAGES[STAGES.index("ngram") :]
"""The stages of what came before the assistant; a recipe of theirs has no base model unless it says so."""
WITHOUT_TEXT: tuple[Stage, ...] = ("translation", "vision")
"""Stages that bring their own data, pairs of sentences or images, and need neither [data] nor [tokenizer]."""
WITHOUT_TOKENS: tuple[Stage, ...] = (*WITHOUT_TEXT, "vectors")
"""Stages that need no [tokenizer]: word vectors are of words."""


class TokenizerSettings(Settings):
    """The tokenizer: how text becomes numbers (the book's section 2.5)."""

    kind: Literal["bpe", "wordpiece", "unigram", "word", "char", "gpt2"] = "bpe"
    """`bpe` works on bytes and gives every text back exactly; `gpt2` loads GPT-2's own vocabulary from `path`."""
    vocabulary: int = Field(default=8192, ge=64, le=1_000_000)
    """Number of tokens, special ones included (kind char takes as many as the text has characters, up to this)."""
    sample_megabytes: float = Field(default=32.0, gt=0)
    """How much text it is trained on (MB), drawn evenly from the whole mix."""
    path: str | None = None
    """A folder with a ready tokenizer: tokenizer.json, or GPT-2's encoder.json and vocab.bpe; relative to the project."""

    @model_validator(mode="after")
    def gpt2_has_files(self) -> typing.Self:
        if self.kind == "gpt2" and self.path is None:
            raise ValueError('kind = "gpt2" needs path, a folder with GPT-2\'s encoder.json and vocab.bpe')
        return self


class ModelSettings(Settings):
    """The model's shape: a preset, and what differs from it (`plutao plan --presets` lists the presets)."""

    preset: str = "plutao-7m"
    """A named shape: plutao-7m, gpt2, gpt3-175b, llama-65b …"""
    start_from: str | None = None
    """A model's folder (ours or a Hugging Face one) to start from: its shape and tokenizer are taken; base.steps = 0 keeps it as it is."""
    context: int = Field(default=256, ge=8)
    """Tokens the model sees at once (T)."""
    layers: int | None = Field(default=None, ge=1)
    """Transformer blocks."""
    width: int | None = Field(default=None, ge=8)
    """Width of the residual stream (d_model)."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads."""
    kv_heads: int | None = Field(default=None, ge=1)
    """Heads of keys and values; fewer than heads is grouped-query attention."""
    hidden: int | None = Field(default=None, ge=8)
    """Width of the feed-forward layer."""
    qk_norm: bool | None = None
    """Normalise queries and keys per head (as Qwen3 does): steadier at high learning rates."""
    tied: bool | None = None
    """Share the table of embeddings with the output layer."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped while training; useful where the text is seen many times."""


class BaseSettings(TrainSettings):
    """Stage 1, pretraining: from random weights to a model that continues text (the book's section 3.1)."""

    tokens: int | None = Field(default=None, gt=0)
    """How long: tokens to train on."""
    layout: Literal["stream", "document"] = "stream"
    """Rows of the (B, T) matrix: windows of the stream of documents, or each row starting at a document's beginning."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of probability the targets give to all other tokens (the book's section 4.6)."""
    evaluate_tokens: int = Field(default=32_768, gt=0)
    """Validation tokens looked at on the way (the last one sees the whole validation text)."""
    sample_prompts: tuple[str, ...] = ()
    """Texts that the samples continue; left out: the first words of the validation text."""


class SftSettings(TrainSettings):
    """Stage 2, supervised fine-tuning: the base model learns to answer, from conversations (the book's section 3.1)."""

    sources: tuple[ExampleSource, ...] = ()
    """Where the conversations come from, as [[sft.sources]] tables; data/conversations is always read besides."""
    replay: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows that are pretraining text, so that it is not forgotten."""
    validation: float = Field(default=0.02, gt=0, lt=0.5)
    """Share of the conversations kept aside to measure with."""
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=1e-3, matrix_learning_rate=3e-3)


class RewardSettings(TrainSettings):
    """Stage 3, the reward model: it learns from rankings which answers people prefer (the book's section 3.1)."""

    sources: tuple[ExampleSource, ...] = ()
    """Where the rankings come from, as [[reward.sources]] tables; data/rankings is always read besides."""
    answers: int = Field(default=4, ge=2)
    """A world's prompts: how many answers (K) the SFT model writes for its simulated labellers to rank."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature at which those answers are drawn."""
    validation: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the prompts kept aside to measure with."""
    optimizer: OptimizerSettings = OptimizerSettings(learning_rate=3e-4, matrix_learning_rate=1e-3)


class RlSettings(TrainSettings):
    """Stage 4, reinforcement learning: the assistant tries answers and follows the reward (the book's section 3.1).

    The defaults follow InstructGPT (Ouyang et al. 2022, appendix C.4). A step draws `batch` prompts and answers them.
    """

    algorithm: Literal["ppo", "grpo"] = "ppo"
    """`ppo` (Schulman et al. 2017) with a value model; `grpo` (Shao et al. 2024) compares the answers of one prompt instead."""
    reward: str = "model"
    """`model`: stage reward's; else a Python function as `file.py:function`, relative to the project, or `package.module:function`."""
    prompts: tuple[ExampleSource, ...] = ()
    """Where the prompts come from, as [[rl.prompts]] tables; left out: those of the rankings."""
    answers: int = Field(default=1, ge=1)
    """Answers per prompt and step; grpo needs at least 2."""
    max_tokens: int = Field(default=128, ge=1)
    """Longest answer in tokens."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature of the rollouts; the distribution is not cut."""
    kl: float = Field(default=0.02, ge=0)
    """Weight β of the divergence from the SFT model, per token, in the reward (nats)."""
    kl_target: float | None = Field(default=None, gt=0)
    """β adapts so that an answer diverges by so much (nats; Ziegler et al. 2019, section 2.2); left out: β stays."""
    kl_stop: float | None = Field(default=None, gt=0)
    """The training ends where an answer diverges by more than this (nats); left out: no such stop."""
    clip: float = Field(default=0.2, gt=0)
    """Largest change of a token's probability that is rewarded, as a ratio − 1."""
    value_clip: float = Field(default=0.2, gt=0)
    """Largest change of a value that is followed in one step."""
    value_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of the value model."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of later rewards."""
    gae: float = Field(default=0.95, ge=0, le=1)
    """λ of generalised advantage estimation (Schulman et al. 2016)."""
    inner_epochs: int = Field(default=1, ge=1)
    """Times that each batch of rollouts is learned from."""
    minibatches: int = Field(default=1, ge=1)
    """Steps into which a batch of rollouts is divided."""
    normalise_reward: bool = False
    """Rewards are brought to mean 0 and deviation 1 of all so far (Zheng et al. 2023)."""
    reward_clip: float | None = Field(default=None, gt=0)
    """Largest reward, either way, that is learned from; left out: no bound."""
    whiten: bool = True
    """Advantages are shifted and scaled to mean 0 and deviation 1 over the batch."""
    pretraining: float = Field(default=0.0, ge=0)
    """Weight of the pretraining text's loss beside the reward's (PPO-ptx)."""
    demonstrations: float = Field(default=0.0, ge=0)
    """Weight of the loss on stage sft's conversations beside the reward's: they are not unlearned (Rajeswaran et al. 2018)."""
    end_penalty: float = Field(default=1.0, ge=0)
    """Taken off the reward of an answer that does not end by itself."""
    batch: int = Field(default=64, ge=1)
    """Prompts a step, over all processes."""
    evaluate: int = Field(default=2, ge=0)
    """Looks at held-out prompts on the way, evenly spaced, besides those before and after."""
    sample_at: tuple[float, ...] = (0.0, 0.5, 1.0)
    """When samples are written: shares of the training."""
    optimizer: OptimizerSettings = OptimizerSettings(kind="adamw", learning_rate=1e-4, weight_decay=0.0)


class DpoSettings(TrainSettings):
    """Instead of a reward model and RL: preferences learned directly (Rafailov et al. 2023)."""

    sources: tuple[ExampleSource, ...] = ()
    """Where the rankings come from; left out: those of stage reward."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is held at the SFT model: larger is closer."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs taken to be labelled the wrong way round."""
    validation: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the prompts kept aside to measure with."""
    optimizer: OptimizerSettings = OptimizerSettings(kind="adamw", learning_rate=1e-4, weight_decay=0.0)


class ReportSettings(Settings):
    """The report at the end."""

    language: Literal["en", "pt"] = "en"
    """Language of the report's own words."""
    comparisons: int = Field(default=300, ge=0)
    """Held-out prompts of the world on which the stages' answers are compared blindly at the end; 0: no comparison."""


class Recipe(Settings):
    """Everything a run is made of."""

    name: str = Field(default="my-model", pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the recipe; runs are called after it."""
    description: str = ""
    """One line on what this makes."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Start of every random draw: the same seed, data and machine give the same model."""
    languages: tuple[str, ...] = ("en",)
    """Languages of the text, for the report."""
    data: DataSettings = DataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings = ModelSettings()
    base: BaseSettings = BaseSettings(epochs=1.0)
    sft: SftSettings | None = None
    reward: RewardSettings | None = None
    rl: RlSettings | None = None
    dpo: DpoSettings | None = None
    ngram: NgramSettings | None = None
    vectors: VectorsSettings | None = None
    recurrent: RecurrentSettings | None = None
    elmo: ElmoSettings | None = None
    bert: BertSettings | None = None
    translation: TranslationSettings | None = None
    vision: VisionSettings | None = None
    report: ReportSettings = ReportSettings()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that this recipe has, in their order: each that has a section, the tokenizer where one is read, and
        the base model unless the recipe is of ancestors alone.
        """
        named = [stage for stage in STAGES[2:] if getattr(self, stage) is not None]
        of_ancestors = bool(named) and all(stage in ANCESTORS for stage in named)
        if not of_ancestors or "base" in self.model_fields_set:
            named.insert(0, "base")
        reads_tokens = any(stage not in WITHOUT_TOKENS for stage in named)
        return ("tokenizer", *named) if reads_tokens else tuple(named)

    @property
    def reads_text(self) -> bool:
        """Whether a stage reads the documents of [data]."""
        return any(stage not in WITHOUT_TEXT for stage in self.stages)

    @model_validator(mode="after")
    def stages_have_what_they_need(self) -> typing.Self:
        for stage in ("reward", "rl", "dpo"):
            if getattr(self, stage) is not None and self.sft is None:
                raise ValueError(f"[{stage}] starts from the SFT model: add an [sft] section")
        if self.rl is not None and self.rl.reward == "model" and self.reward is None:
            raise ValueError('[rl] needs a reward: add a [reward] section, or set rl.reward = "file.py:function"')
        if self.rl is not None and self.rl.algorithm == "grpo" and self.rl.answers < 2:
            raise ValueError("grpo compares the answers of one prompt: set rl.answers to 2 or more (8 is usual)")
        if self.dpo is not None and not self.dpo.sources and self.reward is None:
            raise ValueError("[dpo] has no rankings: add [[dpo.sources]], or a [reward] section with sources")
        return self

    @property
    def fingerprint(self) -> str:
        """Names the recipe by its content: two recipes with equal settings have equal fingerprints."""
        return fingerprint(self.model_dump(mode="json"))
