"""The typed words: which requests, reports and orders there are, decoded strictly.

Core's own types are the messages; this module gives them names on the wire. A message is an object
with "type"; "seq", if given, comes back in the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from wq.core import requests as core
from wq.core.job import AttemptNo, JobId, Outcome, OutcomeKind
from wq.core.requests import Order, Request
from wq.protocol.wire import Message, WireError, frame

MOST_GROUPED = 5000  # in one word


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first word on a connection. role: client or launcher."""

    version: int
    role: str = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ls:
    """List jobs. ids: ranges (first, last); tasks of arrays: (job, first, last); finished: those of the last day too.

    why: with reasons. brief: rows are lists, for nine columns. fields: rows are lists of these, as listing.picked says.
    """

    users: tuple[str, ...] = ()
    ids: tuple[tuple[int, int], ...] = ()
    tasks: tuple[tuple[int, int, int], ...] = ()
    finished: bool = False
    why: bool = False
    brief: bool = False
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """The nodes and the counts of jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Users with their jobs, cores and limits, or one of them."""

    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hist:
    """Jobs that are over, newest first: of these users, of everybody, or (neither) of the asker.

    since_s, until_s: when they ended; failed: only those that did not end as they should; name: a pattern, as of a
    shell, with *, ? and [...]. The answer has the newest `most` of them, and how many more there are.
    """

    users: tuple[str, ...] = ()
    everybody: bool = False
    since_s: float | None = None
    until_s: float | None = None
    failed: bool = False
    name: str = ""
    most: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """All that is known of a job, or of one task of an array."""

    id: int
    task: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The id of the asker's last job, whatever became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How these stand: jobs and arrays by ranges of ids, tasks as (array, first, last).

    seen: what the last answer had as `over`; if that is still so, there is an answer as soon as it is not.
    """

    ids: tuple[tuple[int, int], ...] = ()
    tasks: tuple[tuple[int, int, int], ...] = ()
    seen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """Stop the server in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit, for a user by name: the server's loop finds the uid."""

    user: str | None = None
    run: int | None = None
    cores: int | None = None
    clear: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """To a launcher: why a foreground job waits (code: the kind of reason); how many are ahead, if it is in line."""

    id: int
    reason: str
    code: str
    ahead: int | None


class TaskGrant(NamedTuple):
    """An attempt among many. task: NO_TASK for a job that is no array."""

    id: int
    task: int
    attempt: int


class AttemptEnd(NamedTuple):
    """The end of an attempt among many."""

    id: int
    task: int
    attempt: int
    kind: OutcomeKind
    exit_status: int | None
    signal: int | None
    message: str | None
    cpu_s: float | None
    run_s: float | None
    again: bool
    wait_s: float = 0.0
    wall_s: float | None = None  # where that is not run_s
    peak_mem_bytes: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """From a launcher: news of many attempts at once."""

    started: tuple[TaskGrant, ...] = ()
    ended: tuple[AttemptEnd, ...] = ()
    back: tuple[TaskGrant, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Eff:
    """What jobs that are over had and used. ids, tasks: as of Ls; without any: those that ended in the last since_s."""

    users: tuple[str, ...] = ()
    ids: tuple[tuple[int, int], ...] = ()
    tasks: tuple[tuple[int, int, int], ...] = ()
    since_s: float = 86400.0


Query = Ls | Eff | Stat | Users | Hist | Info | Newest | Wait | Shutdown | Limit
Word = Hello | Query | Attempts | Request

FROM_CLIENTS: dict[str, type] = {
    "hello": Hello,
    "ls": Ls,
    "eff": Eff,
    "stat": Stat,
    "users": Users,
    "hist": Hist,
    "info": Info,
    "newest": Newest,
    "wait": Wait,
    "shutdown": Shutdown,
    "limit": Limit,
    "remove": core.Remove,
    "at_most": core.SetAtMost,
    "hold": core.SetHold,
    "edit": core.Edit,
    "top": core.Top,
    "time": core.SetTime,
    "suspend": core.SetSuspended,
    "signal": core.SendSignal,
    "node": core.SetNode,
    "refresh": core.Refresh,
}
FROM_LAUNCHERS: dict[str, type] = {
    **FROM_CLIENTS,
    "submit": core.Submit,
    "launcher_here": core.LauncherHere,
    "attempt_started": core.AttemptStarted,
    "attempt_ended": core.AttemptEnded,
    "attempt_taken_back": core.AttemptTakenBack,
    "attempts": Attempts,
    "sight": core.Sight,
}
TO_LAUNCHERS: dict[str, type] = {
    "start": core.Start,
    "starts": core.Starts,
    "steer": core.Steer,
    "send_signal": core.Signal,
    "stop": core.Stop,
    "gone": core.Gone,
    "gones": core.Gones,
    "waiting": Waiting,
}
NAMES: dict[type, str] = {kind: name for name, kind in {**FROM_LAUNCHERS, **TO_LAUNCHERS}.items()}


class Head(msgspec.Struct):
    """What every message has."""

    type: str = ""
    seq: int = 0


read_head = msgspec.json.Decoder(Head).decode
readers: dict[type, msgspec.json.Decoder[Any]] = {}


def decode_word(body: bytes, known: dict[str, type]) -> tuple[Any, int]:
    """(a value of one of the known types, the sender's seq or 0). Raises WireError with a sentence."""
    try:
        head = read_head(body)
        kind = known.get(head.type)
        if kind is None:
            raise WireError("a message of no known type")
        reader = readers.get(kind)
        if reader is None:
            reader = readers[kind] = msgspec.json.Decoder(kind)
        return reader.decode(body), head.seq
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(str(error)) from None


def encode_word(word: Order | Waiting | Attempts | Request | Query, seq: int = 0) -> bytes:
    """A typed word as a frame."""
    head = f'{{"type":"{NAMES[type(word)]}","seq":{seq}' if seq else f'{{"type":"{NAMES[type(word)]}"'
    body = msgspec.json.encode(word)
    return frame(head.encode() + (b"," if len(body) > 2 else b"") + body[1:])


def reports_of(word: Attempts) -> core.Reports:
    """The news one by one."""
    news: list[core.AttemptStarted | core.AttemptEnded | core.AttemptTakenBack] = [
        core.AttemptStarted(id=JobId(it.id), task=task_or_none(it.task), attempt=AttemptNo(it.attempt))
        for it in word.started
    ]
    for end in word.ended:
        outcome = Outcome(
            kind=end.kind,
            exit_status=end.exit_status,
            signal=end.signal,
            message=end.message,
            cpu_s=end.cpu_s,
            wall_s=end.run_s if end.wall_s is None else end.wall_s,
            peak_mem_bytes=end.peak_mem_bytes,
            io_read_bytes=end.io_read_bytes,
            io_write_bytes=end.io_write_bytes,
        )
        ended = core.AttemptEnded(
            id=JobId(end.id),
            task=task_or_none(end.task),
            attempt=AttemptNo(end.attempt),
            outcome=outcome,
            again=end.again,
            run_s=end.run_s,
            wait_s=end.wait_s,
        )
        news.append(ended)
    for it in word.back:
        back = core.AttemptTakenBack(id=JobId(it.id), task=task_or_none(it.task), attempt=AttemptNo(it.attempt))
        news.append(back)
    return core.Reports(news=tuple(news))


def attempts_of(news: Sequence[core.AttemptStarted | core.AttemptEnded | core.AttemptTakenBack]) -> Attempts:
    """Many news as one word. (Those of AttemptTakenBack that name a host are no such news.)"""
    started: list[TaskGrant] = []
    ended: list[AttemptEnd] = []
    back: list[TaskGrant] = []
    for it in news:
        grant = TaskGrant(it.id, task_number(it.task), it.attempt)
        match it:
            case core.AttemptStarted():
                started.append(grant)
            case core.AttemptTakenBack():
                back.append(grant)
            case core.AttemptEnded(outcome=out):
                how = AttemptEnd(
                    *grant,
                    kind=out.kind,
                    exit_status=out.exit_status,
                    signal=out.signal,
                    message=out.message,
                    cpu_s=out.cpu_s,
                    run_s=it.run_s,
                    again=it.again,
                    wait_s=it.wait_s,
                    wall_s=None if out.wall_s == it.run_s else out.wall_s,
                    peak_mem_bytes=out.peak_mem_bytes,
                    io_read_bytes=out.io_read_bytes,
                    io_write_bytes=out.io_write_bytes,
                )
                ended.append(how)
    return Attempts(started=tuple(started), ended=tuple(ended), back=tuple(back))


def grouped(orders: Sequence[Order]) -> list[Order]:
    """The orders for one launcher, the ends of batch jobs as few words."""
    words: list[Order] = []
    gone: list[tuple[int, int]] = []
    for order in orders:
        if isinstance(order, core.Gones):
            gone += order.tasks
        elif isinstance(order, core.Gone) and order.outcome is None:
            gone.append((order.id, task_number(order.task)))
        else:
            words.append(order)
    parts = [tuple(gone[at : at + MOST_GROUPED]) for at in range(0, len(gone), MOST_GROUPED)]
    return [*words, *[core.Gones(uid=orders[0].uid, tasks=part) for part in parts]]


def task_number(task: int | None) -> int:
    return core.NO_TASK if task is None else task


def task_or_none(number: int) -> int | None:
    return None if number < 0 else number


def encode_message(message: Message) -> bytes:
    """An answer as a frame."""
    return frame(msgspec.json.encode(message))
