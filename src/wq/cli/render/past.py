"""What is over, as a table; and everything about one job, as lines that line up."""

from __future__ import annotations

from time import localtime, strftime

from .age import age
from .colour import PLAIN
from .jobs import PARTS, counts_in_letters
from .numbers import numbers
from .outcome import in_words, signal_name, succeeded
from .sanitise import printable, word
from .table import number, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .colour import Style

HEADER = ("Id", "User", "Name", "Outcome", "Exit", "t_run", "Ended", "Nodes")
MOST_NODES = 2  # in a cell
MOST_EVENTS = 20
TITLE = 12  # columns
WHAT = {
    "StopRequested": "its end was asked for",
    "TasksRemoved": "tasks removed before they started",
    "AtMostSet": "the number of tasks at one time was changed",
    "Held": "held",
    "Released": "released",
    "Topped": "put to the front of its user's jobs",
}
UNSAID = ("Submitted", "ArraySubmitted", "ArrayEnded")
MODES = {
    "bycore": "{n} core{s}",
    "bycore1": "{n} core{s} on one node",
    "bynode": "{n} whole node{s}",
    "byhost": "{n} core{s}",
    "bygroup": "all nodes of its groups",
}


def history(rows: Sequence[Mapping[str, Any]], more: int, style: Style = PLAIN) -> list[str]:
    """The table of `wq hist`, the newest last, and a footer that says how many older ones are not in it."""
    body = [
        (
            str(int(row["id"])),
            word(row["user"]),
            word(row["name"]),
            _outcome(row),
            _exit(row["outcome"]),
            _ran(row),
            strftime("%Y-%m-%dT%H:%M", localtime(row["ended_at"])),
            _nodes(row),
        )
        for row in rows
    ]
    lines = table(HEADER, body, paint={3: style.outcome} if style.enabled else None)
    older = f" ({more} older: -n shows more)" if more else ""
    lines.append(f"Jobs: {len(rows)} Failed: {sum(map(_failed, rows))}{older}")
    return lines


def _failed(row: Mapping[str, Any]) -> bool:
    if row.get("array"):
        return bool(row["array"]["failed"] or row["array"]["removed"])
    return not succeeded(row["outcome"])


def _outcome(row: Mapping[str, Any]) -> str:
    """In a word: how it ended; of an array, how many tasks are done and have failed."""
    if row.get("array"):
        return word(counts_in_letters([row["array"][part] for part in PARTS]))
    return word(row["outcome"]["kind"])


def _exit(outcome: Mapping[str, Any] | None) -> str:
    """The exit status, or the name of the signal."""
    if outcome is None:
        return "-"
    if outcome["exit_status"] is not None:
        return word(str(outcome["exit_status"]))
    return word(signal_name(outcome["signal"])) if outcome["signal"] is not None else "-"


def _ran(row: Mapping[str, Any]) -> str:
    return "-" if row["started_at"] is None else age(row["ended_at"] - row["started_at"])


def _nodes(row: Mapping[str, Any]) -> str:
    hosts = [word(part["host"]) for part in row["hosts"]]
    shown = ",".join(hosts[:MOST_NODES]) or "-"
    return shown if len(hosts) <= MOST_NODES else f"{shown},+{len(hosts) - MOST_NODES}"


# --- one job


def page(facts: Mapping[str, Any], now_s: float) -> list[str]:
    """What `wq info` prints of one job. facts: as the server answers. What is not known is left out."""
    row = facts["job"]
    named = [(title, value) for title, value in _facts(row, now_s) if value]
    named += [(title, facts[name]) for title, name in (("Output", "output"), ("Errors", "error")) if facts.get(name)]
    lines = [f"{title + ':':<{TITLE}}{value}" for title, value in named]
    lines += _attempts(facts["attempts"], row)
    lines += _failures(facts)
    lines += _events(facts["events"])
    return [printable(line) for line in lines]


def _facts(row: Mapping[str, Any], now_s: float) -> Iterator[tuple[str, str]]:
    whole = str(int(row["id"])) if row["task"] is None else f"{int(row['id'])}.{int(row['task'])}"
    yield "Task" if row["task"] is not None else "Array" if row["array"] else "Job", whole
    yield "Name", row["name"]
    yield "Command", row["command"] or "(private)"
    yield "User", f"{row['user']} (uid {row['uid']})"
    yield "State", _state(row)
    if row["reason"]:
        yield "Waits", row["reason"]["text"]
    if row["out_of_sight"]:
        yield "Unseen", f"{', '.join(row['out_of_sight']['hosts'])}: {row['out_of_sight']['why']}; it runs on"
    yield "Wants", _requirement(row)
    yield "Submitted", f"{stamp(row['submitted_at'])}{' in the foreground' if row['foreground'] else ''}"
    yield "From", row["submit_dir"]
    if row["started_at"] is not None:
        waited = f", after {age(row['started_at'] - row['submitted_at'])}"
        yield "Started", f"{stamp(row['started_at'])}{waited}"
    if row["ended_at"] is not None:
        ran = f", it ran {age(row['ended_at'] - row['started_at'])}" if row["started_at"] is not None else ""
        yield "Ended", f"{stamp(row['ended_at'])}{ran}"
    elif row["started_at"] is not None and row["state"] != "queued":
        yield "Runs", f"since {age(now_s - row['started_at'])}"
    if row["outcome"] and row["outcome"]["cpu_s"] is not None:
        yield "CPU time", f"{number(row['outcome']['cpu_s'])} s"
    if row["array"]:
        yield "Tasks", _tasks(row["array"])
    yield "Nodes", "; ".join(_node(part) for part in row["hosts"])


def _state(row: Mapping[str, Any]) -> str:
    if row["outcome"] is None:
        return str(row["state"])
    return f"{row['state']}: {ended(row['outcome'], row['hosts'])}"


def ended(outcome: Mapping[str, Any], hosts: Sequence[Mapping[str, Any]]) -> str:
    """How it ended, and where, if a signal ended it."""
    told = outcome["message"] or outcome["kind"] != "signalled"  # (a sentence names the node itself)
    where = f" on {hosts[0]['host']}" if hosts and not told else ""
    return f"{in_words(outcome)}{where}"


def _node(part: Mapping[str, Any]) -> str:
    cores = part["cores"]
    return f"{part['host']}, core{'s' if len(cores) != 1 else ''} {numbers(cores)}"


def _tasks(array: Mapping[str, Any]) -> str:
    counted = ", ".join(f"{int(array[key])} {key}" for key in (*PARTS, "removed") if array[key])
    most = f", at most {int(array['at_most'])} at one time" if array["at_most"] is not None else ""
    removed = f" (removed by {array['removed_by']}" if array["removed"] and array.get("removed_by") else ""
    why = f": {array['removed_why']}" if removed and array.get("removed_why") else ""
    return f"{int(array['tasks'])}: {counted}{removed}{why}{')' if removed else ''}{most}"


def _requirement(row: Mapping[str, Any]) -> str:
    need = row["requirement"]
    n = int(row["n"])
    parts = [MODES.get(row["mode"], f"{row['mode']}, N {n}").format(n=n, s="" if n == 1 else "s")]
    if need["host"]:
        parts.append(f"host {need['host']}")
    parts += [f"{key} {','.join(need[key])}" for key in ("group", "notgroup") if need[key]]
    parts += [f"{key} {number(need[key])}" for key in ("min_cores", "min_mem", "threads") if need[key]]
    parts += ["X windows"] if need["X"] else []
    return f"{', '.join(parts)}; priority {row['priority']}"


def _attempts(attempts: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> Iterator[str]:
    """A line for each, if there was more than one."""
    if len(attempts) < 2:
        return
    yield "Attempts:"
    for one in attempts:
        is_last = one is attempts[-1]
        hosts = one["hosts"] or ([part["host"] for part in row["hosts"]] if is_last else [])
        where = f" on {', '.join(hosts[:MOST_NODES])}{', ...' if len(hosts) > MOST_NODES else ''}" if hosts else ""
        what = "started" if one["started_at"] is not None else "not started"
        line = f"  {int(one['attempt'])}: {stamp(one['granted_at'])}{where}, {what}"
        if one["over_at"] is not None:
            why = one["requeued_why"]
            if why is None and is_last and row["outcome"] is not None:
                why = ended(row["outcome"], row["hosts"])
            line += f", over {stamp(one['over_at'])}{': ' + why if why else ''}"
        yield line


def _failures(facts: Mapping[str, Any]) -> Iterator[str]:
    tasks = facts["failed_tasks"]
    if tasks:
        yield "Failed tasks:"
        yield from (f"  {int(facts['job']['id'])}.{int(one['task'])}: {in_words(one['outcome'])}" for one in tasks)
        more = int(facts["job"]["array"]["failed"]) - len(tasks)
        if more > 0:
            yield f"  and {more} more"


def _events(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    told = [event for event in events if event["kind"] not in UNSAID][-MOST_EVENTS:]
    if told:
        yield "Events:"
    for event in told:
        by = f" by {event['by']}" if event["by"] else ""
        why = f": {event['reason']}" if event["reason"] else ""
        yield f"  {stamp(event['at'])} {WHAT.get(event['kind'], event['kind'])}{by}{why}"


def stamp(at_s: float) -> str:
    return strftime("%Y-%m-%d %H:%M:%S", localtime(at_s))
