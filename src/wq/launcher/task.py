"""What a user submitted: everything that is needed to run it, and that never leaves the user's own processes."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from wq.core import ranges
from wq.core.job import After, ArraySpec, JobId, JobSpec, Outcome, OutcomeKind, Requirement, Uid
from wq.core.ranges import Ranges
from wq.formats import array as wq_array
from wq.formats.outputs import NOWHERE, WQLOG

LISTED_COMMAND = 4096  # characters of the copy for listings
# In the name of an output, where the id, the number of the task and the first node go.
ID_MARK, TASK_MARK, NODE_MARK = "\0", "\1", "\2"
ALWAYS = "always"  # output is kept, as it usually is


class Setting(Struct, frozen=True, kw_only=True):
    """Where a submission was made. limits: soft limits by name; env: the whole environment there."""

    cwd: str
    umask: int
    env: dict[str, str]
    limits: dict[str, int] = field(default_factory=dict)


class ArrayTasks(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tasks of an array, as formats/array.py has them: pieces (first, last, step), and what each is given.

    rows: for each task a value for each column; product: instead of that, the values of each column, of which every
    combination is a task.
    """

    tasks: tuple[tuple[int, int, int], ...]
    at_most: int | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] | None = None
    product: tuple[tuple[str, tuple[str, ...]], ...] | None = None

    def has(self, number: int) -> bool:
        """Whether there is such a task."""
        return any(first <= number <= last and not (number - first) % step for first, last, step in self.tasks)

    @property
    def spec(self) -> ArraySpec:
        """What the server knows of it."""
        return ArraySpec(pieces=self.tasks, at_most=self.at_most)


class Task(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job as its user wrote it. command: text for a shell; argv instead of it: a program word by word.

    output: the absolute path of a batch job's output on the host of submission; None: to be named by the id. In that of
    an array TASK_MARK stands for the number of the task. NOWHERE: nobody wants it.
    error: the same for what it writes to stderr; None: that goes with the output.
    keep_output: "failed" if the files of an attempt that ends with exit status 0 are to go.
    tty: it gets a terminal. requeue: it is started again if a reboot of a node ends it.
    after, begin_s, hold: what it waits for at first. max_fails: with more failed tasks an array is stopped.
    retries: how many more attempts it has when one fails, retry_wait_s after it; retry_on: after which failures (exit
    statuses, `signal`, `node`); nothing: after any.
    notify: `mail` or a command, on notify_on (`end`, `failure`, `start`; nothing: `end`).
    time_s: its time limit; signal: the number of one that it gets signal_s before that.
    """

    requirement: Requirement = Requirement()
    command: str | None = None
    argv: tuple[str, ...] | None = None
    name: str = "job"
    output: str | None = None
    error: str | None = None
    keep_output: Literal["always", "failed"] = "always"
    hostfile: str | None = None
    env_mode: Literal["submit", "login", "clean"] = "submit"
    x: bool = False
    requeue: bool = True
    private: bool = False
    foreground: bool = False
    tty: bool = False
    array: ArrayTasks | None = None
    after: tuple[After, ...] = ()
    begin_s: float | None = None
    hold: bool = False
    max_fails: int | None = None
    retries: int = 0
    retry_wait_s: float = 0.0
    retry_on: tuple[int | str, ...] = ()
    notify: str | None = None
    notify_on: tuple[str, ...] = ()
    time_s: float | None = None
    signal: int | None = None
    signal_s: float = 60.0


def path_of(pattern: str, number: JobId | None, task: int | None, host: str, attempt: int | None) -> str:
    """The path of an attempt's output. attempt: its number, if an earlier one has one without a number."""
    if number is not None and ID_MARK in pattern:
        pattern = pattern.replace(ID_MARK, str(number))
    if task is not None:
        pattern = pattern.replace(TASK_MARK, str(task))
    if NODE_MARK in pattern and host:
        pattern = pattern.replace(NODE_MARK, host)
    if attempt is None or pattern == NOWHERE:
        return pattern
    if pattern.endswith(WQLOG):
        return f"{pattern.removesuffix(WQLOG)}.{attempt}{WQLOG}"
    return f"{pattern}.{attempt}"


def again(task: Task, numbers: Ranges | None) -> Task:
    """The same once more: without what the first waited for, and with an output of its own. numbers: of its tasks.

    Raises ValueError if it has no such tasks.
    """
    output = task.output
    if output is not None and ID_MARK not in output and output.endswith(WQLOG):
        part = f"_{TASK_MARK}" if task.array is not None and TASK_MARK not in output else ""
        output = f"{output.removesuffix(WQLOG)}-{ID_MARK}{part}{WQLOG}"
    array = task.array
    if numbers is not None:
        if array is None:
            raise ValueError("it is not an array")
        array = only(array, numbers)
    return replace(task, output=output, array=array, after=(), begin_s=None, hold=False)


def only(array: ArrayTasks, numbers: Ranges) -> ArrayTasks:
    """These of the tasks of an array, each with what it is given. Raises ValueError if it has not all of them."""
    spec, facts = wq_array.ArraySpec(array.tasks, None), asdict(array)
    wanted = list(ranges.numbers(numbers))
    if not wanted or not all(number in spec for number in wanted):
        raise ValueError("it has no such tasks")
    rows = None
    if array.rows is not None or array.product is not None:
        given = [wq_array.row_of(facts, spec.index_of(number)) for number in wanted]
        rows = tuple(tuple(row[name] for name in array.columns) for row in given)
    pieces = tuple((first, last, 1) for first, last in numbers)
    return ArrayTasks(tasks=pieces, at_most=array.at_most, columns=array.columns, rows=rows)


def listed(task: Task, setting: Setting) -> JobSpec:
    """The server's copy: enough to place and to list the job. (The server itself fills in who it is from.)"""
    text = task.command if task.command is not None else " ".join(task.argv or ())
    return JobSpec(
        uid=Uid(-1),
        user="",
        name=task.name,
        command="" if task.private else text[:LISTED_COMMAND],
        requirement=task.requirement,
        foreground=task.foreground,
        submit_dir="" if task.private else setting.cwd,
        x=task.x,
        requeue=task.requeue,
        array=task.array.spec if task.array is not None else None,
        after=task.after,
        begin_s=task.begin_s,
        hold=task.hold,
        max_fails=task.max_fails,
        time_s=task.time_s,
    )


def failure(outcome: Outcome) -> tuple[int | str, str]:
    """(what retry_on calls this end, that in words)."""
    match outcome.kind:
        case OutcomeKind.EXITED:
            return outcome.exit_status or 0, f"exit status {outcome.exit_status}"
        case OutcomeKind.SIGNALLED:
            return "signal", f"signal {outcome.signal}"
        case OutcomeKind.TIME_LIMIT:
            return "time", "time limit"
        case OutcomeKind.FAILED | OutcomeKind.LOST | OutcomeKind.REMOVED:
            return "node", outcome.message or "it could not be run"


def is_tried_again(task: Task, outcome: Outcome, ntried: int) -> bool:
    """Whether its user wants another attempt after this end. ntried: how many there were because of that."""
    if outcome.succeeded or task.foreground or ntried >= task.retries:
        return False
    if not task.retry_on:  # (another attempt would come to its time limit as well)
        return outcome.kind is not OutcomeKind.TIME_LIMIT
    return failure(outcome)[0] in task.retry_on
