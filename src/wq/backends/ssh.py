"""The OpenSSH client, with the user's own configuration: its arguments, and what its failures mean.

Host names come from the server, which nobody has to trust: a strict pattern, always behind `--`, never
through a shell. Agent and X forwarding are off unless the job asks.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Sequence

from wq.core.cluster import HOST_PATTERN

CONNECT_TIMEOUT_S = 15
ALIVE_INTERVAL_S = 5
ALIVE_COUNT = 3


class EvilName(ValueError):
    """A host name that is none."""


def command(
    ssh_command: str, host: str, *, words: Sequence[str], options: Sequence[str] = (), batch: bool = True
) -> list[str]:
    """argv of ssh for one host. words: for the login shell there. Raises EvilName, ValueError (bad ssh_command)."""
    if not HOST_PATTERN.fullmatch(host):
        raise EvilName(f"{host!r} is not the name of a host")
    program = shlex.split(ssh_command) or ["ssh"]
    settings = [
        "RemoteCommand=none",
        "PermitLocalCommand=no",
        "ClearAllForwardings=yes",
        "ControlMaster=no",
        f"ConnectTimeout={CONNECT_TIMEOUT_S}",
        f"ServerAliveInterval={ALIVE_INTERVAL_S}",
        f"ServerAliveCountMax={ALIVE_COUNT}",
    ]
    if batch:
        settings.append("BatchMode=yes")
    argv = [*program, "-a"]
    for setting in settings:
        argv += ["-o", setting]
    return [*argv, *(options or ("-x", "-T")), "--", host, *words]


def kill(pid: int) -> None:
    """KILL for an ssh that has not ended, as far as the loop knows.

    (asyncio's own kill asks after it first: if it has just ended, its status is lost, and a warning is printed.)
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def sentence(host: str, status: int | None, errors: str) -> str:
    """Why a connection did not come about, for a human: from ssh's exit status and what it said."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Warning:", "debug", "**"))]
    last = telling[-1] if telling else (lines[-1] if lines else "")
    text = errors.lower()
    if "permission denied" in text:
        return f"{host} refuses your key ({last})"
    if "host key verification failed" in text or "no matching host key" in text:
        return f"the host key of {host} is not known or has changed; log in once with ssh to accept it ({last})"
    if "could not resolve" in text:
        return f"{host} has no address ({last})"
    if any(word in text for word in ("timed out", "no route", "connection refused", "unreachable")):
        return f"{host} does not answer ({last})"
    if "python 3.6" in text:
        return f"the python3 of {host} is too old; 3.6 or newer is needed"
    if status == 127 or "python3: command not found" in text or "python3: not found" in text:
        return f"{host} has no python3; 3.6 or newer is needed there ({last})"
    return f"{host} could not be used ({last or f'ssh ended with status {status}'})"


def is_about_the_user(errors: str) -> bool:
    """True if the host answered, and what failed is between this user and it (a key, a host key)."""
    text = errors.lower()
    words = ("permission denied", "host key verification failed", "too many authentication")
    return any(word in text for word in words)
