"""What is true of a world: whether anybody still holds anything, how each job must have ended, what may be missing."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.sim.processes import Broken, SimClient
from wq.core import ranges
from wq.core.array import Array
from wq.core.job import AttemptNo, Job, OutcomeKind, State, lane_name
from wq.protocol import places

if TYPE_CHECKING:
    from tests.sim.node import Node, Place
    from tests.sim.world import Promise, World


def unfinished(world: World) -> list[str]:
    """What somebody still holds."""
    assert world.server.server is not None
    queue = world.server.server.queue
    live = [*queue.active.values(), *queue.queued.values(), *queue.held.values()]
    left = [f"job {job.key} is {job.state} on the server (attempt {job.attempt})" for job in live]
    left += [f"tasks {array.waiting} of {array.id} wait on the server" for array in queue.arrays.values()]
    for process in world.launchers.values():
        if process.launcher is not None and not process.dead:
            for entry in process.launcher.ledger.entries.values():
                left.append(f"launcher {process.uid} has {entry.att} {entry.phase}")
    for node in world.nodes.values():
        left += [f"{proc.kind} of {proc.att} runs on {node.host}" for proc in node.kernel.procs.values() if proc.att]
        for place in node.places.values():
            left += known_there(place)
    return left + [f"{att} runs on {host}" for host, att in world.running]


def known_there(place: Place) -> list[str]:
    """What the shepherd of a place has of attempts. (Ends of ranks have an age limit, and tombstones.)"""
    there = place.living_shepherd()
    attempts = there.shepherd.attempts.values() if there is not None and there.shepherd is not None else ()
    known = [a for a in attempts if a.state != "never" and ("/" not in a.att or a.state != "ended")]
    return [f"the shepherd of {place} knows {a.att} {a.state}" for a in known]


def left_behind(node: Node) -> list[str]:
    """Processes, of wq too, and files of spools."""
    left = [f"{proc.kind} {proc.att} runs on {node.host}" for proc in node.kernel.procs.values()]
    for place in node.places.values():
        left += [f"{name} lies in the spool of {place}" for name in place.disk.files]
    return left


def power_cut(world: World, node: Node) -> None:
    """Before a node goes down: which ends and outputs nobody can know afterwards."""
    here = {att for att, host in world.where.items() if host == node.host}
    safe: set[str] = set()
    for place in node.places.values():
        journal = place.disk.files.get("journal")
        if journal is not None and journal.safe is not None and not place.disk.in_memory:
            for line in journal.safe[: journal.safe.rfind(b"\n") + 1].splitlines():
                record = json.loads(line)
                if record["r"] == "exit":
                    safe.add(record["att"])
    world.forgotten |= here - safe
    world.mute |= here
    # What had a process there is taken for cut off, also if its first process has just ended elsewhere.
    maybe_there = {att for _, host, att in world.mail.starts if host == node.host}
    world.forgotten |= {att.split("/")[0] for att in here | maybe_there if "/" in att}
    server = world.server.server
    for job in server.queue.active.values() if server is not None else ():
        if job.allocation is not None and node.host in job.allocation.hosts[1:]:
            # A call for a process there comes too late.
            world.forgotten.add(lane_name(job.id, job.task, job.attempt))


def check_told(world: World, client: SimClient, outcome: dict[str, Any]) -> None:
    """A client that waited is told the truth, and has all of the output."""
    program = world.programs[client.names[0]]
    if outcome["kind"] != "exited":
        return
    promised = next(p for p in world.promises.values() if p.name == program.name)
    att = [att for att in world.ends if att.startswith(f"{promised.id}.")][-1]
    whole = all(client.output[channel] == program.output(att, channel) for channel in (1, 2))
    if not whole and att not in world.mute:
        raise Broken(f"the client of {att} got {len(client.output[1])} bytes of its output")
    if outcome["exit_status"] != program.exit_status:
        raise Broken(f"the client of {att} was told {outcome}")


def check_ends(world: World) -> None:
    """Every job that was accepted is done, once, and its outcome is the truth."""
    assert world.server.server is not None
    store = world.server.server.store
    done = {job.id: job for job in store.finished(ids=None, since_s=-1e12)}
    arrays = {array.id: array for array in store.finished_arrays(ids=None, since_s=-1e12)}
    for promise in world.promises.values():
        job, array = done.get(promise.id), arrays.get(promise.id)
        if promise.tasks and array is not None:
            check_tasks(world, promise, array, store.tasks_of(array, "1"))
        elif job is not None:
            check_end(world, promise, job)
        else:
            raise Broken(f"job {promise.id} was accepted and is lost")
    everything: list[Job | Array] = [*done.values(), *arrays.values()]
    names = Counter(one.spec.name for one in everything)
    if names and max(names.values()) > 1:
        raise Broken(f"one submission became more than one job: {names.most_common(1)}")
    lost = world.kept - set(names) - told_as_refused(world)
    if lost:
        raise Broken(f"kept while the server was away, and lost: {sorted(lost)}")
    for one in everything:
        ran = [att for att in world.began_once if att.startswith((f"{one.id}.", f"{one.id}_"))]
        if one.spec.name in world.refused and one.id not in world.promises and ran:
            raise Broken(f"the client of {one.spec.name} was told that nothing was kept, and it ran: {ran}")
        shadow: Job | Array = world.shadow.jobs[one.id] if isinstance(one, Job) else world.shadow.arrays[one.id]
        if one != shadow:
            raise Broken(f"the row of {one.id} is {one}, its events add up to {shadow}")
    alone = "kind = 'ArrayEnded' OR (kind = 'Ended' AND job IN (SELECT id FROM jobs))"  # (of tasks, rows have many)
    ends = store.db.execute(f"SELECT job, count(*) FROM events WHERE {alone} GROUP BY job").fetchall()
    if any(count != 1 for _, count in ends):
        raise Broken(f"ended more than once: {ends}")
    for client in world.clients:
        if not client.left and not client.process.dead and client.names[0] in world.foreground:
            raise Broken(f"the client of {client.names[0]} still waits")


def told_as_refused(world: World) -> set[str]:
    """The names of jobs of which the next command of their user says that the server did not want them."""
    files = [world.place / str(uid) / places.NEWS for uid in world.launchers]
    return {word for file in files if file.exists() for word in re.findall(r"j\d+", file.read_text("utf-8"))}


def check_tasks(world: World, promise: Promise, array: Array, tasks: list[Job]) -> None:
    """An array: each of its tasks has come to its end, or was removed before it had begun."""
    assert array.over
    removed = {array.tasks.number(place) for place in ranges.numbers(array.removed)}
    over = {task.task for task in tasks if task.task is not None}
    if removed | over != set(promise.tasks) or removed & over:
        raise Broken(f"array {array.id} has {promise.tasks}, removed are {removed}, over {sorted(over)}")
    for number in removed:
        if not {promise.name, f"{promise.name}_{number}"} & world.unwanted:
            raise Broken(f"task {number} of {array.id} was removed by nobody")
        if any(att.startswith(f"{array.id}_{number}.") for att in world.began_once):
            raise Broken(f"task {number} of {array.id} ran, and was removed as one that never did")
    for task in tasks:
        check_end(world, promise, task)


def check_end(world: World, promise: Promise, job: Job) -> None:
    """One job or task: its outcome is how its attempt really ended, and nobody has ended it without a reason."""
    name = promise.name if job.task is None else f"{promise.name}_{job.task}"
    begins = lane_name(job.id, job.task, AttemptNo(0)).removesuffix("0")
    atts = {att: end for att, end in world.ends.items() if att.startswith(begins)}
    whole = [att for att, end in atts.items() if "exit" in end and att not in world.forgotten | world.unheard]
    declared = job.key in world.declared_lost
    if len(whole) > 1 and not declared:  # (the owner's word may overtake a true end)
        raise Broken(f"job {job.key} ran to its end more than once: {whole}")
    assert job.state is State.DONE
    assert job.outcome is not None
    kind, told = job.outcome.kind, f"the outcome of job {job.key} is {job.outcome}, the truth is {atts}"
    wanted_gone = bool({promise.name, name} & world.unwanted) or promise.foreground or declared
    if kind is OutcomeKind.EXITED:
        true = [att for att, end in atts.items() if end == {"exit": job.outcome.exit_status}]
        if not true or not set(whole) <= set(true):
            raise Broken(told)
        if not promise.foreground and not set(true) & world.forgotten:
            check_output(world, promise, job.task, true[0])
    elif kind is OutcomeKind.LOST:
        cut = any("cut" in end for end in atts.values())
        excused = (
            declared
            or "declared its node lost" in (job.outcome.message or "")
            or cut
            or bool(set(atts) & (world.unheard | world.forgotten))
        )
        if promise.foreground and "no longer knows it" in (job.outcome.message or ""):
            excused = True  # its client went with the launcher
        if not excused and not (world.reboots and "rebooted" in (job.outcome.message or "")):
            raise Broken(told)
    elif kind is OutcomeKind.TIME_LIMIT:
        possible = [{"exit": job.outcome.exit_status}, {"signal": job.outcome.signal}]
        if promise.name not in world.limited or not any(end in possible for end in atts.values()):
            raise Broken(told)
    elif kind is OutcomeKind.REMOVED:
        if not wanted_gone:
            raise Broken(f"job {job.key} was removed by nobody: {job.outcome}")
    elif kind is OutcomeKind.SIGNALLED:
        # (Without any: it was ended at its gate, before it became the program.)
        if not wanted_gone or (atts and {"signal": job.outcome.signal} not in atts.values()):
            raise Broken(told)
    elif not world.spoilt:  # FAILED: it could not be started
        raise Broken(told)


def check_output(world: World, promise: Promise, task: int | None, att: str) -> None:
    """The output of the attempt that counts is on the submitting host, all of it."""
    assert promise.output is not None
    if att in world.mute:
        return
    program = world.program(promise.name, None if task is None else str(task))
    output, number = promise.output.replace("%task%", str(task)), att.split(".")[1]
    renamed = f"{output.removesuffix('.wqlog')}.{number}.wqlog"
    found = [Path(path).read_bytes() for path in (output, renamed) if Path(path).exists()]
    if program.output(att, 1) not in found:
        raise Broken(f"the output of {att} is not what it wrote: {[len(text) for text in found]} bytes")
