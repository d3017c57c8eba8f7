"""A terminal that a test types into and looks at: tmux on a socket of its own, as one of the rig's users."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.e2e.rig import User, run_as, wait_for
from tests.e2e.users import Owned, Place

PATIENCE_S = 30.0
PROMPT = "here$"
_numbers = itertools.count()


class Terminal(Owned):
    """One window with a plain shell in it, whose prompt is PROMPT."""

    def __init__(
        self,
        user: User,
        *,
        env: Mapping[str, str],
        cwd: Path,
        columns: int = 80,
        rows: int = 24,
        at: Place | None = None,
    ) -> None:
        super().__init__()
        self.user, self.at = user, at
        self._socket = f"wqtest-{os.getpid()}-{next(_numbers)}"
        self._undo.callback(self.close_window)
        shell = ["env", f"PS1={PROMPT} ", "bash", "--norc", "--noprofile"]
        size = ["-x", str(columns), "-y", str(rows)]
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, shlex.join(shell), env=env, cwd=cwd)
        self._tmux("set-option", "-g", "status", "off")
        self._tmux("resize-window", *size)
        self.server = int(self._tmux("display-message", "-p", "#{pid}"))
        self.shell = int(self._tmux("display-message", "-p", "#{pane_pid}"))
        self.wait_for_line(PROMPT)

    def _tmux(self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        argv = ["tmux", "-L", self._socket, *words]
        return run_as(self.user, argv, env=env, cwd=cwd, at=self.at, check=True).stdout.strip("\n")

    # ---- hands

    def type(self, text: str) -> None:
        """Types a line, and Enter."""
        self._tmux("send-keys", "-l", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Keys by their names in tmux: C-c, Escape, Enter, Up."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    # ---- eyes

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without the empty lines at its end."""
        return self._tmux("capture-pane", "-p").rstrip("\n").splitlines()

    def wait_for_line(self, line: str) -> None:
        """Until the last line on the screen that is not empty is this one."""
        self._wait(lambda: self.lines[-1:] == [line], f"the last line to be {line!r}")

    def wait_for(self, text: str) -> None:
        """Until there is a line that begins so. (What was typed begins with a prompt.)"""
        self._wait(lambda: any(line.startswith(text) for line in self.lines), f"a line that begins with {text!r}")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        try:
            wait_for(condition, PATIENCE_S, what)
        except AssertionError as error:
            error.add_note("the screen:\n" + "\n".join(self.lines))
            raise

    def settings(self) -> str:
        """What stty says of it."""
        tty = self._tmux("display-message", "-p", "#{pane_tty}")
        return run_as(self.user, ["sh", "-c", 'stty -g <"$0"', tty], at=self.at, check=True).stdout

    # ---- its end

    def close_window(self) -> None:
        """As with the button of a window: SIGHUP for what runs in it."""
        argv = ["tmux", "-L", self._socket, "kill-server"]
        run_as(self.user, argv, at=self.at)

    def kill(self) -> None:
        """kill -9 of the terminal itself."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.server, signal.SIGKILL)
