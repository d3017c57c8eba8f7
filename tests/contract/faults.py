"""Shepherds whose system calls fail when a test wants it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.contract.driver import SOURCE

HOOK = """
import os as _os
def _fail(name, code, flag, having, once):
    real, write = getattr(_os, name), _os.write
    def call(*words):
        if _os.path.exists(flag) and (not having or having in bytes(words[1])):
            if once:
                _os.unlink(flag)
            else:
                seen = _os.open(flag, _os.O_WRONLY | _os.O_APPEND)
                write(seen, b"x")
                _os.close(seen)
            raise OSError(code, _os.strerror(code))
        return real(*words)
    setattr(_os, name, call)
"""


def failing(call: str, code: int, flag: Path, *, having: bytes = b"", once: bool = False) -> bytes:
    """The source of a shepherd in which this call fails with this errno as long as the flag is there.

    having: only when it is to write these bytes. once: the flag is taken away then, else it gets a byte each time.
    """
    return f"{HOOK}\n_fail({call!r}, {code}, {os.fspath(flag)!r}, {having!r}, {once})\n".encode() + SOURCE
