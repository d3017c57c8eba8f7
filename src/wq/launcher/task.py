"""What a user submitted: everything that is needed to run it, and that never leaves the user's own processes."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from wq.core.job import ArraySpec, JobId, JobSpec, Requirement, Uid

LISTED_COMMAND = 4096  # characters of the copy for listings
# In the name of an output, where the id, the number of the task and the first node go.
ID_MARK, TASK_MARK, NODE_MARK = "\0", "\1", "\2"
NOWHERE = "/dev/null"  # where output goes that nobody wants
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
    if pattern.endswith(".wqlog"):
        return f"{pattern.removesuffix('.wqlog')}.{attempt}.wqlog"
    return f"{pattern}.{attempt}"


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
    )
