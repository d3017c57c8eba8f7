"""Pieces of jobs by which tests see what ran, and tell it to go on."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

from tests.contract.driver import PATIENCE_S, Driver
from tests.e2e.rig import User, wait_for
from tests.e2e.users import title_of

LINES = 3000
COUNTS = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done"
ALL_LINES = "".join(f"line {number}\n" for number in range(1, LINES + 1))


def mark(work: Path, name: str) -> str:
    """A piece of shell that leaves a line there each time that it runs."""
    return f"echo x >>{shlex.quote(str(work / name))}"


def marks(work: Path, name: str) -> int:
    """How often it did."""
    with contextlib.suppress(FileNotFoundError):
        return len((work / name).read_text().splitlines())
    return 0


def until(path: Path) -> str:
    """A piece of shell that waits until the file is there."""
    return f"until [ -e {shlex.quote(str(path))} ]; do sleep 0.02; done"


def let_go(user: User, path: Path) -> None:
    user.write(path, "")


def wait_for_file(path: Path) -> str:
    """What is in a file, as soon as there is something."""

    def there() -> str:
        with contextlib.suppress(FileNotFoundError):
            return path.read_text().strip()
        return ""

    return wait_for(there, PATIENCE_S, f"something in {path}")


def strangers(driver: Driver) -> list[str]:
    """The titles of the user's processes that are no shepherds, keepers, attachers, sshds or bystanders."""
    titles = [title_of(pid) for pid in driver.left()]
    return [title for title in titles if not title.startswith(("wq-", "ssh")) and "WQ_BOOT" not in title]
