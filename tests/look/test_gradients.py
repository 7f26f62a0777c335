"""Gradients through time and depth: what the figure says is what is computed; recall by distance; the commands that show it."""

import json
from pathlib import Path

import pytest
import torch
from commands import done, refused

from plutao.look import gradients, recall
from plutao.models.cells import CELLS


@pytest.fixture(scope="module")
def seen() -> gradients.Gradients:
    return gradients.gradients(length=60, depth=16)


def curve(seen: gradients.Gradients, name: str) -> gradients.Curve:
    return next(each for each in (*seen.through_time, *seen.through_depth) if each.name == name)


@pytest.mark.parametrize("kind", CELLS)
def test_the_steps_gradients_add_up_to_the_one_that_training_follows(kind: str) -> None:
    """Copies of the weights for every step; summed, they are autograd's gradient of the shared weights."""
    cell = CELLS[kind](gradients.WIDTH, gradients.HIDDEN)
    cell.initialise(torch.Generator().manual_seed(0))
    parts = gradients.through_time(cell, 12)
    generator = torch.Generator().manual_seed(1)
    inputs = 0.1 * torch.randn(gradients.ROWS, 12, cell.width, generator=generator)
    direction = torch.randn(cell.hidden, generator=generator)
    outputs, _ = cell.written_out(inputs)
    (outputs[:, -1] @ (direction / direction.norm())).sum().backward()
    whole = torch.cat([parameter.grad.flatten() for parameter in cell.parameters() if parameter.grad is not None])
    assert torch.allclose(torch.stack(parts).sum(0), whole, atol=1e-4)


def test_the_rnns_gradient_vanishes_and_the_lstms_is_far_larger_at_distance_50(seen: gradients.Gradients) -> None:
    rnn, lstm = curve(seen, "rnn").norms, curve(seen, "lstm").norms
    assert rnn[50] < 1e-6 * rnn[0]
    assert lstm[50] > 10 * rnn[50]
    assert lstm[50] > 1e4 * rnn[50]  # by orders of magnitude, in fact


def test_larger_recurrent_weights_explode_and_clipping_bounds_the_norm(seen: gradients.Gradients) -> None:
    larger = curve(seen, "rnn_larger")
    assert larger.norms[50] > 100 * larger.norms[0] and larger.total > 1e3
    assert larger.scale * larger.total == pytest.approx(gradients.CLIP)
    ratios = [after / before for after, before in zip(larger.clipped, larger.norms, strict=True)]
    assert max(ratios) == pytest.approx(min(ratios))  # the direction stays
    quiet = gradients.Curve("rnn", [0.1, 0.01], 0.1)
    assert quiet.clipped == quiet.norms  # what is short already is not touched


def test_residual_connections_bring_the_gradient_to_the_first_layer(seen: gradients.Gradients) -> None:
    plain, residual = curve(seen, "plain").norms, curve(seen, "residual").norms
    assert plain[-1] < 1e-2 * plain[0]
    assert residual[-1] > 0.5 * residual[0]


def test_gates_and_attention_remember_what_an_rnn_forgets() -> None:
    """A third of the command's course: over 60 steps the RNN guesses, the LSTM and the Transformer know."""
    found = recall.recall(steps=200, kinds=("rnn", "lstm", "decoder"))
    far = {each.kind: each.accuracies[-1] for each in found.models}
    assert found.distances[-1] == 60
    assert far["rnn"] < 0.3 < 0.9 < min(far["lstm"], far["decoder"])


def test_every_view_has_its_words_and_its_figure_in_both_languages(seen: gradients.Gradients) -> None:
    remembered = recall.Recall([1, 5], 10, [recall.Recalled("rnn", 100, [1.0, 0.5])])
    for language in ("en", "pt"):
        views = [
            gradients.view(seen, language),
            gradients.view_depth(seen, language),
            recall.view(remembered, language),
        ]
        for view in views:
            assert view.rows and all(len(row) == len(view.columns) for row in view.rows)
            assert len(view.figure.data) >= 1


def test_the_command_needs_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recall, "KINDS", ("rnn",))
    monkeypatch.setattr(recall.recall, "__defaults__", (2, recall.LONGEST, ("rnn",), 0))
    found = json.loads(done("inspect", "--gradients", "--json", "--html", "look.html").out)
    assert {each["name"] for each in found["gradients"]["through_time"]} == {"rnn", "rnn_larger", "gru", "lstm"}
    assert found["recall"]["models"][0]["kind"] == "rnn"
    assert "BOX 9" in (tmp_path / "look.html").read_text(encoding="utf-8")


def test_senses_need_an_elmo(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "plutao-lstm"}')
    said = refused("inspect", tmp_path, "--run", tmp_path, "--senses", "banco")
    assert "elmo-pt" in said and "plutao-lstm" in said
