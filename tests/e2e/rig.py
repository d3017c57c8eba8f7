"""A cluster on one machine, for tests: throw-away users and real sshd nodes, on loopback or each in its own namespaces.

    with Base() as base, Users(base) as users:
        anze = users.create()
        with Nodes(base, 2, users=[anze]) as nodes:            # sshd on 127.0.0.11 and 127.0.0.12
            run_as(anze, ["ssh", "node1", "true"])             # through anze's ~/.ssh/config
        with NetNodes(base, ["n1", "n2"], users=[anze]) as net:
            run_as(anze, ["ssh", "n1", "hostname"], at=net.head)
            net.cut("n1")

Nothing that was started outlives the test: processes are ended by their id and, should pytest itself be killed, by
PR_SET_PDEATHSIG; accounts that a killed run left behind are removed by the next one.
"""

from __future__ import annotations

from tests.e2e.netnodes import Machine, NetNodes, no_namespaces
from tests.e2e.sshnodes import Node, Nodes, chatty, without_python
from tests.e2e.users import (
    SYSTEM_PATH,
    Base,
    User,
    Users,
    children_of,
    current_user,
    descendants_of,
    is_alive,
    missing_program,
    no_accounts,
    popen_as,
    processes_of,
    public_wq,
    run_as,
    signal_all,
    stopped,
    wait_for,
)

__all__ = [
    "SYSTEM_PATH",
    "Base",
    "Machine",
    "NetNodes",
    "Node",
    "Nodes",
    "User",
    "Users",
    "chatty",
    "children_of",
    "current_user",
    "descendants_of",
    "is_alive",
    "missing_program",
    "no_accounts",
    "no_namespaces",
    "popen_as",
    "processes_of",
    "public_wq",
    "run_as",
    "signal_all",
    "stopped",
    "wait_for",
    "without_python",
]
