"""Single drops on a real folder: what is claimed, what stays, and where a finished one goes."""

import os
from pathlib import Path

import pytest

from daemon.drops import claim_ready, claimed, finish, left_claimed
from daemon.prompts import Prompt
from daemon.settings import DEMO, Home

GOOD = b'{"prompt": "a fox"}'


@pytest.fixture
def house(tmp_path: Path) -> Home:
    """A home with the folders of drops, and no model."""
    home = Home(tmp_path)
    for folder in (claimed(home), home.done, home.rejected):
        folder.mkdir(parents=True)
    return home


def put(home: Home, name: bytes, content: bytes, age: float = 0.0) -> None:
    """Drop a file that was last written `age` seconds ago."""
    path = home.inbox / os.fsdecode(name)
    path.write_bytes(content)
    written = path.stat().st_mtime - age
    os.utime(path, (written, written))


def take(home: Home) -> int:
    """Claim and file away all that is ready; answers how many were left."""
    drops, waiting = claim_ready(home, DEMO, 100)
    for drop in drops:
        finish(drop, home)
    assert not list(claimed(home).iterdir())
    return waiting


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files left out."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_half_written_file_waits_until_it_is_quiet(house: Home) -> None:
    """It may still be being written; later it is rejected, with its report."""
    put(house, b"half.json", GOOD[:9], age=-1)
    assert take(house) == 1
    put(house, b"half.json", GOOD[:9], age=60)
    assert take(house) == 0
    assert names(house.rejected) == ["half.json", "half.json.error.json"]


def test_a_broken_file_from_a_wrong_clock_is_rejected_too(house: Home) -> None:
    """A last write far in the future does not hold it for ever."""
    put(house, b"future.json", b"{", age=-3600)
    assert take(house) == 0


def test_what_is_no_prompt_file_is_left_alone(house: Home) -> None:
    """Links, folders, pipes, hidden, temporary and foreign names."""
    put(house, b"notes.txt", GOOD)
    put(house, b".hidden.json", GOOD)
    put(house, b"~draft.json", GOOD)
    (house.inbox / "link.json").symlink_to("notes.txt")
    (house.inbox / "folder.json").mkdir()
    os.mkfifo(house.inbox / "pipe.json")
    assert take(house) == 0
    assert names(house.done) == []


@pytest.mark.parametrize("name", [b"\xff.json", b"-rf.json", b"a\nb.json", b"n" * 250 + b".json"])
@pytest.mark.parametrize("content", [GOOD, b"{"])
def test_any_name_is_filed_away_again_and_again(house: Home, name: bytes, content: bytes) -> None:
    """Odd and longest names are taken or rejected, and a taken name is not written over."""
    for age in (60, 70):
        put(house, name, content, age)
        assert take(house) == 0
    filed = names(house.done) + names(house.rejected)
    assert os.fsdecode(name) in filed
    assert len(filed) == (2 if content == GOOD else 4)


def test_a_taken_name_becomes_the_next_free_one(house: Home) -> None:
    """No earlier file is lost, a link that leads nowhere included."""
    (house.done / "a.json").symlink_to("nowhere")
    put(house, b"a.json", GOOD)
    take(house)
    assert names(house.done) == ["a.json", "a~2.json"]


def test_a_file_beyond_the_limit_is_rejected(house: Home) -> None:
    """One mebibyte is enough for a prompt."""
    put(house, b"big.json", b" " * (2**20 + 1), age=60)
    take(house)
    assert "big.json" in names(house.rejected)


def test_a_claim_of_an_earlier_run_is_found_again(house: Home) -> None:
    """Under its old claim, with the same verdict; empty claims go."""
    put(house, b"a.json", GOOD)
    ((drop,), _) = claim_ready(house, DEMO, 100)
    (claimed(house) / "0123456789abcdef").mkdir()
    (again,) = left_claimed(house, DEMO)
    assert again == drop
    assert isinstance(again.verdict, Prompt)
    assert names(claimed(house)) == [drop.source.claim]
