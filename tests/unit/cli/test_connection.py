"""What a command does when the server goes away under its hands."""

from __future__ import annotations

import socket

import pytest

from wq.cli.link import send


def test_a_server_that_has_gone_is_not_taken_for_a_reader_of_our_output_that_has() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(ConnectionResetError):
        send(ours, {"type": "ls"})
