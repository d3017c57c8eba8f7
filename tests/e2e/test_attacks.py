"""Attacks on files, names and identities, by another user of the same machine."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, Running
from tests.e2e.rig import User, run_as, wait_for
from tests.e2e.terminal import PROMPT, Terminal
from tests.e2e.test_sixteen import TALK
from wq.protocol import places

pytestmark = pytest.mark.xdist_group("e2e-attacks")

PUBLIC = ("/tmp", "/var/tmp", "/dev/shm")


# ---- the program itself


@pytest.fixture(scope="module")
def theirs(base: rig.Base, public_wq: Path, erin: User) -> Path:
    """A wq that erin has installed for everybody: a directory for PATH."""
    where = base.directory("theirs")
    shutil.copytree(public_wq.parent, where / "wq")
    script = where / "wq" / "bin" / "wq"
    script.write_text(script.read_text().replace(str(public_wq.parent), str(where / "wq")))
    for path in [where / "wq", *(where / "wq").rglob("*")]:
        os.chown(path, erin.uid, erin.gid)
    return where / "wq" / "bin"


def test_a_program_that_another_user_can_write(queue: Queue, theirs: Path, dana: User, erin: User) -> None:
    env = {"PATH": f"{theirs}:{rig.SYSTEM_PATH}"}
    said = queue.wq(dana, "ls", status=2, env=env).stderr
    assert f"belongs to {erin.name} (uid {erin.uid})" in said
    assert said.count("\n") == 1
    config = dana.write(dana.home / ".wqrc", f"install_owner: {erin.name}\n")
    try:
        queue.wq(dana, "ls", env=env)
    finally:
        config.unlink()
    queue.wq(dana, "ls", status=2, env=env)
    queue.wq(erin, "ls", env=env)  # it is her own
    with Terminal(dana, env=queue.env(env), cwd=dana.home) as window:
        window.type("clear; wq ls; echo rc=$?")
        window.wait_for(f"Do you trust {erin.name}? (yes/no)")
        window.type("no")
        window.wait_for("rc=2")
        window.type("clear; wq ls; echo rc=$?")
        window.wait_for("Do you trust")
        window.type("yes")
        window.wait_for("rc=0")
        window.wait_for_line(PROMPT)
    queue.wq(dana, "ls", env=env)
    site = theirs.parent / "site"
    site.chmod(0o777)
    try:
        assert "can be written by everybody" in queue.wq(dana, "ls", status=2, env=env).stderr
    finally:
        site.chmod(0o755)


# ---- the socket


def test_somebody_else_serves_where_the_known_server_was(
    queue: Queue, base: rig.Base, cene: User, dana: User, erin: User
) -> None:
    cluster = erin.write(base.directory("usurper") / "cluster.txt", "localhost 1 1\n")
    queue.shutdown()
    queue.wq(erin, "serve", cluster, "--detach")
    try:
        said = queue.wq(dana, "ls", status=1).stderr
        assert said.count("\n") == 1
        for part in (cene.name, erin.name, "has changed", "known_servers.json"):
            assert part in said
        assert "has changed" in queue.wq(dana, "sub", "-b", "-c", "true", status=1).stderr
    finally:
        queue.wq(erin, "shutdown")
        queue.serve()
    queue.wq(dana, "ls")


@pytest.mark.parametrize("kind", ["theirs", "open", "file", "link"])
def test_the_directory_of_the_socket_is_there_before(queue: Queue, cene: User, erin: User, kind: str) -> None:
    port = str(queue.port + 1 if queue.port < 65000 else queue.port - 1)
    path = Path(places.meeting_dir(cene.uid, int(port)))
    try:
        if kind == "file":
            run_as(erin, ["touch", path], check=True)
        elif kind == "link":
            run_as(erin, ["ln", "-s", erin.home, path], check=True)
        else:
            run_as(cene if kind == "open" else erin, ["mkdir", "-m", "777", path], check=True)
        said = queue.wq(cene, "serve", "-p", port, queue.cluster, "--detach", status=1).stderr
        assert f"{path} is not a directory that only uid {cene.uid} can write to" in said
        assert not list(erin.home.glob("*.sock"))
    finally:
        run_as(cene if kind == "open" else erin, ["rm", "-rf", path], check=True)


# ---- who one is


def in_namespace(user: User, *how: str) -> str | None:
    """The reason to skip a test that needs user namespaces."""
    done = run_as(user, ["unshare", *how, "true"])
    return None if done.returncode == 0 else f"no user namespaces here: {done.stderr.strip()}"


def test_root_of_a_namespace_of_ones_own_is_nobody_special(queue: Queue, dana: User, erin: User) -> None:
    if reason := in_namespace(erin, "-Ur"):
        pytest.skip(reason)
    job = queue.batch(dana, "sleep 1000")
    queue.wait_for_state(job, "running")
    path = places.server_socket(queue.owner.uid, queue.port)
    word = f'[{{"type": "remove", "seq": 1, "ids": [[{job}, {job}]]}}]'
    argv = ["unshare", "-Ur", "python3", "-I", "-S", "-c", TALK, path, "client", word, str(PATIENCE_S), "1"]
    said = run_as(erin, argv, check=True).stdout
    assert f'"id": {job}' in said
    assert "refused" in said
    assert queue.state(job) == "running"


def test_a_server_in_a_namespace_takes_nobody_for_somebody(
    base: rig.Base, public_wq: Path, cene: User, dana: User
) -> None:
    """There all others have the same number, 65534."""
    if reason := in_namespace(cene, "-U", "--map-current-user"):
        pytest.skip(reason)
    cluster = cene.write(base.directory("inside") / "cluster.txt", "localhost 1 1\n")
    with Queue(wq=public_wq, owner=cene, users=[dana], cluster=cluster, serve=False) as inside:
        argv: list[str | Path] = ["unshare", "-U", "--map-current-user", "wq", "serve", cluster, "--detach"]
        inside.run(cene, argv)
        said = inside.wq(dana, "ls", status=2).stderr
        assert "user namespace" in said
        inside.wq(cene, "ls")


# ---- links and the like, at the names of files that will be made


@pytest.fixture(scope="module")
def hana(accounts: rig.Users) -> User:
    """Who works alone on this machine."""
    return accounts.create()


@pytest.fixture
def alone(base: rig.Base, public_wq: Path, hana: User) -> Iterator[Queue]:
    cluster = hana.write(base.directory("queue") / "unused.txt", "")
    with Queue(wq=public_wq, owner=hana, users=[], cluster=cluster, serve=False) as made:
        yield made
        made.print_logs()
        made.wq(hana, "shutdown", status=None)


EVERYTHING = """
wq sub -c 'echo first' && wq sub -b -c 'echo second' && wq sub -b --array 0-1 -c 'echo %task%' &&
wq ls -a && wq shutdown
"""


def everything(queue: Queue, user: User, *before: str) -> tuple[int | None, str]:
    """A private queue from its beginning to its end: server, launcher, shepherd, and a job of each kind.

    Answers the status and what was said; None if nothing can start, and that is said.
    """
    work = queue.directory(user)
    argv = [*before, "sh", "-c", EVERYTHING]
    with Running(rig.popen_as(user, argv, cwd=work, env=queue.env(), start_new_session=True)) as all_of_it:
        wait_for(
            lambda: all_of_it.process.poll() is not None or "is paused for" in all_of_it.err, 120, "an end, or a reason"
        )
        said = all_of_it.err
        assert "Traceback" not in said
        return all_of_it.process.poll(), said


def forget(queue: Queue, user: User) -> None:
    """Everything of the queue is ended and gone, as before its first command."""
    queue.wq(user, "rm", "--grace", "0", "all", status=None)
    queue.wq(user, "shutdown", status=None)
    rig.signal_all(queue.processes())
    wait_for(lambda: not queue.processes(), PATIENCE_S, "all processes to go")
    shutil.rmtree(user.home / ".local", ignore_errors=True)
    for public in PUBLIC:
        for path in Path(public).iterdir():
            if path.lstat().st_uid == user.uid:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def made_in_public(trace: str) -> set[str]:
    """The names in directories that everybody may write, which somebody else could make first."""
    made = set()
    for line in trace.splitlines():
        if re.search(r"O_CREAT|mkdir|bind\(|mknod|symlink|rename|\blink", line):
            for path in re.findall(r'"(/[^"]*)"', line):
                for public in PUBLIC:
                    if path.startswith(f"{public}/"):
                        made.add(f"{public}/{path[len(public) + 1 :].split('/')[0]}")
    return made


def test_what_is_planted_where_files_will_be_made(alone: Queue, base: rig.Base, hana: User, erin: User) -> None:
    if reason := rig.missing_program("strace"):
        pytest.skip(reason)
    trace = base.directory("trace", 0o777) / "trace"
    calls = "openat,open,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,bind,mknod,mknodat"
    status, said = everything(alone, hana, "strace", "-f", "-s", "300", "-e", f"trace={calls}", "-o", str(trace))
    assert status == 0, said
    names = made_in_public(trace.read_text(errors="replace"))
    assert {f"/tmp/wq-{hana.uid}-{alone.port}", f"/var/tmp/wq-{hana.uid}"} <= names
    victim = hana.write(hana.home / "victim", "precious")
    bait = base.directory("bait")
    os.chown(bait, erin.uid, erin.gid)
    bait.chmod(0o777)
    # (A hard link to a file of hers is refused by the kernel here: protected_hardlinks.)
    plants = {
        "a link to a file of hers": 'ln -s "$2" "$1"',
        "a link to a directory of theirs": 'ln -s "$3" "$1"',
        "a link to nothing": 'ln -s "$3/new" "$1"',
        "a pipe": 'mkfifo -m 666 "$1"',
        "a file": 'touch "$1"; chmod 666 "$1"',
        "a directory": 'mkdir -m 777 "$1"',
    }
    for name in sorted(names):
        for what, plant in plants.items():
            forget(alone, hana)
            run_as(erin, ["sh", "-c", plant, "sh", name, str(victim), str(bait)], check=True)
            planted = Path(name).lstat()
            try:
                status, said = everything(alone, hana)
                if status != 0:
                    assert re.search(rf"^wq: .*{name} is not a .*directory .*\buid {erin.uid}\b", said, re.M), said
                assert victim.read_text() == "precious", (name, what)
                assert not list(bait.iterdir()), (name, what)
                if stat.S_ISDIR(planted.st_mode):
                    assert not list(Path(name).iterdir()), (name, what)
                elif stat.S_ISREG(planted.st_mode):
                    assert Path(name).stat().st_size == 0, (name, what)
            finally:
                run_as(erin, ["rm", "-rf", name], check=True)
    forget(alone, hana)


# ---- logins


@pytest.mark.parametrize(
    "noise", ["head -c 10000 /dev/zero | tr '\\\\0' x; echo", "echo wq-shepherd; echo '{\"v\": 1}'"]
)
def test_a_login_that_prints_before_the_protocol(queue: Queue, dana: User, noise: str) -> None:
    if os.environ.get("SHELL") and not Path("/bin/bash").exists():
        pytest.skip("no bash")
    for job in [queue.batch(dana, "true")]:
        queue.wait_for_end(job)
    queue.wait_until_acknowledged()
    pid = queue.launcher_pid(dana)
    if pid is not None:  # its connections were made before
        rig.signal_all([pid])
        wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "the launcher to die")
    for name in (".bashrc", ".profile"):
        dana.write(dana.home / name, f"{noise}\n")
    try:
        assert queue.wq(dana, "sub", "-c", "echo clean").stdout == "clean\n"
        job = queue.batch(dana, "echo batch; exit 3")
        assert queue.wait_for_end(job)["exit_status"] == 3
    finally:
        for name in (".bashrc", ".profile"):
            (dana.home / name).unlink()
