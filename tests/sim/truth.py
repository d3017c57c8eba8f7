"""What is true of a world: whether anybody still holds anything, how each job must have ended, what may be missing."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.sim.processes import Broken, SimClient
from wq.core.job import Job, OutcomeKind, State
from wq.protocol import places

if TYPE_CHECKING:
    from tests.sim.node import Node, Place
    from tests.sim.world import Promise, World


def unfinished(world: World) -> list[str]:
    """What somebody still holds."""
    assert world.server.server is not None
    queue = world.server.server.queue
    live = [*queue.active.values(), *queue.queued.values(), *queue.held.values()]
    left = [f"job {job.id} is {job.state} on the server (attempt {job.attempt})" for job in live]
    for process in world.launchers.values():
        if process.launcher is not None and not process.dead:
            for entry in process.launcher.ledger.entries.values():
                left.append(f"launcher {process.uid} has {entry.id} {entry.phase} attempt {entry.attempt}")
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
            world.forgotten.add(f"{job.id}.{job.attempt}")  # a call for a process there comes too late


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
    for promise in world.promises.values():
        job = done.get(promise.id)
        if job is None:
            raise Broken(f"job {promise.id} was accepted and is lost")
        check_end(world, promise, job)
    names = Counter(job.spec.name for job in done.values())
    if names and max(names.values()) > 1:
        raise Broken(f"one submission became more than one job: {names.most_common(1)}")
    lost = world.kept - set(names) - told_as_refused(world)
    if lost:
        raise Broken(f"kept while the server was away, and lost: {sorted(lost)}")
    for job in done.values():
        ran = [att for att in world.began_once if att.startswith(f"{job.id}.")]
        if job.spec.name in world.refused and job.id not in world.promises and ran:
            raise Broken(f"the client of {job.spec.name} was told that nothing was kept, and it ran: {ran}")
        if job != world.shadow.jobs[job.id]:
            raise Broken(f"the row of {job.id} is {job}, its events add up to {world.shadow.jobs[job.id]}")
    ends = store.db.execute("SELECT job, count(*) FROM events WHERE kind = 'Ended' GROUP BY job").fetchall()
    if any(count != 1 for _, count in ends):
        raise Broken(f"ended more than once: {ends}")
    for client in world.clients:
        if not client.left and not client.process.dead and client.names[0] in world.foreground:
            raise Broken(f"the client of {client.names[0]} still waits")


def told_as_refused(world: World) -> set[str]:
    """The names of jobs of which the next command of their user says that the server did not want them."""
    files = [world.place / str(uid) / places.NEWS for uid in world.launchers]
    return {word for file in files if file.exists() for word in re.findall(r"j\d+", file.read_text("utf-8"))}


def check_end(world: World, promise: Promise, job: Job) -> None:
    """One job: its outcome is how its attempt really ended, and nobody has ended it without a reason."""
    atts = {att: end for att, end in world.ends.items() if att.startswith(f"{job.id}.")}
    whole = [att for att, end in atts.items() if "exit" in end and att not in world.forgotten | world.unheard]
    declared = job.id in world.declared_lost
    if len(whole) > 1 and not declared:  # (the owner's word may overtake a true end)
        raise Broken(f"job {job.id} ran to its end more than once: {whole}")
    assert job.state is State.DONE
    assert job.outcome is not None
    kind, told = job.outcome.kind, f"the outcome of job {job.id} is {job.outcome}, the truth is {atts}"
    wanted_gone = promise.name in world.unwanted or promise.foreground or declared
    if kind is OutcomeKind.EXITED:
        true = [att for att, end in atts.items() if end == {"exit": job.outcome.exit_status}]
        if not true or not set(whole) <= set(true):
            raise Broken(told)
        if not promise.foreground and not set(true) & world.forgotten:
            check_output(world, promise, true[0])
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
    elif kind is OutcomeKind.REMOVED:
        if not wanted_gone:
            raise Broken(f"job {job.id} was removed by nobody: {job.outcome}")
    elif kind is OutcomeKind.SIGNALLED:
        # (Without any: it was ended at its gate, before it became the program.)
        if not wanted_gone or (atts and {"signal": job.outcome.signal} not in atts.values()):
            raise Broken(told)
    elif not world.spoilt:  # FAILED: it could not be started
        raise Broken(told)


def check_output(world: World, promise: Promise, att: str) -> None:
    """The output of the attempt that counts is on the submitting host, all of it."""
    assert promise.output is not None
    if att in world.mute:
        return
    program = world.programs[promise.name]
    number = att.split(".")[1]
    renamed = f"{promise.output.removesuffix('.wqlog')}.{number}.wqlog"
    found = [Path(path).read_bytes() for path in (promise.output, renamed) if Path(path).exists()]
    if program.output(att, 1) not in found:
        raise Broken(f"the output of {att} is not what it wrote: {[len(text) for text in found]} bytes")
