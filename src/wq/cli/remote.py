"""A server on another host: the same command runs there, through ssh, so that ssh and the kernel say who you are.

What the command needs of this host goes along: its words and directory in one word of plain letters, which means the
same to every login shell; the contents of files on standard input, never on a command line. `wq afar` is the other end.
"""

from __future__ import annotations

import os
import sys

from wq.cli import config
from wq.cli.errors import AWAY, BAD_INPUT, WqError
from wq.protocol import sockets

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import subprocess
    from typing import Any

SSH_FAILED = 255  # what ssh answers for its own failures, and for a command that did so
LONGEST_WORD = 120_000  # the kernel allows 128 KiB
PR_SET_PDEATHSIG = 1
INTERACTIVE = {"ls": "watch", "stat": "watch"}  # with this option the command draws on the terminal
LASTING = ("log", "wait")  # these may say nothing for days


def go_there_if_configured(verb: str, words: list[str], args: Any, *, port_given: bool) -> None:
    """Run `ssh HEAD wq ...` and end with its status, if a server on another host is configured (server:, WQ_SERVER)."""
    host = config.server_host()
    if host is None or is_here(host):
        return
    if not port_given and os.environ.get("WQ_PORT"):
        words = ["-p", os.environ["WQ_PORT"], *words]
    head = head_of(host)
    facts: dict[str, Any] = {"words": [verb, *words], "tail": args.tail}
    if verb == "wait" or (verb == "sub" and args.wait):
        facts["ends_with_us"] = True
    sys.stdout.flush()
    sys.exit(submit(head, facts, args) if verb == "sub" else ask(head, facts, args))


def head_of(host: str) -> Head:
    """The host of the server, as the configuration says that it is reached."""
    settings = config.load()
    ssh_command = os.environ.get("WQ_SSH") or settings.get("ssh_command", "ssh")
    return Head(host, ssh_command, settings.get("remote_command", "wq"))


def ask(head: Head, facts: dict[str, Any], args: Any) -> int:
    """Any command but a submission: its output is shown here as it would be on this terminal."""
    draws = getattr(args, INTERACTIVE.get(facts["words"][0], ""), None) is not None
    goes_on = draws or facts["words"][0] in LASTING
    try:
        columns = os.get_terminal_size(1).columns
        facts["colour"] = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    except OSError:  # no terminal
        facts["ends_with_us"] = goes_on
        return head.status_of(facts)
    if not draws or args.json or not os.isatty(0) or os.environ.get("TERM") == "dumb":
        facts["columns"], facts["ends_with_us"] = columns, goes_on
        return head.status_of(facts)
    try:
        return head.status_of(facts, None, terminal=True)  # ssh tells the size of the window, whenever it changes
    except WqError:
        from wq.cli.watch import LEAVE

        sys.stdout.write(LEAVE)  # what has drawn on this terminal can no more put it right
        sys.stdout.flush()
        raise


def submit(head: Head, facts: dict[str, Any], args: Any) -> int:
    """With the directory, the contents of the files, and standard input or the terminal, if they are used."""
    from wq.cli import carried
    from wq.cli.commands import sub

    facts["directory"] = sub.here()
    files = [path for path in (*args.files, args.each_line, args.each_csv) if path is not None]
    named = list(dict.fromkeys(path for path in files if path != "-"))
    if args.batch:
        if "-" not in files:
            data = carried.pack(named) if named else b""
            return head.status_of({**facts, "files": "stdin"} if named else facts, data)
        if named:
            facts["files"] = head.put(carried.pack(named))
        return head.status_of(facts, None)
    terminal = sub.on_terminal()
    x = "-" not in files and bool(os.environ.get("DISPLAY")) and any(task.get("x") for task, _ in sub.gather(args))
    if named:
        facts["files"] = head.put(carried.pack(named))
    facts["ends_with_us"] = not terminal  # (the end of a terminal is told by a signal)
    return head.status_of(facts, None, terminal=terminal, x=x)


class Head:
    """The server's host, as ssh reaches it."""

    def __init__(self, host: str, ssh_command: str, wq: str) -> None:
        self.host, self.ssh_command, self.wq = host, ssh_command, wq

    def argv(self, facts: dict[str, Any], *, terminal: bool = False, x: bool = False) -> list[str]:
        """argv of ssh. Raises WqError for a name that is none, and for what is too long."""
        from wq.backends import ssh
        from wq.cli.carried import word_of

        word = word_of(facts)
        if len(word) > LONGEST_WORD:
            raise WqError("this is too long for a command line there; write it into a job file", BAD_INPUT)
        options = ["-X" if x else "-x", "-tt" if terminal else "-T"]
        try:
            return ssh.command(
                self.ssh_command, self.host, words=[f"{self.wq} afar {word}"], options=options, batch=False
            )
        except ValueError as error:
            raise WqError(f"server: {error}", BAD_INPUT) from None

    def status_of(
        self, facts: dict[str, Any], data: bytes | None = b"", *, terminal: bool = False, x: bool = False
    ) -> int:
        """Run it there to its end. data: its standard input; None: ours."""
        facts["token"] = os.urandom(16).hex()
        process = self.start(self.argv(facts, terminal=terminal, x=x), data)
        status = wait_for(process, data)
        if status == SSH_FAILED and not self.was_said(facts["token"]):
            raise WqError(f"the connection to {self.host} was lost; `wq ls` shows what became of it", AWAY)
        return status

    def start(self, argv: list[str], data: bytes | None, *, read: bool = False) -> subprocess.Popen[bytes]:
        import subprocess

        stdin = None if data is None else subprocess.PIPE if data else subprocess.DEVNULL
        stdout = subprocess.PIPE if read else None
        try:
            return subprocess.Popen(argv, stdin=stdin, stdout=stdout, preexec_fn=die_with_parent)
        except OSError as error:
            raise WqError(f"cannot run {argv[0]}: {error.strerror}") from None

    def answer_to(self, facts: dict[str, Any], data: bytes) -> bytes:
        """What a command of ours prints there. Raises WqError if it fails, with 75 if there is no connection."""
        process = self.start(self.argv(facts), data, read=True)
        said = process.communicate(data or None)[0]
        if process.returncode == SSH_FAILED:
            raise WqError(f"the server's host {self.host} cannot be reached (what ssh said stands above)", AWAY)
        if process.returncode:
            raise WqError(f"wq on {self.host} failed (what it said stands above)")
        return said

    def put(self, data: bytes) -> str:
        """Bring files there; answers the name that `files` has for them."""
        return self.answer_to({"put": True}, data).decode("ascii", "replace").strip()

    def was_said(self, token: str) -> bool:
        """Whether the command itself has answered 255. Raises WqError if the host cannot be reached."""
        return self.answer_to({"said": token}, b"") == b"yes\n"


def die_with_parent() -> None:
    """What is started here ends with us, however we end: then the job there ends, too."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGHUP))


def wait_for(process: subprocess.Popen[bytes], data: bytes | None) -> int:
    """The exit status of ssh, 128+n for a signal; signals that reach us alone are passed on."""
    import signal

    def pass_on(number: int, _: object) -> None:
        if process.poll() is None:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    process.communicate(data or None)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def is_here(host: str) -> bool:
    """True if this is the name of this machine."""
    name = sockets.gethostname()
    return host in (name, name.split(".")[0], "localhost") or host.split(".")[0] == name
