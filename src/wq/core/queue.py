"""The queue: all that the server knows; and the draft of it that a tick works on, until it is on disk."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from wq.core import ranges
from wq.core.array import Array
from wq.core.cluster import Node, NodeState
from wq.core.job import Allocation, AttemptNo, HostName, Job, JobId, JobSpec, Key, State, Uid, Waits
from wq.core.lane import Lane, lane_of, patience_s
from wq.core.layered import Layered
from wq.core.lifecycle import HOLDING_CORES, Ended, Granted, Held, JobEvent, Requeued, Submitted, advance
from wq.core.line import NEW_TASKS, NO_TASK, Line, Place, Shape, Waiting, Walk, place_of, rank_of, shape_of, walks
from wq.core.plan import Fitting, Limit
from wq.core.policies import Policy
from wq.core.policies.fifo import FIFO
from wq.core.profile import Promise
from wq.core.ranges import Ranges
from wq.core.requests import Answer, Gone, Gones, Incoming, Order, Refusal, Start, Starts, Steer, Stop, Unfinished

MOST_JOINED = 5000  # starts in one order


class Now(Struct, frozen=True, kw_only=True):
    """wall_s: seconds since 1970, only shown; boot_s: seconds since boot, for what is waited for."""

    wall_s: float
    boot_s: float


class Pause(Struct, frozen=True, kw_only=True):
    """One user's starts avoid one node. until_s: on the boot clock."""

    why: str
    until_s: float
    failures: int


class Unseen(Struct, frozen=True, kw_only=True):
    """A node does not answer somebody: the owner's look, or a user's launcher.

    since_s: when that was first so, in seconds since 1970, only shown.
    """

    why: str
    since_s: float


class LimitSet(Struct, frozen=True, kw_only=True):
    """A limit was set. by_owner: the server's owner's layer; else the user's own."""

    uid: Uid
    user: str
    by_owner: bool
    limit: Limit


class NodeMarked(Struct, frozen=True, kw_only=True):
    """Somebody said something of a node that outlives the server."""

    node: Node


class ArraySubmitted(Struct, frozen=True, kw_only=True):
    """An array was accepted; each of its tasks has the events of a job from its first grant on."""

    array: Array


class TasksRemoved(Struct, frozen=True, kw_only=True):
    """Tasks of an array that waited will never run."""

    id: JobId
    places: Ranges
    by: str
    reason: str = ""


class AtMostSet(Struct, frozen=True, kw_only=True):
    """How many tasks of an array may run at one time was changed."""

    id: JobId
    at_most: int | None


class ArrayTimeSet(Struct, frozen=True, kw_only=True):
    """The tasks of an array have another time limit from now on; those with attempts have an event of their own."""

    id: JobId
    time_s: float


class ArrayEnded(Struct, frozen=True, kw_only=True):
    """The last task of an array is over."""

    id: JobId
    at_s: float


class ArrayHeld(Struct, frozen=True, kw_only=True):
    """The new tasks of an array wait for something from now on; None: for their turn."""

    id: JobId
    waits: Waits | None


class TasksFreed(Struct, frozen=True, kw_only=True):
    """Tasks of an array need not wait for those of another any more."""

    id: JobId
    places: Ranges


class Edited(Struct, frozen=True, kw_only=True):
    """A job that waits, or an array, is described otherwise from now on."""

    id: JobId
    spec: JobSpec


class TurnSet(Struct, frozen=True, kw_only=True):
    """A job that waits, or an array, has the turn of another of its user's from now on."""

    id: JobId
    turn: int


class Topped(Struct, frozen=True, kw_only=True):
    """A job that waits, or an array, was put to the front of its user's own."""

    id: JobId
    by: str


ArrayEvent = ArraySubmitted | TasksRemoved | AtMostSet | ArrayEnded | ArrayTimeSet | ArrayHeld | TasksFreed
Event = JobEvent | ArrayEvent | Edited | TurnSet | Topped | LimitSet | NodeMarked


@dataclass(slots=True, kw_only=True)
class Queue:
    """All that the server knows: the sum of the events, and (below the line) who is there just now.

    A job is in exactly one of queued, held and active, by its state; finished ones are on disk only. So is a task of an
    array from its first grant on; before that it is only in its array. lanes, line, njobs (how many jobs of each
    user are not over; an array is one), dependents (who waits for a job) and next_begin_s (the first time that somebody
    waits for) are made of these.
    """

    owner: Uid
    next_id: int = 1
    queued: dict[Key, Job] = field(default_factory=dict)
    held: dict[Key, Job] = field(default_factory=dict)
    active: dict[Key, Job] = field(default_factory=dict)
    arrays: dict[JobId, Array] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    line: Line = field(default_factory=Line)
    njobs: dict[Uid, int] = field(default_factory=dict)
    dependents: dict[JobId, set[JobId]] = field(default_factory=dict)
    next_begin_s: float = float("inf")
    tokens: dict[tuple[Uid, str], tuple[JobId, ...]] = field(default_factory=dict)
    limits: dict[tuple[Uid, bool], Limit] = field(default_factory=dict)
    users: dict[Uid, str] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    block_allowed: bool = True
    most_jobs: int = 250_000  # of one user, that are not over; an array counts as one
    # --- not stored
    unseen: dict[HostName, Unseen] = field(default_factory=dict)
    present: frozenset[Uid] = frozenset()  # their launchers are connected
    absent: dict[Uid, float] = field(default_factory=dict)  # since when others' are not, in seconds since 1970
    out_of_sight: dict[tuple[Uid, HostName], Unseen] = field(default_factory=dict)  # of these users' launchers
    pauses: dict[tuple[Uid, HostName], Pause] = field(default_factory=dict)
    pace: dict[tuple[Uid, Shape], float] = field(default_factory=dict)  # how long jobs of a kind take, in seconds
    policy: Policy = field(default=FIFO, compare=False)
    promises: dict[Place, Promise] = field(default_factory=dict)  # where the policy promises all of them a start
    fitting: Fitting | None = field(default=None, compare=False)  # only remembered

    def find(self, key: Key) -> Job | None:
        return self.active.get(key) or self.queued.get(key) or self.held.get(key)

    def at(self, place: Place) -> Waiting | None:
        """Who waits at a place of the line, if he still does."""
        return at_place(self.queued, self.arrays, place)

    def walks(self) -> Iterable[Walk]:
        """The line, from the front."""
        return walks(self.line, (), self.at)

    def take_up(self, jobs: Iterable[Job], arrays: Iterable[Array]) -> None:
        """Fill an empty queue."""
        for job in jobs:
            place = {State.QUEUED: self.queued, State.HELD: self.held}.get(job.state, self.active)
            place[job.key] = job
            if job.task is None:
                self.njobs[job.spec.uid] = self.njobs.get(job.spec.uid, 0) + 1
            if job.state is State.QUEUED:
                self.line.add(job)
            elif job.state in HOLDING_CORES and job.allocation is not None:
                old = self.lanes.get(job.runs_in)
                self.lanes[job.runs_in] = lane_of(job) if old is None else replace(old, size=old.size + 1)
            self.users[job.spec.uid] = job.spec.user
            self.take_up_waits(job)
        for array in arrays:
            self.arrays[array.id] = array
            self.njobs[array.spec.uid] = self.njobs.get(array.spec.uid, 0) + 1
            if array.in_line:
                self.line.add(array)
            self.users[array.spec.uid] = array.spec.user
            self.take_up_waits(array)

    def take_up_waits(self, job: Waiting) -> None:
        for other in waited_for(job):
            self.dependents.setdefault(other, set()).add(job.id)
        if job.waits is not None and job.waits.begin_s is not None:
            self.next_begin_s = min(self.next_begin_s, job.waits.begin_s)


def waited_for(job: Waiting) -> list[JobId]:
    """The jobs whose ends, or tasks' ends, this one waits for."""
    found = [JobId(after.job) for after in job.waits.after] if job.waits is not None else []
    if isinstance(job, Array) and job.blocked:
        found += [JobId(after.job) for after in job.spec.after if after.each]
    return found


def at_place(queued: Mapping[Key, Job], arrays: Mapping[JobId, Array], place: Place) -> Waiting | None:
    _, number, task = place
    if task == NEW_TASKS:
        array = arrays.get(JobId(number))
        return array if array is not None and array.in_line else None
    return queued.get(JobId(number) if task == NO_TASK else (JobId(number), task))


def with_looks(nodes: Iterable[Node], unseen: Mapping[HostName, Unseen]) -> tuple[Node, ...]:
    """The nodes as they are to be used and shown: offline, too, where the owner's own look failed."""
    shown = []
    for node in nodes:
        look = unseen.get(node.host)
        if look is not None and node.state is not NodeState.OFFLINE:
            node = replace(node, state=NodeState.OFFLINE, reason=look.why, since_s=look.since_s, by="look")
        shown.append(node)
    return tuple(shown)


def effective_limit(limits: Iterable[Limit]) -> Limit:
    """The smaller of all that are set."""
    runs = [limit.run for limit in limits if limit.run is not None]
    cores = [limit.cores for limit in limits if limit.cores is not None]
    return Limit(run=min(runs, default=None), cores=min(cores, default=None))


class Draft:
    """A tick in the making: the queue as it would be, the events that make it so, and what follows."""

    def __init__(self, queue: Queue, now: Now) -> None:
        self.queue = queue
        self.now = now
        self.owner = queue.owner
        self.next_id = queue.next_id
        self.queued = Layered(queue.queued)
        self.held = Layered(queue.held)
        self.active = Layered(queue.active)
        self.arrays = Layered(queue.arrays)
        self.lanes = Layered(queue.lanes)
        self.njobs = Layered(queue.njobs)
        self.pace = Layered(queue.pace)
        self.new_dependents: dict[JobId, set[JobId]] = {}
        self.old_dependents: list[tuple[JobId, JobId]] = []  # (who was waited for, who does not wait any more)
        self.answered: set[JobId] = set()  # their ends have come; so nobody waits for them
        self.next_begin_s = queue.next_begin_s
        self.ended_jobs: dict[JobId, bool] = {}  # what has ended in this tick, and whether with success
        self.ended_tasks: dict[JobId, dict[int, bool]] = {}
        self.fresh_ends: dict[JobId, bool] = {}  # of these, what nobody has looked at yet
        self.fresh_task_ends: dict[JobId, dict[int, bool]] = {}
        self.fresh_removals: dict[JobId, Ranges] = {}  # places of tasks that will never run
        self.unfinished: list[tuple[Incoming, Unfinished]] = []
        self.joined: dict[Key, Waiting] = {}  # the line
        self.left: dict[Key, Waiting] = {}  # the line
        self.moved: dict[Key, Waiting] = {}  # elsewhere in it; as they were before this tick
        self.tokens = Layered(queue.tokens)
        self.limits = Layered(queue.limits)
        self.users = Layered(queue.users)
        self.unseen = Layered(queue.unseen)
        self.absent = Layered(queue.absent)
        self.out_of_sight = Layered(queue.out_of_sight)
        self.pauses = Layered(queue.pauses)
        self.nodes = queue.nodes
        self.leaving = any(node.leaving for node in queue.nodes)
        self.present = queue.present
        self.changed: dict[Key, Job] = {}
        self.changed_arrays: dict[JobId, Array] = {}
        self.tasks_over: dict[JobId, list[int]] = {}  # of arrays: how many tasks are over, and how many of these failed
        self.gone_tasks: dict[Uid, list[tuple[int, int]]] = {}
        self.events: list[Event] = []
        self.orders: list[Order] = []
        self.answers: list[tuple[int, Answer | Refusal]] = []
        self.wake_s: float | None = None
        self.policy, self.fitting, self.promises = queue.policy, queue.fitting, queue.promises

    def find(self, key: Key) -> Job | None:
        found: Job | None = self.active.get(key) or self.queued.get(key) or self.held.get(key)
        return found

    def is_live(self, job_id: JobId) -> bool:
        """Whether it is a job or an array that is not over."""
        return job_id in self.arrays or self.find(job_id) is not None

    def tasks_of(self, array: JobId) -> list[Job]:
        """The tasks of an array that are split off and not over."""
        if array not in self.arrays or not self.arrays[array].live:
            return []
        layers = (self.active, self.queued, self.held)
        return [job for layer in layers for job in layer.values() if job.id == array and job.task is not None]

    def at(self, place: Place) -> Waiting | None:
        """Who waits at a place of the line, if he still does."""
        return at_place(self.queued, self.arrays, place)

    def walks(self) -> Iterable[Walk]:
        """The line as it would be, from the front."""
        return walks(self.queue.line, self.joined.values(), self.at, self.moved.values())

    def place_of(self, state: State) -> Layered[Key, Job] | None:
        """The mapping in which a job of this state lies."""
        match state:
            case State.QUEUED:
                return self.queued
            case State.HELD:
                return self.held
            case State.STARTING | State.RUNNING | State.SUSPENDED | State.STOPPING:
                return self.active
            case State.DONE:
                return None
            case _:
                assert_never(state)

    def apply(self, event: JobEvent, old: Job | None = None) -> Job:
        """Let a job's event happen: the one way in which a job changes.

        old: a task that has just been split off; its order is left to the caller.
        """
        new_task = old is not None
        if isinstance(event, Submitted):
            job = event.job
            self.add_jobs(job.spec.uid, 1)
            self.note_waits(job)
        else:
            key: Key = event.id if event.task is None else (event.id, event.task)
            if old is None:
                old = self.find(key)
            if old is None:
                raise LookupError(f"{event} for a job that is not in the queue")
            job = advance(old, event)
            if old.waits is not None and isinstance(event, Ended):
                self.old_dependents += [(other, old.id) for other in waited_for(old)]
            before, after = self.place_of(old.state), self.place_of(job.state)
            assert before is not None
            if before is not after and key in before:
                del before[key]
            if old.state in HOLDING_CORES and job.state not in HOLDING_CORES:
                self.leave_lane(old, ended=isinstance(event, Ended))
            elif before is not after and old.state is State.QUEUED and self.stands_in_line(key):
                self.left[key] = old
        self.put(job, moved=old is None or old.state is not job.state)
        self.events.append(event)
        if isinstance(event, Held):
            self.note_waits(job)
        if not new_task:
            self.follow_up(job, event)
        return job

    def stands_in_line(self, key: Key) -> bool:
        """Whether the line, as it was before this tick, has it where it belongs."""
        return key in self.queue.queued and key not in self.moved

    def put(self, job: Job, *, moved: bool) -> None:
        """Where a job is now, by its state. moved: that is another one than before."""
        key, place = job.key, self.place_of(job.state)
        if place is not None:
            place[key] = job
        self.changed[key] = job
        if job.state is State.QUEUED:
            if key in self.left or not self.stands_in_line(key):
                self.joined[key] = job
        else:
            self.joined.pop(key, None)
        if moved and job.state is State.STARTING:
            lane = self.lanes.get(job.runs_in)
            self.lanes[job.runs_in] = lane_of(job) if lane is None else replace(lane, size=lane.size + 1)

    def leave_lane(self, job: Job, *, ended: bool) -> None:
        """An attempt is over, or never was; the cores are free when it was the last in its lane."""
        name = job.runs_in
        lane = self.lanes[name]
        if lane.size == 1:
            del self.lanes[name]
        else:
            self.lanes[name] = replace(lane, size=lane.size - 1, stuck=lane.stuck and not ended)

    def add_jobs(self, uid: Uid, njobs: int) -> None:
        """So many more of a user's are not over."""
        if left := self.njobs.get(uid, 0) + njobs:
            self.njobs[uid] = left
        else:
            self.njobs.pop(uid, None)

    # arrays

    def change_array(self, array: Array) -> None:
        """An array as it is now. What is over leaves; its launcher may forget it."""
        before = self.arrays.get(array.id)
        self.add_jobs(array.spec.uid, (not array.over) - (before is not None))
        if array.over:
            array = replace(array, ended_s=self.now.wall_s)
            self.note_end(array.id, not array.failed and not array.removed)
            del self.arrays[array.id]
            self.events.append(ArrayEnded(id=array.id, at_s=self.now.wall_s))
            self.orders.append(Gone(uid=array.spec.uid, id=array.id, outcome=None))
            self.old_dependents += [(JobId(after.job), array.id) for after in array.spec.after]
        else:
            self.arrays[array.id] = array
        self.changed_arrays[array.id] = array
        was = before is not None and before.in_line
        if was and not array.in_line:
            if self.joined.pop(array.id, None) is None and array.id not in self.moved:
                self.left[array.id] = array
        elif array.in_line and not was:
            self.joined[array.id] = array

    def remove_tasks(self, array: Array, places: Ranges, by: str, reason: str = "") -> None:
        """Tasks that have not started never will."""
        self.events.append(TasksRemoved(id=array.id, places=places, by=by, reason=reason))
        if self.is_waited_for(array.id):
            self.fresh_removals[array.id] = ranges.union(self.fresh_removals.get(array.id, ()), places)
        self.change_array(array.remove(places, by, reason))

    def free_tasks(self, array: Array, places: Ranges) -> None:
        self.events.append(TasksFreed(id=array.id, places=places))
        self.change_array(array.free(places))

    def hold_array(self, array: Array, waits: Waits | None) -> None:
        self.events.append(ArrayHeld(id=array.id, waits=waits))
        array = replace(array, waits=waits)
        self.change_array(array)
        self.note_waits(array)

    def describe(self, job: Waiting, spec: JobSpec) -> None:
        """It is described otherwise from now on."""
        self.events.append(Edited(id=job.id, spec=spec))
        self.stand(replace(job, spec=spec))

    def set_turn(self, job: Waiting, turn: int) -> None:
        self.events.append(TurnSet(id=job.id, turn=turn))
        self.stand(replace(job, turn=turn))

    def stand(self, new: Waiting) -> None:
        """What decides where it stands in the line has changed; so it stands there, if it is in the line at all."""
        key: Key = new.id if isinstance(new, Array) else new.key
        before = self.queue.arrays.get(new.id) if isinstance(new, Array) else self.queue.find(key)
        if before is not None:  # of one that is not in the line, its old place may be
            self.moved.setdefault(key, before)
        self.left.pop(key, None)
        self.joined.pop(key, None)
        if isinstance(new, Array):
            self.arrays[new.id] = new
            self.changed_arrays[new.id] = new
            if new.in_line:
                self.joined[key] = new
        else:
            self.put(new, moved=False)
            if new.state is State.QUEUED:
                self.joined[key] = new

    def own_before(self, job: Waiting) -> Iterator[Waiting]:
        """Jobs and arrays of its user's that come before it within its priority, the nearest first."""
        rank, here = rank_of(job.spec), place_of(job)
        theirs = [one for one in self.joined.values() if (one.spec.uid, rank_of(one.spec)) == (job.spec.uid, rank)]
        new = {place for one in theirs if (place := place_of(one)) < here}
        for place in heapq.merge(self.queue.line.own_before(job), sorted(new, reverse=True), reverse=True):
            found = self.at(place) if place[-1] in (NO_TASK, NEW_TASKS) else None
            if found is not None and (place in new or (found.id not in self.moved and found.id not in self.joined)):
                new.discard(place)  # (it may be found twice)
                yield found

    # what others wait for

    def is_waited_for(self, job_id: JobId) -> bool:
        """Whether anybody may wait for its end, or for that of its tasks."""
        return job_id not in self.answered and (job_id in self.new_dependents or job_id in self.queue.dependents)

    def dependents_of(self, job_id: JobId) -> set[JobId]:
        """Who may wait for it."""
        if job_id in self.answered:
            return set()
        return self.queue.dependents.get(job_id, set()) | self.new_dependents.get(job_id, set())

    def note_waits(self, job: Waiting) -> None:
        for other in waited_for(job):
            if job.id not in self.queue.dependents.get(other, ()):
                self.new_dependents.setdefault(other, set()).add(job.id)
        if job.waits is not None and job.waits.begin_s is not None:
            self.next_begin_s = min(self.next_begin_s, job.waits.begin_s)

    def note_end(self, job_id: JobId, ok: bool) -> None:
        self.ended_jobs[job_id] = ok
        if self.is_waited_for(job_id):
            self.fresh_ends[job_id] = ok

    def grant_tasks(self, array_id: JobId, ntasks: int, allocation: Allocation, lane: str | None = None) -> None:
        """Split off the next tasks of an array, and give them a lane of their own, or a place in this one."""
        array, jobs = self.arrays[array_id].split_off(ntasks, self.now.wall_s)
        granted = [
            self.apply(Granted(id=job.id, task=job.task, attempt=AttemptNo(1), allocation=allocation, lane=lane), job)
            for job in jobs
        ]
        start = order_for(granted[0], self.nodes, self.pace)
        if len(jobs) > 1 and isinstance(start, Start):
            start = as_one(start, [(job.id, job.task or 0, 1) for job in jobs])
        if start is not None:
            self.orders.append(start)
        self.change_array(array)

    def task_over(self, job: Job) -> None:
        """A task of an array has ended: counted in tally_arrays."""
        ok = job.outcome is not None and job.outcome.succeeded
        self.ended_tasks.setdefault(job.id, {})[job.task or 0] = ok
        if self.is_waited_for(job.id):
            self.fresh_task_ends.setdefault(job.id, {})[job.task or 0] = ok
        over = self.tasks_over.setdefault(job.id, [0, 0])
        over[0] += 1
        over[1] += not ok
        self.gone_tasks.setdefault(job.spec.uid, []).append((job.id, job.task or 0))

    def tally_arrays(self) -> None:
        """What has become of arrays by the ends of their tasks; to be called after what may have ended some."""
        for uid, tasks in self.gone_tasks.items():
            self.orders.append(Gones(uid=uid, tasks=tuple(tasks)))
        self.gone_tasks = {}
        for job_id, (nover, nfailed) in self.tasks_over.items():
            array = self.arrays[job_id]
            self.change_array(replace(array, live=array.live - nover, failed=array.failed + nfailed))
        self.tasks_over = {}

    def follow_up(self, job: Job, event: JobEvent) -> None:
        """The order that follows from an event."""
        if self.leaving and isinstance(event, Ended | Requeued):
            busy = {host for lane in self.lanes.values() for host in lane.allocation.hosts}
            self.nodes = tuple(node for node in self.nodes if not node.leaving or node.host in busy)
        if isinstance(event, Ended):
            if job.task is not None:
                self.task_over(job)
                return
            self.add_jobs(job.spec.uid, -1)
            self.note_end(job.id, job.outcome is not None and job.outcome.succeeded)
            told = job.outcome if job.spec.foreground else None  # of batch jobs the launcher needs no more than that
            self.orders.append(Gone(uid=job.spec.uid, id=job.id, outcome=told))
        else:
            order = order_for(job, self.nodes, self.pace)
            if order is not None:
                self.orders.append(order)

    def settle(self) -> None:
        """Make the draft the queue; to be called when the events are on disk."""
        queue = self.queue
        jobs = (self.queued, self.held, self.active, self.arrays, self.lanes)
        seen = (self.unseen, self.absent, self.out_of_sight, self.pauses, self.pace)
        for layer in (*jobs, self.njobs, self.tokens, self.limits, self.users, *seen):
            layer.settle()
        queue.next_id, queue.nodes, queue.present = self.next_id, self.nodes, self.present
        queue.next_begin_s = self.next_begin_s
        queue.promises, queue.fitting = self.promises, self.fitting
        for other, some in self.new_dependents.items():
            queue.dependents.setdefault(other, set()).update(some)
        for other, job_id in self.old_dependents:
            some = queue.dependents.get(other, set())
            some.discard(job_id)
            if not some:
                queue.dependents.pop(other, None)
        for other in self.answered:
            queue.dependents.pop(other, None)
        for waiting in self.moved.values():
            queue.line.remove(waiting)
        for waiting in self.left.values():
            queue.line.gone(waiting)
        for waiting in self.joined.values():
            queue.line.add(waiting)
        if self.left:
            queue.line.tidy()


def joined(orders: Sequence[Order]) -> list[Order]:
    """Of starts that follow one another, those that go into one lane as one order."""
    out: list[Order] = []
    run: dict[tuple[str, float | None], list[Start]] = {}
    for order in (*orders, None):
        if isinstance(order, Start) and order.lane is not None:
            run.setdefault((order.lane, order.time_s), []).append(order)
            continue
        for starts in run.values():
            for at in range(0, len(starts), MOST_JOINED):
                some = starts[at : at + MOST_JOINED]
                tasks = [(it.id, NO_TASK if it.task is None else it.task, it.attempt) for it in some]
                out.append(as_one(some[0], tasks) if len(some) > 1 else some[0])
        run = {}
        if order is not None:
            out.append(order)
    return out


def as_one(first: Start, tasks: Sequence[tuple[int, int, int]]) -> Starts:
    """Many starts that are alike but for their tasks: (job, task or NO_TASK, attempt)."""
    return Starts(
        uid=first.uid,
        lane=first.lane or "",
        allocation=first.allocation,
        declared=first.declared,
        patience_s=first.patience_s,
        tasks=tuple(tasks),
        time_s=first.time_s,
    )


def held_hosts(job: Job) -> tuple[HostName, ...]:
    return job.allocation.hosts if job.allocation is not None else ()


def recall(job: Job) -> Stop:
    """For a job that waits for another turn: its last attempt is taken back, should it still be on its way."""
    return Stop(uid=job.spec.uid, id=job.id, task=job.task, attempt=job.attempt, grace_s=0.0, by="", unsent=True)


def order_for(job: Job, nodes: Sequence[Node], pace: Mapping[tuple[Uid, Shape], float]) -> Order | None:
    """What the state of a job calls for; the same however often it is asked."""
    if job.state is State.STARTING:
        assert job.allocation is not None
        installed = {node.host: node.ncores for node in nodes if node.host in job.allocation.hosts}
        declared = tuple(installed.get(host, 0) for host in job.allocation.hosts)
        return Start(
            uid=job.spec.uid,
            id=job.id,
            task=job.task,
            attempt=job.attempt,
            allocation=job.allocation,
            declared=declared,
            lane=job.lane,
            patience_s=patience_s(pace.get((job.spec.uid, shape_of(job.spec.requirement)))) if job.lane else None,
            time_s=job.time_s,
        )
    if job.state in (State.RUNNING, State.SUSPENDED) and (job.time_s is not None or job.suspensions):
        return Steer(
            uid=job.spec.uid,
            id=job.id,
            task=job.task,
            attempt=job.attempt,
            time_s=job.time_s,
            suspended=job.state is State.SUSPENDED if job.suspensions else None,
        )
    if job.state is State.STOPPING:
        grace_s = job.stop_grace_s if job.stop_grace_s is not None else 5.0
        stop_by = job.stop_by or ""
        return Stop(uid=job.spec.uid, id=job.id, task=job.task, attempt=job.attempt, grace_s=grace_s, by=stop_by)
    return None
