"""Single drops on a real folder: what is claimed, what stays, and where a finished one goes."""

import os
import shutil
from pathlib import Path

import pytest

from daemon.drops import Ways, claim_all, claimed, finish, finish_all, left_claimed
from daemon.settings import DEMO
from daemon.sheets import Sheet
from tests.houses import GOOD, House, names, writing


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A home with the folders of drops, and no model."""
    return House(tmp_path)


@pytest.mark.parametrize("content", [GOOD, b"{"])
@pytest.mark.parametrize("name", [b"\xff.json", b"-rf.json", b"a\nb.json", b"n" * 250 + b".json"])
def test_any_name_is_filed_away_again_and_again(house: House, name: bytes, content: bytes) -> None:
    """Odd and longest names are taken or rejected, and a taken name is not written over."""
    for _ in range(2):
        house.put(name, content)
        assert not house.take_once_quiet().waiting
    filed = names(house.home.done) + names(house.home.rejected)
    assert os.fsdecode(name) in filed
    assert len(filed) == (2 if content == GOOD else 4)


def test_names_that_look_alike_are_two_files(house: House) -> None:
    """Composed and decomposed letters, as Linux and macOS write them."""
    house.put("caf\u00e9.json")
    house.put("cafe\u0301.json")
    house.take()
    assert house.done() == ["cafe\u0301.json", "caf\u00e9.json"]


def test_a_taken_name_becomes_the_next_free_one(house: House) -> None:
    """No earlier file is lost, a link that leads nowhere included."""
    (house.home.done / "a.json").symlink_to("nowhere")
    house.put("a.json")
    house.take()
    assert house.done() == ["a.json", "a~2.json"]


def test_a_claim_of_an_earlier_run_is_found_again(house: House) -> None:
    """Under its old claim and name, the longest too, with the same verdict; empty folders go."""
    house.put("a.b.json")
    house.put("n" * 250 + ".json")
    drops = house.claim()
    (claimed(house.home) / "0123456789abcdef").mkdir()
    (claimed(house.home) / "stranger.json").write_text("{}")
    again = left_claimed(house.home, DEMO)
    assert sorted(again, key=lambda drop: drop.name) == sorted(drops, key=lambda drop: drop.name)
    assert all(isinstance(drop.verdict, Sheet) for drop in again)
    assert len(names(claimed(house.home))) == 3


def test_a_link_that_was_claimed_is_found_again_unopened(house: House) -> None:
    """What it leads to is nobody's business."""
    (house.home.inbox / "link.json").symlink_to("/dev/tty")
    (drop,) = house.claim()
    assert left_claimed(house.home, DEMO) == [drop]


def test_what_changed_between_look_and_claim_goes_back_for_a_fresh_look(house: House) -> None:
    """Rewritten, or swapped for another file of the same name."""
    for change in (lambda path: path.write_bytes(b'{"prompt": "a wolf"}'), _swap):
        path = house.put("a.json")
        ready = house.look().ready
        change(path)
        assert claim_all(ready, house.home, DEMO) == ([], [])
        assert not list(claimed(house.home).iterdir())
        house.take()
    assert house.done() == ["a.json", "a~2.json"]


def _swap(path: Path) -> None:
    other = path.with_name(".other")
    shutil.copy2(path, other)
    other.rename(path)


def test_what_was_opened_for_writing_between_look_and_claim_stays(house: House) -> None:
    """Whatever the new writer has in mind is waited for."""
    path = house.put("a.json")
    ready = house.look().ready
    with writing(path):
        assert claim_all(ready, house.home, DEMO) == ([], [])
    assert path.exists()
    house.take()
    assert house.done() == ["a.json"]


def test_what_went_away_between_look_and_claim_is_no_error(house: House) -> None:
    """Someone thought better of it."""
    path = house.put("a.json")
    ready = house.look().ready
    path.unlink()
    assert claim_all(ready, house.home, DEMO) == ([], [])


def test_an_equal_drop_waits_for_the_first(house: House) -> None:
    """Also the very same file under its own name again: a rename over one's own hard link does nothing."""
    path = house.put("a.json")
    kept = house.home.root / "kept.json"
    os.link(path, kept)
    (first,) = house.claim()
    os.link(kept, path)
    drops, (refused,) = claim_all(house.look().ready, house.home, DEMO)
    assert (drops, refused.why) == ([], "cannot be taken: an equal drop is being taken")
    finish(first, Ways.of(house.home))
    house.take()
    assert house.done() == ["a.json", "a~2.json"]


def test_folders_that_were_removed_are_made_again(house: House) -> None:
    """The drop stays claimed for that long and is filed away at the next try."""
    house.put("a.json")
    drops = house.claim()
    house.home.done.rmdir()
    unfiled, why = finish_all(drops, house.home)
    assert (unfiled, why) == (drops, "cannot be moved on: No such file or directory")
    assert finish_all(unfiled, house.home) == ([], None)
    assert house.done() == ["a.json"]


def test_a_claimed_file_that_someone_removed_is_forgotten(house: House) -> None:
    """There is nothing left to file away."""
    house.put("a.json")
    drops = house.claim()
    Path(drops[0].path).unlink()
    assert finish_all(drops, house.home) == ([], None)


def test_what_is_written_after_it_was_taken_is_said(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be part of the job any more, and must not be lost in silence."""
    house.put("a.json")
    (drop,) = house.claim()
    Path(drop.path).write_bytes(b'{"prompt": "a wolf"}')
    finish(drop, Ways.of(house.home))
    assert "a.json was written to after it was taken" in caplog.text


def test_a_key_names_a_drop_whatever_else_is_in_it(house: House) -> None:
    """Other content, other name, other time: the same claim."""
    house.put("a.json", b'{"prompt": "a fox", "key": "friday"}')
    house.put("b.json", b'{"jobs": [{"prompt": "a wolf"}], "key": "friday"}')
    first, second = house.claim()
    assert first.source.claim == second.source.claim
