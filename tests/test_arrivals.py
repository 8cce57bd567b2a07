"""Which files are ready, in which order, and why the others wait. The clock goes on only when told to."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import sheets
from daemon.agreement import Lacks
from daemon.arrivals import FORMS, QUIET, Form, shown
from daemon.faults import Fault
from daemon.sheets import Sheet
from tests.houses import GOOD, House, writing

LINES = b'{"prompt": "a fox"}\n{"prompt": "a wolf"}\n'
VALID = '{\n "jobs": [{"prompt": "a café 狐", "steps": 4},\n {"prompt": "b", "seed": 7}]}\n'.encode()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A home with the folders of drops, and no model."""
    return House(tmp_path)


def whys(house: House) -> list[str]:
    """Why files wait, at this moment."""
    return [waiting.why for waiting in house.look().waiting]


def test_a_file_that_does_not_parse_waits_until_it_is_quiet(house: House) -> None:
    """It may still be being written; each change gives it its time anew."""
    path = house.put("half.json", GOOD[:9])
    assert whys(house)[0].startswith("does not parse, rejected at ")
    house.now += QUIET - 0.1
    path.write_bytes(GOOD[:12])
    assert whys(house)
    house.now += QUIET - 0.1
    assert whys(house)
    house.now += 0.1
    house.take()
    assert house.rejected() == ["half.json"]


@pytest.mark.parametrize("moved_by", [-3600.0, 3600.0])
def test_no_clock_but_ours_is_believed(house: House, moved_by: float) -> None:
    """A file whose time of writing is long ago, or in the future, gets its two seconds, and no more."""
    path = house.put("half.json", GOOD[:9])
    written = path.stat().st_mtime + moved_by
    os.utime(path, (written, written))
    assert whys(house)
    house.take_once_quiet()
    assert house.rejected() == ["half.json"]


def test_a_valid_file_cut_anywhere_is_rejected_only_once_it_is_old(house: House) -> None:
    """At every byte: never while young, always with its line and column after that."""
    for end in range(len(VALID) - 1):
        house.put(f"{end}.json", VALID[:end])
    assert house.take().ready == []
    house.now += QUIET
    drops = house.claim()
    assert len(drops) == len(VALID) - 1
    for drop in drops:
        assert isinstance(drop.verdict, list)
        cut = VALID[: int(drop.name.removesuffix(".json"))].decode("utf-8", "backslashreplace")
        assert 1 <= drop.verdict[0].line <= cut.count("\n") + 1
        assert drop.verdict[0].column >= 1


def test_lines_wait_until_no_more_come(house: House) -> None:
    """A beginning of them is a file of its own, and must not be taken for all."""
    house.put("a.jsonl", LINES[:20])
    assert whys(house)[0].startswith("more lines may come, taken at ")
    with writing(house.home.inbox / "a.jsonl") as descriptor:
        os.write(descriptor, LINES[20:])
    house.now += QUIET
    assert whys(house)
    house.now += QUIET
    (drop,) = house.claim()
    assert len(getattr(drop.verdict, "prompts", [])) == 2


@pytest.mark.parametrize(
    ("name", "content", "ready_once_quiet"),
    [
        pytest.param("a.json", GOOD, True, id="whole: someone forgot to close it"),
        pytest.param("a.json", GOOD[:9], False, id="half: it is never rejected under its writer's hands"),
        pytest.param("a.jsonl", LINES, False, id="lines: more may come for as long as it is open"),
    ],
)
def test_a_file_that_is_open_for_writing_waits(
    house: House, name: str, content: bytes, ready_once_quiet: bool
) -> None:
    """Whatever stands in it; through a hard link too."""
    path = house.put(name, content)
    kept = house.home.root / "kept.json"
    os.link(path, kept)
    with writing(kept):
        assert whys(house) == ["still being written: it is open in another program"]
        house.now += QUIET
        assert bool(house.look().ready) is ready_once_quiet
    house.take_once_quiet()
    assert house.done() + house.rejected() == [name]


def test_an_open_file_is_looked_at_again_soon_then_ever_less_often(house: House) -> None:
    """No watcher tells of a close; and a handle that is never closed must cost nothing."""
    with writing(house.home.inbox / "a.json"):
        assert house.look().again == pytest.approx(0.02)
        house.now += 160
        assert house.look().again == pytest.approx(10)


def test_a_file_without_permission_waits_with_the_systems_words(nobody: House) -> None:
    """It is taken as soon as it can be read."""
    path = nobody.put("a.json")
    path.chmod(0)
    assert whys(nobody) == ["cannot be read: Permission denied"]
    path.chmod(0o600)
    nobody.take()
    assert nobody.done() == ["a.json"]


def test_where_the_system_cannot_say_who_writes_quiet_time_decides(nobody: House) -> None:
    """As for files of someone else, of which nobody may take a lease."""
    content = {"whole.json": GOOD, "half.json": GOOD[:9], "lines.jsonl": LINES}
    os.seteuid(0)
    for name, text in content.items():
        nobody.put(name, text).chmod(0o644)
    with writing(nobody.home.inbox / "whole.json"), writing(nobody.home.inbox / "half.json"):
        os.seteuid(NOBODY)
        overview = nobody.look()
        assert [arrival.name for arrival in overview.ready] == ["whole.json"]
        assert [arrival.written_to for arrival in overview.ready] == [None]
        assert len(overview.waiting) == 2
        nobody.now += QUIET
        assert len(nobody.look().ready) == 3


NOBODY = 65534


@pytest.fixture
def nobody() -> Iterator[House]:
    """A home of someone without rights, who we are meanwhile if we are root."""
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() != 0:
            pytest.skip("only root can be someone else for a moment")
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield House(Path(folder))
        finally:
            os.seteuid(0)


def test_a_bug_of_ours_costs_one_file_its_turn_and_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the daemon would end at it, and at every start again. It is told once."""

    def read(data: bytes, model: str, lacks: Lacks) -> Sheet | list[Fault]:
        if data == b"odd":
            raise ZeroDivisionError
        return sheets.read(data, model, lacks)

    monkeypatch.setitem(FORMS, ".json", Form(read, 100, grows=False))
    house.put("a.json", b"odd")
    house.put("b.json")
    house.take_once_quiet()
    assert (house.done(), house.rejected()) == (["b.json"], [])
    assert whys(house) == ["cannot be judged: a fault of Safelight itself, told in its log"]
    assert caplog.text.count("a fault of Safelight") == 1
    house.put("a.json")
    house.take()
    assert house.done() == ["a.json", "b.json"]


def test_an_unchanged_file_is_not_read_again(house: House) -> None:
    """A thousand waiting files cost a scan, not a thousand readings."""
    path = house.put("a.json", GOOD)
    assert house.look().ready
    before = path.stat().st_atime_ns
    os.utime(path, ns=(1, path.stat().st_mtime_ns))
    assert house.look().ready
    assert path.stat().st_atime_ns == 1 != before


def test_nothing_but_files_is_opened(house: House) -> None:
    """A pipe with nobody at its other end stays one, and nobody waits."""
    os.mkfifo(house.home.inbox / "a.json")
    house.take()
    assert stat.S_ISFIFO((house.home.rejected / "a.json").lstat().st_mode)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.json", "a.json"),
        ("狐 é.json", "狐 é.json"),
        ("a\nb\x1b[0m", r"a\nb\x1b[0m"),
        (os.fsdecode(b"\xff"), r"\xff"),
    ],
)
def test_a_name_is_shown_without_what_a_terminal_would_obey(name: str, expected: str) -> None:
    """Nor what no text can hold."""
    assert shown(name) == expected
