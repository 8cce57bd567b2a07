"""Rows and the chain: what is stored comes back, and what was tampered with shows."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon.events import codec
from daemon.events.types import Event
from tests.stories import accepted, created, finished, previewed

EVENTS = [accepted(), created(), previewed(1), finished()]


def sealed(event: Event, previous: bytes = codec.GENESIS) -> codec.Row:
    """The event as row 1."""
    ts = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
    return codec.seal(event, seq=1, ts=ts, cause=None, previous=previous)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    """Struct → row → struct."""
    recorded = codec.open_row(sealed(event))
    assert recorded.event == event
    assert recorded.ts.isoformat() == "2026-11-24T12:00:00.123456+00:00"


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
@settings(max_examples=50)
def test_time_is_kept_to_the_microsecond(ts: datetime) -> None:
    """No rounding on the way."""
    row = codec.seal(created(), seq=1, ts=ts, cause=None, previous=codec.GENESIS)
    assert codec.open_row(row).ts == ts


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 2},
        {"ts": 5},
        {"type": "FrameFailed"},
        {"version": 0},
        {"job": 2},
        {"frame": None},
        {"cause": 3},
        {"data": b"{}"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_column_is_in_the_chain(change: dict[str, object]) -> None:
    """An edited row no longer matches its own hash."""
    row = sealed(created())
    assert codec.chain(codec.GENESIS, row) == row.hash
    assert codec.chain(codec.GENESIS, replace(row, **change)) != row.hash


def test_the_row_before_is_in_the_chain() -> None:
    """A removed or reordered row shows at its successor."""
    assert sealed(created()).hash != sealed(created(), previous=hashlib.sha256(b"other").digest()).hash


def test_an_event_from_a_later_version_is_refused_by_name() -> None:
    """An old Safelight does not guess."""
    row = sealed(created())
    with pytest.raises(codec.UnknownEvent, match="event 1 is a FrameMelted"):
        codec.open_row(replace(row, type="FrameMelted"))
    with pytest.raises(codec.UnknownEvent, match="version 99"):
        codec.open_row(replace(row, version=99))


def test_time_zero_is_1970() -> None:
    """The `ts` column counts microseconds from there."""
    assert codec.EPOCH + timedelta(microseconds=0) == datetime(1970, 1, 1, tzinfo=UTC)
