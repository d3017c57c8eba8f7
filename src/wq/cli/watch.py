"""`-w`: looks again and again over one connection, and shows what it sees: drawn in place on a terminal, else printed.

While the server is away the last look stays, with a line that says so, and the next looks try to find it again.
"""

from __future__ import annotations

import gc
import io
import os
import sys
import time

from wq.cli.connection import Server, try_connect
from wq.cli.errors import AWAY, BAD_INPUT, WqError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wq.protocol import sockets

LEAST_S, MOST_S = 0.1, 86400.0
ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # another screen, without cursor, and no line is wrapped
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"


class Picture:
    """What is to be seen: head and tail always, of the body as much as there is room for. nmore: lines left out."""

    def __init__(self, head: list[str], body: list[str], tail: list[str], nmore: int = 0) -> None:
        self.head, self.body, self.tail, self.nmore = head, body, tail, nmore


class View:
    """What a command shows. Each is given what `look` has found.

    picture: as it stands in a window of so many columns and lines; text: as it is printed where there is no terminal;
    between: what separates two texts.
    """

    def __init__(
        self,
        look: Callable[[Any], Any],
        picture: Callable[[Any, int, int], Picture],
        text: Callable[[Any], str],
        between: str = "\n",
    ) -> None:
        self.look, self.picture, self.text, self.between = look, picture, text, between


def seconds_in(text: str, verb: str) -> float:
    """Raises WqError for what is no number of seconds, or none that makes sense."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST_S <= seconds <= MOST_S:
        hint = "a number of seconds stands behind it, from 0.1 to 86400, or nothing (an id stands before it)"
        raise WqError(f"{verb}: --watch: {text[:20]!r} is none; {hint}", BAD_INPUT)
    return seconds


def on_terminal() -> bool:
    """Is there a terminal that can be drawn on?"""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def watch(server: Server, every_s: float, view: View, *, in_place: bool) -> int:
    """Until somebody ends it; answers the exit status. Raises WqError if the first look fails, or for good."""
    gc.enable()  # it may live for days
    watched = Watched(server, view.look)
    watched.found = view.look(server)
    if in_place and on_terminal():
        return Screen(watched, every_s, view).run()
    return printed(watched, every_s, view)


class Watched:
    """The server, wherever it is just now, and what the last look has found."""

    def __init__(self, server: Server, look: Callable[[Any], Any]) -> None:
        self.server: Server | None = server
        self.whose = (server.uid, server.port, server.private)
        self.look = look
        self.found: Any = None
        self.away_since_s: float | None = None
        self.around: Callable[[sockets.socket], Any] = lambda sock: sock  # what a connection is wrapped in

    def again(self) -> bool:
        """Look again. False: the server is away. Raises WqError for what will not pass by itself."""
        try:
            if self.server is None:
                self.server = self.connected()
            if self.server is not None:
                self.found = self.look(self.server)
                self.away_since_s = None
                return True
        except (ConnectionError, TimeoutError):
            pass
        except WqError as error:
            if error.status != AWAY:
                raise
        self.lost()
        return False

    def connected(self) -> Server | None:
        """The same server, if it runs; none is started."""
        uid, port, private = self.whose
        sock = try_connect(uid, port, private=private)
        if sock is None:
            return None
        server = Server(sock, uid, port, private=private)
        server.sock = self.around(sock)
        return server

    def lost(self) -> None:
        if self.server is not None:
            self.server.sock.close()
            self.server = None
        if self.away_since_s is None:
            self.away_since_s = time.time()

    def trouble(self) -> str | None:
        """That the server is away, and since when."""
        if self.away_since_s is None:
            return None
        since = time.strftime("%H:%M:%S", time.localtime(self.away_since_s))
        return f"the server is away (since {since}); what is shown is older"


def printed(watched: Watched, every_s: float, view: View) -> int:
    """A new listing each time, until somebody ends us, or nobody reads any more."""
    from wq.cli.link import remark

    sys.stdout.write(view.text(watched.found))
    while True:
        sys.stdout.flush()
        time.sleep(every_s)
        was_away = watched.away_since_s is not None
        if watched.again():
            if was_away:
                remark("the server is back")
            sys.stdout.write(view.between + view.text(watched.found))
        elif not was_away:
            remark("the server is away")


class Leave(Exception):
    """The end: with this exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Screen:
    """The terminal, drawn on in place."""

    def __init__(self, watched: Watched, every_s: float, view: View) -> None:
        import select
        import signal

        self.watched, self.every_s, self.view = watched, every_s, view
        self.select, self.signal = select, signal
        self.modes: list[Any] | None = None  # of the terminal, before we changed them
        self.keys = os.isatty(0)
        self.is_in = False
        self.wake_r, wake_w = os.pipe()
        os.set_blocking(self.wake_r, False)
        os.set_blocking(wake_w, False)
        signal.set_wakeup_fd(wake_w)
        self.ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
        for number in (*self.ending, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        watched.around = lambda sock: Attentive(sock, self)
        assert watched.server is not None
        watched.server.sock = Attentive(watched.server.sock, self)  # type: ignore[assignment]

    def run(self) -> int:
        stderr, said = sys.stderr, io.StringIO()
        sys.stderr = said  # remarks would stand in the picture: they follow at the end
        try:
            self.enter()
            while True:
                self.paint()
                self.wait()
                self.watched.again()
        except Leave as leave:
            return leave.status
        finally:
            try:
                self.leave()
            except OSError:
                pass  # the terminal has gone
            sys.stderr = stderr
            stderr.write(said.getvalue())

    # ---- the terminal

    def enter(self) -> None:
        if self.keys:
            import termios

            modes = termios.tcgetattr(0)
            if not self.is_in:
                self.modes = modes
            ours = [*modes[:3], modes[3] & ~(termios.ICANON | termios.ECHO), *modes[4:6], [*modes[6]]]
            ours[6][termios.VMIN], ours[6][termios.VTIME] = 1, 0
            termios.tcsetattr(0, termios.TCSADRAIN, ours)
        self.is_in = True
        self.write(ENTER)

    def leave(self) -> None:
        """The terminal as it was before."""
        if not self.is_in:
            return
        self.is_in = False
        self.write(f"\x1b[H\x1b[J{LEAVE}")  # (some terminals leave a part of it, after a change of size)
        if self.modes is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self.modes)

    def write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def paint(self) -> None:
        """The whole picture in one write, over the last one: so nothing flickers."""
        size = os.get_terminal_size(1)
        columns, rows = size.columns or 80, size.lines or 24
        picture = self.view.picture(self.watched.found, columns, rows)
        lines = arranged(picture, self.watched.trouble(), columns, rows)
        self.write(drawing(lines, columns, rows))

    # ---- what happens meanwhile

    def wait(self) -> None:
        """Until the next look is due."""
        until_s = time.monotonic() + self.every_s
        while (left_s := until_s - time.monotonic()) > 0:
            if self.happens(left_s):
                return

    def happens(self, most_s: float, sock: sockets.socket | None = None) -> bool:
        """Keys and signals, for so long; True as soon as the socket has something to read, or a look is wanted."""
        poll = self.select.poll()
        poll.register(self.wake_r, self.select.POLLIN)
        if self.keys:
            poll.register(0, self.select.POLLIN)
        if sock is not None:
            poll.register(sock.fileno(), self.select.POLLIN)
        ready = dict(poll.poll(max(most_s, 0.0) * 1000))
        if self.wake_r in ready:
            self.signals(os.read(self.wake_r, 512))
        now = 0 in ready and self.key(os.read(0, 512))
        return (sock is not None and sock.fileno() in ready) or (now and sock is None)

    def signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number in self.ending:
                raise Leave(128 + number)
        if self.signal.SIGTSTP in numbers:
            self.stop()
        elif self.signal.SIGCONT in numbers:  # whoever stopped us may have changed the terminal
            self.enter()
            self.paint()
        elif self.signal.SIGWINCH in numbers:
            self.paint()

    def key(self, pressed: bytes) -> bool:
        """True: look at once."""
        if not pressed:
            raise Leave(128 + self.signal.SIGHUP)
        if b"q" in pressed or b"Q" in pressed:
            raise Leave(0)
        return b" " in pressed

    def stop(self) -> None:
        """Ctrl-Z. (Where there is no shell to bring us back, the system does not stop us.)"""
        self.leave()
        old = self.signal.signal(self.signal.SIGTSTP, self.signal.SIG_DFL)
        os.kill(os.getpid(), self.signal.SIGTSTP)
        self.signal.signal(self.signal.SIGTSTP, old)
        self.enter()
        self.paint()


class Attentive:
    """A connection to a server, as far as a client uses it; while it waits, the terminal is attended to."""

    def __init__(self, sock: sockets.socket, screen: Screen) -> None:
        self.sock, self.screen = sock, screen

    def recv(self, most: int) -> bytes:
        until_s = time.monotonic() + (self.sock.gettimeout() or 60.0)
        while not self.screen.happens(until_s - time.monotonic(), self.sock):
            if time.monotonic() >= until_s:
                raise TimeoutError
        return self.sock.recv(most)

    def sendall(self, data: bytes) -> None:
        self.sock.sendall(data)

    def close(self) -> None:
        self.sock.close()


def drawing(lines: list[str], columns: int, rows: int) -> str:
    """What draws these lines from the top of a window, over whatever is there.

    A line that is as wide as the window erases nothing behind it: the cursor still stands on its last letter then.
    """
    from wq.cli.render.sanitise import painted_width

    text = "\r\n".join(f"{line}\x1b[K" if painted_width(line) < columns else line for line in lines)
    return f"\x1b[H{text}\r\n\x1b[J" if len(lines) < rows else f"\x1b[H{text}"


def arranged(picture: Picture, trouble: str | None, columns: int, rows: int) -> list[str]:
    """The lines of a window. What finds no room is counted in the last one."""
    from wq.cli.render.sanitise import cut, printable

    tail = [*picture.tail, *([printable(trouble)] if trouble is not None else [])]
    room = max(rows - len(picture.head) - len(tail), 0)
    body, nmore = picture.body, picture.nmore
    if len(body) + nmore > room:
        kept = min(max(room - 1, 0), len(body))
        body, nmore = body[:kept], nmore + len(body) - kept
    lines = [*picture.head, *body, *tail, *([f"… {nmore} more"] if nmore else [])]
    if len(lines) > rows:  # not even head and tail: the last lines say what matters
        lines = lines[-rows:]
    return [cut(line, columns) for line in lines]
