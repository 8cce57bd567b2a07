"""What keeps devices from sampling: told where it is asked for and to who listens, then forgotten."""

import os
from pathlib import Path

import httpx
import pytest

from daemon.stages import Stage, Stages
from tests.daemons import Daemon
from tests.serving import PATIENCE, Stream, site
from tests.test_app import _child


def test_each_device_is_busy_with_one_thing() -> None:
    """The newest, until it can sample; those who listen hear of changes alone."""
    stages, heard = Stages(), list[list[Stage]]()
    stages.listen(lambda: heard.append(stages.now))
    assert stages.show("auto", "starting")
    stages.end("auto")
    assert stages.show("cpu", "loading a", 0.0)
    assert not stages.show("cpu", "loading a", 0.5)
    assert not stages.show("cpu", "loading a", 0.5)
    assert stages.show("cpu", "loading b")
    stages.end("cuda:0")
    assert heard == [
        [Stage(device="auto", what="starting", done=None)],
        [],
        [Stage(device="cpu", what="loading a", done=0.0)],
        [Stage(device="cpu", what="loading a", done=0.5)],
        [Stage(device="cpu", what="loading b", done=None)],
    ]


@pytest.mark.anyio
async def test_the_stream_tells_it_beside_the_events(tmp_path: Path) -> None:
    """Without an id, so that a client's place in the log stays; who comes later hears the newest at once."""
    async with site(tmp_path) as served, Stream(served.url) as early:
        assert (await early.next()).kind == "snapshot"
        for done in (0.0, 0.5):
            served.stages.show("cpu", "loading demo", done)
            told = await early.next()
            assert (told.kind, told.id) == ("loading", "")
            assert told.data == {"loading": [{"device": "cpu", "what": "loading demo", "done": done}]}
        async with Stream(served.url) as late:
            assert [(await late.next()).kind for _ in range(2)] == ["snapshot", "loading"]
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            status = (await client.get(f"{served.url}/api/status")).json()
        assert status["loading"] == [{"device": "cpu", "what": "loading demo", "done": 0.5}]


def test_a_start_is_told(daemon: Daemon) -> None:
    """torch takes its seconds: a page that is opened in them says so."""
    told = daemon.wait_for_loading("starting torch and diffusers", lambda: os.kill(_child(daemon), 9))
    assert told["done"] is None
