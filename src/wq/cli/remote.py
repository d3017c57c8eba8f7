"""A server on another host: the same command runs there, through ssh, so that ssh and the kernel say who you are."""

from __future__ import annotations

import os
import sys

from wq.cli import config
from wq.cli.errors import AWAY, WqError
from wq.protocol import sockets


def go_there_if_configured(verb: str, words: list[str], tail: list[str] | None, *, port_given: bool) -> None:
    """Become `ssh HEAD wq ...` if a server on another host is configured (server:, or WQ_SERVER)."""
    host = config.server_host()
    if host is None or is_here(host):
        return
    settings = config.load()
    program = os.environ.get("WQ_SSH") or settings.get("ssh_command", "ssh")
    if not port_given and os.environ.get("WQ_PORT"):
        words = ["-p", os.environ["WQ_PORT"], *words]
    text = command_there(verb, words, tail, settings.get("remote_command", "wq"), host)
    sys.stdout.flush()
    if verb == "sub":
        terminal = os.isatty(0) and os.isatty(1)
        argv = ssh_argv(program, host, text, terminal=terminal)
        try:
            os.execvp(argv[0], argv)  # signals, streams and the exit status are ssh's own business
        except OSError as error:
            raise WqError(f"cannot run {argv[0]}: {error.strerror}") from None
    sys.exit(status_there(program, host, text))


def command_there(verb: str, words: list[str], tail: list[str] | None, wq: str, host: str) -> str:
    """What the login shell there is to run. Only a submission needs the directory."""
    import shlex

    line = [wq, verb, *map(shlex.quote, words)]
    if tail is not None:
        line += ["--", *map(shlex.quote, tail)]
    script = f"WQ_SERVER= exec {' '.join(line)}"
    if verb == "sub":
        directory = shlex.quote(os.getcwd())
        sentence = shlex.quote(f"wq: the directory {os.getcwd()} is not there on {host}")
        script = f"cd {directory} 2>/dev/null || {{ echo {sentence} >&2; exit 2; }}; {script}"
    return f"exec /bin/sh -c {shlex.quote(script)}"


def ssh_argv(program: str, host: str, text: str, *, terminal: bool) -> list[str]:
    from wq.backends import ssh

    try:
        options = ["-x", "-tt" if terminal else "-T"]
        return ssh.command(program, host, words=[text], options=options, batch=False)
    except ValueError as error:
        raise WqError(f"server: {error}", 2) from None


def status_there(program: str, host: str, text: str) -> int:
    """Run it there and answer its exit status. ssh says 255 for its own failures: then the server is out of reach."""
    import subprocess

    argv = ssh_argv(program, host, text, terminal=False)
    try:
        status = subprocess.call(argv)
    except OSError as error:
        raise WqError(f"cannot run {argv[0]}: {error.strerror}") from None
    if status == 255:
        raise WqError(f"the server's host {host} cannot be reached (what ssh said stands above)", AWAY)
    return status if status >= 0 else 128 - status


def is_here(host: str) -> bool:
    """True if this is the name of this machine."""
    name = sockets.gethostname()
    return host in (name, name.split(".")[0], "localhost") or host.split(".")[0] == name
