"""Output files of one's own jobs: where they are, as one's launcher knows, and what is in them."""

from __future__ import annotations

import os
import stat
import sys

from wq.cli.errors import FAILED, WqError
from wq.cli.link import LauncherLink, remark
from wq.cli.render.sanitise import printable
from wq.protocol.probe import PROBE_BYTES, is_probe

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Facts = dict[str, Any]
    Whose = tuple[int | None, int | None, int | None, int | None]

CHUNK_BYTES = 256 << 10
BLOCK_BYTES = 64 << 10
MOST_LAUNCHERS = 5  # in a row that may go without a word
GOING_ON = ("running", "ended", "lost")  # an attempt has its file


class NotThere(Exception):
    """There is nothing to show, and why. job: whose owner the server may know."""

    def __init__(self, sentence: str, job: int | None = None) -> None:
        super().__init__(sentence)
        self.job = job


# --- where


def ask(link: LauncherLink, job: int | None, task: int | None, attempt: int | None, *, follow: bool) -> Facts:
    """What the launcher knows of a job or a task; the next one, if it goes meanwhile. Raises NotThere, WqError."""
    for _ in range(MOST_LAUNCHERS):
        try:
            link.send({"type": "output", "id": job, "task": task, "attempt": attempt, "follow": follow})
            while True:
                answer = link.next_message()
                if "ok" in answer:
                    facts = answer["ok"]
                    assert isinstance(facts, dict)
                    return facts
                if "code" in answer:
                    raise NotThere(str(answer["error"]), job if answer["code"] == "unknown" else None)
                if "error" in answer:
                    raise link.refusal(answer)
        except ConnectionError:
            link.connect()
    raise WqError("your launcher goes away without a word; `wq ls` shows the jobs")


def outputs_of(link: LauncherLink, whose: Whose, attempt: int | None, *, follow: bool) -> Iterator[Facts]:
    """The facts of each that was asked for. Of a range, those that there are. Raises NotThere if there is none."""
    first, last, first_task, last_task = whose
    tasks: list[int | None] = [None] if first_task is None else list(range(first_task, (last_task or 0) + 1))
    jobs = [first] if first is None or last is None else list(range(first, last + 1))
    many = len(jobs) > 1 or len(tasks) > 1
    missing: NotThere | None = None
    found = False
    for job in jobs:
        for task in tasks:
            try:
                for facts in outputs_of_one(link, job, task, attempt, follow=follow):
                    found = True
                    yield facts
            except NotThere as error:
                if not many:
                    raise
                missing = missing or error
    if missing is not None and not found:
        raise missing


def outputs_of_one(
    link: LauncherLink, job: int | None, task: int | None, attempt: int | None, *, follow: bool
) -> Iterator[Facts]:
    facts = ask(link, job, task, attempt, follow=False)
    if "tasks" not in facts:
        yield facts
        return
    ran = [number for low, high in facts["tasks"] for number in range(low, high + 1)]
    every = [number for low, high, step in facts["all"] for number in range(low, high + 1, step)]
    numbers = sorted({*ran, *every}) if follow else ran
    if not numbers:
        raise NotThere(f"no task of array {facts['id']} has been started yet")
    for number in numbers:
        try:
            yield ask(link, facts["id"], number, attempt, follow=False)
        except NotThere:
            if attempt is None:  # else not all have had so many
                raise


def as_row(facts: Facts) -> Facts:
    """For programs: the text is in the files."""
    names = ("id", "task", "name", "state", "attempt", "attempts", "output", "error", "keep_output", "outcome")
    row = {name: facts[name] for name in names}
    sizes = {f"{name}_bytes": size_of(facts[name]) for name in ("output", "error")}
    return {**row, **sizes, "complete": facts["complete"], "host": facts["host"] or None}


def size_of(path: str | None) -> int | None:
    try:
        return None if path is None else os.stat(path, follow_symlinks=False).st_size
    except OSError:
        return None


def called(facts: Facts) -> str:
    """The job, or the task, as people call it."""
    return f"job {facts['id']}" if facts["task"] is None else f"task {facts['id']}.{facts['task']}"


def path_in(facts: Facts, *, err: bool) -> str | None:
    """The file that is wanted; None if it is not known yet. Raises NotThere where there is none, ever."""
    name = "error" if err else "output"
    if name in facts["discarded"]:
        raise NotThere(f"nothing was kept of {called(facts)} ({name}: /dev/null)")
    if err and facts["error"] is None and facts["state"] in GOING_ON:
        raise NotThere(f"{called(facts)} has no file of errors: they are in its output")
    path = facts[name]
    return None if path is None else str(path)


# --- what is in them


def opened(path: str) -> int:
    """A descriptor of an output file. Raises OSError, NotThere."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotThere(f"{path} is no regular file")
    return fd


def copy(fd: int, at: int) -> int:
    """Write what the file has from this place on to standard output; answers where that ends."""
    begun = at
    while data := os.pread(fd, CHUNK_BYTES, at):
        if at == 0 and len(data) == PROBE_BYTES and is_probe(data):
            break  # of the launcher's, not of the job's
        sys.stdout.buffer.write(data)
        at += len(data)
    if at != begun:
        sys.stdout.buffer.flush()
    return at


def start_of_last(fd: int, nlines: int) -> int:
    """Where the last lines of a file begin."""
    size = at = os.fstat(fd).st_size
    if not nlines or not size:
        return size
    left = nlines
    while at:
        start = max(0, at - BLOCK_BYTES)
        block = os.pread(fd, at - start, start)
        end = len(block) - (at == size and block.endswith(b"\n"))
        while (found := block.rfind(b"\n", 0, end)) >= 0:
            left -= 1
            if not left:
                return start + found + 1
            end = found
        at = start
    return 0


class Shown:
    """Shows output files, one after another. status: 1 if one of them could not be shown."""

    def __init__(self, *, err: bool, nlines: int | None, headings: bool) -> None:
        self.err, self.nlines = err, nlines
        self.headings = headings and (os.isatty(1) or bool(os.environ.get("FORCE_COLOR")))
        self.status = 0
        self.nshown = self.nfollowed = 0

    def heading(self, facts: Facts, path: str) -> None:
        """Which one it is, where there are several and a person looks."""
        if self.headings:
            line = printable(f"{called(facts)}: {facts['name']}, {path}")
            between = "\n" if self.nshown else ""
            print(f"{between}==> {line} <==", flush=True)
        self.nshown += 1

    def start(self, fd: int) -> int:
        return 0 if self.nlines is None else start_of_last(fd, self.nlines)

    def trying(self, to_show: Callable[[], None]) -> None:
        """What cannot be shown is told, and what comes after it is shown."""
        try:
            to_show()
        except NotThere as error:
            self.status = FAILED
            remark(str(error))

    def show(self, facts: Facts) -> None:
        """All of one, or its last lines. Raises NotThere."""
        path = path_in(facts, err=self.err)
        if facts["attempt"] is None or facts["state"] == "starting" or path is None:
            raise NotThere(f"{called(facts)} has not started yet; `wq log -f` waits for it")
        fd = self.open(facts, path)
        self.heading(facts, path)
        copy(fd, self.start(fd))
        os.close(fd)
        if facts["state"] == "waiting":
            remark(f"{called(facts)} waits to be started again; this is of attempt {facts['attempt']}")
        elif facts["state"] == "lost":
            remark(f"nobody knows whether {called(facts)} still runs on {facts['host']}; this is what has come")
        elif facts["state"] == "ended" and not facts["complete"]:
            remark(f"{called(facts)} has ended; a part of its output is still on {facts['host']}")

    def open(self, facts: Facts, path: str) -> int:
        """Raises NotThere with what has become of it."""
        try:
            return opened(path)
        except FileNotFoundError:
            if facts["keep_output"] == "failed" and facts["state"] == "ended":
                raise NotThere(f"{called(facts)} has succeeded, and its output went (keep_output: failed)") from None
            raise NotThere(f"the output of {called(facts)} is not there: {path}") from None
        except OSError as error:
            raise NotThere(f"the output of {called(facts)} cannot be read: {path}: {error.strerror}") from None
