"""The event stream with a thousand clients, beside others that send the same bytes, all in one run.

The floor is a C program that accepts the connections and `send`s each event to each of them (Python's own
`send` where there is no C compiler). Between it and us stand what one would write by hand on Starlette's
StreamingResponse, and sse-starlette. Each serves in a process of its own (`bench/streaming`); the clients are
plain sockets here. Events go out in step: the next one only once all clients have this one, so that nothing
is saved by sending two at once.
"""

import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.streaming import raw
from daemon.server import allow_many_files

CLIENTS = 1000
ROUNDS, A_ROUND = 5, 12
LATENCIES = 200
CROWD = 100
HANGS = 4.0
"""Seconds after which an exit counts as never."""
REQUEST = b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"
END = b"\n\n\r\n"
"""Of an event, and of the chunk that it came in."""
KINDS = ["raw", "safelight", "starlette", "sse-starlette"]


class Server:
    """One of the servers, told by lines what to do, and its clients."""

    def __init__(self, kind: str, folder: Path) -> None:
        """Started, and listening once this returns."""
        self.process = subprocess.Popen(
            _command(kind, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.hear().rpartition(":")[2].strip("/"))
        self.clients: list[socket.socket] = []
        self.committed = 0.0
        """When the last event was durable."""
        self.poll = select.epoll()

    def close(self) -> None:
        """All of it ends."""
        for client in self.clients:
            client.close()
        self.poll.close()
        self.process.kill()
        self.process.wait()

    def hear(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str) -> str:
        """Tell it to do something; answers what it says."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.hear()

    def connect(self, count: int) -> float:
        """So many more clients; answers seconds until the first event of each has come whole."""
        began = time.perf_counter()
        new = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(count)]
        for client in new:
            client.setblocking(False)
            client.send(REQUEST % self.port)
            self.poll.register(client, select.EPOLLIN)
        self.clients += new
        self.receive({client.fileno() for client in new})
        return time.perf_counter() - began

    def receive(self, waiting: set[int]) -> None:
        """Read until each of these has had an event to its end."""
        deadline = time.perf_counter() + 60
        while waiting:
            for descriptor, _ in self.poll.poll(1):
                if os.read(descriptor, 1 << 18).endswith(END):
                    waiting.discard(descriptor)
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{len(waiting)} clients got nothing")

    def tell_all(self) -> float:
        """One event, to every client; answers when it was handed in."""
        handed_in, self.committed = map(float, self.ask("tell").split())
        self.receive({client.fileno() for client in self.clients})
        return handed_in

    def cpu(self) -> float:
        """Seconds that the process has computed so far."""
        return float(self.ask("cpu"))

    def memory(self) -> int:
        """Bytes that it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _command(kind: str, folder: Path) -> list[str]:
    match kind:
        case "raw":
            return raw(folder)
        case "daemon":
            up = ["up", "--home", str(folder / "home"), "--port", "0", "--device", "cpu"]
            return [sys.executable, "-m", "daemon", *up]
        case _:
            return [sys.executable, "-m", "bench.streaming", kind, str(folder)]


def main() -> None:
    """Print all figures."""
    allow_many_files()
    with TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        deliveries(Path(name))
        for frames in (20, 200):
            connects(Path(name), frames)
        latency(Path(name))
        exits(Path(name))


@contextmanager
def served(kind: str, folder: Path) -> Iterator[Server]:
    """A server until the block ends."""
    with TemporaryDirectory(dir=folder) as place, closing(Server(kind, Path(place))) as server:
        yield server


def deliveries(folder: Path) -> None:
    """CPU and memory for each client."""
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
    held: dict[str, float] = {}
    servers = {kind: Server(kind, _made(folder / kind)) for kind in KINDS}
    idle = {kind: _alone(server) for kind, server in servers.items()}
    for kind, server in servers.items():
        server.connect(CLIENTS // 2)  # with what the first ones bring
        server.tell_all()
        before = server.memory()
        server.connect(CLIENTS // 2)
        server.tell_all()
        held[kind] = (server.memory() - before) / (CLIENTS // 2)
    for _ in range(ROUNDS):
        for kind, server in servers.items():
            computed = server.cpu()
            for _ in range(A_ROUND):
                server.tell_all()
            spent[kind].append((server.cpu() - computed - A_ROUND * idle[kind]) / A_ROUND / CLIENTS)
    floor = statistics.median(spent["raw"])
    print(f"  {CLIENTS} clients, CPU of each delivery and memory of each client:")
    for kind in KINDS:
        middle = statistics.median(spent[kind])
        print(
            f"    {kind:13}: {middle * 1e6:5.1f} µs, {middle / floor:4.1f} x raw; "
            f"{held[kind] / 1024:5.1f} KB; an event costs {idle[kind] * 1e3:.2f} ms without clients"
        )
    for server in servers.values():
        server.close()


def _alone(server: Server) -> float:
    """CPU that an event costs with nobody to hear of it."""
    before = server.cpu()
    for _ in range(30):
        server.ask("tell")
    return (server.cpu() - before) / 30


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def connects(folder: Path, frames: int) -> None:
    """A thousand that come at once, each getting the whole state."""
    took, cpu, size = [], [], 0
    for _ in range(3):
        with served("safelight", folder) as server:
            size = int(server.ask(f"frames {frames}"))
            server.connect(1)
            before = server.cpu()
            took.append(server.connect(CLIENTS))
            cpu.append(server.cpu() - before)
    print(
        f"  {CLIENTS} connects with a snapshot of {size / 1024:.0f} KB ({frames} frames): "
        f"{statistics.median(took):.2f} s ({min(took):.2f} at best), {statistics.median(cpu):.2f} s of CPU"
    )


def latency(folder: Path) -> None:
    """From an event's being handed in to its arrival at one client; the commit is in between."""
    took, commits = [], []
    with served("safelight", folder) as server:
        server.connect(1)
        for _ in range(LATENCIES):
            handed_in = server.tell_all()
            took.append(time.perf_counter() - handed_in)
            commits.append(server.committed - handed_in)
            time.sleep(0.005)
    middle, floor = statistics.median(took), statistics.median(commits)
    print(
        f"  append to received at one client: p50 {middle * 1e3:.2f} ms, "
        f"p99 {statistics.quantiles(took, n=100)[98] * 1e3:.2f} ms; "
        f"the commit alone {floor * 1e3:.2f} ms, {middle / floor:.1f} x"
    )


def exits(folder: Path) -> None:
    """SIGTERM to the process's end, with open streams."""
    for kind in ["daemon", *KINDS[1:]]:
        took, clean = zip(*(_exit(kind, folder) for _ in range(3)), strict=True)
        how = f"{statistics.median(took):.2f} s" if max(took) < HANGS else f"more than {HANGS:g} s"
        print(f"  SIGTERM to exit with {CROWD} streams, {kind:13}: {how}, {min(clean)} of them ended clean")


def _exit(kind: str, folder: Path) -> tuple[float, int]:
    with served(kind, folder) as server:
        server.connect(CROWD)
        began = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.wait(HANGS)
        except subprocess.TimeoutExpired:
            return HANGS, 0
        took = time.perf_counter() - began
        return took, sum(_ended(client) for client in server.clients)


def _ended(client: socket.socket) -> bool:
    """Its answer came to its end: the last chunk is there, and then nothing more."""
    client.setblocking(True)
    data = b""
    try:
        while chunk := client.recv(1 << 16):
            data += chunk
    except ConnectionError:
        return False
    return data.endswith(b"0\r\n\r\n")
