"""Where the output of one's own jobs is, as one's own launcher knows. Where that does not run, none is started."""

from __future__ import annotations

import os

from wq.cli import logs
from wq.cli.errors import WqError
from wq.cli.link import LauncherLink
from wq.cli.render.outcome import succeeded
from wq.protocol.places import PlaceError
from wq.protocol.wire import WireError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import Any

    from wq.cli.connection import Server

    Facts = dict[str, Any]

FILES = ("output", "error")


def add(server: Server, found: list[Facts], *, or_how: bool) -> None:
    """Give the answers of `wq info` the paths of the files of one's own batch jobs. or_how: else what shows them."""
    mine = [facts for facts in found if has_output(facts["job"])]
    for facts, files in zip(mine, files_of_all(server, [facts["job"] for facts in mine]), strict=True):
        if or_how and "output" not in files:
            files["output"] = how_to_see(facts["job"])
        facts.update(files)


def has_output(row: Facts) -> bool:
    """It is one's own, has files, and was started or may be."""
    has_begun = row["state"] != "done" or row["started_at"] is not None
    return row["uid"] == os.getuid() and not row["foreground"] and has_begun


def how_to_see(row: Facts) -> str:
    return f"wq log {row['id']}" if row["task"] is None else f"wq log {row['id']}.{row['task']}"


def files_of_all(server: Server, rows: list[Facts]) -> list[dict[str, str]]:
    """The paths that are known of each; of none from where the launcher does not answer."""
    found: list[dict[str, str]] = []
    if not rows:
        return found
    link: LauncherLink | None = None
    try:
        link = LauncherLink(server, start=False)
        for row in rows:
            found.append(files_of(link, row))
    except (WqError, WireError, PlaceError, OSError):
        pass  # nobody has asked for them: what shows them says what is wrong
    finally:
        if link is not None:
            link.sock.close()
    return [*found, *({} for _ in rows[len(found) :])]


def files_of(link: LauncherLink, row: Facts) -> dict[str, str]:
    """The paths that are known; none of an array, of which each task has its own, nor of what is not kept."""
    try:
        facts = logs.ask(link, row["id"], row["task"], None, follow=False)
    except logs.NotThere:
        return {}
    if facts.get("keep_output") == "failed" and succeeded(facts["outcome"]):
        return {}
    return {name: str(facts[name]) for name in FILES if facts.get(name) is not None}
