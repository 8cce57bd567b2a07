"""How commands find the daemon of a home: the one that runs there, or a clear word that none does."""

import stat
from pathlib import Path

import pytest

from daemon import address, client
from daemon.address import Address, announced
from daemon.client import Client, NotRunning, Refused
from daemon.settings import Home
from tests.daemons import Daemon


def test_a_command_reaches_the_daemon_of_its_home(shared: Daemon) -> None:
    """It asks, and it changes something."""
    with client.connected(shared.home) as found:
        assert found.get("/api/health")["epoch"] == found.address.epoch
        job = found.post("/api/jobs", {"prompt": "a cat", "steps": 1, "width": 64, "height": 64})
        assert job["job"] == 1
        with pytest.raises(Refused) as refusal:
            found.post("/api/jobs", {"prompt": ""})
    assert refusal.value.status == 422
    assert refusal.value.answer["faults"][0]["path"] == "$.prompt"


def test_a_stopped_daemon_leaves_no_address_and_a_killed_one_is_found_out(shared: Daemon) -> None:
    """Neither leads a command astray; both are told what to do."""
    shared.kill()
    assert address.read(shared.home) is not None
    with pytest.raises(NotRunning, match=r"does not answer.*start one with"), client.connected(shared.home):
        pass
    shared.start()
    with client.connected(shared.home):
        assert shared.stop() == 0
    with pytest.raises(NotRunning, match="no daemon runs on"), client.connected(shared.home):
        pass
    shared.start()


def test_another_daemon_on_the_port_is_not_taken_for_ours(shared: Daemon) -> None:
    """The log's epoch tells them apart."""
    home = shared.home
    ours = address.read(home)
    assert ours is not None
    stranger = Address(url=ours.url, token=None, pid=ours.pid, epoch="another")
    with (
        announced(home, stranger),
        pytest.raises(NotRunning, match="another program has its port"),
        client.connected(home),
    ):
        pass
    with Client(ours) as other:
        assert other.get("/api/health")["epoch"] == ours.epoch


def test_only_the_owner_can_read_the_token(tmp_path: Path) -> None:
    """It lets whoever has it stop pictures."""
    home = Home(tmp_path)
    with announced(home, Address(url="http://10.0.0.1:1", token="secret", pid=1, epoch="e")):
        assert stat.S_IMODE(home.address.stat().st_mode) == 0o600
