"""The device's child process: `python -m daemon.gpu.child --device auto|cpu|cuda:0`.

Three threads: the main one makes every torch call (`work`), one reads commands, one encodes and sends
previews (`previews`). The wire has private copies of the standard streams, and file descriptor 1 leads to
standard error from the first line on, so nothing that a library prints can garble a message. End of
input means that the daemon is gone: the process then ends at once, even in the middle of a step.
"""

import argparse
import os
import signal
import threading
import traceback

from daemon.gpu import wire
from daemon.gpu.orders import Orders


class Sender:
    """Writes replies whole, from any thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def __call__(self, reply: wire.Reply) -> None:
        """Send one reply. Raises `BrokenPipeError` when the daemon no longer reads."""
        rest = memoryview(wire.pack(reply))
        with self._lock:
            while rest:
                rest = rest[os.write(self._fd, rest) :]


def listen(fd: int, orders: Orders) -> None:
    """Read commands until the daemon is gone, then end the process at once: 0, or 1 for a garbled stream."""
    status = 1
    try:
        buffer = bytearray()
        while chunk := os.read(fd, 65536):
            buffer += chunk
            for command in wire.unpack(buffer, wire.COMMANDS):
                orders.put(command)
        status = 0
    except Exception:  # noqa: BLE001  a child that hears no commands is of no use, whatever the reason
        traceback.print_exc()
    finally:
        os._exit(status)  # the main thread may be deep in a step: there is no waiting for it


def take_streams() -> tuple[int, int]:
    """Private copies of standard input and output; the public ones lead to nothing and to standard error."""
    commands, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, replies


SPINS = 3000
"""Looks that an OpenMP thread takes before it sleeps at a barrier: libgomp's own count is 300,000."""


def spin_briefly() -> None:
    """Say how OpenMP's threads wait, before torch is imported; who has said so already is left alone.

    Waking a thread costs more than many an operation of a small UNet takes, so a thread that sleeps at once
    makes a step take twice as long. One that spins on keeps a core from whatever else there is to do, the
    other threads of its own step first, which then takes ten times as long (decision 58 has the figures).
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def prepare(compiled: str | None) -> None:
    """What must be set before torch and the hub's client are imported.

    Ctrl-C reaches the whole foreground group: ending is the daemon's to decide, by closing our input. What is
    compiled is kept in the folder `compiled`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["HF_HUB_OFFLINE"] = "1"
    spin_briefly()
    if compiled is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = compiled
        os.environ["TRITON_CACHE_DIR"] = f"{compiled}/triton"
        os.environ.setdefault(
            "TORCHINDUCTOR_COMPILE_THREADS", "1"
        )  # no processes that could outlive this one


def main() -> None:
    """Take the streams, listen, and only then import what may print or take long."""
    parser = argparse.ArgumentParser(prog="daemon.gpu.child", description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", metavar="FOLDER", help="compile, and keep what comes of it there")
    told = parser.parse_args()
    prepare(told.compile)
    commands, replies = take_streams()
    orders = Orders()
    threading.Thread(target=listen, args=(commands, orders), name="listen", daemon=True).start()
    from daemon.gpu import work  # not above: it brings torch, which must find the streams taken

    work.run(told.device, told.precision, told.compile is not None, orders, Sender(replies))


if __name__ == "__main__":
    main()
