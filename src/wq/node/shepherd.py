"""The shepherd: the parent of one user's jobs on one node, for one queue.

This one file needs Python 3.6 and nothing else. The launcher sends its source down the pipe of an
ssh session (or of a local child); run there, it is one of these, by `ROLE`:

    attach    hands its stdin and stdout to the living shepherd of this spool, or starts one first
    keeper    parent of the shepherd, sub-reaper: waits, writes statuses down, starts the shepherd again
    shepherd  starts jobs, follows them, ends them; survives the connection
    side      the side connection of a job with a terminal or with X
    agent     the remote-shell agent that MPI calls on the job's first node
    orphans   lists, or ends, this user's processes that were part of an attempt which runs no more

The spool is the truth and the pipe only a hint: the journal has a record before each start, and each end
is on disk before it is told. A start is refused if the journal knows the attempt; a query that finds
nothing plants a tombstone, so that a start still on its way is refused too (safety.md P4, P5).

Words on the pipe are frames: four bytes of length (big-endian), then JSON, or a chunk of a stream
that begins with the byte 1 (see `pack_data`). Downwards a frame has "do", upwards "say".

Tasks of arrays come in batches, made from a template, and wait in lanes: of a lane one runs at a time, and the next
starts as soon as nothing is left of the one before. What happens to them is told in groups.
"""

import array
import binascii
import collections
import errno
import fcntl
import gc
import heapq
import json
import os
import pty
import pwd
import resource
import selectors
import shlex
import signal
import socket
import stat
import struct
import sys
import termios
import time
import tty

VERSION = 1
GREETING = b"wq-shepherd/1 ready\n"
COMPLAINT = b"wq-shepherd/1 error "
MAX_FRAME_BYTES = 8 << 20
WINDOW_BYTES = 256 << 10  # of a stream, sent and not yet acknowledged
CHUNK_BYTES = 64 << 10
STDIN, STDOUT, STDERR = 0, 1, 2
KEPT_AS = {STDOUT: ".out", STDERR: ".err"}  # in the spool, where the files of the submitting host are not seen
NOWHERE = "/dev/null"
SILENCE_S = 60.0  # a link that says nothing for so long is dead
SIDE_WAIT_S = 90.0  # a job with a terminal waits so long for its side connection
AGENT_WAIT_S = 90.0  # a call of the remote-shell agent waits so long for somebody to hear of it
ALONE_S = 10.0  # a new shepherd whose attacher never came goes after that
ATTACH_S = 15.0  # the shepherd must have answered by then
HOUSEKEEPING_S = 6 * 3600.0
UNASKED_S = 30 * 86400.0  # what nobody has asked for so long is let go
LEFTOVER_GRACE_S = 1.0  # between TERM and KILL for what a job leaves behind
SWEEP_EVERY_S = 0.05
SECOND_LOOK_S = 0.01
DOUBT_S = 1.0  # an end by a signal that nobody here sent is told so much later: the node may be going down
GOING_DOWN_S = 120.0  # after a TERM the node has so long to go down
ORPHAN_GRACE_S = 2.0
USE_AT_S = (0.5, 1.0, 2.0)  # after its start an attempt is looked at for what it uses
USE_EVERY_S = 5.0  # and then so often
USE_SLACK_S = 0.25  # those that are due so soon are looked at in the same pass
USED = ("cpu_s", "wall_s", "peak_mem_bytes", "io_read_bytes", "io_write_bytes")  # in an end
LIMIT_GRACE_S = 5.0  # between TERM and KILL, when the time of an attempt is over
REPORT_S = 0.1  # so long at most what happens to tasks of batches waits to be told, unless a lane runs low
TALK = frozenset({signal.SIGUSR1, signal.SIGUSR2})  # and the real-time signals
LIGHT = frozenset({"started", "acked", "side"})  # what may be said before the disk has it
YOUNG_S = 0.05  # a task that was fed ahead is bound to its cores if it has run for so long
RETRY_S = 0.5  # between two tries to write to a full disk
RESERVE_BYTES = 64 << 10  # kept in the spool, so that ends can be written down when its disk is full
RESERVE_AGAIN_S = 5.0
COMPACT_BYTES = 1 << 20  # a journal smaller than that is left to grow
BASES = ("/var/tmp", "/tmp")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
KILLED = {"lost": "the shepherd was killed, and its keeper too"}
REBOOTED = {"lost": "the node was rebooted while it ran", "rebooted": True}
CLOCK_BOOTTIME = 7
RLIMIT_RTTIME = 15
TAG_BASE = 1 << 50
TAGS = 1 << 40
UMASK = 0o077
TICKS = os.sysconf("SC_CLK_TCK")  # a second, of the kernel's start times
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
NODE_MEM_BYTES = os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
FAST = hasattr(os, "posix_spawn")
LIMITS = {"core": 4, "data": 2, "fsize": 1, "memlock": 8, "nofile": 7, "stack": 3, "as": 9}


# --- words -----------------------------------------------------------------------------------------


encode = json.JSONEncoder(separators=(",", ":")).encode


def pack(message):
    """A frame with a JSON object."""
    body = encode(message).encode("utf-8", "surrogateescape")
    return struct.pack(">I", len(body)) + body


def pack_data(att, channel, offset, payload):
    """A frame with a chunk of a stream: which attempt, channel 0 to 2, offset in bytes, the bytes."""
    name = att.encode()
    head = struct.pack(">BBQB", 1, channel, offset, len(name)) + name
    return struct.pack(">I", len(head) + len(payload)) + head + bytes(payload)


class Frames:
    """Bytes in, messages out: objects, or tuples (att, channel, offset, bytes)."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        """The whole messages that are there now; ValueError if this is no frame of ours."""
        self.buffer += data
        out = []
        while len(self.buffer) >= 4:
            (size,) = struct.unpack_from(">I", self.buffer)
            if size > MAX_FRAME_BYTES or size == 0:
                raise ValueError("a frame of {} bytes".format(size))
            if len(self.buffer) < 4 + size:
                break
            body = bytes(self.buffer[4 : 4 + size])
            del self.buffer[: 4 + size]
            out.append(unpack(body))
        return out


def unpack(body):
    """One frame's body: an object, or a chunk as (att, channel, offset, bytes)."""
    if body[:1] == b"\x01":
        if len(body) < 11:
            raise ValueError("a chunk of {} bytes".format(len(body)))
        _, channel, offset, size = struct.unpack_from(">BBQB", body)
        name = body[11 : 11 + size].decode()
        return (name, channel, offset, body[11 + size :])
    try:
        message = json.loads(body.decode("utf-8", "surrogateescape"))
    except RecursionError:
        raise ValueError("nested too deeply")
    if not isinstance(message, dict):
        raise ValueError("not an object")
    return message


# --- the kernel ------------------------------------------------------------------------------------


def now():
    """Seconds since boot, counting sleep; never the wall clock."""
    return time.clock_gettime(CLOCK_BOOTTIME)


def boot_id():
    try:
        with open("/proc/sys/kernel/random/boot_id") as f:
            return f.read().strip()
    except OSError:
        return "unknown"


def become_subreaper():
    """Orphans below this process become its children instead of init's."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def set_title(title):
    """What `ps` shows: the kernel's short name, and the command line where it lies in memory."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(15, title.encode(), 0, 0, 0)
        with open("/proc/self/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        room = end - start
        text = title.encode()[: room - 1]
        ctypes.memmove(start, text + b"\0" * (room - len(text)), room)
    except (OSError, ValueError, IndexError, ImportError):
        pass


def look_at(pid):
    """(state, pid of its parent, start in clock ticks since boot) of a process, zombies included; None if gone."""
    try:
        with open("/proc/{}/stat".format(pid), "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[19])


def start_time(pid):
    """The start of a process in clock ticks since boot, which with its pid is its identity; None if gone."""
    found = look_at(pid)
    return None if found is None or found[0] in "ZX" else found[2]


def tag_of(pid):
    """The soft limit that marks the processes of one attempt (inherited by all below it); 0 if none."""
    try:
        with open("/proc/{}/limits".format(pid)) as f:
            for line in f:
                if line.startswith("Max realtime timeout"):
                    word = line.split()[3]
                    return int(word) if word.isdigit() else 0
    except OSError:
        pass
    return 0


def children_of(pid):
    """The pids of the children of a process, zombies included."""
    try:
        with open("/proc/{0}/task/{0}/children".format(pid)) as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return []


class Children:
    """The children of this process, zombies included: a file that stays open."""

    def __init__(self):
        try:
            self.fd = os.open("/proc/self/task/{}/children".format(os.getpid()), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.fd = None

    def pids(self):
        data, more = b"", self.fd is not None
        while more:
            part = os.pread(self.fd, CHUNK_BYTES, len(data))
            data += part
            more = len(part) > 2048  # the kernel gives a page at a time; after less nothing follows
        return [int(word) for word in data.split()]


def memory_of(pid):
    """(bytes of its own, bytes that others may have too) of a process in memory; zeros if it is gone."""
    try:
        with open("/proc/{}/statm".format(pid), "rb") as f:
            _, resident, shared = f.read(64).split()[:3]
    except (OSError, ValueError):
        return 0, 0
    return (int(resident) - int(shared)) * PAGE_BYTES, int(shared) * PAGE_BYTES


def io_of(pid):
    """Bytes (read from, written to) storage by a process and those below it that it has waited for."""
    found = {}
    try:
        with open("/proc/{}/io".format(pid), "rb") as f:
            for line in f:
                name, _, value = line.partition(b":")
                found[name] = int(value)
    except (OSError, ValueError):
        pass
    return found.get(b"read_bytes", 0), found.get(b"write_bytes", 0)


def oom_kills():
    """How many processes the kernel has killed since the boot because there was no memory left."""
    try:
        with open("/proc/vmstat", "rb") as f:
            for line in f:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def heeds(pid, number):
    """Does a process catch this signal, or wait for it?"""
    found = 0
    try:
        with open("/proc/{}/status".format(pid), "rb") as f:
            for line in f:
                if line.startswith((b"SigBlk:", b"SigCgt:")):
                    found |= int(line.split()[1], 16)
    except (OSError, ValueError, IndexError):
        pass
    return bool(found >> (number - 1) & 1)


def text_for(pid):
    """What a shell of ours reads (its last word is a file in the spool), but for our own words; None of others."""
    try:
        with open("/proc/{}/cmdline".format(pid), "rb") as f:
            path = f.read(1 << 16).split(b"\0")[-2]
        if os.path.dirname(path) == raw(os.getcwd()) and path.endswith(b".sh"):
            with open(path, "rb") as f:
                return f.read().rpartition(LAST_WORDS_END)[2]
    except (OSError, IndexError):
        pass
    return None


def session_of(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def own_processes():
    """The pids of all processes of this user."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat("/proc/" + name).st_uid == os.getuid():
                    found.append(int(name))
            except OSError:
                pass
    return found


def tree_below(pids):
    """These processes and all their descendants."""
    found, todo = [], list(pids)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children_of(pid)
    return found


def send_signal(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


class Watch:
    """Tells when files grow (inotify), so that nobody has to look again and again."""

    def __init__(self):
        import ctypes

        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.names = {}

    def add(self, path, name):
        handle = self.libc.inotify_add_watch(self.fd, os.fsencode(path), 2)
        if handle >= 0:
            self.names[handle] = name

    def read(self):
        """The names whose files grew."""
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return set()
        grown, at = set(), 0
        while at + 16 <= len(data):
            handle, mask, _, size = struct.unpack_from("iIII", data, at)
            at += 16 + size
            if mask & 0x8000:  # the file is gone
                self.names.pop(handle, None)
            elif handle in self.names:
                grown.add(self.names[handle])
        return grown


# --- the spool -------------------------------------------------------------------------------------


class Trouble(Exception):
    """Something that a human must hear; its text is the sentence."""


def base_of(name):
    """Where a spool is, or is to be: in the first place that keeps files over a reboot and can be written to now.

    One that is there stays where it is: who looked elsewhere would find that its jobs had never been started.
    """
    for base in BASES:
        if owner_of(os.path.join(base, os.path.dirname(name))) == owner_of(os.path.join(base, name)) == os.getuid():
            return base
    for base in BASES:
        if os.access(base, os.W_OK) and owner_of(os.path.join(base, os.path.dirname(name))) in (None, os.getuid()):
            return base  # (one where somebody else has planted something at our name is left alone)
    return BASES[-1]


def owner_of(path):
    """The uid that this name itself belongs to, be it a link; None if there is no such name."""
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None


def enter_spool(key):
    """Make and enter the private directory of one queue and node; answers its path.

    FileNotFoundError: a shepherd that leaves was taking it away; try again.
    """
    uid = os.getuid()
    path = base_of(os.path.join("wq-{}".format(uid), key))
    for part in ("wq-{}".format(uid), key):
        path = os.path.join(path, part)
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOENT):
                raise Trouble("cannot make {}: {}".format(path, error.strerror))
        made = os.lstat(path)
        if not stat.S_ISDIR(made.st_mode) or made.st_uid != uid or made.st_mode & 0o077:
            raise Trouble("{} is not a private directory of uid {}; its owner is uid {}".format(path, uid, made.st_uid))
    os.chdir(path)
    return path


def clear_spool(spool):
    """Take away all that is in a spool, and the spool; the lock last.

    The keeper's notes go first: where they are missing, a shepherd was killed in the middle of this, and the next one
    carries on with it. (It could not live there: the keeper would write on into a file without a name.)
    """
    clear_directory(".")
    remove_directory(spool)


def clear_directory(path):
    for name in sorted(os.listdir(path), key=lambda name: (name != "notes", name == "lock")):
        try:
            os.unlink(os.path.join(path, name))
        except FileNotFoundError:
            pass


def remove_directory(spool):
    """Take away the directory of a spool, if nothing is in it, and that of all spools."""
    os.chdir("/")
    try:
        os.rmdir(spool)
        os.rmdir(os.path.dirname(spool))
    except OSError:
        pass


def take_lock():
    """The descriptor of the spool's lock, or None if somebody has it. Must be in the spool."""
    try:
        fd = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # the spool has just been taken away
    except OSError as error:
        raise Trouble("the spool {} cannot be used: {}".format(os.getcwd(), error.strerror))
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if still_ours(fd):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def still_ours(lock):
    """Is the lock that we hold the one that others see? If not, the spool is a newer keeper's, or nobody's."""
    try:
        return os.fstat(lock).st_ino == os.stat("lock").st_ino
    except OSError:
        return os.path.exists("journal")


def write_new(path, data, mode=0o600):
    """A new file in the spool with these bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def remove_file(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def write_all(fd, data):
    view = memoryview(data)[os.write(fd, data) :]
    while view:
        view = view[os.write(fd, view) :]


def raw(text):
    """The bytes of a text that came in a message. (Python 3.6 in the C locale would take it for ASCII.)"""
    return text.encode("utf-8", "surrogateescape")


def cooked(data):
    """The text that has these bytes."""
    return data.decode("utf-8", "surrogateescape")


def sync_directory(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_reserve():
    """Keep some blocks of the disk for the ends of running jobs; answers why that cannot be, or nothing."""
    try:
        disk = os.statvfs(".")
        if disk.f_blocks and disk.f_bavail * disk.f_frsize < RESERVE_BYTES + RESERVE_BYTES // 4:
            return os.strerror(errno.ENOSPC)
        write_new("reserve", os.urandom(RESERVE_BYTES))  # what can be compressed would be no blocks
    except OSError as error:
        let_reserve_go()
        return error.strerror
    return ""


def let_reserve_go():
    """Give its blocks to something that must be written now; False if they were gone already."""
    try:
        os.unlink("reserve")
        return True
    except OSError:
        return False


def with_reserve(call):
    """What a call answers; one that finds no room has a second try with the blocks of the reserve."""
    try:
        return call()
    except OSError as error:
        if error.errno not in NO_ROOM or not let_reserve_go():
            raise
        return call()


def die(text):
    """The disk cannot be trusted any more: what is not known to be on it is learnt anew by the next shepherd."""
    log(text)
    os._exit(1)


class Journal:
    """Records, a line each. They wait in memory until they are written, all at once, and then synced, in groups:
    before a job starts, and before an end is told."""

    def __init__(self, path):
        self.path = path
        self.fd = with_reserve(self.open)
        self.waiting = []  # lines that are not in the file
        self.size = 0  # bytes of the file that are whole records
        self.dirty = False  # some of them may not be on the disk
        self.trouble = ""  # why there was no room, when last there was none
        self.compact_at = COMPACT_BYTES
        for directory in (".", "..", "../.."):
            try:
                sync_directory(directory)
            except OSError:
                pass  # not ours to read, or a file system that cannot

    def open(self):
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def replay(self):
        """All whole records so far. A torn last line is cut off: it was never acted on."""
        with open(os.dup(self.fd), "rb") as f:
            f.seek(0)
            data = f.read()
        self.size = data.rfind(b"\n") + 1
        if self.size < len(data):
            self.cut_back()
        return records_in(data)

    def append(self, record):
        """To be written with the next ones; answers the line."""
        line = line_of(record)
        self.waiting.append(line)
        return line

    def take_back(self, line):
        """Do not write this one; False if it has been written already."""
        if line not in self.waiting:
            return False
        self.waiting.remove(line)
        return True

    def flush(self):
        """Write what waits; False if there is no room for it now."""
        if not self.waiting:
            return True
        data = b"".join(self.waiting)
        try:
            write_all(self.fd, data)
        except OSError as error:
            if error.errno not in NO_ROOM:
                die("the journal cannot be written: {}".format(error.strerror))
            self.trouble = error.strerror
            self.cut_back()
            return False
        self.size += len(data)
        self.dirty = True
        del self.waiting[:]
        return True

    def cut_back(self):
        """Take away what follows the last whole record."""
        try:
            os.ftruncate(self.fd, self.size)
        except OSError as error:
            if error.errno != errno.EROFS:
                die("the journal cannot be cut back: {}".format(error.strerror))

    def sync(self):
        """Bring everything to the disk; False if there is no room for it now. Other failures are the end."""
        whole = self.flush()
        if self.dirty:
            try:
                os.fsync(self.fd)
            except OSError as error:
                die("the journal cannot be synced: {}".format(error.strerror))
            self.dirty = False
        return whole

    def rewrite(self, records):
        """Put these records, which say all that counts, in the place of all others; if there is no room, go on."""
        data = b"".join(map(line_of, records))
        self.compact_at = max(COMPACT_BYTES, 4 * len(data))
        new, fd = self.path + ".new", None
        try:
            write_new(new, data)
            fd = os.open(new, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.fsync(fd)
            os.rename(new, self.path)
        except OSError as error:
            if error.errno not in NO_ROOM:
                die("the journal cannot be rewritten: {}".format(error.strerror))
            if fd is not None:
                os.close(fd)
            remove_file(new)
            self.compact_at += self.size
            return
        try:
            sync_directory(".")
        except OSError as error:
            die("the new journal cannot be synced: {}".format(error.strerror))
        os.close(self.fd)
        self.fd, self.size, self.dirty = fd, len(data), False
        del self.waiting[:]


def line_of(record):
    """A record as a line; those of batches come as lines already."""
    return record if isinstance(record, bytes) else encode(record).encode() + b"\n"


def records_in(data):
    """The whole records of a journal. What is none (blocks that a crash has left empty) was never acted on."""
    found = []
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        try:
            found.append(json.loads(line.decode()))
        except ValueError:
            pass
    return found


# --- all spools of a user --------------------------------------------------------------------------


def own_spools():
    """The paths of all spools of this user on this node."""
    found = []
    for base in BASES:
        home = os.path.join(base, "wq-{}".format(os.getuid()))
        try:
            if os.lstat(home).st_uid == os.getuid():
                found += [os.path.join(home, name) for name in sorted(os.listdir(home))]
        except OSError:
            pass
    return found


def journal_of(spool):
    """The attempts that a spool knows, by name, and its records of boots. Raises OSError, KeyError."""
    try:
        with open(os.path.join(spool, "journal"), "rb") as f:
            return attempts_in(records_in(f.read()))
    except (FileNotFoundError, NotADirectoryError):
        return {}, []


def marked_processes():
    """Those of this user that some attempt has marked: (pid, start) -> tag."""
    found = {}
    for pid in own_processes():
        start, tag = start_time(pid), tag_of(pid)
        if start is not None and TAG_BASE <= tag < TAG_BASE + TAGS:
            found[pid, start] = tag
    return found


def clear_dead_spools(own):
    """Take away the spools that nobody keeps or has asked about for long, and of which nothing runs."""
    for spool in own_spools():
        try:
            if spool != own and time.time() - last_change(spool) > UNASKED_S:
                clear_dead_spool(spool)
        except (OSError, KeyError) as error:
            log("{} cannot be taken away: {!r}".format(spool, error))


def last_change(spool):
    """When something was last written in its journal; that is gone where somebody was killed while he cleared it."""
    try:
        return os.lstat(os.path.join(spool, "journal")).st_mtime
    except FileNotFoundError:
        return os.lstat(spool).st_mtime


def clear_dead_spool(spool):
    lock = os.open(os.path.join(spool, "lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tags = set(marked_processes().values())
        for attempt in journal_of(spool)[0].values():
            if attempt.tag in tags or (attempt.pid and start_time(attempt.pid) == attempt.start):
                return
        log("{} is taken away: nobody has asked for it".format(spool))
        clear_directory(spool)
        os.rmdir(spool)
    finally:
        os.close(lock)


def orphans():
    """Rows of the marked processes of which no journal says that their attempt still runs.

    They are looked for twice, processes before journals: a start may be under way.
    """
    first = find_orphans()
    time.sleep(0.5)
    again = find_orphans()
    return [again[name] for name in sorted(first) if name in again]


def find_orphans():
    processes, known = marked_processes(), {}
    for spool in own_spools():
        try:
            attempts, boots = journal_of(spool)
        except (OSError, KeyError) as error:
            raise Trouble("cannot read what runs in {}: {!r}".format(spool, error))
        for boot in boots:  # a shepherd has the mark of what it starts, while it starts it
            processes.pop(tuple(boot.get("shepherd", ())), None)
        for attempt in attempts.values():
            known[attempt.tag] = (os.path.basename(spool), attempt)
    found = {}
    for (pid, start), tag in processes.items():
        queue, attempt = known.get(tag, (None, None))
        if attempt is None or attempt.state not in ("intent", "running", "sweeping"):
            found[pid, start] = {
                "pid": pid,
                "start": start,
                "age_s": round(now() - start / TICKS, 1),
                "command": command_of(pid),
                "queue": queue,
                "att": attempt.att if attempt is not None else None,
            }
    return found


def command_of(pid):
    try:
        with open("/proc/{}/cmdline".format(pid), "rb") as f:
            return f.read(4096).replace(b"\0", b" ").decode("utf-8", "replace").strip()[:200]
    except OSError:
        return ""


def end_orphans(rows):
    """TERM, some time, KILL; answers those that have ended, and those that would not go."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [row["pid"] for row in rows if start_time(row["pid"]) == row["start"]]
        send_signal(left, number)
        send_signal(left, signal.SIGCONT)
        due = now() + ORPHAN_GRACE_S
        while now() < due and any(start_time(row["pid"]) == row["start"] for row in rows):
            time.sleep(0.02)
    left = [row for row in rows if start_time(row["pid"]) == row["start"]]
    return {"ended": [row for row in rows if row not in left], "left": left}


# --- an attempt ------------------------------------------------------------------------------------


class Source:
    """Where a stream comes from: a pipe, or a growing file; what is not acknowledged can be sent again."""

    def __init__(self, fd=None, path=None):
        self.fd = fd
        self.path = path  # of a file, which is open while there is something to send
        self.is_file = path is not None
        self.kept = bytearray()  # of a pipe: read and not acknowledged, from `acked` on
        self.acked = self.sent = 0
        self.total = None  # known at the end
        self.eof_told = False
        self.held = False  # after a new link, until the launcher says what it has
        self.untold = False  # held, until the launcher has been told that it is there

    def next_chunk(self):
        """(offset, bytes) to send now, or None."""
        if self.held or self.sent - self.acked >= WINDOW_BYTES or self.sent == self.total:
            return None
        if self.is_file:
            if self.fd is None:
                self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self.fd, CHUNK_BYTES, self.sent)
        else:
            at = self.sent - self.acked
            data = bytes(self.kept[at : at + CHUNK_BYTES])
        if not data:
            return None
        offset = self.sent
        self.sent += len(data)
        return offset, data

    def fill(self):
        """Read from the pipe what the window allows; False if there is nothing more to come."""
        room = WINDOW_BYTES - len(self.kept)
        if room <= 0:
            return True
        try:
            data = os.read(self.fd, room)
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.EINTR)
        self.kept += data
        return bool(data)

    def ack(self, offset):
        if offset > self.acked:
            if not self.is_file:
                del self.kept[: offset - self.acked]
            self.acked = offset
            self.sent = max(self.sent, offset)

    def rewind(self, offset):
        """After a new link: go on from here. A file is kept to the end, and can be sent again from any place."""
        if self.is_file:
            self.acked = min(offset, self.acked)
        self.sent = self.acked

    def end(self):
        """No more will come."""
        self.total = os.stat(self.path).st_size if self.is_file else self.acked + len(self.kept)
        if not self.is_file:
            self.close()

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Batch:
    """Tasks that came together: what they have in common on their way through a lane."""

    def __init__(self, number, files):
        self.number = number  # of its lane
        self.files = files  # what the names of the files of its template begin with
        self.lane = self.template = None
        self.cores, self.declared = [], 0
        self.cpus = None  # what its processes are bound to, if they are
        self.until = None  # so long its tasks wait for their turn


class Attempt:
    """One try of one task on this node: what is known of it. What few have is here until they have it."""

    state = "intent"  # intent, running, sweeping, ended, never
    pid = 0
    start = None
    stdin_fd = None
    stdin_at = 0
    stdin_left = b""
    stdin_eof = False
    end = None
    why = ""  # it is `never`
    torn = False  # its pipes went with an earlier shepherd, and with them what nobody had acknowledged
    doubt_until = None  # a shutdown of the node may have ended it: not told before then
    boot = ""  # of the node, in which it was taken on, if that was an earlier shepherd's work
    stop_signal = 0
    kill_at = None
    killing = False
    warned = ()  # (pid, start) of processes that have had a TERM
    side = None  # the side connection of a terminal or of X
    master = None
    shared = None
    suffixes = (".out", ".err", ".sh", ".hosts", ".rc")  # of the files in the spool that it may have
    batch = None  # with which it came
    task = None  # what the batch says of it alone
    went = None  # its turn has come: the record of the boot in which that was
    began = None
    run_s = None
    since = 0.0  # when its first process was started
    limit_s = None  # so long it may run
    warning = None  # (signal, seconds before the end)
    is_warned = False
    limited = False  # its time was over
    held_since = None  # it is suspended
    held_s = 0.0  # so long it was suspended before, which does not count
    use = None  # at least so much, when it was looked at: bytes of memory, bytes read, bytes written
    use_at = None  # when it is looked at next

    def __init__(self, att, tag):
        self.att = att
        self.tag = tag
        self.spec = {}
        self.sources = {}

    @property
    def base(self):
        """What the names of its files in the spool begin with."""
        return self.att.replace("/", "_")

    @property
    def channels(self):
        """The streams whose end a launcher must wait for."""
        return list(self.sources)

    def view(self):
        """What a launcher is told of it on a new link."""
        view = {"att": self.att, "state": self.state, "pid": self.pid, "shared": self.shared, "chs": self.channels}
        if self.state == "ended":
            view["end"] = self.end
            if self.run_s is not None:
                view["run_s"] = self.run_s
        if self.torn:
            view["torn"] = True
        if self.why:
            view["why"] = self.why
        return view

    # its time limit

    def set_limit(self, limit):
        """limit: seconds, or None; the signal before the end, or None; how long before it."""
        limit_s, number, before_s = limit
        self.limit_s = None if limit_s is None else float(limit_s)
        self.warning = None if number is None else (int(number), float(before_s))

    @property
    def limit(self):
        return [self.limit_s, *(self.warning or (None, None))]

    @property
    def deadline(self):
        """When its time is over, if it is not suspended until then."""
        return self.since + self.held_s + self.limit_s

    def next_look(self):
        """When something is to be done about its time limit; None if nothing is, or if it is being ended already."""
        if self.limit_s is None or self.kill_at is not None or self.held_since is not None:
            return None
        if self.limited or self.is_warned or self.warning is None:
            return self.deadline
        return self.deadline - self.warning[1]

    def records(self):
        """All that the journal must say of it."""
        if self.state == "never":
            return [{"r": "never", "att": self.att, "why": self.why}]
        records = [self.intent()]
        for word, is_so in (("warned", self.is_warned), ("limited", self.limited)):
            if is_so:
                records.append({"r": word, "att": self.att})
        if self.held_s:
            records.append({"r": "resumed", "att": self.att, "held_s": self.held_s})
        if self.held_since is not None:
            records.append({"r": "suspended", "att": self.att, "at": self.held_since})
        if self.went is not None:
            records.append(self.going())
        if self.start is not None:
            records.append(self.started())
        if self.end is not None:
            records.append(self.ending())
        if self.state == "ended":
            records.append({"r": "gone", "att": self.att, "used": {}})
        return records

    def intent(self):
        record = {
            "r": "intent",
            "att": self.att,
            "tag": self.tag,
            "io": self.spec["io"],
            "rank": bool(self.spec.get("rank")),
            "shared": self.shared,
        }
        if self.batch is not None:
            record.update(lane=self.batch.number, files=self.batch.files)
        if self.limit_s is not None:
            record["limit"] = self.limit
        return record

    def started(self):
        return {"r": "start", "att": self.att, "pid": self.pid, "start": self.start}

    # those of tasks are many

    def going(self):
        return b'{"r":"go","att":"%s"}\n' % self.att.encode()

    def ending(self):
        if self.run_s is None:
            return {"r": "exit", "att": self.att, "end": self.end, "doubt": self.doubt_until is not None}
        end = '{"exit":%d}' % self.end["exit"] if len(self.end) == 1 and "exit" in self.end else encode(self.end)
        doubt = "false" if self.doubt_until is None else "true"
        return b'{"r":"exit","att":"%s","end":%s,"doubt":%s,"run_s":%r}\n' % (
            self.att.encode(),
            end.encode(),
            doubt.encode(),
            self.run_s,
        )

    def gone(self):
        if self.batch is None or "cpu_s" not in self.end or "peak_mem_bytes" in self.end:
            return {"r": "gone", "att": self.att, "used": {name: self.end[name] for name in USED if name in self.end}}
        return b'{"r":"gone","att":"%s","used":{"cpu_s":%r}}\n' % (self.att.encode(), self.end["cpu_s"])


def attempts_in(records):
    """What a journal says: the attempts by name, and all records of boots."""
    attempts, boots = {}, []
    for record in records:
        kind = record["r"]
        attempt = attempts.get(record.get("att"))
        if kind == "boot":
            boots.append(record)
        elif kind == "intent":
            attempts[record["att"]] = taken_on(record, record["att"], record["tag"], boots)
            if "lane" in record:
                attempts[record["att"]].batch = Batch(record["lane"], record["files"])
        elif kind == "batch":
            batch = Batch(record["lane"], record["files"])
            for number, att in enumerate(record["atts"]):
                attempts[att] = taken_on(record, att, record["tag"] + number, boots)
                attempts[att].batch = batch
            for att, limit in record.get("limits", {}).items():
                attempts[att].set_limit(limit)
        elif kind == "never":
            attempt = attempts[record["att"]] = Attempt(record["att"], 0)
            attempt.state, attempt.why = "never", record.get("why", "")
        elif attempt is not None:
            went_on(attempt, record, boots)
            if kind == "ack":
                del attempts[record["att"]]
    return attempts, boots


def taken_on(record, att, tag, boots):
    """An attempt of which a journal says that it is to start."""
    attempt = Attempt(att, tag)
    attempt.spec = {"io": record["io"], "rank": record.get("rank", False)}
    attempt.shared = record.get("shared")
    attempt.boot = boots[-1]["id"] if boots else ""
    if "limit" in record:
        attempt.set_limit(record["limit"])
    return attempt


def went_on(attempt, record, boots):
    """What a journal says next of an attempt."""
    kind = record["r"]
    if kind == "go":
        attempt.went = boots[-1] if boots else {}
    elif kind == "start":
        attempt.state, attempt.pid, attempt.start = "running", record["pid"], record["start"]
    elif kind == "exit":
        attempt.state, attempt.end, attempt.run_s = "sweeping", record["end"], record.get("run_s")
        attempt.doubt_until = 0.0 if record.get("doubt") else None
    elif kind == "gone":
        attempt.state = "ended"
        attempt.end.update(record["used"])
    elif kind == "limit":
        attempt.set_limit(record["limit"])
        attempt.is_warned = record["warned"]
    elif kind == "suspended":
        attempt.held_since = record["at"]
    elif kind == "resumed":
        attempt.held_since, attempt.held_s = None, record["held_s"]
    elif kind == "warned":
        attempt.is_warned = True
    elif kind == "limited":
        attempt.limited = True


# --- the shepherd ----------------------------------------------------------------------------------


class Shepherd:
    """The loop on the node: one thread, one selector, one journal."""

    def __init__(self, key, spool, keeper_pipe, keeper_pid):
        self.key, self.spool = key, spool
        self.keeper_pid, self.boot, self.pid = keeper_pid, boot_id(), os.getpid()
        self.start_of_pid = start_time(self.pid)
        self.scattered = False  # processes of attempts may be children of init
        self.orphaned = False  # some may be the keeper's: an earlier shepherd's
        self.attempts = {}
        self.running = {}  # pid -> Attempt
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.serial = 0
        self.link = None
        self.asked_at = now()
        self.alone_until = now() + ALONE_S
        self.templates = {}  # of this link, by name
        self.lanes = {}  # by number
        self.free = []  # lanes where the next may start
        self.went = {}  # the record of this boot
        self.over = []  # attempts whose first process has just ended
        self.fresh, self.done, self.given_back = [], [], []  # attempts of batches, to be told of
        self.young = []  # those that run for too short a time to be told of
        self.urgent = self.due = self.ticking = False  # that is to be now; the time has come; it will
        self.next_tag = TAG_BASE + int.from_bytes(os.urandom(5), "big") // 2
        self.gates = []  # (attempt, pipe, line) of new processes, which wait for the journal
        self.litter = []  # attempts whose files go as soon as the journal says so
        self.retrying = False
        self.rank_calls = {}  # (att, number) -> agent connection
        self.next_rank = 0
        self.going_down_until = 0.0
        self.use_alarm = None  # when it is looked at what runs next
        self.own_peak_kb = 0  # of this process, which the kernel counts to all that it starts
        self.oom_seen = oom_kills()
        self.limit_alarm = None  # when the time limits are looked at next
        self.journal = Journal("journal")
        self.watch = Watch()
        self.children = Children()
        self.spool_fd = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
        self.null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.cpus = sorted(os.sched_getaffinity(0))
        self.no_tag = resource.getrlimit(RLIMIT_RTTIME)
        self.fast = FAST and (self.no_tag[1] == -1 or self.no_tag[1] > TAG_BASE + TAGS)
        self.notes_at = 0
        self.home = os.environ.get("HOME", "/")
        self.reports = []
        self.finished = False
        self.listen(keeper_pipe)
        self.recover()
        self.after(ALONE_S, self.leave_if_idle)
        self.housekeeping()
        self.tend_reserve()

    def listen(self, keeper_pipe):
        """Hear of ends, of the keeper's notes, of files that grow, and of who comes."""
        wake_r, wake_w = os.pipe()
        for fd in (wake_r, wake_w):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_w)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.node_goes_down)
        self.on_read(wake_r, lambda: os.read(wake_r, 4096))
        if keeper_pipe is not None:
            self.on_read(keeper_pipe, lambda: self.keeper_poked(keeper_pipe))
        self.on_read(self.watch.fd, self.files_grew)
        remove_file("sock")
        self.listener = socket.socket(socket.AF_UNIX)
        with_reserve(lambda: self.listener.bind("sock"))
        self.listener.listen(64)
        self.listener.setblocking(False)
        self.on_read(self.listener.fileno(), self.accept)

    # the loop

    def on_read(self, fd, call):
        self.selector.register(fd, selectors.EVENT_READ, call)

    def forget_fd(self, fd):
        try:
            self.selector.unregister(fd)
        except (KeyError, ValueError):
            pass

    def after(self, delay_s, call):
        self.serial += 1
        heapq.heappush(self.timers, (now() + delay_s, self.serial, call))

    def run(self):
        while not self.finished:
            timeout = max(0.0, self.timers[0][0] - now()) if self.timers else None
            for key, _ in self.selector.select(timeout):
                if self.selector.get_map().get(key.fd) is key:  # not if an earlier call has let it go
                    key.data()
            while self.timers and self.timers[0][0] <= now():
                heapq.heappop(self.timers)[2]()
            self.reap()
            self.run_lanes()
            if self.must_sync():
                self.settle()
            self.leave_if_idle()

    def must_sync(self):
        """Does anybody wait for what has been decided? If not, it gets to the disk a little later."""
        if self.due or self.gates or self.reports or (self.link is not None and not self.link.greeted):
            return True
        news = self.fresh or self.young or self.done or self.given_back
        if news and (self.urgent or not self.running):
            return True
        self.urgent = False
        if not self.ticking and (news or self.journal.waiting or self.journal.dirty or self.litter):
            self.ticking = True
            self.after(REPORT_S, self.tick)
        return False

    def tick(self):
        self.ticking, self.due = False, True

    def settle(self):
        """What has been decided is acted upon when it is written down, and only then."""
        self.note_starts()
        write = self.journal.sync if self.is_for_the_disk() else self.journal.flush
        written = write() or (self.use_reserve() and write())
        gates, self.gates = self.gates, []
        self.open_gates(gates, written)
        if written:
            self.due = self.urgent = False
            litter, self.litter = self.litter, []
            for attempt in litter:
                for suffix in attempt.suffixes:
                    remove_file(attempt.base + suffix)
            self.tell_reports()
            self.tell_tasks()
            if self.journal.size > self.journal.compact_at:
                self.journal.rewrite(self.records())
        else:
            self.try_again()

    def is_for_the_disk(self):
        """Must what is decided outlive a crash of the node before it is told?

        A start need not: when the node is back, its boot is another one, and what it does not know may have run. Nor
        need the end of a client's job: it is not run again.
        """
        if self.due or self.done or self.given_back or (self.link is not None and not self.link.greeted):
            return True
        for message in self.reports:
            attempt = self.attempts.get(message.get("att"))
            light = attempt is not None and attempt.spec.get("io") != "file" and message["say"] == "ended"
            if not (light or message["say"] in LIGHT):
                return True
        return False

    def try_again(self):
        """There is no room on the disk: the loop is to turn again soon."""
        if not self.retrying:
            self.retrying = True
            self.after(RETRY_S, self.tried_again)

    def tried_again(self):
        self.retrying = False

    def use_reserve(self):
        """There is no room for what must be written: take what was kept for that; False if that is gone."""
        if not let_reserve_go():
            return False
        log("no room in the spool: its reserve is used, and nothing starts here until there is room again")
        self.after(RESERVE_AGAIN_S, self.tend_reserve)
        return True

    def tend_reserve(self):
        """Have the reserve again as soon as there is room."""
        if self.lacks_room():
            self.after(RESERVE_AGAIN_S, self.tend_reserve)

    def lacks_room(self):
        """Why nothing can start here, or nothing: whoever starts a job must be able to write down its end."""
        return "" if os.path.exists("reserve") else make_reserve()

    def records(self):
        """All that the journal must say."""
        return [self.boot_record()] + [record for attempt in self.attempts.values() for record in attempt.records()]

    def boot_record(self):
        return {
            "r": "boot",
            "id": self.boot,
            "keeper": self.keeper,
            "shepherd": [self.pid, self.start_of_pid],
            "at": round(now(), 3),
            "scattered": self.scattered,
        }

    def housekeeping(self):
        """Keep the spool from those who clear away what is old; let go what nobody asks for any more."""
        for name in [*os.listdir("."), ".", ".."]:
            try:
                os.utime(name)
            except OSError:
                pass
        if self.link is None and now() - self.asked_at > UNASKED_S:
            for attempt in list(self.attempts.values()):
                self.forget(attempt)
        clear_dead_spools(self.spool)
        self.after(HOUSEKEEPING_S, self.housekeeping)

    def leave_if_idle(self):
        """It goes when nothing is left to know and nobody is connected, and its files with it."""
        if self.finished or self.link is not None or self.attempts or now() < self.alone_until:
            return
        if not os.access(".", os.W_OK):
            return  # mounted read-only by now
        left = [pid for pid in tree_below(self.strays()) if start_time(pid) is not None]
        if left:  # of no attempt that is known: something was missed, and nothing stays behind
            send_signal(left, signal.SIGKILL)
            self.after(SWEEP_EVERY_S, self.leave_if_idle)
            return
        self.listener.close()
        clear_spool(self.spool)
        self.finished = True

    # what was there before: the journal and the keeper's notes

    def recover(self):
        """Replay the journal; take up again what still runs; find out how the rest ended; begin a shorter journal."""
        records, boot = self.journal.replay(), self.boot
        self.attempts, boots = attempts_in(records)
        self.keeper = [self.keeper_pid, start_time(self.keeper_pid)]
        self.scattered = any(boot["keeper"] != self.keeper or boot.get("scattered") for boot in boots)
        self.orphaned = any(boot["keeper"] == self.keeper for boot in boots)
        self.went = self.boot_record()
        self.journal.append(self.went)
        self.clear_litter()
        older = {}  # templates of earlier shepherds
        unsure = [attempt for attempt in list(self.attempts.values()) if not self.take_up(attempt, older)]
        found, strangers = self.look_for(unsure)
        notes = self.new_notes()
        for attempt in unsure:
            self.identify(attempt, found.get(attempt.tag), notes, strangers)
        self.heed(notes)
        self.free = list(self.lanes.values())
        for attempt in list(self.running.values()):
            if attempt.boot == boot:
                attempt.since = attempt.start / TICKS
                self.follow(attempt)
                self.watch_limit(attempt)
                self.watch_use(attempt)
                if attempt.held_since is not None:
                    self.after(0.0, lambda attempt=attempt: self.hold(attempt))
            else:
                self.lost(attempt, REBOOTED)
        if records:
            self.journal.rewrite(self.records())

    def clear_litter(self):
        """Files of attempts that the journal does not know: a shepherd was killed before it had written that down."""
        known = {attempt.base for attempt in self.attempts.values()}
        known.update(attempt.batch.files for attempt in self.attempts.values() if attempt.batch is not None)
        for name in os.listdir("."):
            base, _, suffix = name.rpartition(".")
            if suffix in ("out", "err", "sh", "hosts", "rc") and base not in known:
                remove_file(name)

    def lost(self, attempt, end):
        """Nobody has seen how it ended: perhaps its shell has written that down.

        After a reboot that counts if it is 0: something else may be what the shutdown made of it.
        """
        status = last_words(attempt.base + ".rc")
        if status is None or (status and end is REBOOTED):
            self.exited(attempt, dict(end))
        else:
            self.exited(attempt, {"exit": status})

    def take_up(self, attempt, templates):
        """One attempt of an earlier shepherd. False if it may have started, or not."""
        attempt.torn = attempt.spec.get("io") == "stream"
        if attempt.batch is not None:
            self.rejoin(attempt, templates)
        if attempt.spec.get("io") == "file" and attempt.shared is False:
            for channel, suffix in KEPT_AS.items():
                if os.path.exists(attempt.base + suffix):
                    source = attempt.sources[channel] = Source(path=attempt.base + suffix)
                    source.held = True
                    self.watch.add(source.path, attempt.att)
                    if attempt.state == "ended":
                        source.end()
        if attempt.state == "intent":
            if attempt.batch is not None and attempt.boot != self.boot:
                self.lost(attempt, REBOOTED)  # that its turn had come may not have got to the disk
            elif attempt.went is not None:
                return False
            else:
                self.never(attempt)
        elif attempt.state == "running":
            self.running[attempt.pid] = attempt
        elif attempt.state == "sweeping":
            if attempt.doubt_until is not None and attempt.boot != self.boot:
                attempt.end = dict(REBOOTED)
                attempt.doubt_until = None
                self.journal.append(attempt.ending())
            self.sweep(attempt)
        return True

    def rejoin(self, attempt, templates):
        """A task of an earlier shepherd keeps its place in its lane, and the files of its template."""
        batch = attempt.batch
        if batch.lane is None:
            batch.lane = self.lane(batch.number)
            batch.template = templates.setdefault(batch.files, Template(batch.files))
        batch.template.users += 1
        if attempt.state in ("running", "sweeping") or (attempt.state == "intent" and attempt.went is not None):
            batch.lane.current = attempt

    def look_for(self, unsure):
        """Tasks that were on their way when an earlier shepherd was killed: whatever lives of them has their tags.

        Answers (tag -> (is not the first of a session, start, pid) of the oldest; are there processes that have lost
        their tags?).
        """
        found, strangers = {}, False
        since = min((attempt.went.get("at", 0.0) for attempt in unsure), default=0.0) * TICKS
        tags = {attempt.tag for attempt in unsure}
        for pid in own_processes() if unsure else ():
            seen, tag, leads = look_at(pid), tag_of(pid), session_of(pid) == pid
            if seen is None:
                continue
            if tag in tags:
                found[tag] = min(found.get(tag, (True, INFINITE, 0)), (not leads, seen[2], pid))
            elif not tag and leads and seen[1] == self.keeper_pid and pid != self.pid and seen[2] >= since:
                strangers = True
        return found, strangers

    def identify(self, attempt, living, notes, strangers):
        """The first process of a task that an earlier shepherd was about to start: it lives, or the keeper has seen it
        end. If it is neither, and the keeper was there all the time, there was none."""
        ours = [note for note in notes if len(note) == 6 and note[4] == attempt.tag]
        choice = [(note[0] != note[5], note[3], note[0]) for note in ours] + ([living] if living else [])
        since = attempt.went.get("at", 0.0) * TICKS
        strangers = strangers or any(
            len(note) == 6 and not note[4] and note[0] == note[5] and note[3] >= since for note in notes
        )
        if choice:
            _, attempt.start, attempt.pid = min(choice)
            attempt.state = "running"
            self.running[attempt.pid] = attempt
            self.journal.append(attempt.started())
        elif attempt.went.get("keeper") == self.keeper and not strangers:
            self.never(attempt)
        else:
            self.lost(attempt, KILLED)

    def never(self, attempt, why=""):
        """It is sure that it did not start, and that it will not."""
        if self.running.get(attempt.pid) is attempt:
            del self.running[attempt.pid]
        attempt.state, attempt.pid, attempt.start, attempt.why = "never", 0, None, why
        self.journal.append(attempt.records()[0])
        self.close_streams(attempt)
        attempt.sources = {}
        if attempt.suffixes:
            self.litter.append(attempt)
        if attempt.batch is None:
            self.report(dict(attempt.view(), say="state"))
        else:
            self.given_back.append(attempt)
            self.next_in(attempt.batch.lane, attempt)

    def close_streams(self, attempt):
        """Let go of all ends of the streams of an attempt that will say no more."""
        self.close_stdin(attempt)
        for source in attempt.sources.values():
            if source.is_file:
                source.close()
            elif source.total is None:
                self.forget_fd(source.fd)
                os.close(source.fd)
        self.close_terminal(attempt)

    def close_terminal(self, attempt):
        if attempt.side is not None:
            attempt.side.finish()
        if attempt.master is not None:
            os.close(attempt.master)
            attempt.master = None

    def follow(self, attempt):
        """See the end of a process that is not our child (an earlier shepherd's); the keeper has its status."""
        if attempt.state != "running":
            return
        found = look_at(attempt.pid)
        if found is None or found[2] != attempt.start:
            self.surely_gone(attempt)
            return
        if found[0] in "ZX":
            if found[1] == self.keeper_pid:
                self.after(0.05, lambda: self.follow(attempt))  # it writes the status down before it lets go of it
            else:
                self.surely_gone(attempt)
            return
        try:
            fd = os.pidfd_open(attempt.pid)
        except (AttributeError, OSError):
            self.after(0.5, lambda: self.follow(attempt))
            return

        def ended():
            self.forget_fd(fd)
            os.close(fd)
            self.follow(attempt)

        self.on_read(fd, ended)

    def surely_gone(self, attempt):
        """The process is gone, and only the keeper can know its status, or its shell."""
        self.read_notes()
        if attempt.state == "running":
            self.lost(attempt, KILLED)

    def keeper_poked(self, fd):
        if os.read(fd, 4096):
            self.read_notes()
        else:
            self.scattered = True
            self.forget_fd(fd)

    def read_notes(self):
        self.heed(self.new_notes())

    def new_notes(self):
        """Of each process that the keeper waited for: pid, code, status, start, tag, session. Code 0: it never ran."""
        try:
            with open("notes", "rb") as f:
                f.seek(self.notes_at)
                data = f.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.notes_at += len(whole)
        lines = [[int(word) for word in line.split() if word.isdigit()] for line in whole.splitlines()]
        return [words for words in lines if len(words) in (4, 6)]  # earlier keepers wrote four

    def heed(self, notes):
        for words in notes:
            attempt = self.running.get(words[0])
            if attempt is not None and attempt.start == words[3]:
                if words[1] == 0:
                    self.never(attempt)
                else:
                    self.exited(attempt, end_of(words[1], words[2]))

    # connections on this node

    def accept(self):
        try:
            conn, _ = self.listener.accept()
        except OSError:
            return
        conn.settimeout(2.0)
        fds = array.array("i")
        try:
            room = socket.CMSG_SPACE(4 * struct.calcsize("i"))
            data, ancillary, _, _ = conn.recvmsg(1 << 16, room, socket.MSG_CMSG_CLOEXEC)
            for level, kind, chunk in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(chunk[: len(chunk) - len(chunk) % fds.itemsize])
            while not data.endswith(b"\n"):
                more = conn.recv(1 << 16)
                if not more:
                    raise ValueError("cut short")
                data += more
            word = json.loads(data.decode())
            conn.setblocking(False)
            {"link": self.new_link, "side": self.new_side, "agent": self.new_agent}[word["op"]](conn, word, fds)
        except (OSError, ValueError, KeyError, IndexError, TypeError, Trouble) as error:
            log("connection refused: {!r}".format(error))
            conn.close()
            for fd in fds:
                os.close(fd)

    def new_link(self, conn, word, fds):
        """A launcher's connection: the newest is the one that counts. Its attacher gets a byte as a receipt."""
        read_fd, write_fd = fds
        conn.send(b"+")
        if self.link is not None:
            self.link.close()
        self.link = Link(self, conn, read_fd, write_fd)
        del fds[:]
        self.templates = {}  # it brings its own
        self.asked_at, self.alone_until = now(), 0.0
        self.link.write(b"\n" + GREETING)

    def say_here(self):
        """The first word on a new link. All that it says is on disk."""
        self.link.greeted = True
        agents = [dict(agent.call, told=agent.told) for agent in self.rank_calls.values()]
        for agent in self.rank_calls.values():
            agent.told = True
        for attempt in self.attempts.values():
            for source in attempt.sources.values():
                source.held, source.eof_told, source.untold = True, False, False
        self.young, self.fresh = self.young + self.fresh, []
        self.done, self.given_back = [], []
        self.say(
            {
                "say": "here",
                "version": VERSION,
                "features": ["batch", "limit", "errors", "control"],
                "boot": self.boot,
                "cores": len(os.sched_getaffinity(0)),
                "hostname": socket.gethostname(),
                "spool": self.spool,
                "attempts": [attempt.view() for attempt in self.attempts.values()],
                "agents": agents,
            }
        )

    def link_lost(self, link):
        if self.link is link:
            self.link = None
            self.asked_at = now()

    @property
    def heard(self):
        """Is there a launcher that knows what is here?"""
        return self.link is not None and self.link.greeted

    def say(self, message):
        if self.heard:
            self.link.write(pack(message))

    def report(self, message):
        """To be told when the journal is written."""
        self.reports.append(message)

    def tell_reports(self):
        if self.link is not None and not self.link.greeted:
            self.say_here()
        reports, self.reports = self.reports, []
        for message in reports:
            self.say(message)

    # what the launcher wants

    def handle(self, message):
        if isinstance(message, tuple):
            self.stdin_data(*message)
            return
        word = message["do"]
        if word == "ping":
            if self.link is not None:  # also if it cannot be told yet what is here
                self.link.write(pack({"say": "pong"}))
        elif word == "start":
            self.start(message["att"], message["spec"])
        elif word == "batch":
            self.take_batch(message)
        elif word == "acks":
            for att in message["atts"]:
                if att in self.attempts:
                    self.forget(self.attempts[att])
        elif word == "template":
            if message["name"] not in self.templates:
                self.templates[message["name"]] = Recipe(self, message["spec"])
        elif word == "rank_report":
            self.rank_report(message)
        else:
            attempt = self.attempts.get(message["att"])
            if word == "query":
                self.query(message["att"], attempt)
            elif attempt is None:
                self.report({"say": "acked" if word == "ack" else "unknown", "att": message["att"]})
            elif word == "limit":
                self.change_limit(attempt, message["time_s"])
            elif word == "suspend":
                self.suspend(attempt)
            elif word == "continue":
                self.carry_on(attempt)
            elif word == "signal":
                if attempt.state == "running":
                    self.signal(attempt, int(message["number"]))
            elif word == "stop":
                self.stop(attempt, message["grace_s"], message.get("signal", signal.SIGTERM))
            elif word == "resume":
                self.resume(attempt, message["have"])
            elif word == "got":
                self.got(attempt, message["ch"], message["off"])
            elif word == "eof":
                attempt.stdin_eof = True
                self.pump_stdin(attempt)
            elif word == "ack" and self.forget(attempt):
                self.report({"say": "acked", "att": attempt.att})

    def query(self, att, attempt):
        """What is known of an attempt; if nothing, it is now sure that it will never start here."""
        if attempt is None:
            attempt = self.attempts[att] = Attempt(att, 0)
            self.never(attempt)
        else:
            self.report(dict(attempt.view(), say="state"))

    def start(self, att, spec):
        """Start an attempt, once: a second start of the same is answered with what is known of the first."""
        attempt = self.attempts.get(att)
        if attempt is not None:
            self.report(dict(attempt.view(), say="state"))
            return
        limit = limit_in(spec)
        attempt = self.attempts[att] = Attempt(att, self.new_tags(1))
        attempt.spec = spec
        attempt.set_limit(limit)
        no_room = self.lacks_room()
        if no_room:
            self.refuse(attempt, no_room)
            return
        if spec["io"] == "file":
            self.find_output(attempt)
        self.journal.append(attempt.intent())
        if spec["io"] == "tty" or spec.get("x"):
            self.report({"say": "side", "att": att})
            self.after(SIDE_WAIT_S, lambda: self.no_side(attempt))
        else:
            self.spawn(attempt)

    def new_tags(self, count):
        """The first of so many tags; no two attempts have the same."""
        self.next_tag += count
        return self.next_tag - count

    def refuse(self, attempt, reason):
        """There is no room to take it on: that is no fault of the job, which may run elsewhere, or later."""
        self.never(attempt, "no room in the spool on this node: {}".format(reason))

    def no_side(self, attempt):
        if attempt.state == "intent" and attempt.end is None:
            self.exited(attempt, {"error": "the connection for its terminal or display did not come"})

    def find_output(self, attempt):
        """Are the files of the submitting host those that we see? All of them, or none."""
        spec = attempt.spec
        files = [path for path in (spec["out"], spec.get("err")) if path not in (None, NOWHERE)]
        attempt.shared = all(has_token(path, spec["probe"]) for path in files)

    def spawn(self, attempt):
        """Start the process; what hinders it is the end of the attempt, in a sentence."""
        gate = None
        try:
            attempt.pid = self.start_fast(attempt) if attempt.batch is not None and self.fast else None
            if attempt.pid is None:
                plan = Spawn(self, attempt, full_spec(attempt))
                attempt.pid = plan.fork()
                gate = plan.gate
        except (Trouble, OSError, ValueError) as error:
            attempt.pid = 0
            self.close_streams(attempt)
            attempt.sources = {}
            if isinstance(error, Trouble):
                self.exited(attempt, {"error": str(error)})
            elif getattr(error, "errno", None) in NO_ROOM:
                self.refuse(attempt, error.strerror)
            else:
                why = getattr(error, "strerror", None) or error  # a name with a zero in it, for one
                self.exited(attempt, {"error": "cannot start it here: {}".format(why)})
            return
        attempt.state, attempt.since = "running", attempt.began or now()
        self.running[attempt.pid] = attempt
        self.watch_use(attempt)
        if attempt.limit_s is not None:
            self.watch_limit(attempt)
        if gate is not None:
            attempt.start = start_time(attempt.pid)
            self.gates.append((attempt, gate, self.journal.append(attempt.started())))
        if attempt.batch is not None:
            self.fresh.append(attempt)
            if gate is not None:
                self.open_gates([self.gates.pop()], self.write_down())  # these need not be on disk
            return
        chs = attempt.channels
        self.report({"say": "started", "att": attempt.att, "pid": attempt.pid, "shared": attempt.shared, "chs": chs})
        for channel, source in attempt.sources.items():
            if not source.is_file:
                self.on_read(source.fd, lambda c=channel: self.source_ready(attempt, c))

        if attempt.stdin_left or attempt.stdin_eof:
            self.pump_stdin(attempt)

    def open_gates(self, gates, on_disk):
        """Their starts are on disk: now the new processes may become the programs that they are to run.

        Those whose starts are not never will.
        """
        for attempt, gate, line in gates:
            if on_disk or not self.journal.take_back(line):
                try:
                    os.write(gate, b"+")
                except OSError:
                    pass  # it was killed already
            elif self.running.get(attempt.pid) is attempt:
                send_signal([attempt.pid], signal.SIGKILL)
                self.reports = [word for word in self.reports if word.get("att") != attempt.att]
                self.refuse(attempt, self.journal.trouble)
            os.close(gate)

    # batches: tasks that wait in lanes for their turn

    def lane(self, number):
        if number not in self.lanes:
            self.lanes[number] = Lane(number)
        return self.lanes[number]

    def take_batch(self, message):
        """Take on tasks that are to run one after another, behind those that are in their lane already."""
        template, number = self.templates[message["template"]], int(message["lane"])
        batch = Batch(number, template.base)
        batch.template, batch.lane = template, self.lanes.get(number) or Lane(number)
        batch.cores, batch.declared = [int(core) for core in message["cores"]], int(message["declared"])
        batch.cpus = granted(self.cpus, batch.cores, batch.declared)
        if message["patience_s"] is not None:
            batch.until = now() + message["patience_s"]
        tasks = [checked(task, template.has_command) for task in message["tasks"]]  # all of them, or none
        shared = sees_files(message)
        first, new, limits = self.next_tag, [], {}
        for task in tasks:
            known = self.attempts.get(task["att"])
            if known is not None:
                self.report(dict(known.view(), say="state"))
                continue
            attempt = self.attempts[task["att"]] = Attempt(task["att"], self.new_tags(1))
            attempt.batch, attempt.task, attempt.spec = batch, task, template.spec
            attempt.shared = shared
            attempt.suffixes = () if shared else (".out",) if "err" not in task else (".out", ".err")
            if task.get("time_s") is not None:
                attempt.set_limit(limit_in(task))
                limits[attempt.att] = attempt.limit
            new.append(attempt)
        template.users += len(new)
        no_room = self.lacks_room()
        if no_room:
            for attempt in new:
                self.refuse(attempt, no_room)
        elif new:
            names = ",".join('"' + attempt.att + '"' for attempt in new)
            line = '{"r":"batch","lane":%d,"files":"%s","io":"file","shared":%s,"tag":%d,"atts":[%s]%s}\n'
            more = ',"limits":' + encode(limits) if limits else ""
            words = (number, template.base, "true" if shared else "false", first, names, more)
            self.journal.append((line % words).encode())
            self.queue_up(batch, new)

    def queue_up(self, batch, attempts):
        lane = self.lanes[batch.number] = batch.lane
        lane.waiting.extend(attempts)
        lane.most, lane.told = len(lane.waiting), False
        if lane.current is None:
            self.free.append(lane)
        if batch.until is not None and (lane.alarm is None or batch.until < lane.alarm):
            self.set_alarm(lane, batch.until)

    def set_alarm(self, lane, at):
        """When the patience of the first of those that wait in a lane ends."""
        lane.alarm = at
        self.after(at - now(), lambda: lane.alarm == at and self.give_back(lane))

    def give_back(self, lane):
        """What has waited too long for its turn will not run here."""
        attempts, lane.waiting, lane.alarm = lane.waiting, collections.deque(), None
        for attempt in attempts:
            if attempt.batch.until is not None and attempt.batch.until <= now():
                self.never(attempt)
            else:
                lane.waiting.append(attempt)
        ends = [attempt.batch.until for attempt in lane.waiting if attempt.batch.until is not None]
        if ends:
            self.set_alarm(lane, min(ends))

    def next_in(self, lane, attempt):
        """Nothing is left of an attempt: was it its turn in its lane?"""
        if lane.current is attempt:
            lane.current = None
            self.free.append(lane)

    def run_lanes(self):
        """Start the next in each lane where nothing runs any more."""
        while self.free:
            lane = self.free.pop()
            if lane.current is not None:
                continue
            if not lane.waiting:
                self.urgent = True
                if self.lanes.get(lane.number) is lane:
                    del self.lanes[lane.number]
                continue
            attempt = lane.current = lane.waiting.popleft()
            if not lane.told and len(lane.waiting) <= lane.most // 4:
                lane.told = self.urgent = True
            attempt.began = now()
            self.spawn(attempt)

    def start_fast(self, attempt):
        """Start a task without a copy of this process: its pid, or None if the slow way must say what hinders it."""
        template, out, err = attempt.batch.template, None, None
        template.furnish()
        command = template.command(attempt)
        if command is None:
            return None
        os.umask(template.umask)
        try:
            out = self.output(attempt, attempt.task["out"], STDOUT)
            if "err" in attempt.task:
                err = self.output(attempt, attempt.task["err"], STDERR)
            self.write_its_turn(attempt)
            return self.launch(attempt, command, out, out if err is None else err)
        except (Trouble, OSError):
            self.try_to_enter(template)
            raise
        finally:
            os.umask(UMASK)
            if out is not None:
                os.close(out)
            if err is not None:
                os.close(err)

    def try_to_enter(self, template):
        """Raises Trouble if the directory of a task is what hinders it."""
        try:
            os.chdir(template.place)
        except OSError as error:
            raise Trouble("the directory {} is not usable here: {}".format(template.cwd, error.strerror))
        finally:
            os.fchdir(self.spool_fd)

    def write_its_turn(self, attempt):
        """All is ready: from now on it may have started. (What starts slowly waits at a gate until that is known.)"""
        line = self.journal.append(attempt.going())
        if not self.write_down():
            self.journal.take_back(line)
            raise OSError(errno.ENOSPC, self.journal.trouble)
        attempt.went = self.went

    def output(self, attempt, path, channel):
        """Where a task is to write: its output, or its errors."""
        if path == b"/dev/null":
            return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        if attempt.shared:
            return make_output(path)
        path = os.path.join(self.spool, attempt.base + KEPT_AS[channel])
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        users = os.umask(UMASK)
        try:
            out = os.open(path, flags, 0o600)
        finally:
            os.umask(users)
        source = attempt.sources[channel] = Source(path=path)
        source.held = source.untold = True
        self.watch.add(path, attempt.att)  # before the process can write
        return out

    def launch(self, attempt, command, out, err):
        """The pid of a new process in a session of its own, with this command; None if that cannot be.

        Little can be said to posix_spawn: the process inherits from us what is set here before.
        """
        program, words, env = command
        files = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate((self.null, out, err))]
        template, hard = attempt.batch.template, self.no_tag[1]
        # To move a process to another core costs more than to start one: those that were fed ahead, and are soon over,
        # are left to the kernel, as their lanes have the cores anyway (note_starts).
        bound = attempt.batch.cpus if attempt.batch.until is None else None
        try:
            os.chdir(template.place)
            resource.setrlimit(RLIMIT_RTTIME, (attempt.tag, hard))
            for number, wanted, _ in template.limits:
                resource.setrlimit(number, wanted)
            if bound:
                os.sched_setaffinity(0, bound)
            pid = os.posix_spawn(program, words, env, file_actions=files, setsid=True, setsigmask=(), setsigdef=SIGNALS)
        except (OSError, ValueError, ArithmeticError, MemoryError, NotImplementedError):
            return None
        finally:
            resource.setrlimit(RLIMIT_RTTIME, self.no_tag)
            for number, _, ours in template.limits:
                resource.setrlimit(number, ours)
            os.fchdir(self.spool_fd)
            if bound:
                os.sched_setaffinity(0, self.cpus)
        return pid

    def note_starts(self):
        """Who has run for a while is to be told now, and bound if he is not. (Most that were fed ahead are over.)"""
        began = now() - YOUNG_S
        told, self.young = self.fresh + self.young, []
        self.fresh = []
        for attempt in told:
            if attempt.state not in ("running", "sweeping"):
                continue
            if attempt.batch.until is not None and attempt.began is not None and attempt.began > began:
                self.young.append(attempt)
                continue
            self.fresh.append(attempt)
            if attempt.state == "running" and attempt.start is None:
                attempt.start = start_time(attempt.pid)
                if attempt.start is not None:
                    self.journal.append(attempt.started())
            if attempt.batch.cpus and attempt.batch.until is not None:
                self.bind(attempt)

    def bind(self, attempt):
        """Bind what runs of a task to its cores."""
        for pid in tree_below([attempt.pid]):
            try:
                for thread in os.listdir("/proc/{}/task".format(pid)):
                    os.sched_setaffinity(int(thread), attempt.batch.cpus)
            except OSError:
                pass  # it is over

    def tell_tasks(self):
        """What has become of tasks of batches, in one word."""
        fresh, done, given_back = self.fresh, self.done, self.given_back
        if not (fresh or done or given_back):
            return
        self.fresh, self.done, self.given_back = [], [], []
        apart = [attempt for attempt in fresh + done if not attempt.shared]
        self.say(
            {
                "say": "tasks",
                "started": [[attempt.att, attempt.pid, attempt.channels] for attempt in fresh],
                "ended": [[attempt.att, attempt.end, attempt.channels, attempt.run_s] for attempt in done],
                "never": [[attempt.att, attempt.why] for attempt in given_back],
                "shared": {attempt.att: False for attempt in apart},
            }
        )
        link = self.link
        if link is not None and apart:
            link.corked = True
            for attempt in apart:
                for channel, source in attempt.sources.items():
                    if source.untold:
                        source.held = source.untold = False
                    self.pump(attempt, channel)
            link.uncork()

    # streams

    def source_ready(self, attempt, channel):
        source = attempt.sources[channel]
        if not source.fill():
            self.forget_fd(source.fd)
            source.end()
        elif len(source.kept) >= WINDOW_BYTES:
            self.forget_fd(source.fd)
        self.pump(attempt, channel)

    def pump(self, attempt, channel):
        """Send what the window allows, and the end when all has been sent."""
        source = attempt.sources.get(channel)
        if source is None or not self.heard:
            return
        chunk = source.next_chunk()
        while chunk is not None:
            self.link.write(pack_data(attempt.att, channel, chunk[0], chunk[1]))
            if self.link is None:
                return  # it has just turned out to be lost
            chunk = source.next_chunk()
        if source.total is not None and source.sent >= source.total and not source.eof_told and not source.held:
            source.eof_told = True
            self.say({"say": "eof", "att": attempt.att, "ch": channel, "off": source.total})
            if source.is_file:
                source.close()

    def files_grew(self):
        for att in self.watch.read():
            attempt = self.attempts.get(att)
            if attempt is not None:
                for channel in attempt.channels:
                    self.pump(attempt, channel)

    def got(self, attempt, channel, offset):
        source = attempt.sources.get(channel)
        if source is None:
            return
        was_full = not source.is_file and len(source.kept) >= WINDOW_BYTES
        source.ack(offset)
        if was_full and source.total is None and len(source.kept) < WINDOW_BYTES:
            self.on_read(source.fd, lambda: self.source_ready(attempt, channel))
        self.pump(attempt, channel)

    def resume(self, attempt, have):
        """On a new link the launcher says what it has; the rest is sent again."""
        for channel, source in attempt.sources.items():
            source.held = False
            source.rewind(have.get(str(channel), 0))
            self.got(attempt, channel, have.get(str(channel), 0))
        self.say({"say": "stdin_at", "att": attempt.att, "off": attempt.stdin_at})

    def stdin_data(self, att, channel, offset, data):
        attempt = self.attempts.get(att)
        if attempt is None or channel != STDIN:
            return
        expected = attempt.stdin_at + len(attempt.stdin_left)
        if offset <= expected < offset + len(data):
            attempt.stdin_left = bytearray(attempt.stdin_left) + data[expected - offset :]
        self.pump_stdin(attempt)

    def pump_stdin(self, attempt):
        fd = attempt.stdin_fd
        if fd is None:
            if attempt.state not in ("intent",) and attempt.stdin_left:
                attempt.stdin_at += len(attempt.stdin_left)
                attempt.stdin_left = b""
                self.say({"say": "stdin_at", "att": attempt.att, "off": attempt.stdin_at})
            return
        self.forget_fd(fd)
        try:
            while attempt.stdin_left:
                written = os.write(fd, attempt.stdin_left[:CHUNK_BYTES])
                del attempt.stdin_left[:written]
                attempt.stdin_at += written
        except OSError as error:
            if error.errno == errno.EAGAIN:
                self.selector.register(fd, selectors.EVENT_WRITE, lambda: self.pump_stdin(attempt))
            else:
                attempt.stdin_at += len(attempt.stdin_left)
                attempt.stdin_left = b""
                self.close_stdin(attempt)
        if attempt.stdin_eof and not attempt.stdin_left:
            self.close_stdin(attempt)
        self.say({"say": "stdin_at", "att": attempt.att, "off": attempt.stdin_at})

    def close_stdin(self, attempt):
        if attempt.stdin_fd is not None:
            self.forget_fd(attempt.stdin_fd)
            os.close(attempt.stdin_fd)
            attempt.stdin_fd = None

    # ends

    def reap(self):
        """Write each end down before the kernel forgets it."""
        while True:
            try:
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if seen is None:
                break
            attempt = self.running.get(seen.si_pid)
            if attempt is None or attempt.end is not None:
                os.waitpid(seen.si_pid, 0)
                continue
            end = attempt.end = end_of(seen.si_code, seen.si_status)
            if attempt.limited:
                end["limit_s"] = attempt.limit_s
            if seen.si_status == signal.SIGKILL and "signal" in end and attempt.kill_at is None:
                self.think_of_memory(end)
            if attempt.began is not None:
                attempt.run_s = round(now() - attempt.began, 6)
            self.doubt(attempt)
            line = self.journal.append(attempt.ending())
            if not self.write_down():
                self.journal.take_back(line)
                attempt.end = None
                self.try_again()
                break  # until there is room the kernel keeps it
            usage = os.wait4(seen.si_pid, 0)[2]
            end["cpu_s"] = round(usage.ru_utime + usage.ru_stime, 3)
            self.add_use(attempt, end, usage)
            del self.running[seen.si_pid]
            attempt.state = "sweeping"
            self.over.append(attempt)
        if self.over:
            self.after_them()

    def write_down(self):
        """Write what waits to the journal; False if there is no room for it now."""
        return self.journal.flush() or (self.use_reserve() and self.journal.flush())

    def after_them(self):
        """First processes have ended: if nobody's children have become ours, nothing is left of any of them."""
        over, self.over = self.over, []
        left = self.strays() or self.scattered
        for attempt in over:
            if left:
                self.sweep(attempt)
            else:
                self.ended(attempt)

    def exited(self, attempt, end):
        """Its first process is gone (or never was), as others say; what it left behind goes next."""
        if self.running.get(attempt.pid) is attempt:
            del self.running[attempt.pid]
        if attempt.batch is not None and "lost" not in end:
            began = attempt.start / TICKS if attempt.start and attempt.began is None else attempt.began
            attempt.run_s = round(max(0.0, now() - began), 6) if began is not None else 0.0
        attempt.end = end
        if attempt.limited and ("exit" in end or "signal" in end):
            end["limit_s"] = attempt.limit_s
        if "exit" in end or "signal" in end:
            self.add_use(attempt, end)
        attempt.state = "sweeping"
        self.doubt(attempt)
        self.journal.append(attempt.ending())
        self.sweep(attempt)

    def node_goes_down(self, *_):
        """A TERM for all processes is how a shutdown of the node begins (and nobody else has a reason to send it)."""
        self.going_down_until = now() + GOING_DOWN_S

    def doubt(self, attempt):
        """May a shutdown of the node have ended it? Then that counts only if the node goes on.

        It is told later, and not at all if the node comes back with another boot id: the job was interrupted.
        """
        if attempt.spec.get("io") != "file" or attempt.kill_at is not None:
            return  # it belongs to a client, or somebody wanted it ended
        by_a_signal = attempt.end.get("signal") in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
        if by_a_signal and attempt.boot not in ("", self.boot):
            attempt.end = dict(REBOOTED)
        elif by_a_signal or (attempt.end.get("exit") and now() < self.going_down_until):
            attempt.doubt_until = now() + DOUBT_S

    def strays(self):
        """Children of ours, or of the keeper, that are nobody's first process. Notices whether others are init's."""
        pids = self.children.pids()
        theirs = [pid for pid in children_of(self.keeper_pid) if pid != self.pid] if self.orphaned else []
        if os.getppid() != self.keeper_pid:  # looked at last: its children have gone where we went
            self.scattered = True
        elif self.orphaned:
            self.orphaned = bool(theirs)  # no new ones come: as long as we live they are ours
            pids += theirs
        return [pid for pid in pids if pid not in self.running]

    def leftovers(self, attempt):
        """What still lives of an attempt: its process tree, and what escaped from it (found by the tag)."""
        return self.scan(attempt)[0]

    def scan(self, attempt):
        """(what lives of an attempt, and the dead that were met): who died just now may have left a child to us."""
        strays = self.strays()
        roots = [pid for pid in strays if self.is_from(attempt, tag_of(pid))]
        if self.scattered and attempt.tag:
            roots += [pid for pid in own_processes() if tag_of(pid) == attempt.tag]
        if self.running.get(attempt.pid) is attempt and attempt.start in (None, start_time(attempt.pid)):
            roots.append(attempt.pid)
        # Parents before their children: a shell whose child ends first would go on with its next line.
        found = list(dict.fromkeys(tree_below(roots)))
        left = [pid for pid in found if start_time(pid) is not None]
        return left, {pid for pid in [*found, *strays] if start_time(pid) is None}

    def is_from(self, attempt, tag):
        """Does a stray with this tag come from this attempt? One that has lost its tag is the last attempt's."""
        if tag == attempt.tag:
            return True
        return not self.running and not any(other.tag == tag for other in self.attempts.values())

    def sweep(self, attempt, started=None, dead_before=None):
        """End what a job left behind; its end is told, and its cores are free, when nothing is left.

        Each process has one TERM and then the grace that the job was stopped with, or a short one. A look that finds
        nothing but the dead is believed if the next one finds the same: a child of theirs may have been missed.
        """
        left, dead = self.scan(attempt)
        if not left and (not dead or dead == dead_before):
            self.ended(attempt)
            return
        if not left:
            self.after(SECOND_LOOK_S, lambda: self.sweep(attempt, started, dead))
            return
        started = now() if started is None else started
        due = started + LEFTOVER_GRACE_S if attempt.kill_at is None else attempt.kill_at
        if now() < due and attempt.stop_signal != signal.SIGKILL:
            self.warn(attempt, left)
        else:
            send_signal(left, signal.SIGKILL)
        self.after(SWEEP_EVERY_S, lambda: self.sweep(attempt, started))

    def warn(self, attempt, pids):
        """TERM to those that have not had it."""
        named = [(pid, start_time(pid)) for pid in pids]
        new = [pid for pid, start in named if (pid, start) not in attempt.warned]
        attempt.warned = {*attempt.warned, *named}
        send_signal(new, signal.SIGTERM)
        send_signal(new, signal.SIGCONT)

    def ended(self, attempt):
        """Nothing of it is left: that is told, unless its end is in doubt; then later."""
        if attempt.doubt_until is not None:
            wait_s = max(attempt.doubt_until, self.going_down_until) - now()
            if wait_s > 0:
                self.after(min(wait_s, DOUBT_S), lambda: self.ended(attempt))
                return
        attempt.state = "ended"
        self.journal.append(attempt.gone())
        self.close_stdin(attempt)
        for channel, source in attempt.sources.items():
            if source.is_file and source.total is None:
                source.end()
            self.pump(attempt, channel)
        self.close_terminal(attempt)
        if attempt.batch is None:
            self.report(dict(attempt.view(), say="ended"))
        else:
            self.done.append(attempt)
            self.next_in(attempt.batch.lane, attempt)

    def stop(self, attempt, grace_s, number):
        """End an attempt: a signal, so many seconds of grace, KILL; the whole process tree."""
        if attempt.state == "intent":
            if attempt.batch is not None:
                attempt.batch.lane.waiting.remove(attempt)
            self.exited(attempt, {"error": "removed before it started"})
        elif attempt.state in ("running", "sweeping"):
            attempt.doubt_until = None
            if attempt.held_since is not None:
                self.carry_on(attempt)
            left = self.leftovers(attempt)
            if number == signal.SIGTERM:
                self.warn(attempt, left)
            else:
                send_signal(left, number)
                send_signal(left, signal.SIGCONT)
            due = now() + grace_s
            if attempt.kill_at is None or due < attempt.kill_at:
                attempt.kill_at = due
                self.after(grace_s, lambda: self.kill(attempt))
        elif attempt.state == "ended":
            self.report(dict(attempt.view(), say="ended"))

    def kill(self, attempt):
        """The grace is over: KILL whatever is left, again and again until nothing is."""
        if attempt.state == "running":
            attempt.stop_signal = signal.SIGKILL
            send_signal(self.leftovers(attempt), signal.SIGKILL)
            if not attempt.killing:
                attempt.killing = True
                self.after(0.2, lambda: self.kill_again(attempt))

    def kill_again(self, attempt):
        attempt.killing = False
        self.kill(attempt)

    # suspension

    def suspend(self, attempt):
        """Stop all of its processes where they are. It keeps its cores; its time does not go on."""
        if attempt.state != "running" or attempt.kill_at is not None or attempt.held_since is not None:
            return
        attempt.held_since = round(now(), 3)
        self.journal.append({"r": "suspended", "att": attempt.att, "at": attempt.held_since})
        self.write_down()
        self.hold(attempt)

    def hold(self, attempt):
        """Until no process is met that is new: one may have had a child before it was stopped."""
        held = set()
        while attempt.held_since is not None and attempt.state == "running":
            new = [pid for pid in self.leftovers(attempt) if pid not in held]
            if not new:
                break
            send_signal(new, signal.SIGSTOP)
            held.update(new)

    def carry_on(self, attempt):
        """They go on. (Also if they are not known to be stopped: a shepherd may have been killed meanwhile.)"""
        if attempt.state != "running":
            return
        if attempt.held_since is not None:
            attempt.held_s = round(attempt.held_s + now() - attempt.held_since, 3)
            attempt.held_since = None
            self.journal.append({"r": "resumed", "att": attempt.att, "held_s": attempt.held_s})
            self.write_down()
        send_signal(self.leftovers(attempt), signal.SIGCONT)
        self.watch_limit(attempt)

    # what they use

    def watch_use(self, attempt):
        """Look at it soon. Those that are over before that cost no more than this."""
        due = attempt.since + USE_AT_S[0]
        if self.use_alarm is None or due < self.use_alarm:
            self.use_alarm = due
            self.after(max(0.0, due - now()), lambda: self.use_alarm == due and self.see_use())

    def see_use(self):
        """One pass over all whose turn it is."""
        self.use_alarm, time_s, due, later = None, now(), [], []
        for attempt in self.running.values():
            at = attempt.use_at or attempt.since + USE_AT_S[0]
            if at <= time_s + USE_SLACK_S:
                due.append(attempt)
                age_s = time_s - attempt.since + USE_SLACK_S
                young = [s for s in USE_AT_S if s > age_s]
                at = attempt.use_at = attempt.since + young[0] if young else time_s + USE_EVERY_S
            later.append(at)
        if due:
            self.sample(due)
        if later:
            self.use_alarm = at = max(min(later), time_s + USE_SLACK_S)
            self.after(at - time_s, lambda: self.use_alarm == at and self.see_use())

    def sample(self, attempts):
        """How much memory the processes of these attempts have now, and what they have read and written so far."""
        strays = collections.defaultdict(list)  # those that have left the tree of their attempt
        for pid in self.strays():
            strays[tag_of(pid)].append(pid)
        for attempt in attempts:
            pids = tree_below([attempt.pid] + strays[attempt.tag])
            parts = [memory_of(pid) for pid in pids]
            memory = sum(own for own, _ in parts) + max(shared for _, shared in parts)
            attempt.use = at_least(attempt.use, [memory, *map(sum, zip(*map(io_of, pids)))])

    def add_use(self, attempt, end, usage=None):
        """What is known of what it used, into its end. usage: the kernel's, of its processes that were waited for."""
        if attempt.batch is None and attempt.since:  # of a task its time is told apart
            end["wall_s"] = round(max(0.0, now() - attempt.since), 3)
        peak_kb = usage.ru_maxrss if usage is not None else 0
        if peak_kb > self.own_peak_kb:
            self.own_peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        use = [peak_kb * 1024 if peak_kb > self.own_peak_kb else 0, 0, 0]  # of its largest process
        if attempt.use is None and attempt.batch is not None:
            if use[0]:
                end["peak_mem_bytes"] = use[0]
            return
        if usage is not None:
            use[1:] = usage.ru_inblock * 512, usage.ru_oublock * 512
        use = at_least(attempt.use, use)
        end["io_read_bytes"], end["io_write_bytes"] = use[1:]
        if use[0]:
            end["peak_mem_bytes"] = use[0]

    def think_of_memory(self, end):
        """It was killed, and by nobody here: how much memory there is, and whether the kernel has looked for some."""
        end["node_mem_bytes"] = NODE_MEM_BYTES
        killed = oom_kills()
        if killed > self.oom_seen:
            end["oom"] = True
        self.oom_seen = killed

    # time limits

    def watch_limit(self, attempt):
        """Be awake when its time is over, or nearly. One timer is enough for all, as so many run as there are lanes."""
        due = attempt.next_look()
        if due is not None and (self.limit_alarm is None or due < self.limit_alarm):
            self.limit_alarm = due
            self.after(max(0.0, due - now()), lambda: self.limit_alarm == due and self.see_limits())

    def see_limits(self):
        self.limit_alarm = None
        for attempt in list(self.running.values()):
            due = attempt.next_look()
            if due is not None and due <= now():
                self.see_limit(attempt)
            self.watch_limit(attempt)

    def see_limit(self, attempt):
        """It is warned, or its time is over: it ends as if somebody had stopped it, and its end says why."""
        if now() < attempt.deadline:
            attempt.is_warned = True
            self.journal.append({"r": "warned", "att": attempt.att})
            self.signal(attempt, attempt.warning[0])
            return
        attempt.limited = True
        self.journal.append({"r": "limited", "att": attempt.att})
        self.write_down()
        self.stop(attempt, LIMIT_GRACE_S, signal.SIGTERM)

    def change_limit(self, attempt, limit_s):
        """It may run for longer from now on, or not for so long, or (None) as long as it will."""
        limit = [limit_s, *attempt.limit[1:]]
        if attempt.limit == limit or attempt.limited or attempt.state not in ("intent", "running"):
            return
        attempt.set_limit(limit)
        attempt.is_warned = attempt.is_warned and limit_s is not None and now() >= attempt.deadline - attempt.warning[1]
        self.journal.append({"r": "limit", "att": attempt.att, "limit": attempt.limit, "warned": attempt.is_warned})
        if attempt.state == "running":
            self.watch_limit(attempt)

    def signal(self, attempt, number):
        """A signal for all processes of an attempt. One that programs use to talk to each other goes to those that heed
        it alone: others would die of it, as the shell round a command would, or a `tee` behind it."""
        pids = self.leftovers(attempt)
        if number in TALK or number >= 34:
            pids = [pid for pid in pids if heeds(pid, number) and self.means_it(attempt, pid, number)]
        send_signal(pids, number)

    def means_it(self, attempt, pid, number):
        """Does it catch the signal to do something about it? bash with a trap for its EXIT, as ours has, catches all of
        them, and dies: of our shell its text says whether it has a trap for this one."""
        text = text_for(pid) if pid == attempt.pid else None
        if text is None:
            return True
        names = [str(number)] + [
            name[3:] for name, value in vars(signal).items() if name[:3] == "SIG" and value == number
        ]
        return b"trap" in text and any(name.encode() in text for name in names)

    def forget(self, attempt):
        """The launcher has the end and all of the output, or never asks for it: nothing of it stays here.

        False if it is too early for that.
        """
        if attempt.state not in ("ended", "never"):
            return False
        self.journal.append(b'{"r":"ack","att":%s}\n' % encode(attempt.att).encode())
        if attempt.suffixes:
            self.close_streams(attempt)
            self.litter.append(attempt)
        del self.attempts[attempt.att]
        if attempt.batch is not None:
            attempt.batch.template.users -= 1
            attempt.batch.template.tidy()
        return True

    # side connections: terminals and X

    def new_side(self, conn, word, fds):
        attempt = self.attempts.get(word["att"])
        if attempt is None or attempt.state != "intent" or attempt.side is not None:
            conn.close()
            return
        attempt.side = Side(self, attempt, conn, word)
        if attempt.spec["io"] == "tty":
            attempt.master, attempt.slave = pty.openpty()
            set_size(attempt.master, word.get("size"))
        self.spawn(attempt)
        if attempt.spec["io"] == "tty":
            os.close(attempt.slave)
            if attempt.state == "running":
                send_fds(conn, {"op": "master"}, [attempt.master])

    # the remote-shell agent of MPI

    def new_agent(self, conn, word, fds):
        attempt = self.attempts.get(word["att"])
        if attempt is None or attempt.state != "running":
            raise Trouble("no such attempt runs here: {}".format(word["att"]))
        self.next_rank += 1
        rank = "{}/{}.{}".format(attempt.att, os.getpid(), self.next_rank)
        call = {"rank": rank, "att": attempt.att, "host": word["host"], "command": word["command"]}
        agent = self.rank_calls[rank] = Agent(self, attempt, conn, call)
        if self.heard:
            self.say(dict(call, say="rank"))
        else:  # the next link will be told
            self.after(AGENT_WAIT_S, agent.unheard)

    def rank_report(self, message):
        agent = self.rank_calls.get(message["rank"])
        if agent is not None:
            agent.report(message)


class Lane:
    """Tasks that run on the same cores, one after another. most: so many waited when last some came."""

    def __init__(self, number):
        self.number = number
        self.waiting = collections.deque()
        self.current = None
        self.most = 0
        self.told = True  # that it is running low
        self.alarm = None


def checked(task, has_command):
    """A task of a batch as it came, if it can be one. Raises ValueError, KeyError, TypeError, AttributeError."""
    att = task["att"]
    if not NAME.issuperset(att) or not att or att[0] == ".":
        raise ValueError("an attempt called {!r}".format(att))
    task["out"] = raw(task["out"])
    if "err" in task:
        task["err"] = raw(task["err"])
    task["set"] = raw_environment(task["set"])
    if not ("script" in task or "argv" in task or has_command):
        raise ValueError("an attempt at nothing")
    words = task.get("argv", [])
    if not isinstance(words, list):
        raise ValueError("words that are none")
    raw("".join([*words, task.get("script", "")]))
    limit_in(task)
    return task


def at_least(use, more):
    """What is known of what was used, after another look."""
    return more if use is None else [max(pair) for pair in zip(use, more)]


def limit_in(words):
    """The time limit in a spec, or a task of a batch, as Attempt.set_limit takes it. Raises ValueError, TypeError."""
    number, before_s = words.get("warn") or (None, None)
    if number is not None and not 1 <= int(number) <= 64:
        raise ValueError("a signal called {!r}".format(number))
    limit_s = words.get("time_s")
    return [None if limit_s is None else float(limit_s), number, before_s]


def end_of(code, status):
    """What waitid said, as the end of an attempt."""
    return {"exit": status} if code == 1 else {"signal": status}


class Link:
    """The launcher's connection: descriptors passed from the ssh session, and the attacher that holds it."""

    def __init__(self, shepherd, conn, read_fd, write_fd):
        self.shepherd, self.conn = shepherd, conn
        self.read_fd, self.write_fd = read_fd, write_fd
        self.frames = Frames()
        self.out = bytearray()
        self.closed = False
        self.corked = self.blocked = False  # more will follow at once; it takes no more now
        self.greeted = False  # it has been told what is here
        self.heard = now()
        for fd in (read_fd, write_fd):
            os.set_blocking(fd, False)
        shepherd.on_read(conn.fileno(), self.close)
        shepherd.on_read(read_fd, self.readable)
        self.check_silence()

    def check_silence(self):
        if not self.closed:
            if now() - self.heard > SILENCE_S:
                self.close()
            else:
                self.shepherd.after(SILENCE_S / 4, self.check_silence)

    def readable(self):
        try:
            data = os.read(self.read_fd, 1 << 18)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return
            data = b""
        if not data:
            self.close()
            return
        self.heard = now()
        try:
            for message in self.frames.feed(data):
                self.shepherd.handle(message)
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            log("the launcher said what nobody understands: {!r}".format(error))
            self.close()
        except OSError as error:
            log("the launcher's word could not be followed: {!r}".format(error))
            self.close()  # it asks again on the next

    def write(self, data):
        if self.closed:
            return
        self.out += data
        if not (self.corked or self.blocked):
            self.flush()

    def uncork(self):
        self.corked = False
        self.write(b"")

    def flush(self):
        try:
            while self.out:
                del self.out[: os.write(self.write_fd, self.out[: 1 << 18])]
        except OSError as error:
            if error.errno != errno.EAGAIN:
                self.close()
            elif not self.blocked:
                self.blocked = True
                self.shepherd.selector.register(self.write_fd, selectors.EVENT_WRITE, self.flush)
            return
        if self.blocked:
            self.blocked = False
            self.shepherd.forget_fd(self.write_fd)

    def close(self):
        if self.closed:
            return
        self.closed = True
        for fd in (self.conn.fileno(), self.read_fd, self.write_fd):
            self.shepherd.forget_fd(fd)
        os.close(self.read_fd)
        os.close(self.write_fd)
        self.conn.close()
        self.shepherd.link_lost(self)


class Side:
    """The side connection of an attempt; if it goes, the attempt goes, as with a terminal that is closed."""

    def __init__(self, shepherd, attempt, conn, word):
        self.shepherd, self.attempt, self.conn = shepherd, attempt, conn
        self.env = {str(k): str(v) for k, v in word.get("env", {}).items()}
        if not attempt.spec.get("x"):
            for name in ("DISPLAY", "XAUTHORITY"):
                self.env.pop(name, None)
        shepherd.on_read(conn.fileno(), self.gone)

    def gone(self):
        self.close()
        if self.attempt.state == "running":
            self.shepherd.stop(self.attempt, 2.0, signal.SIGHUP)

    def finish(self):
        if self.conn is not None:
            try:
                self.conn.send(b'{"op":"end"}\n')
            except OSError:
                pass
            self.close()

    def close(self):
        if self.conn is not None:
            self.shepherd.forget_fd(self.conn.fileno())
            self.conn.close()
            self.conn = None


class Agent:
    """A call of the remote-shell agent: runs a process of the same attempt on another of its nodes."""

    def __init__(self, shepherd, attempt, conn, call):
        self.shepherd, self.attempt, self.conn, self.call = shepherd, attempt, conn, call
        self.rank = call["rank"]
        self.told = shepherd.heard  # the launcher knows of it
        conn.setblocking(True)
        conn.settimeout(5.0)
        shepherd.on_read(conn.fileno(), self.gone)

    def gone(self):
        """mpirun gave up: so does the rank."""
        self.shepherd.say({"say": "rank_gone", "att": self.attempt.att, "rank": self.rank})
        self.close()

    def unheard(self):
        """No launcher came to hear of it: mpirun need not wait any longer."""
        if not self.told and self.conn is not None:
            why = "no connection from the submitting host for {:.0f} s".format(AGENT_WAIT_S)
            self.report({"end": {"error": "cannot start a process on {}: {}".format(self.call["host"], why)}})

    def report(self, message):
        """Output or the end of the process, for the agent to repeat."""
        try:
            self.conn.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.gone()
            return
        if "end" in message:
            self.close()

    def close(self):
        self.shepherd.rank_calls.pop(self.rank, None)
        if self.conn is not None:
            self.shepherd.forget_fd(self.conn.fileno())
            self.conn.close()
            self.conn = None


# --- the start of a process ------------------------------------------------------------------------

# What a shell that ends by itself does last: it writes its status down, in case that nobody else is left to see it. One
# that a signal ends must write nothing. bash runs this then too, and does not tell why; but it saves its history only
# when it ends by itself. Shells of Korn's kind say a status above 128, which may be that of a program, or theirs.
# (zsh runs it as well when a signal ends it, and says 1; nor can this be hidden from its `set -x`. It is not asked.)
LAST_WORDS = (
    "trap '{{ WQ_END=$?; case ${{BASH_VERSION:+bash}}${{KSH_VERSION:+ksh}}${{ZSH_VERSION:+zsh}} in "
    "bash) case :$SHELLOPTS: in *:history:*) ;; "
    "*) declare -g HISTFILE={0} HISTFILESIZE=9 HISTSIZE=9 HISTCONTROL= HISTIGNORE= "
    '&& [ "$HISTFILE" = {0} ] && set -o history && history -s "$WQ_END";; esac;; '
    'zsh) ;; ksh) [ "$WQ_END" -gt 128 ] || echo "$WQ_END" >|{0};; '
    '*) echo "$WQ_END" >|{0};; esac; }} 2>/dev/null || :\' EXIT; '
)
LAST_WORDS_END = b"2>/dev/null || :' EXIT; "
RC_OF_A_TASK = "'\"$WQ_SPOOL/$WQ_ATT.rc\"'"  # in the place of a path: the shell's words are cut, and take it in at once
SHELLS = ("sh", "bash", "dash", "ksh", "ksh93", "mksh")  # none of them reads a file of the user's first, as zsh does
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._@-")
NAME = PLAIN - {"/"}
INFINITE = float("inf")
SIGNALS = sorted(set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33})  # the last are the C library's


def last_words(path):
    """The exit status that a shell has written down, or None."""
    try:
        with open(path, "rb") as f:
            lines = [line for line in f.read(256).splitlines(True) if not line.startswith(b"#")]  # times of a history
    except OSError:
        return None
    whole = len(lines) == 1 and lines[0].endswith(b"\n") and lines[0][:-1].isdigit()
    return int(lines[0]) if whole and int(lines[0]) < 256 else None


NOT_FOR_JOBS = ("SSH_", "XDG_SESSION", "WQ_BOOT")


def environment(spec, home):
    """The node's own session; over it that of the submission; over it what wq sets."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(NOT_FOR_JOBS)}
    env = {} if spec["env_mode"] == "clean" else own
    if spec["env_mode"] == "clean":
        env = {k: own[k] for k in ("HOME", "USER", "LOGNAME", "SHELL", "PATH") if k in own}
    if spec["env_mode"] == "submit":
        env.update(spec["env"])
        if not os.path.isdir(raw(env.get("HOME", ""))):
            env["HOME"] = home
    env.update(spec["set"])
    env.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    env["PWD"] = spec["cwd"] or home
    return env


def raw_environment(env):
    return {raw(name): raw(value) for name, value in env.items()}


def hosts_environment(hosts, path, spool):
    """Both families of MPI are told of the hostfile and of the agent."""
    env = {"WQ_HOSTFILE": path}
    for name in hosts["mpi_hostfile"]:
        env[name] = path
    for name, value in hosts["mpi_agent"].items():
        env[name] = value.format(agent=os.path.join(spool, "agent"))
    return env


def write_own_hostfile(path, text):
    """The one that the user has asked for, by name."""
    try:
        with open(raw(path), "wb") as f:
            f.write(text.encode())
    except OSError as error:
        raise Trouble("cannot write the hostfile {}: {}".format(path, error.strerror))


def shell_of(spec, env):
    """The path of the shell that is to read the command."""
    shell = spec.get("shell") or env.get("SHELL") or "/bin/sh"
    if shell == "login":
        shell = pwd.getpwuid(os.getuid()).pw_shell
    return shell if os.access(raw(shell), os.X_OK) else "/bin/sh"


def has_token(path, token):
    """Is the file of the submitting host the one that we see? It has the token that the launcher wrote there."""
    try:
        fd = os.open(raw(path), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    token = token.encode()
    found = stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, len(token) + 1) == token
    os.close(fd)
    return found


def sees_files(message):
    """Are the files of the submitting host, for all of a batch, those that we see? (Older launchers have one probe.)"""
    if "probes" in message:
        return all(has_token(*probe) for probe in message["probes"])
    return bool(message["probe"]) and has_token(*message["probe"])


def make_output(path):
    """Make or empty the output file of a task. A link, or a file of somebody else, is never written to."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    name, fd = cooked(path), None
    try:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            fd = os.open(path, flags | os.O_NONBLOCK)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise Trouble("the output file {} is not a regular file of yours".format(name))
        os.set_blocking(fd, True)
        os.ftruncate(fd, 0)
        out, fd = fd, None
        return out
    except OSError as error:
        raise Trouble("cannot write the output file {}: {}".format(name, error.strerror))
    finally:
        if fd is not None:
            os.close(fd)


class Spawn:
    """Everything that a new process needs, prepared in the parent; `fork` starts it."""

    def __init__(self, shepherd, attempt, spec):
        self.shepherd, self.attempt, self.spec = shepherd, attempt, spec
        self.base = attempt.base
        self.to_close = []
        self.cwd = self.spec["cwd"] or shepherd.home
        self.env = self.environment()
        try:
            os.chdir(raw(self.cwd))
        except OSError as error:
            raise Trouble("the directory {} is not usable here: {}".format(self.cwd, error.strerror))
        finally:
            os.chdir(shepherd.spool)
        self.argv = self.arguments()
        self.fds = self.descriptors()

    def environment(self):
        spec, shepherd = self.spec, self.shepherd
        env = environment(spec, shepherd.home)
        hosts = spec.get("hostfile")
        if hosts is not None:
            self.write_hostfile(hosts)
            env.update(hosts_environment(hosts, self.base_path + ".hosts", shepherd.spool))
        if hosts is not None or self.attempt.batch is not None:
            env.update(WQ_SPOOL=shepherd.spool, WQ_ATT=self.attempt.att)
        if self.attempt.side is not None:
            env.update(self.attempt.side.env)
        return env

    @property
    def base_path(self):
        return os.path.join(self.shepherd.spool, self.base)

    def write_hostfile(self, hosts):
        """The allocated nodes, a line a rank."""
        self.hostfile = self.base_path + ".hosts"
        write_new(self.hostfile, hosts["text"].encode())
        if hosts["path"] not in (None, "auto"):
            self.hostfile = os.path.join(self.cwd, hosts["path"])
            if not self.spec.get("rank"):
                write_own_hostfile(self.hostfile, hosts["text"])

    def arguments(self):
        """argv: the program itself, or the user's shell with the command in a private file (not to be seen in `ps`)."""
        spec = self.spec
        if spec.get("argv"):
            return spec["argv"][0], [self.filled(word) for word in spec["argv"]]
        shell = shell_of(spec, self.env)
        words = plain_words(self.filled(spec["script"]), shell, spec["env_mode"]) if spec["io"] == "stream" else None
        env = raw_environment(self.env) if words else {}
        if words and not hides(env, words[0]):
            program = find_program(words[0], env[b"PATH"], raw(self.cwd))
            if program is not None:
                return cooked(program), [cooked(word) for word in words]
        name, base = os.path.basename(shell), self.base_path
        write_new(base + ".sh", with_last_words(name, base + ".rc", self.filled(spec["script"])))
        return shell, [("-" if spec["env_mode"] == "login" else "") + name, base + ".sh"]

    def filled(self, text):
        return text.replace("%hostfile%", self.hostfile) if self.spec.get("hostfile") else text

    def descriptors(self):
        """stdin, stdout and stderr of the new process."""
        attempt, io = self.attempt, self.spec["io"]
        if io == "tty":
            return (attempt.slave,) * 3
        if io == "stream":
            in_r, attempt.stdin_fd = os.pipe()
            out_r, out_w = os.pipe()
            err_r, err_w = os.pipe()
            for fd in (attempt.stdin_fd, out_r, err_r):
                os.set_blocking(fd, False)
            attempt.sources = {STDOUT: Source(out_r), STDERR: Source(err_r)}
            self.to_close = [in_r, out_w, err_w]
            return in_r, out_w, err_w
        self.to_close = [os.open(NOWHERE, os.O_RDONLY)]
        paths = self.spec if attempt.batch is None else attempt.task
        try:
            self.to_close.append(self.output(paths["out"], STDOUT))
            if paths.get("err") is not None:
                self.to_close.append(self.output(paths["err"], STDERR))
        except BaseException:
            for fd in self.to_close:
                os.close(fd)
            raise
        return self.to_close[0], self.to_close[1], self.to_close[-1]

    def output(self, path, channel):
        """A file that it is to write to."""
        attempt = self.attempt
        if attempt.batch is not None:
            os.umask(self.spec["umask"])
            try:
                return self.shepherd.output(attempt, path, channel)
            finally:
                os.umask(UMASK)
        if path == NOWHERE:
            return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        if attempt.shared:
            try:
                out = os.open(raw(path), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
                os.ftruncate(out, 0)
                return out
            except OSError as error:
                raise Trouble("cannot write the output file {}: {}".format(path, error.strerror))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        kept = self.base + KEPT_AS[channel]
        out = os.open(kept, flags, 0o600)
        attempt.sources[channel] = Source(path=kept)
        self.shepherd.watch.add(kept, attempt.att)  # before the process can write
        return out

    def fork(self):
        """The pid of the new process, in a session of its own, all signals at their defaults.

        It waits at its gate until its start is in the journal: whoever finds none there knows that none was.
        A signal that comes before it has its defaults waits for them, or it would be lost on a handler of ours.
        """
        go, self.gate = os.pipe()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        try:
            pid = os.fork()
        except OSError:
            for fd in [go, self.gate, *self.to_close]:
                os.close(fd)
            raise
        finally:
            if os.getpid() == self.shepherd.pid:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if pid == 0:
            os.close(self.gate)
            status = 126
            try:
                status = self.child(go)
            except BaseException as error:
                os.write(2, "wq: cannot start it here: {!r}\n".format(error).encode())
            finally:
                os._exit(status)
        os.close(go)
        for fd in self.to_close:
            os.close(fd)
        return pid

    def child(self, go):
        """Become the program; answers the exit status if that cannot be."""
        spec = self.spec
        hard = resource.getrlimit(RLIMIT_RTTIME)[1]
        if hard == -1 or hard > self.attempt.tag:
            resource.setrlimit(RLIMIT_RTTIME, (self.attempt.tag, hard))
        os.setsid()
        for number in range(1, signal.NSIG):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                pass
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if spec["io"] == "tty":
            fcntl.ioctl(self.fds[0], termios.TIOCSCTTY, 0)
        saved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in self.fds]
        for target, fd in enumerate(saved):
            os.dup2(fd, target)
            os.close(fd)
        os.umask(spec["umask"])
        for number, wanted, _ in limits_of(spec):
            resource.setrlimit(number, wanted)
        pin(spec["cores"], spec["declared"])
        os.chdir(raw(self.cwd))
        program, argv = self.argv
        env = {raw(name): raw(value) for name, value in self.env.items()}
        if not os.read(go, 1):
            self.unborn()
            return 126
        try:
            os.execvpe(raw(program), [raw(word) for word in argv], env)
        except OSError as error:
            os.write(2, "wq: {}: {}\n".format(program, error.strerror).encode("utf-8", "surrogateescape"))
            return 127 if error.errno == errno.ENOENT else 126

    def unborn(self):
        """The shepherd was killed before it opened the gate: the next one is to know that this never ran."""
        os.chdir(self.shepherd.spool)
        notes = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        pid = os.getpid()
        line = "{0} 0 0 {1} {2} {0}\n".format(pid, start_time(pid), self.attempt.tag).encode()
        while not note_down(notes, line):
            time.sleep(RETRY_S)


def limits_of(spec):
    """The soft limits that are to be others than ours: (which, wanted, ours), both with the hard one."""
    limits = []
    for name, soft in spec["limits"].items():
        ours = resource.getrlimit(LIMITS[name])
        hard = ours[1]
        if hard != -1 and (soft == -1 or soft > hard):
            soft = hard
        if soft != ours[0]:
            limits.append((LIMITS[name], (soft, hard), ours))
    return limits


def granted(have, cores, declared):
    """The granted ones of these processors, if the cluster file and the node agree on how many there are."""
    if len(have) == declared and cores and len(cores) < declared and max(cores) < declared:
        return {have[index] for index in cores}
    return None


def pin(cores, declared):
    """Bind this process to the granted cores."""
    cpus = granted(sorted(os.sched_getaffinity(0)), cores, declared)
    if cpus:
        os.sched_setaffinity(0, cpus)


# --- templates -------------------------------------------------------------------------------------

SIMPLE = PLAIN | frozenset(" \t%+=:,")
SHELL_WORDS = frozenset(
    """
    . : alias autoload bg bind break builtin caller case cd chdir command compgen complete compopt continue coproc
    declare dirs disown do done echo elif else enable esac eval exec exit export fc fg fi float for function functions
    getopts global hash hist history if in inlib integer jobs kill let local login logout mapfile nameref newgrp
    nocorrect noglob popd print printf pushd pwd r read readarray readonly rehash rename repeat return select set shift
    shopt source stop suspend test then time times trap type typeset ulimit umask unalias unset unsetenv until vmap
    wait whence while
    """.split()
)


def simple_words(text):
    """The words of a command that every shell would run as they are, or None."""
    text = text.strip(" \t\n")
    if not text or not SIMPLE.issuperset(text):
        return None
    words = text.split()
    if "=" in words[0] or words[0][0] == "%" or words[0] in SHELL_WORDS:
        return None
    return words


def plain_words(text, shell, env_mode):
    """The words of a command for which no shell is needed, or None."""
    plain = os.path.basename(shell) in SHELLS and env_mode != "login"
    words = simple_words(text) if plain else None
    return words and [word.encode() for word in words]


def find_program(word, path, place):
    """The file that a shell in that directory would run, by this PATH; None if there is none."""
    names = [word] if b"/" in word else [os.path.join(directory, word) for directory in path.split(b":")]
    for name in names:
        whole = os.path.join(place, name)
        if os.path.isfile(whole) and os.access(whole, os.X_OK):
            return name
    return None


def with_last_words(shell, path, script):
    """The text for a shell of that name, which is to write its status there."""
    text = script + "\n"
    if shell in SHELLS and PLAIN.issuperset(path):
        text = LAST_WORDS.format(path) + text  # on the first line, so that all keep their numbers
    return raw(text)


class Template:
    """The files of tasks that are alike, as long as somebody needs them."""

    def __init__(self, base):
        self.base = base
        self.users = 0

    def tidy(self):
        """Without tasks it has no files."""
        if not self.users:
            for suffix in (".sh", ".hosts"):
                remove_file(self.base + suffix)


class Recipe(Template):
    """What tasks have in common, prepared once, so that little is left to be done for each of them."""

    def __init__(self, shepherd, spec):
        super().__init__("template-" + binascii.hexlify(os.urandom(6)).decode())
        self.spool = shepherd.spool
        self.path = os.path.join(self.spool, self.base)
        self.spec = dict(spec, io="file", x=False)
        self.cwd = spec["cwd"] or shepherd.home
        self.place = raw(self.cwd)
        self.umask = spec["umask"] & 0o777
        self.limits = limits_of(spec)
        self.hosts = spec.get("hostfile")
        self.hostfile = self.path + ".hosts"
        env = environment(spec, shepherd.home)
        if self.hosts is not None:
            env.update(hosts_environment(self.hosts, self.hostfile, self.spool))
            if self.hosts["path"] not in (None, "auto"):
                self.hostfile = os.path.join(self.cwd, self.hosts["path"])
        env["WQ_SPOOL"] = self.spool
        self.shell = shell_of(spec, env)
        self.env = raw_environment(env)
        self.furnished = False
        self.script = None  # the shell's words, when its text has been written
        self.found = {}  # word -> program
        self.has_command = bool(spec.get("argv") or isinstance(spec.get("script"), str))
        self.argv = [raw(self.filled(word)) for word in spec.get("argv") or ()]
        self.words = self.direct(spec["script"]) if spec.get("script") else None

    def filled(self, text):
        return text.replace("%hostfile%", self.hostfile) if self.hosts is not None else text

    def direct(self, text):
        """The words of a command for which no shell is needed, or None."""
        return plain_words(self.filled(text), self.shell, self.spec["env_mode"])

    def tidy(self):
        super().tidy()
        if not self.users:
            self.furnished, self.script = False, None

    def furnish(self):
        """Make what must be there before a task can start."""
        if self.hosts is None:
            return
        if not self.furnished:
            write_new(self.path + ".hosts", self.hosts["text"].encode())
            self.furnished = True
        if self.hosts["path"] not in (None, "auto"):
            write_own_hostfile(self.hostfile, self.hosts["text"])

    def command(self, attempt):
        """(program, words, environment) of a task; None if there is no such program."""
        task, env = attempt.task, dict(self.env)
        env.update(task["set"])
        env[b"WQ_ATT"] = attempt.att.encode()
        if "script" in task:
            words, script = self.direct(task["script"]), task["script"]
        elif task.get("argv"):
            words, script = [raw(self.filled(word)) for word in task["argv"]], None
        else:
            words, script = self.argv or self.words, None if self.argv else self.spec["script"]
        if words and (script is None or not hides(env, words[0])):
            program = self.program(words[0], env)
            if program is not None or script is None:
                return program and (program, words, env)
        return (*self.shell_words(attempt, script, own="script" in task), env)

    def program(self, word, env):
        path = env[b"PATH"]
        if self.found.get((word, path)) is None:
            self.found[word, path] = find_program(word, path, self.place)
        return self.found[word, path]

    def shell_words(self, attempt, script, own):
        """The shell, which is to read the command from a file: one of the task, or one for all."""
        name = os.path.basename(self.shell)
        attempt.suffixes += (".rc",)
        path = (os.path.join(self.spool, attempt.base) if own else self.path) + ".sh"
        if own:
            attempt.suffixes += (".sh",)
            write_new(path, with_last_words(name, path[:-3] + ".rc", self.filled(script)))
        elif self.script is None:
            write_new(path, self.common_text(name))
            self.script = path
        login = "-" if self.spec["env_mode"] == "login" else ""
        return raw(self.shell), [raw(login + name), raw(path)]

    def common_text(self, shell):
        """The text for all tasks: where a shell is to write its status, it learns from its environment, at once."""
        text = raw(self.filled(self.spec["script"]) + "\n")
        if shell in SHELLS and PLAIN.issuperset(self.spool):
            text = raw(LAST_WORDS.format(RC_OF_A_TASK)) + text
        return text


def hides(env, word):
    """May a shell with this environment take this word for something else than a program?"""
    function = b"BASH_FUNC_" + word + b"%%" in env or env.get(word, b"").startswith(b"() {")
    return function or b"ENV" in env or b"BASH_ENV" in env


def full_spec(attempt):
    """What `Spawn` needs to know."""
    if attempt.task is None:
        return attempt.spec
    task, spec = attempt.task, dict(attempt.spec, cores=attempt.batch.cores, declared=attempt.batch.declared)
    attempt.suffixes = Attempt.suffixes
    spec["set"] = dict(spec["set"], **{cooked(name): cooked(value) for name, value in task["set"].items()})
    if "script" in task:
        spec.update(script=task["script"], argv=None)
    elif task.get("argv"):
        spec.update(argv=task["argv"])
    return spec


# --- roles -----------------------------------------------------------------------------------------


def log(text):
    """One line to the spool's log; never to a job or to the launcher."""
    try:
        os.write(2, "{} {}\n".format(time.strftime("%Y-%m-%dT%H:%M:%S"), text).encode("utf-8", "replace"))
    except OSError:
        pass


def send_fds(conn, word, fds):
    """A JSON line with descriptors, over a Unix socket."""
    packed = array.array("i", fds)
    conn.sendmsg([json.dumps(word).encode() + b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)])


def connect():
    """A connection to the shepherd of this spool, or None."""
    conn = socket.socket(socket.AF_UNIX)
    try:
        conn.connect("sock")
        return conn
    except OSError:
        conn.close()
        return None


def attach(key, source):
    """Give this session's stdin and stdout to the shepherd, start one if there is none, stay until it lets go."""
    deadline = now() + ATTACH_S
    conn = None
    while conn is None:
        if now() > deadline:
            raise Trouble("the shepherd of {} does not answer".format(key))
        try:
            spool = enter_spool(key)
        except FileNotFoundError:
            continue
        conn = connect()
        if conn is None:
            lock = take_lock()
            if lock is not None:
                furnish(spool, source)
                daemonize(key, spool, lock)
                os.close(lock)
            time.sleep(0.01)
        elif not hand_over(conn, deadline - now()):
            conn.close()
            conn = None
            time.sleep(0.01)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        conn.recv(1)
    except OSError:
        pass
    os._exit(0)


def hand_over(conn, patience_s):
    """Send stdin and stdout; True if the shepherd has them. (It may be killed, or leave, just now.)"""
    try:
        conn.settimeout(max(patience_s, 0.1))
        send_fds(conn, {"op": "link"}, [0, 1])
        taken = conn.recv(1) == b"+"
        conn.settimeout(None)
        return taken
    except OSError:
        return False


def furnish(spool, source):
    """What must be in a spool before anything can start there. If there is no room for a new one, nothing stays."""
    python = shlex.quote(sys.executable or "python3")
    program = '#!/bin/sh\nexec {} -I -S {} agent "$@"\n'.format(python, shlex.quote(spool + "/shepherd.py"))
    new = not os.path.exists("journal")
    try:
        with_reserve(lambda: write_anew("shepherd.py", source))
        with_reserve(lambda: write_anew("agent", program.encode(), 0o700))
        why = new and not os.path.exists("reserve") and make_reserve()
    except OSError as error:
        why = error.strerror
    if why and new:
        for name in ("shepherd.py", "agent", "reserve", "lock"):
            remove_file(name)
        remove_directory(spool)
    if why:
        raise Trouble("no room in the spool on this node ({}): {}".format(spool, why))


def write_anew(path, data, mode=0o600):
    """A file with these bytes: the old one, if it has them, or a new one, if there is room for it."""
    try:
        with open(path, "rb") as f:
            if f.read() == data:
                return
    except OSError:
        pass
    try:
        write_new(path + ".new", data, mode)
        os.rename(path + ".new", path)
    except OSError:
        remove_file(path + ".new")
        raise


def daemonize(key, spool, lock):
    """Start the keeper in a session of its own, without any descriptor of this one; returns when it is on its way."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        out = with_reserve(lambda: os.open("log", flags, 0o600))
        os.dup2(out, 2)
        os.closerange(3, lock)
        os.closerange(lock + 1, 256)
        os.umask(UMASK)
        keep(key, spool, lock)
    except BaseException as error:
        log("the keeper failed: {!r}".format(error))
    finally:
        os._exit(1)


def keep(key, spool, lock):
    """The keeper: wait for everything below, write down how it ended, start the shepherd again if it died."""
    become_subreaper()
    set_title("wq-keeper " + key)
    try:
        os.sched_setaffinity(0, range(1024))
    except OSError:
        pass
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    notes = with_reserve(lambda: os.open("notes", flags, 0o600))
    born = []
    poke, shepherd = fork_shepherd(key, spool, lock)
    while True:
        seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if seen.si_pid != shepherd:
            pid = seen.si_pid
            words = pid, seen.si_code, seen.si_status, look_at(pid)[2], tag_of(pid), session_of(pid)
            line = (" ".join(map(str, words)) + "\n").encode()
            if not note_down(notes, line):
                time.sleep(RETRY_S)  # until there is room the kernel keeps the status
                seen = os.waitid(os.P_PID, shepherd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
                if seen is None:
                    continue
        if seen.si_pid != shepherd:
            os.waitpid(seen.si_pid, 0)
            try:
                os.write(poke, b".")
            except OSError:
                pass
            continue
        os.waitpid(shepherd, 0)
        if (seen.si_code, seen.si_status) == (1, 0):
            os._exit(0)
        os.close(poke)
        born = [t for t in born if now() - t < 60.0] + [now()]
        if len(born) > 20:
            time.sleep(5.0)
        log("the shepherd ended by {}; here is the next".format(seen.si_status))
        poke, shepherd = fork_shepherd(key, spool, lock)


def note_down(notes, line):
    """Write a note; False if there is no room for it now. (Part of it may be there; it has a line of its own.)"""
    try:
        with_reserve(lambda: write_all(notes, b"\n" + line))
    except OSError as error:
        if error.errno in NO_ROOM:
            return False
        log("a status is lost: {}".format(error.strerror))
    return True


def fork_shepherd(key, spool, lock):
    """(the keeper's end of a pipe that says: there is a new note; the pid)"""
    keeper = os.getpid()
    read_end, write_end = os.pipe()
    pid = -1
    while pid < 0:
        try:
            pid = os.fork()
        except OSError as error:
            log("the shepherd cannot be started: {}".format(error.strerror))
            time.sleep(1.0)
    if pid:
        os.close(read_end)
        os.set_blocking(write_end, False)
        return write_end, pid
    status = 1
    try:
        os.close(write_end)
        os.set_blocking(read_end, False)
        become_subreaper()
        set_title("wq-shepherd " + key)
        gc.set_threshold(50000, 20, 50)  # next to nothing here is garbage that counting does not find
        if not still_ours(lock):
            remove_directory(spool)
        elif os.path.exists("notes"):
            Shepherd(key, spool, read_end, keeper).run()
        else:
            clear_spool(spool)
        status = 0
    except BaseException:
        import traceback

        log(traceback.format_exc())
    finally:
        os._exit(status)


def set_size(fd, size):
    if size:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[0], size[1], 0, 0))


def get_size(fd):
    try:
        return list(struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))[:2])
    except OSError:
        return None


def side(att):
    """The side connection: gives the job its display, and relays its terminal if it has one."""
    conn = connect()
    if conn is None:
        raise Trouble("the shepherd is gone")
    env = {k: os.environ[k] for k in ("DISPLAY", "XAUTHORITY", "TERM", "SSH_TTY", "COLORTERM") if k in os.environ}
    conn.sendall(json.dumps({"op": "side", "att": att, "env": env, "size": get_size(0)}).encode() + b"\n")
    data, ancillary, _, _ = conn.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("i")))
    fds = [struct.unpack("i", chunk[:4])[0] for _, _, chunk in ancillary]
    if fds:
        relay(conn, fds[0])
    else:
        while data and b"end" not in data:
            data = conn.recv(4096)


def relay(conn, master):
    """Between this terminal and the job's, until the shepherd says that the job has ended."""
    old = termios.tcgetattr(0) if os.isatty(0) else None
    wake_r, wake_w = os.pipe()
    os.set_blocking(wake_w, False)
    signal.set_wakeup_fd(wake_w)
    signal.signal(signal.SIGWINCH, lambda *_: None)
    set_size(master, get_size(0))
    try:
        if old is not None:
            tty.setraw(0)
        over = False
        selector = selectors.DefaultSelector()
        for fd in (0, master, conn.fileno(), wake_r):
            selector.register(fd, selectors.EVENT_READ)
        while True:
            ready = [key.fd for key, _ in selector.select(0.2 if over else None)]
            if wake_r in ready:
                os.read(wake_r, 4096)
                set_size(master, get_size(0))
            if conn.fileno() in ready and not over:
                over = True
                selector.unregister(conn.fileno())
            if master in ready:
                if not copy(master, 1):
                    if over:
                        return
                    time.sleep(0.05)  # nobody has the terminal open just now; the job may go on without it
            elif over:
                return
            if 0 in ready and not copy(0, master):
                selector.unregister(0)
    finally:
        if old is not None:
            try:
                termios.tcsetattr(0, termios.TCSADRAIN, old)
            except termios.error:
                pass  # the terminal is gone, or somebody else's by now


def copy(source, target):
    """Some bytes from one descriptor to the other; False at the end."""
    try:
        data = os.read(source, CHUNK_BYTES)
        write_all(target, data)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EINTR)
    return bool(data)


SSH_OPTIONS_WITH_VALUE = "BbcDEeFIiJLlmOopQRSWw"


def agent(words):
    """`agent [ssh options] HOST COMMAND...`: run the command on another node of the same job, as part of it."""
    while words and words[0].startswith("-"):
        takes_value = len(words[0]) == 2 and words[0][1] in SSH_OPTIONS_WITH_VALUE
        words = words[2:] if takes_value else words[1:]
    if len(words) < 2 or "WQ_ATT" not in os.environ:
        raise Trouble("usage: agent HOST COMMAND...; to be called by mpirun within a job")
    conn = connect()
    if conn is None:
        raise Trouble("the shepherd is gone")
    att = os.environ["WQ_ATT"].split("/")[0]
    word = {"op": "agent", "att": att, "host": words[0].split("@")[-1], "command": " ".join(words[1:])}
    conn.sendall(json.dumps(word).encode() + b"\n")
    with conn.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            if "data" in message:
                write_all(message["ch"], message["data"].encode("latin-1"))
            if "end" in message:
                end = message["end"]
                if end.get("error"):
                    raise Trouble(end["error"])
                return end.get("exit", 128 + end.get("signal", 127))
    return 255


def main():
    """By the words after the program's name, or as `attach` when the source came down the pipe."""
    boot = globals().get("WQ_BOOT")
    try:
        if boot is not None and "orphans" in boot:
            rows = orphans()
            answer = end_orphans(rows) if boot["orphans"] == "kill" else {"orphans": rows}
            write_all(1, b"\n" + GREETING + json.dumps(answer).encode() + b"\n")
            sys.exit(0)
        if boot is not None:
            attach(boot["key"], boot["source"])
        role, words = sys.argv[1], sys.argv[2:]
        os.chdir(os.path.dirname(os.path.abspath(sys.argv[0])))
        if role == "agent":
            sys.exit(agent(words))
        elif role == "side":
            side(words[0])
    except Trouble as trouble:
        if boot is not None:
            write_all(1, b"\n" + COMPLAINT + str(trouble).encode() + b"\n")
        sys.stderr.write("wq: {}\n".format(trouble))
        sys.stderr.flush()
        if boot is None and sys.argv[1] == "agent":
            os.kill(os.getppid(), signal.SIGTERM)  # MPICH 4.0 would wait for ever for a daemon that never came
        sys.exit(1)


if __name__ == "__main__":
    main()
