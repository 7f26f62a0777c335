"""Several processes, one training: each computes its rows of the same batch, and gradients are summed (data parallelism).

`torchrun --nproc-per-node 2 -m plutao run …` starts them; without torchrun there is one process and nothing here does anything.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

BUCKET = 2**24  # elements sent at once: 64 MB of fp32


@dataclass(frozen=True)
class World:
    """This process among its equals."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0


def join() -> World:
    """Joins the group that torchrun announces in the environment; alone otherwise."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return World(dist.get_rank(), dist.get_world_size(), local_rank)


def leave(world: World) -> None:
    if world.size > 1 and dist.is_initialized():
        dist.destroy_process_group()


def sum_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replaces every gradient by its sum over the processes, in buckets so that few messages carry all."""
    if world.size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    bucket: list[torch.Tensor] = []
    for number, gradient in enumerate(gradients):
        bucket.append(gradient)
        if sum(g.numel() for g in bucket) >= BUCKET or number == len(gradients) - 1:
            flat = torch.cat([g.reshape(-1) for g in bucket])
            dist.all_reduce(flat)
            for g, summed in zip(bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True):
                g.copy_(summed.view_as(g))
            bucket = []


def total(value: float, world: World, device: torch.device) -> float:
    """The sum of a number over the processes."""
    if world.size == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    dist.all_reduce(tensor)
    return float(tensor)


def largest(value: float, world: World, device: torch.device) -> float:
    """The greatest of a number over the processes: how one process's wish to stop becomes everyone's."""
    if world.size == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return float(tensor)


def same_weights(model: nn.Module, world: World) -> None:
    """Gives every process the first one's weights."""
    if world.size > 1:
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.data, 0)
