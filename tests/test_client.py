"""How commands find the daemon of a home: the one that runs there, or a clear word that none does."""

import stat

import pytest

from daemon import address, client
from daemon.address import Address, announced
from daemon.client import Client, NotRunning, Refused
from daemon.settings import Home
from tests.daemons import Daemon


def test_a_command_reaches_the_daemon_of_its_home(daemon: Daemon) -> None:
    """It asks, and it changes something."""
    with client.connected(daemon.home) as found:
        assert found.get("/api/health")["epoch"] == found.address.epoch
        job = found.post("/api/jobs", {"prompt": "a cat", "steps": 1, "width": 64, "height": 64})
        assert job["job"] == 1
        with pytest.raises(Refused) as refusal:
            found.post("/api/jobs", {"prompt": ""})
    assert refusal.value.status == 422
    assert refusal.value.answer["faults"][0]["path"] == "$.prompt"


def test_a_stopped_daemon_leaves_no_address_and_a_killed_one_is_found_out(daemon: Daemon) -> None:
    """Neither leads a command astray."""
    daemon.kill()
    assert address.read(daemon.home) is not None
    with pytest.raises(NotRunning, match="does not answer"), client.connected(daemon.home):
        pass
    daemon.start()
    with client.connected(daemon.home):
        assert daemon.stop() == 0
    with pytest.raises(NotRunning, match="no daemon runs on"), client.connected(daemon.home):
        pass


def test_another_daemon_on_the_port_is_not_taken_for_ours(daemon: Daemon, home: Home) -> None:
    """The log's epoch tells them apart."""
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


def test_only_the_owner_can_read_the_token(home: Home) -> None:
    """It lets whoever has it stop pictures."""
    with announced(home, Address(url="http://10.0.0.1:1", token="secret", pid=1, epoch="e")):
        assert stat.S_IMODE(home.address.stat().st_mode) == 0o600
