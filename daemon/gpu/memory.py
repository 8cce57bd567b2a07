"""A device's memory: what is free, how to give back what nobody holds, and whether an error means that it ran
out.
"""

import gc

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import torch

_RAN_OUT = (
    "can't allocate memory",  # main memory (`alloc_cpu.cpp`), for which torch has no type
    "CUDA error: out of memory",  # of what CUDA takes for itself
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def free(device: torch.device) -> int:
    """Bytes that the device has left; for the CPU, that the machine has."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available: int = psutil.virtual_memory().available
    return available


def release(device: torch.device) -> None:
    """Give the memory back of what nobody holds any more.

    A GPU that does not answer any more, as after an illegal access, raises here, and does so for good: that
    process can do nothing with it, and is to end.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def ran_out(error: BaseException) -> bool:
    """torch has a type for a GPU that is full while a tensor is made, and sentences for the rest."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _RAN_OUT)
