"""The whole daemon, as a process: from a dropped file to the finished picture, through every kind of end."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from daemon import strips
from daemon.pictures import final_name
from daemon.settings import Home
from tests.conftest import furnished
from tests.daemons import TIMEOUT, TRIES, Daemon, Message, dropped, interrupted, query

RED_CIRCLE = {"prompt": "a red circle on a blue background", "steps": 8, "seed": 7}
QUICK = {"prompt": "a cat", "steps": 4, "seed": 1, "width": 64, "height": 64}
LONG = {"prompt": "a slow cat", "steps": 400, "seed": 2}


def up_until_idle(home: Home) -> None:
    """Run `safelight up --until-idle` to its end."""
    command = [sys.executable, "-m", "daemon", "up", "--home", str(home.root), "--port", "0", "--until-idle"]
    subprocess.run(command, check=True, timeout=TIMEOUT)


def drop(home: Home, name: str, content: object) -> None:
    """Put a file into the inbox."""
    text = content if isinstance(content, str) else json.dumps(content)
    (home.inbox / name).write_text(text)


def pixels(home: Home) -> list[str]:
    """The finished pictures' pixels, hashed, in the order of their frames."""
    paths = query(home, "SELECT path FROM frames WHERE status = 'done' ORDER BY id")
    return [hashlib.sha256(Image.open(home.root / path).tobytes()).hexdigest() for (path,) in paths]


def story(home: Home, frame: int) -> list[str]:
    """The types of a frame's events, in order."""
    return [kind for (kind,) in query(home, f"SELECT type FROM events WHERE frame = {frame} ORDER BY seq")]


BROKEN = {
    "not-json.json": '{"prompt": "a cat",\n "steps": 4,,}',
    "unknown.json": '{"prompt": "a cat",\n "stepz": 4}',
    "negative.json": '{"prompt": "a cat", "steps": -1}',
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, demo_checkpoint: Path) -> Home:
    """A home whose daemon ran until nothing was left to do: good files, in their order, and broken ones."""
    home = furnished(tmp_path_factory.mktemp("ran") / "home", demo_checkpoint)
    for number, content in enumerate(
        (RED_CIRCLE, QUICK, QUICK, {**QUICK, "seed": 2, "preview": {"keep": "none"}})
    ):
        drop(home, f"{number}.json", {**content, "priority": -number})
    for name, text in BROKEN.items():
        drop(home, name, text)
    up_until_idle(home)
    return home


def test_a_dropped_prompt_becomes_a_picture_and_the_log_tells_each_step(ran: Home) -> None:
    """The seed's flow, in its order."""
    of_it = "SELECT data->>'step', data->>'skipped' FROM events WHERE type = 'PreviewWritten' AND frame = 1"
    previews = query(ran, f"{of_it} ORDER BY seq")
    assert len(previews) + sum(int(skipped) for _, skipped in previews) == 8
    steps = ["PreviewWritten"] * len(previews)
    assert story(ran, 1) == ["FrameCreated", *steps, "FinalWritten", "PreviewDeleted"]
    finals = query(ran, "SELECT path FROM frames ORDER BY id")
    assert {path.name for path in ran.frames.iterdir()} == {Path(final).name for (final,) in finals}
    assert query(ran, "SELECT status, step, steps, job_id FROM frames WHERE id = 1") == [("done", 8, 8, 1)]
    assert kept(ran, 1) == [*(int(step) for step, _ in previews), 8]
    assert [path.name for path in sorted(ran.strips.iterdir())] == ["1.strip", "2.strip", "3.strip"]


def kept(home: Home, frame: int) -> list[int]:
    """The steps of a frame's strip, the finished picture last."""
    ((epoch,),) = query(home, "SELECT epoch FROM _log")
    path = strips.path_of(home.strips, frame)
    found = strips.index(path, epoch)
    assert all(strips.read(path, one) for one in found)
    return [one.step for one in found]


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(ran: Home) -> None:
    """A seed is a promise."""
    _, first, again, other = pixels(ran)
    assert first == again
    assert other != first
    finals = "SELECT data->>'pixels_sha256' FROM events WHERE type = 'FinalWritten' ORDER BY frame"
    assert query(ran, finals)[1:] == [(first,), (again,), (other,)]


def test_a_broken_file_is_rejected_with_its_fault_and_harms_no_other(ran: Home) -> None:
    """Each bad file gets its answer beside it."""

    def fault(name: str) -> dict[str, object]:
        (only,) = json.loads((ran.rejected / f"{name}.error.json").read_text())["faults"]
        assert (ran.rejected / name).exists()
        return dict(only)

    assert fault("not-json.json")["line"] == 2
    unknown = fault("unknown.json")
    assert (unknown["path"], unknown["line"], unknown["column"]) == ("$.stepz", 2, 2)
    assert unknown["suggestion"] == "Did you mean `steps`?"
    assert fault("negative.json")["path"] == "$.steps"
    assert sorted(path.name for path in ran.done.iterdir()) == [f"{number}.json" for number in range(4)]
    assert len(pixels(ran)) == 4


def test_kill_9_in_the_middle_of_a_frame_loses_nothing(daemon: Daemon) -> None:
    """The next start makes the frame again to its end and leaves no stale preview."""
    frame, final = killed_in_the_middle(daemon)
    # As if the kill had come between the final picture's rename and its FinalWritten.
    final.write_bytes(b"a picture that no event names")

    up_until_idle(daemon.home)

    told = story(daemon.home, frame)
    at = told.index("FrameInterrupted")
    assert told[at : at + 3] == ["FrameInterrupted", "PreviewDeleted", "FrameResumed"]
    assert told[-2:] == ["FinalWritten", "PreviewDeleted"]
    assert told.count("FinalWritten") == 1
    done = query(daemon.home, "SELECT id, path, attempt FROM frames WHERE status = 'done' ORDER BY id")
    assert (done[-1][0], done[-1][2]) == (frame, 2)
    assert {path.name for path in daemon.home.frames.iterdir()} == {Path(path).name for _, path, _ in done}
    starts = "SELECT type FROM events WHERE type LIKE 'Daemon%' ORDER BY seq"
    assert query(daemon.home, starts) == [*[("DaemonStarted",)] * (frame + 1), ("DaemonStopped",)]


def killed_in_the_middle(daemon: Daemon) -> tuple[int, Path]:
    """The frame, each in a life of its own until one is met, and where its picture would lie."""
    for life in range(1, TRIES + 1):
        _, frame = dropped(daemon, f"cat-{life}.json", {**QUICK, "width": 256, "height": 256, "steps": 40})
        assert frame == life
        daemon.wait_for_step(3, frame=frame)
        daemon.kill()
        for preview in daemon.home.frames.glob("*_preview.png"):
            final = preview.with_name(final_name(preview.name))
            if not final.exists():
                return frame, final
        daemon.start()
    raise AssertionError(f"{TRIES} frames were done before the daemon was killed")


def test_a_frame_goes_on_from_its_stored_state_after_kill_9(home: Home) -> None:
    """Whoever dies, the next one makes only the steps that were not stored, and the same pixels."""
    slow = {**QUICK, "width": 256, "height": 256, "steps": 40, "sampler": "Euler a", "count": 1}
    with Daemon(home, "--store-every", "0") as running:
        frames = [goes_on(running, slow, victim) for victim in ("daemon", "device")]
        _, last = dropped(running, "undisturbed.json", slow)
        done = running.wait_for_type("FinalWritten", frame=last)
        running.wait_for_type("PreviewDeleted", after=done["seq"])
        assert running.stop() == 0

    *disturbed, undisturbed = pixels(home)
    assert disturbed == [undisturbed] * (last - 1)
    assert not [path.name for path in home.frames.iterdir() if path.suffix != ".png"]
    for frame in frames:
        *steps, final = kept(home, frame)
        assert steps == sorted(set(steps))
        assert final == 40


def goes_on(running: Daemon, prompt: Message, victim: str) -> int:
    """Kill the daemon or its device's process in the middle of a frame, and see it end in another attempt."""

    def strike() -> None:
        if victim == "daemon":
            running.kill()
            running.start()
        else:
            os.kill(_child(running), 9)

    frame, met = interrupted(running, victim, prompt, 6, strike, stored=1)
    assert met["data"]["why"] == f"{victim}_died"
    resumed = running.wait_for_type("FrameResumed", after=met["seq"], frame=frame)
    first = running.wait_for_type("PreviewWritten", after=resumed["seq"])
    assert 0 < resumed["data"]["step"] < first["data"]["step"]
    running.wait_for_type("FinalWritten", after=first["seq"], frame=frame)
    return frame


def test_a_stopped_frame_can_leave_what_there_is(shared: Daemon) -> None:
    """With `keep_partial` the denoised latent of the last step is decoded and its file named in the log."""
    job, frame = dropped(shared, "partial.json", LONG)
    shared.wait_for_step(2, frame=frame)
    wish = {"step": 2, "keep_partial": True}
    assert shared.post(f"api/frames/{frame}/cancel", wish).status_code == 200

    cancelled = shared.wait_for_type("FrameCancelled", frame=frame)
    path = shared.home.root / cancelled["data"]["path"]
    assert path.name.endswith("_partial.png")
    assert Image.open(path).size == (256, 256)
    tidy = shared.wait_for_type("PreviewDeleted", after=cancelled["seq"], frame=frame)
    assert tidy["data"]["why"] == "cancelled"
    assert list(shared.home.frames.glob(f"task_{job}_*")) == [path]


def test_a_prompt_says_how_its_pictures_are_shown(shared: Daemon) -> None:
    """The format reaches the file's name, its bytes and the browser; what is kept is a PNG."""
    wish = {**LONG, "count": 2, "preview": {"format": "jpeg", "every": 3, "size": 16}}
    job, frame = dropped(shared, "shown.json", wish)
    shown = shared.wait_for_type("PreviewWritten", frame=frame)
    assert shown["data"]["path"].endswith("_0_preview.jpg")
    assert shown["data"]["step"] % 3 == 0
    assert (shown["data"]["width"], shown["data"]["height"]) == (16, 16)
    address = f"{shared.url}frames/{frame}/preview?step={shown['data']['step']}"
    answer = httpx.get(address, timeout=TIMEOUT)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"

    assert shared.post(f"api/frames/{frame}/cancel", {"keep_partial": True}).status_code == 200
    cancelled = shared.wait_for_type("FrameCancelled", frame=frame)
    assert cancelled["data"]["path"].endswith("_0_partial.png")
    second = shared.wait_for_type("PreviewWritten", after=cancelled["seq"])
    assert second["data"]["path"].endswith("_1_preview.jpg")
    shared.post(f"api/frames/{frame + 1}/cancel", {})
    shared.wait_for_type("PreviewDeleted", frame=frame + 1)
    assert [file.suffix for file in shared.home.frames.glob(f"task_{job}_*")] == [".png"]


def test_ctrl_c_in_the_middle_of_a_frame_ends_cleanly_and_the_frame_waits(daemon: Daemon) -> None:
    """A person's Ctrl-C is no crash."""
    daemon.drop("cat.json", LONG)
    daemon.wait_for_type("PreviewWritten")
    assert daemon.stop() == 0

    assert story(daemon.home, 1)[-2:] == ["FrameInterrupted", "PreviewDeleted"]
    assert query(daemon.home, "SELECT status, preview FROM frames") == [("queued", None)]
    assert not list(daemon.home.frames.glob("task_*"))
    reasons = "SELECT data->>'reason' FROM events WHERE type = 'DaemonStopped'"
    assert query(daemon.home, reasons) == [("signal",)]


def test_a_signal_right_after_the_start_is_no_crash(daemon: Daemon) -> None:
    """The daemon hears it before it says its address, and a second one changes nothing."""
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.wait() == 0
    assert not [line for line in daemon.said if "Traceback" in line]


def test_a_stopped_frame_is_not_decoded_and_the_next_one_begins(shared: Daemon) -> None:
    """Stop means stop, and only that frame."""
    _, slow = dropped(shared, "slow.json", LONG)
    seen = shared.wait_for_step(2, frame=slow)
    _, following = dropped(shared, "next.json", QUICK)
    answer = shared.post(f"api/frames/{slow}/cancel", {"step": 2})
    assert answer.status_code == 200

    done = shared.wait_for_type("PreviewDeleted", frame=following, after=seen["seq"])
    events = [message for message in _events(shared, done["seq"]) if message["data"].get("frame") == slow]
    (request,) = [message for message in events if message["type"] == "CancelRequested"]
    (cancelled,) = [message for message in events if message["type"] == "FrameCancelled"]
    assert request["data"]["step"] == 2
    assert cancelled["cause"] == request["seq"]
    assert not [message for message in events if message["type"] == "FinalWritten"]
    assert shared.post(f"api/frames/{slow}/cancel", {}).status_code == 409
    assert shared.post("api/frames/999/cancel", {}).status_code == 404


def _events(daemon: Daemon, up_to: int) -> list[Message]:
    events = []
    for message in daemon.stream(after=0):
        events.append(message)
        if message["seq"] == up_to:
            return events
    raise AssertionError("the stream ended early")


def test_a_frame_that_kills_its_device_twice_is_given_up(shared: Daemon) -> None:
    """One bad job does not keep the queue for ever, and the daemon outlives every device."""
    _, bad = dropped(shared, "bad.json", LONG)
    _, good = dropped(shared, "good.json", {**QUICK, "priority": -1})
    first = shared.wait_for_type("PreviewWritten", frame=bad)
    os.kill(_child(shared), 9)
    resumed = shared.wait_for_type("FrameResumed", after=first["seq"], frame=bad)
    shared.wait_for_type("PreviewWritten", after=resumed["seq"], frame=bad)
    os.kill(_child(shared), 9)

    failed = shared.wait_for_type("FrameFailed", frame=bad)
    assert failed["data"]["kind"] == "device_died"
    shared.wait_for_type("FinalWritten", frame=good)


def _child(daemon: Daemon) -> int:
    """The process id of the device's child."""
    pid = daemon.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_a_model_that_is_not_there_fails_its_frame_with_a_reason(shared: Daemon) -> None:
    """The queue goes on."""
    _, cat = dropped(shared, "cat.json", {**QUICK, "model": "nowhere"})
    _, dog = dropped(shared, "dog.json", {**QUICK, "priority": -1})
    failed = shared.wait_for_type("FrameFailed", frame=cat)
    assert failed["data"]["kind"] == "bad_model"
    assert "nowhere" in failed["data"]["message"]
    shared.wait_for_type("FinalWritten", frame=dog)


def test_a_second_daemon_on_the_same_home_is_refused_in_one_line(shared: Daemon) -> None:
    """Two writers would tear the log."""
    second = [sys.executable, "-m", "daemon", "up", "--home", str(shared.home.root), "--port", "0"]
    ended = subprocess.run(second, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert ended.returncode == 1
    assert "another Safelight is running" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_is_refused_in_one_line(shared: Daemon, tmp_path: Path) -> None:
    """The message says what to do."""
    port = shared.url.rstrip("/").rpartition(":")[2]
    second = [sys.executable, "-m", "daemon", "up", "--home", str(tmp_path / "other"), "--port", port]
    ended = subprocess.run(second, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert ended.returncode == 1
    assert "choose another --port" in ended.stderr


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [("--model", "dmeo", "there is no model dmeo"), ("--device", "cuda:7", "there is no device cuda:7")],
)
def test_what_cannot_be_had_ends_the_daemon_in_one_line(
    home: Home, option: str, value: str, sentence: str
) -> None:
    """A misspelt model or device is said at once, not at the first frame and not again and again."""
    command = [sys.executable, "-m", "daemon", "up", "--home", str(home.root), "--port", "0", option, value]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_the_daemons_process_has_no_torch(shared: Daemon) -> None:
    """Neither after its start nor with a frame made."""
    _, frame = dropped(shared, "torchless.json", QUICK)
    shared.wait_for_type("FinalWritten", frame=frame)
    maps = Path(f"/proc/{shared.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "_duckdb" in maps


@pytest.mark.parametrize("command", ["up", "demo"])
def test_help_names_the_options(command: str) -> None:
    """The commands explain themselves."""
    shown = subprocess.run(
        [sys.executable, "-m", "daemon", command, "--help"], capture_output=True, text=True, check=True
    )
    assert "--until-idle" in shown.stdout
