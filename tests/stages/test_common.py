"""A run that starts from somebody's model: its weights, its tokenizer, and the tokens that conversations need."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import tiny_project

from plutao.data.documents import build_documents
from plutao.errors import UserError
from plutao.files import read_json, write_json
from plutao.models.interop.huggingface import load_model
from plutao.project import Project, open_project
from plutao.recipe import SftSettings
from plutao.stages import base, tokenizer
from plutao.stages.common import budget, noncommercial, starting_folder
from plutao.text.chat import Message, encode
from plutao.text.special import CHAT_TOKENS
from plutao.text.tokenizer import Tokenizer, train
from plutao.train.budget import Budget
from plutao.train.parallel import World
from plutao.train.progress import Silence


def somebodys_model(folder: Path, kind: str) -> Any:
    """A Hugging Face folder whose tokenizer knows nothing of conversations."""
    import transformers

    made = train("bpe", ["the sun and pluto talk about ice a planeta é pequeno"] * 9, 300)
    made.save(folder)
    described = (folder / "tokenizer.json").read_text()
    for number, token in enumerate(CHAT_TOKENS):
        described = described.replace(token, f"<|theirs_{number}|>")
    (folder / "tokenizer.json").write_text(described)
    write_json(folder / "tokenizer_config.json", {"eos_token": "<|endoftext|>", "model_max_length": 64})
    torch.manual_seed(4)
    if kind == "gpt2":
        shape: Any = transformers.GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=2, n_head=2)
        model: Any = transformers.GPT2LMHeadModel(shape)
    else:
        shape = transformers.LlamaConfig(
            vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=512, tie_word_embeddings=False,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(shape)
    model.save_pretrained(folder)
    return model.eval()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tiny_project(tmp_path / "tiny")
    return replace(open_project(root, ("model.start_from=theirs", "base.steps=0")), run="r")


def prepared(project: Project) -> list[str]:
    """Text and tokenizer made; what was said."""
    said: list[str] = []
    card = build_documents(project.recipe.data, project.recipe.seed, project.root, project.data / "documents")
    write_json(project.run_dir / "run.json", {"data": card.fingerprint, "recipe": project.recipe.fingerprint})
    tokenizer.run(project, card.folder, "inputs", said.append)
    return said


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_model_that_is_taken_over_answers_as_before_and_knows_the_tokens_of_conversations(
    project: Project, kind: str
) -> None:
    model = somebodys_model(project.root / "theirs", kind)
    before = Tokenizer.load(project.root / "theirs")
    said = prepared(project)
    assert "has no <|im_start|>, <|im_end|>" in said[0] and "added behind its last token" in said[0]
    base.check(project.recipe, project.root)
    base.run(project, World(), Silence())
    folder = project.stage_dir("base")
    made, ours = Tokenizer.load(folder), load_model(folder)
    text = "the sun and pluto <|im_start|>"
    assert made.encode(text) == before.encode(text)
    assert [made.special(token) for token in CHAT_TOKENS] == list(range(300, 307))
    assert encode(made, (Message("user", "oi"),))[0] == made.special("<|im_start|>")
    tokens = torch.tensor([before.encode("the sun and pluto talk")])
    with torch.no_grad():
        theirs, mine = model(tokens).logits, ours(tokens)[..., :300]
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert ours.config.vocabulary >= made.vocabulary_size
    assert ours.config.context == (64 if kind == "gpt2" else project.recipe.model.context)
    card = read_json(folder / "stage.json")
    assert card["steps"] == 0 and card["training_loss"] is None and card["validation"]["bits_per_byte"] > 0


def test_it_goes_on_training_and_depends_on_whose_weights_they_are(project: Project) -> None:
    somebodys_model(project.root / "theirs", "llama")
    prepared(project)
    taken = base.inputs(project)
    base.run(project, World(), Silence())
    untouched = load_model(project.stage_dir("base")).blocks[0].attention.query.weight
    trained = replace(open_project(project.root, ("model.start_from=theirs", "base.steps=3")), run="r")
    base.run(trained, World(), Silence())
    assert not torch.equal(load_model(project.stage_dir("base")).blocks[0].attention.query.weight, untouched)
    config = project.root / "theirs" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert base.inputs(project) != taken


def test_a_model_that_is_not_there_is_named(project: Project) -> None:
    with pytest.raises(UserError, match="no run or model folder 'theirs'"):
        starting_folder(project.recipe, project.root)
    with pytest.raises(UserError, match="no run or model folder 'theirs'"):
        base.check(project.recipe, project.root)


def test_the_length_of_a_stage() -> None:
    def plan(left: float | None = None, **settings: Any) -> Budget:
        return budget(SftSettings(**settings), 10_000, 100, left, 500)

    assert plan() == plan(epochs=1) == Budget(steps=100)
    assert plan(steps=7) == Budget(steps=7) and plan(epochs=0.001) == Budget(steps=1)
    assert plan(minutes=2) == Budget(seconds=120)
    assert plan(0.5, steps=7) == Budget(seconds=30, measured_tokens=500)


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("CC-BY-NC-4.0", True),
        ("CC BY-NC 4.0", True),
        ("cc-by-nc-sa-4.0", True),
        ("research use (Flickr30k terms)", True),
        ("CC BY 4.0", False),
        ("Apache-2.0", False),
        ("Public domain, unknown", False),
    ],
)
def test_licences_that_forbid_commercial_use_are_noticed(licence: str, forbids: bool) -> None:
    assert noncommercial({"data": licence}) == (["data"] if forbids else [])
