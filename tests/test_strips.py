"""Kept steps on disk: what was written is found again, and nothing else is, whatever a crash has left."""

import random
from pathlib import Path

import pytest

from daemon import strips
from daemon.strips import Thumbnail

EPOCH = "0123456789ab"


def thumbnail(step: int, *, final: bool = False) -> Thumbnail:
    """A picture of random bytes, its own for each step."""
    return Thumbnail(step, 14.6 / step, 128, 96, random.Random(step).randbytes(500 + step), final)


def written(path: Path, steps: int) -> Path:
    """A strip of so many steps."""
    strips.begin(path, EPOCH, 0)
    for step in range(1, steps + 1):
        strips.append(path, thumbnail(step))
    return path


def held(path: Path) -> list[int]:
    """The steps whose pictures are there, each as it was written."""
    steps = []
    for kept in strips.index(path, EPOCH):
        data = strips.read(path, kept)
        if data is not None:
            assert data == thumbnail(kept.step).data
            steps.append(kept.step)
    return steps


def test_steps_come_back_in_order_with_all_that_is_known_of_them(tmp_path: Path) -> None:
    """And the finished picture last."""
    path = written(tmp_path / "strips" / "7.strip", 3)
    strips.append(path, thumbnail(9, final=True))
    found = strips.index(path, EPOCH)
    assert [(kept.step, kept.final) for kept in found] == [(1, False), (2, False), (3, False), (9, True)]
    assert (found[1].sigma, found[1].width, found[1].height, found[1].size) == (7.3, 128, 96, 502)


def test_a_file_cut_anywhere_still_gives_every_whole_step(tmp_path: Path) -> None:
    """A power cut can leave any length; the next attempt goes on behind what is whole."""
    whole = written(tmp_path / "whole.strip", 4)
    ends = [kept.place + kept.size for kept in strips.index(whole, EPOCH)]
    content = whole.read_bytes()
    cut = tmp_path / "cut.strip"
    for length in range(0, len(content), 37):
        cut.write_bytes(content[:length])
        there = [step for step, end in enumerate(ends, start=1) if end <= length]
        assert held(cut) == there
        strips.begin(cut, EPOCH, 4)
        strips.append(cut, thumbnail(5))
        assert held(cut) == [*there, 5]


def test_a_file_whose_end_is_zeros_gives_what_comes_before(tmp_path: Path) -> None:
    """As some file systems leave what was not written yet."""
    path = written(tmp_path / "7.strip", 4)
    last = strips.index(path, EPOCH)[-1]
    content = path.read_bytes()
    for begin in (last.place - 20, last.place + 100):
        path.write_bytes(content[:begin] + bytes(len(content) - begin))
        assert held(path) == [1, 2, 3]
        strips.begin(path, EPOCH, 4)
        assert path.stat().st_size < last.place


@pytest.mark.parametrize(("step", "left"), [(0, []), (2, [1, 2]), (9, [1, 2, 3])])
def test_an_attempt_that_goes_on_takes_over_what_came_before_its_step(
    tmp_path: Path, step: int, left: list[int]
) -> None:
    """Later steps are another attempt's, which may have been on another device."""
    path = written(tmp_path / "7.strip", 3)
    strips.append(path, thumbnail(9, final=True))
    strips.begin(path, EPOCH, step)
    assert held(path) == left


def test_a_strip_of_another_history_is_none(tmp_path: Path) -> None:
    """Frame 7 of another log is another picture."""
    path = written(tmp_path / "7.strip", 3)
    assert strips.index(path, "another") == []
    strips.begin(path, "another", 3)
    assert strips.index(path, EPOCH) == []
    assert strips.index(tmp_path / "nowhere.strip", EPOCH) == []
