"""Which drops and requests have been dealt with, so that none is taken twice.  PURE"""

import msgspec

from daemon.events.types import Event, JobAccepted, JobRejected


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One key that a caller gave, and what was recorded under it."""

    claim: str
    job: int
    """0 for a drop that was rejected."""
    seq: int
    """Of the event that answered it."""


def claim(event: Event, seq: int) -> Claim | None:
    """What the event settles, if it does."""
    match event:
        case JobAccepted(source=source, job=job):
            return Claim(source.claim, job, seq)
        case JobRejected(source=source):
            return Claim(source.claim, 0, seq)
        case _:
            return None


SQL = """
SELECT data->>'$.source.claim' AS claim, coalesce(min(job), 0) AS job,
    coalesce(min(seq) FILTER (job IS NOT NULL), min(seq)) AS seq
FROM scope WHERE type IN ('JobAccepted', 'JobRejected') GROUP BY claim
"""
"""The same rows from the events in `scope`, for the rebuild: the first job of a claim, else its rejection."""
