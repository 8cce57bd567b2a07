"""Whole files or none: written under a temporary name in the same folder, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

TEMPORARY = ".{}.tmp"


def write_whole(path: Path, data: bytes, *, durable: bool, mode: int = 0o666) -> None:
    """Have `data` stand whole at `path`; when `durable`, not even a power cut takes it back.

    `mode` is what the umask leaves of it. Raises OSError, with nothing left behind.
    """
    temporary = path.with_name(TEMPORARY.format(path.name))
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=mode)) as file:
            file.write(data)
            if durable:
                file.flush()
                os.fdatasync(file.fileno())  # the size is data; only times are left out
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name for another program to write under; it takes the place of `path`, durably, when the
    block ends well. Raises OSError.
    """
    temporary = path.with_name(TEMPORARY.format(path.name))
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make durable what another program wrote."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the folder's own entries durable: the names, not only what they name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
