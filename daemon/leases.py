"""Whether anyone has a file open for writing, where the system can say so (Linux, on most file systems).

A read lease is refused while the file is open for writing anywhere, through any of its hard links. While
one is held, whoever opens the file for writing waits for us; and we can see that someone does. It needs
the file to be ours, or CAP_LEASE, and ends with its descriptor. Held for microseconds, never for a write.
"""

import errno
import fcntl
import signal


def written_to(descriptor: int) -> bool | None:
    """Whether the file is open for writing somewhere; None where the system cannot say.

    On False the descriptor, which must be open for reading only, holds a lease until it is closed.
    """
    try:
        # The kernel tells of a waiting writer by SIGIO, which would end the process; SIGURG is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except AttributeError:  # a system whose `fcntl` has no leases
        return None
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    return False


def undisturbed(descriptor: int) -> bool:
    """The lease that the descriptor got still holds: nobody is waiting to write."""
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK
