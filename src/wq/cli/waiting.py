"""Waiting for jobs: over one connection, which the server answers when something has ended; and over its restarts."""

from __future__ import annotations

import sys
import time

from wq.cli.connection import Server, connect
from wq.cli.errors import AWAY, FAILED, WqError, failure
from wq.cli.ids import as_fields
from wq.cli.link import remark, send
from wq.cli.progress import Progress
from wq.protocol.wire import decode

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import Any

TIMED_OUT = 124
INTERRUPTED = 130
FIRST_PAUSE_S, MOST_PAUSE_S = 0.1, 2.0  # between two questions
AGAIN_S = 30.0  # without an answer the question is asked anew
BAR_S = 1.0
MOST_FAILURES = 5  # to start a private queue again: others of the same user may be about to do so
MOST_TOLD = 20  # that failed


class TimeIsUp(Exception):
    """As --timeout said."""


class Waiter:
    """What is waited for, and what is known of it. ranges: [first, last], and [id, id, first task, last task]."""

    def __init__(self, ranges: list[list[int]], *, enough: bool = False, timeout_s: float | None = None) -> None:
        self.fields = as_fields(ranges)
        self.enough = enough  # one of them is
        self.until_s = None if timeout_s is None else time.monotonic() + timeout_s
        self.ok: set[int] = set()
        self.failed: dict[int, Any] = {}
        self.arrays: dict[tuple[int, int | None, int | None], list[Any]] = {}
        self.live = 0
        self.seen: int | None = None
        self.began: tuple[float, int] | None = None  # when how many were over
        self.bar = Progress("waiting")
        self.pause_s = FIRST_PAUSE_S
        self.is_away = False

    # what is known

    @property
    def is_over(self) -> bool:
        arrays = [row[4] >= row[3] for row in self.arrays.values()]
        if self.enough and (self.ok or self.failed or any(arrays)):
            return True
        return not self.live and all(arrays)

    @property
    def counts(self) -> tuple[int, int, int]:
        """(tasks that are over, of how many, how many of them failed); a job without an array is one."""
        done = len(self.ok) + len(self.failed) + sum(row[4] for row in self.arrays.values())
        total = len(self.ok) + len(self.failed) + self.live + sum(row[3] for row in self.arrays.values())
        return done, total, len(self.failed) + sum(row[5] for row in self.arrays.values())

    @property
    def status(self) -> int:
        """The worst of what is over."""
        worst = [status_of(outcome) for outcome in self.failed.values()]
        worst += [byte(row[6]) for row in self.arrays.values() if row[4] >= row[3]]
        return max(worst, default=0)

    def hear(self, facts: dict[str, Any], *, first: bool) -> None:
        """An answer of the server. Raises WqError if something is not there that never was."""
        missing = [str(one) for one in facts["missing"]]
        if missing and first:
            raise WqError(f"no job {', '.join(missing[:MOST_TOLD])} is known")
        live = [[int(low), int(high)] for low, high in facts["live"]]
        self.ok |= {number for low, high in facts["ok"] for number in range(int(low), int(high) + 1)}
        for number, outcome in facts["failed"]:
            self.failed[int(number)] = outcome
        for one in missing:
            if one.isdecimal():
                self.failed[int(one)] = {"kind": "lost", "message": "the server no longer knows it"}
        for number, low, high, *counts in facts["arrays"]:
            self.arrays[int(number), low, high] = [number, low, high, *map(int, counts)]
        self.live = sum(high - low + 1 for low, high in live)
        left = [row for row in self.arrays.values() if row[4] < row[3]]
        self.fields = {
            "ids": [*live, *([row[0], row[0]] for row in left if row[1] is None)],
            "tasks": [row[:3] for row in left if row[1] is not None],
        }
        self.seen = sum(row[4] for row in left)

    # waiting

    def wait(self, server: Server) -> int:
        """To the end of all, and say what became of it; the status.

        Ctrl-C, and the end of one's patience, stop the waiting, not the jobs.
        """
        try:
            with self.bar:
                self.follow(server)
        except KeyboardInterrupt:
            done, total, _ = self.counts
            going_on = "the job goes on" if total == 1 else f"{total - done} of {total} go on"
            remark(f"stopped waiting; {going_on}, `wq rm` ends what runs")
            return INTERRUPTED
        except TimeIsUp:
            done, total, failed = self.counts
            remark(f"the time is up: {done} of {total} are over, {failed} failed; the others go on")
            return TIMED_OUT
        self.tell()  # (a job may itself have ended with one of those two)
        return self.status

    def follow(self, server: Server) -> None:
        first = True
        while True:
            try:
                facts = self.ask(server)
            except ConnectionError:
                server = self.find_again(server)
                continue
            self.is_away = False
            if facts is not None:
                self.hear(facts, first=first)
                first = False
                if self.is_over:
                    return
                self.sleep()

    def ask(self, server: Server) -> dict[str, Any] | None:
        """The answer to one question, whenever that comes; None if it is to be asked again. Raises ConnectionError."""
        try:
            server.hello_only()
        except WqError as error:
            if error.status == AWAY:
                raise ConnectionResetError from None
            raise
        server.asked = server.asked + 1
        seen = {} if self.seen is None else {"seen": self.seen}
        send(server.sock, {"type": "wait", "seq": server.asked, **self.fields, **seen})
        again_s = time.monotonic() + AGAIN_S
        while time.monotonic() < again_s:
            while server.bodies:
                message = decode(server.bodies.pop(0))
                if not isinstance(message, dict) or message.get("seq", server.asked) != server.asked:
                    continue
                Server.heard = True
                if "error" in message:
                    raise WqError(str(message["error"])[:4000], failure(message.get("status")))
                return server.facts_in(message)
            self.show()
            server.sock.settimeout(self.patience_s(BAR_S if self.bar.on else AGAIN_S))
            try:
                data = server.sock.recv(1 << 18)
            except TimeoutError:
                continue
            if not data:
                raise ConnectionResetError
            server.bodies = server.frames.feed(data)
        return None

    def patience_s(self, most_s: float) -> float:
        """Not longer than there is time. Raises TimeIsUp."""
        if self.until_s is None:
            return most_s
        left_s = self.until_s - time.monotonic()
        if left_s <= 0:
            raise TimeIsUp
        return min(most_s, left_s)

    def sleep(self) -> None:
        """Each time longer than before, up to a limit."""
        until_s = time.monotonic() + self.pause_s
        self.pause_s = min(self.pause_s * 1.5, MOST_PAUSE_S)
        while (left_s := until_s - time.monotonic()) > 0:
            self.show()
            time.sleep(self.patience_s(min(left_s, BAR_S)))

    def find_again(self, server: Server) -> Server:
        """The server, when it is back; that it is away is said once."""
        server.sock.close()
        if not self.is_away:
            self.is_away = True
            self.bar.clear()
            remark("the server is away; waiting for it to come back")
        failures = 0
        while True:
            self.sleep()
            try:
                found = connect(server.port)
                found.hello_only()
                return found
            except ConnectionError:
                continue
            except WqError as error:
                failures += error.status != AWAY
                if failures > (MOST_FAILURES if server.private else 0):
                    raise

    # what is shown

    def show(self) -> None:
        done, total, failed = self.counts
        now_s = time.monotonic()
        if self.began is None and self.seen is not None:
            self.began = (now_s, done)
        told = f", {failed} failed" if failed else ""
        since_s, before = self.began or (now_s, done)
        if done > before and done < total:
            from wq.cli.render.age import age

            left_s = (total - done) * (now_s - since_s) / (done - before)
            told += f", about {age(left_s)} to go"
        self.bar.at(done, total, told)

    def tell(self) -> None:
        """What did not end as it should, a line each on stderr."""
        lines = []
        for number, outcome in sorted(self.failed.items()):
            from wq.cli.render.outcome import in_words

            lines.append(f"job {number}: {in_words(outcome_of(outcome))}")
        for number, low, high, total, _, failed, status in self.arrays.values():
            if failed:
                which = "" if low is None else f".{low}" if low == high else f".{low}-{high}"
                of = f"{failed} of {total} tasks did not succeed, the worst status is {byte(status)}"
                lines.append(f"job {number}{which}: {of if total > 1 else f'status {byte(status)}'}")
        for line in lines[:MOST_TOLD]:
            remark(line)
        if len(lines) > MOST_TOLD:
            remark(f"and {len(lines) - MOST_TOLD} more did not end as they should")

    def as_json(self, status: int) -> dict[str, Any]:
        """For programs."""
        jobs = [as_row(number, None) for number in self.ok]
        jobs += [as_row(number, outcome) for number, outcome in self.failed.items()]
        arrays = [
            {
                "id": number,
                "tasks": None if low is None else [low, high],
                "of": total,
                "done": done,
                "failed": failed,
                "status": byte(worst) if done >= total else None,
                "outcome": None,
            }
            for number, low, high, total, done, failed, worst in self.arrays.values()
        ]
        return {
            "status": status,
            "over": self.is_over,
            "unfinished": self.counts[1] - self.counts[0],
            "jobs": sorted([*jobs, *arrays], key=lambda row: (row["id"], row["tasks"] or [])),
        }


def as_row(number: int, outcome: dict[str, Any] | None) -> dict[str, Any]:
    """A job that is over. outcome: None if it ended as it should."""
    how = outcome_of(outcome) if outcome is not None else {"kind": "exited", "exit_status": 0}
    return {
        "id": number,
        "tasks": None,
        "of": 1,
        "done": 1,
        "failed": int(outcome is not None),
        "status": status_of(how),
        "outcome": outcome_of(how),
    }


def outcome_of(outcome: dict[str, Any]) -> dict[str, Any]:
    """With all that is to be known of one, as far as the server said it."""
    blank = dict.fromkeys(("exit_status", "signal", "by", "reason", "message", "cpu_s"))
    return {**blank, **outcome}


def status_of(outcome: dict[str, Any]) -> int:
    """The status that a shell would show; what was removed, was lost, or could not be started, counts as 1."""
    kind = outcome["kind"]
    if kind == "exited":
        return byte(outcome["exit_status"])
    if kind == "signalled":
        return byte(128 + (outcome["signal"] or 0))
    return TIMED_OUT if kind == "time_limit" else FAILED


def byte(status: object) -> int:
    """A status that a process can end with."""
    return min(max(status, 0), 255) if isinstance(status, int) else FAILED


def to_the_end(waiter: Waiter, server: Server, *, as_json: bool = False) -> int:
    """Wait, and say what became of it, also for programs; the exit status."""
    status = waiter.wait(server)
    if as_json:
        import json

        print(json.dumps(waiter.as_json(status), indent=1))
        sys.stdout.flush()
    return status
