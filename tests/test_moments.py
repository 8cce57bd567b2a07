"""Moments as people type them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import moments

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("17", 17),
        (" 0 ", 0),
        ("10 min", NOW - timedelta(minutes=10)),
        ("90s", NOW - timedelta(seconds=90)),
        ("1.5 hours", NOW - timedelta(hours=1.5)),
        ("2h", NOW - timedelta(hours=2)),
        ("30 Days", NOW - timedelta(days=30)),
        ("1 day", NOW - timedelta(days=1)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-24T07:30", datetime(2026, 11, 24, 7, 30, tzinfo=UTC)),
        ("2026-11-24 07:30:01.5+01:00", datetime(2026, 11, 24, 6, 30, 1, 500000, tzinfo=UTC)),
    ],
)
def test_what_people_type(text: str, moment: moments.Moment) -> None:
    """Numbers, ages, times; UTC where no zone is said."""
    assert moments.parse(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "10 parsecs", "-3", "24.11.2026", "9" * 30, "1e9 days"])
def test_what_is_no_moment_is_told_what_would_be(text: str) -> None:
    """With the forms."""
    with pytest.raises(ValueError, match="say an event's number, a time"):
        moments.parse(text, NOW)


def test_an_events_number_is_no_time() -> None:
    """Where pictures are deleted by age, 30 does not mean days."""
    with pytest.raises(ValueError, match="is no time; say"):
        moments.parse_time("30", NOW)


@given(st.text(max_size=30))
def test_nothing_typed_breaks_it(text: str) -> None:
    """A moment, or the words that it is none."""
    with suppress(ValueError):
        assert isinstance(moments.parse(text, NOW), int | datetime)
