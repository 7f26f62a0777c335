"""Stage 1: how long it trains, what it depends on, what it refuses before anything long begins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import tiny_project

from plutao import recipe as recipes
from plutao.data.documents import build_documents
from plutao.data.sample import validation_texts
from plutao.errors import UserError
from plutao.models.decoder import Decoder
from plutao.project import Project, open_project
from plutao.recipe import Recipe
from plutao.stages import base
from plutao.text.tokenizer import Tokenizer, train
from plutao.train.budget import Budget
from plutao.train.device import Device
from plutao.train.parallel import World


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return open_project(tiny_project(tmp_path_factory.mktemp("stage") / "tiny"))


@pytest.fixture(scope="module")
def documents(project: Project) -> Path:
    card = build_documents(project.recipe.data, project.recipe.seed, project.root, project.data / "documents")
    return card.folder


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train("char", ["the sun and pluto talk about ice a planeta é pequeno moon of chuva rio.\n"], 100)


def recipe(**base_settings: object) -> Recipe:
    return recipes.parse("", overrides=[f"base.{key}={value}" for key, value in base_settings.items()])


class Shards:
    """10,000 tokens to train on and 500 to measure with."""

    def tokens(self, split: str = "train") -> int:
        return {"train": 10_000, "validation": 500}[split]


def test_the_length_is_what_the_recipe_says() -> None:
    shards: Any = Shards()

    def plan(left: float | None = None, **settings: object) -> Budget:
        return base.plan(recipe(**settings), shards, 100, left)

    assert plan(steps=7) == Budget(steps=7)
    assert plan(tokens=2_500) == Budget(steps=25)
    assert plan(epochs=1.5) == Budget(steps=150)
    assert plan(tokens=1) == Budget(steps=1)
    assert plan() == Budget(steps=100)  # one epoch where nothing is said
    assert plan(minutes=2) == Budget(seconds=120)
    # Of the time left of --time, measuring keeps its share: windows overlap by half, so every token is read twice.
    assert plan(0.5, steps=7) == Budget(seconds=30, measured_tokens=1_000)


def test_the_table_of_embeddings_has_a_multiple_of_64_rows(project: Project) -> None:
    for vocabulary, rows in ((300, 320), (320, 320), (321, 384)):
        assert base.shape(project.recipe, vocabulary).vocabulary == rows
    shape = base.shape(project.recipe, 300)
    assert (shape.layers, shape.width, shape.context, shape.dropout) == (2, 64, 32, 0.0)


def test_it_depends_on_its_settings_its_seed_its_tokenizer_and_its_text(project: Project, tokenizer: Tokenizer) -> None:
    other_tokenizer = train("char", ["abc"], 100)
    seen = {base.depends_on(project, tokenizer, "text")}
    for change in ("base.batch=8", "model.layers=1", "seed=2"):
        seen.add(base.depends_on(open_project(project.root, (change,)), tokenizer, "text"))
    seen |= {base.depends_on(project, other_tokenizer, "text"), base.depends_on(project, tokenizer, "other text")}
    assert len(seen) == 6
    for change in ("report.language=pt", "description=mine", "tokenizer.sample_megabytes=3"):
        assert base.depends_on(open_project(project.root, (change,)), tokenizer, "text") in seen


def test_what_can_not_be_is_refused_before_it_begins() -> None:
    with pytest.raises(UserError, match=r"no preset|plutao-7m"):
        base.check(recipes.parse('[model]\npreset = "plutao-8m"'))
    with pytest.raises(UserError, match="GiB"):
        base.check(recipes.parse('[model]\npreset = "llama-65b"\ncontext = 2048'))
    base.check(recipes.parse(""))


def test_a_batch_that_does_not_fit_is_computed_in_even_shares(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("plutao.models.cost", "plutao.stages.common"):
        monkeypatch.setattr(f"{module}.available_memory", lambda: 2**29)
    device = Device("cpu", 0, "bf16", False, "a test")
    shape = base.shape(recipe(), 8192)
    whole = base.fitting(recipe(batch=8).base, shape, device, World())
    shares = base.fitting(recipe(batch=480).base, shape, device, World())
    assert whole.micro_batch == 8
    assert shares.micro_batch is not None and 1 <= shares.micro_batch < 480 and 480 % shares.micro_batch == 0
    base.check(recipe(batch=480))
    with pytest.raises(UserError, match=r"Set base\.micro_batch to"):
        base.check(recipe(batch=480, micro_batch=480))


def test_the_quick_measure_sees_as_many_tokens_as_asked(
    project: Project, documents: Path, tokenizer: Tokenizer
) -> None:
    model = Decoder(base.shape(project.recipe, tokenizer.vocabulary_size))
    model.initialise(0)
    few = base.validation(documents, tokenizer, 200, "fp32")(model.eval())
    assert few["bits_per_byte"] == pytest.approx(few["loss"] / 0.6931, rel=0.05)  # a character is a byte, nearly
    assert 4 < few["loss"] < 6  # as surprised as one who knows nothing: about ln 128


def test_samples_go_on_from_the_recipes_prompts_or_from_validation_text(
    project: Project, documents: Path, tokenizer: Tokenizer
) -> None:
    model = Decoder(base.shape(project.recipe, tokenizer.vocabulary_size))
    model.initialise(0)
    samples = base.sampler(project.recipe, tokenizer, documents)(model.eval())
    beginnings = [document.text[:24] for document in validation_texts(documents)]
    assert [sample["prompt"] for sample in samples] == beginnings[:3]
    settings = project.recipe.base.model_copy(update={"sample_prompts": ("the sun",)})
    asked = replace(project, recipe=project.recipe.model_copy(update={"base": settings})).recipe
    once, again = (base.sampler(asked, tokenizer, documents)(model) for _ in range(2))
    assert once == again and once[0]["prompt"] == "the sun" and once[0]["text"]
