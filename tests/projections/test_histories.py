"""Python's fold, held to the same histories as the page's."""

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.events.types import BY_NAME, Recorded
from daemon.projections.frames import Frame
from daemon.projections.state import State

HISTORIES = sorted((Path(__file__).parent.parent / "histories").glob("*.jsonl"))


class Line(msgspec.Struct):
    """An event as `/api/log` gives it."""

    seq: int
    ts: datetime
    type: str
    cause: int | None
    data: dict[str, Any]

    def recorded(self) -> Recorded:
        """The row it came from, but for its hash."""
        event = msgspec.convert(self.data, BY_NAME[self.type])
        return Recorded(seq=self.seq, ts=self.ts, event=event, cause=self.cause, hash=b"")


class Expected(msgspec.Struct):
    """A history's last line."""

    expect: list[Frame]
    paused_by: str | None = None


def test_there_are_histories() -> None:
    """A folder that moved must not pass for a fold that works."""
    assert len(HISTORIES) >= 7


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_history_folds_to_the_frames_it_expects(path: Path) -> None:
    """The writer would have taken each event, and all together lead to what the page shows too."""
    *events, last = path.read_bytes().splitlines()
    state = State()
    for line in events:
        recorded = msgspec.json.decode(line, type=Line).recorded()
        state.check(recorded.event)
        state.apply(recorded)
    expected = msgspec.json.decode(last, type=Expected)
    assert [state.frames[frame] for frame in sorted(state.frames)] == expected.expect
    assert state.paused_by == expected.paused_by
