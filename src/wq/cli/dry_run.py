"""`wq sub -n`: what would be submitted, without asking anybody."""

from __future__ import annotations

import os
import sys

from wq.formats.array import row_of, spec_of
from wq.formats.fill import filled

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import Any

    from wq.formats.array import ArraySpec

KEYS = {
    "mode": "mode",
    "n": "N",
    "groups": "group",
    "notgroups": "notgroup",
    "host": "host",
    "min_cores": "min_cores",
    "min_mem_gb": "min_mem",
    "threads": "threads",
    "priority": "priority",
}

ALWAYS = ("mode", "N", "priority")
SOME_ID = 1 << 62  # as long as any: of a job that is not looked up
MOST_LISTED = 10  # names in a sentence
USUAL = {"env": "submit", "requeue": True, "keep_output": "always"}


def show(jobs: list[tuple[dict[str, Any], str | None]], unasked: list[str], *, as_json: bool) -> None:
    """Print all jobs, with the first three commands and the last one of each. unasked: jobs that were not looked up."""
    found = [facts(task, stem) for task, stem in jobs]
    if unasked:
        from wq.cli.link import remark

        listed = ", ".join(unasked[:MOST_LISTED]) + (", ..." if len(unasked) > MOST_LISTED else "")
        remark(f"no server was asked, so these jobs, which are waited for, are not looked up: {listed}")
    if as_json:
        import json

        print(json.dumps(found, indent=1))
        return
    for number, job in enumerate(found, 1):
        print("\n".join(lines(number, job)))
    print(f"wq: nothing was submitted ({'1 job' if len(found) == 1 else f'{len(found)} jobs'})", file=sys.stderr)


def facts(task: dict[str, Any], stem: str | None) -> dict[str, Any]:
    """A job for programs. The id is not known: it is `%id%` in the name of the output."""
    array = task.get("array")
    spec = None if array is None else spec_of(array)
    output = task.get("output")
    if output is None and stem is not None:
        output = f"{stem}-%id%{'' if spec is None else '_%task%'}.wqlog"
    error = task.get("error")
    return {
        "name": task["name"],
        "requirement": requirement(task),
        "tasks": None if spec is None else spec.count,
        "array": None if spec is None else str(spec),
        "columns": [] if array is None else array["columns"],
        "output": None if output is None else shown_path(output),
        "error": None if error is None else shown_path(error),
        "commands": [command(task, None if spec is None else index) for index in shown(spec)],
    }


def shown_path(path: str) -> str:
    """With %id%, %task% and %N where what is not known yet will be."""
    return path.replace("\0", "%id%").replace("\1", "%task%").replace("\2", "%N")


def shown(spec: ArraySpec | None) -> list[int]:
    """The places of the tasks that are shown."""
    ntasks = 1 if spec is None else spec.count
    return [*range(min(3, ntasks)), *([ntasks - 1] if ntasks > 3 else [])]


def command(task: dict[str, Any], index: int | None) -> dict[str, Any]:
    """What one task runs. The hostfile has its name only where the job runs."""
    values = {} if index is None else row_of(task["array"], index)
    number = int(values["task"]) if values else None
    values["threads"] = str(task["requirement"].get("threads") or 1)
    if task.get("argv") is not None:
        return {"task": number, "command": None, "argv": [filled(word, values, quote=False) for word in task["argv"]]}
    return {"task": number, "command": filled(task["command"], values, quote=True), "argv": None}


def requirement(task: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, by the keys of job files."""
    from dataclasses import asdict

    from wq.core.requirement import Requirement

    asked = task["requirement"] or asdict(Requirement())
    found = {KEYS[name]: value for name, value in asked.items() if name in KEYS}
    found = {key: str(value) if key in ("mode", "priority") else value for key, value in found.items()}
    found = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
    extras = {"hostfile": task.get("hostfile"), "X": task.get("x", False), "env": task.get("env_mode", "submit")}
    if task.get("time_s") is not None:
        from wq.formats import duration

        extras["time"] = duration.in_words(task["time_s"])
        if task.get("signal") is not None:
            from wq.formats.signals import name_of

            extras["signal"] = f"{name_of(task['signal'])}@{duration.in_words(task['signal_s'])}"
    extras |= {"private": task.get("private", False), "requeue": task.get("requeue", True)}
    return {**found, **extras, "keep_output": task.get("keep_output", "always")}


def lines(number: int, job: dict[str, Any]) -> list[str]:
    """A job for people."""
    from wq.cli.render.sanitise import printable

    found = [f"job {number}: {printable(job['name'])}", f"  requirement: {printable(as_text(job['requirement']))}"]
    if job["tasks"] is not None:
        found.append(f"  tasks: {job['tasks']} ({in_words(job['array'])})")
    output = "here" if job["output"] is None else printable(relative(job["output"]))
    found.append(f"  output: {output}")
    if job["error"] is not None:
        found.append(f"  errors: {printable(relative(job['error']))}")
    width = max(len(str(one["task"])) for one in job["commands"])
    for at, one in enumerate(job["commands"]):
        if at == 3 and job["tasks"] > 4:
            found.append("  ...")
        label = "command" if one["task"] is None else f"task {one['task']:>{width}}"
        first, *more = text_of(one).rstrip("\n").split("\n")
        found.append(f"  {label}: {printable(first)}")
        found += [f"      {printable(line)}" for line in more]
    return found


def text_of(one: dict[str, Any]) -> str:
    if one["argv"] is None:
        return str(one["command"])
    from shlex import join

    return join(one["argv"])


def as_text(asked: dict[str, Any]) -> str:
    """A requirement as -r takes it; what was left as it is usually is left out, but for the first three."""
    told = {key: value for key, value in asked.items() if key in ALWAYS or (value and value != USUAL.get(key))}
    if not asked["requeue"]:
        told["requeue"] = False
    return "; ".join(f"{key}: {written(value)}" for key, value in told.items())


def written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_words(array: str) -> str:
    numbers, percent, at_most = array.partition("%")
    numbers = numbers if len(numbers) <= 60 else f"{numbers[:57]}..."
    return f"{numbers}, at most {at_most} at once" if percent else numbers


def relative(path: str) -> str:
    from wq.cli.commands.sub import here

    return path if path == os.devnull else os.path.relpath(path, here())
