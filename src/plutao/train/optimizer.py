"""The optimizer: Muon for the hidden matrices, AdamW for the rest, as one object to the loop."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plutao.recipe import OptimizerSettings

STACK = 1 << 21
"""Numbers of matrices that Muon takes together at most."""


class StackedMuon(torch.optim.Muon):
    """PyTorch's Muon with matrices of one shape taken together: the same update, to rounding, and the same state.

    A small model has dozens of small matrices; one at a time, their products leave threads waiting for each other.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None, "gradients are there already"
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            for parameter in parameters:
                self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
            gradients = [parameter.grad for parameter in parameters]
            momenta = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])  # Nesterov's look ahead
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            for places in stacks([parameter.shape for parameter in parameters]):
                stack = torch.stack([lying(ahead[place]).bfloat16() for place in places])
                updates = orthogonalise(stack, group["ns_coefficients"], group["ns_steps"], group["eps"])
                for place, update in zip(places, updates, strict=True):
                    parameter = parameters[place]
                    rate = group["lr"] * 0.2 * math.sqrt(max(parameter.shape))  # the size of AdamW's updates
                    parameter.add_(update if lies(parameter) else update.T, alpha=-rate)


def lies(matrix: torch.Tensor) -> bool:
    """Whether its rows are at least as long as its columns."""
    return matrix.shape[0] <= matrix.shape[1]


def lying(matrix: Float[Tensor, "M N"]) -> Float[Tensor, "short long"]:
    """The matrix, or its transpose, with rows at least as long as its columns."""
    return matrix if lies(matrix) else matrix.T


def stacks(shapes: Sequence[torch.Size]) -> Iterator[list[int]]:
    """Places of matrices that are alike, lying, in stacks of at most STACK numbers."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, shape in enumerate(shapes):
        alike.setdefault(tuple(sorted(shape)), []).append(place)
    for sides, places in alike.items():
        most = max(1, STACK // math.prod(sides))
        for begin in range(0, len(places), most):
            yield places[begin : begin + most]


def orthogonalise(
    matrices: Float[Tensor, "K M N"], coefficients: tuple[float, float, float], steps: int, eps: float
) -> Float[Tensor, "K M N"]:
    """Nearly the nearest orthogonal matrix of each, by the quintic iteration of Jordan et al. (2024); M ≤ N."""
    a, b, c = coefficients
    x: Tensor = matrices / matrices.flatten(1).norm(dim=1).clamp(min=eps).view(-1, 1, 1)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Optimizers:
    """AdamW alone or with Muon: steps, learning rates and states together.

    Muon (Jordan et al. 2024) replaces a matrix's update by its nearest orthogonal matrix; here with the scale that makes
    its size that of AdamW's updates (Liu et al. 2025, "Muon is Scalable for LLM Training"), so that one schedule serves both.
    """

    def __init__(self, model: nn.Module, settings: OptimizerSettings, device: str) -> None:
        adamw: dict[str, Any] = {"betas": settings.betas, "eps": 1e-8, "fused": device in ("cpu", "cuda")}
        self.peaks: list[float] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        matrices, others = [], []
        # A model of several parts (actor and critic) says at which multiple of the peak each of them learns.
        parts: list[tuple[nn.Module, float]] = getattr(model, "parts", lambda: [(model, 1.0)])()
        for part, factor in parts:
            of_part, tables, vectors = split_parameters(part)
            matrices.append(group(of_part, settings.weight_decay, factor))
            others.append(group([*tables, *vectors], 0.0, factor))
        if settings.kind == "adamw":
            matrices, others = [], [found for pair in zip(matrices, others, strict=True) for found in pair]
        if others := [found for found in others if found["params"]]:
            self._add(torch.optim.AdamW(others, lr=settings.learning_rate, **adamw), settings.learning_rate)
        if matrices := [found for found in matrices if found["params"]]:
            muon = StackedMuon(
                matrices,
                lr=settings.matrix_learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            self._add(muon, settings.matrix_learning_rate)

    def _add(self, optimizer: torch.optim.Optimizer, peak: float) -> None:
        self.optimizers.append(optimizer)
        self.peaks.append(peak)

    def step(self, share: float) -> None:
        """One update at `share` of the peak learning rates."""
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for parameters in optimizer.param_groups:
                parameters["lr"] = peak * share * parameters["factor"]
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """All state as flat names → tensors, to be stored as safetensors."""
        flat: dict[str, torch.Tensor] = {}
        for number, optimizer in enumerate(self.optimizers):
            for parameter, state in optimizer.state_dict()["state"].items():
                flat |= {f"{number}.{parameter}.{key}": torch.as_tensor(value) for key, value in state.items()}
        return flat

    def load_state_tensors(self, flat: dict[str, torch.Tensor]) -> None:
        states: list[dict[int, dict[str, Any]]] = [{} for _ in self.optimizers]
        for name, tensor in flat.items():
            number, parameter, key = name.split(".", 2)
            states[int(number)].setdefault(int(parameter), {})[key] = tensor
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Hidden matrices; tables of embeddings and output layers; vectors (norms, biases). A shared tensor counts once."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    outputs = [getattr(model, name, None) for name in ("head", "score")]
    tables |= {id(layer.weight) for layer in outputs if isinstance(layer, nn.Linear)}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [p for p in parameters if p.ndim == 2 and id(p) not in tables]
    return (
        matrices,
        [p for p in parameters if id(p) in tables],
        [p for p in parameters if p.ndim != 2 and id(p) not in tables],
    )


def group(parameters: Iterable[nn.Parameter], weight_decay: float, factor: float) -> dict[str, Any]:
    return {"params": list(parameters), "weight_decay": weight_decay, "factor": factor}
