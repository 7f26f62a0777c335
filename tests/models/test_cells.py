"""Cells written out: equal to torch.nn's under copied weights, by steps and by kernel, forward and backward."""

import pytest
import torch

from plutao.models.cells import CELLS, Cell

THEIRS = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


def cell_and_theirs(kind: str, dtype: torch.dtype = torch.float32) -> tuple[Cell, torch.nn.RNNBase]:
    """A cell with random weights, biases too, and PyTorch's module with the same ones."""
    torch.manual_seed(1)
    cell = CELLS[kind](5, 7).to(dtype)
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    theirs = THEIRS[kind](5, 7, batch_first=True, dtype=dtype)
    theirs.load_state_dict({f"{name}_l0": tensor for name, tensor in cell.state_dict().items()})
    return cell, theirs


@pytest.mark.parametrize("kind", CELLS)
def test_one_step_at_a_time_is_torchs_sequence(kind: str) -> None:
    """In double precision they agree to 1e-12, in single to 1e-6: outputs and the last state."""
    for dtype, most in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        cell, theirs = cell_and_theirs(kind, dtype)
        x = torch.randn(3, 30, 5, dtype=dtype)
        expected, last = theirs(x)
        outputs, state = cell.written_out(x)
        assert (outputs - expected).abs().max() < most
        for part, other in zip(state, last if kind == "lstm" else (last,), strict=True):
            assert (part - other[0]).abs().max() < most


@pytest.mark.parametrize("length", [12, 1])
@pytest.mark.parametrize("kind", CELLS)
def test_the_fused_kernel_is_the_cell_written_out_backward_too(kind: str, length: int) -> None:
    cell, _ = cell_and_theirs(kind, torch.float64)
    x = torch.randn(3, length, 5, dtype=torch.float64)
    state = tuple(torch.randn_like(part) for part in cell.start(3))
    seen = []
    for read in (cell, cell.written_out):
        cell.zero_grad()
        inputs = x.clone().requires_grad_()
        outputs, last = read(inputs, state)
        torch.stack([outputs.square().sum(), *(part.sum() for part in last)]).sum().backward()
        seen.append([outputs, *last, inputs.grad, *(parameter.grad for parameter in cell.parameters())])
    for fused, written in zip(*seen, strict=True):
        assert fused is not None and written is not None
        assert torch.allclose(fused, written, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_a_sequence_in_two_parts_is_the_whole_sequence(kind: str) -> None:
    """The state is all that a cell takes along."""
    cell, _ = cell_and_theirs(kind)
    x = torch.randn(2, 20, 5)
    whole, last = cell(x)
    first, state = cell(x[:, :9])
    second, end = cell(x[:, 9:], state)
    assert torch.allclose(torch.cat((first, second), dim=1), whole, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(end, last, strict=True))


def test_an_lstm_begins_with_its_forget_gate_open_and_keeps_what_it_holds() -> None:
    """Without input a fresh LSTM loses a quarter of its memory a step, σ(1) = 0.73 stays; half of it without the bias."""
    cell = CELLS["lstm"](4, 6)
    with torch.no_grad():
        cell.weight_hh.zero_()
    memory = torch.ones(1, 6)
    _, after = cell.step(torch.zeros(1, 4), (torch.zeros(1, 6), memory))
    assert torch.allclose(after, torch.sigmoid(torch.tensor(1.0)) * memory)
