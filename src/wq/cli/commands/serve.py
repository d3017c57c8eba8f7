"""wq serve: run the server."""

from __future__ import annotations

import os
from pathlib import Path

from wq.cli import config
from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

    from wq.core.policies import Policy
    from wq.server.caps import Caps
    from wq.server.keep import Keep

HELP = (
    "Run the server of a cluster, in the foreground, logging to stderr. Without CLUSTER it serves this\n"
    "machine alone. The cluster file has a line for each node: host ncores mem(GB) groups."
)
EXAMPLES = """examples:
  wq serve cluster.txt
  wq serve cluster.txt -p 51094 --detach   a second queue on this host, in the background
  wq serve                                 this machine, for all its users
  wq serve cluster.txt --print-unit        what systemd or cron need to start it by themselves"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cluster", nargs="?", metavar="CLUSTER", help="the cluster file (default: this machine)")
    parser.add_argument("-s", "--spool", metavar="SPOOLDIR", help="where the queue is kept (default: below your home)")
    parser.add_argument("--detach", action="store_true", help="go on in the background; nothing if it serves already")
    parser.add_argument("--print-unit", action="store_true", help="print a unit for systemd, and lines for a crontab")
    parser.add_argument("--caps", metavar="CAPS", help="what one user may have: 'jobs: 250000; connections: 200'")
    parser.add_argument("--keep", metavar="KEEP", help="of jobs that are over, by age and number: '90d; 1000000'")
    parser.add_argument("--policy", default="fifo", metavar="NAME", help="who starts when: docs/policies.md (fifo)")
    parser.add_argument("--no-block", action="store_true", help="refuse jobs of priority block")
    parser.add_argument("--no-look", action="store_true", help="do not look at the nodes by ssh yourself")
    parser.add_argument("--private", action="store_true", help="for yourself alone, as `wq sub` starts it")
    parser.add_argument("--ready-fd", type=int, help="for internal use")


def run(args: argparse.Namespace) -> int:
    cluster = Path(args.cluster).absolute() if args.cluster else None
    if args.print_unit:
        return print_unit(args, cluster)
    spool, remark = spool_of(args)
    if args.detach:
        return detach(args, cluster, spool)
    from wq.cli import daemon
    from wq.node.shepherd import set_title
    from wq.server import server

    log = server.log_to_stderr
    allow_many_connections()
    if remark:
        log(remark)
    settings = server.Settings(
        port=args.port,
        cluster=cluster,
        spool=spool,
        private=args.private,
        ssh_command=os.environ.get("WQ_SSH") or config.load().get("ssh_command", "ssh"),
        block_allowed=not args.no_block,
        policy=policy_of(args),
        caps=caps_of(args),
        look=not args.no_look,
        keep=keep_of(args),
    )
    if args.ready_fd is not None:
        set_title(f"wq serve {args.cluster or ''} -p {args.port}")  # type: ignore[no-untyped-call]

    def ready() -> None:
        if not args.private:
            remember_own(args.port)
        daemon.say_ready(args.ready_fd)

    try:
        daemon.run_loop(server.serve(settings, ready, log))
    except server.ServeError as error:
        daemon.say_trouble(args.ready_fd, str(error))
        raise WqError(str(error), error.status) from None


def policy_of(args: argparse.Namespace) -> Policy:
    from wq.core.policies.registry import NoPolicy, policy_named

    try:
        return policy_named(args.policy)
    except NoPolicy as error:
        raise WqError(f"--policy: {error}", BAD_INPUT) from None


def allow_many_connections() -> None:
    """As many descriptors as this user may have: each client and launcher needs one."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def remember_own(port: int) -> None:
    """One's own server is remembered too, so that while it is down no private queue is started in its place."""
    from wq.cli.connection import user_name
    from wq.protocol import known

    try:
        entry = known.server_of(port)
        if entry is None or entry.get("uid") != os.getuid():
            known.remember(port, os.getuid(), user_name(os.getuid()), [])
    except (OSError, ValueError):
        pass  # only a convenience


def spool_of(args: argparse.Namespace) -> tuple[Path, str | None]:
    """(the spool directory, a remark if it had to be moved off a network file system)"""
    from wq.protocol import places

    if args.spool is None:
        directory, remark = places.state_dir(f"server-{args.port}")
        return Path(directory), remark
    path = os.path.abspath(args.spool)
    if places.file_system_of(path) in places.NETWORK_FILE_SYSTEMS:
        moved = f"/var/tmp/wq-state-{os.getuid()}/server-{args.port}"
        places.make_private(os.path.dirname(moved))
        return Path(moved), f"{path} is on a network file system, where a database is not safe; using {moved}"
    return Path(path), None


def print_unit(args: argparse.Namespace, cluster: Path | None) -> int:
    import sys

    from wq.cli import units

    words = ["serve", *([str(cluster)] if cluster else []), "-p", str(args.port)]
    words += ["-s", os.path.abspath(args.spool)] if args.spool is not None else []
    sys.stdout.write(units.for_server([*words, *flags(args)], args.port))
    return 0


def flags(args: argparse.Namespace) -> list[str]:
    given = [flag for flag, given in (("--no-block", args.no_block), ("--no-look", args.no_look)) if given]
    policy = None if args.policy == "fifo" else args.policy
    valued = {"--caps": args.caps, "--keep": args.keep, "--policy": policy}
    return given + [word for name, value in valued.items() if value is not None for word in (name, value)]


def keep_of(args: argparse.Namespace) -> Keep:
    from wq.server.keep import Keep, parse_keep

    try:
        return Keep() if args.keep is None else parse_keep(args.keep)
    except ValueError as error:
        raise WqError(str(error), BAD_INPUT) from None


def caps_of(args: argparse.Namespace) -> Caps:
    from wq.server.caps import Caps, parse_caps

    try:
        return Caps() if args.caps is None else parse_caps(args.caps)
    except ValueError as error:
        raise WqError(str(error), BAD_INPUT) from None


def detach(args: argparse.Namespace, cluster: Path | None, spool: Path) -> int:
    from wq.cli import daemon

    words = ["serve", *([str(cluster)] if cluster else []), "-p", str(args.port), "-s", str(spool), *flags(args)]
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    already = serves(args.port, spool)
    if not already and (trouble := daemon.start(words, str(spool / "server.log"))):
        already = serves(args.port, spool)  # another one was quicker
        if not already:
            raise WqError(trouble, BAD_INPUT if cluster is not None and trouble.startswith(str(cluster)) else 1)
    print(f"{'already ' if already else ''}serving on port {args.port}; log in {spool / 'server.log'}")
    return 0


def serves(port: int, spool: Path) -> bool:
    """True if a server of one's own answers on this port, and this spool is in use."""
    import fcntl

    from wq.cli.connection import try_connect

    sock = try_connect(os.getuid(), port)
    if sock is None:
        return False
    sock.close()
    try:
        with (spool / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
