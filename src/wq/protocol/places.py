"""Where the parties meet: the sockets, and each user's private directories. Standard library only."""

from __future__ import annotations

import os
import stat
import sys

from wq.protocol import sockets

DEFAULT_PORT = 51093
OVERFLOW_UID = 65534
UNFINISHED = "unfinished"  # in a launcher's directory, while it has work
NEWS = "news"  # there, too: lines that the next command of the user shows
NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb3 smbfs afs lustre gpfs beegfs ceph 9p fuse.sshfs fuse.glusterfs glusterfs orangefs".split()
)


class PlaceError(Exception):
    """A directory or socket that cannot be used or must not be trusted; its text is the sentence."""


def meeting_dir(uid: int, port: int) -> str:
    """The directory of the sockets of one user and queue."""
    return f"/tmp/wq-{uid}-{port}"


def server_socket(uid: int, port: int, *, private: bool = False) -> str:
    return f"{meeting_dir(uid, port)}/{'private' if private else 'server'}.sock"


def launcher_socket(uid: int, port: int, server_uid: int, *, private: bool = False) -> str:
    """The socket of a user's own launcher for the queue of one server."""
    return f"{meeting_dir(uid, port)}/launcher-{'private' if private else server_uid}.sock"


def launcher_state_name(port: int, server_uid: int, *, private: bool = False) -> str:
    """The name of the launcher's private directory."""
    return f"launcher-{'private' if private else server_uid}-{port}"


def check_meeting_dir(uid: int, port: int) -> None:
    """Raises PlaceError unless the directory is this user's own, and nobody else can put a socket there."""
    path = meeting_dir(uid, port)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o022:
        raise PlaceError(f"{path} is not a directory that only uid {uid} can write to; its owner is uid {found.st_uid}")


def make_meeting_dir(port: int) -> str:
    """Make this user's directory for sockets, or check the one that is there. Raises PlaceError, OSError."""
    uid = os.getuid()
    path = meeting_dir(uid, port)
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o755)
    except FileExistsError:
        pass
    check_meeting_dir(uid, port)
    return path


def state_dir(name: str, *, hostname: str | None = None) -> tuple[str, str | None]:
    """(a private directory for state that outlives reboots, a remark if it is not where it usually is)."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    inside = os.path.join("wq", hostname or sockets.gethostname(), name)
    remark = None
    if file_system_of(base) in NETWORK_FILE_SYSTEMS or not can_make(base):
        moved = f"/var/tmp/wq-state-{os.getuid()}"
        remark = f"{base} is no local directory that can be written to; using {moved}"
        make_private(moved)
        base = moved
    path = os.path.join(base, inside)
    make_private(path)
    return path, remark


def can_make(path: str) -> bool:
    """True if this user could make a directory at this path."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK | os.X_OK)


def make_private(path: str) -> None:
    """A directory that only this user can enter. Raises PlaceError if somebody else's is there."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PlaceError(f"{path} is not a directory of uid {os.getuid()}")
    if found.st_mode & 0o077:
        os.chmod(path, 0o700)


def file_system_of(path: str) -> str:
    """The type of the file system where the path is, or would be."""
    path = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                left, _, right = line.partition(" - ")
                point = left.split()[4].replace("\\040", " ")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, right.split()[0]
    except OSError:
        return ""
    return kind


def peer_uid(conn: sockets.socket) -> int:
    """Who is at the other end, as the kernel says. Raises PlaceError for the overflow uid, which is nobody."""
    _, uid = peer(conn)
    if uid == OVERFLOW_UID:
        raise PlaceError("the other end is in a user namespace where nobody's identity can be known")
    return uid


def peer(conn: sockets.socket) -> tuple[int, int]:
    """The process and the user at the other end."""
    packed = conn.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12)  # three ints: pid, uid, gid
    pid, uid = (int.from_bytes(packed[at : at + 4], sys.byteorder, signed=True) for at in (0, 4))
    return pid, uid
