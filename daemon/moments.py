"""Places in time as a person types them: an event's number, a date and time, or how long ago.  PURE"""

import re
from datetime import UTC, datetime, timedelta

Moment = int | datetime

FORMS = "an event's number, a time (2026-11-24, 2026-11-24T07:30, UTC), or an age (10 min, 2h, 3 days)"

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_UNITS = {
    "s": "seconds",
    "sec": "seconds",
    "m": "minutes",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "w": "weeks",
}
_LATEST = timedelta(days=365 * 1000)


def parse(text: str, now: datetime) -> Moment:
    """The number of an event, or a time in UTC; one without a zone is UTC as all times in the history are.

    Raises ValueError, in words for the person who typed it.
    """
    stripped = text.strip()
    if re.fullmatch(r"\d{1,18}", stripped):
        return int(stripped)
    when = _ago(stripped.lower(), now) or _time(stripped)
    if when is None:
        raise ValueError(f"{text!r} is no moment; say {FORMS}")
    return when


def parse_time(text: str, now: datetime) -> datetime:
    """The same where an event's number makes no sense."""
    match parse(text, now):
        case datetime() as when:
            return when
        case _:
            raise ValueError(
                f"{text!r} is no time; say 2026-11-24, 2026-11-24T07:30 (UTC), or an age: 30 days"
            )


def _ago(text: str, now: datetime) -> datetime | None:
    found = _AGE.fullmatch(text)
    if found is None:
        return None
    number, word = found.groups()
    unit = _UNITS.get(word) or next(
        (unit for unit in _UNITS.values() if word in (unit, unit[:-1], unit[:3] + "s")), None
    )
    if unit is None or float(number) > 1e6:
        return None
    return now - min(timedelta(**{unit: float(number)}), _LATEST)


def _time(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
