"""The commands' way to the running daemon of a home: its own HTTP routes, nothing else."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from daemon import address
from daemon.address import Address
from daemon.settings import Home

PATIENCE = 30.0
"""Seconds to wait for an answer; what the daemon does for a command takes milliseconds."""


class NotRunning(Exception):
    """No daemon runs on this home, and what was asked for needs one."""


class Refused(Exception):
    """The daemon understood and said no; the message is its own words."""

    def __init__(self, status: int, answer: dict[str, Any]) -> None:
        """`answer` is the body: `error`, or `faults` as a rejected file has them."""
        super().__init__(str(answer.get("error", f"the daemon answered {status}")))
        self.status = status
        self.answer = answer


class Client:
    """A connection to one daemon, for the length of a block."""

    def __init__(self, where: Address) -> None:
        """Nothing is sent yet."""
        self.address = where
        headers = {"user-agent": f"{address.AGENT} {quote(myself(), safe='')}"}
        if where.token is not None:
            headers["authorization"] = f"Bearer {where.token}"
        self.http = httpx.Client(base_url=where.url, headers=headers, timeout=PATIENCE, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """The JSON that the route answers. Raises `Refused`, and `NotRunning` if the daemon is gone."""
        return _body(self._answer("GET", path, params=query))

    def post(self, path: str, body: object = None) -> dict[str, Any]:
        """Ask for a change; it is in the log when this returns. Raises as `get` does."""
        return self.send(path, body)[1]

    def send(self, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """The same, with the answer's status: 201 where something new came of it."""
        content = msgspec.json.encode({} if body is None else body)
        answer = self._answer("POST", path, content=content, headers={"content-type": "application/json"})
        return answer.status_code, _body(answer)

    def follow(self, after: int) -> Iterator[dict[str, Any]]:
        """The log's events after `after`, as they become durable. Raises `NotRunning` at the daemon's end."""
        try:
            with self.http.stream("GET", "/api/events", params={"after": after}) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: ") and "seq" in (message := msgspec.json.decode(line[6:])):
                        yield message
        except httpx.TransportError as error:
            raise NotRunning(f"the daemon at {self.address.url} is gone: {error}") from error
        raise NotRunning(f"the daemon at {self.address.url} has ended")

    def _answer(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            answer = self.http.request(method, path, **rest)
        except httpx.TransportError as error:
            raise NotRunning(f"the daemon at {self.address.url} does not answer: {error}") from error
        if answer.is_error:
            raise Refused(answer.status_code, _body(answer))
        return answer


@contextmanager
def connected(home: Home) -> Iterator[Client]:
    """The running daemon of a home. Raises `NotRunning` if there is none."""
    where = address.read(home)
    what_to_do = f"start one with: safelight up --home {home.root}"
    if where is None:
        raise NotRunning(f"no daemon runs on {home.root}; {what_to_do}")
    with Client(where) as client:
        try:
            health = client.get("/api/health")
        except NotRunning as error:
            raise NotRunning(f"{error}; if it is gone, {what_to_do}") from error
        if health.get("epoch") != where.epoch:
            raise NotRunning(f"the daemon of {home.root} is gone, and another program has its port")
        yield client


def myself() -> str:
    """Who types the commands, for the log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for our number, and none in the environment
        return str(os.getuid())


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"error": answer.text.strip()}
