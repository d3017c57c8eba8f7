"""Was every promise kept? Looks at the listing, the marks, the outputs, the nodes and the logs."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.chaos.crowd import Crowd, Submitted
from bench.chaos.world import World

Row = dict[str, Any]
UNKNOWN_S = 0.5  # an end just before a crash may be on no disk yet


class Mark:
    """A line that an attempt has written: what, which job and attempt, where and when."""

    def __init__(self, line: str) -> None:
        self.what, number, attempt, self.host, at = line.split()
        self.id, self.attempt, self.at = int(number), int(attempt), float(at)


def marks_of(world: World, name: str) -> list[Mark]:
    with contextlib.suppress(FileNotFoundError):
        return [Mark(line) for line in (world.marks / name).read_text().splitlines()]
    return []


class Verdict:
    """broken: a sentence for each promise that was not kept; outcomes: how many of each kind."""

    def __init__(self, world: World, crowd: Crowd, rows: list[Row]) -> None:
        self.world, self.crowd, self.rows = world, crowd, rows
        self.broken: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.by_name: dict[str, list[Row]] = {}
        for row in rows:
            self.by_name.setdefault(row["name"], []).append(row)
        for each in crowd.submitted.values():
            self.broken += [f"{each.name}: {sentence}" for sentence in self.look_at(each)]
        visits = {f"f{visit.job.number}" for visit in crowd.plan.visits}
        for name in visits:
            marks = marks_of(world, name)
            if sum(mark.what == "start" for mark in marks) > 1 or len(self.by_name.get(name, [])) > 1:
                self.broken.append(f"{name}, in the foreground, ran twice")
        unknown = self.by_name.keys() - crowd.submitted.keys() - visits
        self.broken += [f"{name} was never submitted" for name in sorted(unknown)]
        self.ranks = len(list(world.marks.glob("*.ranks")))
        self.broken += self.shared_cores()
        self.broken += [f"odd: {each}" for each in [*crowd.odd, *world.server.odd]]
        self.broken += self.tracebacks()

    def look_at(self, each: Submitted) -> Iterator[str]:
        """What is wrong with one job."""
        rows, marks = self.by_name.get(each.name, []), marks_of(self.world, each.name)
        if not each.acknowledged and not rows:
            self.outcomes["not acknowledged, not there"] += 1
            if marks:
                yield "nobody knows it, but it ran"
            return
        if not rows:
            self.outcomes["LOST"] += 1
            yield f"it was acknowledged (id {each.id}), but it is not there"
            return
        if len(rows) > 1:
            yield f"it is there {len(rows)} times: {[row['id'] for row in rows]}"
        row = rows[0]
        if not each.may_exist:
            yield f"the client said that nothing was kept, but it is job {row['id']}"
        if each.id not in (None, row["id"]):
            yield f"its id was printed as {each.id}, and is {row['id']}"
        yield from self.look_at_end(each, row, marks)

    def look_at_end(self, each: Submitted, row: Row, marks: list[Mark]) -> Iterator[str]:
        starts = [mark for mark in marks if mark.what == "start"]
        ends = [mark for mark in marks if mark.what == "end"]
        outcome = row["outcome"] or {"kind": row["state"], "message": (row["reason"] or {}).get("text")}
        end = outcome["kind"], outcome.get("signal" if outcome["kind"] == "signalled" else "exit_status")
        tries = {mark.attempt for mark in starts} - {row["attempt"]}
        cut_short = {mark.attempt for mark in starts if self.was_cut_short(mark, ends)}
        once = len(starts) == len(tries) + 1 and tries <= cut_short
        ends = [mark for mark in ends if mark.attempt not in tries & cut_short]
        right = once and len(ends) == 1 and end == each.job.end
        if end[0] == "lost" and each.job.signal and self.crowd.plan.both and once and len(ends) == 1:
            self.outcomes["lost: by a signal when nobody could see it"] += 1  # no shell can write that down
            return
        known = "" if each.acknowledged else " (not acknowledged)"
        self.outcomes[("right" if right else "WRONG") + known] += 1
        if not once or len(ends) != 1:
            said = ", ".join(f"{mark.what} of {mark.id}.{mark.attempt} on {mark.host}" for mark in marks)
            yield f"job {row['id']} should have one start and one end, and has: {said or 'none'}"
        if end != each.job.end:
            yield f"job {row['id']} should have ended as {each.job.end}, and did as {end} ({outcome.get('message')})"
        if starts and starts[-1].attempt != row["attempt"]:
            yield f"job {row['id']} ran as attempt {starts[-1].attempt}, the queue says {row['attempt']}"
        later = each.output.with_name(f"{each.name}.yaml.{row['attempt']}.wqlog")
        path = later if later.exists() else each.output  # an earlier attempt may have written something
        output = path.read_text() if path.exists() else None
        if output != each.job.output:
            yield f"job {row['id']}: its output is not whole: {describe(output, each.job.output)}"

    def was_cut_short(self, start: Mark, ends: list[Mark]) -> bool:
        """The power of its node failed before this attempt had ended, or before anybody could know that it had."""
        over = min([mark.at for mark in ends if mark.attempt == start.attempt], default=float("inf"))
        return any(name == start.host and start.at < at < over + UNKNOWN_S for name, at in self.world.crashes)

    def shared_cores(self) -> Iterator[str]:
        """Two jobs that really were on one core at one time, by what they wrote down."""
        spans: dict[tuple[str, int], list[tuple[float, float, str]]] = {}
        for name, rows in self.by_name.items():
            times = {mark.what: mark.at for mark in marks_of(self.world, name)}
            if {"start", "end"} <= times.keys():
                for part in rows[0]["hosts"]:
                    for core in part["cores"]:
                        spans.setdefault((part["host"], core), []).append((times["start"], times["end"], name))
        for (host, core), held in spans.items():
            for one, other in itertools.pairwise(sorted(held)):
                if other[0] < one[1]:
                    yield f"{one[2]} and {other[2]} ran on core {core} of {host} at one time"

    def tracebacks(self) -> Iterator[str]:
        for name, log in self.world.logs().items():
            if "Traceback" in log.read_text(errors="replace"):
                yield f"a traceback in {name}"


def describe(found: str | None, wanted: str) -> str:
    """Where an output begins to differ."""
    if found is None:
        return "there is no file"
    at = next((n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted)))
    return f"{len(found)} characters instead of {len(wanted)}, they differ from {at} on: {found[at : at + 60]!r}"


def left_in_spools(world: World) -> list[str]:
    """Files of attempts on the nodes, when nothing runs any more."""
    return [
        f"left on a node: {name}/{file.name}"
        for name, spool in world.spools().items()
        for file in spool.glob("*")
        if file.suffix in (".out", ".sh", ".hosts")
    ]


def keep_evidence(world: World, where: Path, rows: list[Row], timeline: list[str]) -> None:
    """Copies everything that may explain what happened."""
    where.mkdir(parents=True, exist_ok=True)
    (where / "rows.json").write_text(json.dumps(rows, indent=1))
    (where / "timeline").write_text("\n".join(timeline) + "\n")
    for name, log in world.logs().items():
        with contextlib.suppress(OSError):
            (where / name.replace("/", "_")).write_bytes(log.read_bytes())
    marks = [f"{path.name}: {line}" for path in sorted(world.marks.iterdir()) for line in path.read_text().splitlines()]
    (where / "marks").write_text("\n".join(marks) + "\n")
    titles = [f"{each.pid} {each.title}" for each in world.processes()]
    (where / "processes").write_text("\n".join(titles) + "\n")
