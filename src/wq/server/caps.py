"""What one user may have of the server at one time, so that nobody is slowed down by another."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """jobs: that are not over (an array counts as one). connections: to the server; a launcher is one.

    requests: that wait for an answer, by the number of jobs in them; beyond that nothing more of his is read for now.
    bytes: of messages that are not whole yet, and of answers that are not read.
    """

    jobs: int = 250_000
    connections: int = 200
    requests: int = 10_000
    bytes: int = 64 << 20


LEAST = {"jobs": 1, "connections": 4, "requests": 1, "bytes": 4 << 20}
MOST = 1 << 40


def parse_caps(text: str) -> Caps:
    """`jobs: 50000; connections: 100`. Raises ValueError with a sentence."""
    caps, seen = Caps(), set()
    names = [field.name for field in fields(Caps)]
    known = ", ".join(names)
    for item in filter(None, (part.strip() for part in text.split(";"))):
        key, colon, value = (part.strip() for part in item.partition(":"))
        if not colon or key not in names:
            raise ValueError(f"caps: {item[:60]!r} is not understood; `NAME: NUMBER` is, for {known}")
        if key in seen:
            raise ValueError(f"caps: {key} is given twice")
        if not (value.isascii() and value.isdecimal() and len(value) < 14 and LEAST[key] <= int(value) <= MOST):
            raise ValueError(f"caps: {key}: {value[:40]!r} is not a number from {LEAST[key]}")
        seen.add(key)
        caps = replace(caps, **{key: int(value)})
    return caps
