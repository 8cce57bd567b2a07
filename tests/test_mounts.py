"""What folders lie on: by the kernel's own table, and by trying."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.drops import prepare
from daemon.mounts import check_moves, file_system, is_remote, unwatchable
from daemon.settings import Home

TABLE = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /home rw - btrfs /dev/sdb rw
31 30 0:26 / /home/me/my\040nas rw - nfs4 server:/x rw
32 31 0:27 / /home/me/my\040nas/cache rw - tmpfs none rw
33 22 0:28 / /mnt/phone rw - fuse.sshfs phone:/ rw
34 22 0:29 / /mnt/c rw - 9p C: rw
35 22 0:30 / /mnt/c rw - ext4 /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "remote"),
    [
        ("/srv", "ext4", False),
        ("/", "ext4", False),
        ("/home", "btrfs", False),
        ("/homes/x", "ext4", False),
        ("/home/me/my nas/inbox", "nfs4", True),
        ("/home/me/my nas/cache/inbox", "tmpfs", False),
        ("/mnt/phone/inbox", "fuse.sshfs", True),
        ("/mnt/c/inbox", "ext4", False),
    ],
)
def test_the_innermost_and_latest_mount_counts(path: str, kind: str, remote: bool) -> None:
    """Escaped blanks, and names that only begin alike, included."""
    assert file_system(TABLE, path) == kind
    assert is_remote(kind) is remote


def test_this_folder_can_be_watched_and_moved_in(tmp_path: Path) -> None:
    """Asked of the kernel's real table."""
    assert unwatchable(tmp_path) is None
    prepare(Home(tmp_path / "home"))


def test_a_folder_on_another_mount_is_named_at_the_start(tmp_path: Path, mounted: "Mount") -> None:
    """Of another file system, or only another mount of the same one: a rename would fail, file by file."""
    home = Home(tmp_path / "home")
    prepare(home)
    for arguments in (["-t", "tmpfs", "none"], ["--bind", str(tmp_path)]):
        mounted(arguments, home.done)
        with pytest.raises(OSError, match="done must lie on the same file system") as raised:
            check_moves(home.inbox, [home.rejected, home.done])
        assert raised.value.errno == errno.EXDEV
        subprocess.run(["umount", str(home.done)], check=True)


Mount = Callable[[list[str], Path], None]


@pytest.fixture
def mounted(tmp_path: Path) -> "Mount":
    """Mounts something; skips where that is not permitted."""

    def mount(arguments: list[str], folder: Path) -> None:
        made = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"mounting is not permitted here (uid {os.geteuid()}): {made.stderr.strip()}")

    return mount
