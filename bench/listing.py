"""How long a look at a long queue takes: `python -m bench.listing`.

`wq ls`, `wq ls -u me`, `wq ls --state R`, `wq ls -o +reason` and `wq stat` with nothing in the queue, with 10,000 and
100,000 jobs that wait, and with an array of a million tasks, in turn with `python3 -I -S -c pass`. Nothing starts
meanwhile: one job holds all cores. The jobs are submitted by as many users as it takes, 25,000 each.
"""

from __future__ import annotations

import contextlib
import math
import sys

from bench import measure
from bench.measure import Failed, Site, Watcher, say
from tests.e2e import rig
from tests.e2e.rig import User

PYTHON = "python3 -I -S -c pass"
OF_A_USER = 25_000


def fill(site: Site, users: list[User], there: int, count: int) -> None:
    """`count` jobs that wait, where there are some already; each user has at most OF_A_USER."""
    for number, user in enumerate(users):
        low, high = number * OF_A_USER, (number + 1) * OF_A_USER
        more = min(max(count, low), high) - min(max(there, low), high)
        if more:
            cwd = site.base.directory("many")
            user.own(cwd, 0o755)
            user.write(cwd / "many.yaml", "---\n".join(["command: /bin/true\n"] * more))
            site.sub("many.yaml", cwd=cwd, user=user)


def clear(site: Site, watcher: Watcher) -> None:
    """Nothing is left in the queue, and nothing runs."""
    site.call([site.wq, "rm", "--grace", "0", f"1-{1 << 62}"])
    watcher.wait_until_empty()


def main() -> int:
    parser = measure.arguments("listing", __doc__)
    parser.add_argument("--plain", action="store_true", help="no arrays")
    parser.add_argument("--most", type=int, default=100_000, help="jobs that wait (100,000)")
    args = parser.parse_args()
    less = 10 if args.small else 1
    sizes = [size // less for size in (0, 10_000, 100_000) if size <= args.most]
    say(f"bench.listing: {measure.machine()}")
    with Site() as site, contextlib.ExitStack() as stack:
        me = site.user
        users = [me]
        if not rig.no_accounts() and site.users is not None:
            users += [site.users.create() for _ in range(math.ceil(max(sizes) / OF_A_USER) - 1)]
        queue = site.serve("localhost 2 8\n", others=users[1:])
        watcher = stack.enter_context(site.watcher())
        stack.callback(clear, site, watcher)
        blocker, _ = site.sub("-r", "N: 2", "-c", "sleep 100000")
        queue.wait_for_state(blocker, "running")
        commands = {
            "wq ls": ["ls"],
            "wq ls -u me": ["ls", "-u", me.name],
            "wq ls --state R": ["ls", "--state", "R"],
            "wq ls -o +reason": ["ls", "-o", "+reason"],
            "wq stat": ["stat"],
        }
        runs: dict[str, measure.Run] = {PYTHON: lambda: site.time([site.python, "-I", "-S", "-c", "pass"])}
        for name, words in commands.items():
            runs[name] = lambda words=words: site.time([site.wq, *words])

        def look(what: str) -> None:
            measure.head(what)
            say(*measure.table(measure.in_turn(args.rounds, runs), [PYTHON], unit="ms", digits=1))

        there = 0
        for size in sizes:
            fill(site, users, there, size)
            there = size
            look(f"{size:,} jobs wait")
        site.call([site.wq, "rm", f"{blocker + 1}-{1 << 62}"])
        if args.plain:
            say("", "an array: left out (--plain)")
        else:
            count = 1_000_000 // less
            site.sub("--array", f"0-{count - 1}", "--", "/bin/true", cwd=site.fresh())
            look(f"an array of {count:,} tasks waits")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"bench.listing: {error}")
