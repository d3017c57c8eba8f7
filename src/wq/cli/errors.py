"""What goes wrong, as one clear line and an exit status."""

from __future__ import annotations

FAILED = 1
BAD_INPUT = 2
AWAY = 75


def failure(status: object) -> int:
    """The exit status that the other side gives to a refusal: one of ours, and never that of success."""
    return status if isinstance(status, int) and status in (BAD_INPUT, AWAY) else FAILED


class WqError(Exception):
    """Its text is the line for stderr. status: 2 bad input, 75 server away, 1 another failure."""

    def __init__(self, sentence: str, status: int = FAILED) -> None:
        super().__init__(sentence)
        self.status = status


class ServerDown(WqError):
    """The server that this user knows does not answer; his own launcher for it can be talked to all the same."""

    private = False

    def __init__(self, sentence: str, uid: int, port: int) -> None:
        super().__init__(sentence, AWAY)
        self.uid, self.port = uid, port
