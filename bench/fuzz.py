"""A million frames of nonsense against a living server: `python -m bench.fuzz --frames 1000000 --seed 1`.

Three users: one serves (not root); one has a job that runs, one that waits and an array; the third sends what is nearly
right (tests/fuzz), as a client and as a launcher, in pieces of any size, with half frames, and ever new connections. A
frame counts when the server has answered it, or what came after it on that connection.

At the end the server must be the same process, its log without a trace of an error, the job of the other user the
same process too, and the queue as it was; else the exit status is 1.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import socket
import statistics
import sys
import time
from collections import Counter
from multiprocessing.connection import Connection
from random import Random
from typing import Any

from bench import measure
from bench.measure import BenchQueue, Failed, Row, Site, say
from tests.e2e import rig
from tests.fuzz.mutate import TOKENS, bodies, framed, in_pieces, mutated, said
from tests.fuzz.targets import corpus
from wq.protocol import messages, places
from wq.protocol.messages import FROM_CLIENTS, FROM_LAUNCHERS
from wq.protocol.wire import PROTOCOL, WireError

SENDERS = 3
MOST_WORDS = 60  # on one connection
ANSWER_S = 120.0  # that long the server may take for what waits of this user
CLEAN_EVERY = 60  # connections: then its jobs are removed
MORE_RSS_MB = 300.0
SLOWER_S = 0.5
MARK = 424242
FORK = multiprocessing.get_context("fork")


class Sender:
    """One process of the third user. What it has done is in counts."""

    def __init__(self, path: str, rng: Random) -> None:
        self.path, self.rng = path, rng
        self.counts: Counter[str] = Counter()
        self.numbers = [1, 2, 3]
        self.words = [data for name, data in corpus("words").items() if not name.startswith("trouble-")]
        self.objects = {
            kind: [word for word in map(json.loads, self.words) if word["type"] == kind] for kind in FROM_LAUNCHERS
        }
        self.streams = [body for data in corpus("server").values() for body in bodies(data)]
        self.halves: list[socket.socket] = []

    def connection(self) -> None:
        """From the first byte to the last of one connection."""
        rng, counts = self.rng, self.counts
        role = rng.choice(("client", "launcher"))
        known = FROM_LAUNCHERS if role == "launcher" else FROM_CLIENTS
        hello = json.dumps({"type": "hello", "version": PROTOCOL, "role": role}).encode()
        counts["connections"] += 1
        if not rng.randrange(15):
            some = [mutated(hello, rng, self.streams) or b"x"]
            ends = not is_hello(some[0])
        else:
            some, ends = self.some(known)
            some.insert(0, hello)
        if counts["connections"] % CLEAN_EVERY == 1:
            here, gone = b'{"type":"launcher_here"}', b'{"type":"remove","all":true,"grace_s":0}'
            some, ends = [hello.replace(b"client", b"launcher"), here, gone], False
        data = b"".join(map(framed, some))
        rude = not rng.randrange(10)
        if not rude and not ends:
            data += framed(json.dumps({"type": "stat", "seq": MARK}).encode())
        if rude:
            data = data[: rng.randrange(len(data) + 1)] + rng.choice(
                (b"", b"\0", b"\0\x0f\xff\xff{", b"\xff\xff\xff\xff", b"\0" * 4)
            )
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self.path)
            sock.settimeout(ANSWER_S)
            for piece in in_pieces(data, rng):
                sock.sendall(piece)
            counts["sent"] += len(some)
            counts["bytes"] += len(data)
            if rude:
                counts["left in the middle"] += 1
                self.leave(sock)
            elif self.answered(sock):
                counts["frames"] += len(some)
            else:
                counts["closed before the answer"] += 1
        except TimeoutError:
            counts["not answered in time"] += 1
        except OSError:
            counts["closed before the answer"] += 1
        if not rude:
            sock.close()

    def some(self, known: dict[str, type]) -> tuple[list[bytes], bool]:
        """The bodies for one connection, and whether the server ends it at the last of them."""
        found: list[bytes] = []
        for _ in range(self.rng.randrange(1, MOST_WORDS)):
            for _ in range(self.rng.choice((1, 4, 4, 4))):
                body = self.body(known)
                if is_word(body, known):
                    break
            found.append(body)
            if not is_word(body, known):
                return found, True
        return found, False

    def body(self, known: dict[str, type]) -> bytes:
        rng = self.rng
        what = rng.randrange(20)
        if what == 0:
            return rng.choice(TOKENS) or b"x"
        if what <= 2:
            return mutated(rng.choice(self.words), rng, self.streams) or b"x"
        kinds = [kind for kind in known if kind != "hello" and (kind != "launcher_here" or not rng.randrange(4))]
        return said(rng.choice(self.objects[rng.choice(kinds)]), rng, self.numbers)

    def leave(self, sock: socket.socket) -> None:
        """In the middle of a word: at once, or much later."""
        self.halves.append(sock)
        while len(self.halves) > 20 or (self.halves and self.rng.randrange(2)):
            self.halves.pop(0).close()

    def answered(self, sock: socket.socket) -> bool:
        """Whether the last of what was said has its answer, which may be that it is not understood."""
        buffer = bytearray()
        refused = False
        while data := sock.recv(1 << 18):
            buffer += data
            while len(buffer) >= 4 and len(buffer) >= (end := 4 + int.from_bytes(buffer[:4], "big")):
                body = bytes(buffer[4:end])
                del buffer[:end]
                self.counts["replies"] += 1
                if len(body) < 4096:
                    word = json.loads(body)
                    if word.get("seq") == MARK:
                        return True
                    refused = "error" in word and "seq" not in word
                    facts = word.get("ok")
                    if isinstance(facts, dict) and isinstance(facts.get("ids"), list):
                        self.numbers = [*self.numbers, *facts["ids"]][-20:]
        return refused


def is_hello(body: bytes) -> bool:
    """Whether the server takes it for one."""
    try:
        word, _ = messages.decode_word(body, {"hello": messages.Hello})
    except WireError:
        return False
    return word.version == PROTOCOL and word.role in ("client", "launcher")


def is_word(body: bytes, known: dict[str, type]) -> bool:
    """Whether the server goes on after it."""
    try:
        word, _ = messages.decode_word(body, known)
    except WireError:
        return False
    return not isinstance(word, messages.Hello) and len(body) <= 1 << 20


def send(user: rig.User, path: str, seed: str, frames: int, progress: Connection) -> None:
    """The life of one process that sends."""
    os.initgroups(user.name, user.gid)
    os.setgid(user.gid)
    os.setuid(user.uid)
    sender = Sender(path, Random(seed))
    told = 0.0
    while sender.counts["frames"] < frames and not sender.counts["not answered in time"]:
        sender.connection()
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            progress.send(sender.counts)
    progress.send(sender.counts)
    progress.close()


def under_fire(site: Site, path: str, attacker: rig.User, innocent: rig.User, args: Any) -> tuple[Row, list[float]]:
    """(what was sent, how long the innocent one waited for `wq ls` meanwhile)."""
    ends = []
    for number in range(SENDERS):
        mine, its = FORK.Pipe(duplex=False)
        share = -(-args.frames // SENDERS)
        process = FORK.Process(target=send, args=(attacker, path, f"{args.seed} {number}", share, its), daemon=True)
        process.start()
        its.close()
        ends.append(mine)
    latest: dict[Connection, Counter[str]] = {}
    waits: list[float] = []
    began = looked = time.monotonic()
    step = 0
    while ends:
        for end in select.select(ends, [], [], 1.0)[0]:
            try:
                latest[end] = end.recv()
            except EOFError:
                ends.remove(end)
        total: Counter[str] = sum(latest.values(), Counter())
        line = f"{total['frames']:,} of {args.frames:,} frames, {total['frames'] / (time.monotonic() - began):,.0f}/s"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{line}   ")
        elif total["frames"] * 10 // args.frames > step:
            step = total["frames"] * 10 // args.frames
            sys.stderr.write(f"{line}\n")
        if time.monotonic() - looked > 2.0:
            looked = time.monotonic()
            waits.append(site.time([site.wq, "ls"], user=innocent))
    return {**total, "seconds": time.monotonic() - began}, waits


def picture(queue: BenchQueue, without: rig.User) -> Row:
    """All that the others have in the queue, its nodes, their limits."""
    rows = [row for row in queue.ls("-f") if row["user"] != without.name]
    users = json.loads(queue.wq(queue.owner, "users", "--json").stdout)
    keys = ("id", "user", "name", "state", "command", "attempt", "hosts", "started_s", "outcome", "array", "tasks")
    return {
        "jobs": sorted([{key: row.get(key) for key in keys} for row in rows], key=lambda row: row["id"]),
        "nodes": {host: (row["state"], row["reason"], row["ncores"]) for host, row in queue.nodes().items()},
        "limits": {row["user"]: row["limits"] for row in users if row["user"] != without.name},
    }


def latency(site: Site, user: rig.User) -> float:
    return statistics.median(site.time([site.wq, "ls"], user=user) for _ in range(11))


def clean(queue: BenchQueue, attacker: rig.User) -> None:
    """Nothing of the third user's is left: his own removal, and the owner's word for what no launcher of his ended."""
    for lost in ([], ["--lost"], ["--lost"]):
        left = [row for row in queue.ls() if row["user"] == attacker.name]
        for at in range(0, len(left), 200):
            queue.wq(
                queue.owner, "rm", *lost, "--grace", "0", *[str(row["id"]) for row in left[at : at + 200]], status=None
            )


def log_trouble(queue: BenchQueue) -> list[str]:
    """Lines of the server's log that tell of a bug."""
    logs = list(queue.owner.home.glob(f".local/state/wq/*/*-{queue.port}/*.log"))
    if not logs:
        raise Failed("the server has no log")
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    return [line for line in lines if "Traceback" in line or "Error" in line or "exception" in line.lower()]


def main() -> int:
    parser = measure.arguments("fuzz", __doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.frames //= 10 if args.small else 1
    if not args.json:
        say(f"bench.fuzz: {measure.machine()}", "")
    with Site() as site:
        queue, attacker, innocent = site.attacked()
        job = queue.batch(innocent, "exec sleep 1000000")
        queue.wait_for_state(job, "running")
        queue.wait_for_end(queue.batch(innocent, "true"))
        queue.batch(innocent, "exec sleep 1000000", "N: 4; job_name: waits")
        words = ["sub", "-b", "-q", "-r", "N: 4", "--array", "0-99", "-c", "exec sleep 1000000"]
        queue.wq(innocent, *words, cwd=queue.directory(innocent))
        queue.wq(attacker, "ls")
        running = queue.job_processes()
        before = picture(queue, attacker)
        pids = (queue.server_pid, queue.launcher_pid(innocent))
        rss_mb, wait_s = measure.memory_mb(pids[0])[0], latency(site, innocent)

        sent, waits = under_fire(site, places.server_socket(queue.owner.uid, queue.port), attacker, innocent, args)

        alive = queue.server_pid == pids[0]
        rss_after_mb = measure.memory_mb(queue.server_pid)[0]
        clean(queue, attacker)
        wait_after_s, after = latency(site, innocent), picture(queue, attacker)
        trouble = log_trouble(queue)
        unharmed = set(running) <= set(queue.job_processes()) and queue.launcher_pid(innocent) == pids[1]
        queue.wait_for_end(queue.batch(innocent, "true"))
        queue.reset()
    checks = {
        "all frames taken": sent["frames"] >= args.frames and not sent.get("not answered in time"),
        "same server process": alive,
        "nothing in its log": not trouble,
        "the other user's job runs unharmed": unharmed,
        "the queue is as it was": before == after,
        "memory": rss_after_mb < rss_mb + MORE_RSS_MB,
        "latency afterwards": wait_after_s < wait_s + SLOWER_S,
    }
    figures = {
        "frames": sent["frames"],
        "sent in all": sent["sent"],
        "connections": sent["connections"],
        "left in the middle": sent["left in the middle"],
        "closed before the answer": sent.get("closed before the answer", 0),
        "frames/s": round(sent["frames"] / sent["seconds"]),
        "MB sent": round(sent["bytes"] / 1e6),
        "replies": sent["replies"],
        "server pid before, after": [pids[0], queue_pid(alive, pids[0])],
        "its memory before, after (MB)": [round(rss_mb), round(rss_after_mb)],
        "wq ls of another before, meanwhile (median, worst), after (ms)": [
            round(value * 1000)
            for value in (wait_s, statistics.median(waits or [0.0]), max(waits or [0.0]), wait_after_s)
        ],
    }
    if args.json:
        say(json.dumps({"figures": figures, "checks": checks, "log": trouble[:20]}, indent=1))
    else:
        shown = {**figures, **{check: "yes" if good else "NO" for check, good in checks.items()}}
        say(*measure.grid(["seed " + str(args.seed), ""], [[name, number(value)] for name, value in shown.items()]))
        say(*trouble[:20], *([f"before: {before}", f"after: {after}"] if before != after else []))
    return 0 if all(checks.values()) else 1


def queue_pid(alive: bool, pid: int | None) -> object:
    return pid if alive else "another"


def number(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench.fuzz: {error}")
