"""The cells of recurrent networks, written out: plain RNN, GRU and LSTM (the book, section 4.2).

A cell reads one input and its own state and makes the next state; the same weights serve every place of a sequence. Names and
layout of the weights are those of `torch.nn.RNN`, `GRU` and `LSTM`, so that weights can go from one to the other. `step` is
the cell as its paper writes it. A whole sequence goes through PyTorch's fused kernels, which compute the same, faster.

Letters: B rows, T places, D width of the input, H width of the state.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Kind = Literal["rnn", "gru", "lstm"]
State = tuple[Tensor, ...]
"""What a cell remembers: (hidden state,), or (hidden state, cell state) of an LSTM; each (B, H)."""


class Cell(nn.Module):
    """What the three have in common: two matrices and two biases, with a slab of H rows for each gate."""

    gates: int
    states = 1

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.weight_ih = nn.Parameter(torch.empty(self.gates * hidden, width))
        self.weight_hh = nn.Parameter(torch.empty(self.gates * hidden, hidden))
        self.bias_ih = nn.Parameter(torch.empty(self.gates * hidden))
        self.bias_hh = nn.Parameter(torch.empty(self.gates * hidden))
        self.initialise(torch.Generator().manual_seed(0))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Uniform within ±1/√H, as torch.nn does; biases zero."""
        bound = 1 / math.sqrt(self.hidden)
        for matrix in (self.weight_ih, self.weight_hh):
            matrix.uniform_(-bound, bound, generator=generator)
        for bias in (self.bias_ih, self.bias_hh):
            bias.zero_()

    def start(self, rows: int) -> State:
        """The state before the first input: zeros."""
        return tuple(self.weight_hh.new_zeros(rows, self.hidden) for _ in range(self.states))

    def step(self, x: Float[Tensor, "B D"], state: State) -> State:
        """The next state; its first part is the cell's output."""
        raise NotImplementedError

    def kernel(self, x: Float[Tensor, "B T D"], state: list[Tensor]) -> tuple[Tensor, ...]:
        """PyTorch's kernel for a whole sequence: outputs, then the last state's parts, each (1, B, H)."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "B T D"], state: State | None = None) -> tuple[Float[Tensor, "B T H"], State]:
        """The outputs at every place, and the state after the last."""
        state = self.start(len(x)) if state is None else state
        outputs, *last = self.kernel(x, [part.unsqueeze(0) for part in state])
        return outputs, tuple(part.squeeze(0) for part in last)

    def written_out(
        self, x: Float[Tensor, "B T D"], state: State | None = None
    ) -> tuple[Float[Tensor, "B T H"], State]:
        """As `forward`, one `step` after the other."""
        state = self.start(len(x)) if state is None else state
        outputs = []
        for place in range(x.shape[1]):
            state = self.step(x[:, place], state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state

    @property
    def weights(self) -> list[Tensor]:
        """In the order in which PyTorch's kernels take them."""
        return [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]

    @property
    def how(self) -> tuple[bool, int, float, bool, bool, bool]:
        """With biases, one layer, no dropout, training, one direction, rows first: the kernels' other arguments."""
        return True, 1, 0.0, self.training, False, True


class RnnCell(Cell):
    """h' = tanh(W·x + b + U·h + c) (Elman 1990): all that was read passes through the same matrix again and again."""

    gates = 1

    def step(self, x: Float[Tensor, "B D"], state: State) -> State:
        inputs = x @ self.weight_ih.T + self.bias_ih
        return (torch.tanh(inputs + state[0] @ self.weight_hh.T + self.bias_hh),)

    def kernel(self, x: Float[Tensor, "B T D"], state: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.rnn_tanh(x, state[0], self.weights, *self.how)


class GruCell(Cell):
    """Two gates (Cho et al. 2014): r says how much of the state is looked at, z how much of it stays.

    As in torch.nn, r is applied after the product with U, and the new state is (1 − z)·n + z·h.
    """

    gates = 3

    def step(self, x: Float[Tensor, "B D"], state: State) -> State:
        (h,) = state
        from_x = (x @ self.weight_ih.T + self.bias_ih).chunk(3, dim=-1)
        from_h = (h @ self.weight_hh.T + self.bias_hh).chunk(3, dim=-1)
        reset, keep = (torch.sigmoid(from_x[gate] + from_h[gate]) for gate in (0, 1))
        new = torch.tanh(from_x[2] + reset * from_h[2])
        return ((1 - keep) * new + keep * h,)

    def kernel(self, x: Float[Tensor, "B T D"], state: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.gru(x, state[0], self.weights, *self.how)


class LstmCell(Cell):
    """Three gates and a second state c that is only added to (Hochreiter & Schmidhuber 1997; with the forget gate of Gers
    et al. 2000): along c an error travels back without passing through a matrix, only through the forget gate.
    """

    gates = 4
    states = 2

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """As the others, but the forget gate starts open: its bias is 1 (Gers et al. 2000; Jozefowicz et al. 2015)."""
        super().initialise(generator)
        self.bias_ih[self.hidden : 2 * self.hidden] = 1.0

    def step(self, x: Float[Tensor, "B D"], state: State) -> State:
        h, c = state
        gates = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        into, forget, new, out = gates.chunk(4, dim=-1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(into) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(c), c

    def kernel(self, x: Float[Tensor, "B T D"], state: list[Tensor]) -> tuple[Tensor, ...]:
        if x.shape[1] == 1:  # when writing: oneDNN would lay the weights out anew at every token, ten times as slow
            h, c = self.step(x[:, 0], (state[0][0], state[1][0]))
            return h.unsqueeze(1), h.unsqueeze(0), c.unsqueeze(0)
        return torch.lstm(x, state, self.weights, *self.how)


CELLS: dict[str, type[Cell]] = {"rnn": RnnCell, "gru": GruCell, "lstm": LstmCell}
