"""Truncated backpropagation through time: rows go on, states are carried, what is resumed is what was never stopped."""

import json
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import CPU

from plutao.data.stretches import Stretch, Stretches
from plutao.errors import Interrupted
from plutao.models.recurrent import RecurrentConfig, RecurrentModel
from plutao.recipe import OptimizerSettings, TrainSettings
from plutao.train.budget import Budget
from plutao.train.loop import Trained, fit
from plutao.train.truncated import Carrying, truncated


class Text:
    """A shard of 2,000 tokens that count upwards modulo 37."""

    def __init__(self, length: int = 2000) -> None:
        self.tokens = np.arange(length) % 37

    def __len__(self) -> int:
        return len(self.tokens)


def stretches(windows: int = 4, rows: int = 4, **ranks: int) -> Stretches:
    texts: Any = {"text": Text()}
    return Stretches(texts, {"text": None}, rows, 16, windows, seed=1, **ranks)


def carrying(rows: int = 4, kind: Any = "lstm") -> Carrying:
    model = RecurrentModel(RecurrentConfig(kind, 40, 1, 16, 24))
    model.initialise(0)
    return Carrying(model, rows)


def test_windows_follow_one_another_in_their_rows_until_new_rows_are_drawn() -> None:
    read = stretches()
    seen = [next(read) for _ in range(9)]
    assert [each.begins for each in seen] == [True, False, False, False] * 2 + [True]
    for one, following in pairwise(seen):
        assert torch.equal(one.targets[:, -1], following.tokens[:, 0]) != following.begins
        assert torch.equal(one.tokens[:, 1:], one.targets[:, :-1])


def test_a_reader_goes_on_where_it_was_in_the_middle_of_a_row_too() -> None:
    for place in (0, 1, 3, 4, 6):
        read, again = stretches(), stretches()
        for _ in range(place):
            next(read)
        again.load_state_dict(json.loads(json.dumps(read.state_dict())))
        for _ in range(6):
            one, other = next(read), next(again)
            assert torch.equal(one.tokens, other.tokens) and one.begins == other.begins


def test_processes_share_the_rows_of_one_step() -> None:
    whole, halves = next(stretches()), [next(stretches(rank=rank, world=2)) for rank in range(2)]
    assert torch.equal(torch.cat([half.tokens for half in halves]), whole.tokens)


def test_a_short_text_is_read_in_rows_of_fewer_windows() -> None:
    texts: Any = {"text": Text(40)}
    assert Stretches(texts, {"text": None}, 2, 16, 100, seed=1).windows == 2


def test_the_state_is_carried_but_no_gradient_flows_into_the_window_before() -> None:
    """Two windows with the state carried give the losses of one long row, and the gradient of the second window alone."""
    learner, objective, read = carrying().eval(), truncated(), stretches()
    first, second = next(read), next(read)
    losses = [objective(learner, piece)[0] for piece in (first, second)]
    long = Stretch(
        torch.cat((first.tokens, second.tokens), 1), torch.cat((first.targets, second.targets), 1), begins=True
    )
    assert torch.allclose((losses[0] + losses[1]) / 2, objective(learner, long)[0], atol=1e-5)

    objective(learner, first)
    kept = learner.memory.clone()
    assert not kept.requires_grad and kept.abs().max() > 0
    losses[1].backward()
    table = learner.model.embedding.weight.grad
    assert table is not None
    states = tuple(tuple(part for part in layer) for layer in kept)
    learner.zero_grad()
    hidden, _ = learner.model.read(second.tokens, states)
    torch.nn.functional.cross_entropy(learner.model.logits(hidden).flatten(0, 1), second.targets.flatten()).backward()
    alone = learner.model.embedding.weight.grad
    assert alone is not None and torch.allclose(table, alone, atol=1e-6)


def test_rows_in_pieces_keep_their_own_states() -> None:
    whole, pieces, read = carrying(), carrying(), stretches()
    objective = truncated()
    for _ in range(3):
        batch = next(read)
        objective(whole, batch)
        for piece in batch.split(2):
            objective(pieces, piece)
        assert torch.allclose(whole.memory, pieces.memory, atol=1e-6)


def train(out: Path, steps: int, rows: int = 4, kind: str = "lstm", **settings: Any) -> tuple[Carrying, Trained]:
    learner = carrying(rows, kind)
    length = TrainSettings(
        batch=rows, evaluate=0, optimizer=OptimizerSettings(kind="adamw", learning_rate=1e-2), **settings
    )
    return learner, fit(learner, truncated(), stretches(rows=rows), length, Budget(steps=steps), out, CPU)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_it_learns_a_text_by_heart(kind: str, tmp_path: Path) -> None:
    _, trained = train(tmp_path, 120, kind=kind)
    assert trained.loss < 0.5 < np.log(37)


def test_what_was_stopped_in_the_middle_of_a_row_goes_on_as_if_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights bit by bit, and the same carried states: 10 steps are 2 rows of 4 windows and a half."""
    whole, _ = train(tmp_path / "whole", 16)
    real, calls = truncated(), 0

    def stop_after_ten(model: Any, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return real(model, batch)

    monkeypatch.setitem(globals(), "truncated", lambda: stop_after_ten)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", 16)
    monkeypatch.setitem(globals(), "truncated", lambda: real)
    resumed, _ = train(tmp_path / "stopped", 16)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
