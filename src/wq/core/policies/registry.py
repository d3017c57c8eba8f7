"""Policies by their names: those that come with wq, and those of other packages (entry points `wq.policies`)."""

from __future__ import annotations

from wq.core.policies import Policy
from wq.core.policies.conservative import CONSERVATIVE
from wq.core.policies.easy import EASY
from wq.core.policies.fcfs import FCFS
from wq.core.policies.fifo import FIFO
from wq.core.policies.sjbf import SJBF

ENTRY_POINTS = "wq.policies"
OURS: dict[str, Policy] = {policy.name: policy for policy in (FIFO, FCFS, EASY, SJBF, CONSERVATIVE)}
MEANT = {"cons": "conservative"}  # another word for it
PARTS = ("name", "promises", "strict", "in_line", "order", "behind")
LONGEST = 40  # characters of a name that are repeated


class NoPolicy(ValueError):
    """There is no policy of this name, or it cannot be used; str() is one line that says so."""


def policy_named(name: str) -> Policy:
    """Raises NoPolicy. Other packages are looked at only for a name that is none of ours."""
    ours = OURS.get(MEANT.get(name, name))
    return ours if ours is not None else _others(name)


def names() -> list[str]:
    """All that there are: ours, and then those of other packages."""
    from importlib.metadata import entry_points

    return [*OURS, *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - OURS.keys())]


def _others(name: str) -> Policy:
    """A policy that another package declares."""
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=name):
        try:
            found = point.load()
        except Exception as error:  # somebody else's code: whatever it does is told in a line
            raise NoPolicy(f"the policy {name!r} ({point.value}) cannot be loaded: {type(error).__name__}") from error
        if missing := [part for part in PARTS if not hasattr(found, part)]:
            raise NoPolicy(f"{point.value} is no policy: it has no {', '.join(missing)}")
        policy: Policy = found
        return policy
    raise NoPolicy(f"there is no policy {name[:LONGEST]!r}; there are: {', '.join(names())}")
