"""`doctor`: a sound home is told so; each thing that is wrong is found, with what to do about it."""

import json
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from daemon.commands import house, machine, weights
from daemon.commands.findings import Finding
from daemon.settings import Home
from tests.commands.conftest import SLOW, Type, typed
from tests.daemons import TIMEOUT, Daemon


def said(findings: Iterable[Finding]) -> dict[str, Finding]:
    """By what they are about."""
    return {finding.about: finding for finding in findings}


def test_a_sound_home_with_a_running_daemon_is_told_so(shared: Daemon, safelight: Type) -> None:
    """Exit code 0, a line each; torch was asked in a process of its own."""
    ended = safelight("doctor")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [line for line in ended.stdout.splitlines() if line.startswith(("good", "note", "bad"))]
    told = {line[6:21].strip(): line[:4].strip() for line in lines}
    assert {"daemon", "port", "inbox", "history", "disk", "memory", "GPU", "TAESD"} <= told.keys()
    assert (told["daemon"], told["history"], told["checkpoint demo"]) == ("good", "good", "good")
    assert ended.stdout.splitlines()[-1] == "nothing is bad"


def test_a_broken_home_without_a_daemon_is_told_what_to_do(nowhere: Home, demo_checkpoint: Path) -> None:
    """Exit code 1; every bad thing has its advice."""
    nowhere.frames.mkdir()
    nowhere.history.write_bytes(b"no database" * 1000)
    broken = nowhere.checkpoints / "broken"
    shutil.copytree(demo_checkpoint, broken)
    (weight,) = (broken / "vae").glob("*.safetensors")
    weight.write_bytes(weight.read_bytes()[:-100])
    approx = nowhere.root / "models" / "vae_approx"
    approx.mkdir()
    (approx / "taesdxl_decoder.pth").write_bytes(b"no weights")
    (nowhere.frames / "task_1_20261124T070003123_preview.png").write_bytes(b"old")

    ended = typed(nowhere, "doctor", "--json")
    assert ended.returncode == 1
    told = {finding["about"]: finding for finding in json.loads(ended.stdout)}
    wrong = {about for about, finding in told.items() if finding["state"] == "bad"}
    assert wrong == {"history", "checkpoint broken", "TAESD"}
    assert all(told[about]["advice"] for about in wrong)
    assert "100 bytes are missing" in told["checkpoint broken"]["says"]
    assert told["daemon"]["says"].startswith("no daemon runs on ")
    assert told["previews"]["says"] == "left by a crash: frames/task_1_20261124T070003123_preview.png"


def test_a_port_is_free_ours_or_someones(shared: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whose, where that can be known."""
    monkeypatch.setattr(machine, "ANSWER_PATIENCE", TIMEOUT)

    def told(port: int) -> Finding:
        monkeypatch.setattr(machine, "USUAL_PORT", port)
        return said(machine.port(None))["port"]

    assert said(machine.port(1234))["port"].says == "1234, this home's daemon"
    assert "the daemon of another home" in told(int(shared.url.rstrip("/").rpartition(":")[2])).says
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        assert "taken by another program" in told(other.getsockname()[1]).says
        port = other.getsockname()[1]
    assert told(port).state == "good"


def test_what_is_stale_is_told_from_what_is_being_made(shared: Daemon, safelight: Type) -> None:
    """The preview of a running frame is none."""
    job = safelight("submit", "a slow cat", *SLOW).stdout.removeprefix("job ").strip()
    shared.wait_for_type("PreviewWritten", job=int(job))
    running = house.Running(shared.home)
    assert said(house.stale(shared.home, running))["previews"].state == "good"
    left = shared.home.frames / "task_99_preview.png"
    left.write_bytes(b"old")
    finding = said(house.stale(shared.home, running))["previews"]
    assert (finding.state, finding.says) == ("note", "stale: frames/task_99_preview.png")
    left.unlink()
    safelight("cancel", "--all")


def test_a_folder_that_cannot_be_written_is_bad(nowhere: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding names it. A file in a folder's place refuses everyone, root too."""
    nowhere.inbox.rmdir()
    nowhere.inbox.symlink_to("/proc/self")
    assert said(house.folders(nowhere))["inbox"].state == "bad"


def test_checkpoints_are_judged_without_loading_them(nowhere: Home, demo_checkpoint: Path) -> None:
    """By their files: complete, cut off, foreign, or with a VAE whose colours are unknown."""
    whole = nowhere.checkpoints / "whole"
    shutil.copytree(demo_checkpoint, whole)
    assert said(weights.checkpoints(nowhere))["checkpoint whole"].state == "good"

    (whole / "latent2rgb.json").unlink()
    (whole / "vae" / "config.json").write_text('{"scaling_factor": 0.18215}')
    colours = said(weights.checkpoints(nowhere))["colours of whole"]
    assert (colours.state, "0.18215" in colours.says) == ("note", True)
    (whole / "vae" / "config.json").write_text('{"scaling_factor": 0.13025}')
    assert said(weights.checkpoints(nowhere))["colours of whole"].state == "good"
    (whole / "latent2rgb.json").write_text('{"factors": [[1, 2, 3]], "bias": [0, 0, 0]}')
    assert said(weights.checkpoints(nowhere))["colours of whole"].state == "bad"

    shutil.rmtree(whole / "text_encoder_2")
    missing = said(weights.checkpoints(nowhere))["checkpoint whole"]
    assert (missing.state, missing.says) == ("bad", "is incomplete: no text_encoder_2/")
    (whole / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "is a StableDiffusionPipeline" in said(weights.checkpoints(nowhere))["checkpoint whole"].says
    (nowhere.checkpoints / "one.safetensors").write_bytes(b"rubbish")
    assert said(weights.checkpoints(nowhere))["checkpoint one.safetensors"].state == "bad"
    header = b'{"conditioner.embedders.1.model.x": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}}'
    (nowhere.checkpoints / "one.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    told = said(weights.checkpoints(nowhere))
    assert (told["checkpoint one.safetensors"].state, told["colours of one"].state) == ("good", "good")
