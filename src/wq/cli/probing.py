"""Looking at machines over ssh, for `wq init` and `wq doctor`: what they are like, and what is wrong with which.

Whatever a machine answers counts as written by an enemy: numbers have bounds, words are of few letters, and the rest of
the answer is not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wq.cli import nodes
from wq.node import probe
from wq.protocol.places import NETWORK_FILE_SYSTEMS

AT_ONCE = 8
JITTER_S = 0.25
OLDEST_PYTHON = (3, 6, 0)
MOST_CLOCK_S = 5.0
LEAST_FREE_BYTES = 16 << 20
LEAST_FREE_FILES = 100
MOST_ANSWER_BYTES = 16 << 10
MOST_NCORES = 4096
MOST = 1 << 62
SOURCE = Path(probe.__file__).read_text(encoding="ascii")
SCRIPT = """\
if command -v python3 >/dev/null 2>&1; then
WQ_PROBE='TOKEN HERE' python3 -I -S -c SOURCE </dev/null && exit
printf '\\nGREETING%s\\n' '{"python": false}'
else
printf '\\nGREETING%s\\n' '{"python": null}'
fi
exit
"""
KIND = re.compile(r"[A-Za-z0-9._-]{1,32}")
BOOT = re.compile(r"[0-9a-f-]{36}")
CODE = re.compile(r"ok|E[A-Z0-9]{1,16}")
CODES_OF_FULL = ("ENOSPC", "EDQUOT")


class Nonsense(ValueError):
    """An answer that cannot be one of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A place for spools. write: `ok`, or the error; spool: (uid, mode, is a directory) of what has our name there."""

    path: str
    write: str
    free_bytes: int
    free_files: int | None
    kind: str
    spool: tuple[int, int, bool] | None

    @property
    def is_full(self) -> bool:
        few = self.free_files is not None and self.free_files < LEAST_FREE_FILES
        return self.write in CODES_OF_FULL or (self.write == "ok" and (self.free_bytes < LEAST_FREE_BYTES or few))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a machine says of itself.

    home: whether it shares our home (None: not known); here: the same of the current directory, `shared`, `other`,
    `missing`, or None; keepers: ours that run there; clock_s: bounds of how far its clock is ahead.
    """

    python: tuple[int, ...]
    ncores: int
    mem_gb: float
    ngpus: int
    uid: int
    boot: str
    home: bool | None
    here: str | None
    bases: tuple[Base, ...]
    keepers: int
    marked: int
    clock_s: tuple[float, float]

    @property
    def base(self) -> Base | None:
        """Where spools are kept, as the shepherd chooses it; None if nowhere."""
        for base in self.bases:
            if base.spool is not None and base.spool[0] == self.uid:
                return base
        usable = (base for base in self.bases if base.write in ("ok", *CODES_OF_FULL) and base.spool is None)
        return next(usable, None)

    @property
    def clock_offset_s(self) -> float:
        """How far its clock is ahead, as far as that is known: 0 if it may well be right."""
        low, high = self.clock_s
        return low if low > 0 else high if high < 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One machine. troubles: why no job of ours can run there; remarks: what is odd, and does not prevent that."""

    host: str
    facts: Facts | None = None
    troubles: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


# ---- markers: files of ours by which a shared directory is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Markers:
    """home, here: whether there is a file of this token in our home, and in the current directory."""

    token: str
    directory: str
    home: bool
    here: bool


@contextlib.contextmanager
def markers() -> Iterator[Markers]:
    """Empty files of a name that nobody can guess, for as long as the machines are looked at."""
    token = secrets.token_hex(16)
    try:
        directory = os.getcwd()
    except OSError:
        directory = ""
    name = probe.marker(token)  # type: ignore[no-untyped-call]
    paths = {place: os.path.join(place, name) for place in (os.path.expanduser("~"), directory) if place}
    made: set[str] = set()
    try:
        for place, path in paths.items():
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                made.add(place)
        yield Markers(token=token, directory=directory, home=os.path.expanduser("~") in made, here=directory in made)
    finally:
        for place in made:
            with contextlib.suppress(OSError):
                os.unlink(paths[place])


# ---- asking


def look_at(hosts: Sequence[str], tell: Callable[[int, int], None] = lambda done, of: None) -> list[Look]:
    """All of them, in their order, a few logins at a time. tell(done, of) is called after each."""
    with markers() as marked:
        looks = asyncio.run(_look_at(hosts, marked, tell))
    return with_twins(looks)


async def _look_at(hosts: Sequence[str], marked: Markers, tell: Callable[[int, int], None]) -> list[Look]:
    places = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def in_turn(host: str) -> Look:
        nonlocal done
        async with places:
            if len(hosts) > 1:
                await asyncio.sleep(random.uniform(0, JITTER_S))
            look = await look_once(host, marked)
        done += 1
        tell(done, len(hosts))
        return look

    return list(await asyncio.gather(*map(in_turn, hosts)))


async def look_once(host: str, marked: Markers) -> Look:
    """One machine, whatever it says."""
    script = script_of(marked)
    started_s = time.time()
    try:
        said, heard_s = await nodes.exchange(host, ["sh"], ["/bin/sh"], script, probe.GREETING)
        found = understood(said, started_s, heard_s, marked)
    except Nonsense:
        found = "it answers nonsense"
    except (OSError, ValueError) as error:
        found = str(error).removeprefix(f"{host} ")
    return Look(host=host, troubles=(found,)) if isinstance(found, str) else judged(host, found)


def script_of(marked: Markers) -> bytes:
    """What a shell there reads; the source and two words of hexadecimal digits are all that is put into it."""
    here = os.fsencode(marked.directory or "/").hex()
    script = SCRIPT.replace("GREETING", probe.GREETING.decode()).replace("TOKEN", marked.token).replace("HERE", here)
    return script.replace("SOURCE", shlex.quote(SOURCE)).encode("ascii")


def understood(line: bytes, started_s: float, heard_s: float, marked: Markers) -> Facts | str:
    """What a machine says of itself, or why it cannot. Raises Nonsense."""
    try:
        if len(line) > MOST_ANSWER_BYTES:
            raise Nonsense
        answer = json.loads(line)
        if answer["python"] is None:
            return "there is no python3 on the PATH of a login there; 3.6 or newer is needed"
        if answer["python"] is False:
            return "its python3 does not do what is asked; one of 3.6 or newer is needed"
        time_s = number(answer["time_ms"]) / 1000
        return Facts(
            python=tuple(number(part, most=999) for part in answer["python"][:3]),
            ncores=number(answer["cores"], least=1, most=MOST_NCORES),
            mem_gb=gigabytes(number(answer["mem_kb"], least=1)),
            ngpus=number(answer["gpus"], most=1000),
            uid=number(answer["uid"]),
            boot=word(answer["boot"], BOOT),
            home=answer["home"] is True if marked.home else None,
            here=sight(answer["here"], marked),
            bases=tuple(base_of(found, path) for found, path in zip(answer["bases"], probe.BASES, strict=True)),
            keepers=number(answer["keepers"]),
            marked=number(answer["marked"]),
            clock_s=(time_s - heard_s, time_s - started_s),
        )
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError):
        raise Nonsense from None


def sight(value: object, marked: Markers) -> str | None:
    """Of the current directory. Where we could leave no marker, only its absence tells."""
    seen = value if value in ("shared", "missing") else "other"
    return seen if marked.here or seen == "missing" else None


def base_of(found: dict[str, Any], path: str) -> Base:
    spool = found["spool"]
    return Base(
        path=path,
        write=word(found["write"], CODE),
        free_bytes=number(found["free"]),
        free_files=None if found["files"] is None else number(found["files"]),
        kind=word(found["kind"], KIND),
        spool=None if spool is None else (number(spool[0]), number(spool[1], most=0o7777), spool[2] is True),
    )


def number(value: object, *, least: int = 0, most: int = MOST) -> int:
    """A whole number within bounds, and nothing else. Raises Nonsense."""
    if type(value) is not int or not least <= value <= most:
        raise Nonsense
    return value


def word(value: object, pattern: re.Pattern[str]) -> str:
    """A word of that form; nothing instead of any other."""
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""


def gigabytes(kilobytes: int) -> float:
    """Never more than there is; whole ones from 4 on, so that machines that are alike look alike."""
    whole = kilobytes / (1 << 20)
    return float(int(whole)) if whole >= 4 else max(int(whole * 10) / 10, 0.1)


# ---- judging


def judged(host: str, facts: Facts) -> Look:
    """What is wrong with a machine that has answered."""
    troubles, remarks = [], []
    if facts.python < OLDEST_PYTHON:
        troubles.append(f"its python3 is {dotted(facts.python)}; 3.6 or newer is needed")
    trouble, remark = about_disks(facts)
    troubles += trouble
    remarks += remark
    low, high = facts.clock_s
    if low > MOST_CLOCK_S or high < -MOST_CLOCK_S:
        ahead = "ahead of" if low > 0 else "behind"
        remarks.append(f"its clock is {abs(facts.clock_offset_s):.0f} s {ahead} the one here")
    if facts.home is False:
        remarks.append("it does not share your home directory")
    if facts.here in ("missing", "other"):
        remarks.append(f"the current directory is {'not there' if facts.here == 'missing' else 'another one there'}")
    return Look(host=host, facts=facts, troubles=tuple(troubles), remarks=tuple(remarks))


def about_disks(facts: Facts) -> tuple[list[str], list[str]]:
    """(troubles, remarks) about where spools of jobs are kept."""
    planted = [f"{base.path}/wq-{facts.uid}" for base in facts.bases if base.spool and base.spool[0] != facts.uid]
    remarks = [f"{path} belongs to somebody else and is stepped around" for path in planted]
    base = facts.base
    if base is None:
        whys = ", ".join(f"{each.path}: {why_not(each)}" for each in facts.bases)
        return [f"there is no place for spools of jobs ({whys})"], []
    first = facts.bases[0]
    if base is not first and first.path not in {path.rpartition("/")[0] for path in planted}:
        remarks.append(f"{first.path} cannot be used ({why_not(first)}), {base.path} is")
    if base.spool is not None and (not base.spool[2] or base.spool[1] & 0o077):
        return [f"{base.path}/wq-{facts.uid} is no directory that is yours alone (chmod 700, or remove it)"], remarks
    if base.is_full:
        return [f"{base.path} is full ({base.free_bytes >> 20} MB, {base.free_files} files are free)"], remarks
    if base.write != "ok":
        return [f"{base.path} cannot be written to ({base.write})"], remarks
    if base.kind in NETWORK_FILE_SYSTEMS:
        remarks.append(f"there is no local disk for spools of jobs: {base.path} is on {base.kind}")
    return [], remarks


def why_not(base: Base) -> str:
    if base.spool is not None:
        return "taken by somebody else"
    if base.is_full:
        return "full"
    return {"ENOENT": "not there", "EACCES": "no permission", "EROFS": "read-only"}.get(base.write, base.write)


def with_twins(looks: list[Look]) -> list[Look]:
    """A machine that is there under two names is remarked upon, as its cores would count twice."""
    first: dict[str, str] = {}
    found = []
    for look in looks:
        boot = look.facts.boot if look.facts is not None else ""
        twin = first.setdefault(boot, look.host) if boot and not look.troubles else look.host
        if twin != look.host:
            again = f"it seems to be the same machine as {twin}, whose cores would count twice"
            look = Look(host=look.host, facts=look.facts, remarks=(*look.remarks, again))
        found.append(look)
    return found


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
