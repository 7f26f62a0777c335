"""A recipe is typed: what is wrong is named with its line, what was meant and what is allowed."""

from pathlib import Path

import pytest

from plutao import recipe
from plutao.data.settings import Settings
from plutao.errors import UserError
from plutao.recipe.writing import section_lines

GOOD = """
name = "mine"
[[data.sources]]
name = "a"
path = "data/*.txt"
weight = 2
[[data.sources]]
name = "b"
corpus = "machado"
weight = 1
[base]
tokens = 1000000
optimizer.kind = "adamw"
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[base]\nbacth = 3", r"line 2: unknown key 'base.bacth'. Did you mean 'batch'\? Allowed here: steps, epochs"),
        ("vocabulary = 3", r"line 1: unknown key 'vocabulary'. Did you mean 'tokenizer.vocabulary'\?"),
        (
            "seed = 1\n\n[tokenizer]\nkind = 'bp'",
            "line 4: tokenizer.kind = 'bp' is not right.*Allowed: 'bpe', 'wordpiece'",
        ),
        ("[base]\nbatch = 'x'", "line 2: base.batch = 'x' is not right.*Allowed: a whole number ≥ 1"),
        ("[base]\nsteps = 1\ntokens = 3", "tokens and steps contradict each other; keep one"),
        ("[base.optimizer]\nbetas = 3", "line 2: base.optimizer.betas = 3"),
        (
            "[[data.sources]]\nname='a'\npath='x'\n[[data.sources]]\nname='b'\n",
            "line 4: source 'b' needs exactly one of",
        ),
        ("[base]\nbatch = 6\nmicro_batch = 4", r"batch \(6\) must be a multiple of micro_batch \(4\)"),
        ("[tokenizer]\nkind = 'gpt2'", 'line 1: kind = "gpt2" needs path'),
        ("a = [", "recipe is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_remedy(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe.parse(text)


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        recipe.parse("[base]\nbacth = 3\nstep = 4")
    assert len(str(caught.value).splitlines()) == 2


def test_overrides_are_applied_on_top() -> None:
    loaded = recipe.parse(
        GOOD, overrides=("base.batch=32", "data.sources.1.weight=0.5", "name=other", "base.sinks=['tensorboard']")
    )
    assert (loaded.base.batch, loaded.data.sources[1].weight, loaded.name) == (32, 0.5, "other")
    assert loaded.base.sinks == ("tensorboard",)
    assert loaded.base.optimizer.kind == "adamw"


def test_another_length_takes_the_place_of_the_recipes() -> None:
    loaded = recipe.parse(GOOD, overrides=("base.steps=5",))
    assert (loaded.base.steps, loaded.base.tokens) == (5, None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base.batch", "not of the form key=value"),
        ("base.bacth=3", "--set base.bacth=3: unknown key 'base.bacth'. Did you mean 'batch'"),
        ("data.sources.7.weight=1", "'7' is not one of the 2 elements"),
        ("name.x=1", "'name' has no keys below it"),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe.parse(GOOD, overrides=(override,))


@pytest.mark.parametrize("name", recipe.shipped())
def test_shipped_recipes_come_back_the_same_from_what_is_written(name: str) -> None:
    loaded = recipe.parse(recipe.shipped()[name])
    assert loaded.name == name
    for every_key in (True, False):
        again = recipe.parse(recipe.render(loaded, every_key))
        assert again == loaded
        assert again.fingerprint == loaded.fingerprint


def test_a_long_explanation_stays_a_comment() -> None:
    class Long(Settings):
        """A section."""

        key: int = 3
        """So long that it goes on
        in another line."""

    assert list(section_lines(Long(), (), every_key=True)) == [
        "# So long that it goes on in another line. (a whole number)",
        "key = 3",
    ]


def test_a_written_recipe_explains_every_key(tmp_path: Path) -> None:
    whole = GOOD + "".join(
        f"\n[{stage}]\n[[{stage}.{table}]]\nname = 'solar'\nworld = 'solar'\n"
        for stage, table in (("sft", "sources"), ("reward", "sources"), ("rl", "prompts"), ("dpo", "sources"))
    )
    whole += "".join(f"\n[{stage}]\n" for stage in ("ngram", "vectors", "recurrent", "elmo", "bert"))
    whole += "\n[[bert.tasks]]\nname = 'solar'\nkind = 'classification'\npath = 'labelled.jsonl'\n"
    whole += "\n[[translation.sources]]\nname = 'solar'\nworld = 'solar'\n[[vision.sources]]\nname = 'digits'\npath = 'digits'\n"
    recipe.save(recipe.parse(whole), tmp_path / "plutao.toml", every_key=False)
    text = (tmp_path / "plutao.toml").read_text()
    for _, field, name in recipe.keys_of(recipe.Recipe):
        if recipe.model_inside(field.annotation) is None:
            assert f"{name} =" in text
            assert f"# {field.description}" in text
    assert recipe.load(tmp_path / "plutao.toml") == recipe.parse(whole)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[reward]", "starts from the SFT model"),
        ("[sft]\n[rl]", r"\[rl\] needs a reward"),
        ("[sft]\n[rl]\nreward = 'r.py:f'\nalgorithm = 'grpo'", "set rl.answers to 2 or more"),
        ("[sft]\n[dpo]", r"\[dpo\] has no rankings"),
    ],
)
def test_a_stage_without_what_it_needs_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe.parse(text)


def test_a_recipe_has_the_stages_it_has_sections_for() -> None:
    assert recipe.parse(GOOD).stages == ("tokenizer", "base")
    assert recipe.parse("[sft]\n[rl]\nreward = 'r.py:f'").stages == ("tokenizer", "base", "sft", "rl")


def test_a_missing_recipe_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plutao new"):
        recipe.load(tmp_path / "plutao.toml")
