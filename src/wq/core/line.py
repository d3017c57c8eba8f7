"""The line: who waits, in the order of the policy, grouped by whom and what; jobs of one group fit or wait alike.

So a pass over the queue looks at each group until something of it does not fit, and its work does not grow with the
number of jobs. The line has every job and array that waits; what has gone meanwhile it may still have, and whoever
reads it passes over that (a tick that is dropped must leave no trace).
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from msgspec import Struct

from wq.core.array import Array
from wq.core.job import PRIORITY_RANK, Job, JobSpec, Requirement, Uid

Shape: TypeAlias = tuple[object, ...]
Place: TypeAlias = tuple[int, int, int]  # turn, number of the job, of the task (or one of these): the order in a group
Waiting: TypeAlias = Job | Array

Front: TypeAlias = tuple[int, Place, int, "Group"]

NO_TASK = -1
NEW_TASKS = 1 << 40  # of an array stand behind those that wait for another turn


class Group(Struct, frozen=True):
    """Jobs of one user, priority, shape and time limit. batch: their tasks may be fed ahead."""

    rank: int
    uid: Uid
    shape: Shape
    batch: bool
    time_s: float | None = None


def shape_of(requirement: Requirement) -> Shape:
    """All of a requirement that decides where it fits: jobs of one shape fit or wait alike."""
    r = requirement
    return (r.n, r.mode, r.groups, r.notgroups, r.host, r.min_cores, r.min_mem_gb, r.threads)


def rank_of(spec: JobSpec) -> int:
    """Jobs of higher priority come first, whatever the policy."""
    return PRIORITY_RANK[spec.requirement.priority]


def group_of(waiting: Waiting) -> Group:
    spec = waiting.spec
    batch = not spec.foreground and not spec.x
    return Group(rank_of(spec), spec.uid, shape_of(spec.requirement), batch, waiting.limit_s)


def place_of(waiting: Waiting) -> Place:
    """Where it stands in its group: first in, first out, unless its user has given it another turn."""
    turn = waiting.id if waiting.turn is None else waiting.turn
    if isinstance(waiting, Array):
        return (turn, waiting.id, NEW_TASKS)
    return (turn, waiting.id, NO_TASK if waiting.task is None else waiting.task)


@dataclass(slots=True)
class Line:
    """All groups. A group's places ascend; the stale ones belong to jobs that have gone.

    fronts: of each group its rank and first place, ascending, with a number that is its own.
    """

    groups: dict[Group, list[Place]] = field(default_factory=dict)
    stale: dict[Group, set[Place]] = field(default_factory=dict)
    fronts: list[Front] = field(default_factory=list)
    numbers: dict[Group, int] = field(default_factory=dict)
    last_number: int = 0
    foreground: set[Place] = field(default_factory=set)

    def add(self, waiting: Waiting) -> None:
        group, place = group_of(waiting), place_of(waiting)
        places = self.groups.get(group)
        if places is None:
            places = self.groups[group] = []
        if not places:
            places.append(place)
            self.last_number += 1
            self.numbers[group] = self.last_number
            insort(self.fronts, (group.rank, place, self.last_number, group))
        elif places[-1] < place:
            places.append(place)
        elif (at := bisect_left(places, place)) < len(places) and places[at] == place:
            self.not_stale(group, place)  # it is back before it was missed
        else:
            first = places[0]
            insort(places, place)
            self.set_front(group, first)
        if waiting.spec.foreground:
            self.foreground.add(place)

    def set_front(self, group: Group, first: Place) -> None:
        """It was this, and may be another one now, or none."""
        places, number = self.groups[group], self.numbers[group]
        if places and places[0] == first:
            return
        del self.fronts[bisect_left(self.fronts, (group.rank, first, number))]
        if places:
            insort(self.fronts, (group.rank, places[0], number, group))
        else:
            del self.groups[group], self.numbers[group]

    def gone(self, waiting: Waiting) -> None:
        """It waits no more; its place is taken out when that is cheap."""
        place = place_of(waiting)
        self.stale.setdefault(group_of(waiting), set()).add(place)
        if waiting.spec.foreground:
            self.foreground.discard(place)

    def not_stale(self, group: Group, place: Place) -> None:
        stale = self.stale.get(group)
        if stale is not None:
            stale.discard(place)
            if not stale:
                del self.stale[group]

    def remove(self, waiting: Waiting) -> None:
        """Take its place out at once, if it has one: it stands elsewhere from now on."""
        group, place = group_of(waiting), place_of(waiting)
        places = self.groups.get(group, [])
        at = bisect_left(places, place)
        if at < len(places) and places[at] == place:
            first = places[0]
            del places[at]
            self.not_stale(group, place)
            self.set_front(group, first)
        if waiting.spec.foreground:
            self.foreground.discard(place)

    def tidy(self) -> None:
        """Take out the places of those that have gone, where they are many."""
        for group, stale in list(self.stale.items()):
            places = self.groups[group]
            if len(stale) * 2 > len(places) or (len(stale) > 1000 and len(stale) * 20 > len(places)):
                first = places[0]
                places[:] = [place for place in places if place not in stale]
                del self.stale[group]
                self.set_front(group, first)

    def ahead(self, waiting: Waiting) -> int:
        """How many jobs come before this one."""
        rank, place = rank_of(waiting.spec), place_of(waiting)
        found = 0
        for group, places in self.groups.items():
            if group.rank <= rank:
                found += len(places) if group.rank < rank else bisect_left(places, place)
                stale = self.stale.get(group, ())
                found -= len(stale) if group.rank < rank else sum(other < place for other in stale)
        return found

    def own_before(self, waiting: Waiting) -> Iterator[Place]:
        """The places of its user's that come before it within its priority, the nearest first; some may be stale."""
        uid, rank, place = waiting.spec.uid, rank_of(waiting.spec), place_of(waiting)
        groups = [places for group, places in self.groups.items() if (group.uid, group.rank) == (uid, rank)]
        return heapq.merge(*(backwards(places, bisect_left(places, place)) for places in groups), reverse=True)


def backwards(places: list[Place], end: int) -> Iterator[Place]:
    return (places[at] for at in range(end - 1, -1, -1))


@dataclass(slots=True)
class Walk:
    """A walk along one group, past those that have gone. The places of `added` are those of a tick in the making."""

    group: Group
    places: list[Place]
    added: list[Place]
    find: Callable[[Place], Waiting | None]
    at: int = 0
    at_added: int = 0
    here: Waiting | None = None
    at_place: Place = (0, 0, 0)  # of who is here

    def front(self) -> tuple[int, Place]:
        """Where it begins: nobody of it comes before that."""
        return (self.group.rank, min([*self.places[:1], *self.added[:1]]))

    def next(self) -> Place | None:
        """The next place that somebody waits at, who is `here` then; None at the end."""
        while True:
            place = self.places[self.at] if self.at < len(self.places) else None
            other = self.added[self.at_added] if self.at_added < len(self.added) else None
            if place is None or (other is not None and other < place):
                if other is None:
                    self.here = None
                    return None
                place = other
                self.at_added += 1
            else:
                self.at += 1
                if place == other:
                    self.at_added += 1
            self.here = self.find(place)
            if self.here is not None:
                self.at_place = place
                return place


def walks(
    line: Line,
    added: Iterable[Waiting],
    find: Callable[[Place], Waiting | None],
    moved: Iterable[Waiting] = (),
) -> Iterator[Walk]:
    """A walk for each group that has anybody, with those who were added and are not in the line yet, by their fronts.

    moved: as they still stand in the line, those who stand elsewhere now.
    """
    more: dict[Group, list[Place]] = {}
    for waiting in added:
        more.setdefault(group_of(waiting), []).append(place_of(waiting))
    gone: dict[Group, set[Place]] = {}
    for waiting in moved:
        gone.setdefault(group_of(waiting), set()).add(place_of(waiting))
    if not more and not gone:
        for *_, group in line.fronts:
            yield Walk(group, line.groups[group], [], find)
        return
    found = []
    for group, places in line.groups.items():
        if group in gone:
            places = [place for place in places if place not in gone[group]]
        found.append(Walk(group, places, sorted(more.pop(group, ())), find))
    found += [Walk(group, [], sorted(places), find) for group, places in more.items()]
    yield from sorted((walk for walk in found if walk.places or walk.added), key=Walk.front)


def line_of(waiting: Iterable[Waiting]) -> Line:
    """A new line."""
    line = Line()
    for one in sorted(waiting, key=place_of):
        line.add(one)
    return line
