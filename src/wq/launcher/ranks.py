"""MPI's remote processes: asked for by the agent on a job's first node, run on the job's other nodes.

They are part of the attempt: started by the shepherd of their node, on the granted cores, without any ssh
from node to node; what they print goes back to the agent, and they end with the job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wq.core.job import HostName
from wq.launcher.ledger import Action, Entry, Ledger, Send
from wq.launcher.startspec import outward_name


@dataclass(slots=True, kw_only=True)
class Call:
    """One remote process. caller: the node where the agent waits; have, eofs: bytes by channel."""

    entry: Entry
    caller: HostName
    host: HostName
    have: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    eofs: dict[int, int] = field(default_factory=dict)
    end: dict[str, Any] | None = None  # for the agent
    said: dict[str, Any] = field(default_factory=dict)  # by its shepherd
    channels: tuple[int, ...] = ()

    @property
    def complete(self) -> bool:
        return self.end is not None and all(self.have[ch] >= self.eofs.get(ch, 1 << 62) for ch in self.channels)


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

    def wanted(self, caller: HostName, word: dict[str, Any]) -> None:
        """The agent asks for a process on another node of its job."""
        entry = self.ledger.find(str(word["att"]))
        rank, name = str(word["rank"]), str(word["host"])
        if entry is None or entry.allocation is None or entry.main_end is not None:
            return
        allocation = entry.allocation
        host = next((h for h in allocation.hosts if name in (h, outward_name(h, allocation))), None)
        if host is None:
            error = f"{name} is not a node of job {entry.id}; granted are: {', '.join(entry.allocation.hosts)}"
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
            call.eofs[int(word["ch"])] = int(word["off"])
        if call is not None:
            self.check(rank, call)

    def chunk(self, rank: str, channel: int, offset: int, payload: bytes) -> None:
        """Output of a remote process: on to the agent."""
        call = self.calls.get(rank)
        if call is None:
            return
        have = call.have[channel]
        if offset <= have < offset + len(payload):
            new = payload[have - offset :]
            call.have[channel] += len(new)
            word = {"do": "rank_report", "rank": rank, "ch": channel, "data": new.decode("latin-1")}
            self.send(call.caller, word)
        self.send(call.host, {"do": "got", "att": rank, "ch": channel, "off": call.have[channel]})
        self.check(rank, call)

    def check(self, rank: str, call: Call) -> None:
        if call.complete:
            del self.calls[rank]
            self.send(call.caller, {"do": "rank_report", "rank": rank, "end": call.end})
            self.act(self.ledger.rank_ended(call.entry, rank, call.host, call.said))

    def have(self, rank: str) -> dict[int, int]:
        """What has come of its output so far."""
        call = self.calls.get(rank)
        return call.have if call is not None else {}
