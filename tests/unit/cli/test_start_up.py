"""What a command costs before it does anything: the modules that it imports, held to a budget without a clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wq

SOURCES = str(Path(wq.__path__[0]).parent)

# Each of these costs as much as the rest of a start: alone, or by what it imports.
DEAR = frozenset(
    """argparse asyncio ast base64 collections contextlib copy dataclasses datetime difflib email enum functools gettext
    importlib importlib.metadata inspect ipaddress json json.decoder keyword locale logging operator pathlib pwd random
    re secrets select selectors shlex shutil signal socket sqlite3 string struct subprocess tempfile threading traceback
    types typing unittest urllib uuid warnings weakref zipfile
    yaml msgspec ClusterShell""".split()
)

FAKE = """
import _json, _socket, os, sys
before = set(sys.modules)
sys.path.append({sources!r})

from wq.cli import config, connection
from wq.protocol.wire import encode

WELCOME = dict(version=1, queue="q", owner=os.getuid(), owner_name="me", private=False, nodes=["a"])
NODE = dict(host="a", ncores=4, used=[0], mem_gb=8, groups=["g"], state="online", reason="", since=None, by="")
JOB = [1, None, "me", "running", "med", 1, 1, "x", 0.0, 0.0, None, None, None, None]
OUTCOME = dict(kind="exited", exit_status=0, signal=None, by=None, message=None)
FACTS = dict(
    id=1, task=None, name="x", state="ended", attempt=1, attempts=[1], output=os.environ["HOME"] + "/wqrc", error=None,
    discarded=[], keep_output="always", outcome=None, complete=True, host="",
)
ANSWERS = dict(
    ls=[dict(ok=dict(jobs=[JOB], counts=dict(jobs=1, running=1, waiting=0, held=0)))],
    stat=[dict(ok=dict(nodes=[NODE], counts=dict(jobs=1, running=1, waiting=0, held=0)))],
    rm=[dict(ok=dict(removed=[1], ending=[], refused=[], missing=[]))],
    log=[dict(ok=FACTS)],
    sub=[dict(ok=dict(jobs=[dict(id=1, name="x", output="/tmp/x-1.wqlog")])), dict(type="ended", outcome=OUTCOME)],
)

class Socket:
    '''A connection that has its answers already.'''
    def __init__(self, *_):
        self.ours, self.theirs = _socket.socketpair()
    def connect(self, path):
        server = "server.sock" in path
        answers = [dict(ok=WELCOME)] if server else ANSWERS["log" if {verb!r} == "log" else "sub"]
        if server and {verb!r} not in ("sub", "log"):
            answers += ANSWERS[{verb!r}]
        for answer in answers:
            self.theirs.sendall(encode(answer))
    def __getattr__(self, name):
        return getattr(self.ours, name)

connection.sockets.socket = Socket
connection.places.check_meeting_dir = lambda uid, port: None
connection.places.peer_uid = lambda sock: os.getuid()
config.files = lambda: [os.environ["HOME"] + "/wqrc"]
from wq.cli.main import main
status = main({words!r})
sys.stdout.flush()
found = sorted(set(sys.modules) - before)
import json
print(json.dumps([status, found]), file=sys.stderr)
"""

COMMANDS = [
    ["ls"],
    ["ls", "-u", "me", "1", "12.5"],
    ["sub", "-b", "-c", "x"],
    ["sub", "-bc", "x"],
    ["sub", "-b", "--", "x", "y"],
    ["sub", "-c", "x"],
    ["rm", "1"],
    ["log", "1"],
    ["stat"],
]


def imported(words: list[str], home: Path) -> set[str]:
    """The modules that a command imports from its first line to its last."""
    (home / "wqrc").write_text("private: no\nnodes: any\n")
    (home / "wqrc").chmod(0o600)
    script = FAKE.format(sources=SOURCES, verb=words[0], words=words)
    argv = [sys.executable, "-I", "-S", "-c", script]
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        argv, capture_output=True, text=True, env=env, cwd=home, check=False, stdin=subprocess.DEVNULL, timeout=60
    )
    assert done.returncode == 0, done.stderr
    status, modules = json.loads(done.stderr.splitlines()[-1])
    assert status == (1 if "12.5" in words else 0), done.stderr
    return set(modules)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_common_command_imports_nothing_dear(words: list[str], tmp_path: Path) -> None:
    modules = imported(words, tmp_path)
    foreground = words[0] == "sub" and "-b" not in words[1]
    assert modules & DEAR == ({"select"} if foreground else set())
    assert {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) == {"wq"}
    assert {name.split(".")[1] for name in modules if name.startswith("wq.")} <= {"cli", "protocol"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_nor_more_files_than_it_needs(words: list[str], tmp_path: Path) -> None:
    """Each costs a sixth of a millisecond, and more where the disk is far away."""
    modules = imported(words, tmp_path)
    assert len([name for name in modules if name.startswith("wq")]) <= 24
    ours = {"__future__", "_signal", "errno", "gc", "os", "resource", "select", "sys", "time", "unicodedata"}
    assert {name for name in modules if not name.startswith("wq")} - ours <= frozen()


def frozen() -> set[str]:
    """What is part of Python's own start, or within its executable."""
    return {*sys.builtin_module_names, "stat", "posixpath", "genericpath", "_collections_abc", "os.path", "abc", "io"}


def test_the_version_costs_next_to_nothing() -> None:
    program = (
        f"import sys; sys.path.append({SOURCES!r}); before = set(sys.modules)\n"
        "from wq.cli.main import main\nmain(['--version'])\n"
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith('wq')))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"wq {wq.__version__}", "wq wq.cli wq.cli.main"]


class TestTheScript:
    """`script` is `main`, and the end of the process."""

    def run(self, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
        program = (
            f"import sys; sys.path.append({SOURCES!r}); sys.argv = ['wq', *sys.argv[1:]]\n"
            "from wq.cli.main import script\nscript()"
        )
        options: dict[str, object] = {"capture_output": True, "text": True, "check": False, "timeout": 60, **more}
        return subprocess.run([sys.executable, "-I", "-S", "-c", program, *words], **options)  # type: ignore[call-overload,no-any-return]

    def test_says_what_main_says(self) -> None:
        done = self.run("--version")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"wq {wq.__version__}\n", "")
        done = self.run("lss")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("wq: there is no command 'lss'")

    def test_shows_all_of_the_help(self) -> None:
        done = self.run("ls", "-h")
        assert done.returncode == 0
        assert "examples:" in done.stdout

    def test_does_not_hide_that_nothing_could_be_written(self) -> None:
        with open("/dev/full", "w") as full:
            done = self.run("--version", stdout=full, stderr=subprocess.PIPE, capture_output=False)
        assert done.returncode != 0
        assert "No space left" in done.stderr
