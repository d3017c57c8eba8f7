"""wq signal: send a signal to jobs."""

from __future__ import annotations

from wq.cli import control
from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = (
    "Send a signal to what runs of jobs: to all of its processes on all of its nodes; USR1, USR2 and\n"
    "real-time signals only to those that catch them, as the others would die of it."
)
EXAMPLES = """examples:
  wq signal 12 USR1          this job
  wq signal 3-9 12 INT       what runs of these
  wq signal 12.5 10          by its number"""
OTHERS = {18: "resume", 19: "suspend"}  # CONT and STOP: the queue must know of it


def options(parser: argparse.ArgumentParser) -> None:
    control.options(parser)
    parser.usage = (
        "wq signal [-h] [-p PORT] [--json] ID [ID ...] SIGNAL\n"
        "       wq signal [-h] [-p PORT] [--json] [--mine] [--name PAT] [--state S,...] [--failed] SIGNAL"
    )


def run(args: argparse.Namespace) -> int:
    from wq.formats.signals import SignalError, name_of, number_of

    by_options = args.mine or args.failed or args.name is not None or args.state is not None
    if len(args.ids) < (1 if by_options else 2):
        raise WqError("signal: ids and a signal are wanted: wq signal 12 USR1", BAD_INPUT)
    *args.ids, name = args.ids
    try:
        number = number_of(name)
    except SignalError as error:
        raise WqError(f"signal: {error}", BAD_INPUT) from None
    if number in OTHERS:
        raise WqError(f"signal: for {name_of(number)} there is `wq {OTHERS[number]}`", BAD_INPUT)
    control.check(args, "signal")
    facts = control.ask("signal", connect(args.port), args, number=number)
    return control.report(facts, f"{name_of(number)} sent", "running", as_json=args.json)
