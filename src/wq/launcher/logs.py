"""Where the output of a job is, for `wq log`: of one that waits, runs, or is over; and word of it as that changes.

The text itself is in the user's files, and never comes through here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from wq.core.job import JobId, Outcome
from wq.core.ranges import Ranges, contains, union
from wq.core.ranges import of as ranges_of
from wq.formats.outputs import NOWHERE
from wq.launcher.book import Book, kept_of
from wq.launcher.clients import Client, OutputAsked
from wq.launcher.kept import Kept
from wq.launcher.ledger import Entry, Ledger, Phase
from wq.launcher.outputs import Outputs
from wq.launcher.task import NODE_MARK, path_of

Facts = dict[str, Any]


class Unknown(Exception):
    """There is no such output; its text is why, in a sentence. code: in a word."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Logs:
    """Answers clients that ask for outputs, and tells those that follow one."""

    def __init__(self, ledger: Ledger, outputs: Outputs, book: Callable[[], Book | None]) -> None:
        self.ledger, self.outputs, self.book = ledger, outputs, book
        self.followers: dict[Client, tuple[OutputAsked, Facts]] = {}  # what each was told last

    def answer(self, client: Client, asked: OutputAsked) -> None:
        """What is known now; a follower hears more of it."""
        self.followers.pop(client, None)
        try:
            facts = self.facts(asked)
        except Unknown as unknown:
            client.say({"error": str(unknown), "status": 1, "code": unknown.code})
            return
        client.say({"ok": facts})
        if asked.follow and "tasks" not in facts:
            self.followers[client] = (msgspec.structs.replace(asked, id=facts["id"]), facts)

    def look(self) -> None:
        """After each turn: has something changed for one who follows?"""
        for client, (asked, before) in list(self.followers.items()):
            try:
                facts = self.facts(asked)
            except Unknown:
                facts = {**before, "state": "lost", "complete": True}
            if facts != before and client.mention({"type": "output", "output": facts}):
                self.followers[client] = (asked, facts)

    # what is known

    def facts(self, asked: OutputAsked) -> Facts:
        """Of a job or a task: its files, and how far it is. Of an array: which of its tasks have had an attempt."""
        number = JobId(asked.id if asked.id is not None else self.last())
        job = self.ledger.by_id.get(number)
        kept = self.kept_of_job(number, job)
        if not kept.array:
            if asked.task is not None:
                raise Unknown("not_an_array", f"job {number} is not an array, it has no task {asked.task}")
            ran = job is None or job.phase is not Phase.WAITING
            return self.of_one(number, None, kept, self.state_of(job), asked.attempt, ran=ran)
        if asked.task is None:
            return self.of_array(number, job, kept)
        entry = self.ledger.by_id.get((number, asked.task))
        if entry is not None:
            ran = entry.phase is not Phase.WAITING
            return self.of_one(number, asked.task, kept_of(entry), self.state_of(entry), asked.attempt, ran=ran)
        if job is not None and job.task.array is not None and not job.task.array.has(asked.task):
            raise Unknown("no_such_task", f"array {number} has no task {asked.task}")
        if contains(kept.tasks, asked.task):
            attempt, host, past = (kept.array_past.of(asked.task)) if kept.array_past is not None else (1, "", ())
            of_task = msgspec.structs.replace(
                kept, attempt=attempt, host=host, past=past, ran_before=bool(past), outcome=None
            )
            return self.of_one(number, asked.task, of_task, ("ended", True, ""), asked.attempt, ran=True)
        waits = job is not None and job.phase is not Phase.ENDED
        if not waits:
            raise Unknown("never_ran", f"task {asked.task} of array {number} has never run")
        return self.of_one(number, asked.task, kept, ("waiting", False, ""), asked.attempt, ran=False)

    def last(self) -> int:
        """The id of the last batch job that was submitted here, as far as that is known."""
        batch = (e.id for e in self.ledger.entries.values() if e.id is not None and not e.task.foreground)
        book = self.book()
        last = max(0, *batch, *self.ledger.outputs_over, book.last_kept() if book is not None else 0)
        if not last:
            raise Unknown("none", "no batch job of yours is known here")
        return last

    def kept_of_job(self, number: JobId, job: Entry | None) -> Kept:
        if job is not None:
            if job.task.foreground:
                raise Unknown("foreground", f"job {number} runs in the foreground: its output goes to its own terminal")
            return kept_of(job)
        over = self.ledger.outputs_over.get(number)  # not on disk yet
        if over is not None:
            return kept_of(over)
        book = self.book()
        kept = book.kept(number) if book is not None else None
        if kept is None:
            raise Unknown("unknown", f"no output of job {number} is known here")
        return kept

    def state_of(self, entry: Entry | None) -> tuple[str, bool, str]:
        """(how far it is, whether all of its output is here, the node of which a part may still come)."""
        if entry is None:
            return "ended", True, ""
        if entry.phase is Phase.WAITING or entry.again:
            return "waiting", False, ""
        if entry.phase is Phase.ENDED:
            complete = not (entry.unheard or entry.att in self.outputs.expected)
            return "ended", complete, "" if complete else entry.main_host
        if entry.server_knows:
            return "lost", False, entry.main_host
        if not entry.started and entry.lane:  # else it was sent by an earlier launcher, and may run
            return "starting", False, entry.main_host
        return "running", False, entry.main_host

    def of_one(
        self,
        number: JobId,
        task: int | None,
        kept: Kept,
        state: tuple[str, bool, str],
        attempt: int | None,
        *,
        ran: bool,
    ) -> Facts:
        """ran: its last attempt counts, which was not taken back."""
        how_far, complete, host = state
        attempts = [one for one, _ in kept.past]
        if ran:
            attempts.append(kept.attempt)
        newest = attempts[-1] if attempts else None
        wanted = newest if attempt is None else attempt
        if attempt is not None and attempt not in attempts:
            which = ", ".join(map(str, attempts)) or "none yet"
            raise Unknown("no_such_attempt", f"{name_of(number, task)} has had no attempt {attempt}; there is: {which}")
        if wanted != newest:
            how_far, complete, host = "ended", True, ""
        nodes = {**dict(kept.past), kept.attempt: kept.host}
        first = attempts[0] if attempts and (kept.past or not kept.ran_before) else None
        numbered = None if wanted == first else wanted
        files: Facts = {}
        for name, pattern in (("output", kept.output), ("error", kept.error)):
            path = path_of(pattern, number, task, nodes.get(wanted or 0, ""), numbered) if pattern is not None else None
            files[name] = None if path == NOWHERE or NODE_MARK in (path or "") else path
        return {
            "id": number,
            "task": task,
            "name": kept.name,
            "state": how_far,
            "attempt": wanted,
            "attempts": attempts,
            **files,
            "discarded": [name for name in files if getattr(kept, name) == NOWHERE],
            "keep_output": kept.keep_output,
            "outcome": facts_of(kept.outcome) if how_far == "ended" and wanted == newest else None,
            "complete": complete,
            "host": host,
        }

    def of_array(self, number: JobId, job: Entry | None, kept: Kept) -> Facts:
        """Which of its tasks have had an attempt; and all, while it lasts."""
        ran = kept.tasks
        pieces: tuple[tuple[int, int, int], ...] = ()
        if job is not None and job.task.array is not None:
            pieces = job.task.array.tasks if job.phase is not Phase.ENDED else ()
            ran = union(ran, self.with_attempts(job))
        return {"id": number, "name": kept.name, "tasks": ran, "all": pieces}

    def with_attempts(self, job: Entry) -> Ranges:
        """Those of its tasks that have an attempt now, or have had one."""
        of_it = (e for e in self.ledger.entries.values() if e.number is not None and e.id == job.id)
        return ranges_of(e.number for e in of_it if e.number is not None and (e.phase is not Phase.WAITING or e.past))


def name_of(number: JobId, task: int | None) -> str:
    return f"job {number}" if task is None else f"task {number}.{task}"


def facts_of(outcome: Outcome | None) -> Facts | None:
    """How it ended, as far as that is known here."""
    if outcome is None:
        return None
    return {
        "kind": outcome.kind.value,
        "exit_status": outcome.exit_status,
        "signal": outcome.signal,
        "message": outcome.message,
    }
