"""A ledger to play with: orders and news in, short words for what follows out."""

from __future__ import annotations

from typing import Any, assert_never

from tests.unit.core.worlds import grant
from wq.core.job import AttemptNo, HostName, JobId, Outcome, Uid
from wq.core.requests import AttemptEnded, AttemptStarted, AttemptTakenBack, Signal, Start, Steer, Stop
from wq.launcher.ledger import Action, Entry, Finished, Ledger, NeedLinks, Phase, Send, SendStart, Tell
from wq.launcher.task import Setting, Task

SETTING = Setting(cwd="/home/anze", umask=0o022, env={"PATH": "/bin", "LANG": "C"})


def start(number: int, cores: str, attempt: int = 1) -> Start:
    """An order, its cores written as in 'a:0,1 b:3'."""
    allocation = grant(cores)
    declared = tuple(8 for _ in allocation.slices)
    return Start(uid=Uid(1000), id=JobId(number), attempt=AttemptNo(attempt), allocation=allocation, declared=declared)


def stop(number: int, attempt: int = 1, grace_s: float = 5.0) -> Stop:
    return Stop(uid=Uid(1000), id=JobId(number), attempt=AttemptNo(attempt), grace_s=grace_s, by="bine")


def steer(number: int, time_s: float | None = None, attempt: int = 1, *, suspended: bool | None = None) -> Steer:
    return Steer(uid=Uid(1000), id=JobId(number), attempt=AttemptNo(attempt), time_s=time_s, suspended=suspended)


def signal_to(number: int, signal: int, attempt: int = 1) -> Signal:
    return Signal(uid=Uid(1000), id=JobId(number), attempt=AttemptNo(attempt), number=signal)


def view(att: str, state: str, **more: object) -> dict[str, Any]:
    """What a shepherd says that it knows of an attempt; ended ones have exited with 0 unless said otherwise."""
    end = {"end": {"exit": 0}} if state == "ended" else {}
    return {"att": att, "state": state, "shared": None, "chs": [], **end, **more}


def shown(action: Action) -> str:
    """An action in a few words."""
    match action:
        case NeedLinks():
            return f"links {' '.join(action.hosts)}"
        case SendStart():
            return f"start {action.entry.att}"
        case Send():
            grace = f" {action.word['grace_s']:g} s" if "grace_s" in action.word else ""
            limit = f" {action.word['time_s']} s" if "time_s" in action.word else ""
            return f"{action.host}: {action.word['do']} {action.word['att']}{grace}{limit}"
        case Tell():
            return told(action.report)
        case Finished():
            return f"finished {action.entry.att}"
        case _:
            assert_never(action)


def told(report: AttemptStarted | AttemptEnded | AttemptTakenBack) -> str:
    name = f"{report.id}.{report.attempt}"
    match report:
        case AttemptStarted():
            return f"tell started {name}"
        case AttemptEnded():
            return f"tell ended {name} {outcome_word(report.outcome)}"
        case AttemptTakenBack():
            blame = f" because of {report.host}: {report.why}" if report.host is not None else ""
            return f"tell taken back {name}{blame}"
        case _:
            assert_never(report)


def outcome_word(outcome: Outcome) -> str:
    number = outcome.exit_status if outcome.exit_status is not None else outcome.signal
    return f"{outcome.kind}" if number is None else f"{outcome.kind} {number}"


class Desk:
    """One ledger, its entries numbered from 1; what is dirty counts as stored after each step."""

    def __init__(self, njobs: int = 1, *, up: str = "", foreground: bool = False) -> None:
        self.ledger = Ledger()
        for number in range(1, njobs + 1):
            self.add(number, foreground=foreground)
        self.stored: list[str] = []
        self.note()
        for host in up.split():
            self.up(host)

    def add(self, number: int | None, *, token: str = "", index: int = 0, foreground: bool = False) -> Entry:
        """One more entry; without a number, one whose id is not known yet."""
        output = None if foreground else f"/home/anze/job{number}.wqlog"
        task = Task(command="true", name=f"job{number}", foreground=foreground, output=output)
        known = JobId(number) if number is not None else None
        entry = Entry(token=token or f"t{number}", index=index, task=task, id=known)
        self.ledger.add(entry)
        return entry

    def note(self) -> None:
        dirty = self.ledger.dirty
        self.stored = [f"{token}{'' if entry is not None else ' gone'}" for (token, _, _), entry in dirty.items()]
        self.stored += [chunk.token for chunk in self.ledger.dirty_chunks]
        self.ledger.dirty, self.ledger.dirty_chunks = {}, {}

    def did(self, actions: list[Action]) -> list[str]:
        self.note()
        return [shown(action) for action in actions]

    def entry(self, number: int = 1) -> Entry:
        return self.ledger.by_id[JobId(number)]

    def phase(self, number: int = 1) -> str:
        return self.entry(number).phase.value

    # what happens to it

    def ordered(self, order: Signal | Start | Steer | Stop) -> list[str]:
        if isinstance(order, Signal):
            return self.did(self.ledger.ordered_signal(order))
        if isinstance(order, Steer):
            return self.did(self.ledger.ordered_steer(order))
        if isinstance(order, Start):
            return self.did(self.ledger.ordered_start(order))
        return self.did(self.ledger.ordered_stop(order))

    def up(self, host: str, *views: dict[str, Any], boot: str = "boot 1") -> list[str]:
        return self.did(self.ledger.node_up(HostName(host), list(views), boot))

    def failed(self, host: str, why: str = "no answer") -> list[str]:
        return self.did(self.ledger.node_failed(HostName(host), why))

    def state(self, found: dict[str, Any]) -> list[str]:
        entry = self.ledger.find(str(found["att"]))
        assert entry is not None
        return self.did(self.ledger.state_said(entry, found))

    def started(self, number: int = 1) -> list[str]:
        return self.did(self.ledger.was_started(self.entry(number)))

    def ended(self, number: int = 1, **end: object) -> list[str]:
        return self.did(self.ledger.main_ended(self.entry(number), end or {"exit": 0}))

    def gone(self, number: int = 1) -> None:
        self.ledger.gone(JobId(number))
        self.note()

    def restarted(self) -> Desk:
        """The ledger of the next launcher: what was stored, and no more."""
        other = Desk(0)
        for old in self.ledger.entries.values():
            entry = Entry(
                token=old.token,
                index=old.index,
                task=old.task,
                id=old.id,
                phase=old.phase,
                attempt=old.attempt,
                allocation=old.allocation,
                declared=old.declared,
                outcome=old.outcome,
                rank_hosts=old.rank_hosts,
                cancelled=old.cancelled,
                boots=old.boots,
                reboots=old.reboots,
                replaced=old.replaced,
                tried=old.tried,
                again=old.again,
                wait_s=old.wait_s,
                ran_before=old.ran_before,
                server_knows=old.server_knows,
                node_done=old.node_done,
            )
            other.ledger.add(entry, stored=True)
        return other


def running(cores: str = "a:0", *, njobs: int = 1) -> Desk:
    """Job 1 runs there."""
    hosts = " ".join(part.split(":")[0] for part in cores.split())
    desk = Desk(njobs, up=hosts)
    desk.ordered(start(1, cores))
    desk.started()
    assert desk.entry().phase is Phase.INTENDED
    return desk
