"""What a job is to wait for before it stands in the line, from its user's words: ids, `last` and names become ids."""

from __future__ import annotations

import time

from wq.cli.errors import BAD_INPUT, WqError
from wq.formats.when import begin_s

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wq.cli.connection import Server

KINDS = {
    "after": ("ok", False),
    "after_any": ("any", False),
    "after_notok": ("notok", False),
    "after_each": ("ok", True),
}


class Known:
    """One's own jobs by `last` and their names (they may be over). The server is asked where it must be, once each."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server: Server | None = None
        self.ids: dict[str, int] = {}

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *_: object) -> None:
        if self.server is not None:
            self.server.sock.close()

    def id_of(self, word: str) -> int:
        """Raises WqError if there is none, or more than one."""
        if word not in self.ids:
            from wq.cli import connection, select

            if self.server is None:
                self.server = connection.connect(self.port)
            self.ids[word] = select.meant(self.server, [word], over=True, newest=True)[0][0]
        return self.ids[word]


def settle(tasks: list[dict[str, Any]], id_of: Callable[[str], int]) -> None:
    """Put what the launcher wants in the place of what the user wrote. id_of: of `last` and names, else than of these.

    A name that a job before it in the same submission has is that one. Raises WqError.
    """
    places: dict[str, int] = {}
    for place, task in enumerate(tasks, 1):
        conditions = []
        for key, (kind, each) in KINDS.items():
            for word in task.pop(key, None) or ():
                conditions.append({"job": numbered(word, places, id_of), "kind": kind, "each": each})
        if conditions:
            task["after"] = conditions
        begin = task.pop("begin", None)
        if begin is not None:
            task["begin_s"] = begin_s(begin, time.time())
        if "retry_wait" in task:
            task["retry_wait_s"] = task.pop("retry_wait")
        if "retry_on" in task:
            task["retry_on"] = [int(word) if word.isdecimal() else word for word in task["retry_on"]]
        places[task["name"]] = place


def numbered(word: str, places: dict[str, int], id_of: Callable[[str], int]) -> int:
    """The id of the job that is meant; -k: the k-th of this submission."""
    if word.isdecimal():
        if len(word) > 18 or int(word) < 1:
            raise WqError(f"{word[:40]!r} is not the id of a job", BAD_INPUT)
        return int(word)
    if word in places:
        return -places[word]
    return id_of(word)
