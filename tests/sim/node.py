"""A small model of a node's shepherd: journal, tombstones, starts that happen once, streams that are resumed.

It speaks the words of wq.node.shepherd to the launcher's real code, on virtual time, and cheats nowhere: what it says
after a link was cut is what the shepherd would say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

Word = dict[str, Any]
CHUNK_BYTES = 400
LEAST_S = 0.001


class Wire(Protocol):
    """The launcher's end of a link, as the shepherd sees it."""

    def to_launcher(self, word: Word | tuple[str, int, int, bytes]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a job's program does. stubborn: it ignores TERM. ranks: how long each remote process runs."""

    name: str
    takes_s: float
    exit_status: int = 0
    stubborn: bool = False
    output_bytes: int = 0
    rank_s: float | None = None

    def output(self, att: str, channel: int) -> bytes:
        line = f"{self.name} {att} {channel}\n".encode()
        return (line * (self.output_bytes // len(line) + 1))[: self.output_bytes]


class Watcher(Protocol):
    """Whoever sees what really runs on the machines."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def random(self) -> Random: ...
    def began(self, host: str, att: str, cores: tuple[int, ...]) -> None: ...
    def over(self, host: str, att: str, end: Word) -> None: ...
    def output_lost(self, att: str) -> None: ...
    def program(self, name: str) -> Program: ...


@dataclass(kw_only=True)
class Source:
    """A stream of an attempt; what is not acknowledged can be sent again."""

    data: bytes = b""
    acked: int = 0
    sent: int = 0
    total: int | None = None
    eof_told: bool = False
    held: bool = False


@dataclass(kw_only=True)
class Attempt:
    att: str
    state: str = "running"  # running, sweeping, ended, never
    end: Word | None = None
    shared: bool | None = None
    path: str = ""
    program: Program | None = None
    sources: dict[int, Source] = field(default_factory=dict)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    agents: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    due: bool = False  # its own work is done; it waits for its remote processes
    stdin_at: int = 0

    def view(self) -> Word:
        view: Word = {"att": self.att, "state": self.state, "pid": 1, "shared": self.shared, "chs": list(self.sources)}
        if self.end is not None:
            view["end"] = self.end
        return view


class Shepherd:
    """One user's shepherd on one node. shares: does it see the submitting host's files."""

    def __init__(self, watcher: Watcher, host: str, *, shares: bool) -> None:
        self.watcher, self.host, self.shares = watcher, host, shares
        self.attempts: dict[str, Attempt] = {}
        self.link: Wire | None = None
        self.ranks_asked = 0
        self.boots = 1

    def after(self, attempt: Attempt, delay_s: float, call: Callable[..., None], *words: object) -> None:
        attempt.timers.append(self.watcher.loop.call_later(delay_s, call, *words))

    # --- links

    def new_link(self, link: Wire) -> None:
        self.link = link
        for attempt in self.attempts.values():
            for source in attempt.sources.values():
                source.held, source.eof_told = True, False
        views = [attempt.view() for attempt in self.attempts.values()]
        self.say({"say": "here", "version": 1, "boot": f"boot {self.boots}", "spool": "/spool", "attempts": views})

    def link_lost(self, link: Wire) -> None:
        if self.link is link:
            self.link = None

    def say(self, word: Word | tuple[str, int, int, bytes]) -> None:
        if self.link is not None:
            self.link.to_launcher(word)

    # --- words of the launcher

    def handle(self, word: Word) -> None:
        do = word["do"]
        if do == "ping":
            self.say({"say": "pong"})
            return
        if do == "rank_report":
            self.rank_report(word)
            return
        att = str(word["att"])
        attempt = self.attempts.get(att)
        if do == "start":
            self.start(att, word["spec"])
        elif do == "query":
            if attempt is None:
                attempt = self.attempts[att] = Attempt(att=att, state="never")
            self.say({**attempt.view(), "say": "state"})
        elif attempt is None:
            self.say({"say": "acked" if do == "ack" else "unknown", "att": att})
        elif do == "stop":
            self.stop(attempt, float(word["grace_s"]))
        elif do == "resume":
            for channel, source in attempt.sources.items():
                source.held = False
                source.sent = source.acked
                self.got(attempt, channel, int(word["have"].get(str(channel), 0)))
            self.say({"say": "stdin_at", "att": att, "off": attempt.stdin_at})
        elif do == "got":
            self.got(attempt, int(word["ch"]), int(word["off"]))
        elif do == "ack":
            self.forget(attempt)

    def stdin(self, att: str, offset: int, payload: bytes) -> None:
        attempt = self.attempts.get(att)
        if attempt is not None and offset <= attempt.stdin_at:
            attempt.stdin_at = max(attempt.stdin_at, offset + len(payload))
            self.say({"say": "stdin_at", "att": att, "off": attempt.stdin_at})

    def start(self, att: str, spec: Word) -> None:
        known = self.attempts.get(att)
        if known is not None:
            self.say({**known.view(), "say": "state"})
            return
        attempt = self.attempts[att] = Attempt(att=att)
        program = attempt.program = self.watcher.program(spec["set"]["WQ_JOB_NAME"])
        self.watcher.began(self.host, att, tuple(spec["cores"]))
        if spec["io"] == "stream":
            attempt.sources = {1: Source(), 2: Source()}
        elif self.shares:
            attempt.shared, attempt.path = True, spec["out"]
        else:
            attempt.shared, attempt.sources = False, {1: Source()}
        self.say({"say": "started", "att": att, "pid": 1, "shared": attempt.shared})
        if spec.get("rank"):
            assert program.rank_s is not None
            self.after(attempt, program.rank_s, self.exits, attempt, {"exit": 0})
            return
        for part in (0.3, 0.8):
            self.after(attempt, program.takes_s * part, self.writes, attempt, part)
        others = [host for host in str(spec["set"]["WQ_HOSTS"]).split() if host != self.host]
        if program.rank_s is not None:
            for host in others:
                self.after(attempt, program.takes_s * 0.1, self.ask_for_rank, attempt, host)
        self.after(attempt, program.takes_s, self.work_done, attempt)

    # --- the process

    def writes(self, attempt: Attempt, part: float) -> None:
        """Its output so far: a third, four fifths, all."""
        assert attempt.program is not None
        if attempt.path:
            whole = attempt.program.output(attempt.att, 1)
            Path(attempt.path).write_bytes(whole[: int(len(whole) * part)])
        for channel, source in attempt.sources.items():
            whole = attempt.program.output(attempt.att, channel)
            source.data = whole[: int(len(whole) * part)]
            self.pump(attempt, channel)

    def work_done(self, attempt: Attempt) -> None:
        attempt.due = True
        if attempt.state == "running" and not attempt.agents:
            assert attempt.program is not None
            self.exits(attempt, {"exit": attempt.program.exit_status})

    def exits(self, attempt: Attempt, end: Word) -> None:
        """The process is gone; soon nothing of it is left, and that is told."""
        if attempt.state != "running":
            return
        if "exit" in end:
            self.writes(attempt, 1.0)
        attempt.state, attempt.end = "sweeping", end
        for rank in list(attempt.agents):
            attempt.agents.pop(rank).cancel()
            self.say({"say": "rank_gone", "rank": rank})
        self.after(attempt, self.watcher.random.choice([LEAST_S, 0.3]), self.ended, attempt)

    def ended(self, attempt: Attempt) -> None:
        if attempt.state == "ended":
            return
        attempt.state = "ended"
        assert attempt.end is not None
        self.watcher.over(self.host, attempt.att, attempt.end)
        for channel, source in attempt.sources.items():
            source.total = len(source.data)
            self.pump(attempt, channel)
        self.say({**attempt.view(), "say": "ended"})

    def stop(self, attempt: Attempt, grace_s: float) -> None:
        if attempt.state == "running":
            assert attempt.program is not None
            if not attempt.program.stubborn:
                self.after(attempt, min(0.05, grace_s), self.exits, attempt, {"signal": 15})
            self.after(attempt, grace_s, self.exits, attempt, {"signal": 9})
        elif attempt.state == "ended":
            self.say({**attempt.view(), "say": "ended"})

    def forget(self, attempt: Attempt) -> None:
        if attempt.state in ("ended", "never"):
            self.say({"say": "acked", "att": attempt.att})
            del self.attempts[attempt.att]

    def reboot(self) -> None:
        """All processes are gone, and what they had not brought home through pipes; the journal is there."""
        self.link = None
        self.boots += 1
        for attempt in self.attempts.values():
            for timer in (*attempt.timers, *attempt.agents.values()):
                timer.cancel()
            attempt.agents = {}
            if attempt.state in ("running", "sweeping"):
                if attempt.end is None:
                    attempt.end = {"lost": "the node was rebooted while it ran"}
                attempt.state = "ended"
                self.watcher.over(self.host, attempt.att, attempt.end)
            if any(source.acked < len(source.data) for source in attempt.sources.values()):
                self.watcher.output_lost(attempt.att)  # what came through a pipe was in the shepherd's memory
            attempt.sources = {1: attempt.sources[1]} if attempt.shared is False else {}
            for source in attempt.sources.values():
                source.total, source.held = len(source.data), True

    # --- streams

    def pump(self, attempt: Attempt, channel: int) -> None:
        source = attempt.sources[channel]
        if self.link is None or source.held:
            return
        while source.sent < len(source.data):
            payload = source.data[source.sent : source.sent + CHUNK_BYTES]
            self.say((attempt.att, channel, source.sent, payload))
            source.sent += len(payload)
        if source.total is not None and source.sent >= source.total and not source.eof_told:
            source.eof_told = True
            self.say({"say": "eof", "att": attempt.att, "ch": channel, "off": source.total})

    def got(self, attempt: Attempt, channel: int, offset: int) -> None:
        source = attempt.sources.get(channel)
        if source is not None:
            source.acked = max(source.acked, offset)
            source.sent = max(source.sent, source.acked)
            self.pump(attempt, channel)

    # --- remote processes

    def ask_for_rank(self, attempt: Attempt, host: str) -> None:
        """The remote-shell agent asks; without a link, or without an answer for long, it gives up."""
        if self.link is None or attempt.state != "running":
            return
        self.ranks_asked += 1
        rank = f"{attempt.att}/77.{self.ranks_asked}"
        attempt.agents[rank] = self.watcher.loop.call_later(90.0, self.agent_over, attempt, rank)
        self.say({"say": "rank", "att": attempt.att, "rank": rank, "host": host, "command": "x"})

    def rank_report(self, word: Word) -> None:
        if "end" in word:
            attempt = self.attempts.get(str(word["rank"]).split("/")[0])
            if attempt is not None:
                self.agent_over(attempt, str(word["rank"]))

    def agent_over(self, attempt: Attempt, rank: str) -> None:
        timer = attempt.agents.pop(rank, None)
        if timer is not None:
            timer.cancel()
        if attempt.due:
            self.work_done(attempt)
