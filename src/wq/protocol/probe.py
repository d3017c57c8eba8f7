"""What a launcher writes into an output file before its job starts, to find out which nodes see that file."""

from __future__ import annotations

PROBE_BYTES = 36  # "wq ", 32 hexadecimal digits, a newline


def is_probe(data: bytes) -> bool:
    """True if this is all that the launcher wrote, and nothing of the job's."""
    return len(data) == PROBE_BYTES and data.startswith(b"wq ")
