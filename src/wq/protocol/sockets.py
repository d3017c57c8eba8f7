"""The few things of `socket` that a client needs, without that package: its enums cost each command 5 ms.

`_socket` is what `socket` is made of. Its connections have no `with` and make no files.
"""

from __future__ import annotations

try:
    from _socket import AF_UNIX, SO_PEERCRED, SOL_SOCKET, gethostname, socket
except ImportError:  # a Python that is made in another way
    from socket import AF_UNIX, SO_PEERCRED, SOL_SOCKET, gethostname, socket  # type: ignore[assignment]

__all__ = ["AF_UNIX", "SOL_SOCKET", "SO_PEERCRED", "gethostname", "socket"]
