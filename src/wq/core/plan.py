"""Which of the waiting jobs start now and on which cores, who is fed ahead, and why each of the others waits.

Whoever fits starts, in the order of the policy. Who does not fit holds nobody back, unless it is a `block` job, or the
policy promises it a start: then nobody behind it starts who would be in the way then, as far as times are known.

Why a pass over a long queue is cheap: while it lasts, free cores only become fewer, users only come nearer to
their limits, and a node held back stays so. What did not fit once cannot fit later in the same pass, so each
group of alike jobs is looked at until one fails and never again; of the nodes it looks at, those with nothing
left for it are dropped from the front. When no core is open to anybody, the rest of the queue is not read.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from wq.core import ranges
from wq.core.array import Array
from wq.core.cluster import Node, free_cores, usable
from wq.core.job import Allocation, HostName, Job, JobId, Mode, Priority, Requirement, Slice, Uid
from wq.core.lane import Lane, room
from wq.core.line import Place, Shape, Waiting, Walk, shape_of
from wq.core.place import WHOLE_NODES, eligible, fill, piece, smallest
from wq.core.policies import Order, Policy
from wq.core.policies.fifo import FIFO
from wq.core.profile import NEVER_S, Profile, Promise
from wq.core.reasons import Cores, Reason, ReasonCode, beyond_room, of_group, out_of_use, shortage

Pace: TypeAlias = Mapping[tuple[Uid, Shape], float]
NO_ARRAYS: Mapping[JobId, Array] = {}
NO_PROMISES: Mapping[Place, Promise] = {}

MOST_SHAPES = 10_000  # that are remembered
MOST_PROMISED = 5000  # the others have no promise yet, and wait


class Limit(Struct, frozen=True, kw_only=True):
    """What a user may have at one time: jobs that run, and cores. None: no limit."""

    run: int | None = None
    cores: int | None = None


class Start(Struct, frozen=True, kw_only=True):
    """A job, or the next task of an array, whose turn has come, and the cores that it gets."""

    job: Waiting
    allocation: Allocation


class Feed(Struct, frozen=True, kw_only=True):
    """A job, or the next `ntasks` of an array, that go into a lane behind what is there."""

    job: Waiting
    lane: str
    ntasks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who starts now, in the order of the queue. The reasons of the others are made when they are asked for."""

    starts: tuple[Start, ...]
    after: _Pass = field(repr=False, compare=False)

    @property
    def promises(self) -> Sequence[tuple[Waiting, Promise]]:
        """Who is promised a start."""
        return self.after.promises

    @property
    def fitting(self) -> Fitting:
        """For the next plan."""
        return self.after.fitting

    def why(self, job: Waiting) -> Reason:
        """Why this job, which was in the queue of this plan and does not start, waits: as things are after the starts.

        Cheap for many jobs: it is found out once for all that differ only in their ids and priorities.
        """
        return self.after.why(job)


def plan(
    *,
    queue: Callable[[], Iterable[Walk]],
    lanes: Mapping[str, Lane],
    nodes: Sequence[Node],
    limits: Mapping[Uid, Limit],
    present: AbstractSet[Uid],
    paused: Mapping[Uid, Mapping[HostName, str]],
    arrays: Mapping[JobId, Array] = NO_ARRAYS,
    policy: Policy = FIFO,
    now_s: float = 0.0,
    ends: Callable[[], Mapping[str, float]] = dict,
    kept: Mapping[Place, Promise] = NO_PROMISES,
    sooner: bool = True,
    fitting: Fitting | None = None,
    fully: bool = False,
) -> Plan:
    """Let everybody start who can.

    queue: the groups of the line, to be walked from the front (read only as far as needed).
    lanes: what holds cores. nodes: in the order of the cluster file.
    limits: of the users who have any; lanes and their cores count. present: whose launcher is there.
    paused: nodes where this user's jobs must not start now, each with a sentence saying why.
    arrays: for their tasks that wait for another turn: at most so many run.
    now_s, ends: when each lane is expected to be free; one that is not named never is. Read if something is promised.
    kept: what was promised before, where the policy promises all of them a start. sooner: something has become free
    before it was expected, so that there may be better ones. fitting: what earlier passes have found out.
    fully: promises are made also where no core is open, so that they can be told.

    A `block` job that waits for cores holds back all later jobs, other `block` jobs too, on the nodes it could
    use: the eligible ones that are online and not paused for its user. It does so only if it could run there,
    within its user's limits, were they empty; and it holds nobody back while it waits for its launcher.
    bygroup leaves out nodes that are offline or leaving, and waits for those that drain or are paused.
    bynode takes smaller nodes than the first ones where only so its user's limit of cores is kept.
    A promise is made to who could start within his user's limits if there were cores; who is at a limit has none.
    """
    now = _Pass(
        lanes=lanes,
        fitting=fitting if fitting is not None and fitting.nodes == nodes else Fitting(nodes),
        limits=limits,
        present=present,
        paused=paused,
        arrays=arrays,
        now_s=now_s,
        ends=ends,
        strict=policy.strict,
    )
    if policy.promises is None:
        return _plan_all(now, _in_order(_Fronts(queue(), policy)), kept, sooner=sooner)
    most = policy.promises
    return _plan_in_turn(
        now, _Fronts(queue() if now.nopen or (fully and most) else (), policy), policy, most, fully=fully
    )


def _plan_in_turn(now: _Pass, fronts: _Fronts, policy: Policy, most: int, *, fully: bool) -> Plan:
    """Let whoever fits start, in the order of the policy; promise a start to the first of those who must wait.

    most: so many promises.
    """
    starts: list[Start] = []
    while (now.nopen or (fully and len(now.promises) < most)) and (walk := fronts.pop()) is not None:
        job = walk.here
        assert job is not None
        left = _ntasks(job)
        run_s = NEVER_S if walk.group.time_s is None else walk.group.time_s
        while left and now.nopen and (allocation := now.serve(job, run_s)) is not None:
            starts.append(Start(job=job, allocation=allocation))
            left -= 1
        if not left or now.at_most_reached(job):  # else no other of the group fits either
            fronts.push(walk)
        elif policy.strict and now.is_ready(job):
            break
        elif len(now.promises) < most and now.is_ready(job):
            now.promise(job, run_s)
            if len(now.promises) == most:
                fronts.reorder(policy)
    return Plan(starts=tuple(starts), after=now)


def _plan_all(
    now: _Pass, jobs: Iterable[tuple[Place, Waiting, float]], kept: Mapping[Place, Promise], *, sooner: bool
) -> Plan:
    """Promise everybody a start, in order, and let those start whose time has come.

    Promises that were made before stay, or become better: each is taken back, and made again at once.
    """
    first = islice(jobs, MOST_PROMISED)
    ready = [(place, job, run_s) for place, job, run_s in first if now.is_ready(job)]
    old = {
        place: promise for place, _, _ in ready if (promise := kept.get(place)) is not None and now.can_keep(promise)
    }
    profile = now.open_profile(old.values())
    starts: list[Start] = []
    for place, job, run_s in ready:
        promise = old.get(place)
        left = _ntasks(job)
        while left and now.is_ready(job):
            if promise is None or sooner or promise.start_s <= now.now_s:
                if promise is not None:
                    profile.give_back(promise)
                promise = now.find_promise(job, run_s)
                if promise is None:
                    break
                profile.keep(promise)
                if promise.start_s <= now.now_s and (allocation := now.redeem(job, promise)) is not None:
                    starts.append(Start(job=job, allocation=allocation))
                    left -= 1
                    promise = None
                    continue
            now.promises.append((job, promise))
            break
        if left and job.spec.requirement.priority is Priority.BLOCK:
            now.hold(job)
    return Plan(starts=tuple(starts), after=now)


def _in_order(fronts: _Fronts) -> Iterator[tuple[Place, Waiting, float]]:
    """Everybody who waits, and how long he says that he runs, in seconds."""
    while (walk := fronts.pop()) is not None:
        assert walk.here is not None
        yield walk.at_place, walk.here, NEVER_S if walk.group.time_s is None else walk.group.time_s
        fronts.push(walk)


class _Fronts:
    """The first of each group, in the order of a policy: as many as are asked for, where that is the line's order."""

    def __init__(self, walks: Iterable[Walk], policy: Policy) -> None:
        self.order = policy.order
        self.heap: list[tuple[Order, Place, Walk]] = []  # (no two have the same place)
        self.walks = iter(walks)
        self.coming = next(self.walks, None) if policy.in_line else None
        if not policy.in_line:
            self.read_all()

    def read_all(self) -> None:
        if self.coming is not None:
            self.push(self.coming)
            self.coming = None
        for walk in self.walks:
            self.push(walk)

    def push(self, walk: Walk) -> None:
        """The next of a group."""
        place = walk.next()
        if place is not None:
            heapq.heappush(self.heap, (self.order(walk.group, place), place, walk))

    def pop(self) -> Walk | None:
        """The group whose next job comes first; that job is `here`."""
        heap = self.heap
        while self.coming is not None:
            if heap and (heap[0][2].group.rank, heap[0][1]) < self.coming.front():
                break
            self.push(self.coming)
            self.coming = next(self.walks, None)
        return heapq.heappop(heap)[2] if heap else None

    def reorder(self, policy: Policy) -> None:
        """From now on as they come behind promises."""
        if policy.behind == policy.order:
            return
        self.read_all()
        self.order = policy.behind
        self.heap = [(self.order(walk.group, place), place, walk) for _, place, walk in self.heap]
        heapq.heapify(self.heap)


def _ntasks(job: Waiting) -> int:
    """How many of its tasks wait."""
    return ranges.count(job.waiting) if isinstance(job, Array) else 1


@dataclass(slots=True)
class _Open:
    """A lane that may be fed. size: what is in it; room: how many more it may have."""

    size: int
    room: int
    name: str
    lane: Lane


def feed(
    plan: Plan, queue: Callable[[], Iterable[Walk]], lanes: Mapping[str, Lane], pace: Pace, policy: Policy = FIFO
) -> list[Feed]:
    """Put behind those that run whom the policy would take next on their cores, where nobody else would come first.

    queue, lanes: as they are after the starts of the plan.
    pace: how long the jobs of a user and shape take, where that is known, in seconds.
    """
    now = plan.after
    now.lanes = lanes
    now.closed.update(host for _, promise in now.promises for host, _ in promise.cores)
    kinds: dict[tuple[Uid, Shape], list[_Open]] = {}
    for name, lane in lanes.items():
        space = room(lane, pace.get((lane.uid, lane.shape))) if lane.batch else 0
        if space > 0 and now.may_feed(lane):
            kinds.setdefault((lane.uid, lane.shape), []).append(_Open(lane.size, space, name, lane))
    feeds: list[Feed] = []
    fronts = _Fronts(queue() if kinds else (), policy)
    while kinds and (walk := fronts.pop()) is not None:
        job, kind = walk.here, (walk.group.uid, walk.group.shape)
        assert job is not None
        left = _ntasks(job)
        if left and walk.group.batch and kind in kinds:
            capped = now.at_most(job) is not None
            left -= _feed_into(kinds[kind], job, left, feeds, capped=capped)
        if not left or now.at_most_reached(job):
            fronts.push(walk)
        elif now.could_use_a_lane(job):  # the next free core is for this one
            now.closed.update(now.hosts_of(job))
            for other in list(kinds):
                _keep_open(now, kinds, other)
        if kind in kinds:
            _keep_open(now, kinds, kind)
    return feeds


def _keep_open(now: _Pass, kinds: dict[tuple[Uid, Shape], list[_Open]], kind: tuple[Uid, Shape]) -> None:
    """Only lanes that may still be fed."""
    kinds[kind] = [one for one in kinds[kind] if one.room and now.may_feed(one.lane)]
    if not kinds[kind]:
        del kinds[kind]


def _feed_into(lanes: list[_Open], job: Waiting, most: int, feeds: list[Feed], *, capped: bool) -> int:
    """Feed a job, or up to so many tasks of an array, into lanes, the shortest first; answers how many went.

    Jobs that follow one another go into one lane as long as it has room: so they are one range wherever they are kept.
    capped: only so many tasks of its array may run, so that they keep to lanes of their own.
    """
    fed = 0
    last = feeds[-1].lane if feeds else None
    for one in sorted(lanes, key=lambda one: (one.name != last, one.size)):
        ntasks = min(one.room, most - fed)
        if ntasks and (not capped or one.lane.opened_by == job.id):
            feeds.append(Feed(job=job, lane=one.name, ntasks=ntasks))
            one.size += ntasks
            one.room -= ntasks
            fed += ntasks
    return fed


@dataclass(slots=True, kw_only=True)
class _User:
    """A user during a pass: what he has, what he may have, and the nodes where he may not start jobs."""

    present: bool
    limit: Limit
    paused: Mapping[HostName, str]
    views: dict[Shape, _View]
    nrunning: int = 0
    ncores: int = 0

    @property
    def full(self) -> bool:
        return self.limit.run is not None and self.nrunning >= self.limit.run

    @property
    def room(self) -> int:
        """The cores that he may still be given."""
        return sys.maxsize if self.limit.cores is None else self.limit.cores - self.ncores


class Fitting:
    """Which nodes serve a shape: of the same nodes a pass need not find out again what the last one did."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.usable = tuple(node for node in nodes if usable(node))
        self.found: dict[Shape, tuple[Node, ...]] = {}
        self.least: dict[Shape, int | None] = {}

    def eligible(self, shape: Shape, requirement: Requirement) -> tuple[Node, ...]:
        """The usable nodes that it could have."""
        nodes = self.found.get(shape)
        if nodes is None:
            if len(self.found) >= MOST_SHAPES:
                self.found, self.least = {}, {}
            nodes = eligible(requirement, self.usable)
            if requirement.mode is Mode.BYGROUP and len(nodes) < len(of_group(requirement, self.nodes)):
                nodes = ()  # it wants all of them, and some may not be used now
            self.found[shape] = nodes
        return nodes


class _View:
    """The nodes as one shape of requirement sees them during a pass.

    nodes: where it could run at all. candidates: those that may have something left for it.
    least: it takes no fewer cores than this; grows as more is known. stuck: it fits nowhere any more.
    """

    def __init__(self, requirement: Requirement, nodes: Sequence[Node], now: _Pass) -> None:
        self.requirement = requirement
        self.nodes = nodes
        self.candidates = deque(nodes)
        self.whole = requirement.mode in WHOLE_NODES
        self.piece = piece(requirement)
        self.least = 0 if self.whole else requirement.n
        self.stuck = False
        self.holds = False
        self.verdict: Reason | None = None
        self._now = now

    @cached_property
    def least_when_empty(self) -> int | None:
        """The fewest cores that it could take if nothing ran; None if it does not fit even then."""
        known, shape = self._now.fitting, shape_of(self.requirement)
        if self.nodes is known.found.get(shape) and shape in known.least:
            return known.least[shape]
        found = smallest(self.requirement, self.nodes, self._now.empty)
        least = None if found is None else found.ncores
        if self.nodes is known.found.get(shape):
            known.least[shape] = least
        return least

    def find(self, free: Cores, room: int) -> Allocation | None:
        """An allocation within the room if there is one, else the smallest that there is; None if it fits nowhere."""
        if self.requirement.mode is not Mode.BYGROUP:
            self._drop_spent(free)
        found = fill(self.requirement, self.candidates, free)
        if found is None or found.ncores <= room:
            return found
        return smallest(self.requirement, self.candidates, free)

    def _drop_spent(self, free: Cores) -> None:
        candidates = self.candidates
        while candidates:
            least = candidates[0].ncores if self.whole else self.piece
            if len(free[candidates[0].host]) >= least:
                return
            candidates.popleft()


class _Pass:
    """The cluster and its users during one pass: what is open to the jobs not looked at yet.

    open: the free cores of each node, less those that block jobs keep. nopen: their number, on usable nodes.
    kept: the free cores of the nodes held back; holders: the first job that holds each back, in the queue's order.
    promises: who is promised what. started: of those who start in this pass, when they end, and their cores.
    """

    def __init__(
        self,
        *,
        lanes: Mapping[str, Lane],
        fitting: Fitting,
        limits: Mapping[Uid, Limit],
        present: AbstractSet[Uid],
        paused: Mapping[Uid, Mapping[HostName, str]],
        arrays: Mapping[JobId, Array],
        now_s: float,
        ends: Callable[[], Mapping[str, float]],
        strict: bool,
    ) -> None:
        self.lanes, self.arrays, self.strict = lanes, arrays, strict
        self.now_s, self.ends = now_s, ends
        self.profile: Profile | None = None
        self.promises: list[tuple[Waiting, Promise]] = []
        self.started: list[tuple[float, Allocation]] = []
        self.limited: dict[int, dict[HostName, tuple[int, ...]]] = {}  # what is open, by how many promises are heeded
        self.fitting, self.nodes, self.usable = fitting, fitting.nodes, fitting.usable
        self.limits, self.present, self.paused = limits, present, paused
        self.open = free_cores(self.nodes, (lane.allocation for lane in lanes.values()))
        self.nopen = sum(len(self.open[node.host]) for node in self.usable)
        self.kept: dict[HostName, tuple[int, ...]] = {}
        self.holders: dict[HostName, Waiting] = {}
        self.closed: set[HostName] = set()  # to feeding ahead
        self.users: dict[Uid, _User] = {}
        self.views: dict[Shape, _View] = {}
        self.nrunning_of: dict[JobId, int] = {}  # arrays that have started here
        self._before = lanes

    @cached_property
    def had(self) -> dict[Uid, tuple[int, int]]:
        """How many lanes and cores each user had before this pass."""
        found: dict[Uid, tuple[int, int]] = {}
        for lane in self._before.values():
            nlanes, ncores = found.get(lane.uid, (0, 0))
            found[lane.uid] = (nlanes + 1, ncores + lane.allocation.ncores)
        return found

    @cached_property
    def empty(self) -> dict[HostName, tuple[int, ...]]:
        """All cores of each node."""
        return {node.host: tuple(range(node.ncores)) for node in self.nodes}

    def serve(self, job: Waiting, run_s: float) -> Allocation | None:
        """Give the job (or the next task of the array) its cores, else None; a block job then holds back its nodes.

        run_s: how long it says that it runs.
        """
        user = self._user(job.spec.uid)
        if user.full or not user.present or self.at_most_reached(job):
            return None
        need = job.spec.requirement
        if need.n > self.nopen and need.mode not in WHOLE_NODES and need.priority is not Priority.BLOCK:
            return None
        free, npromises = self._free_for(run_s)
        view = self._view(need, user, npromises)
        if not view.stuck and view.least <= user.room:
            found = view.find(free, user.room)
            if found is None:
                view.stuck = True
            elif found.ncores <= user.room:
                self._take(found, user, run_s)
                if job.id in self.nrunning_of:
                    self.nrunning_of[job.id] += 1
                return found
            else:
                view.least = found.ncores
        if need.priority is Priority.BLOCK:
            self._hold(job, view, user)
        return None

    def is_ready(self, job: Waiting) -> bool:
        """Whether it waits for nothing but cores."""
        user = self._user(job.spec.uid)
        if user.full or not user.present or self.at_most_reached(job):
            return False
        least = self._view(job.spec.requirement, user).least_when_empty
        return least is not None and least <= user.room

    def promise(self, job: Waiting, run_s: float) -> None:
        """Promise it the first start that there is, if there is any."""
        profile = self.profile or self.open_profile(())
        found = self.find_promise(job, run_s)
        if found is not None:
            profile.keep(found)
            self.promises.append((job, found))
            self.limited.clear()

    def find_promise(self, job: Waiting, run_s: float) -> Promise | None:
        assert self.profile is not None
        view = self._view(job.spec.requirement, self._user(job.spec.uid))
        return self.profile.earliest(view.requirement, view.nodes, run_s)

    def redeem(self, job: Waiting, promise: Promise) -> Allocation | None:
        """Its time has come: the cores, if its user is not at a limit meanwhile."""
        user = self._user(job.spec.uid)
        ncores = sum(ncores for _, ncores in promise.cores)
        if user.full or ncores > user.room or any(len(self.open[host]) < some for host, some in promise.cores):
            return None
        slices = tuple(Slice(host=host, cores=self.open[host][:some]) for host, some in promise.cores)
        allocation = Allocation(slices=slices)
        user.nrunning += 1
        user.ncores += ncores
        self.nopen -= ncores
        if job.id in self.nrunning_of:
            self.nrunning_of[job.id] += 1
        for host, some in promise.cores:
            self.open[host] = self.open[host][some:]
        return allocation

    def hold(self, job: Waiting) -> None:
        """A block job that must wait: what it could use is held back."""
        user = self._user(job.spec.uid)
        self._hold(job, self._view(job.spec.requirement, user), user)

    def can_keep(self, promise: Promise) -> bool:
        """Whether all of its nodes are still there."""
        return self.usable_hosts.issuperset(host for host, _ in promise.cores)

    def open_profile(self, kept: Iterable[Promise]) -> Profile:
        """See what will be free."""
        ends = self.ends()
        held = [(ends.get(name, NEVER_S), lane.allocation) for name, lane in self.lanes.items()]
        self.profile = Profile(self.now_s, self.usable, self.open, [*held, *self.started], kept)
        for host in self.holders:
            self.profile.close(host)
        return self.profile

    def _free_for(self, run_s: float) -> tuple[Cores, int]:
        """(the cores that are open to who runs for so long, so that no promise is broken; how many were looked at)."""
        if self.profile is None:
            return self.open, 0
        npromises = self.profile.starts_before(self.now_s + run_s)
        if not npromises:
            return self.open, 0
        free = self.limited.get(npromises)
        if free is None:
            row = self.profile.least_at(npromises)
            free = {host: self.open[host][: max(row[at], 0)] for host, at in self.profile.place.items()}
            self.limited[npromises] = free
        return free, npromises

    def at_most_reached(self, job: Waiting) -> bool:
        """Whether as many tasks of the array run as may."""
        most = self.at_most(job)
        if most is None:
            return False
        if job.id not in self.nrunning_of:
            self.nrunning_of[job.id] = sum(lane.opened_by == job.id for lane in self.lanes.values())
        return self.nrunning_of[job.id] >= most

    def at_most(self, job: Waiting) -> int | None:
        """How many tasks may run of the array that this is, or is of."""
        if isinstance(job, Job):
            array = self.arrays.get(job.id) if job.task is not None else None
            return array.at_most if array is not None else None
        return job.at_most

    def may_feed(self, lane: Lane) -> bool:
        """Whether something may be put behind what runs in this lane."""
        user = self._user(lane.uid)
        host = lane.allocation.hosts[0]
        if not user.present or host in user.paused or host in self.closed or host in self.holders:
            return False
        return host in self.usable_hosts

    @cached_property
    def usable_hosts(self) -> frozenset[HostName]:
        return frozenset(node.host for node in self.usable)

    def could_use_a_lane(self, job: Waiting) -> bool:
        """Whether this job, which does not fit now, may fit when the cores of one lane are free."""
        user = self._user(job.spec.uid)
        if user.full or not user.present or self.at_most_reached(job):
            return False
        view = self._view(job.spec.requirement, user)
        largest = max((lane.allocation.ncores for lane in self.lanes.values() if lane.batch), default=0)
        return view.least <= self.nopen + largest

    def hosts_of(self, job: Waiting) -> list[HostName]:
        """The nodes that it could use."""
        return [node.host for node in self._view(job.spec.requirement, self._user(job.spec.uid)).nodes]

    def why(self, job: Waiting) -> Reason:
        """Why the job waits, judged by the same rules and in the same order as serve()."""
        user = self._user(job.spec.uid)
        if not user.present:
            return Reason(code=ReasonCode.LAUNCHER_AWAY, text=f"the launcher of {job.spec.user} is away")
        if user.full:
            text = f"limit run: {user.limit.run} reached ({user.nrunning} running)"
            return Reason(code=ReasonCode.LIMIT, text=text)
        if self.at_most_reached(job):
            text = f"at most {self.at_most(job)} of its tasks at one time ({self.nrunning_of[job.id]} running)"
            return Reason(code=ReasonCode.LIMIT, text=text)
        view = self._view(job.spec.requirement, user)
        if view.verdict is None:
            view.verdict = self._judge(view, user, job.spec.user)
        if view.least > user.room:
            return beyond_room(user.limit.cores, user.ncores, view.least, view.least_when_empty)
        start_s = self.promised.get(job.id) if not (isinstance(job, Job) and job.task is not None) else None
        return view.verdict if start_s is None else replace(view.verdict, start_s=start_s)

    @cached_property
    def promised(self) -> dict[JobId, float]:
        """When those start who are promised a start."""
        return {job.id: promise.start_s for job, promise in self.promises}

    def _user(self, uid: Uid) -> _User:
        user = self.users.get(uid)
        if user is None:
            paused = self.paused.get(uid, {})
            nrunning, ncores = self.had.get(uid, (0, 0)) if uid in self.limits else (0, 0)
            user = self.users[uid] = _User(
                nrunning=nrunning,
                ncores=ncores,
                present=uid in self.present,
                limit=self.limits.get(uid, Limit()),
                paused=paused,
                views={} if paused else self.views,
            )
        return user

    def _view(self, requirement: Requirement, user: _User, npromises: int = 0) -> _View:
        """npromises: that are heeded."""
        shape = (*shape_of(requirement), npromises, len(self.promises)) if npromises else shape_of(requirement)
        view = user.views.get(shape)
        if view is None:
            nodes = self.fitting.eligible(shape_of(requirement), requirement)
            if user.paused:
                left = tuple(node for node in nodes if node.host not in user.paused)
                nodes = () if requirement.mode is Mode.BYGROUP and len(left) < len(nodes) else left
            view = user.views[shape] = _View(requirement, nodes, self)
        return view

    def _take(self, allocation: Allocation, user: _User, run_s: float) -> None:
        user.nrunning += 1
        user.ncores += allocation.ncores
        self.nopen -= allocation.ncores
        for part in allocation.slices:
            self.open[part.host] = self.open[part.host][len(part.cores) :]
        if self.profile is None:
            self.started.append((self.now_s + run_s, allocation))
            return
        self.profile.take(allocation, run_s)
        for npromises, free in self.limited.items():
            row = self.profile.least_at(npromises)
            for part in allocation.slices:
                free[part.host] = self.open[part.host][: max(row[self.profile.place[part.host]], 0)]

    def _hold(self, job: Waiting, view: _View, user: _User) -> None:
        if view.holds or view.least_when_empty is None or view.least_when_empty > user.room:
            return
        view.holds = True
        for node in view.nodes:
            if node.host not in self.holders:
                self.holders[node.host] = job
                self.kept[node.host] = self.open[node.host]
                self.nopen -= len(self.open[node.host])
                self.open[node.host] = ()
                if self.profile is not None:
                    self.profile.close(node.host)
                for free in self.limited.values():
                    free[node.host] = ()

    def _judge(self, view: _View, user: _User, name: str) -> Reason:
        """Why this shape fits nowhere. Who would fit on the free cores, were they not kept, is held back."""
        free = self.open | self.kept
        found = smallest(view.requirement, view.nodes, free)
        if found is not None:
            view.least = max(view.least, found.ncores)
            hosts = frozenset(node.host for node in view.nodes)
            for host, holder in self.holders.items():
                if host in hosts:
                    text = f"held back by the block job {holder.id} of {holder.spec.user}"
                    return Reason(code=ReasonCode.BLOCK, text=text)
            if self.promises:
                job, _ = self.promises[0]
                text = f"it would delay job {job.id} of {job.spec.user}, which is promised a start"
                return Reason(code=ReasonCode.RESERVATION, text=text)
            if self.strict:
                return Reason(code=ReasonCode.PRIORITY, text="others came before it, and nobody passes them")
            return Reason(code=ReasonCode.RESOURCES, text="about to start")
        if view.least_when_empty is not None:
            return Reason(code=ReasonCode.RESOURCES, text=shortage(view.requirement, view.nodes, free))
        return out_of_use(view.requirement, self.nodes, user.paused, self.empty, name)
