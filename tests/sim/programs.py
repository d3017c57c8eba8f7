"""What jobs run on a simulated node: processes that print, leave others behind, call for ranks, and end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from tests.sim.disk import Disk
from tests.sim.kernel import EXITED, SIGNALLED, Kernel, Proc, Socket

AGENT_PATIENCE_S = 90.0
Word = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a job's program does. stubborn: it ignores TERM. leaves_s: so long lives what it leaves behind.

    rank_s: how long each of its remote processes runs.
    """

    name: str
    takes_s: float
    exit_status: int = 0
    stubborn: bool = False
    output_bytes: int = 0
    leaves_s: float | None = None
    rank_s: float | None = None

    def output(self, att: str, channel: int) -> bytes:
        line = f"{self.name} {att} {channel}\n".encode()
        return (line * (self.output_bytes // len(line) + 1))[: self.output_bytes]


class Watcher(Protocol):
    """Whoever sees what really runs on the machines."""

    @property
    def random(self) -> Random: ...
    def began(self, host: str, att: str, cores: tuple[int, ...]) -> None: ...
    def main_over(self, host: str, att: str, end: Word) -> None: ...
    def all_over(self, host: str, att: str) -> None: ...
    def unheard_of(self, att: str) -> None: ...
    def program(self, name: str, task: str | None) -> Program: ...


class Door(Protocol):
    """Where the processes of a job find their shepherd."""

    disk: Disk

    def knock(self, socket: Socket) -> bool: ...


class Running:
    """The first process of an attempt: at its gate, then its program."""

    def __init__(self, watcher: Watcher, door: Door, proc: Proc, spec: Word) -> None:
        self.watcher, self.door, self.proc, self.spec = watcher, door, proc, spec
        self.kernel: Kernel = proc.kernel
        self.program = watcher.program(spec["set"]["WQ_JOB_NAME"], spec["set"].get("WQ_TASK_ID"))
        self.began = False
        self.written = {1: 0, 2: 0}
        self.agents: list[Socket] = []
        self.due = False  # its own work is done; it waits for its remote processes
        self.words_written = False
        self.script = proc.att.replace("/", "_") + ".sh"  # in the spool, if it is a shell's
        proc.on_end = self.ended
        proc.on_unheard = self.unheard

    @property
    def att(self) -> str:
        return self.proc.att

    def begin(self) -> None:
        """The gate is open: it becomes the program."""
        self.began = True
        proc, program = self.proc, self.program
        if program.stubborn:
            proc.on_signal = lambda number: None
        self.watcher.began(self.kernel.host, self.att, tuple(self.spec["cores"]))
        takes_s = program.takes_s
        if self.spec.get("rank"):
            assert program.rank_s is not None
            takes_s = program.rank_s
        elif program.rank_s is not None:
            for host in str(self.spec["set"]["WQ_HOSTS"]).split():
                if host != self.kernel.host:
                    proc.after(takes_s * 0.1, lambda host=host: self.ask_for_rank(host))  # type: ignore[misc]
        for part in (0.3, 0.8):
            proc.after(takes_s * part, lambda part=part: self.write(part))  # type: ignore[misc]
        if program.leaves_s is not None:
            proc.after(takes_s * 0.5, self.leave_behind)
        proc.after(takes_s, self.work_done)

    def write(self, part: float) -> None:
        """Its output so far: a third, four fifths, all."""
        for channel in (1, 2) if self.spec["io"] == "stream" else (1,):
            whole = self.program.output(self.att, channel)
            upto = int(len(whole) * part)
            data = whole[self.written[channel] : upto]
            self.written[channel] = upto
            if data and self.proc.alive:
                self.kernel.write(self.proc, channel, data)

    def leave_behind(self) -> None:
        """A process of its own session, which nobody waits for."""
        assert self.program.leaves_s is not None
        proc = self.proc
        stray = self.kernel.new(kind="stray", ppid=proc.pid, uid=proc.uid, att=proc.att, tag=proc.tag)
        stray.on_end = self.count
        if self.program.stubborn:
            stray.on_signal = lambda number: None
        stray.after(self.program.leaves_s, lambda: self.kernel.exit(stray, EXITED, 0))

    def work_done(self) -> None:
        self.due = True
        if self.proc.alive and not self.agents:
            self.write(1.0)
            status = 0 if self.spec.get("rank") else self.program.exit_status
            self.last_words(status)
            self.kernel.exit(self.proc, EXITED, status)

    def last_words(self, status: int) -> None:
        """Its shell writes its status down, if it was told to."""
        base = self.att.replace("/", "_")
        script = self.door.disk.files.get(self.script)
        if script is None or b".rc" not in script.data or not self.proc.alive:
            return
        words = f"{status}\n".encode()
        file = self.door.disk.make(base + ".rc")
        try:
            self.words_written = self.door.disk.append(file, words) == len(words)
        except OSError:
            pass

    def unheard(self) -> None:
        """Neither keeper nor shepherd has waited for it."""
        if not self.words_written:
            self.watcher.unheard_of(self.att)

    def ended(self) -> None:
        for agent in self.agents:
            agent.hang_up()
        self.agents = []
        if self.began:
            code, status = self.proc.end
            end = {EXITED: {"exit": status}, SIGNALLED: {"signal": status}}.get(code, {"cut": "the node went down"})
            self.watcher.main_over(self.kernel.host, self.att, end)
            self.count()

    def count(self) -> None:
        """Is anything of the attempt left on this node?"""
        if self.began and not self.kernel.of_attempt(self.att):
            self.watcher.all_over(self.kernel.host, self.att)

    # remote processes

    def ask_for_rank(self, host: str) -> None:
        """The remote-shell agent asks; without a shepherd, or without an answer for long, it gives up."""
        word = {"op": "agent", "att": self.att, "host": host, "command": "x"}
        agent = Socket(json.dumps(word).encode() + b"\n", [], lambda data: None, lambda: None)
        agent.on_data = lambda data: self.agent_heard(agent, data)
        agent.on_end = lambda: self.agent_over(agent)
        if self.door.knock(agent):
            self.agents.append(agent)
            self.proc.after(AGENT_PATIENCE_S, lambda: self.agent_over(agent))

    def agent_heard(self, agent: Socket, data: bytes) -> None:
        if any("end" in json.loads(line) for line in data.splitlines()):
            self.agent_over(agent)

    def agent_over(self, agent: Socket) -> None:
        if agent in self.agents:
            self.agents.remove(agent)
            agent.hang_up()
            if self.due and not self.agents:
                self.proc.after(0.0, self.work_done)
