"""Secrets stay home: what the server, the logs and `ps` have of a job, looked for with canaries."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import Queue, until
from tests.e2e.rig import User
from tests.e2e.users import title_of
from wq.protocol import places

pytestmark = pytest.mark.xdist_group("e2e-secrets")


def holders(canary: str, *directories: Path) -> list[str]:
    """The files below these directories that have it."""
    found = []
    for directory in directories:
        files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
        assert files, f"nothing in {directory}"
        found += [path.name for path in files if canary.encode() in path.read_bytes()]
    return found


def state_of(user: User) -> Path:
    return user.home / ".local" / "state" / "wq"


def test_environment_and_output_never_reach_the_server(queue: Queue, cene: User, dana: User) -> None:
    work = queue.directory(dana)
    words = ["sub", "-b", "-q", "-c", f": cmd-canary-3783; echo out-$((3700+82))-canary; {until(work / 'go')}"]
    env = {"MY_TOKEN": "env-canary-3781"}
    job = int(queue.wq(dana, *words, cwd=work, env=env).stdout)
    queue.wait_for_state(job, "running")
    assert holders("env-canary-3781", state_of(cene)) == []
    assert holders("cmd-canary-3783", state_of(cene)) != []  # the command itself is listed
    shown = queue.wq(dana, "ls", "-f", str(job)).stdout + queue.wq(dana, "ls", "--json", str(job)).stdout
    assert "env-canary-3781" not in shown
    assert "env-canary-3781" not in " ".join(map(title_of, rig.processes_of(dana.uid)))
    dana.write(work / "go", "")
    queue.wait_for_end(job)
    queue.wait_until_acknowledged()
    assert holders("out-3782-canary", work) != []
    for canary in ("env-canary-3781", "out-3782-canary"):
        assert holders(canary, state_of(cene)) == []


def test_a_private_command_stays_with_its_user(queue: Queue, cene: User, dana: User, erin: User) -> None:
    work = queue.directory(dana)
    dana.write(work / "job.yaml", "job_name: fit\nprivate: true\ncommand: |\n  : cmd-canary-5523\n  sleep 1000\n")
    job = int(queue.wq(dana, "sub", "-b", "-q", "job.yaml", cwd=work).stdout)
    queue.wait_for_state(job, "running")
    assert holders("cmd-canary-5523", state_of(cene)) == []
    shown = queue.wq(erin, "ls", "-f", str(job)).stdout + queue.wq(erin, "ls", "--json", str(job)).stdout
    assert "cmd-canary-5523" not in shown
    assert str(work) not in shown
    assert "fit" in shown
    everybody = [pid for user in (cene, dana, erin) for pid in rig.processes_of(user.uid)]
    assert "cmd-canary-5523" not in " ".join(map(title_of, everybody))


def test_what_is_kept_is_its_owners_alone(queue: Queue, cene: User, dana: User) -> None:
    queue.wait_for_end(queue.batch(dana, "true"))
    for user in (cene, dana):
        for path in state_of(user).rglob("*"):
            mode = path.lstat().st_mode
            assert path.lstat().st_uid == user.uid
            assert not stat.S_IMODE(mode) & 0o077 or any(
                not stat.S_IMODE(above.stat().st_mode) & 0o077 for above in path.parents if user.home in above.parents
            ), path
    spools = list(Path("/var/tmp").glob(f"wq-{dana.uid}"))
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in spools)
    meeting = Path(places.server_socket(cene.uid, queue.port)).parent
    assert meeting.stat().st_uid == cene.uid
    assert not meeting.stat().st_mode & 0o022


def test_no_core_is_dumped_where_an_environment_is_and_jobs_have_their_own_limit(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    queue.wait_for_end(queue.batch(dana, "ulimit -c >limit", cwd=work))
    for pid in (queue.server_pid, queue.launcher_pid(dana)):
        (line,) = [row for row in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file size" in row]
        assert line.split()[4] == "0"
    ours = rig.run_as(dana, ["bash", "-c", "ulimit -c"], check=True).stdout
    assert (work / "limit").read_text() == ours
