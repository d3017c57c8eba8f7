"""A node's disk in memory: it knows what was written and what was synced, can be full, and can fail to sync."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random


@dataclass(eq=False, slots=True, kw_only=True)
class File:
    """A file. safe: what a power cut leaves; None: nothing, not even its name. spoilt: a sync of it has failed."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    safe: bytes | None = None
    spoilt: bool = False
    watchers: list[Callable[[], None]] = field(default_factory=list)  # to be told that it grew


@dataclass(eq=False, slots=True, kw_only=True)
class Disk:
    """The directory of one spool. full: room for so many more bytes; None: no end of it. in_memory: a tmpfs."""

    in_memory: bool
    files: dict[str, File] = field(default_factory=dict)
    full: int | None = None
    failing: bool = False
    made: int = 0

    def make(self, name: str) -> File:
        self.made += 1
        file = self.files[name] = File(number=self.made)
        return file

    def append(self, file: File, data: bytes) -> int:
        """Write at the end what there is room for, as os.write does. Raises ENOSPC if that is nothing."""
        if self.full is not None and data:
            data = data[: self.full]
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.full -= len(data)
        file.data += data
        for tell in file.watchers:
            tell()
        return len(data)

    def cut(self, file: File, size: int) -> None:
        """Make it shorter; what it had is room again."""
        if self.full is not None:
            self.full += max(0, len(file.data) - size)
        del file.data[size:]

    def remove(self, name: str) -> bool:
        """False if there is none."""
        file = self.files.pop(name, None)
        if file is not None and self.full is not None:
            self.full += len(file.data)
        return file is not None

    def sync(self, file: File) -> None:
        """After a failed sync the kernel takes the pages for clean: what was in them never gets to the disk."""
        if self.failing:
            file.spoilt = True
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if not file.spoilt:
            file.safe = bytes(file.data)

    def power_cut(self, random: Random) -> None:
        """What was synced is there afterwards, perhaps with some of what was written later; of a tmpfs nothing is."""
        kept = {} if self.in_memory else {name: file for name, file in self.files.items() if file.safe is not None}
        for file in kept.values():
            assert file.safe is not None
            if not file.spoilt and file.data.startswith(file.safe):
                file.safe = bytes(file.data[: random.randint(len(file.safe), len(file.data))])
            file.data, file.spoilt, file.watchers = bytearray(file.safe), False, []
        self.files = kept
