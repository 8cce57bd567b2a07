"""One commit's worth of decisions: callers wait in a round, a batch collects what they decided.

What the writer needs of a state stands here as protocols; no file is touched.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, Self, TypeVar

import anyio
import duckdb

from daemon.events import codec
from daemon.events.types import Event, Recorded

S = TypeVar("S", bound="State")
S_contra = TypeVar("S_contra", bound="State", contravariant=True)

Key = tuple[str, int | str]
"""A row of a derived table: the table's name and the row's key."""


class State(Protocol):
    """What the log leads to, as far as the writer needs to know it."""

    position: int
    """The last event that is folded in."""

    def fork(self) -> Self:
        """A draft on top of this state; changing it leaves this one alone."""

    def adopt(self, draft: Self) -> None:
        """Take over everything that a fork of this state has that this one has not."""

    def check(self, event: Event) -> None:
        """Raise `Refused` if the event cannot follow from this state."""

    def apply(self, recorded: Recorded) -> None:
        """Fold one more event in."""

    def lacks(self, keys: Iterable[Key]) -> list[Key]:
        """Those of the rows that have left memory, or were never in it."""

    def remember(self, rows: Mapping[str, Iterable[Any]]) -> None:
        """Take rows back into memory, by table."""


class Memory(Protocol[S_contra]):
    """Where a state's rows are while they are not in memory: the derived tables."""

    def restore(self, connection: duckdb.DuckDBPyConnection, state: S_contra, /) -> None:
        """Bring an empty state to the tables' position, `state.position`."""

    def remake(self, connection: duckdb.DuckDBPyConnection, /) -> None:
        """Have the tables there again in a database that was made anew, for a state that goes on."""

    def recall(
        self, connection: duckdb.DuckDBPyConnection, keys: Sequence[Key], /
    ) -> Mapping[str, Iterable[Any]]:
        """The rows with these keys, as far as there are any."""


class FoldFailed(Exception):
    """A bug: laws and fold disagree. The log ends; what it has committed is whole."""


class LogFailed(Exception):
    """The machine could not make events durable; nothing was recorded."""


class Pending(Generic[S]):
    """One caller's decision, on its way through the writer."""

    __slots__ = ("cause", "decision", "needs", "outcome")

    def __init__(
        self, decision: Callable[[S], Sequence[Event]], cause: int | None, needs: Sequence[Key]
    ) -> None:
        self.decision = decision
        self.needs = needs
        self.cause = cause
        self.outcome: list[Recorded] | Exception = []


class Round(Generic[S]):
    """The callers of one commit, and the one event that wakes them all."""

    def __init__(self) -> None:
        self.pending: list[Pending[S]] = []
        self.answered = anyio.Event()

    def fail(self, failure: LogFailed) -> None:
        """Tell every caller."""
        for pending in self.pending:
            pending.outcome = failure

    async def to_the_end(self) -> None:
        """Wait for the answer: a caller that is being cancelled still learns whether it happened, and may not
        leave half a step.

        Entering a cancel scope for each caller would cost more than the rest of its way, so only those enter
        one that are cancelled; their next await then raises again.
        """
        try:
            await self.answered.wait()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self.answered.wait()
            if anyio.current_effective_deadline() > float("-inf"):
                raise  # it came from outside of anyio, which says it once


class Batch(Generic[S]):
    """What one commit will hold."""

    def __init__(self, draft: S, position: int, head: bytes) -> None:
        self.draft = draft
        self.position = position
        self.head = head
        self.rows: list[codec.Row] = []
        self.recorded: list[Recorded] = []

    def take(self, pending: Pending[S]) -> list[Recorded]:
        """Run one decision. All of its events join the batch, or none and the error is raised."""
        events = pending.decision(self.draft)
        # One event is refused before it changes anything; of several, one may be refused after another was
        # applied, so they are tried on a draft of their own.
        draft = self.draft if len(events) == 1 else self.draft.fork()
        position, head, cause = self.position, self.head, pending.cause
        rows: list[codec.Row] = []
        answer: list[Recorded] = []
        for event in events:
            draft.check(event)
            position += 1
            ts = datetime.now(UTC)
            row = codec.seal(event, seq=position, ts=ts, cause=cause, previous=head)
            recorded = Recorded(seq=position, ts=ts, event=event, cause=cause, hash=row.hash[: codec.KEPT])
            self._apply(draft, recorded)
            rows.append(row)
            answer.append(recorded)
            head, cause = row.hash, rows[0].seq
        if draft is not self.draft:
            self.draft.adopt(draft)
        self.position, self.head = position, head
        self.rows += rows
        self.recorded += answer
        return answer

    def _apply(self, draft: S, recorded: Recorded) -> None:
        """Fold an event in that was checked: what fails here is a bug, and no caller's fault."""
        try:
            draft.apply(recorded)
        except Exception as error:
            raise FoldFailed(f"event {recorded.seq} passed the laws and cannot be folded") from error
