"""How a device is set to work: precision, memory layout, threads, compiling. Nothing here changes a picture
but by rounding, and on a CPU as it comes nothing even by that.

Left out on purpose: fused QKV projections, by which a LoRA of the single ones would be passed over in
silence. Attention is PyTorch's own (`scaled_dot_product_attention`), which diffusers takes by itself.
"""

import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import torch

from daemon.gpu import wire
from daemon.settings import Precision

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
CGROUPS = Path("/sys/fs/cgroup")


class CannotCompile(Exception):
    """There is nothing to compile with; the message says what is missing."""


def dtype(device: torch.device, wanted: Precision) -> torch.dtype:
    """`auto` is what SDXL's checkpoints are published in on a GPU, and on a CPU what gives the same bits as
    the stock pipeline."""
    if wanted == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    return _DTYPES[wanted]


def settle(device: torch.device, wanted: Precision, compiles: bool) -> None:
    """Set the process up, once. Raises `CannotCompile`."""
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads())
    if device.type == "cuda":
        # Whoever asks for 32 bits gets them; else they are the VAE's, which needs their range. By the older
        # of torch's two names: the newer ones make it raise in who reads the older, as its compiler does.
        torch.backends.cuda.matmul.allow_tf32 = wanted != "float32"
        torch.backends.cudnn.allow_tf32 = wanted != "float32"
    if compiles:
        _find_compiler(device)
        _expect_many_kinds()


def threads() -> int:
    """As many as there are cores that we may use: hyper-threads only share them, and a container may be
    allowed fewer than it sees, which torch does not look at."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, math.ceil(min(cores, allowed, quota(CGROUPS))))


def quota(cgroups: Path) -> float:
    """Processors' worth of time that a control group allows, of version 2 or 1; infinite where none does."""
    try:
        most, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            most, period = (
                (cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        except OSError:
            return math.inf
    return int(most) / int(period) if most.strip().isdigit() else math.inf


def describe(held: torch.dtype, compiles: bool) -> str:
    """All of this that changes a picture's last bits."""
    words = [str(held).removeprefix("torch."), f"{torch.get_num_threads()} threads"]
    return ", ".join([*words, "compiled"] if compiles else words)


class Compiling:
    """Has the UNets of a device compiled, and tells of it: the first step at a size waits for that."""

    def __init__(self, tell: Callable[[wire.Loading | wire.Compiled], None]) -> None:
        """Once per process."""
        from torch._dynamo.callback import on_compile_start  # a second of importing, for those who compile

        self._tell = tell
        self._began: float | None = None
        on_compile_start(self._start)

    def __repr__(self) -> str:
        return f"<Compiling {'nothing' if self._began is None else 'now'}>"

    def compile(self, unet: Any) -> None:
        """Have its repeated blocks compiled when they are first called."""
        unet.compile_repeated_blocks()
        unet.register_forward_hook(self._end, always_call=True)

    def _start(self, _args: object) -> None:
        """Of one block; most calls of a UNet that compile anything compile several."""
        if self._began is None:
            self._began = time.perf_counter()
            self._tell(wire.Loading(what="compiling for pictures of this size"))

    def _end(self, *_called: object) -> None:
        if self._began is not None:
            self._tell(wire.Compiled(seconds=time.perf_counter() - self._began))
            self._began = None


def tune(pipe: Any, device: torch.device, compiling: Compiling | None) -> None:
    """Lay a checkpoint's parts out as the device likes them, and have its UNet compiled if that is wanted."""
    if device.type == "cuda":
        for part in (pipe.unet, pipe.vae):
            part.to(memory_format=torch.channels_last)  # convolutions run on tensor cores in this order
    if compiling is not None:
        compiling.compile(pipe.unet)


def _expect_many_kinds() -> None:
    """Each size, number of pictures, prompt length and LoRA may have a block compiled anew. Past 8 times
    torch would go on uncompiled, and say nothing.
    """
    from torch._dynamo import config  # a second of importing, for those who compile

    config.recompile_limit = 256
    config.accumulated_recompile_limit = 4096


def _find_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        # Triton comes with torch's builds for CUDA, but not what it compiles its launchers with.
        if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
            raise CannotCompile("there is no C compiler to compile with")
        return
    from torch._inductor import exc  # a second of importing, for those who compile
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise CannotCompile("there is no C++ compiler to compile with") from error
