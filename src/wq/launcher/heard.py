"""What a shepherd says, before anybody follows it: a node that talks nonsense loses its link, and nothing else is hurt.

Only what the launcher reads is looked at; a newer shepherd may say more.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

Channel = Annotated[int, Meta(ge=0, le=2)]
Offset = Annotated[int, Meta(ge=0, le=(1 << 62) - 1)]
Number = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
Channels = list[Channel] | None
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Text = Annotated[
    str, Meta(pattern=r"^[^\ud800-\udfff]*\Z")
]  # that can be written down: half a pair of surrogates cannot


class End(Struct, frozen=True):
    """How a process ended."""

    exit: Number | None = None
    signal: Number | None = None
    cpu_s: Seconds | None = None
    wall_s: Seconds | None = None
    peak_mem_bytes: Offset = 0
    io_read_bytes: Offset | None = None
    io_write_bytes: Offset | None = None
    node_mem_bytes: Offset | None = None
    limit_s: Seconds = 0.0
    oom: bool = False
    lost: Text = ""
    error: Text = ""


class Named(Struct):
    """A word about an attempt or one of its remote processes."""

    att: str
    state: str = ""
    end: End = End()
    chs: Channels = None
    shared: bool | None = None
    run_s: Seconds | None = None
    why: Text = ""


class View(Named, kw_only=True):
    """What it knows of an attempt."""

    state: str


class At(Struct):
    """How far a stream has come."""

    att: str
    off: Offset


class EndOfStream(At):
    """Nothing more comes of it."""

    ch: Channel


class Rank(Struct):
    """The remote-shell agent wants a process on another node."""

    rank: str
    att: str
    host: str
    command: str


class RankGone(Struct):
    """The agent was killed."""

    rank: str


class Here(Struct):
    """The first word on a link."""

    spool: str
    boot: Text
    attempts: list[View]
    agents: list[Rank] = []
    features: list[str] = []


class Tasks(Struct):
    """News of many tasks of batches."""

    started: list[tuple[str, Any, Channels]] = []
    ended: list[tuple[str, End, Channels, Seconds | None]] = []
    never: list[tuple[str, Text | None]] = []
    shared: dict[str, bool] | None = None


SHAPES: dict[str, type[Struct]] = {
    "here": Here,
    "rank": Rank,
    "rank_gone": RankGone,
    "tasks": Tasks,
    "state": View,
    "ended": View,
    "acked": Named,
    "unknown": Named,
    "eof": EndOfStream,
    "stdin_at": At,
}


def check(word: Any) -> None:
    """Raises ValueError if a word of this kind cannot look like that."""
    if isinstance(word, tuple):
        _, channel, offset, _ = word
        if channel > 2 or offset >= 1 << 62:
            raise ValueError("a chunk of no stream")
        return
    said = word.get("say")
    if not isinstance(said, str):
        raise ValueError("a word of no kind")
    shape = SHAPES.get(said, Named if "att" in word else None)
    if shape is None:
        return  # of a newer shepherd; nobody follows it
    try:
        msgspec.convert(word, shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"{said!r} is not understood: {error}") from None
    for view in word["attempts"] if said == "here" else (word,):
        if "end" not in view and (said == "ended" or view.get("state") == "ended"):
            raise ValueError("an end that is none")
