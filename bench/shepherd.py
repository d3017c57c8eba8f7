"""What a task costs on a node: `python -m bench.shepherd`. Wall times of no-op tasks, two at a time, as ratios.

In turn, so that all see the same machine: xargs -P2; a bare loop of posix_spawn, without and with an output file for
each task; and a real shepherd that is fed ahead over a pipe, as a launcher does it, but without launcher and server.
Medians of the ratios to xargs, round by round. Directories are only removed in the end: file systems are slow at
making files soon after many were removed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from wq.launcher.link import BOOT, SOURCE
from wq.node import shepherd

NUMBERS = count()
Word = dict[str, Any]
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC


def with_xargs(program: str, count: int, slots: int) -> None:
    subprocess.run(f"seq {count} | xargs -P{slots} -n1 {program}", shell=True, check=True)


def bare(program: str, count: int, slots: int, outputs: Path | None) -> None:
    """Nothing but spawn and wait."""
    null = os.open("/dev/null", os.O_RDWR)
    started = running = 0
    while started < count or running:
        while started < count and running < slots:
            out = null if outputs is None else os.open(outputs / str(started), FLAGS, 0o644)
            files = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate((null, out, out))]
            os.posix_spawn(program, [program], os.environ, file_actions=files, setsid=True)
            if outputs is not None:
                os.close(out)
            started, running = started + 1, running + 1
        os.wait()
        running -= 1
    os.close(null)


class Fed:
    """A shepherd that always has so many tasks ahead in each lane; what has ended is acknowledged."""

    def __init__(self, program: str, ahead: int, slots: int, *, shared: bool) -> None:
        self.program, self.ahead, self.slots, self.shared = program, ahead, slots, shared
        self.key = f"bench{os.getpid()}-{next(NUMBERS)}@here"
        boot = BOOT.format(size=len(SOURCE), key=self.key)
        argv = [sys.executable, "-I", "-S", "-c", boot]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        write_all(self.input.fileno(), SOURCE)
        seen = b""
        while shepherd.GREETING not in seen:
            seen += os.read(self.output.fileno(), 65536)
        self.frames: Any = shepherd.Frames()  # type: ignore[no-untyped-call]
        self.frames.feed(seen.partition(b"\n" + shepherd.GREETING)[2])  # type: ignore[no-untyped-call]
        self.round = 0

    def send(self, word: Word) -> None:
        write_all(self.input.fileno(), shepherd.pack(word))  # type: ignore[no-untyped-call]

    def run(self, count: int, outputs: Path) -> None:
        self.round += 1
        self.outputs = outputs
        name = f"t{self.round}"
        self.send({"do": "template", "name": name, "spec": self.spec()})
        lanes = dict.fromkeys(range(self.slots), 0)
        lane_of: dict[str, int] = {}
        sent = ended = 0
        while ended < count:
            for lane, waiting in lanes.items():
                number = min(self.ahead - waiting, count - sent)
                if number > 0 and waiting <= self.ahead // 2:
                    atts = [f"{self.round}_{sent + index}.1" for index in range(number)]
                    self.batch(lane, name, atts)
                    lane_of.update(dict.fromkeys(atts, lane))
                    lanes[lane], sent = waiting + number, sent + number
            for word in self.frames.feed(os.read(self.output.fileno(), 1 << 18)):
                if isinstance(word, tuple) or word["say"] != "tasks":
                    continue
                over = [att for att, _, _, _ in word["ended"]]
                assert all(end["exit"] == 0 for _, end, _, _ in word["ended"])
                assert not word["never"]
                for att in over:
                    lanes[lane_of[att]] -= 1
                ended += len(over)
                self.send({"do": "acks", "atts": over})

    def spec(self) -> Word:
        ours = {f"WQ_VARIABLE_{number}": "x" * 20 for number in range(30)}
        hosts: Word = {"text": "localhost\n", "path": None, "mpi_hostfile": [], "mpi_agent": {}}
        return {
            "script": self.program,
            "shell": "/bin/sh",
            "cwd": "/tmp",
            "env": dict(os.environ),
            "env_mode": "submit",
            "set": ours,
            "umask": 0o022,
            "limits": {},
            "hostfile": hosts,
        }

    def batch(self, lane: int, template: str, atts: list[str]) -> None:
        tasks = [{"att": att, "out": str(self.outputs / att), "set": {"WQ_TASK_ID": att}} for att in atts]
        word = {"do": "batch", "lane": lane, "template": template, "cores": [lane], "declared": self.slots}
        probe = None
        if self.shared:
            probe = [str(self.outputs / atts[0]), "wq token"]
            (self.outputs / atts[0]).write_text("wq token")
        self.send({**word, "patience_s": 5.0, "probe": probe, "tasks": tasks})

    def __enter__(self) -> Fed:
        return self

    def __exit__(self, *_: object) -> None:
        self.input.close()
        self.process.wait()


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def spent(run: Callable[[], None]) -> float:
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ahead", type=int, default=128)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--program", default="/bin/true")
    args = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="bench-"))

    def directory(name: str, number: int) -> Path:
        path = place / f"{name}{number}"
        path.mkdir()
        return path

    def feed(name: str, number: int, *, shared: bool) -> float:
        with Fed(args.program, args.ahead, args.slots, shared=shared) as fed:
            return spent(lambda: fed.run(args.tasks, directory(name, number)))

    runs: dict[str, Callable[[int], float]] = {
        "xargs": lambda _: spent(lambda: with_xargs(args.program, args.tasks, args.slots)),
        "bare loop, no file": lambda _: spent(lambda: bare(args.program, args.tasks, args.slots, None)),
        "bare loop, a file each": lambda number: spent(
            lambda: bare(args.program, args.tasks, args.slots, directory("bare", number))
        ),
        "shepherd, fed ahead": lambda number: feed("fed", number, shared=True),
        "shepherd, outputs apart": lambda number: feed("apart", number, shared=False),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    try:
        for number in range(args.rounds + 1):  # the first is to warm up
            for name, run in runs.items():
                time_s = run(number)
                if number:
                    times[name].append(time_s)
    finally:
        shutil.rmtree(place)
    print(f"{args.tasks} tasks, {args.slots} at a time, {args.ahead} fed ahead; x: wall time against xargs")
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times["xargs"], strict=True)]
        each = statistics.median(values) / args.tasks * 1e6
        print(f"{name:25} {statistics.median(ratios):5.2f} x  ({min(ratios):.2f} to {max(ratios):.2f})  {each:6.0f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
