"""Rows and the chain: what is stored comes back, and what was tampered with shows."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon.events import codec, versions
from daemon.events.types import BY_NAME, DaemonStarted, Event, ModelLoaded
from tests.events.histories import rows
from tests.stories import accepted, created, finished, previewed

EVENTS: list[Event] = [accepted(), created(), previewed(1), finished()]


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


@given(st.integers(1, 60), st.integers(0, 59), st.booleans())
@settings(max_examples=100)
def test_what_rows_keep_is_enough_to_go_on(count: int, before: int, older: bool) -> None:
    """From the last rows that a reader has, `ANCHOR` of them or all; older rows have whole hashes."""
    every = rows(count)
    found = [row if older and row.seq % 3 else replace(row, hash=codec.kept(row)) for row in every]
    assert codec.unchained(found) is None
    assert codec.head(found) == every[-1].hash
    assert codec.head(found[-codec.ANCHOR :]) == every[-1].hash
    if before < count:
        assert codec.unchained(found[before:], every[before - 1].hash if before else codec.GENESIS) is None


@given(st.integers(1, 40), st.integers(0, 31), st.integers(0, 7))
@settings(max_examples=100)
def test_no_bit_of_what_is_kept_can_be_another(seq: int, byte: int, bit: int) -> None:
    """Nor may any of it be missing."""
    row = rows(seq)[-1]
    kept = bytearray(codec.kept(row))
    kept[byte % len(kept)] ^= 1 << bit
    assert not codec.bears(replace(row, hash=bytes(kept)), row.hash)
    assert not codec.bears(replace(row, hash=codec.kept(row)[:-1]), row.hash)
    assert codec.bears(replace(row, hash=codec.kept(row)), row.hash)


def test_an_event_from_a_later_version_is_refused_by_name() -> None:
    """An old Safelight does not guess."""
    row = sealed(created())
    with pytest.raises(codec.UnknownEvent, match="event 1 is a FrameMelted"):
        codec.open_row(replace(row, type="FrameMelted"))
    with pytest.raises(codec.UnknownEvent, match="version 99"):
        codec.open_row(replace(row, version=99))


def test_a_row_of_an_older_version_reads_as_todays_event() -> None:
    """A DaemonStarted as Safelight 0.1 wrote it, when the address was one text; the chain still holds."""
    row = codec.Row(
        seq=1,
        ts=1_764_000_000_000_000,
        type="DaemonStarted",
        version=1,
        job=None,
        frame=None,
        cause=None,
        data=b'{"version":"0.1.0","host":"::1:8642","pid":7,"devices":["auto"],"model":"demo"}',
        hash=bytes.fromhex("be2a258b1deefc26da05fcd54ae5b973060131285abededb0f7220baf49c0be9"),
    )
    event = codec.open_row(row).event
    assert event == DaemonStarted(
        version="0.1.0", host="::1", port=8642, pid=7, devices=["auto"], model="demo"
    )
    assert codec.chain(codec.GENESIS, row) == row.hash


def test_rows_from_before_weights_had_sums_read_as_todays() -> None:
    """A ModelLoaded and a FinalWritten as they were stored then: nothing is claimed of the weights."""
    loaded = b'{"device":"cpu","model":"demo","seconds":0.5,"bytes":1000}'
    assert codec.decode(1, "ModelLoaded", 1, loaded) == ModelLoaded(
        device="cpu", model="demo", seconds=0.5, bytes=1000, sha256=None
    )
    stored = msgspec.json.decode(sealed(finished()).data, type=dict[str, Any])
    del stored["recipe"]["model_sha256"]
    assert codec.decode(1, "FinalWritten", 1, msgspec.json.encode(stored)) == finished()
    assert finished().recipe.model_sha256 is None


def test_every_version_that_was_ever_written_has_a_way_to_todays() -> None:
    """Only known types have versions, and what is written now is read without a detour."""
    assert set(versions.UPCASTERS) <= set(BY_NAME)
    for event in EVENTS:
        assert sealed(event).version == versions.current(type(event).__name__)


def test_time_zero_is_1970() -> None:
    """The `ts` column counts microseconds from there."""
    assert codec.EPOCH + timedelta(microseconds=0) == datetime(1970, 1, 1, tzinfo=UTC)
