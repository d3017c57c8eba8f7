"""What a node is like: cores, memory, GPUs, clock, disks, and whether it sees our files; for `wq init` and `wq doctor`.

Its source goes down an ssh, looks round, prints one line of JSON behind a greeting word, and is gone. Nothing is left
there. Standard library only; the syntax is that of Python 3.4, so that one that is too old for wq can still say so.
"""

import errno
import json
import os
import stat
import sys
import tempfile
import time

GREETING = b"wq-probe/1 "
BASES = ("/var/tmp", "/tmp")  # these three as in shepherd.py
TAG_BASE = 1 << 50
TAGS = 1 << 40


def main(token, here):
    """token: of the marker files. here: the directory of the one who asks, in hexadecimal."""
    facts = {
        "python": list(sys.version_info[:3]),
        "cores": len(os.sched_getaffinity(0)),
        "mem_kb": memory_kb(),
        "gpus": gpus(),
        "uid": os.getuid(),
        "boot": first_line("/proc/sys/kernel/random/boot_id"),
        "home": os.path.lexists(os.path.join(os.path.expanduser("~"), marker(token))),
        "here": sight_of(os.fsdecode(bytes.fromhex(here)), token),
        "bases": [place(base) for base in BASES],
    }
    facts["keepers"], facts["marked"] = processes()
    facts["time_ms"] = int(time.time() * 1000)  # last, so that it is as new as can be
    data = b"\n" + GREETING + json.dumps(facts).encode("ascii") + b"\n"
    while data:
        data = data[os.write(1, data) :]


def marker(token):
    """The name of the file that the one who asks has made, if it is made at all."""
    return ".wq-probe-" + token


def first_line(path):
    try:
        with open(path, "rb") as f:
            return f.readline(4096).decode("ascii", "replace").strip()
    except OSError:
        return ""


def memory_kb():
    try:
        with open("/proc/meminfo", "rb") as f:
            for line in f:
                if line.startswith(b"MemTotal:"):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def gpus():
    """How many there are, by what their drivers show; no program is called, for such programs can hang."""
    nvidia = len(names_in("/proc/driver/nvidia/gpus"))
    if not nvidia:  # as in containers
        names = names_in("/dev")
        nvidia = len([name for name in names if name[:6] == "nvidia" and name[6:].isdigit()])
    nodes = "/sys/class/kfd/kfd/topology/nodes"
    amd = [name for name in names_in(nodes) if first_line(os.path.join(nodes, name, "gpu_id")) not in ("", "0")]
    return nvidia + len(amd)


def names_in(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def sight_of(path, token):
    """Whether a directory is the same one here: shared, other (none of our files is there), missing."""
    if not os.path.isdir(path):
        return "missing"
    return "shared" if os.path.lexists(os.path.join(path, marker(token))) else "other"


def place(base):
    """Whether there is room for a spool, on what kind of disk, and what is there under our name."""
    found = {"base": base, "write": "ok", "free": 0, "files": None, "kind": kind_of(base), "spool": spool_in(base)}
    try:
        fd, path = tempfile.mkstemp(prefix=".wq-probe-", dir=base)
        try:
            os.write(fd, b"x" * 4096)
        finally:
            os.close(fd)
            os.unlink(path)
    except OSError as error:
        found["write"] = errno.errorcode.get(error.errno, "EIO")
    try:
        room = os.statvfs(base)
        found["free"] = room.f_bavail * room.f_frsize
        if room.f_files:  # (some kinds of file system do not count them)
            found["files"] = room.f_favail
    except OSError:
        pass
    return found


def spool_in(base):
    """(uid, mode, whether it is a directory) of what lies where our spools are kept; None if nothing does."""
    try:
        found = os.lstat(os.path.join(base, "wq-{}".format(os.getuid())))
    except OSError:
        return None
    return [found.st_uid, stat.S_IMODE(found.st_mode), stat.S_ISDIR(found.st_mode)]


def kind_of(path):
    """The type of the file system."""
    path = os.fsencode(os.path.realpath(path))
    best, kind = b"", b""
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            for line in mounts:
                left, _, right = line.partition(b" - ")
                point = left.split()[4]
                inside = path == point or path.startswith(point.rstrip(b"/") + b"/")
                if inside and len(point) >= len(best):
                    best, kind = point, right.split()[0]
    except (OSError, IndexError):
        pass
    return kind.decode("ascii", "replace")


def processes():
    """How many keepers of this user run here, and how many processes that carry the mark of a job."""
    keepers = marked = 0
    for name in names_in("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat("/proc/" + name).st_uid != os.getuid():
                continue
            with open("/proc/{}/cmdline".format(name), "rb") as f:
                keepers += f.read(64).startswith(b"wq-keeper")
            with open("/proc/{}/limits".format(name), "rb") as f:
                marked += is_marked(f.read())
        except (OSError, ValueError, IndexError):
            pass  # it has ended, or is not ours to look into
    return keepers, marked


def is_marked(limits):
    """Whether the limits of a process bear the tag of an attempt."""
    soft = limits.partition(b"Max realtime timeout")[2].split()[0]
    return soft != b"unlimited" and TAG_BASE <= int(soft) < TAG_BASE + TAGS


if __name__ == "__main__":
    main(*os.environ["WQ_PROBE"].split())  # not on the command line, which everybody there can see
