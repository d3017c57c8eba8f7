"""While the server is away: submissions are kept, in their order, and what runs is looked after all the same."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import FOUR_NODES, PATIENCE_S, Queue, read, until
from tests.e2e.rig import Nodes, User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-away")

KEPT = "wq: queued here, the server is away (1 job; its id follows when it is back)\n"


@pytest.fixture
def other(base: rig.Base, four: Nodes, public_wq: Path, cene: User, dana: User) -> Iterator[Queue]:
    """A second queue, which is not served yet."""
    cluster = cene.write(base.directory("queue") / "cluster.txt", FOUR_NODES)
    with Queue(wq=public_wq, owner=cene, users=[dana], cluster=cluster, serve=False) as made:
        yield made
        made.print_logs()


@pytest.fixture
def met(queue: Queue, dana: User) -> Queue:
    """The queue, whose server dana's launcher has met."""
    queue.wait_for_end(queue.batch(dana, "true"))
    return queue


def kill_launcher(queue: Queue, user: User) -> None:
    pid = queue.launcher_pid(user)
    assert pid is not None
    rig.signal_all([pid], signal.SIGKILL)
    wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "the launcher to be gone")


def keep(queue: Queue, user: User, command: str, cwd: Path, *words: str) -> None:
    """Submit a command that is kept here."""
    done = queue.wq(user, "sub", "-b", *words, "-c", command, cwd=cwd)
    assert (done.stdout, done.stderr) == ("", KEPT)


def next_id(queue: Queue, user: User) -> int:
    """The id of one more job: the next one after all that were ever accepted."""
    job = queue.batch(user, "true")
    queue.wait_for_end(job)
    return job


class TestSubmissions:
    def test_wait_here_and_run_when_the_server_is_back(self, met: Queue, dana: User) -> None:
        work = met.directory(dana)
        met.shutdown()
        keep(met, dana, "echo $WQ_JOB_ID >>ran; echo hello; exit 3", work)
        assert list(work.iterdir()) == []
        met.serve()
        job = int(wait_for(lambda: read(work / "ran"), PATIENCE_S, "the job to run"))
        assert met.wait_for_end(job)["exit_status"] == 3
        assert read(work / f"echo-{job}.wqlog") == "hello\n"
        assert read(work / "ran") == f"{job}\n"
        assert met.wq(dana, "ls").stderr == ""

    def test_keep_their_order_through_the_death_of_launchers(self, met: Queue, dana: User) -> None:
        work = met.directory(dana)
        met.shutdown()
        names = ["first", "second", "third", "fourth"]
        for name in names:
            keep(met, dana, f"echo {name} $WQ_JOB_ID >>ran", work, "-r", f"job_name: {name}")
            kill_launcher(met, dana)
        met.serve()
        met.wq(dana, "ls")  # which brings the launcher back
        wait_for(lambda: len(read(work / "ran").splitlines()) == len(names), PATIENCE_S, "all to run")
        ids = dict(line.split() for line in read(work / "ran").splitlines())
        assert sorted(names, key=lambda name: int(ids[name])) == names
        for job in ids.values():
            assert met.wait_for_end(int(job))["exit_status"] == 0
        met.wait_until_acknowledged()
        assert sorted(read(work / "ran").split()[::2]) == sorted(names)

    def test_that_the_server_refuses_later_are_news_once(self, met: Queue, dana: User) -> None:
        work = met.directory(dana)
        met.shutdown()
        keep(met, dana, "echo x >ran", work, "-r", "N: 400; job_name: giant")
        met.serve()
        news = wait_for(lambda: met.wq(dana, "ls").stderr, PATIENCE_S, "news")
        assert re.fullmatch(r"wq: a submission of 1 jobs? \(giant\), .* was refused: N: 400 cores, .* has 16\n", news)
        assert met.wq(dana, "ls").stderr == ""
        assert met.ls("-u", dana.name) == []
        assert not (work / "ran").exists()
        met.wait_until_acknowledged()

    @pytest.mark.parametrize("words", [["-b", "-q"], []], ids=["quiet", "foreground"])
    def test_for_whose_answer_somebody_waits_are_not_kept(self, met: Queue, dana: User, words: list[str]) -> None:
        work = met.directory(dana)
        before = next_id(met, dana)
        met.shutdown()
        done = met.wq(dana, "sub", *words, "-c", "echo x >ran", cwd=work, status=75)
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        assert line.startswith(f"wq: the server of {met.owner.name} ")
        met.serve()
        assert next_id(met, dana) == before + 1
        assert not (work / "ran").exists()

    def test_have_no_id_for_a_program_either(self, met: Queue, dana: User) -> None:
        work = met.directory(dana)
        met.shutdown()
        done = met.wq(dana, "sub", "-b", "--json", "-c", "echo x >ran", cwd=work)
        assert '"id": null' in done.stdout
        assert '"away": true' in done.stdout
        met.serve()
        wait_for(lambda: read(work / "ran"), PATIENCE_S, "the job to run")

    def test_to_a_server_that_the_launcher_never_met_are_refused(self, other: Queue, dana: User) -> None:
        work = other.directory(dana)
        other.serve()
        other.greet()
        other.shutdown()
        done = other.wq(dana, "sub", "-b", "-c", "echo x >ran", cwd=work, status=75)
        assert done.stdout == ""
        assert done.stderr.endswith("; nothing was kept\n")
        assert len(done.stderr.splitlines()) == 1
        other.serve()
        assert next_id(other, dana) == 1
        assert not (work / "ran").exists()


class TestWhatRuns:
    def test_is_followed_again_by_any_command_while_the_server_is_down(self, met: Queue, dana: User) -> None:
        work = met.directory(dana)
        job = met.batch(dana, f"echo x >>ran; {until(work / 'go')}; exit 7", cwd=work)
        wait_for(lambda: read(work / "ran"), PATIENCE_S, "the job to run")
        met.shutdown()
        kill_launcher(met, dana)
        met.wq(dana, "stat", status=75)
        assert met.launcher_pid(dana) is not None
        dana.write(work / "go", "")
        met.serve()
        assert met.wait_for_end(job)["exit_status"] == 7
        assert read(work / "ran") == "x\n"

    def test_is_out_of_sight_while_its_launcher_is_away(self, met: Queue, dana: User, erin: User) -> None:
        work = met.directory(dana)
        job = met.batch(dana, f"{until(work / 'go')}; exit 9", cwd=work)
        met.wait_for_state(job, "running")
        assert met.wq(erin, "ls").stderr == ""
        kill_launcher(met, dana)
        remark = wait_for(lambda: met.wq(erin, "ls").stderr, PATIENCE_S, "it to be out of sight")
        why = f"the launcher of {dana.name} is away; any command of {dana.name} brings it back"
        assert re.fullmatch(
            rf"wq: out of sight since \d\d:\d\d \(\d+s\): job {job} on node1: {why}; it runs on\n", remark
        )
        assert met.state(job) == "running"
        assert f"why: {why}" in met.wq(erin, "ls", "-f").stdout.replace('"', "")
        met.wq(dana, "users")
        wait_for(lambda: not met.wq(erin, "ls").stderr, PATIENCE_S, "it to be in sight again")
        dana.write(work / "go", "")
        assert met.wait_for_end(job)["exit_status"] == 9

    def test_is_followed_again_by_wq_launcher_after_a_reboot_of_the_head(self, met: Queue, dana: User) -> None:
        work = met.directory(dana)
        job = met.batch(dana, f"{until(work / 'go')}; exit 8", cwd=work)
        met.wait_for_state(job, "running")
        server = met.server_pid
        assert server is not None
        rig.signal_all([server])
        kill_launcher(met, dana)
        done = met.wq(dana, "launcher")
        assert (done.stdout, done.stderr) == ("", "")
        assert met.launcher_pid(dana) is not None
        dana.write(work / "go", "")
        met.serve()
        assert met.wait_for_end(job)["exit_status"] == 8
        met.wait_until_acknowledged()
        kill_launcher(met, dana)
        met.wq(dana, "launcher")
        assert met.launcher_pid(dana) is None  # nothing is unfinished
