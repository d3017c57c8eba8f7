"""Batch attempts go to their nodes many at a time: once what they have in common, as a template, then each its rest."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

from wq.core.job import HostName
from wq.launcher.book import Book
from wq.launcher.ledger import Action, Entry, Ledger
from wq.launcher.startspec import (
    OutputTrouble,
    batch_task,
    files_of,
    in_common,
    make_outputs,
    template_key,
    template_spec,
)

MOST_IN_BATCH = 1000
KNOWN = "batch"  # the feature of a shepherd that knows these words


class Wires(Protocol):
    """The links to the nodes."""

    def send(self, host: HostName, word: dict[str, Any]) -> None: ...
    def features(self, host: HostName) -> frozenset[str]: ...


class Batches:
    """Collects the starts and acknowledgements of a turn, and sends them."""

    def __init__(
        self,
        ledger: Ledger,
        wires: Wires,
        *,
        user: str,
        act: Callable[[list[Action]], None],
        queue_env: Callable[[HostName], dict[str, str]],
    ) -> None:
        self.ledger, self.wires, self.user, self.act, self.queue_env = ledger, wires, user, act, queue_env
        self.starts: list[Entry] = []
        self.acks: dict[HostName, list[str]] = {}
        self.templates: dict[HostName, dict[tuple[object, ...], str]] = {}  # told on the present link

    def takes(self, entry: Entry) -> bool:
        """Whether this attempt goes the way of batches."""
        return not entry.task.foreground and not entry.task.x and KNOWN in self.wires.features(entry.main_host)

    def link_is_new(self, host: HostName) -> None:
        self.templates.pop(host, None)

    def acknowledge(self, entry: Entry) -> None:
        """The node may forget an attempt; should the word be lost, the next link brings the question again."""
        self.acks.setdefault(entry.main_host, []).append(entry.att)

    def flush(self, book: Book) -> None:
        """Send what was collected."""
        starts, self.starts = self.starts, []
        at = 0
        while at < len(starts):
            first = starts[at]
            key = template_key(first, book.settings[first.token][1])
            end = at + 1
            while end < len(starts) and end - at < MOST_IN_BATCH and self.alike(first, key, starts[end], book):
                end += 1
            self.send(starts[at:end], key, book)
            at = end
        acks, self.acks = self.acks, {}
        for host, atts in acks.items():
            if KNOWN in self.wires.features(host):
                self.wires.send(host, {"do": "acks", "atts": atts})
            else:
                for att in atts:
                    self.wires.send(host, {"do": "ack", "att": att})

    def alike(self, first: Entry, key: tuple[object, ...], other: Entry, book: Book) -> bool:
        """Whether two attempts may go in one batch."""
        if other.number is None and directories(other) != directories(first):
            return False  # the files of the one say nothing of those of the other
        if other.chunk is first.chunk and first.chunk is not None and other.fed is first.fed:
            same = other.number is not None or in_common(other.task) == in_common(first.task)
            return other.lane == first.lane and same
        if other.lane != first.lane or other.patience_s != first.patience_s or other.main_host != first.main_host:
            return False
        return template_key(other, book.settings[other.token][1]) == key

    def send(self, entries: list[Entry], key: tuple[object, ...], book: Book) -> None:
        """One batch, and its template if the shepherd does not have it. Its first output shows whose files are seen."""
        probe = f"wq {secrets.token_hex(16)}\n"
        entries = self.with_outputs(entries, probe, book)
        if not entries:
            return
        first = entries[0]
        host = first.main_host
        told = self.templates.setdefault(host, {})
        if key not in told:
            told[key] = f"t{len(told)}"
            env = self.queue_env(host)
            spec = template_spec(first, book.setting(first.token), user=self.user, queue_env=env)
            self.wires.send(host, {"do": "template", "name": told[key], "spec": spec})
        assert first.allocation is not None
        word = {
            "do": "batch",
            "lane": lane_number(first.lane),
            "template": told[key],
            "cores": list(first.allocation.slices[0].cores),
            "declared": first.declared[0] if first.declared else 0,
            "patience_s": first.patience_s if first.fed else None,
            "probe": [first.output, probe],  # for shepherds that do not know what follows
            "probes": [[path, probe] for path in files_of(first)],
            "tasks": [batch_task(entry) for entry in entries],
        }
        self.wires.send(host, word)

    def with_outputs(self, entries: list[Entry], probe: str, book: Book) -> list[Entry]:
        """Those that are left when the output of the first of them could be made; of the others the node makes them."""
        for at, entry in enumerate(entries):
            try:
                make_outputs(entry, probe, book.setting(entry.token).umask, self.wires.features(entry.main_host))
                return entries[at:]
            except OutputTrouble as error:
                if error.no_room:  # the job is not to blame: it waits until there is room
                    for one in entries[at:]:
                        self.act(self.ledger.taken_back(one, one.main_host, str(error)))
                    return []
                entry.main_end = {"error": str(error)}
                entry.node_done = True
                self.act(self.ledger.check_ranks(entry))
        return []


def directories(entry: Entry) -> tuple[str, str]:
    """Where its files are to be: all tasks of an array write to the same directories."""
    output, error = entry.task.output or "", entry.task.error or ""
    return output.rpartition("/")[0], error.rpartition("/")[0]


def lane_number(name: str) -> int:
    """A lane's name as a number: the same for the same name, and never that of another."""
    attempt = name.partition(".")[2]
    job, _, task = name.partition(".")[0].partition("_")
    return (int(job) << 96) + ((int(task) + 1 if task else 0) << 48) + int(attempt)
