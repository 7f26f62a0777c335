"""The fused output layer equals PyTorch's own, in loss and in every gradient."""

import pytest
import torch
import torch.nn.functional as F

from plutao.train import cross_entropy
from plutao.train.cross_entropy import linear_cross_entropy, rows_at_once


def both(smoothing: float, compiled: bool, ignored: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(3, 8, 16, dtype=dtype, requires_grad=True)
    table = (torch.randn(40, 16) * 0.3).to(dtype).requires_grad_()
    targets = torch.randint(40, (3, 8))
    targets.view(-1)[:ignored] = -100
    ours = linear_cross_entropy(hidden, table, targets, -100, smoothing, compiled)
    (ours * 3.0).backward()
    gradients = hidden.grad, table.grad
    hidden.grad = table.grad = None
    logits = F.linear(hidden, table).flatten(0, 1)
    theirs = F.cross_entropy(logits.float(), targets.flatten(), ignore_index=-100, label_smoothing=smoothing)
    (theirs * 3.0).backward()
    loose = {"atol": 2e-2, "rtol": 5e-2} if dtype == torch.bfloat16 else {"atol": 1e-6, "rtol": 1e-5}
    torch.testing.assert_close(ours.float(), theirs, **loose)
    torch.testing.assert_close(gradients[0], hidden.grad, **loose)
    torch.testing.assert_close(gradients[1], table.grad, **loose)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [0, 7])
@pytest.mark.parametrize("slab", [10**9, 40 * 6])
def test_loss_and_gradients_equal_pytorchs(
    smoothing: float, ignored: int, slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "SLAB", slab)
    both(smoothing, False, ignored, torch.float32)


def test_in_bf16_too() -> None:
    both(0.0, False, 3, torch.bfloat16)


@pytest.mark.compiler
def test_compiled_too() -> None:
    both(0.1, True, 3, torch.float32)


def test_a_batch_without_targets_costs_nothing() -> None:
    hidden = torch.randn(1, 2, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.randn(8, 4, requires_grad=True), torch.full((1, 2), -100), -100)
    loss.backward()
    assert loss == 0
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_slabs_are_alike() -> None:
    assert rows_at_once(4096, 8192) == 512
    assert rows_at_once(4095, 8192) == 4095
    assert rows_at_once(16, 50_257) == 16
