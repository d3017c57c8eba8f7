"""wq shutdown: stop the server in order."""

from __future__ import annotations

from wq.cli.connection import connect

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = "Stop the server in order. Running jobs go on, and are found again when it is started the next time."
EXAMPLES = """examples:
  wq shutdown"""


def options(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(args: argparse.Namespace) -> int:
    server = connect(args.port)
    facts = server.ask("shutdown")
    while server.sock.recv(4096):
        pass  # until it is gone
    running = int(facts["running"])
    if running:
        them = "1 running job goes on; it is" if running == 1 else f"{running} running jobs go on; they are"
        print(f"{them} found again when the server is started")
    return 0
