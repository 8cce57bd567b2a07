"""Files read once through beside a block, and what is told of it."""

from pathlib import Path

import pytest

from daemon.gpu import reading
from daemon.gpu.reading import read_through


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A small one and a larger one, read in chunks smaller than either."""
    monkeypatch.setattr(reading, "CHUNK", 1000)
    monkeypatch.setattr(reading, "EVERY", 1000)
    made = [tmp_path / "one", tmp_path / "two"]
    made[0].write_bytes(bytes(3_000))
    made[1].write_bytes(bytes(7_500))
    return made


def test_it_is_told_how_far_of_all_bytes(files: list[Path]) -> None:
    """Over the files together, always further, to the end, before the block is left."""
    told: list[float] = []
    with read_through(files, told.append):
        pass
    assert told == [read / 10_500 for read in range(1000, 10_001, 1000)] + [1.0]


def test_it_is_not_told_more_often_than_anyone_can_see(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large file a hundredth at a time."""
    monkeypatch.setattr(reading, "EVERY", 1)
    monkeypatch.setattr(reading, "CHUNK", 1)
    told: list[float] = []
    with read_through(files, told.append):
        pass
    assert len(told) == 101


def test_a_block_that_fails_ends_it(files: list[Path], tmp_path: Path) -> None:
    """A checkpoint that cannot be used is not read to its end."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**36)  # takes no room on the disk, and minutes to read
    told: list[float] = []
    with pytest.raises(ValueError, match="no checkpoint"), read_through([tmp_path / "large"], told.append):
        raise ValueError("no checkpoint")
    assert 1.0 not in told


def test_what_is_not_there_is_the_blocks_to_find_out(tmp_path: Path) -> None:
    """Nothing is told of it."""
    told: list[float] = []
    with read_through([tmp_path / "nowhere"], told.append):
        pass
    with read_through([], told.append):
        pass
    assert told == []
