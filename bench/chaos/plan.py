"""What happens in a run, drawn from the seed: the jobs, when they are submitted, and the faults."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from pathlib import Path

STATUSES = (0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7)
SIGNALS = (1, 9, 10, 15)
LEFTOVERS = (
    "setsid sleep 3600 >/dev/null 2>&1 &",
    "( ( exec </dev/null >/dev/null 2>&1; setsid sleep 3600 & ) & )",
    "env -i setsid sleep 3600 </dev/null >/dev/null 2>&1 &",
    "( trap '' HUP TERM; sleep 3600 ) &",
)
# A process on the job's last node, through the agent that MPI uses. It goes when the job does.
RANK = (
    "for host in $WQ_HOSTS; do last=$host; done\n"
    """sh -c '"$HYDRA_LAUNCHER_EXEC" "$0" "echo $$ >>MARK.ranks; exec sleep 3600"; :' "$last" """
    "</dev/null >/dev/null 2>&1 &"
)
BULK_LINES = 100_000
FOREGROUND_STATUSES = range(20, 30)  # not to be mistaken for one of wq's own
PARTIES = ("server", "launcher", "shepherd", "sshd")  # those that `--kills` is about
STOPPABLE = ("server", "launcher", "ssh", "sshd", "shepherd", "keeper", "attacher")
CUTS = ("cut", "deaf", "mute")
WARM_UP_S = 4.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job: what it does, how it ends, and what it prints."""

    number: int
    pieces: tuple[tuple[int, float], ...]  # (lines to print, seconds to sleep then), one after the other
    status: int
    signal: int  # it kills itself with that; 0: it exits
    leftover: str
    ncores: int
    rank: bool
    apart: bool  # submitted in a directory that each node has for itself
    bulk: bool = False  # prints half a megabyte in the end

    @property
    def output(self) -> str:
        lines = sum(count for count, _ in self.pieces)
        bulk = (f"{number}\n" for number in range(1, BULK_LINES + 1)) if self.bulk else ()
        return "".join([*(self.line(number) for number in range(lines)), *bulk])

    def line(self, number: int) -> str:
        return f"{self.number} line {number} {'=' * (number % 50)}\n"

    @property
    def end(self) -> tuple[str, int]:
        """(kind of the outcome, exit status or signal)"""
        return ("signalled", self.signal) if self.signal else ("exited", self.status)

    def script(self, mark: Path) -> str:
        """Its text, for any shell: a line in the mark at the start of each attempt, and one at the end."""
        dashes = "=" * 50
        text = [
            f'say() {{ echo "$1 $WQ_JOB_ID $WQ_ATTEMPT $(hostname) $(date +%s.%N)" >>{mark}; }}',
            "say start",
            f"dashes={dashes}",
            "n=0",
        ]
        if self.rank:
            text.append(RANK.replace("MARK", str(mark)))
        for count, sleep_s in self.pieces:
            one = f"printf '%s line %s %.*s\\n' {self.number} $n $((n % 50)) $dashes; n=$((n + 1))"
            text.append(f"end=$((n + {count})); while [ $n -lt $end ]; do {one}; done; sleep {sleep_s:.2f}")
        text += [f"seq 1 {BULK_LINES}"] if self.bulk else []
        text += [self.leftover] if self.leftover else []
        text.append("say end")
        text.append(f"kill -{self.signal} $$" if self.signal else f"exit {self.status}")
        return "\n".join(text)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One `wq sub -b` with some job files. killed_after_s: the client is killed so long after its start."""

    at_s: float
    user: int
    numbers: tuple[int, ...]
    quiet: bool
    killed_after_s: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something goes wrong. pick: which of those that are there, from 0 to 1; lasts_s: of stops and cuts."""

    at_s: float
    kind: str
    pick: float
    lasts_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A foreground job, by one user after the other. killed_after_s: so long after its start the client is killed."""

    job: Job
    killed_after_s: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    seed: int
    seconds: float
    both: int  # kills of a shepherd together with its keeper
    jobs: tuple[Job, ...]
    calls: tuple[Call, ...]
    visits: tuple[Visit, ...]
    faults: tuple[Fault, ...]


def counts(kills: int, *, cuts: bool, both: int = 0, reboots: int = 0) -> Counter[str]:
    """How often each kind of fault comes, for `kills` kills of each of the four parties."""
    few = max(1, kills // 5)
    wanted = Counter({f"kill {party}": kills for party in PARTIES})
    wanted.update({"kill ssh": max(2, kills // 2), "kill attacher": few, "kill keeper": few, "kill listener": few})
    wanted.update({"kill head": max(1, kills // 7), "kill shepherd and keeper": both})
    wanted.update({f"stop {party}": max(1, kills // 4) for party in STOPPABLE})
    if cuts:
        wanted.update({cut: max(1, kills // 4) for cut in CUTS} | {"reboot": reboots})
    return +wanted


def draw(
    seed: int,
    *,
    jobs: int,
    kills: int,
    cores: int,
    nodes: int,
    cuts: bool,
    seconds: float | None = None,
    load: float = 1.2,
    both: int = 0,
    reboots: int = 0,
) -> Plan:
    """The plan of this seed. cores: of the whole cluster; cuts: links can be cut; load: how much work there is,
    1 if all cores are to be busy until the last fault."""
    rng = random.Random(seed)
    wanted = counts(kills, cuts=cuts, both=both, reboots=reboots)
    if seconds is None:
        seconds = WARM_UP_S + 1.2 * wanted.total()
    faults = [draw_fault(rng, kind, seconds) for kind, number in sorted(wanted.items()) for _ in range(number)]
    for at, fault in enumerate(faults):  # some come right after another
        if rng.random() < 0.25:
            faults[at] = dataclasses.replace(fault, at_s=rng.choice(faults).at_s + rng.uniform(0.0, 0.1))
    mean_s = max(1.0, load * seconds * cores / jobs)
    made = [draw_job(rng, number, mean_s, cores // nodes) for number in range(1, jobs + 1)]
    return Plan(
        seed=seed,
        seconds=seconds,
        both=both,
        jobs=tuple(made),
        calls=tuple(draw_calls(rng, made, seconds)),
        visits=tuple(draw_visit(rng, number) for number in range(1, jobs // 4)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
    )


def draw_fault(rng: random.Random, kind: str, seconds: float) -> Fault:
    lasts_s = 0.0
    if kind.startswith("stop "):
        lasts_s = rng.choice([0.3, 1.0, 3.0, 6.0])
    elif kind == "reboot":
        lasts_s = rng.choice([0.5, 3.0])
    elif kind in CUTS:
        lasts_s = rng.choice([2.0, 5.0, 22.0] if seconds > 60 else [1.0, 3.0])  # ssh notices after 15 s
    return Fault(at_s=rng.uniform(WARM_UP_S, seconds), kind=kind, pick=rng.random(), lasts_s=lasts_s)


def draw_job(rng: random.Random, number: int, mean_s: float, cores_a_node: int) -> Job:
    lasts_s = rng.choice([0.1, 0.5, mean_s / 2, mean_s, mean_s * 1.5, mean_s * 2.2])
    pieces = rng.randint(1, 5)
    rank = rng.random() < 0.06
    return Job(
        number=number,
        pieces=tuple((rng.choice([0, 5, 40, 120]), lasts_s / pieces) for _ in range(pieces)),
        status=rng.choice(STATUSES),
        signal=rng.choice(SIGNALS) if rng.random() < 0.05 else 0,
        leftover=rng.choice(LEFTOVERS) if rng.random() < 0.15 else "",
        ncores=cores_a_node + 1 if rank else rng.choice([1, 1, 1, 1, 1, 2]),
        rank=rank,
        apart=rng.random() < 0.5,
        bulk=rng.random() < 0.05,
    )


def draw_visit(rng: random.Random, number: int) -> Visit:
    job = Job(
        number=number,
        pieces=((rng.choice([0, 10, 100]), rng.choice([0.0, 0.2, 1.0, 3.0])), (rng.choice([1, 10]), 0.0)),
        status=rng.choice(FOREGROUND_STATUSES),
        signal=0,
        leftover=rng.choice(LEFTOVERS) if rng.random() < 0.2 else "",
        ncores=1,
        rank=False,
        apart=False,
        bulk=rng.random() < 0.1,
    )
    return Visit(job=job, killed_after_s=rng.uniform(0.2, 4.0) if rng.random() < 0.2 else None)


def draw_calls(rng: random.Random, jobs: list[Job], seconds: float) -> list[Call]:
    """A part of the jobs at once, the rest while the faults go on; all jobs of a call come from one directory."""
    calls = []
    for apart in (False, True):
        numbers = [job.number for job in jobs if job.apart == apart]
        while numbers:
            size = min(len(numbers), rng.randint(2, 12))
            mine, numbers = numbers[:size], numbers[size:]
            calls.append(
                Call(
                    at_s=rng.choice([0.0, rng.uniform(0.0, 0.7 * seconds)]),
                    user=rng.randrange(2),
                    numbers=tuple(mine),
                    quiet=rng.random() < 0.5,
                    killed_after_s=rng.uniform(0.0, 0.6) if rng.random() < 0.1 else None,
                )
            )
    return sorted(calls, key=lambda call: call.at_s)
