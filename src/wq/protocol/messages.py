"""The typed words: which requests, reports and orders there are, decoded strictly.

Core's own types are the messages; this module gives them names on the wire. A message is an object
with "type"; "seq", if given, comes back in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from wq.core import requests as core
from wq.core.requests import Order, Request
from wq.protocol.wire import Message, WireError, frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first word on a connection. role: client or launcher."""

    version: int
    role: str = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ls:
    """List jobs. ids: ranges (first, last); finished: the finished of the last day too; why: with reasons."""

    users: tuple[str, ...] = ()
    ids: tuple[tuple[int, int], ...] = ()
    finished: bool = False
    why: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """The nodes and the counts of jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Users with their jobs, cores and limits, or one of them."""

    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """Stop the server in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit, for a user by name: the server's loop finds the uid."""

    user: str | None = None
    run: int | None = None
    cores: int | None = None
    clear: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """To a launcher: why a foreground job waits (code: the kind of reason), and how many are ahead."""

    id: int
    reason: str
    code: str
    ahead: int


Query = Ls | Stat | Users | Shutdown | Limit
Word = Hello | Query | Request

FROM_CLIENTS: dict[str, type] = {
    "hello": Hello,
    "ls": Ls,
    "stat": Stat,
    "users": Users,
    "shutdown": Shutdown,
    "limit": Limit,
    "remove": core.Remove,
    "node": core.SetNode,
    "refresh": core.Refresh,
}
FROM_LAUNCHERS: dict[str, type] = {
    **FROM_CLIENTS,
    "submit": core.Submit,
    "launcher_here": core.LauncherHere,
    "attempt_started": core.AttemptStarted,
    "attempt_ended": core.AttemptEnded,
    "attempt_taken_back": core.AttemptTakenBack,
    "sight": core.Sight,
}
TO_LAUNCHERS: dict[str, type] = {"start": core.Start, "stop": core.Stop, "gone": core.Gone, "waiting": Waiting}
NAMES: dict[type, str] = {kind: name for name, kind in {**FROM_LAUNCHERS, **TO_LAUNCHERS}.items()}


def decode_word(body: bytes, known: dict[str, type]) -> tuple[Any, int]:
    """(a value of one of the known types, the sender's seq or 0). Raises WireError with a sentence."""
    try:
        message = msgspec.json.decode(body)
        if not isinstance(message, dict):
            raise WireError("not an object")
        kind = known.get(str(message.pop("type", "")))
        if kind is None:
            raise WireError("a message of no known type")
        seq = message.pop("seq", 0)
        if not isinstance(seq, int):
            raise WireError("seq is not a number")
        return msgspec.convert(message, kind, strict=True), seq
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(str(error)) from None


def encode_word(word: Order | Waiting | Request | Query, seq: int = 0) -> bytes:
    """A typed word as a frame."""
    message = msgspec.to_builtins(word)
    message["type"] = NAMES[type(word)]
    if seq:
        message["seq"] = seq
    return frame(msgspec.json.encode(message))


def encode_message(message: Message) -> bytes:
    """An answer as a frame."""
    return frame(msgspec.json.encode(message))
