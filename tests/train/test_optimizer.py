"""Muon over stacks of matrices is PyTorch's Muon, in fewer and larger products."""

import copy

import pytest
import torch
from torch import nn

from plutao.train import optimizer
from plutao.train.optimizer import StackedMuon, stacks

SHAPES = [(64, 32), (32, 64), (48, 48), (64, 32), (32, 64), (20, 80), (48, 48), (48, 48)]
SETTINGS = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}


def matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(0.02 * torch.randn(shape, generator=generator)) for shape in SHAPES]


def learn(parameters: list[nn.Parameter], muon: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator) * 10.0 ** (step % 3 - 1)
        muon.step()


def difference(some: list[nn.Parameter], others: list[nn.Parameter], since: list[nn.Parameter]) -> float:
    """The largest distance of two trainings, as a share of how far they have gone."""
    pairs = zip(some, others, since, strict=True)
    return max(float((one - other).detach().norm() / (other - start).detach().norm()) for one, other, start in pairs)


@pytest.mark.parametrize("stack", [optimizer.STACK, 64 * 32 * 2, 1])
def test_its_updates_are_pytorchs_to_rounding(stack: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer, "STACK", stack)
    ours, theirs = matrices(), matrices()
    learn(ours, StackedMuon(ours, **SETTINGS), range(6))
    learn(theirs, torch.optim.Muon(theirs, **SETTINGS), range(6))
    assert difference(ours, theirs, matrices()) < 0.01  # products in bf16 keep three digits


def test_its_state_is_pytorchs() -> None:
    """A checkpoint of the one goes on with the other."""
    theirs = matrices()
    muon = torch.optim.Muon(theirs, **SETTINGS)
    learn(theirs, muon, range(3))
    ours = [nn.Parameter(parameter.detach().clone()) for parameter in theirs]
    stacked = StackedMuon(ours, **SETTINGS)
    stacked.load_state_dict(copy.deepcopy(muon.state_dict()))
    learn(ours, stacked, range(3, 6))
    learn(theirs, muon, range(3, 6))
    assert difference(ours, theirs, matrices()) < 0.01
    for one, other in zip(stacked.state_dict()["state"].values(), muon.state_dict()["state"].values(), strict=True):
        assert torch.allclose(one["momentum_buffer"], other["momentum_buffer"])


def test_matrices_without_a_gradient_stay() -> None:
    parameters = matrices()
    parameters[0].grad = torch.ones(64, 32)
    StackedMuon(parameters, **SETTINGS).step()
    fresh = matrices()
    assert [torch.equal(one, other) for one, other in zip(parameters, fresh, strict=True)] == [False] + [True] * 7


def test_stacks_hold_what_is_alike() -> None:
    assert list(stacks([torch.Size(shape) for shape in SHAPES])) == [[0, 1, 3, 4], [2, 6, 7], [5]]
