"""What makes a step faster on this CPU: memory layout, threads, precision. Ways take turns; medians.

The model is SDXL's shape with random weights, as in the engine's bench. Beside each way stands the ratio
to the first, by the clock and in processor time, and whether its picture is the first one's to the bit.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch

from bench.engine import CPU, interleaved, request
from daemon.gpu import denoise, sdxl
from tests.gpu import random_sdxl

SIZES, STEPS, ROUNDS = (512, 1024), 2, 4


def main() -> None:
    """Print all figures."""
    whole = torch.get_num_threads()
    plain, last, bf16 = (
        random_sdxl.checkpoint(random_sdxl.MIDDLE, CPU, dtype)
        for dtype in (torch.float32, torch.float32, torch.bfloat16)
    )
    last.pipe.unet.to(memory_format=torch.channels_last)
    for size in SIZES:
        ways: dict[str, Callable[[], torch.Tensor]] = {
            "as it is": partial(some_steps, plain, size, whole),
            "channels last": partial(some_steps, last, size, whole),
            "one thread": partial(some_steps, plain, size, 1),
            f"{2 * whole} threads": partial(some_steps, plain, size, 2 * whole),
            "bfloat16": partial(some_steps, bf16, size, whole),
        }
        expected = ways["as it is"]()
        took, worked = interleaved(ways, ROUNDS)
        for name, times in took.items():
            ratio, work = (
                statistics.median(each[name]) / statistics.median(each["as it is"]) for each in (took, worked)
            )
            same = "same bits" if torch.equal(ways[name]().float(), expected) else "other bits"
            step = statistics.median(times) / STEPS * 1e3
            print(
                f"  {size}² {name:14}: {step:8.1f} ms a step, {ratio:.3f} x; processors {work:.3f} x; {same}"
            )


def some_steps(model: sdxl.Checkpoint, size: int, threads: int) -> torch.Tensor:
    """The latent after some steps."""
    torch.set_num_threads(threads)
    state = denoise.begin(model, request(size, 10))
    for _ in range(STEPS):
        denoise.step(state)
    return state.latent
