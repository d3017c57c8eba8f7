"""What the users do meanwhile: they submit, and look at the queue again and again, as people do."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.chaos.plan import Call, Job, Plan, Visit
from bench.chaos.world import World
from tests.e2e.rig import User, popen_as, run_as

COMMAND_TIMEOUT_S = 120.0
TRIES = 60
AWAY = 75
PIPE_BROKEN = 128 + 13  # a foreground job writes into pipes of its shepherd, which end with it
UNSURE = "went away before it answered"  # then the client cannot know


@dataclasses.dataclass(slots=True, kw_only=True)
class Submitted:
    """One job as it was submitted, under a name of its own.

    acknowledged: the client said that it has it; id: as printed (a job that is kept while the server is away has none
    yet); may_exist: the client did not say that nothing was kept.
    """

    name: str
    job: Job
    user: User
    output: Path
    acknowledged: bool = False
    id: int | None = None
    may_exist: bool = True


class Crowd:
    """Both users. Everything that was ever submitted is in `submitted`, by name."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world, self.plan = world, plan
        self.submitted: dict[str, Submitted] = {}
        self.answers: Counter[str] = Counter()
        self.odd: list[str] = []
        self.quiet = threading.Event()  # no more looking
        self.began = time.monotonic()
        self.directories = {
            (user.name, apart): self._directory(user, apart) for user in world.users for apart in (False, True)
        }

    def _directory(self, user: User, apart: bool) -> Path:
        return self.world.apart if apart else self.world.queue.directory(user)

    # ---- submissions

    def submit_all(self) -> None:
        """Each call at its time, again under other names if it fails."""
        for call in self.plan.calls:
            time.sleep(max(0.0, self.began + call.at_s - time.monotonic()))
            for again in range(TRIES):
                if self.submit(call, again):
                    break
                time.sleep(0.5)
            else:
                self.odd.append(f"no submission in {TRIES} tries")

    def submit(self, call: Call, again: int) -> bool:
        """True if the client said that it has them."""
        user = self.world.users[call.user]
        jobs = [self.plan.jobs[number - 1] for number in call.numbers]
        made = [self.write(user, job, again) for job in jobs]
        self.submitted |= {each.name: each for each in made}
        words = ["wq", "sub", "-b", "-q" if call.quiet else "--json", *(f"{each.name}.yaml" for each in made)]
        cwd = self.directories[user.name, jobs[0].apart]
        process = popen_as(user, words, cwd=cwd, env=self.world.queue.env(), at=self.world.queue.at)
        killed = call.killed_after_s if again == 0 else None
        try:
            out, err = process.communicate(timeout=COMMAND_TIMEOUT_S if killed is None else killed)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            if killed is None:
                self.odd.append(f"hung for {COMMAND_TIMEOUT_S:.0f} s: {' '.join(map(str, words))}")
            else:
                self.world.note("killed a client while it submitted")
        status = process.returncode
        if status == 0:
            self.accepted(made, out.decode(), call.quiet)
            return True
        self.heard("sub", status, err.decode())
        self.world.note(f"sub: exit {status}: {err.decode().strip()}")
        if status == AWAY and call.quiet and UNSURE not in err.decode():
            for each in made:
                each.may_exist = False  # -q promises that
        return False

    def write(self, user: User, job: Job, again: int) -> Submitted:
        """The job file."""
        name = f"c{job.number}" + (f"-{again}" if again else "")
        directory = self.directories[user.name, job.apart]
        text = {"command": job.script(self.world.marks / name), "job_name": name, "N": job.ncores}
        user.write(directory / f"{name}.yaml", json.dumps(text))
        return Submitted(name=name, job=job, user=user, output=directory / f"{name}.yaml.wqlog")

    def accepted(self, made: list[Submitted], out: str, quiet: bool) -> None:
        ids = [int(word) for word in out.split()] if quiet else [row["id"] for row in json.loads(out)]
        for each, number in zip(made, ids, strict=True):
            each.id, each.acknowledged = number, True
        self.answers["sub: accepted" + (", the server is away" if None in ids else "")] += 1

    def heard(self, verb: str, status: int, err: str) -> None:
        """An answer that is not `ok`: fine, if it is one clear line and says that somebody is away."""
        lines = [line for line in err.splitlines() if "first contact" not in line]
        self.answers[f"{verb}: exit {status}"] += 1
        if "Traceback" in err or status not in (AWAY, -9) or (status == AWAY and len(lines) != 1):
            self.odd.append(f"wq {verb}: exit {status}: {err.strip()}")

    # ---- foreground jobs

    def visit(self) -> None:
        """One foreground job after the other. It belongs to its client; what the client says must be true."""
        for number, visit in enumerate(self.plan.visits):
            if self.quiet.is_set():
                return
            self.visit_once(visit, self.world.users[number % 2])

    def visit_once(self, visit: Visit, user: User) -> None:
        name, job = f"f{visit.job.number}", visit.job
        words = ["wq", "sub", "-r", f"job_name: {name}; priority: high", "-c", job.script(self.world.marks / name)]
        queue = self.world.queue
        process = popen_as(user, words, cwd=self.directories[user.name, False], env=queue.env(), at=queue.at)
        try:
            out, err = process.communicate(timeout=visit.killed_after_s or COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.answers["foreground: client killed"] += 1
            if visit.killed_after_s is None:
                self.odd.append(f"foreground {name} hung for {COMMAND_TIMEOUT_S:.0f} s")
            return
        if process.returncode == job.status:
            self.answers["foreground: its own end"] += 1
            if out.decode() != job.output:  # it lay in the memory of a shepherd, or of a node: that must be said
                self.answers["foreground: part of the output lost"] += 1
                if "lost" not in err.decode():
                    self.odd.append(f"foreground {name}: not its whole output, and nothing was said: {err.decode()!r}")
        elif not self.quiet.is_set():
            self.answers[f"foreground: exit {process.returncode}"] += 1
            self.world.note(f"foreground {name}: exit {process.returncode}: {err.decode().strip()}")
            if "Traceback" in err.decode() or not (err or process.returncode == PIPE_BROKEN):
                self.odd.append(f"foreground {name}: exit {process.returncode}: {err.decode().strip()}")

    # ---- looking

    def look(self, user: User, seed: int) -> None:
        """`wq ls` every now and then: it also brings the user's launcher back. No core may be shown twice."""
        rng = random.Random(seed)
        while not self.quiet.is_set():
            self.look_once(user)
            self.quiet.wait(rng.uniform(0.2, 1.2))

    def look_once(self, user: User, *words: str) -> list[dict[str, Any]] | None:
        argv = ["wq", "ls", "--json", *words]
        queue = self.world.queue
        try:
            done = run_as(user, argv, env=queue.env(), at=queue.at, timeout_s=COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.odd.append(f"wq ls hung for {COMMAND_TIMEOUT_S:.0f} s")
            return None
        if done.returncode != 0:
            self.heard("ls", done.returncode, done.stderr)
            return None
        self.answers["ls: ok"] += 1
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        held = Counter(
            (part["host"], core)
            for row in rows
            if row["state"] in ("starting", "running", "stopping")
            for part in row["hosts"]
            for core in part["cores"]
        )
        self.odd += [f"{core} is held by {number} jobs" for core, number in held.items() if number > 1]
        return rows
