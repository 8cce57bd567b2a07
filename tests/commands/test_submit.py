"""`submit`: text, file or standard input, to a running daemon or into the inbox, waited for or not."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Self

import pytest

from daemon.prompts import Prompt, parse
from daemon.settings import Home
from tests.commands.conftest import SAFELIGHT, SLOW, Type, typed
from tests.daemons import TIMEOUT, Daemon
from tests.pictures import WORKFLOW, pillow_texts, saved

CHOICE = ("--sampler", "DPM++ 2M", "--scheduler", "karras")
SMALL = ("--width", "64", "--height", "64", "--steps", "3")


def asked(shared: Daemon, job: int) -> dict[str, object]:
    """The prompt of a job, as the log has it."""
    prompt: dict[str, object] = shared.wait_for_type("JobAccepted", job=job)["data"]["prompt"]
    return prompt


def test_a_text_is_waited_for_to_its_picture(shared: Daemon, safelight: Type) -> None:
    """Exit code 0, a line per picture with its path, and the pictures carry how they were made."""
    ended = safelight(
        "submit", "a red fox", "--negative", "grey", "--count", "2", "--seed", "7", *SMALL, *CHOICE, "--wait"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    job, *frames = ended.stdout.splitlines()
    number = int(job.removeprefix("job "))
    paths = [Path(line.partition(" s: ")[2]) for line in frames]
    assert len(paths) == 2
    texts = pillow_texts(paths[1].read_bytes())
    assert texts["parameters"].startswith("a red fox\nNegative prompt: grey\nSteps: 3, ")
    assert "Sampler: DPM++ 2M, Schedule type: Karras, CFG scale" in texts["parameters"]
    assert "Seed: 8, Size: 64x64" in texts["parameters"]
    recipe = json.loads(texts["safelight"])["recipe"]
    assert recipe["prompt"] == {**asked(shared, number), "seed": 8, "count": 1}
    written = shared.wait_for_type("FinalWritten", job=number)["data"]
    assert written["bytes"] == paths[0].stat().st_size


@pytest.mark.parametrize("word", ["fox.json", "-"], ids=["a file", "standard input"])
def test_a_prompt_file_is_taken_with_what_is_typed_over_it(
    shared: Daemon, safelight: Type, tmp_path: Path, word: str
) -> None:
    """An option wins over the same key."""
    prompt = json.dumps({"prompt": "a fox", "seed": 3, "steps": 2, "width": 64, "height": 64})
    (tmp_path / "fox.json").write_text(prompt)
    word = word if word == "-" else str(tmp_path / word)
    ended = safelight("submit", word, "--seed", "4", "--json", stdin=prompt)
    (job,) = json.loads(ended.stdout)["jobs"]
    assert (asked(shared, job)["prompt"], asked(shared, job)["seed"]) == ("a fox", 4)


def test_a_finished_picture_is_made_again_pixel_by_pixel(shared: Daemon, safelight: Type) -> None:
    """Its file is all that is needed."""
    first = safelight("submit", "a red fox", "--count", "2", "--seed", "7", *SMALL, "--wait", "--json")
    original = json.loads(first.stdout)["frames"][1]
    again = safelight("submit", str(shared.home.root / original["path"]), "--wait", "--json")
    (made,) = json.loads(again.stdout)["frames"]
    assert (made["seed"], made["status"]) == (8, "done")
    before = shared.wait_for_type("FinalWritten", frame=original["id"])["data"]
    after = shared.wait_for_type("FinalWritten", frame=made["id"])["data"]
    assert after["pixels_sha256"] == before["pixels_sha256"]


def test_a_picture_of_another_program_becomes_a_job_that_names_what_is_lost(
    shared: Daemon, safelight: Type, tmp_path: Path
) -> None:
    """Read from A1111's text; a picture that says nothing is refused as a file is."""
    text = "a red fox\nNegative prompt: grey\nSteps: 3, Seed: 5, Size: 64x64, Clip skip: 2"
    (tmp_path / "fox.PNG").write_bytes(saved({"parameters": text}))
    ended = safelight("submit", str(tmp_path / "fox.PNG"))
    assert ended.stderr == "not carried over: Clip skip: 2\n"
    job = int(ended.stdout.removeprefix("job "))
    prompt = asked(shared, job)
    assert (prompt["prompt"], prompt["negative_prompt"], prompt["seed"]) == ("a red fox", "grey", 5)
    assert (prompt["steps"], prompt["width"]) == (3, 64)
    source = shared.wait_for_type("JobAccepted", job=job)["data"]["source"]
    assert source["not_carried"] == ["Clip skip: 2"]
    (tmp_path / "bare.png").write_bytes(saved())
    refused = safelight("submit", str(tmp_path / "bare.png"))
    assert (refused.returncode, "carries no parameters" in refused.stderr) == (2, True)


def test_a_comfyui_workflow_is_taken_like_a_prompt_file(
    shared: Daemon, safelight: Type, tmp_path: Path
) -> None:
    """In API format, as a file."""
    (tmp_path / "flow.json").write_bytes(WORKFLOW)
    safelight("pause")
    ended = json.loads(safelight("submit", str(tmp_path / "flow.json"), "--json").stdout)
    prompt = asked(shared, ended["jobs"][0])
    assert (prompt["prompt"], prompt["model"]) == ('a bottle with a "galaxy" in it', "sd_xl_base_1.0")
    safelight("cancel", "--all")
    safelight("resume")


def test_several_jobs_of_one_file_are_all_told(shared: Daemon, safelight: Type, tmp_path: Path) -> None:
    """As a list or as lines; a key that was taken before is the job that it was then."""
    small = {"width": 64, "height": 64, "steps": 1}
    listed = {"key": "once", "defaults": small, "jobs": [{"prompt": "one"}, {"prompt": "two"}]}
    (tmp_path / "two.json").write_text(json.dumps(listed))
    lines = "\n".join(json.dumps({"prompt": word, **small}) for word in ("three", "four"))
    (tmp_path / "two.jsonl").write_text(lines)
    first = json.loads(safelight("submit", str(tmp_path / "two.json"), "--json").stdout)
    words = [*(str(tmp_path / "two.jsonl"), "--wait"), "--json"]
    second = json.loads(safelight("submit", *words).stdout)
    told = [asked(shared, job)["prompt"] for job in [*first["jobs"], *second["jobs"]]]
    assert told == ["one", "two", "three", "four"]
    assert [frame["status"] for frame in second["frames"]] == ["done", "done"]
    third = json.loads(safelight("submit", "-", "--json", stdin=lines).stdout)
    assert len(third["jobs"]) == 2
    again = safelight("submit", str(tmp_path / "two.json"))
    assert (again.returncode, again.stdout) == (
        0,
        f"job {first['jobs'][0]}, taken before: nothing was queued\n",
    )


def test_words_on_standard_input_are_a_prompt(shared: Daemon, safelight: Type) -> None:
    """So that any program can say what it wants."""
    ended = safelight("submit", "-", *SMALL, "--json", stdin="a grey wolf\n")
    assert asked(shared, json.loads(ended.stdout)["jobs"][0])["prompt"] == "a grey wolf"


def test_faults_are_told_as_a_rejected_file_is(shared: Daemon, safelight: Type, nowhere: Home) -> None:
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


def test_a_failed_or_cancelled_picture_is_exit_code_1(shared: Daemon, safelight: Type) -> None:
    """With its reason."""
    failed = safelight("submit", "a fox", "--model", "nowhere", "--wait")
    assert failed.returncode == 1
    assert "failed: There is no checkpoint" in failed.stdout
    with Waiter(shared.home, *SLOW) as waiter:
        frame = shared.wait_for_type("FrameCreated", job=int(waiter.line.removeprefix("job ")))["data"][
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


def test_ctrl_c_while_waiting_leaves_the_job_running_and_says_so(shared: Daemon, safelight: Type) -> None:
    """130, and how to end it."""
    with Waiter(shared.home, *SLOW) as waiter:
        job = int(waiter.line.removeprefix("job "))
        began = shared.wait_for_type("FrameCreated", job=job)
        waiter.process.send_signal(signal.SIGINT)
        _, said = waiter.process.communicate(timeout=TIMEOUT)
    assert waiter.process.returncode == 130
    assert said.strip() == f"job {job} goes on; to end it: safelight cancel {job}"
    shared.wait_for_type("PreviewWritten", after=began["seq"], job=job)
    assert safelight("cancel", str(job)).returncode == 0


def test_a_daemon_that_ends_is_told_to_who_waits(shared: Daemon, safelight: Type) -> None:
    """3: the job goes on at its next start."""
    with Waiter(shared.home, *SLOW) as waiter:
        assert shared.stop() == 0
        _, said = waiter.process.communicate(timeout=TIMEOUT)
    assert waiter.process.returncode == 3
    assert "goes on when it is started again" in said
    assert said.count("\n") == 1
    shared.start()
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
