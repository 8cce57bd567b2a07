"""What is known of a device's memory, and how many pictures it is trusted with."""

from pathlib import Path

import pytest
import torch

from daemon.gpu import hardware, memory
from daemon.gpu.warm import Memory
from daemon.settings import Home


def test_memory_follows_what_the_child_says(tmp_path: Path) -> None:
    """Checkpoints that left are cold again, one that failed too; LoRAs are those of the last batch."""
    home = Home(tmp_path)
    memory = Memory(home)
    memory.used("a", ["style"])
    memory.holds([str(home.checkpoint("a"))])
    memory.used("b", [])
    memory.holds([str(home.checkpoint(name)) for name in "ab"])
    assert memory.warm == {"a": {"style"}, "b": set()}
    memory.used("a", [])
    memory.used("c", [])
    memory.holds([str(home.checkpoint(name)) for name in "ac"])
    assert memory.warm == {"a": set(), "c": set()}
    memory.failed("c")
    assert memory.warm == {"a": set()}


@pytest.mark.parametrize(("free", "pictures"), [(6, 1), (11.3, 1), (12.2, 3), (15.5, 4), (79, 4)])
def test_a_gpu_makes_as_many_at_once_as_its_free_memory_bears(
    monkeypatch: pytest.MonkeyPatch, free: float, pictures: int
) -> None:
    """Cards of 8, 12 and 16 GB, and of more; a CPU makes one after the other."""
    monkeypatch.setattr(memory, "free", lambda device: int(free * 2**30))
    assert hardware.at_once(torch.device("cuda"), torch.float16) == pictures
    assert hardware.at_once(torch.device("cuda"), torch.float32) == (4 if free > 30 else 1)
    assert hardware.at_once(torch.device("cpu"), torch.float32) == 1


def test_a_kind_of_device_that_nobody_has_tried_is_refused() -> None:
    """It would sample, and fail at its first preview."""
    with pytest.raises(RuntimeError, match="cpu and cuda devices alone"):
        hardware.find("meta")
    assert hardware.find("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_has_many_names(error: Exception, ran_out: bool) -> None:
    """torch's own, CUDA's, and those of its libraries."""
    assert memory.ran_out(error) is ran_out
