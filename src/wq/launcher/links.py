"""The links to all nodes: opened when first needed, kept warm, opened again ever less often while they fail."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wq.core.cluster import LOCALHOST
from wq.core.job import HostName
from wq.launcher.link import Link
from wq.launcher.startspec import own_session

AGAIN_FIRST_S = 0.5
AGAIN_MOST_S = 60.0


@dataclass(slots=True, kw_only=True)
class Session:
    """What connections need of the user's newest session: how to call ssh, and its environment."""

    ssh_command: str
    env: dict[str, str] = field(default_factory=dict)


class Links:
    """One launcher's connections. queue: names its spools on the nodes.

    on_word(host, word): a message of a shepherd. on_down(host, why): a connection is over, or never came about.
    wanted(host): is there anything to do on this node.
    """

    def __init__(
        self,
        queue: str,
        session: Session,
        *,
        on_word: Callable[[HostName, Any], None],
        on_down: Callable[[HostName, str], None],
        wanted: Callable[[HostName], bool],
    ) -> None:
        self.queue, self.session = queue, session
        self.on_word, self.on_down, self.wanted = on_word, on_down, wanted
        self.links: dict[HostName, Link] = {}
        self.failures: dict[HostName, int] = {}
        self.waits: dict[HostName, asyncio.TimerHandle] = {}
        self.closed = False

    def __getitem__(self, host: HostName) -> Link:
        return self.links[host]

    def need(self, host: HostName) -> None:
        """Be connected to a node, or begin to be."""
        if host in self.links or host in self.waits:
            return
        link = self.links[host] = Link(host, self.spool_key(host), on_word=self.on_word, on_down=self.down)
        env = own_session(self.session.env) if host == LOCALHOST else self.session.env
        link.open(self.session.ssh_command, env)

    def spool_key(self, host: HostName) -> str:
        """The name of our spool on a node: one for each queue and node, as nodes may share a file system."""
        return re.sub(r"[^A-Za-z0-9@._-]", "_", f"{self.queue[:90]}@{host[:60]}")

    def came_up(self, host: HostName) -> None:
        self.failures.pop(host, None)

    def down(self, host: HostName, why: str, was_up: bool) -> None:
        """A link is over. One that was up is opened again even if nothing is to be done there.

        Who was killed on the node may have left an empty spool, and the next shepherd takes that away.
        """
        self.links.pop(host, None)
        failures = self.failures[host] = 0 if was_up else self.failures.get(host, 0) + 1
        self.on_down(host, why)
        if (was_up and not self.closed) or self.wanted(host):
            wait_s = min(AGAIN_FIRST_S * 2.0 ** min(failures, 20), AGAIN_MOST_S) * random.uniform(0.7, 1.3)
            self.waits[host] = asyncio.get_running_loop().call_later(wait_s, self.again, host, was_up)

    def again(self, host: HostName, was_up: bool) -> None:
        self.waits.pop(host, None)
        if was_up or self.wanted(host):
            self.need(host)

    def send(self, host: HostName, word: dict[str, Any]) -> None:
        """A word to the shepherd of a node; lost if there is no connection."""
        link = self.links.get(host)
        if link is not None:
            link.send(word)

    def features(self, host: HostName) -> frozenset[str]:
        """What the shepherd of a node knows besides the words of the first version."""
        link = self.links.get(host)
        return link.features if link is not None else frozenset()

    def send_data(self, host: HostName, att: str, offset: int, payload: bytes) -> None:
        """Input for an attempt."""
        link = self.links.get(host)
        if link is not None:
            link.send_data(att, 0, offset, payload)

    def close(self) -> None:
        self.closed = True
        for link in list(self.links.values()):
            link.close()
