"""A real child process over real pipes: what it says, in which order, and how it ends."""

import hashlib
import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from PIL import Image

from daemon.gpu import wire

PATIENCE = 180.0
"""Seconds until a silent child fails the test."""
ENDLESS = 50_000
"""Steps that take longer than anyone waits here."""
Kind = TypeVar("Kind", bound=wire.Reply)


class Child:
    """The daemon's end of the wire."""

    def __init__(self, errors: Path, patience: float = PATIENCE) -> None:
        self.errors = errors
        self._patience = patience
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon.gpu.child", "--device", "cpu"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.down, self.up = self.process.stdin, self.process.stdout
        self._heard = self._listen()

    def say(self, *commands: wire.Command) -> None:
        """Send commands in one write."""
        self.down.write(b"".join(map(wire.pack, commands)))
        self.down.flush()

    def hear(self) -> wire.Reply:
        """The next reply."""
        return next(self._heard)

    def until(self, kind: type[Kind]) -> tuple[list[wire.Reply], Kind]:
        """What comes before the first reply of a kind, and that reply."""
        before: list[wire.Reply] = []
        while not isinstance(reply := self.hear(), kind):
            before.append(reply)
        return before, reply

    def close(self) -> int:
        """End the child as the daemon does, and give its exit status."""
        self.down.close()
        status = self.process.wait(PATIENCE)
        self.up.close()
        return status

    def _listen(self) -> Iterator[wire.Reply]:
        buffer = bytearray()
        while True:
            ready, _, _ = select.select([self.up], [], [], self._patience)
            chunk = os.read(self.up.fileno(), 65536) if ready else b""
            assert chunk, f"the child fell silent: {self.errors.read_text()}"
            buffer += chunk
            yield from wire.unpack(buffer, wire.REPLIES)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One child for all the stories of this file; importing torch is most of its life."""
    child = Child(tmp_path_factory.mktemp("child") / "stderr")
    yield child
    assert child.close() == 0


@pytest.fixture(scope="module")
def child(fresh: Child) -> Child:
    """The child once it is ready."""
    ready = fresh.hear()
    assert isinstance(ready, wire.Ready)
    assert (ready.device, ready.batch) == ("cpu", 1)
    assert set(ready.versions) == {"torch", "diffusers", "transformers"}
    return fresh


def begin(folder: Path, frame: int, **changes: object) -> wire.Begin:
    """A small request."""
    request: dict[str, object] = {
        "attempt": 1, "prompt": "a red circle on a blue background", "negative_prompt": "", "width": 64,
        "height": 48, "steps": 4, "cfg_scale": 5.0, "seed": 7, "sampler": "euler",
        "scheduler": "normal", "store_every": 3600.0,
    }  # fmt: skip
    return wire.Begin(frame=frame, model=str(folder), **{**request, **changes})  # type: ignore[arg-type]  # fields


def test_a_frame_from_begin_to_final(child: Child, folder: Path) -> None:
    """Loading and how far, Loaded, a preview per step or its count in the next one's skipped, then Final."""
    child.say(begin(folder, 1))
    loading, loaded = child.until(wire.Loaded)
    assert loading == [wire.Loading(what="loading demo", done=done) for done in (0.0, 1.0)]
    assert (loaded.model, loaded.seconds > 0, loaded.bytes > 1_000_000) == (str(folder), True, True)
    shown, final = child.until(wire.Final)
    previews = [reply for reply in shown if isinstance(reply, wire.Preview)]
    assert previews == shown
    assert sum(1 + preview.skipped for preview in previews) == 4
    assert [preview.step for preview in previews] == sorted({preview.step for preview in previews})
    assert previews[-1].step == 4
    assert Image.open(io.BytesIO(previews[-1].data)).size == (8, 6)
    picture = Image.open(io.BytesIO(final.data))
    assert (final.frame, final.width, final.height, picture.size) == (1, 64, 48, (64, 48))
    assert final.pixels_sha256 == hashlib.sha256(picture.tobytes()).hexdigest()
    assert (final.scheduler, final.dtype) == ("EulerDiscreteScheduler", "float32")
    assert final.scheduler_config["beta_schedule"] == "scaled_linear"


def test_a_seed_is_a_picture(child: Child, folder: Path) -> None:
    """The same seed gives the same pixels, another seed others; the warm model is not loaded again."""
    child.say(begin(folder, 2), begin(folder, 3), begin(folder, 4, seed=8))
    finals = []
    for _ in range(3):
        before, final = child.until(wire.Final)
        assert {type(reply) for reply in before} == {wire.Preview}
        finals.append(final)
    assert [final.frame for final in finals] == [2, 3, 4]
    assert finals[0].pixels_sha256 == finals[1].pixels_sha256 != finals[2].pixels_sha256


def test_cancel_in_mid_frame(child: Child, folder: Path) -> None:
    """A Cancel ends a long frame, at the step of its last preview, and the next one runs at once. How soon it
    is heard here depends on the machine; `test_work` sees that the frame then ends within a step.
    """
    child.say(begin(folder, 5, steps=ENDLESS))
    _, first = child.until(wire.Preview)
    child.say(wire.Cancel(frame=5, attempt=1), begin(folder, 6))
    shown, cancelled = child.until(wire.Cancelled)
    assert cancelled.step < ENDLESS
    last = [first, *(reply for reply in shown if isinstance(reply, wire.Preview))][-1]
    assert (cancelled.frame, cancelled.step) == (5, last.step)
    before, final = child.until(wire.Final)
    assert final.frame == 6
    assert {type(reply) for reply in before} == {wire.Preview}


def test_cancel_of_a_frame_that_waits(child: Child, folder: Path) -> None:
    """A Cancel that comes before its Begin is taken up counts, and nothing is sampled."""
    child.say(begin(folder, 7, steps=40), begin(folder, 8), wire.Cancel(frame=8, attempt=1))
    child.until(wire.Final)
    assert child.hear() == wire.Cancelled(frame=8, attempt=1, step=0)


def test_cancel_that_hits_nothing(child: Child, folder: Path) -> None:
    """A Cancel for a frame that is over, unknown, or another attempt changes nothing."""
    late, unknown, other = (wire.Cancel(frame=f, attempt=a) for f, a in ((7, 1), (99, 1), (9, 2)))
    child.say(late, unknown, begin(folder, 9), other)
    _, final = child.until(wire.Final)
    assert final.frame == 9


def test_a_bad_model_and_then_a_good_one(child: Child, folder: Path, tmp_path: Path) -> None:
    """No folder and a foreign folder end in LoadFailed with a sentence; the next frame is made."""
    (tmp_path / "foreign").mkdir()
    child.say(begin(tmp_path / "nowhere", 10), begin(tmp_path / "foreign", 11), begin(folder, 12))
    _, missing = child.until(wire.LoadFailed)
    _, foreign = child.until(wire.LoadFailed)
    assert (missing.frame, foreign.frame) == (10, 11)
    assert missing.message.startswith("There is no checkpoint folder")
    assert "model_index.json" in foreign.message
    _, final = child.until(wire.Final)
    assert final.frame == 12


def test_a_lora_that_cannot_be_used_fails_its_frame_alone(child: Child, folder: Path, tmp_path: Path) -> None:
    """The file is named, and the next frame is made."""
    bad = wire.Lora(file=str(tmp_path / "gone.safetensors"), weight=1.0)
    child.say(begin(folder, 20, loras=[bad]), begin(folder, 21))
    _, failed = child.until(wire.Failed)
    assert (failed.frame, failed.kind) == (20, "bad_file")
    assert str(tmp_path / "gone.safetensors") in failed.message
    assert child.until(wire.Final)[1].frame == 21


def test_pictures_that_are_made_together(child: Child, folder: Path) -> None:
    """Each has its previews and its own end; one that is stopped leaves the others, and the next comes. It
    would go on for ever, so the Cancel finds it whenever it comes.
    """
    steps = {30: 40, 31: ENDLESS, 32: 40}
    several = [begin(folder, frame, seed=frame, steps=steps[frame]) for frame in steps]
    child.say(wire.Together(begins=several), begin(folder, 33))
    shown = dict.fromkeys(steps, 0)
    ended: dict[int, wire.Final | wire.Cancelled] = {}
    while len(ended) < 3:
        reply = child.hear()
        assert isinstance(reply, wire.Preview | wire.Final | wire.Cancelled)
        assert reply.frame not in ended
        if isinstance(reply, wire.Preview):
            if not any(shown.values()):
                child.say(wire.Cancel(frame=31, attempt=1))
            shown[reply.frame] += 1 + reply.skipped
        else:
            ended[reply.frame] = reply
    stopped = ended.pop(31)
    assert isinstance(stopped, wire.Cancelled)
    assert shown == {30: 40, 31: stopped.step, 32: 40}
    assert [(frame, isinstance(it, wire.Final) and it.batch) for frame, it in ended.items()] == [
        (30, 3),
        (32, 3),
    ]
    assert child.until(wire.Final)[1].frame == 33


def test_failures_end_the_frame_not_the_child(child: Child, folder: Path) -> None:
    """A picture too large for any memory and a bug are told apart; the traceback is in standard error."""
    child.say(begin(folder, 13, width=80_000_000, height=80_000_000), begin(folder, 14, steps=0))
    _, full = child.until(wire.Failed)
    _, bug = child.until(wire.Failed)
    assert (full.frame, full.kind, bug.frame, bug.kind) == (13, "out_of_memory", 14, "internal")
    assert "80000000 × 80000000 pixels" in full.message
    assert bug.message.startswith("ZeroDivisionError: ")
    assert "ZeroDivisionError" in child.errors.read_text()
    child.say(begin(folder, 15))
    assert child.until(wire.Final)[1].frame == 15


def test_ctrl_c_is_the_daemons_to_handle(child: Child, folder: Path) -> None:
    """SIGINT, which a terminal sends to the whole group, does not disturb a frame."""
    child.say(begin(folder, 16))
    child.until(wire.Preview)
    child.process.send_signal(signal.SIGINT)
    assert child.until(wire.Final)[1].frame == 16


def test_end_of_input_in_mid_frame(folder: Path, tmp_path: Path) -> None:
    """When the daemon is gone the child ends at once, in the middle of a frame."""
    child = Child(tmp_path / "stderr")
    child.say(begin(folder, 1, steps=ENDLESS))
    child.until(wire.Preview)
    assert child.close() == 0


def test_end_of_input_before_it_is_ready(tmp_path: Path) -> None:
    """It does not even finish importing for nobody."""
    assert Child(tmp_path / "stderr").close() == 0


def test_garbage_ends_it(tmp_path: Path) -> None:
    """A stream that holds no messages ends the child with status 1 and a word in standard error."""
    child = Child(tmp_path / "stderr")
    child.down.write(b"\xff" * 64)
    child.down.flush()
    assert child.process.wait(PATIENCE) == 1
    assert "Garbled" in child.errors.read_text()
    child.close()


def test_what_libraries_print_stays_off_the_wire() -> None:
    """Prints from Python, from C and from a grandchild go to standard error, never onto the wire."""
    program = (
        "import os, sys\n"
        "from daemon.gpu import child, wire\n"
        "_, replies = child.take_streams()\n"
        "print('noise', flush=True); os.write(1, b'noise'); os.system('echo noise')\n"
        "child.Sender(replies)(wire.Loading(what='it'))\n"
        "print('noise', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=PATIENCE)
    assert done.stdout == wire.pack(wire.Loading(what="it"))
    assert done.stderr.count(b"noise") == 4


def test_messages_from_many_threads_come_whole() -> None:
    """Large replies sent at once by four threads arrive one after the other."""
    program = (
        "import threading\n"
        "from daemon.gpu import child, wire\n"
        "_, replies = child.take_streams()\n"
        "send = child.Sender(replies)\n"
        "work = lambda n: [send(wire.Loading(what=str(n) * 300_000)) for _ in range(5)]\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=PATIENCE)
    heard = list(wire.unpack(bytearray(done.stdout), wire.REPLIES))
    assert sorted(reply.what[0] for reply in heard if isinstance(reply, wire.Loading)) == sorted("0123" * 5)
