"""A foreground job, seen from its client: waits for its turn, carries its streams, ends it when we end.

One loop over three things: the launcher's socket, our stdin, and signals.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time

from wq.cli.errors import FAILED, WqError
from wq.protocol.wire import decode, encode_chunk

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import signal
    import subprocess
    from typing import Any

    from wq.cli.link import LauncherLink
else:
    try:
        import _signal as signal  # what `signal` is made of, whose enums cost 5 ms
    except ImportError:
        import signal

STDIN_WINDOW_BYTES = 256 << 10
CHUNK_BYTES = 64 << 10
GRACE_S = 2.0
TIMED_OUT = 124  # as of timeout(1)
PATIENCE_S = 4.0  # after Ctrl-C, for word of the end
TELLING = ("NodePaused", "NodeDown", "ServerAway")  # reasons that are said once where there is no terminal
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class ReaderGone(Exception):
    """Whoever read our stdout or stderr does so no more."""


def run(link: LauncherLink, task: dict[str, Any], setting: dict[str, Any], *, stdin_used: bool) -> int:
    """Submit one job, stay with it to its end; answers its exit status (128+n for a signal)."""
    gc.enable()  # it may live for days
    job = Foreground(link, task, stdin_used=stdin_used)
    link.send({"type": "sub", "tasks": [task], "stems": [None], "setting": setting})
    try:
        return job.follow()
    except ReaderGone:
        return 128 + signal.SIGPIPE
    finally:
        job.line.clear()
        job.take_terminal_back()
        if job.remark:
            from wq.cli.main import complain

            complain(job.remark)
        link.sock.close()


class WaitingLine:
    """One line on the terminal that says why we wait, updated in place; nothing where there is no terminal."""

    def __init__(self) -> None:
        try:
            self.on = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and os.tcgetpgrp(2) == os.getpgrp()
        except OSError:
            self.on = False
        self.shown = False

    def show(self, text: str) -> None:
        if not self.on:
            return
        from wq.cli.render.sanitise import printable

        try:
            columns = os.get_terminal_size(2).columns or 80  # some terminals say 0
        except OSError:
            columns = 80
        sys.stderr.write(f"\r\x1b[K{printable(text)[: max(columns - 1, 10)]}")
        sys.stderr.flush()
        self.shown = True

    def clear(self) -> None:
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self.shown = False


class Foreground:
    """The state of one such job."""

    def __init__(self, link: LauncherLink, task: dict[str, Any], *, stdin_used: bool) -> None:
        self.link = link
        self.tty = bool(task["tty"])
        self.id: int | None = None
        self.line = WaitingLine()
        self.running = False
        self.status: int | None = None
        self.stopped_by: str | None = None
        self.signalled = 0
        self.give_up_at: float | None = None
        self.told_why = ""
        self.stdin_open = not (self.tty or stdin_used)
        self.stdin_sent = self.stdin_acked = 0
        self.side: subprocess.Popen[bytes] | None = None
        self.terminal: list[Any] | None = None  # its settings, before a side connection changed them
        self.remark = ""
        self.wake_r, wake_w = os.pipe()
        os.set_blocking(self.wake_r, False)
        os.set_blocking(wake_w, False)
        signal.set_wakeup_fd(wake_w)
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if stdin_used or not self.stdin_open:
            self.close_stdin()

    def follow(self) -> int:
        """The loop."""
        while self.status is None or self.side is not None:
            poll = select.poll()
            poll.register(self.wake_r, select.POLLIN)
            if self.status is None:
                poll.register(self.link.sock.fileno(), select.POLLIN)
            if self.may_read_stdin():
                poll.register(0, select.POLLIN)
            ready = dict(poll.poll(self.timeout_ms()))
            if self.wake_r in ready:
                self.signals(os.read(self.wake_r, 512))
            if self.link.sock.fileno() in ready:
                self.receive()
            if 0 in ready:
                self.read_stdin()
            if self.give_up_at is not None and time.monotonic() > self.give_up_at:
                return 128 + self.signalled
        return 128 + self.signalled if self.signalled and self.status >= 128 else self.status

    def timeout_ms(self) -> int | None:
        if self.give_up_at is not None:
            return max(0, int((self.give_up_at - time.monotonic()) * 1000)) + 1
        return None

    # signals

    def signals(self, numbers: bytes) -> None:
        """Ctrl-C and the like end the job; a second one does not wait for its end."""
        if self.side is not None and self.side.poll() is not None:
            self.side = None
        for number in numbers:
            if number not in ENDING:
                continue
            if self.side is not None and number == signal.SIGINT:
                continue  # the terminal is the job's: so is its Ctrl-C
            if self.signalled:
                self.give_up_at = 0.0
            self.signalled = number
            self.link.send({"type": "cancel", "grace_s": GRACE_S})
            self.give_up_at = self.give_up_at if self.give_up_at is not None else time.monotonic() + PATIENCE_S

    # the launcher

    def receive(self) -> None:
        data = self.link.sock.recv(1 << 18)
        if not data:
            self.link.revive()
            raise WqError("your launcher died, and a foreground job ends with it", FAILED)
        for body in self.link.frames.feed(data):
            message = decode(body)
            if isinstance(message, tuple):
                self.output(*message)
            else:
                self.told(message)

    def told(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if "error" in message:
            raise self.link.refusal(message)
        if "ok" in message:
            self.id = message["ok"]["jobs"][0]["id"]
        elif kind == "waiting":
            ahead = message["ahead"]
            others = "" if ahead is None else f"; {ahead} ahead" if ahead else "; you are next"
            name = f"job {self.id}" if self.id is not None else "it"
            self.line.show(f"{name} waits: {message['reason']}{others}")
            if message["code"] in TELLING and not self.line.on and message["reason"] != self.told_why:
                from wq.cli.main import complain

                self.told_why = message["reason"]
                complain(f"{name} waits: {self.told_why}")
        elif kind == "starting":
            self.line.show(f"job {self.id} starts on {', '.join(message['hosts'][:4])}")
        elif kind == "running":
            self.line.clear()
            self.running = True
        elif kind == "side":
            self.open_side(message["argv"])
        elif kind == "stopping":
            self.stopped_by = message["by"]
        elif kind == "stdin_at":
            self.stdin_acked = message["off"]
        elif kind == "ended":
            self.ended(message["outcome"])

    def ended(self, outcome: dict[str, Any]) -> None:
        """The exit status is the job's; what is not the job's own doing gets a sentence."""
        self.line.clear()
        if outcome["kind"] == "time_limit":
            self.status = TIMED_OUT
        elif outcome["exit_status"] is not None:
            self.status = outcome["exit_status"]
        elif outcome["signal"] is not None:
            self.status = 128 + outcome["signal"]
        else:
            self.status = 128 + self.signalled if self.signalled else FAILED
        if outcome.get("torn"):
            self.status = self.status or FAILED
            self.remark = f"job {self.id}: a part of its output is lost: its shepherd had to be started again"
            return
        by = outcome["by"] or (self.stopped_by if not self.signalled else None)
        if self.signalled:
            return
        if by:
            self.remark = f"job {self.id} was removed by {by}"
        elif outcome["message"]:
            self.remark = f"job {self.id}: {outcome['message']}"

    def open_side(self, argv: list[str]) -> None:
        """The terminal goes to the job: ssh, or the shepherd's own relay, has it until the job ends."""
        import subprocess
        import termios

        self.line.clear()
        self.running = True
        try:
            self.terminal = termios.tcgetattr(0)
            self.side = subprocess.Popen(argv)
        except termios.error:
            raise WqError("the terminal is gone", FAILED) from None
        except OSError as error:
            raise WqError(f"cannot run {argv[0]}: {error.strerror}", FAILED) from None

    def take_terminal_back(self) -> None:
        """However the side connection ended (it may have been killed): the terminal is as it was before."""
        if self.terminal is None:
            return
        import termios

        if self.side is not None and self.side.poll() is None:
            self.side.kill()
            self.side.wait()
        try:
            if os.tcgetpgrp(0) == os.getpgrp():
                termios.tcsetattr(0, termios.TCSANOW, self.terminal)
        except (OSError, termios.error):
            pass  # it is gone

    # streams

    def output(self, channel: int, payload: bytes) -> None:
        self.line.clear()
        view = memoryview(payload)
        try:
            while view:
                view = view[os.write(channel, view) :]
        except BrokenPipeError:
            raise ReaderGone from None

    def may_read_stdin(self) -> bool:
        if not self.stdin_open or not self.running or self.stdin_sent - self.stdin_acked >= STDIN_WINDOW_BYTES:
            return False
        try:
            return not os.isatty(0) or os.tcgetpgrp(0) == os.getpgrp()
        except OSError:
            return True

    def read_stdin(self) -> None:
        try:
            data = os.read(0, CHUNK_BYTES)
        except OSError:
            data = b""
        if data:
            self.link.sock.sendall(encode_chunk(0, data))
            self.stdin_sent += len(data)
        else:
            self.close_stdin()

    def close_stdin(self) -> None:
        self.stdin_open = False
        self.link.send({"type": "eof"})
