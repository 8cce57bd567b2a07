"""`pause`, `resume`, `cancel`, `prioritise` on a real daemon."""

import getpass
import json

from daemon.settings import Home
from tests.commands.conftest import SLOW, Type, typed
from tests.daemons import Daemon

SMALL = ("--width", "64", "--height", "64", "--steps", "2")


def test_a_pause_holds_across_a_restart_until_it_is_resumed(shared: Daemon, safelight: Type) -> None:
    """Who paused is told; what waits is made once it goes on, in the order of its priorities."""
    assert safelight("pause").stdout == "paused: what is being made goes on\n"
    assert safelight("pause").stdout == "paused already\n"
    first = json.loads(safelight("submit", "a cat", *SMALL, "--json").stdout)
    second = safelight("submit", "a dog", *SMALL)
    assert (second.stdout, second.returncode) == ("job 2\n", 0)
    assert "the queue is paused by" in second.stderr
    assert safelight("prioritise", "2", "5").stdout == "job 2 has priority 5\n"
    assert shared.stop() == 0
    shared.start()

    status = json.loads(safelight("status", "--json").stdout)
    assert status["paused_by"] == f"{getpass.getuser()} at the command line"
    assert [frame["status"] for frame in status["frames"]] == ["queued", "queued"]
    assert json.loads(safelight("resume", "--json").stdout)["changed"] is True
    assert safelight("resume").stdout == "the queue was not paused\n"
    last = shared.wait_for_type("FinalWritten", frame=first["frames"][0])
    begun = shared.wait_for_types("FrameCreated", up_to=last["seq"])
    assert [each["data"]["job"] for each in begun] == [2, 1]


def test_cancel_ends_a_job_a_picture_or_everything(shared: Daemon, safelight: Type) -> None:
    """By number, and each says which frames it was; nothing left to cancel is no error."""
    slow = json.loads(safelight("submit", "a slow cat", *SLOW, "--count", "4", "--json").stdout)
    running, second, *others = slow["frames"]
    shared.wait_for_type("PreviewWritten", frame=running)
    assert safelight("cancel", "--frame", str(second)).stdout == f"cancelled: frame {second}\n"
    cancelled = json.loads(safelight("cancel", "--all-but-running", "--json").stdout)
    assert cancelled["frames"] == others
    assert safelight("cancel", str(slow["jobs"][0])).stdout == f"cancelled: frame {running}\n"
    shared.wait_for_type("FrameCancelled", frame=running)
    assert safelight("cancel", "--all").stdout == "there was nothing to cancel\n"


def test_what_cannot_be_is_said_in_one_line_with_its_code(safelight: Type, nowhere: Home) -> None:
    """1 for what the daemon refuses, 2 for what makes no sense, 3 where none runs."""
    unknown = safelight("cancel", "999")
    assert (unknown.returncode, unknown.stderr) == (1, "safelight: there is no job 999\n")
    unclear: list[tuple[str, ...]] = [(), ("1", "--all"), ("--all", "--all-but-running")]
    for words in unclear:
        senseless = safelight("cancel", *words)
        assert (senseless.returncode, senseless.stderr.count("\n")) == (2, 1)
    for words in [("pause",), ("resume",), ("cancel", "--all"), ("prioritise", "1", "1"), ("status",)]:
        absent = typed(nowhere, *words)
        assert (absent.returncode, absent.stdout) == (3, "")
        assert absent.stderr.startswith("safelight: no daemon runs on ")
        assert absent.stderr.count("\n") == 1
