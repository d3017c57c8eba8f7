"""wq launcher: bring back the launchers that have unfinished work."""

from __future__ import annotations

import os
import re
import sys

from wq.cli.errors import FAILED, WqError
from wq.cli.link import LauncherLink, Queue, remark
from wq.protocol import places

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = (
    "Bring back all launchers of yours on this host that have died with unfinished work, after a reboot\n"
    "say. Any other command does it for its own queue. In silence if there is none."
)
EXAMPLES = """examples:
  wq launcher
  wq launcher --print-unit     what systemd or cron need to do it by themselves"""
STATE = re.compile(r"launcher-(private|[0-9]+)-([0-9]+)")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--print-unit", action="store_true", help="print units for systemd, and lines for a crontab")


def run(args: argparse.Namespace) -> int:
    if args.print_unit:
        from wq.cli import units

        sys.stdout.write(units.for_launchers())
        return 0
    status = 0
    for queue in unfinished():
        try:
            bring_back(queue)
        except (WqError, places.PlaceError, OSError) as error:
            which = "your private queue" if queue.private else "the queue"
            remark(f"{which} on port {queue.port}: {error}")
            status = FAILED
    return status


def unfinished() -> list[Queue]:
    """The queues for which a launcher of this user has unfinished work here."""
    base = places.state_dir("")[0]
    found = []
    for name in sorted(os.listdir(base)):
        named = STATE.fullmatch(name)
        if named and os.path.exists(os.path.join(base, name, places.UNFINISHED)):
            private = named[1] == "private"
            uid = os.getuid() if private else int(named[1])
            found.append(Queue(uid, int(named[2]), private=private))
    return found


def bring_back(queue: Queue) -> None:
    """Start the launcher of a queue if it is not there; one's own private server, too: nobody else would."""
    from wq.cli import connection

    if queue.private:
        sock = connection.try_connect(queue.uid, queue.port, private=True)
        if sock is None:
            connection.start_private_server(queue.port, silent=True)
        else:
            sock.close()
    LauncherLink(queue).sock.close()
