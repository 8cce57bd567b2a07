"""Runs a training stage as several processes of one thread each that share what they learn."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn


def run(stage: Callable[[Path], None], folder: Path, count: int) -> None:
    """Run the stage in `count` processes; returns when all have ended."""
    with tempfile.TemporaryDirectory() as meeting:
        spawn(_enter, (count, f"{meeting}/meet", stage, folder), nprocs=count)


def _enter(rank: int, count: int, meeting: str, stage: Callable[[Path], None], folder: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    stage(folder)
    dist.barrier()
    dist.destroy_process_group()


def worker() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def workers() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def mean_over_workers(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in one message."""
    if workers() == 1 or not tensors:
        return
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat / workers(), [t.numel() for t in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def agree(value: float) -> float:
    """The value that process 0 has, so that all keep in step."""
    if workers() == 1:
        return value
    message = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(message, 0)
    return float(message)
