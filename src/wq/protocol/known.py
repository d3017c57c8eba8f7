"""The servers that a user has met, and the nodes that he has accepted of each: as ssh remembers hosts.

Written by the client, on the user's word, and read by his launcher at each grant. Standard library only.
"""

from __future__ import annotations

import os

from wq.protocol import quick_json
from wq.protocol.places import make_private

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def path() -> str:
    """The file."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "wq", "known_servers.json")


def load() -> dict[str, dict[str, Any]]:
    """port -> {"uid", "user", "nodes"}; empty if there is none. Raises ValueError if the file is damaged."""
    try:
        with open(path(), "rb") as f:
            known = quick_json.loads(f.read())
    except FileNotFoundError:
        return {}
    if not isinstance(known, dict) or not all(isinstance(entry, dict) for entry in known.values()):
        raise ValueError(f"{path()} is damaged; remove it to meet the servers anew")
    return known


def server_of(port: int) -> dict[str, Any] | None:
    """The server that was met on this port, if any."""
    return load().get(str(port))


def remember(port: int, uid: int, user: str, nodes: Iterable[str]) -> None:
    """Remember a server and its nodes."""
    import json

    known = load()
    known[str(port)] = {"uid": uid, "user": user, "nodes": sorted(nodes)}
    make_private(os.path.dirname(path()))
    temporary = f"{path()}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as f:
        json.dump(known, f, indent=1)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path())


def first_outside(hosts: Iterable[str], port: int, uid: int) -> str | None:
    """The first of these nodes that the user has not accepted from this server."""
    try:
        entry = server_of(port)
    except (ValueError, OSError):
        entry = None
    accepted = entry.get("nodes", []) if entry is not None and entry.get("uid") == uid else []
    return next((host for host in hosts if host not in accepted), None)
