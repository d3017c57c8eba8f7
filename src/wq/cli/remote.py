"""A server on another host: the same command runs there, through ssh, so that ssh and the kernel say who you are."""

from __future__ import annotations

import os
import shlex
import socket
import sys

from wq.cli import config
from wq.cli.errors import AWAY, WqError


def go_there_if_configured(verb: str, words: list[str], tail: list[str] | None) -> None:
    """Become `ssh HEAD wq ...` if a server on another host is configured (server:, or WQ_SERVER)."""
    host = os.environ.get("WQ_SERVER")
    settings: dict[str, str] = {}
    if host is None:
        settings = config.load()
        host = settings.get("server")
    if not host or is_here(host):
        return
    settings = settings or config.load()
    from wq.backends import ssh

    wq = settings.get("remote_command", "wq")
    line = [wq, verb, *map(shlex.quote, words)]
    if "-p" not in words and "--port" not in words and os.environ.get("WQ_PORT"):
        line += ["-p", shlex.quote(os.environ["WQ_PORT"])]
    if tail is not None:
        line += ["--", *map(shlex.quote, tail)]
    directory = shlex.quote(os.getcwd())
    text = f"cd {directory} && WQ_SERVER= exec {' '.join(line)}"
    terminal = verb == "sub" and os.isatty(0) and os.isatty(1)
    try:
        argv = ssh.command(
            os.environ.get("WQ_SSH") or settings.get("ssh_command", "ssh"),
            host,
            words=[text],
            options=["-x", "-tt" if terminal else "-T"],
            batch=False,
        )
        sys.stdout.flush()
        os.execvp(argv[0], argv)
    except (ValueError, OSError) as error:
        raise WqError(f"cannot reach the server's host {host!r}: {error}", AWAY) from None


def is_here(host: str) -> bool:
    """True if this is the name of this machine."""
    name = socket.gethostname()
    return host in (name, name.split(".")[0], "localhost") or host.split(".")[0] == name
