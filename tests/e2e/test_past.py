"""After the end, and until then: history, one job in full, waiting; jobs by their names; why they were removed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, until
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-past")


@pytest.fixture(scope="module")
def hana(accounts: rig.Users) -> User:
    """Who has a private queue."""
    return accounts.create()


@pytest.fixture(scope="module")
def alone(base: rig.Base, public_wq: Path, hana: User) -> Iterator[Queue]:
    """Her private queue."""
    cluster = hana.write(base.directory("queue") / "unused.txt", "")
    with Queue(wq=public_wq, owner=hana, users=[], cluster=cluster, serve=False) as made:
        yield made
        made.print_logs()
        made.wq(hana, "rm", "--grace", "0", "all", status=None)
        made.wait_until_acknowledged()
        made.wq(hana, "shutdown", status=None)


@pytest.fixture
def work(alone: Queue, hana: User) -> Path:
    return alone.directory(hana)


def test_queued_and_waited_for_the_status_is_the_jobs(alone: Queue, hana: User, work: Path) -> None:
    done = alone.wq(hana, "sub", "-b", "-w", "-c", "exit 3", cwd=work, status=3)
    assert done.stdout.startswith("job ")
    assert "exit status 3" in done.stderr.splitlines()[-1]
    again = alone.wq(hana, "wait", "last", status=3)
    assert (again.stdout, again.stderr.endswith("exit status 3\n")) == ("", True)
    done = alone.wq(hana, "sub", "-b", "-w", "-q", "--array", "0-9", "-c", "exit $((%task% / 4))", cwd=work, status=2)
    number = done.stdout.strip()
    assert done.stderr == f"wq: job {number}: 6 of 10 tasks did not succeed, the worst status is 2\n"
    assert alone.wq(hana, "wait", f"{number}.0-3").stderr == ""
    page = alone.wq(hana, "info", f"{number}.9").stdout
    assert "State:      done: exit status 2\n" in page
    assert f"Output:     {work}/" in page
    assert "Output:     wq log " in alone.wq(hana, "info", number).stdout


def test_what_is_over_is_in_the_history(alone: Queue, hana: User, work: Path) -> None:
    for status in (0, 5):
        alone.wq(hana, "sub", "-b", "-w", "-r", "job_name: hist", "-c", f"exit {status}", cwd=work, status=status)
    header, good, bad, footer = alone.wq(hana, "hist", "--name", "hist", "--since", "1d").stdout.splitlines()
    assert header.split() == ["Id", "User", "Name", "Outcome", "Exit", "t_run", "Ended", "Nodes"]
    assert good.split()[1:5] == [hana.name, "hist", "exited", "0"]
    assert bad.split()[1:5] == [hana.name, "hist", "exited", "5"]
    assert footer == "Jobs: 2 Failed: 1"
    said = json.loads(alone.wq(hana, "hist", "--json", "--failed", "-n", "1", "-u", hana.name).stdout)
    assert said["jobs"][0]["outcome"]["exit_status"] == 5
    assert alone.wq(hana, "hist", "--until", "2020-01-01").stdout.splitlines()[1:] == ["Jobs: 0 Failed: 0"]
    assert alone.wq(hana, "hist", "-a", "-n", "1").stdout.splitlines()[-1].startswith("Jobs: 1 Failed: 1 (")


def test_a_job_by_its_name_and_why_it_was_removed(alone: Queue, hana: User, work: Path) -> None:
    number = alone.batch(hana, "sleep 1000", "job_name: mistake")
    alone.wait_for_state(number, "running")
    assert alone.wq(hana, "rm", "--reason", "wrong catalogue", "mistake").stdout == f"being ended: {number}\n"
    done = alone.wq(hana, "wait", str(number), status=1)
    assert done.stderr == f"wq: job {number}: removed by {hana.name}: wrong catalogue\n"
    page = alone.wq(hana, "info", "mistake").stdout
    assert f"State:      done: removed by {hana.name}: wrong catalogue\n" in page
    refused = alone.wq(hana, "rm", "mistake", status=1)
    assert "no job of yours that is in the queue is called 'mistake'" in refused.stderr
    twins = [alone.batch(hana, "sleep 1000", "job_name: twin") for _ in range(2)]
    refused = alone.wq(hana, "rm", "twin", status=2)
    assert all(str(twin) in refused.stderr for twin in twins)
    alone.wq(hana, "rm", "--grace", "0", "--name", "twi?")
    alone.wq(hana, "wait", *map(str, twins), status=1)
    assert alone.wq(hana, "rm", "--name", "twi?").stdout == "there is nothing to remove\n"


def connections(queue: Queue) -> int:
    """How many there are to the private server, and one more."""
    return Path("/proc/net/unix").read_text().count(f"-{queue.port}/private.sock")


def test_waiting_outlives_the_server_and_ends_with_ctrl_c(alone: Queue, hana: User, work: Path) -> None:
    go = work / "go"
    number = alone.batch(hana, until(go))
    alone.wait_for_state(number, "running")
    assert alone.wq(hana, "wait", "--timeout", "0.2s", "--mine", status=124).stderr.startswith("wq: the time is up")
    before = connections(alone)
    with alone.start(hana, "wait", str(number)) as waiting, alone.start(hana, "wait", str(number)) as impatient:
        wait_for(lambda: connections(alone) == before + 2, PATIENCE_S, "both to be connected")
        alone.wq(hana, "shutdown")
        both = (waiting, impatient)
        wait_for(lambda: all("the server is away" in each.err for each in both), PATIENCE_S, "word of the server")
        impatient.signal(signal.SIGINT)
        assert impatient.wait() == 130
        assert impatient.err.endswith("wq: stopped waiting; the job goes on, `wq rm` ends what runs\n")
        alone.wq(hana, "ls")  # starts it again
        assert alone.state(number) == "running"
        go.touch()
        assert waiting.wait() == 0
        assert waiting.err.count("the server is away") == 1


def test_one_of_several_is_enough(alone: Queue, hana: User, work: Path) -> None:
    number = alone.batch(hana, "sleep 1000")
    other = alone.batch(hana, "exit 4")
    assert f"job {other}: exit status 4" in alone.wq(hana, "wait", "--any", str(number), str(other), status=4).stderr
    assert "no job 99999 is known" in alone.wq(hana, "wait", str(number), "99999", status=1).stderr
    alone.remove(number)
