"""wq run_launcher: one user's launcher for one queue, until it has no work; for internal use, see link.py."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from wq.cli.errors import WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Start your jobs on a server's behalf; for internal use. `wq launcher` brings launchers back."
EXAMPLES = ""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server-uid", type=int, required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--ready-fd", type=int)


def run(args: argparse.Namespace) -> int:
    from wq.cli import daemon
    from wq.cli.connection import user_name
    from wq.launcher import launcher
    from wq.node.shepherd import set_title
    from wq.protocol.places import PlaceError
    from wq.server.server import log_to_stderr

    lock = os.open(os.path.join(args.state, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not take_turn(lock, args):
        daemon.say_ready(args.ready_fd)  # another one was quicker: it serves
        return 0
    user = user_name(os.getuid())
    set_title(f"wq launcher of {user} -p {args.port}")  # type: ignore[no-untyped-call]
    settings = launcher.Settings(
        port=args.port,
        server_uid=args.server_uid,
        private=args.private,
        state=Path(args.state),
        user=user,
    )
    try:
        daemon.run_loop(launcher.launch(settings, lambda: daemon.say_ready(args.ready_fd), log_to_stderr))
    except (PlaceError, OSError, launcher.LedgerTrouble) as error:
        daemon.say_trouble(args.ready_fd, str(error))
        raise WqError(str(error)) from None


def take_turn(lock: int, args: argparse.Namespace) -> bool:
    """Two never live at once: one that is leaving is waited for; False if one is there and answers."""
    import socket
    import time

    from wq.protocol.places import launcher_socket

    path = launcher_socket(os.getuid(), args.port, args.server_uid, private=args.private)
    for _ in range(200):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            with socket.socket(socket.AF_UNIX) as sock:
                if sock.connect_ex(path) == 0:
                    return False
        time.sleep(0.05)
    raise WqError("another launcher of yours holds the lock and does not answer")
