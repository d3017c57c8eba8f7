"""The schedules that `wq simulate` makes, and the files that it writes of them."""

from __future__ import annotations

import gzip
import importlib.util
import os
from collections.abc import Sequence

from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.link import remark
from wq.cli.progress import Progress
from wq.core.cluster import Node
from wq.core.job import Uid
from wq.core.plan import Limit
from wq.core.policies import Policy
from wq.simulate import plot
from wq.simulate.measure import Schedule, Worth
from wq.simulate.replay import Replay
from wq.simulate.workload import Workload


def replayed(workload: Workload, nodes: Sequence[Node], name: str, policy: Policy, limit: Limit) -> Schedule:
    """The schedule under one policy. Raises WqError if nothing of it ever starts."""
    users = {task.user for task in workload.tasks}
    limits = {Uid(user): limit for user in users} if limit.run is not None or limit.cores is not None else {}
    schedule, ntasks = Schedule(policy=name), len(workload.tasks)
    with Progress(f"simulating {name}") as bar:
        for ran in Replay(workload.tasks, nodes, policy, limits).play():
            schedule.add(ran)
            bar.at(len(schedule.starts_s), ntasks)
    missing = ntasks - len(schedule.starts_s)
    if missing == ntasks:
        raise WqError(f"simulate: under {name} no job ever starts")
    if missing:
        remark(f"under {name}, {missing} jobs never start")
    return schedule


# ---- files


def starts_paths(path: str | None, names: list[str]) -> dict[str, str]:
    """A file for each policy: of several the name stands before the suffix, of x.start.gz in x.easy.start.gz."""
    if path is None:
        return {}
    if len(names) == 1:
        return {names[0]: path}
    packed = ".gz" if path.endswith(".gz") else ""
    stem, suffix = os.path.splitext(path.removesuffix(packed))
    return {name: f"{stem}.{name}{suffix}{packed}" for name in names}


def check_files(paths: list[str]) -> None:
    """Whether they can be written, as far as that can be seen before the work. Raises WqError."""
    for path in paths:
        directory = os.path.dirname(path) or "."
        if not path or os.path.isdir(path):
            raise WqError(f"{path or 'an empty name'}: a file is wanted, to be written", BAD_INPUT)
        if not os.path.isdir(directory):
            raise WqError(f"{path}: there is no directory {directory}", BAD_INPUT)
        if not os.access(path if os.path.exists(path) else directory, os.W_OK):
            raise WqError(f"{path}: it cannot be written", BAD_INPUT)


def write_starts(path: str, schedule: Schedule, workload: Workload) -> None:
    """`id start` in the order of the ids; whole seconds without a point."""
    starts = sorted(zip(schedule.numbers, schedule.starts_s, strict=True))
    lines = (f"{workload.names.get(number, number)} {seconds(start_s)}\n" for number, start_s in starts)
    try:
        with gzip.open(path, "wt") if path.endswith(".gz") else open(path, "w", encoding="ascii") as file:
            file.writelines(lines)
    except OSError as error:
        raise WqError(f"{path} cannot be written: {error.strerror}") from None


def seconds(time_s: float) -> str:
    return str(int(time_s)) if time_s == int(time_s) else repr(time_s)


def check_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise WqError("--png draws with matplotlib, which is not installed: pip install 'wq[plot]', or matplotlib")


def write_picture(path: str, what: str, schedules: Sequence[Schedule], worths: Sequence[Worth], ncores: int) -> None:
    """what: was replayed, for the title."""
    title = f"{what}: {worths[0].njobs} jobs on {ncores} cores".encode("ascii", "replace").decode()
    try:
        with open(path, "wb") as file:
            plot.draw(schedules, worths, ncores, title, file)
    except ImportError as error:
        raise WqError(f"matplotlib cannot be used: {error}") from None
    except OSError as error:
        raise WqError(f"{path} cannot be written: {error.strerror}") from None
