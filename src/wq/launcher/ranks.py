"""MPI's remote processes: asked for by the agent on a job's first node, run on the job's other nodes.

They are part of the attempt: started by the shepherd of their node, on the granted cores, without any ssh
from node to node; what they print goes back to the agent, and they end with the job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wq.core.job import Allocation, HostName
from wq.launcher.ledger import Action, Entry, Ledger, Send
from wq.launcher.startspec import outward_name


@dataclass(slots=True, kw_only=True)
class Call:
    """One remote process. caller: the node where the agent waits; have, eofs: bytes by channel.

    adopted: an earlier launcher started it; what that one had of its output does not come again.
    abandoned: its agent is gone, nobody waits for it.
    """

    entry: Entry
    caller: HostName
    host: HostName
    have: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    eofs: dict[int, int] = field(default_factory=dict)
    end: dict[str, Any] | None = None  # for the agent
    said: dict[str, Any] = field(default_factory=dict)  # by its shepherd
    channels: tuple[int, ...] = ()
    adopted: bool = False
    abandoned: bool = False

    @property
    def complete(self) -> bool:
        return self.end is not None and (self.abandoned or self.has_all)

    @property
    def has_all(self) -> bool:
        return all(self.have[ch] >= self.eofs.get(ch, 1 << 62) for ch in self.channels)


class Ranks:
    """All remote processes of one launcher. act: stores, then carries out; send: a word to a node, now."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        act: Callable[[list[Action]], None],
        send: Callable[[HostName, dict[str, Any]], None],
        spec: Callable[[Entry, int, str], dict[str, Any]],
    ) -> None:
        self.ledger, self.act, self.send, self.spec = ledger, act, send, spec
        self.calls: dict[str, Call] = {}
        self.of_earlier: set[str] = set()  # attempts that an earlier launcher started
        self.ends: dict[str, dict[str, Any]] = {}  # what agents were told of ends; they may not have heard it

    def agents_wait(self, caller: HostName, agents: list[dict[str, Any]]) -> None:
        """On a new link: these agents still wait there, for an answer that was lost, or that another launcher owes."""
        waiting = {str(word["rank"]) for word in agents}
        for rank, call in list(self.calls.items()):
            if call.caller == caller and rank not in waiting:
                call.abandoned = True
                self.given_up(rank)
                self.check(rank, call)
        for word in agents:
            rank = str(word["rank"])
            if rank in self.ends:
                self.send(caller, {"do": "rank_report", "rank": rank, "end": self.ends[rank]})
            elif rank in self.calls:
                self.resume(rank, self.calls[rank])
            elif word.get("told") and str(word["att"]) in self.of_earlier:
                self.adopt(caller, word)
            else:  # it was asked, and that was lost on its way
                self.wanted(caller, word)

    def resume(self, rank: str, call: Call) -> None:
        """Output that came while the agent could not be reached was not taken: it comes again."""
        have = {str(channel): at for channel, at in call.have.items()}
        self.send(call.host, {"do": "resume", "att": rank, "have": have})
        self.check(rank, call)

    def adopt(self, caller: HostName, word: dict[str, Any]) -> None:
        """A process that an earlier launcher was asked for, and may have started: its node is asked."""
        entry, rank = self.ledger.find(str(word["att"])), str(word["rank"])
        if entry is None or entry.allocation is None or entry.main_end is not None:
            return
        host = host_of(entry.allocation, str(word["host"]))
        if host is None:
            return
        call = self.calls[rank] = Call(entry=entry, caller=caller, host=host, adopted=True)
        self.ledger.rank_started(entry, rank, host)
        query: list[Action] = [Send(host=host, word={"do": "query", "att": rank})]
        self.act(query)
        self.resume(rank, call)

    def wanted(self, caller: HostName, word: dict[str, Any]) -> None:
        """The agent asks for a process on another node of its job."""
        entry, rank = self.ledger.find(str(word["att"])), str(word["rank"])
        if entry is None or entry.allocation is None or entry.main_end is not None:
            return
        host = host_of(entry.allocation, str(word["host"]))
        if host is None:
            granted = ", ".join(entry.allocation.hosts)
            error = f"{word['host']} is not a node of job {entry.id}; granted are: {granted}"
            self.send(caller, {"do": "rank_report", "rank": rank, "end": {"error": error}})
            return
        self.calls[rank] = Call(entry=entry, caller=caller, host=host)
        self.ledger.rank_started(entry, rank, host)
        spec = self.spec(entry, entry.allocation.hosts.index(host), str(word["command"]))
        start: list[Action] = [
            Send(host=host, word={"do": "start", "att": rank, "spec": spec}),
            Send(host=host, word={"do": "eof", "att": rank}),
        ]
        self.act(start)

    def given_up(self, rank: str) -> None:
        """The agent was killed: its process goes too."""
        call = self.calls.get(rank)
        if call is not None:
            self.send(call.host, {"do": "stop", "att": rank, "grace_s": 1.0})

    def word(self, host: HostName, said: str, word: dict[str, Any]) -> None:
        """News of a remote process."""
        rank = str(word["att"])
        call = self.calls.get(rank)
        if said == "ended" or (said == "state" and word["state"] in ("ended", "never")):
            if call is None:
                entry = self.ledger.find(rank)
                if entry is not None:
                    self.act(self.ledger.rank_ended(entry, rank, host, word.get("end", {})))
                else:
                    self.send(host, {"do": "ack", "att": rank})
                return
            call.said = word.get("end", {})
            lost = {"error": f"the connection to {host} was lost before it started"}
            call.end, call.channels = call.said or lost, tuple(int(ch) for ch in word.get("chs") or ())
        elif said == "eof" and call is not None:
            channel, offset = int(word["ch"]), int(word["off"])
            call.eofs[channel] = offset
            if call.adopted:
                call.have[channel] = max(call.have[channel], offset)
        if call is not None:
            self.check(rank, call)

    def chunk(self, rank: str, channel: int, offset: int, payload: bytes) -> None:
        """Output of a remote process: on to the agent."""
        call = self.calls.get(rank)
        if call is None or call.caller not in self.ledger.up:
            return
        if call.adopted or call.abandoned:
            call.have[channel] = max(call.have[channel], offset)
        have = call.have[channel]
        if offset <= have < offset + len(payload):
            new = payload[have - offset :]
            call.have[channel] += len(new)
            word = {"do": "rank_report", "rank": rank, "ch": channel, "data": new.decode("latin-1")}
            self.send(call.caller, word)
        self.send(call.host, {"do": "got", "att": rank, "ch": channel, "off": call.have[channel]})
        self.check(rank, call)

    def check(self, rank: str, call: Call) -> None:
        if call.complete and call.caller in self.ledger.up:
            assert call.end is not None
            del self.calls[rank]
            self.ends[rank] = call.end
            self.send(call.caller, {"do": "rank_report", "rank": rank, "end": call.end})
            self.act(self.ledger.rank_ended(call.entry, rank, call.host, call.said))

    def have(self, rank: str) -> dict[int, int]:
        """What has come of its output so far."""
        call = self.calls.get(rank)
        return call.have if call is not None else {}

    def over(self, att: str) -> None:
        """The attempt is over: nobody asks about its processes any more."""
        self.of_earlier.discard(att)
        for rank in [rank for rank in self.ends if rank.startswith(f"{att}/")]:
            del self.ends[rank]


def host_of(allocation: Allocation, name: str) -> HostName | None:
    """Which node of an allocation is meant by a name that MPI uses."""
    return next((host for host in allocation.hosts if name in (host, outward_name(host, allocation))), None)
