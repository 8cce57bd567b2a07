"""A device that is not there: at the start it was mistyped, later it is waited for."""

from pathlib import Path
from typing import Any

import pytest

from daemon.gpu import wire
from daemon.gpu.device import Device, NoDevice
from daemon.gpu.process import ChildDied
from daemon.settings import Home, Settings
from daemon.stages import Stages

pytestmark = pytest.mark.anyio


class Saying:
    """A child with one thing to say."""

    def __init__(self, word: wire.Reply) -> None:
        self._word = word

    async def receive(self) -> wire.Reply:
        """Say it."""
        return self._word


async def test_a_device_that_was_there_is_waited_for(tmp_path: Path) -> None:
    """After its child died a GPU may be full or not answer for a while: that is another death, not an end."""
    nothing: Any = None
    device = Device(Settings(home=Home(tmp_path), device="cuda:0"), nothing, nothing, nothing, Stages())
    gone: Any = Saying(wire.NoDevice(message="there is no device cuda:0: CUDA error: out of memory"))
    ready: Any = Saying(wire.Ready(device="cuda:0 NVIDIA H100", versions={}, work="float16", batch=4))
    with pytest.raises(NoDevice, match="choose another"):
        await device._first_word(gone)
    await device._first_word(ready)
    with pytest.raises(ChildDied, match="out of memory"):
        await device._first_word(gone)
