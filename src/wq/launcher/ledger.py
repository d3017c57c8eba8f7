"""What the launcher was told and did, for each job; pure: facts in, actions out.

The rules of safety.md live here: the intent is on disk before a start is sent (P3), a start is sent once
per attempt and after that only asked about (P4, P5), a lost connection means unknown (P6), stale news is
answered, not obeyed (P8), and an end is told until the server has it (P9).
An action is carried out only after the entries it follows from are on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from msgspec.structs import replace

from wq.core.job import Allocation, AttemptNo, HostName, JobId, Key, Outcome, OutcomeKind, lane_name
from wq.core.ranges import Ranges, contains, union
from wq.core.ranges import of as ranges_of
from wq.core.requests import AttemptEnded, AttemptStarted, AttemptTakenBack, Signal, Start, Starts, Steer, Stop
from wq.formats.duration import in_words
from wq.launcher.kept import ArrayPast, Past
from wq.launcher.task import NODE_MARK, Task, failure, is_tried_again, path_of

JOBS = -1  # where a chunk has the index of its array, and is of jobs
MOST_REBOOTS = 5  # that a job is started again after: it may be what brings the nodes down
NEARLY_ALL = 0.8  # of a node's memory
ADDED_UP = ("cpu_s", "peak_mem_bytes", "io_read_bytes", "io_write_bytes")
USED = (*ADDED_UP, "wall_s")
MOST_REPLACED = 5  # attempts that the server may take for lost before the job is not started again


class Phase(StrEnum):
    """How far a job is, as far as this launcher knows."""

    WAITING = "waiting"  # no attempt of it can be anywhere
    INTENDED = "intended"  # an attempt was granted, and may be running
    ENDED = "ended"  # it is over; the server may not know yet


@dataclass(slots=True, kw_only=True, eq=False)
class Chunk:
    """Tasks of one array, or jobs of one submission, that were granted together: their intents are stored as one.

    serial: those that came later have larger ones. index: of the array; JOBS if they are jobs.
    first, last: their numbers, or the indices of the jobs. left: those that are not over.
    """

    serial: int
    token: str
    index: int
    first: int
    last: int
    attempt: AttemptNo
    allocation: Allocation
    declared: tuple[int, ...]
    boots: dict[HostName, str] = field(default_factory=dict)
    left: int = 0

    def takes(self, entry: Entry) -> bool:
        """Whether this one comes next in it."""
        whole = self.left == self.last - self.first + 1
        same = (self.token, self.index, self.last + 1) == (entry.token, *entry.place)
        return whole and same and self.attempt == entry.attempt and self.allocation == entry.allocation


@dataclass(slots=True, kw_only=True)
class Entry:
    """One job in the ledger, or one task of an array. What is below the line is not stored: it is learnt again."""

    token: str
    index: int
    task: Task
    number: int | None = None  # of the task, if this is one of an array; it has the array's Task
    id: JobId | None = None
    phase: Phase = Phase.WAITING
    attempt: AttemptNo = AttemptNo(0)
    allocation: Allocation | None = None
    declared: tuple[int, ...] = ()
    outcome: Outcome | None = None
    rank_hosts: frozenset[HostName] = frozenset()
    cancelled: bool = False  # its foreground client is gone
    boots: dict[HostName, str] = field(default_factory=dict)  # of its nodes, when the start was sent
    ran_before: bool = False  # an earlier attempt may have written output
    past: Past = ()  # those attempts
    rank_lost: HostName | None = None  # the node that was rebooted while a remote process of the attempt ran there
    reboots: int = 0  # of nodes, that ended attempts of it
    replaced: int = 0  # attempts that may have run, and that the server took for lost
    tried: int = 0  # attempts that failed, and after which its user wants another one
    again: bool = False  # the attempt ended (by a reboot, or it failed), and the job is to have another one
    wait_s: float = 0.0  # after so long
    kept: bool = False  # its end is stored here, for the server is away
    server_knows: bool = False  # the server has the end on its disk
    node_done: bool = True  # nothing of it is left on nodes
    over_tasks: Ranges = ()  # of an array: the numbers of those that are over, and never start again
    array_past: ArrayPast | None = None  # of an array: where the outputs of those are, if not where most are
    # ---
    chunk: Chunk | None = field(default=None, compare=False)  # with which tasks of its array the intent is stored
    lane: str = ""  # the lane in which it runs or waits for its turn
    fed: bool = False  # others were there before it
    patience_s: float | None = None
    suspended: bool | None = None  # whether it is to be, as far as the server has said
    time_s: float | None = None  # its time limit, where that is not what its task says; 0: none
    run_s: float | None = None  # how long it ran, as its node says
    maybe_sent: bool = True  # a start may have been sent (after a restart nobody knows)
    started: bool = False
    shared: bool | None = None
    stop_grace_s: float | None = None
    main_end: dict[str, Any] | None = None
    ntasks: int = 0  # of an array: so many of its tasks are in the ledger
    live_ranks: dict[str, HostName] = field(default_factory=dict)
    rank_ends: dict[str, dict[str, Any]] = field(default_factory=dict)  # how those ended that are over
    hosts_asked: set[HostName] = field(default_factory=set)  # rank hosts that have said what is left there

    @property
    def att(self) -> str:
        """The name of the current attempt on the nodes."""
        return lane_name(self.id or JobId(0), self.number, self.attempt)

    @property
    def key(self) -> tuple[str, int, int | None]:
        return self.token, self.index, self.number

    @property
    def is_array(self) -> bool:
        """It stands for those of its tasks that have no attempt."""
        return self.task.array is not None and self.number is None

    @property
    def place(self) -> tuple[int, int]:
        """Where it is in its submission: the index of the array (or JOBS), and its place there."""
        return (JOBS, self.index) if self.number is None else (self.index, self.number)

    @property
    def plain(self) -> bool:
        """A batch job or task of which, once it is granted, nothing is stored but that: no end, as its node has it."""
        past = self.ran_before or self.reboots or self.again or self.rank_hosts or self.rank_lost or self.task.retries
        past = past or (self.number is None and self.task.notify is not None)
        return not (past or self.cancelled or self.kept or self.task.foreground or self.is_array)

    @property
    def output(self) -> str | None:
        """Where the output of the current attempt goes: that of an earlier one is not written over."""
        pattern = self.task.output
        return self.path_of(pattern) if pattern is not None else None

    @property
    def error(self) -> str | None:
        """Where its errors go, if not with its output."""
        pattern = self.task.error
        return self.path_of(pattern) if pattern is not None else None

    def path_of(self, pattern: str) -> str:
        """A file of the current attempt."""
        host = self.allocation.slices[0].host if self.allocation is not None else ""
        return path_of(pattern, self.id, self.number, host, self.attempt if self.ran_before else None)

    @property
    def node_in_output(self) -> bool:
        """Whether the names of its files depend on where it runs."""
        return NODE_MARK in (self.task.output or "") or NODE_MARK in (self.task.error or "")

    @property
    def odd(self) -> bool:
        """Whether more is to be known than its number to find its files."""
        return self.attempt != 1 or self.ran_before or self.node_in_output

    @property
    def limit_s(self) -> float | None:
        """Its time limit in seconds."""
        return self.task.time_s if self.time_s is None else self.time_s or None

    @property
    def main_host(self) -> HostName:
        assert self.allocation is not None
        return self.allocation.slices[0].host

    @property
    def unheard(self) -> bool:
        """True if an earlier launcher knew its end, and its node has not said yet if all of the output was sent."""
        ended_before = self.phase is Phase.ENDED and not self.node_done and not self.plain and self.main_end is None
        return ended_before and self.allocation is not None and self.main_host not in self.hosts_asked

    @property
    def over(self) -> bool:
        """True if it can be forgotten."""
        return self.phase is Phase.ENDED and self.server_knows and self.node_done and not self.ntasks


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedLinks:
    """Connect to these nodes (or stay connected)."""

    hosts: tuple[HostName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStart:
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A word to the shepherd of a node."""

    host: HostName
    word: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """A report to the server."""

    report: AttemptStarted | AttemptEnded | AttemptTakenBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The process is over and nothing of it runs: deliver the rest of its output, then the outcome."""

    entry: Entry


Action = NeedLinks | SendStart | Send | Tell | Finished


REBOOTED = {"lost": "the node was rebooted while it ran", "rebooted": True}


def ended(entry: Entry) -> AttemptEnded:
    """The report of an attempt that is over."""
    assert entry.id is not None
    assert entry.outcome is not None
    return AttemptEnded(
        id=entry.id,
        task=entry.number,
        attempt=entry.attempt,
        outcome=entry.outcome,
        again=entry.again,
        run_s=entry.run_s,
        wait_s=entry.wait_s if entry.again else 0.0,
    )


def back(entry: Entry, host: HostName | None = None, why: str = "") -> AttemptTakenBack:
    """The report of an attempt that never ran."""
    assert entry.id is not None
    return AttemptTakenBack(id=entry.id, task=entry.number, attempt=entry.attempt, host=host, why=why)


def started(entry: Entry) -> AttemptStarted:
    assert entry.id is not None
    return AttemptStarted(id=entry.id, task=entry.number, attempt=entry.attempt)


def outcome_of(end: dict[str, Any], host: str = "") -> Outcome:
    """What the shepherd of a node said of an end, as an outcome."""
    used = {name: end[name] for name in USED if name in end}
    status, number = end.get("exit"), end.get("signal")
    if "limit_s" in end:
        message = f"time limit {in_words(float(end['limit_s']))} reached"
        return Outcome(kind=OutcomeKind.TIME_LIMIT, exit_status=status, signal=number, message=message, **used)
    if status is not None:
        return Outcome(kind=OutcomeKind.EXITED, exit_status=int(status), **used)
    if number is not None:
        return Outcome(kind=OutcomeKind.SIGNALLED, signal=int(number), message=why_killed(end, host), **used)
    if "lost" in end:
        return Outcome(kind=OutcomeKind.LOST, message=str(end["lost"]), **used)
    return Outcome(kind=OutcomeKind.FAILED, message=str(end.get("error", "ended for no known reason")))


def why_killed(end: dict[str, Any], host: str) -> str | None:
    """Of what was killed by nobody that is known: was there too little memory?"""
    of_bytes, peak_bytes = end.get("node_mem_bytes"), end.get("peak_mem_bytes", 0)
    if of_bytes is None or not (end.get("oom") or peak_bytes > NEARLY_ALL * of_bytes):
        return None
    message = f"killed by signal {end['signal']} on {host}"
    if peak_bytes:
        message += f"; memory was at least {peak_bytes / 2**30:.1f} of {of_bytes / 2**30:.1f} GB"
    return message + ("; the kernel was out of memory" if end.get("oom") else "")


def with_ranks(outcome: Outcome, ends: Iterable[dict[str, Any]], run_s: float | None) -> Outcome:
    """With what its processes on other nodes used. run_s: how long a task ran, where that was told apart."""
    sums: dict[str, Any] = {"wall_s": run_s} if outcome.wall_s is None and run_s is not None else {}
    for end in ends:
        for name in ADDED_UP:
            if end.get(name) is not None:
                sums[name] = sums.get(name, getattr(outcome, name) or 0) + end[name]
    return replace(outcome, **sums) if sums else outcome


def key_of(entry: Entry) -> Key:
    """By what the server knows it."""
    assert entry.id is not None
    return entry.id if entry.number is None else (entry.id, entry.number)


def start_of(order: Starts, number: int, task: int, attempt: int) -> Start:
    """One of many starts."""
    return Start(
        uid=order.uid,
        id=JobId(number),
        task=None if task < 0 else task,
        attempt=AttemptNo(attempt),
        allocation=order.allocation,
        declared=order.declared,
        lane=order.lane,
        patience_s=order.patience_s,
        time_s=order.time_s,
    )


def limit_word(entry: Entry) -> dict[str, Any]:
    return {"do": "limit", "time_s": entry.limit_s}


def suspension_word(entry: Entry) -> dict[str, Any]:
    return {"do": "suspend" if entry.suspended else "continue"}


def replaces(entry: Entry) -> bool:
    """Whether another attempt would come after one of which nobody knows how it ended."""
    return entry.phase is Phase.INTENDED and entry.maybe_sent


def may_be_replaced(entry: Entry) -> bool:
    """Whether the user lets a job run again on the server's word that its attempt is lost; only some times."""
    return entry.task.requeue and not entry.task.foreground and entry.replaced < MOST_REPLACED


def ended_unknown(order: Start, outcome: Outcome) -> AttemptEnded:
    """The report of the end of an attempt that this ledger did not begin."""
    return AttemptEnded(id=order.id, task=order.task, attempt=order.attempt, outcome=outcome)


class Ledger:
    """All entries, and what follows from news about them. `dirty`: entries to be stored before acting."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, int, int | None], Entry] = {}
        self.by_id: dict[Key, Entry] = {}
        self.per_token: Counter[str] = Counter()  # entries of each submission
        self.dirty: dict[tuple[str, int, int | None], Entry | None] = {}
        self.dirty_chunks: dict[Chunk, None] = {}
        self.last_chunk = 0
        self.hosts: set[HostName] = set()  # something of ours may be there
        self.hosts_changed = False
        self.placed: dict[tuple[str, int, int | None], Entry] = {}  # attempts that have to do with nodes
        self.nwithout_id = 0
        self.first_ids: dict[str, int] = {}  # of submissions that have just got theirs, to be stored
        self.outputs_over: dict[JobId, Entry] = {}  # jobs that are forgotten, and the files of which are remembered
        self.urgent = False  # something waits to be stored before anything is done
        self.server_away = False
        self.up: set[HostName] = set()
        self.boots: dict[HostName, str] = {}  # of the nodes, as they last said

    # submissions

    def add(self, entry: Entry, *, stored: bool = False) -> None:
        """A new entry, or one read from disk."""
        self.entries[entry.key] = entry
        self.per_token[entry.token] += 1
        self.count_task(entry, 1)
        if entry.id is not None:
            self.by_id[key_of(entry)] = entry
        else:
            self.nwithout_id += 1
        if not stored:
            entry.maybe_sent = False
            self.store(entry)
        self.see_placed(entry)

    def count_task(self, entry: Entry, change: int) -> None:
        """An array is not forgotten before its tasks are."""
        if entry.number is not None and (array := self.array_of(entry)) is not None:
            array.ntasks += change

    def array_of(self, entry: Entry) -> Entry | None:
        """The array that a task is of."""
        return self.entries.get((entry.token, entry.index, None))

    def add_again(self, entry: Entry) -> None:
        """A task of an array, as it is on disk; a later attempt takes the place of an earlier one."""
        old = self.entries.pop(entry.key, None)
        if old is not None:
            self.per_token[entry.token] -= 1
            self.count_task(old, -1)
            if old.chunk is not None and old.chunk is not entry.chunk:
                old.chunk.left -= 1
        self.add(entry, stored=True)

    def change(self, entry: Entry) -> None:
        """To be stored, unless it has been forgotten meanwhile."""
        if entry.key not in self.entries:
            return
        self.see_placed(entry)
        if not entry.plain or entry.key in self.dirty:
            self.store(entry)
        elif entry.chunk is not None and entry.phase is Phase.INTENDED:
            self.dirty_chunks[entry.chunk] = None
            self.urgent = True

    def store(self, entry: Entry) -> None:
        self.dirty[entry.key] = entry
        self.urgent = True

    def see_placed(self, entry: Entry) -> None:
        if entry.allocation is not None and (entry.phase is Phase.INTENDED or not entry.node_done):
            self.placed[entry.key] = entry
        else:
            self.placed.pop(entry.key, None)

    def accepted(self, token: str, ids: list[int]) -> list[Entry]:
        """The server has given ids to a submission. Where they are in a row, the first is all that is to be stored."""
        in_a_row = ids == list(range(ids[0], ids[0] + len(ids))) if ids else False
        entries = []
        for index, number in enumerate(ids):
            entry = self.entries.get((token, index, None))
            if entry is not None:
                self.nwithout_id -= entry.id is None
                entry.id = JobId(number)
                self.by_id[entry.id] = entry
                if not in_a_row:
                    self.store(entry)
                entries.append(entry)
        if in_a_row and entries:
            self.first_ids[token] = ids[0]
            self.urgent = True
        return entries

    def may_have(self, token: str, ids: list[int]) -> bool:
        """False if other entries have one of these ids, or these entries others: a server could mix up jobs by that."""
        for index, number in enumerate(ids):
            ours, theirs = self.entries.get((token, index, None)), self.by_id.get(JobId(number))
            if (theirs is not None and theirs is not ours) or (ours is not None and ours.id not in (None, number)):
                return False
        return True

    def drop(self, entry: Entry) -> None:
        """Forget an entry."""
        if self.entries.pop(entry.key, None) is None:
            return
        self.placed.pop(entry.key, None)
        self.per_token[entry.token] -= 1
        self.count_task(entry, -1)
        if entry.id is not None:
            self.by_id.pop(key_of(entry), None)
            if entry.number is None and (entry.attempt or entry.over_tasks) and not entry.task.foreground:
                self.outputs_over[entry.id] = entry
        else:
            self.nwithout_id -= 1
        if entry.chunk is not None:
            entry.chunk.left -= 1
            self.dirty_chunks[entry.chunk] = None
        if entry.number is None or not entry.plain or entry.key in self.dirty:
            if not (entry.server_knows and entry.plain):  # else its row may stay a little
                self.urgent = True
            self.dirty[entry.key] = None

    # tasks of arrays

    def split_off(self, job: JobId, number: int) -> Entry | None:
        """An entry for a task that has been granted; None if there is no such task, or if it is over."""
        array = self.by_id.get(job)
        if array is None or array.task.array is None or array.phase is Phase.ENDED:
            return None
        if not array.task.array.has(number) or contains(array.over_tasks, number):
            return None
        entry = Entry(
            token=array.token,
            index=array.index,
            task=array.task,
            number=number,
            id=array.id,
            maybe_sent=False,
        )
        self.entries[(entry.token, entry.index, number)] = entry
        self.by_id[(job, number)] = entry
        self.per_token[entry.token] += 1
        array.ntasks += 1
        return entry

    def into_chunk(self, entry: Entry) -> None:
        """Its intent is stored with that of the tasks before it, where they were granted together."""
        assert entry.allocation is not None
        index, place = entry.place
        if entry.chunk is not None:
            entry.chunk.left -= 1
            self.dirty_chunks[entry.chunk] = None
        last = next(reversed(self.dirty_chunks), None)
        if last is not None and last.takes(entry):
            last.last = place
            last.left += 1
            entry.chunk = last
            return
        self.last_chunk += 1
        entry.chunk = Chunk(
            serial=self.last_chunk,
            token=entry.token,
            index=index,
            first=place,
            last=place,
            attempt=entry.attempt,
            allocation=entry.allocation,
            declared=entry.declared,
            left=1,
        )
        self.dirty_chunks[entry.chunk] = None

    def tasks_over(self, numbers: dict[JobId, list[int]], odd: Iterable[Entry] = ()) -> None:
        """These tasks of arrays will never start again. odd: those of them whose files are not where most are.

        That need not be on disk at once: until it is, their intents are, and who has one is asked about.
        """
        for job, those in numbers.items():
            array = self.by_id.get(job)
            if array is not None:
                array.over_tasks = union(array.over_tasks, ranges_of(those))
                self.dirty[array.key] = array
        facts: dict[JobId, list[tuple[int, int, str, Past]]] = {}
        for entry in odd:
            if entry.id is not None and entry.number is not None:
                host = entry.main_host if entry.node_in_output else ""
                facts.setdefault(entry.id, []).append((entry.number, entry.attempt, host, entry.past))
        for job, those_odd in facts.items():
            array = self.by_id.get(job)
            if array is not None:
                array.array_past = array.array_past or ArrayPast()
                array.array_past.note(those_odd)

    # orders of the server

    def ordered_start(self, order: Start) -> list[Action]:
        """One start per attempt, whatever the server repeats."""
        entry = self.entry_for(order)
        said = self.without_start(entry, order)
        if said is not None:
            return said
        assert entry is not None
        left = self.leftovers(entry)
        entry.replaced += replaces(entry)
        if entry.again or (entry.phase is Phase.INTENDED and entry.maybe_sent):
            entry.ran_before = True
            entry.past += ((entry.attempt, entry.main_host),)
        entry.phase = Phase.INTENDED
        entry.outcome, entry.again, entry.boots, entry.rank_lost = None, False, {}, None
        entry.wait_s = 0.0
        entry.attempt, entry.allocation, entry.declared = order.attempt, order.allocation, order.declared
        entry.maybe_sent = entry.started = False
        entry.stop_grace_s = entry.main_end = None
        entry.node_done = True
        entry.rank_hosts = frozenset()
        entry.live_ranks, entry.rank_ends, entry.hosts_asked = {}, {}, set()
        entry.lane, entry.fed = order.lane or entry.att, order.lane is not None
        entry.patience_s, entry.run_s = order.patience_s, None
        entry.time_s, entry.suspended = order.time_s, None
        if entry.plain:
            self.into_chunk(entry)
        self.change(entry)
        return [*left, NeedLinks(hosts=entry.allocation.hosts), *self.try_start(entry)]

    def refused_start(self, order: Start, host: HostName, why: str) -> list[Action]:
        """An attempt that is not begun, as it is to be on a node that is refused: nothing of the job changes."""
        entry = self.entry_for(order)
        said = self.without_start(entry, order)
        if said is not None:
            return said
        assert entry is not None
        if entry.number is not None and not entry.attempt:  # split off for nothing
            self.drop(entry)
        report = AttemptTakenBack(id=order.id, task=order.task, attempt=order.attempt, host=host, why=why)
        return [Tell(report=report)]

    def entry_for(self, order: Start) -> Entry | None:
        """The entry that an order is about; a task of an array has its own from now on."""
        entry = self.by_id.get(order.id if order.task is None else (order.id, order.task))
        if entry is None and order.task is not None:
            entry = self.split_off(order.id, order.task)
        return entry

    def without_start(self, entry: Entry | None, order: Start) -> list[Action] | None:
        """The answer to an order after which nothing is to be started; None if it is to be obeyed."""
        if entry is None and self.nwithout_id and order.id not in self.by_id:
            return []  # of a submission whose answer is still to come; it is ordered again after that
        if entry is None or entry.is_array:
            lost = Outcome(kind=OutcomeKind.LOST, message="its launcher no longer knows it")
            return [Tell(report=ended_unknown(order, lost))]
        if order.attempt <= entry.attempt:
            steered = self.steer(entry, order.time_s, None) if order.attempt == entry.attempt else []
            return steered + self.repeat(entry)
        if entry.phase is Phase.INTENDED and entry.main_end is not None:
            return self.ended_after_all(entry, order)
        if entry.phase is Phase.ENDED and not entry.again:  # the server took it for lost: its end is the job's
            outcome = entry.outcome or Outcome(kind=OutcomeKind.LOST, message="nobody knows how it ended")
            return [Tell(report=ended_unknown(order, outcome))]
        if replaces(entry) and not may_be_replaced(entry):
            lost = Outcome(kind=OutcomeKind.LOST, message="its attempt is lost, and it is not started again")
            return [Tell(report=ended_unknown(order, lost))]
        return None

    def ordered_starts(self, order: Starts) -> list[Action]:
        """Starts of one lane: as so many orders, but first attempts, on a node that is there, cost little."""
        actions: list[Action] = []
        here = self.up.issuperset(order.allocation.hosts)
        for number, task, attempt in order.tasks:
            entry = self.fresh(JobId(number), task) if here and attempt == 1 else None
            if entry is None:
                actions += self.ordered_start(start_of(order, number, task, attempt))
                continue
            entry.phase, entry.attempt, entry.maybe_sent = Phase.INTENDED, AttemptNo(1), False
            entry.allocation, entry.declared = order.allocation, order.declared
            entry.lane, entry.fed, entry.patience_s = order.lane, True, order.patience_s
            entry.time_s = order.time_s
            self.into_chunk(entry)
            actions += self.try_start(entry)
        return actions

    def fresh(self, job: JobId, task: int) -> Entry | None:
        """The entry of a batch job (or task, if that is not NO_TASK) that has had no attempt."""
        if task >= 0:
            return self.split_off(job, task) if (job, task) not in self.by_id else None
        entry = self.by_id.get(job)
        new = entry is not None and entry.phase is Phase.WAITING and not entry.attempt and entry.plain
        return entry if new else None

    def ended_after_all(self, entry: Entry, order: Start) -> list[Action]:
        """Its end waited only for word from nodes that the owner has declared lost: it is not run again."""
        assert entry.main_end is not None
        entry.phase = Phase.ENDED
        entry.outcome = self.outcome(entry, entry.main_end)
        entry.live_ranks = {}
        self.change(entry)
        return [Tell(report=ended_unknown(order, entry.outcome)), Finished(entry=entry)]

    def leftovers(self, entry: Entry) -> list[Action]:
        """End what may still run of an attempt that the owner has declared lost, where it can be reached."""
        if entry.again and not entry.node_done:
            return [Send(host=entry.main_host, word={"do": "ack", "att": entry.att})]
        if entry.phase is not Phase.INTENDED or not entry.maybe_sent:
            return []
        there = {entry.att: entry.main_host, **entry.live_ranks}
        return [Send(host=host, word={"do": "stop", "att": att, "grace_s": 2.0}) for att, host in there.items()]

    def repeat(self, entry: Entry) -> list[Action]:
        """Say again what is known of an attempt."""
        assert entry.id is not None
        if entry.phase is Phase.ENDED and entry.outcome is not None:
            return [Tell(report=ended(entry))]
        if entry.phase is Phase.INTENDED:
            if entry.started:
                return [Tell(report=started(entry))]
            assert entry.allocation is not None
            return [NeedLinks(hosts=entry.allocation.hosts)]
        return [Tell(report=back(entry))]

    def try_start(self, entry: Entry) -> list[Action]:
        """Send the start if it never was and all nodes of the attempt are connected."""
        assert entry.allocation is not None
        if entry.maybe_sent or not self.up.issuperset(entry.allocation.hosts):
            return []
        entry.maybe_sent = True
        entry.node_done = False
        entry.boots = {host: self.boots.get(host, "") for host in entry.allocation.hosts}
        if entry.chunk is not None:
            entry.chunk.boots = entry.boots
        if not self.hosts.issuperset(entry.allocation.hosts):
            self.hosts.update(entry.allocation.hosts)
            self.hosts_changed = True
        self.change(entry)
        return [SendStart(entry=entry)]

    def ordered_steer(self, order: Steer) -> list[Action]:
        """What is not under way here needs no steering: the next start says what counts."""
        entry = self.by_id.get(order.id if order.task is None else (order.id, order.task))
        if entry is None or order.attempt != entry.attempt:
            return []
        return self.steer(entry, order.time_s, order.suspended)

    def steer(self, entry: Entry, time_s: float | None, suspended: bool | None) -> list[Action]:
        """Have an attempt be as the server wants it; None: as it is."""
        if entry.phase is not Phase.INTENDED:
            return []
        words: list[dict[str, Any]] = []
        if time_s is not None and time_s != entry.time_s:
            entry.time_s = time_s
            words.append(limit_word(entry))
        if suspended is not None and suspended is not entry.suspended and entry.stop_grace_s is None:
            entry.suspended = suspended
            words.append(suspension_word(entry))
        return self.to_all_nodes(entry, words) if entry.maybe_sent else []

    def steering(self, entry: Entry) -> list[Action]:
        """The words for what the start of an attempt did not say; they may be repeated."""
        words = [limit_word(entry)] if entry.time_s is not None else []
        if entry.suspended is not None and entry.stop_grace_s is None:
            words.append(suspension_word(entry))
        return self.to_all_nodes(entry, words)

    def to_all_nodes(self, entry: Entry, words: list[dict[str, Any]]) -> list[Action]:
        """Words about an attempt, for each of its nodes where something of it runs."""
        there = {entry.att: entry.main_host, **entry.live_ranks}
        return [Send(host=host, word={**word, "att": att}) for word in words for att, host in there.items()]

    def ordered_signal(self, order: Signal) -> list[Action]:
        """Only to what was started here and runs, and only once."""
        entry = self.by_id.get(order.id if order.task is None else (order.id, order.task))
        if entry is None or order.attempt != entry.attempt or entry.phase is not Phase.INTENDED or not entry.maybe_sent:
            return []
        return self.to_all_nodes(entry, [{"do": "signal", "number": order.number}])

    def ordered_stop(self, order: Stop) -> list[Action]:
        entry = self.by_id.get(order.id if order.task is None else (order.id, order.task))
        if entry is None or order.attempt > entry.attempt:
            return [Tell(report=AttemptTakenBack(id=order.id, task=order.task, attempt=order.attempt))]
        if order.attempt < entry.attempt or entry.phase is not Phase.INTENDED:
            return self.repeat(entry)
        if order.unsent and entry.maybe_sent:
            return []  # it is asked about when its node is back, or stopped by the next attempt
        return self.stop(entry, order.grace_s)

    def stop(self, entry: Entry, grace_s: float) -> list[Action]:
        """End the current attempt; one that was never sent is taken back."""
        if entry.phase is not Phase.INTENDED:
            return []
        if not entry.maybe_sent:
            return self.taken_back(entry, None, "")
        entry.stop_grace_s = grace_s
        return [
            NeedLinks(hosts=(entry.main_host,)),
            Send(host=entry.main_host, word={"do": "stop", "att": entry.att, "grace_s": grace_s}),
        ]

    def taken_back(self, entry: Entry, host: HostName | None, why: str) -> list[Action]:
        """The attempt provably never ran, and never will: an order of it that is still on its way is answered."""
        assert entry.id is not None
        entry.phase = Phase.WAITING
        entry.node_done = True
        self.change(entry)
        return [Tell(report=back(entry, host, why))]

    def gone(self, key: Key) -> Entry | None:
        """The server has the end on its disk (or knows no such job). Answers the entry, if there was one."""
        entry = self.by_id.get(key)
        if entry is None:
            return None
        entry.server_knows = True
        if entry.phase is not Phase.INTENDED:
            entry.phase = Phase.ENDED
        self.change(entry)
        return entry

    # news of nodes

    def on_host(self, host: HostName) -> list[Entry]:
        """The attempts that have to do with a node."""
        return [e for e in self.placed.values() if e.allocation is not None and host in e.allocation.hosts]

    def node_failed(self, host: HostName, why: str) -> list[Action]:
        """No connection came about: starts that were never sent are taken back; the rest is unknown, and waits."""
        self.up.discard(host)
        actions: list[Action] = []
        for entry in self.on_host(host):
            if entry.phase is Phase.INTENDED and not entry.maybe_sent:
                actions += self.taken_back(entry, host, why)
        return actions

    def nothing_there(self, host: HostName) -> None:
        """A node says that it knows of nothing. (Should nothing be sent there meanwhile, nobody need ask it again.)"""
        if host in self.hosts and not self.on_host(host):
            self.hosts.discard(host)
            self.hosts_changed = True

    def node_up(self, host: HostName, known: list[dict[str, Any]], boot: str = "") -> list[Action]:
        """A connection is up; known: what the shepherd there knows; boot: the boot id of the node."""
        self.up.add(host)
        self.boots[host] = boot
        views = {str(view["att"]): view for view in known}
        actions: list[Action] = []
        ours = self.on_host(host)
        names = {entry.att for entry in ours if entry.main_host == host}
        for att, view in views.items():
            if att not in names:
                actions += self.stranger(host, att, view, ours)
        for entry in ours:
            entry.hosts_asked.add(host)
            if entry.main_host == host and entry.phase is Phase.INTENDED:
                if entry.att in views:
                    actions += self.state_said(entry, views[entry.att])
                elif entry.maybe_sent and entry.main_end is None:
                    actions.append(Send(host=host, word={"do": "query", "att": entry.att}))
            elif entry.main_host == host and entry.phase is Phase.ENDED and not entry.node_done:
                if entry.att not in views:
                    entry.node_done = True
                    self.change(entry)
                else:
                    actions.append(Finished(entry=entry))
            if entry.phase is Phase.INTENDED:
                unseen = [rank for rank, at in entry.live_ranks.items() if at == host and rank not in views]
                actions += [Send(host=host, word={"do": "query", "att": rank}) for rank in unseen]
                actions += self.try_start(entry)
                actions += self.check_ranks(entry)
        return actions

    def stranger(self, host: HostName, att: str, view: dict[str, Any], ours: list[Entry]) -> list[Action]:
        """Something on a node that is no current attempt: an earlier one, or a rank of one."""
        base = att.split("/")[0]
        if view["state"] in ("ended", "never"):
            if any(att in entry.live_ranks for entry in ours):
                return []  # its end goes the way of all ranks
            for entry in ours:
                if entry.att == base and entry.phase is Phase.INTENDED:
                    return self.rank_ended(entry, att, host, view.get("end", {}))
            return [Send(host=host, word={"do": "ack", "att": att})]
        for entry in ours:
            if entry.att == base and entry.main_end is None:
                entry.live_ranks[att] = host
                return []
            if entry.att == base:
                entry.live_ranks[att] = host
        return [Send(host=host, word={"do": "stop", "att": att, "grace_s": 2.0})]

    def find(self, att: str) -> Entry | None:
        """The entry whose current attempt has this name."""
        name, _, attempt = att.partition("/")[0].partition(".")
        job, _, task = name.partition("_")
        if not (job.isdecimal() and attempt.isdecimal() and (task.isdecimal() or not task)):
            return None
        entry = self.by_id.get((JobId(int(job)), int(task)) if task else JobId(int(job)))
        return entry if entry is not None and entry.attempt == int(attempt) else None

    def state_said(self, entry: Entry, view: dict[str, Any]) -> list[Action]:
        """What the node knows of the main process of an attempt."""
        entry.shared = view.get("shared")
        if view["state"] == "ended":
            entry.run_s = view.get("run_s")
            return self.main_ended(entry, view["end"])
        if view["state"] == "never":
            actions: list[Action] = [Send(host=entry.main_host, word={"do": "ack", "att": entry.att})]
            if self.rebooted(entry, entry.main_host):
                return actions + self.main_ended(entry, REBOOTED)
            if entry.started:
                return actions + self.main_ended(entry, {"lost": "the node no longer knows it"})
            if view.get("why"):
                return actions + self.taken_back(entry, entry.main_host, str(view["why"]))
            return actions + self.taken_back(entry, None, "it had not reached the node")
        actions = [*self.was_started(entry), *self.steering(entry)] if view["state"] == "running" else []
        if entry.stop_grace_s is not None:
            word = {"do": "stop", "att": entry.att, "grace_s": entry.stop_grace_s}
            actions.append(Send(host=entry.main_host, word=word))
        return actions

    def was_started(self, entry: Entry) -> list[Action]:
        if entry.started:
            return []
        entry.started = True
        return [Tell(report=started(entry))]

    def main_ended(self, entry: Entry, end: dict[str, Any]) -> list[Action]:
        """Its first process is over; it ends when nothing of it runs on its other nodes either."""
        if entry.phase is not Phase.INTENDED or entry.main_end is not None:
            return []
        entry.main_end = end
        entry.node_done = False
        actions: list[Action] = [NeedLinks(hosts=tuple(sorted(entry.rank_hosts)))] if entry.rank_hosts else []
        for rank, host in entry.live_ranks.items():
            actions.append(Send(host=host, word={"do": "stop", "att": rank, "grace_s": 1.0}))
        return actions + self.check_ranks(entry)

    def passes_through(self, entry: Entry) -> bool:
        """Whether its end can go on to the server, and be kept on the node until that has it."""
        return entry.phase is Phase.INTENDED and entry.plain and not self.server_away

    def server_gone(self) -> list[Action]:
        """Ends that the server may not have are stored here, so that nodes need not keep them until it is back."""
        if self.server_away:
            return []
        self.server_away = True
        ends = [e for e in self.entries.values() if e.phase is Phase.ENDED and e.plain and not e.server_knows]
        for entry in ends:
            entry.kept = True
            self.change(entry)
        return [Finished(entry=entry) for entry in ends]

    def task_ended(self, entry: Entry, end: dict[str, Any]) -> AttemptEnded:
        """As main_ended, for one that has nothing but its one process, and whose output is where it belongs."""
        entry.phase, entry.outcome = Phase.ENDED, self.outcome(entry, end)
        entry.main_end, entry.node_done = end, False
        return ended(entry)

    def outcome(self, entry: Entry, end: dict[str, Any]) -> Outcome:
        """How an attempt ended, with what it used on all its nodes."""
        return with_ranks(outcome_of(end, entry.main_host), entry.rank_ends.values(), entry.run_s)

    def check_ranks(self, entry: Entry) -> list[Action]:
        """After the end of the main process: have all other nodes said that nothing is left?"""
        if entry.main_end is None or entry.live_ranks or not entry.rank_hosts <= (self.up & entry.hosts_asked):
            return []
        assert entry.id is not None
        entry.phase = Phase.ENDED
        entry.outcome = self.outcome(entry, entry.main_end)
        self.rebooted_while_it_ran(entry, entry.main_end)
        if not entry.again:
            self.try_again(entry)
        entry.kept = self.server_away
        self.change(entry)
        return [Finished(entry=entry)]

    def try_again(self, entry: Entry) -> None:
        """An attempt that failed is not the last one, if its user wants that."""
        assert entry.outcome is not None
        if (
            entry.cancelled
            or entry.stop_grace_s is not None
            or not is_tried_again(entry.task, entry.outcome, entry.tried)
        ):
            return
        entry.tried += 1
        entry.again, entry.wait_s = True, entry.task.retry_wait_s
        how = f"{failure(entry.outcome)[1]}; another attempt ({entry.tried} of {entry.task.retries} retries)"
        entry.outcome = replace(entry.outcome, message=how)

    def rebooted(self, entry: Entry, host: HostName) -> bool:
        """Has the node provably been rebooted since the attempt was sent?"""
        then, now = entry.boots.get(host, ""), self.boots.get(host, "")
        return bool(then and now) and then != now

    def rebooted_while_it_ran(self, entry: Entry, end: dict[str, Any]) -> None:
        """A job whose attempt a reboot ended, of any of its nodes, is to have another one; some times, if it may."""
        where = entry.main_host if end.get("rebooted") else entry.rank_lost
        if where is None or end.get("exit") == 0:
            return
        entry.reboots += 1
        entry.again = entry.task.requeue and not entry.task.foreground and entry.reboots <= MOST_REBOOTS
        message = f"{where} was rebooted while it ran"
        if entry.reboots > MOST_REBOOTS:
            message += f"; that was so {entry.reboots} times, and it is not started again"
        entry.outcome = Outcome(kind=OutcomeKind.LOST, message=message)

    def rank_started(self, entry: Entry, rank: str, host: HostName) -> None:
        """A process on another node is about to be sent (stored first, so that it is looked for at the end)."""
        entry.live_ranks[rank] = host
        entry.hosts_asked.add(host)
        if host not in entry.rank_hosts:
            entry.rank_hosts |= {host}
            self.change(entry)

    def rank_ended(self, entry: Entry, rank: str, host: HostName, end: dict[str, Any]) -> list[Action]:
        """A process on another node is over; end: how, as its shepherd says (empty if that knows nothing of it)."""
        entry.live_ranks.pop(rank, None)
        if end:
            entry.rank_ends[rank] = end
        if end.get("rebooted") or (not end and self.rebooted(entry, host)):
            entry.rank_lost = host
            self.change(entry)
        actions: list[Action] = [Send(host=host, word={"do": "ack", "att": rank})]
        return actions + self.check_ranks(entry)
