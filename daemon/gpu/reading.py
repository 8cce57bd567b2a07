"""Weights' files read once through while a library takes them in, so that it can be told how far that is.

diffusers and transformers map files into memory and touch them as they go, in no order that could be told
from outside. Read here from front to back they are in the system's memory by the time they are touched, which
on anything but a warm disk is also the quicker way. The bytes are dropped: it is the reading that counts.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK = 2**23
EVERY = 2**25
"""Bytes between two tellings at the least; a hundredth of all where that is more."""


@contextmanager
def read_through(files: Iterable[Path], tell: Callable[[float], None]) -> Iterator[None]:
    """Read `files` in a thread of its own while the block runs, and to their end before it is left, unless it
    fails. `tell` is called there with how much of all has been read, from 0 to 1.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_read, args=(list(files), tell, stop), name="reading", daemon=True)
    thread.start()
    try:
        yield
        thread.join()
    finally:
        stop.set()
        thread.join()


def _read(files: list[Path], tell: Callable[[float], None], stop: threading.Event) -> None:
    """What cannot be read is the block's to find out about, and ends this."""
    buffer = bytearray(CHUNK)
    try:
        whole = sum(file.stat().st_size for file in files)
        read = told = 0
        for file in files:
            with file.open("rb", buffering=0) as content:
                while not stop.is_set() and (got := content.readinto(buffer)):
                    read += got
                    if read - told >= max(EVERY, whole // 100):
                        told = read
                        tell(min(1.0, read / whole))
        if not stop.is_set() and files:
            tell(1.0)
    except OSError:
        return
