"""What stays of a job that is over: where its files are, so that its user finds them. Nothing of it runs any more."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct, field

from wq.core.job import Outcome
from wq.core.ranges import Ranges, contains, union
from wq.core.ranges import of as ranges_of

Past: TypeAlias = tuple[tuple[int, str], ...]
"""Earlier attempts that may have written output: the number and the first node of each."""


class ArrayPast(Struct, omit_defaults=True):
    """Of an array: which of its tasks ended with another attempt than the first, on which node, after which others.

    Most tasks are in none of these, so that it is short. hosts: only where the node is in the names of the files.
    """

    attempts: dict[int, Ranges] = field(default_factory=dict)
    hosts: dict[str, Ranges] = field(default_factory=dict)
    past: dict[int, Past] = field(default_factory=dict)

    def note(self, over: list[tuple[int, int, str, Past]]) -> None:
        """What is to be known of those that are over now: (number, attempt, host, past) of each."""
        attempts: dict[int, list[int]] = {}
        hosts: dict[str, list[int]] = {}
        for number, attempt, host, past in over:
            if attempt != 1:
                attempts.setdefault(attempt, []).append(number)
            if host:
                hosts.setdefault(host, []).append(number)
            if past:
                self.past[number] = past
        for attempt, those in attempts.items():
            self.attempts[attempt] = union(self.attempts.get(attempt, ()), ranges_of(those))
        for host, those in hosts.items():
            self.hosts[host] = union(self.hosts.get(host, ()), ranges_of(those))

    def of(self, number: int) -> tuple[int, str, Past]:
        """(the last attempt, its first node, those before it) of a task."""
        attempt = next((attempt for attempt, those in self.attempts.items() if contains(those, number)), 1)
        host = next((host for host, those in self.hosts.items() if contains(those, number)), "")
        return attempt, host, self.past.get(number, ())


class Kept(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one job. output, error: as in its Task. tasks: of an array, those that have run."""

    name: str
    output: str | None = None
    error: str | None = None
    keep_output: str = "always"
    attempt: int = 1
    host: str = ""
    past: Past = ()
    ran_before: bool = False
    outcome: Outcome | None = None
    array: bool = False
    tasks: Ranges = ()
    array_past: ArrayPast | None = None
