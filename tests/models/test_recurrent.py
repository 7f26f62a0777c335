"""Recurrent language models and the feed-forward one: what they promise as language models, and on disk."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from plutao.errors import UserError
from plutao.models import recurrent, window
from plutao.models.language import LanguageModel, load_language_model
from plutao.models.recurrent import RecurrentConfig, RecurrentModel
from plutao.models.window import WindowConfig, WindowModel

KINDS = ("mlp", "rnn", "gru", "lstm")
Model = RecurrentModel | WindowModel


def make(kind: str, seed: int = 0, **changes: object) -> Model:
    """A small model of two layers."""
    model: Model
    if kind == "mlp":
        model = WindowModel(dataclasses.replace(WindowConfig(40, 5, 2, 12, 16), **changes))  # type: ignore[arg-type]
    else:
        config = RecurrentConfig(kind, 40, 2, 12, 16)  # type: ignore[arg-type]
        model = RecurrentModel(dataclasses.replace(config, **changes))  # type: ignore[arg-type]
    model.initialise(seed)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_language_model(kind: str) -> None:
    model = make(kind)
    assert isinstance(model, LanguageModel)
    assert model.vocabulary == 40 and model.reach == (5 if kind == "mlp" else None)
    tokens = torch.randint(40, (3, 11))
    logs = model.log_probabilities(tokens)
    assert logs.shape == (3, 11, 40)
    assert torch.allclose(logs.exp().sum(-1), torch.ones(3, 11), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_token_by_token_it_says_what_it_says_of_the_whole_text(kind: str) -> None:
    model = make(kind)
    tokens = torch.randint(40, (3, 11), generator=torch.Generator().manual_seed(1))
    whole, state = model.log_probabilities(tokens), model.start(3)
    for place in range(11):
        logs, state = model.advance(tokens[:, place], state)  # type: ignore[arg-type]
        assert torch.allclose(logs, whole[:, place], atol=1e-5), place


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_looks_ahead_and_only_the_window_ends(kind: str) -> None:
    """Another token in the middle changes no place before it; in the mlp, none that is a window's length behind it either."""
    model = make(kind)
    tokens = torch.randint(1, 40, (1, 20), generator=torch.Generator().manual_seed(2))
    other = tokens.clone()
    other[0, 8] = 0
    changed = (model.log_probabilities(tokens) - model.log_probabilities(other)).abs().amax(-1)[0] > 0
    assert not changed[:8].any() and changed[8:13].all()
    assert not changed[13:].any() if kind == "mlp" else changed[13:16].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"hidden": 12}, {"layers": 1}, {"residual": True}])
def test_parameters_are_counted_from_the_shape(kind: str, changes: dict[str, object]) -> None:
    model = make(kind, **changes)
    assert model.count_parameters() == sum(parameter.numel() for parameter in model.parameters())


def test_the_first_neural_model_is_the_papers_formula() -> None:
    """y = b + U·tanh(d + H·x), x the embeddings of the window side by side (Bengio et al. 2003, without W and b)."""
    model = make("mlp", tied=False, layers=1)
    assert isinstance(model, WindowModel)
    tokens = torch.randint(40, (5,), generator=torch.Generator().manual_seed(3))
    x = model.embedding.weight[tokens]  # (n, D)
    by_place = model.first.weight.view(16, 12, 5)
    hidden = torch.tanh(model.first.bias + torch.einsum("hdn,nd->h", by_place, x))
    expected = (model.head.weight @ hidden).log_softmax(-1)
    assert torch.allclose(model.log_probabilities(tokens[None])[0, -1], expected, atol=1e-5)


def test_a_layer_with_a_residual_connection_that_has_learned_nothing_passes_on_what_it_reads() -> None:
    """BOX 9: with its weights at zero the second layer is as if it were not there."""
    deep, shallow = make("rnn", residual=True), make("rnn", layers=1)
    assert isinstance(deep, RecurrentModel)
    with torch.no_grad():
        for parameter in deep.cells[1].parameters():
            parameter.zero_()
        shallow.load_state_dict({k: v for k, v in deep.state_dict().items() if not k.startswith("cells.1")})
    tokens = torch.randint(40, (2, 9))
    assert torch.equal(deep.log_probabilities(tokens), shallow.log_probabilities(tokens))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_comes_back_with_the_same_logits(kind: str, tied: bool, tmp_path: Path) -> None:
    model = make(kind, tied=tied)
    (window if kind == "mlp" else recurrent).save(model, tmp_path, eos=0)  # type: ignore[attr-defined]
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == f"plutao-{kind}"
    loaded = load_language_model(tmp_path)
    tokens = torch.randint(40, (2, 9))
    assert torch.equal(loaded.log_probabilities(tokens), model.log_probabilities(tokens))


def test_a_folder_that_is_damaged_or_of_another_kind_is_told_in_a_sentence(tmp_path: Path) -> None:
    model = make("lstm")
    assert isinstance(model, RecurrentModel)
    recurrent.save(model, tmp_path)
    with pytest.raises(UserError, match="plutao-mlp"):
        window.load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden": 20}))
    with pytest.raises(UserError, match="not of the same model"):
        recurrent.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "layers"}))
    with pytest.raises(UserError, match="layers"):
        recurrent.load(tmp_path)
