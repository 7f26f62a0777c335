"""What a recipe says of the ancestors: the models that came before the assistant (the book's chapters 2 and 4)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from plutao.data.settings import Settings
from plutao.recipe.training import OptimizerSettings, ScheduleSettings, TrainSettings


class NgramSettings(Settings):
    """Counted language models: the next token from the last n − 1 (the book's sections 2.2 to 2.4).

    What is counted are tokens: with tokenizer.kind = "char" or "word", characters or words.
    """

    order: int = Field(default=5, ge=1, le=16)
    """n: the longest run of tokens that is counted; a token is foretold from the n − 1 before it."""
    smoothing: Literal["modified", "plain"] = "modified"
    """Kneser–Ney with three discounts an order (Chen & Goodman 1999), or with one (Kneser & Ney 1995); both interpolated."""
    prune: tuple[int, ...] = ()
    """Counts up to which n-grams are left out, from order 1 on, the last for all that follow: [0, 0, 1]; left out: none."""
    prune_entropy: float = Field(default=0.0, ge=0, lt=1)
    """N-grams are left out that change perplexity by less than this share each (Stolcke 1998), as 1e-8; 0: none."""
    tokens: int | None = Field(default=None, ge=1)
    """How many tokens to count at most, of each source its share; left out: all."""
    megabytes: float = Field(default=256.0, ge=8)
    """Working memory of the counting (MB), about; what does not fit is sorted on disk."""
    arpa: str | None = None
    """A model in an ARPA file, relative to the project, to be read instead of counting; its words must be tokens."""
    sample_tokens: int = Field(default=40, ge=1)
    """Length in tokens of the texts that the models of order 1, 2, 3 … write (the book's Figures 36 and 37)."""

    @model_validator(mode="after")
    def pruning_goes_up(self) -> Self:
        if self.prune and (
            self.prune[0] != 0 or sorted(self.prune) != list(self.prune) or len(self.prune) > self.order
        ):
            raise ValueError(
                f"prune = {list(self.prune)} must begin with 0 (single tokens all stay), not go down, and have at most "
                f"{self.order} numbers"
            )
        return self


class VectorsSettings(TrainSettings):
    """Word vectors: words that keep the same company lie close together (the book's section 2.6)."""

    kind: Literal["skipgram", "cbow"] = "skipgram"
    """`skipgram` finds the neighbours from the word, `cbow` the word from its neighbours (Mikolov et al. 2013)."""
    width: int = Field(default=100, ge=2)
    """Numbers in a word's vector."""
    window: int = Field(default=5, ge=1)
    """Neighbours looked at on each side; every word draws its own reach, from 1 to this."""
    negatives: int = Field(default=5, ge=1)
    """Words drawn beside each neighbour, which the word must learn to tell from it (negative sampling)."""
    subsample: float = Field(default=1e-3, ge=0, le=1)
    """Words more frequent than this share are left out at random, the more often the more frequent; 0: none are."""
    least_count: int = Field(default=5, ge=1)
    """A word that comes less often has no vector."""
    vocabulary: int = Field(default=200_000, ge=2)
    """Words at most, the most frequent ones."""
    lowercase: bool = True
    """Read capital letters as small ones."""
    subwords: bool = False
    """A word's vector is the mean of its own and those of its parts, so that unseen words have one (Bojanowski et al. 2017)."""
    shortest: int = Field(default=3, ge=1)
    """With subwords: letters of the shortest part, < and > for the word's ends counted in."""
    longest: int = Field(default=6, ge=1)
    """With subwords: letters of the longest part."""
    buckets: int = Field(default=200_000, ge=1)
    """With subwords: vectors that all parts share by hashing."""
    similarity: str | None = None
    """A test of pairs that people gave marks for likeness: a corpus of the catalogue, or a file relative to the project."""
    analogies: str | None = None
    """A test of analogies, four words a line: a corpus of the catalogue, or a file relative to the project."""
    sample_words: tuple[str, ...] = ()
    """Words whose neighbours are shown while they are learned; left out: some frequent ones."""
    batch: int = Field(default=10_000, ge=1)
    """Words a step; the learning rate falls from step to step."""
    optimizer: OptimizerSettings = OptimizerSettings(kind="adamw", learning_rate=0.025)
    schedule: ScheduleSettings = ScheduleSettings(kind="wsd", warmup=0.0, decay=1.0, floor=0.004)

    @model_validator(mode="after")
    def plain_descent(self) -> Self:
        plain = VectorsSettings.model_fields["optimizer"].default
        of_optimizer = self.optimizer.model_copy(update={"learning_rate": plain.learning_rate})
        if of_optimizer != plain or self.micro_batch is not None or self.precision == "bf16":
            raise ValueError(
                "[vectors] follows each pair's own slope, in fp32: of how it learns only batch, compile, schedule and "
                "optimizer.learning_rate can be set"
            )
        if self.shortest > self.longest:
            raise ValueError(f"shortest ({self.shortest}) is longer than longest ({self.longest})")
        return self


class RecurrentSettings(TrainSettings):
    """Neural language models before the Transformer: a fixed window, RNN, GRU, LSTM (the book's sections 2.3, 4.1, 4.2)."""

    kind: Literal["mlp", "rnn", "gru", "lstm"] = "lstm"
    """`mlp`: feed-forward over a fixed window (Bengio et al. 2003); `rnn`, `gru`, `lstm`: a state that is carried on."""
    tokens: int | None = Field(default=None, gt=0)
    """How long: tokens to train on."""
    window: int | None = Field(default=None, ge=1)
    """mlp: tokens it sees (left out: 8); others: tokens the gradient flows back through (truncated backpropagation; left out: 64)."""
    carry: int = Field(default=16, ge=1)
    """Windows of a row through which the state is carried on; 1: every window starts from nothing."""
    layers: int = Field(default=1, ge=1)
    """Recurrent layers, or the mlp's hidden layers."""
    width: int = Field(default=256, ge=1)
    """Width of the embeddings."""
    hidden: int = Field(default=512, ge=1)
    """Width of each layer's state, or of the mlp's hidden layers."""
    tied: bool = True
    """Share the table of embeddings with the output layer."""
    residual: bool = False
    """Each layer but the first adds to what it reads (the book's BOX 9)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share dropped between layers while training; useful where the text is seen many times."""
    evaluate_tokens: int = Field(default=32_768, gt=0)
    """Validation tokens looked at on the way (the last one sees the whole validation text)."""
    sample_prompts: tuple[str, ...] = ()
    """Texts that the samples continue; left out: the first words of the validation text."""
    optimizer: OptimizerSettings = OptimizerSettings(kind="adamw", learning_rate=1e-2, weight_decay=0.0)


class ElmoSettings(TrainSettings):
    """ELMo: a word's vector depends on its sentence, read in both directions (the book's section 2.12)."""

    tokens: int | None = Field(default=None, gt=0)
    """How long: words to train on."""
    width: int = Field(default=128, ge=2)
    """Width of the words' vectors and of the projections; both directions together have twice as much."""
    hidden: int = Field(default=256, ge=2)
    """Width of the LSTMs' states."""
    window: int = Field(default=32, ge=2)
    """Words of a row."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share dropped between layers while training."""
    batch: int = Field(default=16, ge=1)
    """Rows per optimizer step, over all processes."""
    optimizer: OptimizerSettings = OptimizerSettings(kind="adamw", learning_rate=4e-3, weight_decay=0.0)


class BertTask(TrainSettings):
    """A task that the pretrained BERT is fine-tuned for, from labelled rows."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """A short name: lower-case letters, digits, `-`; its model rests in the stage's folder, under tasks."""
    kind: Literal["classification", "similarity", "answers"]
    """`classification` of a text or, with `second`, of a pair (inference); `similarity` of a pair; `answers` marked in a text."""
    path: str | None = None
    """Rows to learn from: a file, a folder or a glob, relative to the project: .jsonl, .json, .csv or .parquet, also .gz or .zst."""
    corpus: str | None = None
    """Or a corpus of the catalogue."""
    world: str | None = None
    """Or an embedded world's documents, with their `kind` and `language`."""
    test: str | None = None
    """Rows to measure with: a corpus or a file; left out: the share `validation` of the others."""
    validation: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the rows kept aside to measure with, where there is no `test`."""
    count: int | None = Field(default=None, ge=2)
    """The first so many rows only (of a world: how many, 2,000 where left out)."""
    text: str = "text"
    """Field of the text (of `answers`: of the text that holds the answer)."""
    second: str | None = None
    """Field of the second text of a pair (of `answers`: of the question)."""
    label: str = "label"
    """Field of the class, of the number, or of the answers as SQuAD has them: {"text", "answer_start"}."""
    longest: int | None = Field(default=None, ge=8)
    """Tokens of a row; left out: the encoder's context."""
    optimizer: OptimizerSettings = OptimizerSettings(kind="adamw", learning_rate=2e-4, weight_decay=0.01)
    schedule: ScheduleSettings = ScheduleSettings(decay=0.9, warmup=0.1)

    @model_validator(mode="after")
    def rows_come_from_one_place(self) -> Self:
        if sum(origin is not None for origin in (self.path, self.corpus, self.world)) != 1:
            raise ValueError(f"task {self.name!r} needs exactly one of path, corpus and world")
        if self.kind != "classification" and self.second is None:
            what = "the question" if self.kind == "answers" else "the second text"
            raise ValueError(f"task {self.name!r} of kind {self.kind} needs second, the field of {what}")
        return self


class BertSettings(TrainSettings):
    """BERT: an encoder that fills in what is masked (the book's section 2.12), and the tasks that it is fine-tuned for."""

    tokens: int | None = Field(default=None, gt=0)
    """How long: tokens to pretrain on."""
    start_from: str | None = None
    """A BERT's folder (ours or a Hugging Face one) to go on from, its shape taken; set tokenizer.path to the same folder."""
    layers: int = Field(default=4, ge=1)
    """Blocks."""
    width: int = Field(default=256, ge=8)
    """Width of the residual stream."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    hidden: int | None = Field(default=None, ge=8)
    """Width of the feed-forward layers; left out: four times the width."""
    context: int = Field(default=128, ge=16)
    """Tokens of a row, signs included."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share dropped while pretraining; useful where the text is seen many times. Fine-tuning drops 0.1."""
    masked: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that are to be told; 80% of them are masked, 10% replaced, 10% left."""
    whole_words: bool = False
    """Mask all pieces of a word together."""
    next_sentence: bool = False
    """Rows of two texts, and whether the second follows the first is learned too."""
    fine_tuning: float = Field(default=0.4, gt=0, lt=1)
    """Share of a time given for the whole stage (--time) that goes to the tasks."""
    prompts: tuple[str, ...] = ()
    """Texts with [MASK] that are filled in while it trains."""
    tasks: tuple[BertTask, ...] = ()
    """What it is fine-tuned for, as [[bert.tasks]] tables."""

    @model_validator(mode="after")
    def tasks_have_names_of_their_own(self) -> Self:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two tasks are called {twice[0]!r}; each needs a name of its own")
        return self


class PairSource(Settings):
    """One source of sentence pairs: exactly one of `path`, `corpus` and `world`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """A short name: letters, digits, `.`, `_`, `-`."""
    path: str | None = None
    """A file, a folder or a glob, relative to the project: .tsv .jsonl .json .csv .parquet, each also .gz or .zst."""
    target_path: str | None = None
    """Where each language has a text file of its own: the one in the target language, whose lines go with those of `path`."""
    corpus: str | None = None
    """A corpus of the catalogue by name (`plutao data get` lists them)."""
    world: str | None = None
    """An embedded world that writes its own: "solar"."""
    source_field: str | None = None
    """The column of what is translated (left out: the language's code); in a .tsv without names its number, counted from 1."""
    target_field: str | None = None
    """The column of the translation (left out: the language's code); in a .tsv without names its number."""
    count: int | None = Field(default=None, ge=1)
    """How many pairs a world writes (left out: 10,000); of other sources, the first so many."""
    license: str | None = None
    """Licence of the pairs; one that forbids commercial use marks the model's card."""

    @model_validator(mode="after")
    def exactly_one_origin(self) -> Self:
        if sum(origin is not None for origin in (self.path, self.corpus, self.world)) != 1:
            raise ValueError(f"source {self.name!r} needs exactly one of path, corpus and world")
        if self.target_path is not None and self.path is None:
            raise ValueError(f"source {self.name!r} has a target_path and no path, the file in the source language")
        return self


class TranslationSettings(TrainSettings):
    """Encoder and decoder: from one language into another (the book's chapter 4).

    The defaults are the paper's (Vaswani et al. 2017), half as deep and half as wide. It needs neither [data] nor
    [tokenizer]: one vocabulary of both languages is learned from the pairs.
    """

    kind: Literal["rnn", "attention", "transformer"] = "transformer"
    """`rnn` (Sutskever et al. 2014), `attention` (Bahdanau et al. 2015), `transformer` (Vaswani et al. 2017)."""
    source: str = Field(default="fr", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    """Code of the language that is read."""
    target: str = Field(default="en", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    """Code of the language that is written."""
    sources: tuple[PairSource, ...] = ()
    """Where the sentence pairs come from, as [[translation.sources]] tables."""
    vocabulary: int = Field(default=8192, ge=64, le=1_000_000)
    """Number of tokens, for both languages together, special ones included."""
    layers: int = Field(default=3, ge=1)
    """Of the encoder, and as many of the decoder (attention: its decoder has one)."""
    width: int = Field(default=256, ge=2)
    """Width of embeddings and layers."""
    heads: int = Field(default=8, ge=1)
    """transformer: attention heads."""
    hidden: int | None = Field(default=None, ge=1)
    """transformer: width of the feed-forward layers; left out: four times `width`."""
    cell: Literal["lstm", "gru"] = "lstm"
    """rnn: its cells; attention always has GRUs."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations dropped while training."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of probability the targets give to all tokens evenly (the book's section 4.6)."""
    shared: bool = True
    """One table for source embeddings, target embeddings and the output layer."""
    longest: int = Field(default=64, ge=2)
    """Pairs with more tokens than this on a side are not learned from."""
    validation: int = Field(default=500, ge=1)
    """Pairs kept aside for the loss (at most a twentieth of all)."""
    test: int = Field(default=1000, ge=1)
    """Pairs kept aside for BLEU and chrF (at most a tenth of all)."""
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """A row that can't be read: stop and name it, or count it and go on."""
    beam: int = Field(default=4, ge=1)
    """Hypotheses kept side by side when it translates; 1: always the most probable next token."""
    length_penalty: float = Field(default=0.6, ge=0)
    """α of the length penalty (Wu et al. 2016): larger values make longer translations."""
    batch: int = Field(default=4096, ge=1)
    """Tokens per optimizer step, over both languages and all processes, padding included; pairs of like length share a step."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of the output layer and its loss, where a compiler is found; the first steps take some seconds longer."""
    optimizer: OptimizerSettings = OptimizerSettings(
        kind="adamw", learning_rate=1e-3, weight_decay=0.0, betas=(0.9, 0.98)
    )
    schedule: ScheduleSettings = ScheduleSettings(kind="inverse_sqrt", warmup=0.04)

    @model_validator(mode="after")
    def two_languages(self) -> Self:
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source!r}; name two languages")
        names = [source.name for source in self.sources]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two sources of pairs are called {twice[0]!r}; each needs a name of its own")
        return self


class ImageSource(Settings):
    """One source of images with their classes: IDX files (MNIST), CIFAR's binary version, or a folder for each class."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """A short name: letters, digits, `.`, `_`, `-`."""
    path: str | None = None
    """An IDX file, a CIFAR .bin file or archive, a folder or .tar with a folder of images for each class; relative to the project."""
    corpus: str | None = None
    """A corpus of the catalogue by name (`plutao data get` lists them)."""
    labels: str | None = None
    """IDX: the file of the labels, or a corpus of the catalogue."""
    held_out: bool = False
    """These images are for measuring, not for learning."""
    license: str | None = None
    """Licence of the images, for the card."""

    @model_validator(mode="after")
    def exactly_one_origin(self) -> Self:
        if (self.path is None) == (self.corpus is None):
            raise ValueError(f"source {self.name!r} needs exactly one of path and corpus")
        return self


class VisionSettings(TrainSettings):
    """Images: a convolutional network or a Vision Transformer that tells what it sees (the book's section 4.2)."""

    kind: Literal["cnn", "vit"] = "cnn"
    """`cnn`: convolutions (LeCun et al. 1998); `vit`: a Transformer over patches (Dosovitskiy et al. 2021)."""
    sources: tuple[ImageSource, ...] = ()
    """Where the images come from, as [[vision.sources]] tables."""
    validation: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the images kept aside to measure with, where no source is held out."""
    size: int | None = Field(default=None, ge=4, le=1024)
    """Side of the square that images are brought to; left out: as they are, if they are all alike."""
    width: int | None = Field(default=None, ge=4)
    """cnn: channels of the first pair of convolutions, each pair after it has twice as many (left out: 16); vit: width (left out: 64)."""
    layers: int | None = Field(default=None, ge=1)
    """cnn: pairs of convolutions, each followed by halving the image (left out: 3); vit: blocks (left out: 4)."""
    heads: int = Field(default=4, ge=1)
    """vit: attention heads."""
    patch: int = Field(default=4, ge=1)
    """vit: side of a patch."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped while training."""
    shift: int = Field(default=2, ge=0)
    """Largest shift while training, in pixels."""
    rotation: float = Field(default=10.0, ge=0, le=180)
    """Largest rotation while training, in degrees."""
    mirror: bool = False
    """Half of the images are mirrored while training; not for digits and letters."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of probability the targets give to all classes."""
    batch: int = Field(default=64, ge=1)
    """Images per optimizer step, over all processes."""
    precision: Literal["auto", "bf16", "fp32"] = "fp32"
    """fp32 is right for small images; `bf16` and `auto` as in other stages."""

    @model_validator(mode="after")
    def names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are called {twice[0]!r}; each needs a name of its own")
        return self
