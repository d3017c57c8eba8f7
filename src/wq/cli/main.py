"""The command `wq`: finds the verb, loads that verb's file alone, and turns failures into one line."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import NoReturn

VERBS = {
    "sub": "submit jobs",
    "ls": "list jobs",
    "stat": "show what the nodes do",
    "info": "show everything about a job",
    "hist": "show finished jobs",
    "wait": "wait until jobs are over",
    "log": "show what jobs have written, follow one",
    "rm": "remove jobs",
    "hold": "take waiting jobs out of the line",
    "release": "let held jobs back into the line",
    "top": "put waiting jobs to the front of your own",
    "redo": "run jobs that are over once more",
    "edit": "change a job in the queue",
    "suspend": "stop jobs where they are",
    "resume": "have suspended jobs go on",
    "signal": "send a signal to jobs",
    "eff": "asked against used, of jobs that are over",
    "simulate": "replay a trace, or the queue's past, under other policies",
    "refresh": "look again now",
    "users": "list users",
    "user": "show one user",
    "limit": "limit yourself, or others",
    "node": "show nodes, take them off and on",
    "orphans": "find processes that jobs have left behind",
    "init": "make a cluster file by looking at machines",
    "serve": "run the server of a cluster, or of this machine",
    "shutdown": "stop the server",
    "launcher": "bring your launchers back, after a reboot",
    "doctor": "look for what is wrong with an installation",
    "completion": "print a script for bash, zsh or fish",
}
HIDDEN = {"run_launcher", "afar"}
MEANT = {  # what other queues call it
    **dict.fromkeys(("remove", "delete", "del", "cancel", "kill", "scancel", "qdel"), "rm"),
    **dict.fromkeys(("submit", "add", "run", "sbatch", "srun", "qsub"), "sub"),
    **dict.fromkeys(("list", "queue", "status", "squeue", "qstat"), "ls"),
    **dict.fromkeys(("nodes", "sinfo"), "stat"),
    **dict.fromkeys(("restart", "requeue", "again"), "redo"),
    **dict.fromkeys(("continue", "unpause"), "resume"),
    **dict.fromkeys(("pause", "stop"), "suspend"),
    **dict.fromkeys(("follow", "tail", "output"), "log"),
    **dict.fromkeys(("history", "sacct"), "hist"),
    **dict.fromkeys(("replay", "whatif"), "simulate"),
}
WITHOUT_SERVER = {"serve", "launcher", "run_launcher", "afar", "init", "doctor", "completion", "simulate"}
VALUED = frozenset(
    """-p --port -c --command -r --require -u --user -s --spool --grace --reason
    --array --each-line --each-csv --param --at-most --caps
    --max-fails --after --after-any --after-notok --after-each --begin --retries --notify
    -o --columns --sort --state --name --file --output -e --error --lines --attempt --since
    --keep --until --most --timeout
    --policy --procs --cluster --add --limit --cores --groups --starts --png""".split()
)  # (not the -f of `wq init`: that of `wq ls` has no value)
MAYBE_VALUED = ("-w", "--watch")  # by a number


def usage() -> str:
    lines = ["usage: wq [-p PORT] COMMAND ...", "", "A work queue for machines that everyone can reach by ssh.", ""]
    lines += [f"  {verb:<10} {what}" for verb, what in VERBS.items()]
    lines += ["", "`wq COMMAND -h` has options and examples. For a start:", "  wq sub -c 'echo hello from $(hostname)'"]
    return "\n".join(lines)


def find_verb(words: list[str]) -> tuple[str | None, list[str]]:
    """(the command, all other words): options may stand before it, with their values."""
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-h", "--help", "--version"):
        word, after = words[at], words[at + 1 : at + 2]
        takes = takes_value(word) or (word in MAYBE_VALUED and is_number(after))
        takes = takes or (word == "-n" and bool(after) and after[0].isdecimal())  # (a number in `log`, none in `sub`)
        at += 2 if takes else 1
    if at >= len(words) or words[at].startswith("-"):
        return None, words
    return words[at], words[:at] + words[at + 1 :]


def is_number(words: list[str]) -> bool:
    return bool(words) and words[0].replace(".", "", 1).isdecimal()


def takes_value(option: str) -> bool:
    """True if the word after this one belongs to it: -c, or -bc, but not -cX or -bcX."""
    if option.startswith("--"):
        return option in VALUED
    while len(option) > 2 and option[:2] not in VALUED:
        option = f"-{option[2:]}"
    return option in VALUED


def main(words: list[str] | None = None) -> int:
    """Run one command; answers its exit status."""
    fill_standard_streams()
    words = sys.argv[1:] if words is None else words
    verb, rest = find_verb(words)
    if verb is None:
        if "--version" in words:
            from wq import __version__

            print(f"wq {__version__}")
            return 0
        print(usage(), file=sys.stdout if words else sys.stderr)
        return 0 if {"-h", "--help"} & set(words) else 2
    if verb not in VERBS and verb not in HIDDEN:
        import difflib

        near = [MEANT[verb]] if verb in MEANT else difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean `wq {near[0]}`?" if near else f"there are: {', '.join(VERBS)}"
        print(f"wq: there is no command {verb!r}; {hint}", file=sys.stderr)
        return 2
    return guarded(verb, rest)


def script() -> NoReturn:
    """What the script `wq` calls: main, and the end of the process, without tidying up first (2 ms)."""
    import gc

    if find_verb(sys.argv[1:])[0] not in WITHOUT_SERVER:
        gc.disable()  # what a command makes it keeps to its end: to look for garbage in 100,000 jobs is in vain
    status = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(status)  # Python's own way to say so
    os._exit(status)


def fill_standard_streams() -> None:
    """Where 0, 1 or 2 is closed, the next file that is opened would get that number and be taken for our input."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def guarded(verb: str, words: list[str], *, afar: bool = False) -> int:
    """Run a verb; whatever fails is one line on stderr, never a traceback. afar: it is of a client on another host."""
    from wq.cli import install
    from wq.cli.errors import AWAY, FAILED, WqError
    from wq.protocol.wire import WireError

    try:
        if not install.looks_safe():
            install.check()
        return dispatch(verb, words, afar=afar)
    except WireError as error:
        complain(f"what the other side says is not understood: {error}")
        return FAILED
    except WqError as error:
        complain(str(error))
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        drop_stdout()
        return 141
    except ConnectionError:
        complain("the server closed the connection; is it being stopped?")
        return AWAY
    except OSError as error:
        drop_stdout()
        complain(f"{error.strerror}: {error.filename}" if error.filename else str(error))
        return 1
    except Exception as error:
        from wq.cli import connection

        if not connection.Server.heard:
            raise
        complain(f"what the server says makes no sense, or this is a bug: {where(error)}")
        return FAILED


def where(error: Exception) -> str:
    """An error and its place, in a few words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace is not None else "?"
    return f"{type(error).__name__} at {place}: {str(error)[:200]}"


def drop_stdout() -> None:
    """What could not be written is not tried again at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def complain(sentence: str) -> None:
    from wq.cli.render.sanitise import printable

    print(f"wq: {printable(sentence)}", file=sys.stderr)


def dispatch(verb: str, words: list[str], *, afar: bool = False) -> int:
    """Parse the options of one verb and run it, here or on the server's host."""
    from wq.cli import config, options

    command = __import__(f"wq.cli.commands.{verb}", fromlist=("run",))  # importlib would cost a millisecond
    tail: list[str] | None = None
    if verb == "sub" and "--" in words:
        at = words.index("--")
        words, tail = words[:at], words[at + 1 :]
    args = options.read(verb, command, words)
    args.tail = tail
    port_given = args.port is not None
    args.port = port_number(args.port)
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if verb not in WITHOUT_SERVER and not afar and config.server_host() is not None:
        from wq.cli import remote

        remote.go_there_if_configured(verb, words, args, port_given=port_given)
    status: int = command.run(args)
    sys.stdout.flush()
    return status


def port_number(given: str | None) -> int:
    """The number of the queue: what was given, or WQ_PORT, or the usual one."""
    from wq.cli.errors import WqError
    from wq.protocol.places import DEFAULT_PORT

    text = given if given is not None else os.environ.get("WQ_PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= 65535:
        raise WqError(f"{text[:20]!r} is not a port; a number from 1 to 65535 is", 2)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
