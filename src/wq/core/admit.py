"""May a job enter the queue: its fields within bounds, its requirement possible on this cluster."""

from __future__ import annotations

from collections.abc import Sequence

from wq.core.cluster import GROUP_PATTERN, HOST_PATTERN, Node
from wq.core.job import JobSpec, Mode, Requirement
from wq.core.place import impossible
from wq.core.requirement import LONGEST_TIME_S

MOST_CORES = 1_000_000
LONGEST_NAME = 200
LONGEST_COMMAND = 8192  # of the copy for listings
LONGEST_PATH = 4096
MOST_GROUPS = 100
MOST_TASKS = 10_000_000  # of an array
MOST_PIECES = 10_000
LARGEST_TASK = (1 << 31) - 1


def admit(spec: JobSpec, nodes: Sequence[Node], possible: set[Requirement]) -> str | None:
    """Why this job is refused, naming the key at fault; None if it may enter.

    possible: requirements that are known to be possible on these nodes; grows, as the jobs of a submission are alike.
    """
    need = spec.requirement
    if not 1 <= need.n <= MOST_CORES:
        return f"N: {need.n} is not between 1 and {MOST_CORES}"
    if need.threads is not None and not 1 <= need.threads <= MOST_CORES:
        return f"threads: {need.threads} is not between 1 and {MOST_CORES}"
    if not 0 <= need.min_cores <= MOST_CORES:
        return f"min_cores: {need.min_cores} is not between 0 and {MOST_CORES}"
    if not 0 <= need.min_mem_gb < 1e9:
        return "min_mem: not a number of gigabytes"
    counted_in_cores = need.mode in (Mode.BYCORE, Mode.BYCORE1, Mode.BYHOST)
    if need.threads is not None and counted_in_cores and need.n % need.threads:
        return f"N: {need.n} is not a multiple of threads: {need.threads}"
    if need.mode is Mode.BYHOST and need.host is None:
        return "mode: byhost needs host"
    if need.mode is Mode.BYGROUP and not need.groups:
        return "mode: bygroup needs group"
    if need.host is not None and not HOST_PATTERN.fullmatch(need.host):
        return "host: not the name of a host"
    if len(need.groups) + len(need.notgroups) > MOST_GROUPS:
        return f"group: at most {MOST_GROUPS} names"
    if any(not GROUP_PATTERN.fullmatch(group) for group in (*need.groups, *need.notgroups)):
        return "group: not the name of a group"
    if not spec.name or len(spec.name) > LONGEST_NAME:
        return f"job_name: at most {LONGEST_NAME} characters"
    if len(spec.command) > LONGEST_COMMAND:
        return f"command: the copy for listings has at most {LONGEST_COMMAND} characters"
    if len(spec.submit_dir) > LONGEST_PATH:
        return f"submit_dir: at most {LONGEST_PATH} characters"
    if (trouble := bad_time(spec.time_s)) is not None:
        return f"time: {trouble}"
    if spec.max_fails is not None and not 0 <= spec.max_fails <= MOST_TASKS:
        return f"max_fails: {spec.max_fails} is not between 0 and {MOST_TASKS}"
    if spec.array is not None and (trouble := bad_array(spec)) is not None:
        return f"array: {trouble}"
    trouble = None if need in possible else impossible(need, nodes)
    if trouble is None:
        possible.add(need)
    return trouble


def bad_time(time_s: float | None) -> str | None:
    """What is wrong with a time limit."""
    if time_s is None or 1 <= time_s <= LONGEST_TIME_S:
        return None
    return f"from one second to {LONGEST_TIME_S / 86400:.0f} days is allowed"


def bad_array(spec: JobSpec) -> str | None:
    """What is wrong with the tasks of an array."""
    assert spec.array is not None
    if spec.foreground:
        return "arrays are batch jobs"
    if not 1 <= len(spec.array.pieces) <= MOST_PIECES:
        return f"{len(spec.array.pieces)} pieces; from 1 to {MOST_PIECES} are allowed"
    before = -1
    for first, last, step in spec.array.pieces:
        if not before < first <= last <= LARGEST_TASK or step < 1:
            return f"tasks are numbers from 0 to {LARGEST_TASK}, each once and ascending"
        before = last
    if spec.array.size > MOST_TASKS:
        return f"{spec.array.size} tasks; at most {MOST_TASKS} are allowed"
    if spec.array.at_most is not None and not 1 <= spec.array.at_most <= MOST_TASKS:
        return f"at most {spec.array.at_most} at one time; from 1 to {MOST_TASKS} are allowed"
    return None
