"""What `wq doctor` looks at, part by part: each finding is a line, and what to do about it. It starts nothing."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator

from wq.cli import config, connection, install
from wq.cli.checks import OK, WARNING, WRONG, Check, Patient, hint, size
from wq.cli.errors import ServerDown, WqError
from wq.cli.link import Queue
from wq.protocol import places, sockets
from wq.protocol.wire import PROTOCOL, Frames, WireError, decode, encode

PACKAGES = (("ClusterShell", "ClusterShell.NodeSet"), ("msgspec", "msgspec"), ("PyYAML", "yaml"))
LEAST_FREE_BYTES = 16 << 20
FEW_FREE_BYTES = 256 << 20
ANSWER_TIMEOUT_S = 10.0
SSH_TIMEOUT_S = 40.0
MOST_SAID = 1 << 16
TROUBLE = (WqError, WireError, places.PlaceError, OSError, KeyError, TypeError, ValueError)


def examine(port: int, named: list[str], tell: Callable[[int, int], None] = lambda done, of: None) -> Iterator[Check]:
    """All checks, in an order in which one explains the next. named: nodes (none: those of the queue)."""
    patient = Patient(port=port, named=named)
    yield from part("python", python, patient)
    if patient.without_packages:
        return
    yield from part("install", whose_install)
    yield from part("configuration", configuration, patient)
    yield from part("state", state)
    yield from part("meeting place", meeting_place, patient)
    yield from part("ssh", ssh_client, patient)
    if patient.settings is not None:
        yield from part("server", server, patient)
        if not patient.afar:
            yield from part("spool", spool, patient)
            yield from part("launcher", launcher, patient)
        from wq.cli.checkup_nodes import nodes  # which needs the packages

        yield from part("nodes", nodes, patient, tell)


def part(about: str, look: Callable[..., Iterator[Check]], *arguments: object) -> Iterator[Check]:
    """What cannot even be looked at is wrong, too."""
    try:
        yield from look(*arguments)
    except TROUBLE as error:
        text = str(error) if isinstance(error, WqError | places.PlaceError | OSError) else "makes no sense"
        yield Check(about=about, state=WRONG, text=text)


# ---- this side


def python(patient: Patient) -> Iterator[Check]:
    from importlib import import_module, metadata

    import wq

    found = []
    for name, module in PACKAGES:
        try:
            import_module(module)
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(name)
        except ImportError as error:
            patient.without_packages = True
            todo = "install wq anew (`pip install .`, or remove .venv and call ./wq)"
            yield Check(about="python", state=WRONG, text=f"{name} cannot be loaded: {error}", todo=todo)
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check(about="python", state=OK, text=f"wq {wq.__version__} on Python {version}, with {', '.join(found)}")


def whose_install() -> Iterator[Check]:
    owners = {uid for _, _, uid in install.glances()}
    for path, state, uid in install.glances():
        if state == "open":
            yield Check(
                about="install", state=WRONG, text=f"everybody can write to {path}", todo=f"chmod -R o-w {path}"
            )
        elif state == "other" and not install.is_trusted(uid):
            whose = f"{path} belongs to {install.name_of(uid)} (uid {uid}), whom you have not trusted"
            yield Check(about="install", state=WRONG, text=whose, todo="`install_owner:` in ~/.wqrc says that you do")
    for directory, _, files in os.walk(install.PACKAGE):
        for name in files:
            path = os.path.join(directory, name)
            if os.lstat(path).st_mode & 0o002 and not os.path.islink(path):
                yield Check(about="install", state=WRONG, text=f"everybody can write to {path}", todo="chmod o-w")
                return
    yield Check(about="install", state=OK, text=f"{install.PACKAGE}, of {' and '.join(map(person, sorted(owners)))}")


def person(uid: int) -> str:
    return "you" if uid == os.getuid() else "root" if uid == 0 else f"{connection.user_name(uid)} (uid {uid})"


def configuration(patient: Patient) -> Iterator[Check]:
    read = []
    wrong = False
    for path in config.files():
        try:
            with open(path, encoding="utf-8") as file:
                config.check_owner(path, os.fstat(file.fileno()))
                settings = config.parse(file.read(1 << 20), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (WqError, OSError, UnicodeDecodeError) as error:
            wrong = True
            text = str(error) if isinstance(error, WqError) else f"{path} cannot be read: {error}"
            yield Check(about="configuration", state=WRONG, text=text)
            continue
        read.append(f"{path} ({', '.join(settings) or 'empty'})")
        unknown = [key for key in settings if key not in config.KEYS]
        if unknown:
            wrong = True
            text = f"{path}: nobody knows the key {unknown[0]!r}; there are: {', '.join(config.KEYS)}"
            yield Check(about="configuration", state=WRONG, text=text)
        for text in odd_values(settings):
            yield Check(about="configuration", state=WARNING, text=f"{path}: {text}")
    given = [f"{name}={os.environ[name]}" for name in ("WQ_SERVER", "WQ_PORT", "WQ_SSH") if name in os.environ]
    if not wrong:
        patient.settings = config.load()
        text = "; ".join([*read, *given]) or "no file, and none is needed"
        yield Check(about="configuration", state=OK, text=text)


def odd_values(settings: dict[str, str]) -> Iterator[str]:
    if settings.get("nodes", "any") != "any":
        yield "`nodes:` knows the word `any` alone; anything else is as if it were not there"
    try:
        shlex.split(settings.get("ssh_command", ""))
    except ValueError as error:
        yield f"`ssh_command:` is no command: {error}"


def state() -> Iterator[Check]:
    path, moved = places.state_dir("")
    yield room("state", path.rstrip("/"))
    if moved:
        yield Check(about="state", state=WARNING, text=moved, todo="XDG_STATE_HOME can name a local disk")


def room(about: str, path: str) -> Check:
    """Whether a private directory is one, on a local disk with room."""
    found = os.lstat(path)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        text = f"{path} (mode {stat.S_IMODE(found.st_mode):o}, of {person(found.st_uid)}) is not private to you"
        return Check(about=about, state=WRONG, text=text, todo=f"chmod 700 {shlex.quote(path)}")
    kind = places.file_system_of(path)
    if kind in places.NETWORK_FILE_SYSTEMS:
        text = f"{path} is on {kind}, where a database is not safe"
        return Check(about=about, state=WRONG, text=text, todo="a local disk is needed")
    if not os.access(path, os.W_OK | os.X_OK):
        return Check(about=about, state=WRONG, text=f"{path} cannot be written to", todo="is its disk read-only?")
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    text = f"{path}, on {kind or 'a disk'} with {size(free)} free"
    if free < LEAST_FREE_BYTES or (disk.f_files and disk.f_favail < 100):
        return Check(about=about, state=WRONG, text=text, todo="make room; nothing can be submitted meanwhile")
    if free < FEW_FREE_BYTES:
        return Check(about=about, state=WARNING, text=text, todo="make room soon")
    return Check(about=about, state=OK, text=text)


def meeting_place(patient: Patient) -> Iterator[Check]:
    path = places.meeting_dir(os.getuid(), patient.port)
    found = os.stat("/tmp")
    if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
        todo = "root should `chmod +t /tmp`"
        yield Check(about="meeting place", state=WRONG, text="in /tmp anybody can remove your files", todo=todo)
    if not os.access("/tmp", os.W_OK | os.X_OK):
        yield Check(about="meeting place", state=WRONG, text="/tmp cannot be written to", todo="sockets are made there")
    try:
        places.check_meeting_dir(os.getuid(), patient.port)
    except FileNotFoundError:
        yield Check(about="meeting place", state=OK, text=f"{path} is not there yet, and is made when it is needed")
    except places.PlaceError as error:
        todo = "somebody else has planted it: take another port (-p), or ask root to remove it"
        yield Check(about="meeting place", state=WRONG, text=str(error), todo=todo)
    else:
        yield Check(about="meeting place", state=OK, text=path)


def ssh_client(patient: Patient) -> Iterator[Check]:
    import subprocess

    program = os.environ.get("WQ_SSH") or (patient.settings or {}).get("ssh_command", "ssh")
    argv = shlex.split(program) or ["ssh"]
    try:
        done = subprocess.run(
            [*argv, "-V"], stdin=subprocess.DEVNULL, capture_output=True, timeout=SSH_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = error.strerror if isinstance(error, OSError) else "it does not end"
        yield Check(about="ssh", state=WRONG, text=f"cannot run {argv[0]}: {why}", todo="install the OpenSSH client")
        return
    version = (done.stderr or done.stdout)[:200].decode("utf-8", "replace").partition("\n")[0]
    agent, todo = about_agent()
    yield Check(about="ssh", state=WARNING if todo else OK, text=f"{argv[0]}: {version or '?'}, {agent}", todo=todo)


def about_agent() -> tuple[str, str | None]:
    """(what is said of the agent, what to do)"""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        return "no agent", None
    with contextlib.closing(sockets.socket(sockets.AF_UNIX)) as sock:
        try:
            sock.settimeout(ANSWER_TIMEOUT_S)
            sock.connect(path)
        except OSError:
            return f"and no agent at {path}, which SSH_AUTH_SOCK names", "log in again, or unset SSH_AUTH_SOCK"
    return "with an agent", None


# ---- the server, one's launcher for it, and where they keep things


def server(patient: Patient) -> Iterator[Check]:
    from wq.cli import remote

    host = config.server_host()
    if host is not None and not remote.is_here(host):
        patient.afar = True
        yield afar(host, patient)
        return
    try:
        found = connection.locate(patient.port)
    except ServerDown as down:
        patient.queue = Queue(down.uid, patient.port, private=False)
        todo = "`wq serve` starts it" if down.uid == os.getuid() else f"tell {connection.user_name(down.uid)}"
        yield Check(about="server", state=WRONG, text=str(down), todo=todo)
        return
    if found is None:
        if connection.private_work_is_left(patient.port):
            patient.queue = Queue(os.getuid(), patient.port, private=True)
            text = "your private queue is not running, and has unfinished work"
            yield Check(about="server", state=WRONG, text=text, todo="any command brings it back, say `wq ls`")
        else:
            todo = "`wq sub` starts a private one, `wq serve` a shared one"
            yield Check(about="server", state=OK, text=f"none runs on port {patient.port}", todo=todo)
        return
    sock, uid, private = found
    patient.queue = Queue(uid, patient.port, private=private)
    yield answers(patient, connection.Server(sock, uid, patient.port, private=private, looks_after=False))


def answers(patient: Patient, server: connection.Server) -> Check:
    """What a server says, or that it does not."""
    whose = f"of {person(server.uid)}, on port {patient.port}{', private' if server.private else ''}"
    server.sock.settimeout(ANSWER_TIMEOUT_S)
    try:
        server.welcome = server.facts_in(server.receive())  # (it is not met by that: the next command shows it)
        rows = server.ask("stat")["nodes"]
        patient.rows = [row for row in rows if isinstance(row, dict) and isinstance(row.get("host"), str)]
    except WqError as error:
        return Check(about="server", state=WRONG, text=f"the server {whose}: {error}")
    finally:
        server.sock.close()
    text = f"{whose}; it answers, and has {len(patient.rows)} node{'s' * (len(patient.rows) != 1)}"
    if not server.is_known():
        return Check(about="server", state=OK, text=f"{text}; you have not met it yet: your next command does")
    return Check(about="server", state=OK, text=text)


def afar(host: str, patient: Patient) -> Check:
    """Whether the server's host can be reached, and what wq is there."""
    import re
    import subprocess

    import wq
    from wq.backends import ssh

    settings = patient.settings or {}
    program = os.environ.get("WQ_SSH") or settings.get("ssh_command", "ssh")
    try:
        argv = ssh.command(program, host, words=[f"{settings.get('remote_command', 'wq')} --version"])
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SSH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Check(about="server", state=WRONG, text=f"{host} does not answer", todo=f"try `ssh {host} true`")
    except ValueError as error:
        return Check(about="server", state=WRONG, text=f"server: {error}")
    version = re.search(rb"^wq ([0-9A-Za-z.+-]{1,40})\r?$", done.stdout[-MOST_SAID:], re.MULTILINE)
    if version is None:
        errors = done.stderr[-MOST_SAID:].decode("utf-8", "replace")
        if done.returncode == 255:
            return Check(about="server", state=WRONG, text=ssh.sentence(host, 255, errors), todo=hint(errors, host))
        todo = "`remote_command:` says where it is"
        return Check(about="server", state=WRONG, text=f"there is no wq on the PATH of a login on {host}", todo=todo)
    theirs = version[1].decode()
    text = f"{host} is reached, with wq {theirs}"
    todo = f"`ssh {host} wq doctor` looks at server, launcher and nodes from there"
    if theirs != wq.__version__:
        todo = f"here is {wq.__version__}; both should be the same. {todo}"
        return Check(about="server", state=WARNING, text=text, todo=todo)
    return Check(about="server", state=OK, text=text, todo=todo)


def spool(patient: Patient) -> Iterator[Check]:
    """Of one's own server; that of others is theirs."""
    queue = patient.queue
    if queue is None or queue.uid != os.getuid():
        return
    base = places.state_dir("")[0]
    path = os.path.join(base, f"{'private' if queue.private else 'server'}-{queue.port}")
    if not os.path.lexists(path):
        yield Check(about="spool", state=OK, text=f"not at {path}: it is where `wq serve -s` put it")
        return
    yield room("spool", path)


def launcher(patient: Patient) -> Iterator[Check]:
    """Yours for this queue, and those for other queues that have unfinished work and are not there."""
    from wq.cli.commands.launcher import unfinished

    left = {(queue.uid, queue.port, queue.private) for queue in unfinished()}
    here = patient.queue
    wanted = left if here is None else {*left, (here.uid, here.port, here.private)}
    if not wanted:
        yield Check(about="launcher", state=OK, text="none of yours has unfinished work")
    for uid, port, private in sorted(wanted):
        own = "your private queue" if private else "your queue"
        which = f"for {own if uid == os.getuid() else f'the queue of {person(uid)}'} on port {port}"
        yield one_launcher(Queue(uid, port, private=private), which, busy=(uid, port, private) in left)


def one_launcher(queue: Queue, which: str, *, busy: bool) -> Check:
    work = "unfinished work" if busy else "no unfinished work"
    with contextlib.closing(sockets.socket(sockets.AF_UNIX)) as sock:
        try:
            places.check_meeting_dir(os.getuid(), queue.port)
            sock.settimeout(ANSWER_TIMEOUT_S)
            sock.connect(places.launcher_socket(os.getuid(), queue.port, queue.uid, private=queue.private))
        except (FileNotFoundError, ConnectionError):
            if busy:
                text = f"{which}: it is not running, and has unfinished work"
                return Check(about="launcher", state=WRONG, text=text, todo="`wq launcher` brings it back")
            return Check(about="launcher", state=OK, text=f"{which}: none runs, and none is needed")
        pid, uid = places.peer(sock)
        if uid != os.getuid():
            return Check(about="launcher", state=WRONG, text=f"{which}: somebody else answers ({person(uid)})")
        theirs = protocol_of(sock)
    text = f"{which}: process {pid}, {work}"
    if theirs is None:
        todo = f"if that stays so: `kill -9 {pid}`, then `wq launcher`; batch jobs go on"
        return Check(about="launcher", state=WRONG, text=f"{text}; it does not answer", todo=todo)
    if theirs != PROTOCOL:
        todo = f"end it with `kill {pid}`: batch jobs go on, foreground jobs end"
        text = f"{text}; it is of another version of wq (protocol {theirs}, here {PROTOCOL})"
        return Check(about="launcher", state=WRONG, text=text, todo=todo)
    return Check(about="launcher", state=OK, text=text)


def protocol_of(sock: sockets.socket) -> int | None:
    """Which protocol a launcher speaks: to a hello of no version it only says that, and nothing changes for it."""
    frames = Frames(1 << 20)
    try:
        sock.sendall(encode({"type": "hello", "version": -1}))
        while data := sock.recv(1 << 16):
            for body in frames.feed(data):
                message = decode(body)
                theirs = message.get("version") if isinstance(message, dict) else None
                if isinstance(theirs, int):
                    return theirs
    except (OSError, WireError):
        pass
    return None
