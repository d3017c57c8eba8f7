"""wq afar: a command of a client on another host, which that calls through ssh (see wq.cli.remote)."""

from __future__ import annotations

import os
import time

from wq.cli import carried, stdin
from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

HELP = "What a wq on another host calls here, through ssh, if its configuration has `server:`."
EXAMPLES = """examples:
  wq afar WORD                               the command, its files and its terminal are in the word"""
KEPT_S = 86400.0
SSH_FAILED = 255


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="as wq.cli.carried makes it")


def run(args: argparse.Namespace) -> int:
    facts = carried.facts_of(args.word)
    if facts.get("put"):
        return put()
    if "said" in facts:
        return said(str(facts["said"]))
    take_along(facts)
    return remembered(run_here(facts), str(facts.get("token", "")))


def run_here(facts: dict[str, Any]) -> int:
    """The command itself, as if it had been typed here."""
    from wq.cli.main import VERBS, guarded

    verb, *words = map(str, facts.get("words") or [""])
    if verb not in VERBS:
        raise WqError(f"the wq of this host does not know the command {verb!r}; is it older than yours?", BAD_INPUT)
    tail = facts.get("tail")
    return guarded(verb, words if tail is None else [*words, "--", *map(str, tail)], afar=True)


def take_along(facts: dict[str, Any]) -> None:
    """The directory, the files and the window of the client."""
    directory = facts.get("directory")
    if directory is not None:
        try:
            os.chdir(str(directory))
        except OSError:
            from wq.protocol.sockets import gethostname

            raise WqError(f"the directory {directory} is not there on {gethostname()}", BAD_INPUT) from None
        os.environ["PWD"] = str(directory)
    files = facts.get("files")
    if files == "stdin":
        carried.files = carried.unpack(stdin.opened().buffer)
    elif files is not None:
        path = carried.parked(str(files))
        with open(path, "rb") as stream:
            carried.files = carried.unpack(stream)
        os.unlink(path)
    if isinstance(facts.get("columns"), int):
        os.environ["COLUMNS"] = str(facts["columns"])
    if isinstance(facts.get("colour"), bool):  # there is a terminal
        os.environ["FORCE_COLOR"] = "1"
        if not facts["colour"]:
            os.environ["NO_COLOR"] = "1"
    if facts.get("ends_with_us"):
        import threading

        threading.Thread(target=end_with_the_client, daemon=True).start()


def end_with_the_client() -> None:
    """Without a terminal, sshd tells nobody that the client has gone; but nobody reads our output then."""
    import select
    import signal

    poll = select.poll()
    poll.register(1, 0)  # (hang-ups and errors are always told)
    poll.poll()
    os.kill(os.getpid(), signal.SIGHUP)


def put() -> int:
    """Keep what comes on standard input for the command that follows; print the token that it is kept by."""
    import shutil

    source = stdin.opened().buffer
    tidy()
    token = os.urandom(16).hex()
    fd = os.open(carried.parked(token), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        shutil.copyfileobj(source, file)
    print(token)
    return 0


def remembered(status: int, token: str) -> int:
    """ssh answers 255 for its own failures, too: the client asks (`said`) whether it was ours."""
    if status == SSH_FAILED and token:
        tidy()
        fd = os.open(carried.parked(token), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.close(fd)
    return status


def said(token: str) -> int:
    try:
        os.unlink(carried.parked(token))
        print("yes")
    except FileNotFoundError:
        print("no")
    return 0


def tidy() -> None:
    """What nobody came for within a day goes."""
    with os.scandir(carried.parking()) as entries:
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_mtime < time.time() - KEPT_S:
                os.unlink(entry.path)
