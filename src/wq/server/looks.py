"""The owner's own look at the nodes: does ssh get there. It logs in as the owner and runs `true`, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wq.backends import ssh
from wq.core.cluster import LOCALHOST
from wq.core.job import HostName

AT_ONCE = 8
LOOK_TIMEOUT_S = 30.0
SECOND_LOOK_S = 1.0
AGAIN_FIRST_S = 10.0
AGAIN_MOST_S = 300.0


class Looks:
    """Looks at nodes when asked, a few at a time, and again at those that did not answer, ever less often."""

    def __init__(self, ssh_command: str, tell: Callable[[HostName, bool, str], None]) -> None:
        """tell(host, answers, why not) is called after each look."""
        self.ssh_command = ssh_command
        self.tell = tell
        self.places = asyncio.Semaphore(AT_ONCE)
        self.tasks: dict[HostName, asyncio.Task[None]] = {}

    def look(self, host: HostName) -> None:
        """Look at a node now, unless that is under way."""
        if host == LOCALHOST:
            return
        old = self.tasks.get(host)
        if old is not None and not old.done():
            old.cancel()
        self.tasks[host] = asyncio.create_task(self.follow(host))

    def forget_others(self, hosts: set[HostName]) -> None:
        """Nodes that are no longer in the cluster file are not looked at."""
        for host in [host for host in self.tasks if host not in hosts]:
            self.tasks.pop(host).cancel()

    async def follow(self, host: HostName) -> None:
        wait_s = AGAIN_FIRST_S
        while True:
            async with self.places:
                ok, why = await look_once(self.ssh_command, host)
                if not ok:  # a busy sshd drops a connection now and then: that is no node that is down
                    await asyncio.sleep(SECOND_LOOK_S)
                    ok, why = await look_once(self.ssh_command, host)
            self.tell(host, ok, why)
            if ok:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, AGAIN_MOST_S)

    def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()


async def look_once(ssh_command: str, host: HostName) -> tuple[bool, str]:
    """(does the node answer, why not). A refused key is an answer: the node is up."""
    try:
        argv = ssh.command(ssh_command, host, words=["true"])
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except (ValueError, OSError) as error:
        return False, str(error)
    try:
        _, errors = await asyncio.wait_for(process.communicate(), LOOK_TIMEOUT_S)
    except TimeoutError:
        return False, f"{host} does not answer (no login within {LOOK_TIMEOUT_S:.0f} s)"
    finally:
        if process.returncode is None:
            ssh.kill(process.pid)
    text = errors.decode("utf-8", "replace")
    if process.returncode != 255 or ssh.is_about_the_user(text):
        return True, ""
    return False, ssh.sentence(host, process.returncode, text)
