"""What a folder lies on: whether changes in it can be watched, and whether files can be moved from it.

Network and FUSE file systems tell us of our own changes only, not of those made elsewhere.
"""

import errno
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "drvfs", "lustre", "ncpfs", "smb3", "smbfs", "vboxsf"}
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def unwatchable(folder: Path) -> str | None:
    """The name of the folder's file system if it is one that cannot be watched."""
    try:
        kind = file_system(_MOUNTS.read_text(errors="surrogateescape"), str(folder.resolve()))
    except FileNotFoundError:  # no Linux
        return None
    return kind if is_remote(kind) else None


def file_system(mountinfo: str, path: str) -> str:
    """The type of the file system that `path` lies on, by proc(5)'s `mountinfo`; "" if none is named."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), left.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of two mounts at one place the later one shows
            best, kind = point, right.split(" ")[0]
    return kind


def is_remote(kind: str) -> bool:
    """Whether changes on a file system of this type may come from where nobody tells us."""
    return kind in _REMOTE or kind.startswith(("nfs", "fuse", "virtiofs", "gluster"))


def check_moves(folder: Path, others: list[Path]) -> None:
    """Raise OSError, naming the first of `others` to which files cannot be moved from `folder`."""
    for other in others:
        if folder.stat().st_dev != other.stat().st_dev or _crosses(folder, other):
            raise OSError(
                errno.EXDEV,
                f"{other} must lie on the same file system as {folder}, so that files move whole; "
                "take the mount away or choose another --home",
            )


def _crosses(folder: Path, other: Path) -> bool:
    """Whether a rename would cross a mount: asked with a name that is not there, before which Linux looks."""
    try:
        (folder / ".nothing.tmp").rename(other / ".nothing.tmp")
    except OSError as error:
        return error.errno == errno.EXDEV
    return False
