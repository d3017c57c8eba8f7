"""The past of a queue, for a replay: its jobs that are over, the tasks of its arrays, its nodes; asked here or afar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from wq.cli import config, remote, when
from wq.cli.connection import connect
from wq.cli.errors import WqError

if TYPE_CHECKING:
    from wq.cli.connection import Server
    from wq.cli.remote import Head

MOST_JOBS = 100_000  # as of `wq hist`
MOST_TASKS = 500_000  # of arrays
TASKS_AT_ONCE = 20_000  # in one answer

Row = Mapping[str, Any]


class Source(Protocol):
    """Who is asked. Rows are those of docs/json.md."""

    def jobs(self, since: str | None) -> tuple[list[Row], int]:
        """(jobs and arrays that are over, how many older ones there are beside them)"""
        ...

    def tasks(self, array: int, first: int, last: int) -> list[Row]:
        """Those of an array that have such numbers."""
        ...

    def nodes(self) -> list[Row]: ...


class Here:
    """The server of this host."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def jobs(self, since: str | None) -> tuple[list[Row], int]:
        import time

        since_s = None if since is None else when.moment(since, "simulate: --since", time.time())
        facts = self.server.ask("hist", most=MOST_JOBS, failed=False, everybody=True, since_s=since_s)
        return facts["jobs"], int(facts["more"])

    def tasks(self, array: int, first: int, last: int) -> list[Row]:
        rows: list[Row] = self.server.ask("ls", tasks=[[array, first, last]])["jobs"]
        return rows

    def nodes(self) -> list[Row]:
        rows: list[Row] = self.server.ask("stat")["nodes"]
        return rows


class Afar:
    """The server of another host: what wq prints there."""

    def __init__(self, head: Head, port: int) -> None:
        self.head, self.port = head, port

    def ask(self, *words: str) -> Any:
        import json

        said = self.head.answer_to({"words": [words[0], "-p", str(self.port), "--json", *words[1:]]}, b"")
        return json.loads(said)

    def jobs(self, since: str | None) -> tuple[list[Row], int]:
        facts = self.ask("hist", "-a", "-n", str(MOST_JOBS), *([] if since is None else ["--since", since]))
        return facts["jobs"], int(facts["more"])

    def tasks(self, array: int, first: int, last: int) -> list[Row]:
        rows: list[Row] = self.ask("ls", f"{array}.{first}-{last}")
        return rows

    def nodes(self) -> list[Row]:
        rows: list[Row] = self.ask("stat")["nodes"]
        return rows


def source(port: int) -> Source:
    """The server that any other command would talk to. Raises WqError."""
    host = config.server_host()
    if host is None or remote.is_here(host):
        return Here(connect(port, recall=True))
    return Afar(remote.head_of(host), port)


class History:
    """The rows of one history, arrays by their tasks. more: how many older jobs there are; too_many: tasks."""

    def __init__(self, asked: Source, since: str | None) -> None:
        self.asked, self.since = asked, since
        self.more = 0
        self.too_many = 0

    def rows(self) -> Iterator[Row]:
        """Raises WqError."""
        rows, self.more = self.asked.jobs(self.since)
        room = MOST_TASKS
        for row in rows:
            if row["array"] is None:
                yield row
            elif (ntasks := int(row["array"]["tasks"])) > room:
                self.too_many += ntasks
            else:
                room -= ntasks
                yield from self.tasks_of(row)

    def tasks_of(self, row: Row) -> Iterator[Row]:
        for first, last, step in row["array"]["pieces"]:
            if int(step) < 1:
                raise WqError("what the server says of an array makes no sense")
            for low in range(int(first), int(last) + 1, TASKS_AT_ONCE * int(step)):
                high = min(low + TASKS_AT_ONCE * int(step) - 1, int(last))
                yield from (task for task in self.asked.tasks(int(row["id"]), low, high) if task["state"] == "done")
