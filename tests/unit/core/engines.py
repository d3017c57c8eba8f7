"""A queue to play with: requests in, what came of them out, each turn settled at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from tests.unit.core.worlds import cluster, grant, need, shown
from wq.core import ranges
from wq.core.engine import tick
from wq.core.job import (
    ArraySpec,
    AttemptNo,
    HostName,
    Job,
    JobId,
    JobSpec,
    Outcome,
    OutcomeKind,
    Requirement,
    Uid,
)
from wq.core.queue import Draft, Now, Queue
from wq.core.requests import (
    Answer,
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    Gone,
    Gones,
    Incoming,
    LauncherGone,
    LauncherHere,
    Order,
    Refusal,
    Remove,
    Request,
    Signal,
    Start,
    Starts,
    Steer,
    Stop,
    Submit,
    Who,
)

OWNER, ANZE, BINE, ROOT = (
    Who(uid=Uid(500), user="owner"),
    Who(uid=Uid(1000), user="anze"),
    Who(uid=Uid(1001), user="bine"),
    Who(uid=Uid(0), user="root"),
)
MYSELF = Who(uid=Uid(500), user="owner", is_self=True)
EXITED = Outcome(kind=OutcomeKind.EXITED, exit_status=0)


def spec(requirement: Requirement | None = None, *, name: str = "job", foreground: bool = False) -> JobSpec:
    """A job as a launcher describes it; who it is from is not for it to say."""
    wanted = requirement if requirement is not None else need()
    return JobSpec(uid=Uid(-1), user="", name=name, command="./job", requirement=wanted, foreground=foreground)


def array(ntasks: int, requirement: Requirement | None = None, *, at_most: int | None = None) -> JobSpec:
    """An array of tasks 0, 1, ..."""
    return replace(spec(requirement), array=ArraySpec(pieces=((0, ntasks - 1, 1),), at_most=at_most))


class Play:
    """One queue and its clock."""

    def __init__(self, nodes: str = "a:4 b:4", *, here: Iterable[Who] = (ANZE, BINE)) -> None:
        self.queue = Queue(owner=OWNER.uid, nodes=cluster(nodes))
        self.queue.users[OWNER.uid] = OWNER.user
        self.boot_s = 1000.0
        self.tokens = 0
        self.last = self.draft()
        for who in here:
            self.say(who, LauncherHere())

    # one turn

    @property
    def now(self) -> Now:
        return Now(wall_s=self.boot_s + 1e9, boot_s=self.boot_s)

    def draft(self, *incoming: tuple[Who, Request]) -> Draft:
        """A tick that is not settled."""
        inbox = [Incoming(who=who, request=it, reply_to=number) for number, (who, it) in enumerate(incoming, 1)]
        return tick(self.queue, inbox, self.now)

    def turn(self, *incoming: tuple[Who, Request]) -> Draft:
        """A tick that is settled."""
        self.last = self.draft(*incoming)
        self.last.settle()
        return self.last

    def say(self, who: Who, request: Request) -> dict[str, object] | str | None:
        """The facts of the answer, or the sentence of the refusal, or nothing."""
        answers = dict(self.turn((who, request)).answers)
        match answers.get(1):
            case Answer(facts=facts):
                return facts
            case Refusal(error=error):
                return error
            case None:
                return None

    def later(self, seconds: float) -> Draft:
        """A turn in which nothing has arrived."""
        self.boot_s += seconds
        return self.turn()

    # what people do

    def submit(self, who: Who = ANZE, *specs: JobSpec, token: str | None = None) -> list[int]:
        """The ids of what was accepted."""
        self.tokens += 1
        name = f"t{self.tokens}" if token is None else token
        facts = self.say(who, Submit(token=name, jobs=specs or (spec(),)))
        assert isinstance(facts, dict), facts
        ids = facts["ids"]
        assert isinstance(ids, list)
        return ids

    def running(self, who: Who = ANZE, requirement: Requirement | None = None, *, foreground: bool = False) -> int:
        """The id of a job that runs."""
        (number,) = self.submit(who, spec(requirement, foreground=foreground))
        self.started(number, who)
        assert self.state(number) == "running"
        return number

    def started(self, number: int, who: Who = ANZE, attempt: int = 1) -> None:
        self.say(who, AttemptStarted(id=JobId(number), attempt=AttemptNo(attempt)))

    def ended(self, number: int, who: Who = ANZE, attempt: int = 1, outcome: Outcome = EXITED) -> None:
        self.say(who, AttemptEnded(id=JobId(number), attempt=AttemptNo(attempt), outcome=outcome))

    def taken_back(
        self, number: int, host: str | None = None, attempt: int = 1, who: Who = ANZE, why: str = "no"
    ) -> None:
        at = HostName(host) if host is not None else None
        self.say(who, AttemptTakenBack(id=JobId(number), attempt=AttemptNo(attempt), host=at, why=why))

    def remove(self, who: Who, *ids: int, lost: bool = False) -> dict[str, object]:
        facts = self.say(who, Remove(ids=tuple((number, number) for number in ids), lost=lost))
        assert isinstance(facts, dict), facts
        return {key: value for key, value in facts.items() if value}

    def here(self, who: Who, *held: int, tokens: tuple[str, ...] = ()) -> None:
        """A launcher comes, with these jobs in its ledger."""
        self.say(who, LauncherHere(ids=ranges.of(held), tokens=tokens))

    def gone(self, who: Who) -> None:
        self.say(who, LauncherGone())

    # what is to be seen

    def job(self, number: int) -> Job:
        """A job in the queue, or one that has just ended."""
        found = self.queue.find(JobId(number)) or self.last.changed.get(JobId(number))
        assert found is not None, f"no job {number}"
        return found

    def state(self, number: int) -> str:
        """Its state; `gone` if the queue has no such job."""
        found = self.queue.find(JobId(number))
        return found.state.value if found is not None else "gone"

    def cores(self, number: int) -> str:
        return shown(self.job(number).allocation)

    def outcome(self, number: int) -> Outcome:
        outcome = self.job(number).outcome
        assert outcome is not None
        return outcome

    @property
    def orders(self) -> list[str]:
        """The orders of the last turn, one short word each."""
        return [order_word(order) for order in self.last.orders]


def order_word(order: Order) -> str:
    """An order as 'start 3.1 a:0,1', 'stop 3.1 by bine', 'gone 3'; to others than anze with the uid before it."""
    match order:
        case Start():
            text = f"start {order.id}.{order.attempt} {shown(order.allocation)}"
        case Stop():
            text = f"stop {order.id}.{order.attempt} by {order.by}"
            if order.unsent:
                text = f"recall {order.id}.{order.attempt}"
        case Steer():
            text = f"steer {order.id}.{order.attempt}"
            text += f" time {order.time_s:g}" if order.time_s is not None else ""
            text += {None: "", True: " suspended", False: " on"}[order.suspended]
        case Signal():
            text = f"signal {order.id}.{order.attempt} {order.number}"
        case Gone():
            text = f"gone {order.id}"
        case Starts():
            text = f"start {len(order.tasks)} in {order.lane}"
        case Gones():
            text = f"gone {len(order.tasks)}"
        case _:
            assert_never(order)
    return text if order.uid == ANZE.uid else f"{order.uid}: {text}"


def on_cores(found: Job, cores: str) -> Job:
    return replace(found, allocation=grant(cores))
