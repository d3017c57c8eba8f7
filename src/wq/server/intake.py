"""What has arrived and waits for the server's next turn, user by user: whoever sends much keeps nobody else waiting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Line(Generic[T]):
    """What one user has sent, in its order: (thing, its cost)."""

    things: deque[tuple[T, int]] = field(default_factory=deque)
    cost: int = 0


class Intake(Generic[T]):
    """Lines of things, one for each user. A thing costs about as many units as it has jobs or names in it."""

    def __init__(self) -> None:
        self.lines: dict[int, _Line[T]] = {}

    def __bool__(self) -> bool:
        return bool(self.lines)

    def put(self, uid: int, thing: T, cost: int = 1) -> None:
        line = self.lines.setdefault(uid, _Line())
        line.things.append((thing, cost))
        line.cost += cost

    def put_back(self, uid: int, thing: T, cost: int = 0) -> None:
        """First in its line again."""
        line = self.lines.setdefault(uid, _Line())
        line.things.appendleft((thing, cost))
        line.cost += cost

    def waiting(self, uid: int) -> int:
        """What all that a user has in line costs."""
        line = self.lines.get(uid)
        return line.cost if line is not None else 0

    def take(self, most: int) -> list[T]:
        """The first of each line, then the second, and so on, until they cost so much; at least one of each line.

        Each user's things come in the order in which he sent them; who was served first is last the next time.
        """
        taken: list[T] = []
        first = True
        while self.lines and (first or most > 0):
            for uid in list(self.lines):
                if not first and most <= 0:
                    break
                line = self.lines.pop(uid)
                thing, cost = line.things.popleft()
                taken.append(thing)
                most -= cost
                line.cost -= cost
                if line.things:
                    self.lines[uid] = line
            first = False
        return taken
