"""A small disk of its own, in memory. CI runs as root, which may mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A disk of this size (`24m`) at `folder`; the test is skipped where mounting is not permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"mounting is not permitted here (uid {os.geteuid()}): {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is; answers the file that has it."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return ballast


def spare(ballast: Path, size: int) -> None:
    """Give so many bytes of room back."""
    os.truncate(ballast, max(0, ballast.stat().st_size - size))
