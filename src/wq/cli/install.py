"""Whose program this is: who can write to its files runs code as whoever calls it.

One's own and root's are taken as they are. That of somebody else (a colleague has installed it for all) is met once, as
ssh meets a host: on a terminal the user is asked, and the answer is remembered. One that everybody can write to is not
run.
"""

from __future__ import annotations

import os

from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def looks_safe() -> bool:
    """Nobody but root and the user can write here, as far as two glances tell. Each command calls this."""
    return all(state in ("own", "root") for _, state, _ in glances())


def glances() -> Iterator[tuple[str, str, int]]:
    """(directory, whose it is, uid) of the package and of where it lies."""
    me = os.getuid()
    for path in (PACKAGE, os.path.dirname(PACKAGE)):
        found = os.stat(path)
        state = "root" if found.st_uid == 0 else "own" if found.st_uid == me else "other"
        yield path, "open" if found.st_mode & 0o002 else state, found.st_uid


def check() -> None:
    """Raises WqError unless the user trusts whoever can write here."""
    for path, state, uid in glances():
        if state == "open":
            raise WqError(f"{path} can be written by everybody, so this wq is not run (chmod -R o-w)", BAD_INPUT)
        if state == "other" and not is_trusted(uid):
            meet(path, uid)


def is_trusted(uid: int) -> bool:
    from wq.cli import config
    from wq.protocol.places import OVERFLOW_UID

    if uid == OVERFLOW_UID and in_user_namespace():  # as in many containers: whose it is cannot be known there
        return True
    named = config.load().get("install_owner")
    if named is not None and named in (str(uid), name_of(uid)):
        return True
    try:
        with open(known_path(), encoding="utf-8") as file:
            return str(uid) in file.read(1 << 16).split()
    except OSError:
        return False


def meet(path: str, uid: int) -> None:
    """Ask the user, on a terminal; refuse without one."""
    from wq.cli import stdin
    from wq.cli.render.sanitise import printable

    who = f"{name_of(uid)} (uid {uid})"
    sentence = f"this wq ({path}) belongs to {who}, who could make it do anything as you"
    if not stdin.can_be_asked():
        raise WqError(
            f"{sentence}; if you trust {name_of(uid)}, write `install_owner: {name_of(uid)}` into ~/.wqrc", BAD_INPUT
        )
    question = f"wq: {printable(sentence)}.\nDo you trust {printable(name_of(uid))}? (yes/no)"
    if stdin.answer_to(question).lower() != "yes":
        raise WqError("not run", BAD_INPUT)
    from wq.protocol.places import make_private

    make_private(os.path.dirname(known_path()))
    with open(known_path(), "a", encoding="utf-8") as file:
        file.write(f"{uid}\n")


def in_user_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def name_of(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def known_path() -> str:
    """Where the uids are that the user has said yes to."""
    from wq.protocol import known

    return os.path.join(os.path.dirname(known.path()), "known_install_owners")
