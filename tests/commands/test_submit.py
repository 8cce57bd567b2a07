"""`submit`: text, file or standard input, to a running daemon or into the inbox, waited for or not."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Self

import pytest

from daemon.prompts import Prompt, parse
from daemon.settings import Home
from tests.commands.conftest import SAFELIGHT, Type, typed
from tests.daemons import TIMEOUT, Daemon
from tests.pictures import pillow_texts

SMALL = ("--width", "64", "--height", "64", "--steps", "3")


def asked(daemon: Daemon, job: int) -> dict[str, object]:
    """The prompt of a job, as the log has it."""
    prompt: dict[str, object] = daemon.wait_for_type("JobAccepted", job=job)["data"]["prompt"]
    return prompt


def test_a_text_is_waited_for_to_its_picture(daemon: Daemon, safelight: Type) -> None:
    """Exit code 0, a line per picture with its path, and the pictures carry how they were made."""
    ended = safelight(
        "submit", "a red fox", "--negative", "grey", "--count", "2", "--seed", "7", *SMALL, "--wait"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    job, *frames = ended.stdout.splitlines()
    number = int(job.removeprefix("job "))
    paths = [Path(line.partition(" s: ")[2]) for line in frames]
    assert len(paths) == 2
    texts = pillow_texts(paths[1].read_bytes())
    assert texts["parameters"].startswith("a red fox\nNegative prompt: grey\nSteps: 3, ")
    assert "Seed: 8, Size: 64x64" in texts["parameters"]
    recipe = json.loads(texts["safelight"])["recipe"]
    assert recipe["prompt"] == {**asked(daemon, number), "seed": 8, "count": 1}
    written = daemon.wait_for_type("FinalWritten", job=number)["data"]
    assert written["bytes"] == paths[0].stat().st_size


@pytest.mark.parametrize("word", ["fox.json", "-"], ids=["a file", "standard input"])
def test_a_prompt_file_is_taken_with_what_is_typed_over_it(
    daemon: Daemon, safelight: Type, tmp_path: Path, word: str
) -> None:
    """An option wins over the same key."""
    prompt = json.dumps({"prompt": "a fox", "seed": 3, "steps": 2, "width": 64, "height": 64})
    (tmp_path / "fox.json").write_text(prompt)
    word = word if word == "-" else str(tmp_path / word)
    ended = safelight("submit", word, "--seed", "4", "--json", stdin=prompt)
    (job,) = json.loads(ended.stdout)["jobs"]
    assert (asked(daemon, job)["prompt"], asked(daemon, job)["seed"]) == ("a fox", 4)


def test_words_on_standard_input_are_a_prompt(daemon: Daemon, safelight: Type) -> None:
    """So that any program can say what it wants."""
    ended = safelight("submit", "-", *SMALL, "--json", stdin="a grey wolf\n")
    assert asked(daemon, json.loads(ended.stdout)["jobs"][0])["prompt"] == "a grey wolf"


def test_faults_are_told_as_a_rejected_file_is(daemon: Daemon, safelight: Type, nowhere: Home) -> None:
    """One line each, exit code 2, whether or not a daemon runs; nothing is queued."""
    for ended in (
        safelight("submit", "a fox", "--steps", "0", "--width", "7"),
        typed(nowhere, "submit", "a fox", "--steps", "0", "--width", "7"),
    ):
        assert (ended.returncode, ended.stdout) == (2, "")
        first, second = sorted(ended.stderr.splitlines())
        assert "($.width): `width` must be" in first
        assert "($.steps): `steps` must be" in second
    assert not list(nowhere.inbox.iterdir())
    missing = safelight("submit", "nowhere.json")
    assert (missing.returncode, missing.stderr) == (2, "safelight: nowhere.json: No such file or directory\n")


def test_a_failed_or_cancelled_picture_is_exit_code_1(daemon: Daemon, safelight: Type) -> None:
    """With its reason."""
    failed = safelight("submit", "a fox", "--model", "nowhere", "--wait")
    assert failed.returncode == 1
    assert "failed: There is no checkpoint" in failed.stdout
    with Waiter(daemon.home, "--steps", "500") as waiter:
        frame = daemon.wait_for_type("FrameCreated", job=int(waiter.line.removeprefix("job ")))["data"][
            "frame"
        ]
        safelight("cancel", "--frame", str(frame))
        output, _ = waiter.process.communicate(timeout=TIMEOUT)
    assert waiter.process.returncode == 1
    assert output.startswith(f"frame {frame} cancelled after step ")


class Waiter:
    """A `submit --wait` that has said its job."""

    def __init__(self, home: Home, *options: str) -> None:
        command = [str(SAFELIGHT), "submit", "a slow fox", *options, "--wait", "--home", str(home.root)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline().strip()
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def test_ctrl_c_while_waiting_leaves_the_job_running_and_says_so(daemon: Daemon, safelight: Type) -> None:
    """130, and how to end it."""
    with Waiter(daemon.home, "--steps", "500") as waiter:
        job = int(waiter.line.removeprefix("job "))
        began = daemon.wait_for_type("FrameCreated", job=job)
        waiter.process.send_signal(signal.SIGINT)
        _, said = waiter.process.communicate(timeout=TIMEOUT)
    assert waiter.process.returncode == 130
    assert said.strip() == f"job {job} goes on; to end it: safelight cancel {job}"
    daemon.wait_for_type("PreviewWritten", after=began["seq"], job=job)
    assert safelight("cancel", str(job)).returncode == 0


def test_a_daemon_that_ends_is_told_to_who_waits(daemon: Daemon, safelight: Type) -> None:
    """3: the job goes on at its next start."""
    with Waiter(daemon.home, "--steps", "500") as waiter:
        assert daemon.stop() == 0
        _, said = waiter.process.communicate(timeout=TIMEOUT)
    assert waiter.process.returncode == 3
    assert "goes on when it is started again" in said
    assert said.count("\n") == 1
    daemon.start()
    assert safelight("cancel", "--all").returncode == 0


def test_without_a_daemon_the_prompt_waits_in_the_inbox(nowhere: Home) -> None:
    """Whole, under a name of its own; there is nothing to wait for."""
    for _ in range(2):
        ended = typed(nowhere, "submit", "a fox", "--steps", "3")
        assert (ended.returncode, ended.stderr) == (0, "")
    one, other = nowhere.inbox.iterdir()
    for path in (one, other):
        prompt = parse(path.read_bytes(), "demo")
        assert isinstance(prompt, Prompt)
        assert (prompt.prompt, prompt.steps) == ("a fox", 3)
    told = json.loads(typed(nowhere, "submit", "a fox", "--json").stdout)
    assert Path(told["file"]).parent == nowhere.inbox
    waiter = typed(nowhere, "submit", "a fox", "--wait")
    assert (waiter.returncode, waiter.stderr.count("\n")) == (3, 1)
    assert len(list(nowhere.inbox.iterdir())) == 3
