"""Builders of small clusters, jobs and queues, so that a test of the plan takes three lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from wq.core.cluster import Node, NodeState
from wq.core.job import Allocation, HostName, Job, JobId, JobSpec, Mode, Priority, Requirement, Slice, State, Uid
from wq.core.lane import lane_of
from wq.core.line import Place, line_of, place_of, walks
from wq.core.plan import Limit, Plan, plan
from wq.core.policies import Policy
from wq.core.policies.fifo import FIFO
from wq.core.profile import Promise
from wq.core.reasons import Reason

USERS = ("anze", "bine", "cene")


def uid(user: str) -> Uid:
    return Uid(1000 + USERS.index(user))


def cluster(text: str) -> tuple[Node, ...]:
    """Nodes from 'a:4 b:12:gen5,slow:48': host, cores, groups, gigabytes."""
    return tuple(_node(*word.split(":")) for word in text.split())


def _node(host: str, ncores: str, groups: str = "", mem_gb: str = "32") -> Node:
    named = tuple(filter(None, groups.split(",")))
    return Node(host=HostName(host), ncores=int(ncores), mem_gb=float(mem_gb), groups=named)


def need(
    mode: str = "bycore",
    n: int = 1,
    *,
    group: str = "",
    notgroup: str = "",
    host: str | None = None,
    min_cores: int = 0,
    min_mem: float = 0.0,
    threads: int | None = None,
    priority: str = "med",
) -> Requirement:
    """A requirement in the words of a job file; groups separated by commas."""
    return Requirement(
        mode=Mode(mode),
        n=n,
        groups=tuple(filter(None, group.split(","))),
        notgroups=tuple(filter(None, notgroup.split(","))),
        host=host,
        min_cores=min_cores,
        min_mem_gb=min_mem,
        threads=threads,
        priority=Priority(priority),
    )


def block(mode: str = "bycore", n: int = 1, *, group: str = "", host: str | None = None) -> Requirement:
    return need(mode, n, group=group, host=host, priority="block")


def job(number: int, requirement: Requirement | None = None, user: str = "anze", *, time_s: float | None = None) -> Job:
    """A queued job; without a requirement: one core."""
    wanted = requirement if requirement is not None else need()
    spec = JobSpec(uid=uid(user), user=user, name="job", command="job", requirement=wanted, time_s=time_s)
    return Job(id=JobId(number), spec=spec, state=State.QUEUED, submitted_s=0.0)


def running(number: int, cores: str, user: str = "anze") -> Job:
    """A job that runs on cores written as in grant()."""
    return replace(job(number, user=user), state=State.RUNNING, allocation=grant(cores))


def grant(text: str) -> Allocation:
    """An allocation from 'a:0,1 b:3'."""
    parts = (word.split(":") for word in text.split())
    return Allocation(
        slices=tuple(Slice(host=HostName(host), cores=tuple(map(int, cores.split(",")))) for host, cores in parts)
    )


def shown(allocation: Allocation | None) -> str:
    """What grant() reads; '-' for none."""
    if allocation is None:
        return "-"
    return " ".join(f"{part.host}:{','.join(map(str, part.cores))}" for part in allocation.slices)


@dataclass
class World:
    """A cluster, its queue and its users: everybody's launcher is there unless named in `away`."""

    nodes: Sequence[Node]
    queue: Sequence[Job] = ()
    active: Sequence[Job] = ()
    limits: Mapping[str, Limit] = field(default_factory=dict)
    away: Sequence[str] = ()
    paused: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    policy: Policy = FIFO
    ends: Mapping[int, float] = field(default_factory=dict)  # when active jobs end, from now on
    kept: Mapping[Place, Promise] = field(default_factory=dict)
    looked_at: int = field(default=0, compare=False)

    def plan(self) -> Plan:
        waiting = {place_of(job): job for job in self.queue}
        self.looked_at = 0

        def look(place: Place) -> Job | None:
            self.looked_at += 1
            return waiting.get(place)

        line = line_of(self.queue)
        return plan(
            queue=lambda: walks(line, (), look),
            lanes={f"{job.id}.{job.attempt}": lane_of(job) for job in self.active},
            nodes=self.nodes,
            limits={uid(user): limit for user, limit in self.limits.items()},
            present={uid(user) for user in USERS if user not in self.away},
            paused={
                uid(user): {HostName(host): why for host, why in hosts.items()} for user, hosts in self.paused.items()
            },
            policy=self.policy,
            ends=lambda: {f"{number}.0": end_s for number, end_s in self.ends.items()},
            kept=self.kept,
        )

    @property
    def promises(self) -> dict[int, float]:
        """When jobs start that are promised a start, in seconds from now on."""
        return {job.id: promise.start_s for job, promise in self.plan().promises}

    @property
    def starts(self) -> dict[int, str]:
        """The cores of each job that starts, by its id, in the order of the queue."""
        return {start.job.id: shown(start.allocation) for start in self.plan().starts}

    def why(self, number: int) -> Reason:
        return self.plan().why(next(job for job in self.queue if job.id == number))

    def because(self, number: int) -> str:
        """The reason of a waiting job as 'Code: text'."""
        reason = self.why(number)
        return f"{reason.code}: {reason.text}"


def world(nodes: str, *queue: Job, busy: str = "") -> World:
    """A world whose cores in `busy` are held by job 900 of cene."""
    return World(cluster(nodes), queue, [running(900, busy, "cene")] if busy else [])


def off(nodes: Sequence[Node], hosts: str, state: str = "offline", reason: str = "") -> tuple[Node, ...]:
    """The nodes, these of them taken offline (or drained)."""
    return tuple(
        replace(node, state=NodeState(state), reason=reason) if node.host in hosts.split() else node for node in nodes
    )


def leaving(nodes: Sequence[Node], host: str) -> tuple[Node, ...]:
    return tuple(replace(node, leaving=True) if node.host == host else node for node in nodes)
