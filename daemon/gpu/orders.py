"""The child's commands between the thread that reads them and the one that works.  PURE but for threading

A Begin, or several to be made together, waits its turn; a Cancel reaches its frame wherever that is: waiting,
loading or between two steps. An order that was closed is forgotten, so a late Cancel can never hit anything.
"""

import queue
import threading
from dataclasses import dataclass, field

from daemon.gpu import wire


@dataclass(frozen=True)
class Order:
    """A Begin, and whether someone has cancelled it meanwhile."""

    begin: wire.Begin
    _stop: threading.Event = field(default_factory=threading.Event)
    _keep: threading.Event = field(default_factory=threading.Event)

    def stopped(self) -> bool:
        """True once a Cancel has come."""
        return self._stop.is_set()

    def keeps_partial(self) -> bool:
        """True if the Cancel asked for what there is."""
        return self._keep.is_set()

    def stop(self, keep_partial: bool) -> None:
        """Note the Cancel; the sampling loop looks between steps."""
        if keep_partial:
            self._keep.set()
        self._stop.set()


class Orders:
    """Commands as they came: Begins wait their turn, Cancels reach theirs wherever it is.

    One thread puts, one takes and closes; every step is a single operation on a dict or a queue, so no lock.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[list[Order]] = queue.SimpleQueue()
        self._open: dict[tuple[int, int], Order] = {}

    def __repr__(self) -> str:
        return f"<Orders {self._waiting.qsize()} waiting, {len(self._open)} open>"

    def put(self, command: wire.Command) -> None:
        """Take a command in; a Cancel for a frame that is over or was never begun changes nothing."""
        match command:
            case wire.Begin():
                self._waiting.put([self._opened(command)])
            case wire.Together(begins=begins):
                self._waiting.put([self._opened(begin) for begin in begins])
            case wire.Cancel(frame=frame, attempt=attempt):
                if (known := self._open.get((frame, attempt))) is not None:
                    known.stop(command.keep_partial)

    def _opened(self, begin: wire.Begin) -> Order:
        order = self._open[begin.frame, begin.attempt] = Order(begin)
        return order

    def take(self) -> list[Order]:
        """The next orders, which are made together, waiting for them."""
        return self._waiting.get()

    def close(self, order: Order) -> None:
        """The frame is over; a Cancel that comes now is too late."""
        self._open.pop((order.begin.frame, order.begin.attempt), None)
