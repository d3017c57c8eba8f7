"""Telling the user of his jobs, as he wants it: a mail, or a command of his. Once for a job, once for an array.

It is the launcher's doing, as the user, on the head; the server has no part in it. What fails is a line in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Coroutine
from email.message import EmailMessage
from typing import Any

from wq.core.job import Outcome, OutcomeKind
from wq.formats.duration import in_words
from wq.launcher.ledger import Entry
from wq.launcher.session import Refused, ServerAway, Session
from wq.launcher.task import Setting, Task
from wq.protocol.messages import Ls

MAIL = "mail"
MOST_AT_ONCE = 4
PATIENCE_S = 60.0  # for a command
TAIL_BYTES = 64 << 10
TAIL_LINES = 40
SENDMAIL = ("/usr/sbin/sendmail", "/usr/lib/sendmail")
GB = 1 << 30


class Notices:
    """Sends them, a few at a time."""

    def __init__(
        self,
        user: str,
        session: Session,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        log: Callable[[str], None],
    ) -> None:
        self.user, self.session, self.spawn, self.log = user, session, spawn, log
        self.turn = asyncio.Semaphore(MOST_AT_ONCE)
        self.begun: set[tuple[str, int]] = set()  # jobs of whose start was told

    def started(self, entry: Entry, setting: Setting) -> None:
        """An attempt runs; only the first of a job, or of an array, is told."""
        key = (entry.token, entry.index)
        if wants(entry.task, "start") and entry.attempt == 1 and key not in self.begun:
            self.begun.add(key)
            self.spawn(self.tell(entry, setting, "start", "it has started"))

    def over(self, entry: Entry, setting: Setting) -> None:
        """A job or an array is over. (Of a task of an array nothing is told.)"""
        if entry.number is not None or entry.id is None:
            return
        self.begun.discard((entry.token, entry.index))
        if entry.task.notify is not None:
            self.spawn(self.tell_end(entry, setting))

    async def tell_end(self, entry: Entry, setting: Setting) -> None:
        ok, outcome = (await self.end_of_array(entry)) if entry.is_array else end_of_job(entry.outcome)
        event = "end" if ok or not wants(entry.task, "failure") else "failure"
        if wants(entry.task, event):
            await self.tell(entry, setting, event, outcome, ok=ok)

    async def end_of_array(self, entry: Entry) -> tuple[bool, str]:
        """(all was well, what became of it): only the server knows."""
        assert entry.id is not None
        assert entry.task.array is not None
        try:
            facts = await self.session.ask(Ls(ids=((entry.id, entry.id),)))
            counts = next(row["array"] for row in facts["jobs"] if row["array"] is not None)
            failed, removed, done = int(counts["failed"]), int(counts["removed"]), int(counts["done"])
        except (ServerAway, Refused, StopIteration, KeyError, TypeError, ValueError):
            return False, "all its tasks are over; how they ended is not known"
        parts = [f"{done - failed - removed} of {entry.task.array.spec.size} tasks successful"]
        parts += [f"{number} {what}" for number, what in ((failed, "failed"), (removed, "removed")) if number]
        return not failed and not removed, ", ".join(parts)

    async def tell(self, entry: Entry, setting: Setting, event: str, outcome: str, *, ok: bool = True) -> None:
        async with self.turn:
            tail = b"" if event == "start" or entry.is_array else end_of_file(entry.output)
            try:
                if entry.task.notify == MAIL:
                    await self.mail(entry, setting, outcome, tail)
                else:
                    env = {**setting.env, **facts_of(entry, event, outcome, ok=ok)}
                    shell = setting.env.get("SHELL") or "/bin/sh"
                    await self.run([shell, "-c", entry.task.notify or ""], tail, env, setting.cwd)
            except (OSError, ValueError) as error:
                self.log(f"job {entry.id}: notify: {error}")

    async def mail(self, entry: Entry, setting: Setting, outcome: str, tail: bytes) -> None:
        message = EmailMessage()
        name = "".join(char if char.isprintable() else "?" for char in entry.task.name)
        message["To"] = setting.env.get("MAILTO") or setting.env.get("EMAIL") or self.user
        message["Subject"] = f"wq: job {entry.id} {name}: {outcome}"[:200]
        message.set_content(body_of(entry, setting, outcome, tail.decode("utf-8", "replace")))
        sendmail = next((path for path in SENDMAIL if os.access(path, os.X_OK)), None) or shutil.which("sendmail")
        if sendmail is not None:
            await self.run([sendmail, "-t", "-oi"], message.as_bytes(), setting.env, "/")
        elif (mail := shutil.which("mail")) is not None:
            argv = [mail, "-s", message["Subject"], "--", message["To"]]
            await self.run(argv, message.get_content().encode(), setting.env, "/")
        else:
            raise OSError("there is neither sendmail nor mail on this host; use a command instead")

    async def run(self, argv: list[str], stdin: bytes, env: dict[str, str], cwd: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(stdin), PATIENCE_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):  # what left the session may hold the pipe
                await asyncio.wait_for(process.communicate(), PATIENCE_S)
            raise OSError(f"{argv[0]} has not ended after {PATIENCE_S:.0f} s") from None
        if process.returncode:
            words = " ".join(said.decode("utf-8", "replace").split())[:200]
            raise OSError(f"{argv[0]} ended with status {process.returncode}{f': {words}' if words else ''}")


def wants(task: Task, event: str) -> bool:
    """Whether its user wants to be told of this."""
    return task.notify is not None and event in (task.notify_on or ("end",))


def end_of_job(outcome: Outcome | None) -> tuple[bool, str]:
    """(all was well, how it ended in words)."""
    if outcome is None:
        return False, "removed"
    match outcome.kind:
        case OutcomeKind.EXITED:
            return outcome.succeeded, f"exit status {outcome.exit_status}"
        case OutcomeKind.SIGNALLED:
            return False, outcome.message or f"killed by signal {outcome.signal}"
        case OutcomeKind.REMOVED:
            return False, f"removed by {outcome.by}" if outcome.by else "removed"
        case OutcomeKind.TIME_LIMIT | OutcomeKind.FAILED | OutcomeKind.LOST:
            return False, outcome.message or outcome.kind.value


def facts_of(entry: Entry, event: str, outcome: str, *, ok: bool) -> dict[str, str]:
    """What a command finds in its environment."""
    status = "" if event == "start" or entry.outcome is None else str(entry.outcome.shell_status)
    return {
        "WQ_JOB_ID": str(entry.id),
        "WQ_JOB_NAME": entry.task.name,
        "WQ_EVENT": event,
        "WQ_OUTCOME": outcome,
        "WQ_STATUS": status or ("" if event == "start" else str(int(not ok))),
        "WQ_OUTPUT": "" if entry.is_array else entry.output or "",
    }


def body_of(entry: Entry, setting: Setting, outcome: str, tail: str) -> str:
    """The text of a mail."""
    lines = [f"Job {entry.id}, {entry.task.name}: {outcome}", "", f"directory: {setting.cwd}"]
    if entry.allocation is not None and not entry.is_array:
        lines.append(f"nodes: {', '.join(entry.allocation.hosts)} ({entry.allocation.ncores} cores)")
    used = entry.outcome
    if used is not None and used.wall_s is not None:
        cpu = "" if used.cpu_s is None else f", {used.cpu_s:.0f} s of CPU"
        memory = "" if used.peak_mem_bytes is None else f", at least {used.peak_mem_bytes / GB:.1f} GB of memory"
        lines.append(f"used: {in_words(round(used.wall_s))}{cpu}{memory}")
    if entry.output and not entry.is_array:
        lines.append(f"output: {entry.output}")
    if tail:
        lines += ["", f"The end of its output ({TAIL_LINES} lines at most):", "", tail]
    return "\n".join(lines) + "\n"


def end_of_file(path: str | None) -> bytes:
    """The last lines of a file."""
    if path is None:
        return b""
    try:
        with open(path, "rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            file.seek(max(size_bytes - TAIL_BYTES, 0))
            return b"\n".join(file.read(TAIL_BYTES).split(b"\n")[-TAIL_LINES - 1 :])
    except OSError:
        return b""
