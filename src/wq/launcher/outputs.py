"""The output of attempts that comes over the links: where each goes, what has come, and when it is complete."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from typing import Any

from wq.core.job import HostName, OutcomeKind
from wq.formats.outputs import NOWHERE
from wq.launcher.clients import Client
from wq.launcher.ledger import Entry, Ledger, Phase
from wq.launcher.streams import ClientSink, FileSink, NoSink, Sink
from wq.store.database import NO_ROOM

NO_ROOM_AGAIN_S = 5.0


def paths_of(entry: Entry) -> dict[int, str]:
    """The files of a batch attempt by the channels on which they come; what nobody wants has none."""
    named = {1: entry.output, 2: entry.error}
    return {channel: path for channel, path in named.items() if path is not None and path != NOWHERE}


class Outputs:
    """All streams of one launcher. home(entry): all that an ended attempt wrote is here."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        send: Callable[[HostName, dict[str, Any]], None],
        home: Callable[[Entry], None],
        log: Callable[[str], None],
    ) -> None:
        self.ledger, self.send, self.home, self.log = ledger, send, home, log
        self.sinks: dict[str, Sink] = {}
        self.eofs: dict[str, dict[int, int]] = {}
        self.owed: dict[str, set[int]] = {}  # channels with chunks that the client has no room to acknowledge yet
        self.torn: set[str] = set()  # a part of the output has gone with a shepherd
        self.stalled: dict[str, asyncio.TimerHandle] = {}  # the file system of their files is full
        self.expected: dict[str, tuple[int, ...]] = {}  # of ended attempts: the channels that must come to their end

    def to_client(self, entry: Entry, client: Client) -> None:
        """A foreground job's output goes to its client."""
        self.sinks[entry.att] = ClientSink(client.send_chunk, client.waiting_bytes)

    def open(self, entry: Entry, view: dict[str, Any], *, resume: bool) -> None:
        """Where the output of an attempt goes, if the node says that any comes over the link."""
        if entry.att in self.sinks or not view.get("chs"):
            return
        sink: Sink = NoSink()
        if not entry.task.foreground and entry.output is not None:
            try:
                sink = files = FileSink(paths_of(entry), resume=resume)
            except OSError as error:
                self.no_room(entry.att, error)
                return
            for what in files.lost:
                self.log(f"output of {entry.att} is lost: {what}")
        self.sinks[entry.att] = sink

    def have(self, att: str) -> dict[int, int]:
        """Bytes that have come, by channel."""
        sink = self.sinks.get(att)
        return sink.have if sink is not None else {}

    def chunk(self, att: str, channel: int, offset: int, payload: bytes) -> None:
        """A piece of output; what was had already is cut off, a gap is asked for again on the next link."""
        entry = self.ledger.find(att)
        if entry is not None and entry.phase is Phase.INTENDED and offset == 0:
            self.open(entry, {"chs": [channel]}, resume=False)  # it may come before the word that it was started
        sink = self.sinks.get(att)
        if sink is None:
            return
        self.skip(sink, channel, offset)
        have = sink.have.get(channel, 0)
        if offset > have or offset + len(payload) <= have:
            return
        try:
            room = sink.take(channel, payload[have - offset :])
        except OSError as error:
            if error.errno in NO_ROOM:
                self.no_room(att, error)
                return
            assert isinstance(sink, FileSink)
            self.log(f"output of {att} is lost: {error.strerror}")
            sink.let_go(channel)
            room = sink.take(channel, payload[have - offset :])
        if room:
            self.acknowledge(att, channel)
        else:
            self.owed.setdefault(att, set()).add(channel)
        self.check(att)

    def no_room(self, att: str, error: OSError) -> None:
        """The node keeps it, and sends it again after a while."""
        if att not in self.stalled:
            self.log(f"output of {att} waits on its node: {error.strerror}")
            self.stalled[att] = asyncio.get_running_loop().call_later(NO_ROOM_AGAIN_S, self.ask_again, att)

    def ask_again(self, att: str) -> None:
        """There may be room by now."""
        self.stalled.pop(att, None)
        entry = self.ledger.find(att)
        if entry is None:
            return
        self.open(entry, {"chs": [1]}, resume=True)
        if att in self.sinks:
            have = {str(channel): at for channel, at in self.have(att).items()}
            self.send(entry.main_host, {"do": "resume", "att": att, "have": have})

    def acknowledge(self, att: str, channel: int) -> None:
        """Let the node send more."""
        entry, sink = self.ledger.find(att), self.sinks.get(att)
        if entry is not None and sink is not None:
            self.send(entry.main_host, {"do": "got", "att": att, "ch": channel, "off": sink.have[channel]})

    def room_again(self, att: str) -> None:
        """The client has read what waited for it."""
        for channel in self.owed.pop(att, set()):
            self.acknowledge(att, channel)

    def to_nobody(self, att: str) -> None:
        """Nobody reads any more: what still comes is let go."""
        old = self.sinks.get(att)
        if old is None:
            return
        sink = NoSink()
        sink.have = old.have
        old.close()
        self.sinks[att] = sink
        for channel in list(sink.have):
            self.acknowledge(att, channel)
        self.owed.pop(att, None)
        self.check(att)

    def skip(self, sink: Sink | None, channel: int, offset: int) -> None:
        """What an earlier launcher had and acknowledged does not come again; where nobody reads, nothing is missed."""
        if isinstance(sink, NoSink):
            sink.have[channel] = max(sink.have.get(channel, 0), offset)

    def eof(self, att: str, channel: int, offset: int) -> None:
        self.skip(self.sinks.get(att), channel, offset)
        self.eofs.setdefault(att, {})[channel] = offset
        self.check(att)

    def expect(self, entry: Entry, view: dict[str, Any]) -> None:
        """The end of the attempt is known: these streams must come to theirs."""
        self.expected[entry.att] = tuple(int(channel) for channel in view.get("chs") or ())
        if view.get("torn") and not self.complete(entry.att, (1, 2)):
            self.torn.add(entry.att)

    def complete(self, att: str, channels: tuple[int, ...] | None = None) -> bool:
        """True if all of its output is here."""
        have, eofs = self.have(att), self.eofs.get(att, {})
        wanted = self.expected.get(att, ()) if channels is None else channels
        return all(channel in eofs and have.get(channel, 0) >= eofs[channel] for channel in wanted)

    def check(self, att: str) -> bool:
        """True if it is all here, and on disk; then its end may be told."""
        entry = self.ledger.find(att)
        if entry is None or att not in self.expected or not self.complete(att):
            return False
        sink = self.sinks.get(att)
        try:
            if sink is not None:
                sink.sync()
        except OSError as error:  # nobody knows what of it is on disk; the node has all of it
            self.log(f"output of {att} is to be written again: {error.strerror}")
            assert sink is not None
            sink.have = dict.fromkeys(sink.have, 0)
            if att not in self.stalled:
                self.stalled[att] = asyncio.get_running_loop().call_later(NO_ROOM_AGAIN_S, self.ask_again, att)
            return False
        self.home(entry)
        return True

    def let_go(self, entry: Entry) -> None:
        """The server has the end on its disk, and these are not to be kept: they go, if the attempt has succeeded."""
        outcome = entry.outcome
        if outcome is None or outcome.kind is not OutcomeKind.EXITED or outcome.exit_status != 0:
            return
        for path in paths_of(entry).values():
            try:
                found = os.lstat(path)
                if stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid():
                    os.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                self.log(f"the output of {entry.att} stays: {path}: {error.strerror}")

    def done(self, att: str) -> None:
        """Everything has been delivered: forget it."""
        sink = self.sinks.pop(att, None)
        if sink is not None:
            sink.close()
        for table in (self.eofs, self.owed, self.expected):
            table.pop(att, None)
        self.torn.discard(att)
        timer = self.stalled.pop(att, None)
        if timer is not None:
            timer.cancel()
