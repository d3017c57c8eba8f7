"""A finding of `wq doctor`: one line, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wq.cli.link import Queue

OK, WARNING, WRONG = "ok", "warning", "wrong"

HINTS = (  # what is said of a node, and what to do
    ("refuses your key", "try `ssh {host} true`; is the agent there (`ssh-add -l`)?"),
    ("host key", "log in once by hand: `ssh {host}`"),
    ("has no address", "the name must be known to ssh: /etc/hosts, the name service, or ~/.ssh/config"),
    ("does not answer", "is it up, and does its sshd run? `ssh {host} true`"),
    ("python3", "install python3 there, on the PATH of a login without terminal"),
    ("is full", "make room there"),
    ("is no directory that is yours alone", "look at it with `ssh {host} ls -ld {spool}`"),
    ("its clock", "have the clocks set by NTP; times in listings are wrong meanwhile"),
    ("your home", "jobs run in the directory of submission, which must be there; output is brought back"),
    ("current directory", "a job submitted from here would not find its directory there"),
    ("belongs to somebody else", "tell whoever looks after {host}"),
    ("no local disk", "have a local /var/tmp there"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line: about what, how it is (ok, warning, wrong), the finding, what to do."""

    about: str
    state: str
    text: str
    todo: str | None = None


@dataclass(slots=True, kw_only=True)
class Patient:
    """What one part of the examination tells the next."""

    port: int
    named: list[str]
    settings: dict[str, str] | None = None  # None: the configuration cannot be read
    queue: Queue | None = None  # which there is, or should be
    rows: list[dict[str, Any]] | None = None  # what the server says of its nodes
    afar: bool = False
    without_packages: bool = False  # most of wq cannot be loaded


def size(nbytes: int) -> str:
    return f"{nbytes / (1 << 30):.1f} GB" if nbytes >= 1 << 30 else f"{nbytes >> 20} MB"


def hint(text: str, host: str, spool_there: str = "") -> str | None:
    """What to do about what is said of a host. Nothing for a name that is none: it would be pasted into a shell."""
    from wq.core.requirement import HOST_PATTERN

    if not HOST_PATTERN.fullmatch(host):
        return None
    lowered = text.lower()
    found = next((todo for words, todo in HINTS if words in lowered), None)
    if found is None and "permission denied" in lowered:
        found = HINTS[0][1]
    return None if found is None else found.format(host=host, spool=spool_there)
