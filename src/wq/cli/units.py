"""What starts a server, or brings launchers back, with nobody there: units for systemd, lines for a crontab."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence

import wq
from wq.cli.errors import BAD_INPUT, WqError

CARRIED = ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "WQ_SSH")  # they say where things are, and a service has them not
PLAIN = re.compile(r"[A-Za-z0-9_./:=@+,-]+")

SERVER = """\
# Serves this queue, and does so again after a crash or a reboot. To install it:
#   {again} --print-unit > ~/.config/systemd/user/wq-{port}.service
#   systemctl --user enable --now wq-{port}
#   loginctl enable-linger        (so that it starts with the machine, not with your login)
# `systemctl --user reload wq-{port}` reads the cluster file again; `wq shutdown` stops it.
[Unit]
Description=wq, a work queue, on port {port}

[Service]
{environment}ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=10
# What runs on this machine lives on when the server ends.
KillMode=process

[Install]
WantedBy=default.target

# The same without systemd: these lines, without their #, for `crontab -e`.
# (The second one starts the server only if it does not run.)
# @reboot {cron} --detach >/dev/null
# */5 * * * * {cron} --detach >/dev/null
"""

LAUNCHERS = """\
# Brings your launchers back if they have died with unfinished work: it looks every five minutes. To install it:
#   {again} --print-unit > ~/.config/systemd/user/wq-launchers.service
#   systemctl --user enable --now wq-launchers
#   loginctl enable-linger        (so that it starts with the machine, not with your login)
[Unit]
Description=wq: bring back the launchers of this user

[Service]
{environment}ExecStart={command}
Restart=always
RestartSec=5min
# The launchers themselves live on.
KillMode=process

[Install]
WantedBy=default.target

# The same without systemd: these lines, without their #, for `crontab -e`.
# @reboot {cron}
# */5 * * * * {cron}
"""


def for_server(words: Sequence[str], port: int) -> str:
    """A unit for `wq WORDS`, which is a `wq serve`, and its crontab lines."""
    return filled(SERVER, words, port)


def for_launchers() -> str:
    """A unit for `wq launcher`, and its crontab lines."""
    return filled(LAUNCHERS, ["launcher"], 0)


def filled(template: str, words: Sequence[str], port: int) -> str:
    argv = [*this_wq(), *words]
    settings = {name: os.environ[name] for name in CARRIED if os.environ.get(name)}
    for text in (*argv, *settings.values()):
        if not text.isprintable():
            raise WqError(f"{text!r} cannot be written into a unit", BAD_INPUT)
    shell = " ".join([*(f"{name}={shlex.quote(value)}" for name, value in settings.items()), *map(shlex.quote, argv)])
    return template.format(
        port=port,
        again=shlex.join(argv),
        environment="".join(f"Environment={unit_word(f'{n}={v}', dollars=False)}\n" for n, v in settings.items()),
        command=" ".join([unit_word(argv[0], dollars=False), *(unit_word(word) for word in argv[1:])]),
        cron=shell.replace("%", "\\%"),  # for cron a bare % is the end of the line
    )


def unit_word(word: str, *, dollars: bool = True) -> str:
    """A word for systemd: % is a specifier everywhere; $ a variable (dollars) in the arguments of a command alone."""
    text = word.replace("%", "%%")
    if dollars:
        text = text.replace("$", "$$")
    if PLAIN.fullmatch(text.replace("%%", "x").replace("$$", "x")):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def this_wq() -> list[str]:
    """How to call the wq that is running now, from anywhere."""
    called = sys.argv[0]
    beside = os.path.join(os.path.dirname(wq.__file__), "..", "..", "wq")
    for path in (called if "/" in called else "", os.path.normpath(beside), shutil.which("wq") or ""):
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            return [os.path.abspath(path)]
    return [sys.executable, "-m", "wq"]
