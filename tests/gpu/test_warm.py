"""What is known of a device's memory, and how many pictures it is trusted with."""

from pathlib import Path

import pytest
import torch

from daemon.gpu import hardware, sdxl
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
    monkeypatch.setattr(sdxl, "free_memory", lambda device: int(free * 2**30))
    assert hardware.at_once(torch.device("cuda")) == pictures
    assert hardware.at_once(torch.device("cpu")) == 1
