"""States on disk: the newest whole one of the same request, or none."""

from pathlib import Path

import pytest

from daemon.gpu import device, stored, wire
from daemon.gpu.sources import Sources, Weights
from daemon.prompts import Prompt, parse
from daemon.settings import DEMO


def test_the_newest_state_of_a_request(tmp_path: Path) -> None:
    """It is found again by its frame and key; a newer one takes its place; nothing else lies about."""
    key = stored.key("a prompt", 7, "cpu")
    for step in (3, 6):
        stored.save(tmp_path, 42, step, key, b"state %d" % step)
    found = stored.load(tmp_path, 42, key)
    assert found is not None
    assert (found.step, found.data) == (6, b"state 6")
    assert stored.load(tmp_path, 43, key) is None
    assert len(list(tmp_path.iterdir())) == 1
    stored.discard(tmp_path, 42)
    stored.discard(tmp_path, 42)
    assert not list(tmp_path.iterdir())


def test_a_state_of_something_else_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another device, version or prompt would end in another picture."""
    stored.save(tmp_path, 1, 3, stored.key("a prompt", "torch 1"), b"state")
    assert stored.load(tmp_path, 1, stored.key("a prompt", "torch 2")) is None
    assert "begins anew" in caplog.text


def test_a_state_of_another_release_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lay states out otherwise, and nobody can go on from what they cannot read."""
    ready = wire.Ready(device="cpu", versions={"torch": "2"}, work="float32")
    prompt = parse(b'{"prompt": "a fox", "seed": 1}', DEMO)
    assert isinstance(prompt, Prompt)
    nothing = Sources(model=Weights({}, ""), loras=[], embeddings=[], image=None, refiner=None)
    keys = []
    for version in ("0.1.0", "0.1.0", "0.2.0"):
        monkeypatch.setattr(device, "VERSION", version, raising=False)
        keys.append(device.state_key(7, prompt, ready, nothing))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("damage", ["cut", "empty", "zeroed", "flipped"])
def test_a_damaged_state_is_not_used(tmp_path: Path, damage: str) -> None:
    """Whatever a power cut leaves of the file, the frame begins anew instead of going wrong."""
    key = stored.key("a prompt")
    stored.save(tmp_path, 1, 3, key, bytes(range(256)) * 9)
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes(
        {
            "cut": data[:middle],
            "empty": b"",
            "zeroed": bytes(len(data)),
            "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        }[damage]
    )
    assert stored.load(tmp_path, 1, key) is None


def test_a_full_disk_leaves_the_last_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A state that cannot be written costs a line in the terminal, never the frame."""
    stored.save(tmp_path / "nowhere", 1, 3, "key", b"state")
    assert "could not be stored" in caplog.text


def test_a_start_sweeps_what_nobody_waits_for(tmp_path: Path) -> None:
    """States of ended frames and half-written ones go; those of waiting frames and the pictures stay."""
    for frame in (1, 2):
        stored.save(tmp_path, frame, 3, "key", b"state")
    (tmp_path / "..frame_2.state.tmp").write_bytes(b"half")
    (tmp_path / "task_1.png").write_bytes(b"a picture")
    stored.sweep(tmp_path, {2})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".frame_2.state", "task_1.png"]
