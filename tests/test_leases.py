"""Who has a file open for writing, asked of the system itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.leases import undisturbed, written_to
from tests.daemons import TIMEOUT
from tests.houses import writing


@pytest.fixture
def descriptor(tmp_path: Path) -> int:
    """A file that is open for reading."""
    (tmp_path / "a").write_bytes(b"x")
    return os.open(tmp_path / "a", os.O_RDONLY)


def test_a_writer_is_seen_for_as_long_as_it_is_there(tmp_path: Path, descriptor: int) -> None:
    """Of any process, ours too."""
    with writing(tmp_path / "a"):
        assert written_to(descriptor) is True
    assert written_to(descriptor) is False


def test_a_reader_is_no_writer(tmp_path: Path, descriptor: int) -> None:
    """Only who may change the file counts."""
    with (tmp_path / "a").open("rb"):
        assert written_to(descriptor) is False


def test_who_comes_to_write_waits_and_is_seen_and_the_signal_ends_nobody(
    tmp_path: Path, descriptor: int
) -> None:
    """Until the descriptor is closed, which is when the lease ends."""
    assert written_to(descriptor) is False
    assert undisturbed(descriptor)
    command = [sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write('y')", str(tmp_path / "a")]
    with subprocess.Popen(command) as writer:
        while undisturbed(descriptor):
            assert writer.poll() is None
        os.close(descriptor)
        assert writer.wait(TIMEOUT) == 0
    assert (tmp_path / "a").read_bytes() == b"xy"


def test_what_has_no_leases_cannot_say() -> None:
    """A pipe, say."""
    reading, other = os.pipe()
    assert written_to(reading) is None
    os.close(reading)
    os.close(other)
