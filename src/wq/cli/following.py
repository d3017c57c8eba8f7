"""`wq log -f`: an output file as it grows, from the start of the job to its end.

The launcher says how far the job is; the file is looked at again after a moment, as some file systems tell nobody that
one has grown. (Its node may write to it over NFS.)
"""

from __future__ import annotations

import gc
import os
import select

from wq.cli.link import LauncherLink, remark
from wq.cli.logs import GOING_ON, Shown, ask, called, copy, opened, path_in

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from wq.cli.logs import Facts

SOON_S, LATER_S = 0.05, 0.5  # between two looks at a file: while it grows, and when it has not for a while


class Following:
    """One job or task, to its end. attempt: only this one."""

    def __init__(self, link: LauncherLink, facts: Facts, attempt: int | None, shown: Shown) -> None:
        gc.enable()  # it may live for days
        self.link, self.facts, self.attempt, self.shown = link, facts, attempt, shown
        self.job, self.task = facts["id"], facts["task"]
        self.fd: int | None = None
        self.at = 0
        self.path = ""
        self.begun = False  # to show that file
        self.of_attempt: int | None = None
        self.pause_s = SOON_S
        self.told_of_the_rest = False
        self.told_that_it_waits = self.quiet = shown.nfollowed > 0  # of many, one by one, what is usual is said once
        shown.nfollowed += 1

    def to_the_end(self) -> None:
        """Raises NotThere where there is nothing to follow."""
        self.ask_again()
        try:
            self.look()
            while not self.over():
                self.wait()
                self.look()
        finally:
            self.close()
        self.say_how_it_ended()

    # the launcher

    def ask_again(self) -> None:
        """From now on the launcher tells what becomes of the job."""
        self.facts = ask(self.link, self.job, self.task, self.attempt, follow=True)

    def wait(self) -> None:
        """For word of the launcher, or until it is time for another look at the file."""
        poll = select.poll()
        poll.register(self.link.sock.fileno(), select.POLLIN)
        writes = self.of_attempt is not None
        if not (self.link.waiting or poll.poll(self.pause_s * 1000 if writes else None)):
            self.pause_s = min(self.pause_s * 1.5, LATER_S)
            return
        try:
            facts = self.link.next_message().get("output")
        except ConnectionError:
            self.link.connect()
            self.ask_again()
            return
        if isinstance(facts, dict) and (facts["id"], facts["task"]) == (self.job, self.task):  # not of the one before
            self.facts = facts

    # the file

    def look(self) -> None:
        """Show what is new."""
        facts = self.facts
        path = path_in(facts, err=self.shown.err)
        has_file = facts["state"] in GOING_ON or facts["state"] == "waiting"
        if has_file and facts["attempt"] is not None and path is not None:
            if facts["attempt"] != self.of_attempt:
                self.turn_to(facts, path)
            self.drain()
        elif not self.told_that_it_waits and facts["state"] in ("waiting", "starting"):
            self.told_that_it_waits = True
            remark(f"{called(facts)} has not started yet; Ctrl-C ends the waiting, not the job")
        if facts["state"] == "ended" and not facts["complete"] and not self.told_of_the_rest:
            self.told_of_the_rest = True
            remark(f"{called(facts)} has ended; a part of its output is still on {facts['host']}")

    def turn_to(self, facts: Facts, path: str) -> None:
        """The file of the first attempt that is seen, or of the next one."""
        if self.of_attempt is not None:
            self.drain()
            self.close()
            remark(f"{called(facts)} was started again: attempt {facts['attempt']}")
        self.path, self.of_attempt, self.pause_s, self.begun = path, facts["attempt"], SOON_S, False

    def drain(self) -> None:
        """What the file has by now. At the end it is opened anew, too: what other hosts wrote is surely seen then."""
        if self.fd is None:
            self.open(again=False)
        self.copy()
        if self.fd is not None and self.facts["state"] in ("ended", "lost"):
            os.close(self.fd)
            self.fd = None
            self.open(again=True)
            self.copy()

    def copy(self) -> None:
        if self.fd is None:
            return
        if os.fstat(self.fd).st_size < self.at:
            remark(f"{self.path} was cut short; from its beginning:")
            self.at = 0
        before, self.at = self.at, copy(self.fd, self.at)
        if self.at != before:
            self.pause_s = SOON_S

    def open(self, *, again: bool) -> None:
        """It may take a moment until it is there."""
        try:
            self.fd = opened(self.path)
        except FileNotFoundError:
            if self.facts["complete"] and not again:
                self.shown.open(self.facts, self.path)
            return
        except OSError:
            self.fd = self.shown.open(self.facts, self.path)
        if not again and not self.begun:
            self.begun = True
            self.shown.heading(self.facts, self.path)
            self.at = self.shown.start(self.fd)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
        self.at = 0

    # its end

    def over(self) -> bool:
        state = self.facts["state"]
        return bool(state == "lost" or (state == "ended" and self.facts["complete"]))

    def say_how_it_ended(self) -> None:
        facts = self.facts
        if facts["state"] == "lost" and facts["attempt"] is None:
            remark(f"{called(facts)} was removed before it ran")
        elif facts["state"] == "lost":
            remark(f"nobody knows whether {called(facts)} still runs on {facts['host']}; this is what has come")
        elif self.quiet and (facts["outcome"] or {}).get("exit_status", 0) == 0:
            pass
        elif facts["outcome"] is not None:
            from wq.cli.render.outcome import in_words

            remark(f"{called(facts)} has ended: {in_words({'by': None, **facts['outcome']})}")
        else:
            remark(f"{called(facts)} has ended")
