"""Starting a server or a launcher in the background: it says on a pipe when it is ready, or why not."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, NoReturn

READY = b"ready\n"
PROGRAM = "import sys;sys.path[:]={path!r};from wq.cli.main import main;sys.exit(main({words!r}))"


def start(words: list[str], log_path: str) -> str | None:
    """Start `wq WORDS` detached from this session. Answers None when it is ready, else why not, in a sentence."""
    import subprocess

    read_end, write_end = os.pipe()
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    program = PROGRAM.format(path=sys.path, words=[*words, "--ready-fd", str(write_end)])
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[write_end],
        start_new_session=True,
        cwd="/",
    )
    os.close(write_end)
    os.close(log)
    said = b""
    while data := os.read(read_end, 4096):
        said += data
        if said.endswith(b"\n"):
            break
    os.close(read_end)
    if said == READY:
        process.returncode = 0  # it goes on without us
        return None
    status = process.wait()
    return said.decode("utf-8", "replace").strip() or f"it ended with status {status}; see {log_path}"


def run_loop(main: Coroutine[Any, Any, None]) -> NoReturn:
    """Run a server or launcher to its end, and leave the process at once.

    All that matters is on disk by then. asyncio.run would cancel what is still under way, and can wait for ever for a
    process that is just being started (CPython 3.11, _make_subprocess_transport).
    """
    import asyncio
    import gc
    import resource

    # A launcher has its user's environment in memory. (Jobs have the soft limit that they were submitted with.)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    gc.set_threshold(50_000, 20, 50)  # a queue of many jobs is many objects, and next to none of them are garbage
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


told: set[int] = set()  # to whom we have said that we are ready


def say_ready(fd: int | None) -> None:
    """Tell whoever started us that we are ready."""
    if fd is not None:
        os.write(fd, READY)
        os.close(fd)
        told.add(fd)


def say_trouble(fd: int | None, sentence: str) -> None:
    """Tell whoever started us why we do not start; once we are ready that number may be of another file of ours."""
    if fd is not None and fd not in told:
        os.write(fd, sentence.encode("utf-8", "replace") + b"\n")
        os.close(fd)
