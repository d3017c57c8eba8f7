"""What jobs wait for, and trying again: chains, arrays task by task, hold and release, times, retries."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.queues import PATIENCE_S, Queue, Row, read, until
from tests.e2e.rig import User, is_alive, wait_for

pytestmark = pytest.mark.xdist_group("e2e-waits")


def sub(queue: Queue, user: User, *words: str, cwd: Path | None = None) -> int:
    return int(queue.wq(user, "sub", "-b", "-q", *words, cwd=cwd or queue.directory(user)).stdout)


def over(queue: Queue, array: int) -> Row:
    """An array, when it is over. (Its failed tasks are listed with it.)"""
    row = queue.ls(str(array))[0]
    return row if row["state"] == "done" else {}


def test_a_chain_whose_middle_fails(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    first = sub(queue, dana, "-r", "job_name: prep", "-c", f"{until(work / 'go')}; echo 1 >>ran", cwd=work)
    second = sub(queue, dana, "--after", "prep", "-c", "echo 2 >>ran; exit 3", cwd=work)
    third = sub(queue, dana, "--after", "last", "-c", "echo 3 >>ran", cwd=work)
    rescue = sub(queue, dana, "--after-notok", str(second), "-c", "echo rescue >>ran", cwd=work)
    always = sub(queue, dana, "--after-any", f"{second},{first}", "-c", "echo always >>ran", cwd=work)
    assert queue.state(second) == "held"
    assert queue.why(second) == {"code": "Dependency", "text": f"for the success of {first}"}
    dana.write(work / "go", "")
    assert queue.wait_for_end(second)["exit_status"] == 3
    outcome = queue.wait_for_end(third)
    assert outcome["kind"] == "removed"
    assert outcome["message"] == f"it can never run: job {second}, after which it was to run, failed"
    queue.wait_for_end(rescue)
    queue.wait_for_end(always)
    assert sorted(read(work / "ran").split()) == ["1", "2", "always", "rescue"]
    said = queue.wq(dana, "sub", "-b", "--after", str(second), "-c", "true", status=1).stderr
    assert said == f"wq: after: job {second} failed, so this would never run\n"


def test_a_file_of_jobs_that_wait_for_each_other(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    text = "job_name: a\ncommand: echo a >>ran\n---\njob_name: b\nafter: a\ncommand: echo b >>ran\n"
    dana.write(work / "two.yaml", f"{text}---\nafter: [a, b]\ncommand: echo c >>ran\n")
    ids = queue.wq(dana, "sub", "-b", "-q", "two.yaml", cwd=work).stdout.split()
    queue.wait_for_end(int(ids[2]))
    assert read(work / "ran") == "a\nb\nc\n"


def test_after_a_name_that_is_over_already(queue: Queue, dana: User) -> None:
    """A script must not depend on how quick its first job is; of several of one name, the newest is meant."""
    work = queue.directory(dana)
    for status in (3, 0):
        queue.wait_for_end(sub(queue, dana, "-r", "job_name: quick", "-c", f"exit {status}", cwd=work))
    assert queue.wait_for_end(sub(queue, dana, "--after", "quick", "-c", "true", cwd=work))["exit_status"] == 0
    said = queue.wq(dana, "sub", "-b", "--after", "slow", "-c", "true", status=1).stderr
    assert said == "wq: no job of yours that is known is called 'slow'; ids are numbers (12, 3-9, 12.5)\n"


def test_an_array_task_by_task(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    command = "until [ -e go%task% ]; do sleep 0.05; done; exit $(cat go%task%)"
    first = sub(queue, dana, "--array", "0-2", "-c", command, cwd=work)
    second = sub(queue, dana, "--array", "0-2", "--after-each", str(first), "-c", "echo %task% >>ran", cwd=work)
    dana.write(work / "go2", "0")
    wait_for(lambda: read(work / "ran") == "2\n", PATIENCE_S, "task 2 of the second array to run")
    dana.write(work / "go1", "1")
    dana.write(work / "go0", "0")
    row = wait_for(lambda: over(queue, second), PATIENCE_S, "the second array to be over")
    assert (row["array"]["removed"], row["array"]["failed"]) == (1, 0)
    assert sorted(read(work / "ran").split()) == ["0", "2"]


def test_hold_and_release(queue: Queue, dana: User, erin: User) -> None:
    job = sub(queue, dana, "--hold", "-c", "true")
    other = sub(queue, dana, "--hold", "--array", "0-3", "-c", "true")
    assert queue.why(job)["code"] == "Hold"
    assert " H " in queue.wq(dana, "ls").stdout
    assert "belongs to" in queue.wq(erin, "release", str(job), status=1).stderr
    assert queue.wq(dana, "release", str(job)).stdout == f"released: {job}\n"
    queue.wait_for_end(job)
    pid = queue.server_pid
    queue.shutdown()
    queue.serve()
    assert queue.server_pid != pid
    assert queue.state(other) == "held"
    queue.wq(dana, "release", "all")
    wait_for(lambda: over(queue, other), PATIENCE_S, "the array to be over")
    assert queue.wq(dana, "release", "all").stdout == "there is nothing to release\n"


def test_a_time_to_begin(queue: Queue, dana: User) -> None:
    job = sub(queue, dana, "--begin", "+1s", "-c", "true")
    late = sub(queue, dana, "--begin", "+10h", "-c", "true")
    queue.wait_for_end(job)
    assert queue.why(late)["code"] == "Begin"
    assert "allowed: a time of day" in queue.wq(dana, "sub", "-b", "--begin", "soon", "-c", "x", status=2).stderr


def test_another_attempt_when_one_fails(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    script = "echo attempt $WQ_ATTEMPT; echo $WQ_ATTEMPT >>ran; [ $WQ_ATTEMPT = 3 ]"
    job = sub(queue, dana, "--retries", "5", "-r", "retry_on: [1, signal]; job_name: again", "-c", script, cwd=work)
    assert queue.wait_for_end(job)["exit_status"] == 0
    assert read(work / "ran") == "1\n2\n3\n"
    queue.wait_until_acknowledged()
    assert sorted(read(path) for path in work.glob("again*.wqlog")) == ["attempt 1\n", "attempt 2\n", "attempt 3\n"]
    never = sub(queue, dana, "--retries", "5", "-r", "retry_on: 7", "-c", "exit 3", cwd=work)
    assert queue.wait_for_end(never)["exit_status"] == 3
    assert queue.job(never)["attempt"] == 1


def test_an_array_is_stopped_after_too_many_failures(queue: Queue, dana: User) -> None:
    """Those that run are ended, and what was granted ahead behind them never starts."""
    work = queue.directory(dana)
    command = "echo >>ran; [ %task% -gt 2 ] && sleep 1000; exit 1"
    job = sub(queue, dana, "--array", "0-999%4", "--max-fails", "2", "-c", command, cwd=work)
    row = wait_for(lambda: over(queue, job), PATIENCE_S, "the array to be over")
    assert 3 <= len(read(work / "ran").splitlines()) <= 3 + 4
    assert row["array"]["failed"] >= 3
    assert row["array"]["failed"] + row["array"]["removed"] == 1000


@pytest.mark.parametrize("words", [["--retries", "3"], ["--max-fails", "3"], ["-b", "--max-fails", "3"]], ids=str)
def test_what_has_no_meaning_is_refused(queue: Queue, dana: User, words: list[str]) -> None:
    assert "goes with" in queue.wq(dana, "sub", *words, "-c", "true", status=2).stderr


def test_to_the_front_of_ones_own_and_it_stays_so(queue: Queue, dana: User, erin: User) -> None:
    """Also when the server has been killed; the jobs of others are passed by no more than before."""
    work = queue.directory(dana)
    need = f"N: {sum(row['ncores'] for row in queue.nodes().values())}"  # so that one runs at a time
    first = queue.batch(dana, until(work / "go"), need, cwd=work)
    queue.wait_for_state(first, "running")
    told = f"echo $WQ_JOB_ID >>{work / 'order'}"
    jobs = [queue.batch(dana, told, f"{need}; job_name: j{n}", cwd=work) for n in range(4)]
    array = int(queue.wq(dana, "sub", "-b", "-q", "-r", need, "--array", "0-1", "-c", told, cwd=work).stdout)
    assert queue.wq(dana, "top", "j3", str(array)).stdout == f"at the front: {jobs[3]}, {array}\n"
    refused = queue.wq(erin, "top", str(jobs[1]), status=1).stderr
    assert "belongs to" in refused
    rows = queue.wq(dana, "ls", "-o", "id", "--sort", "turn", "--state", "waiting").stdout.splitlines()[1:-1]
    assert [int(row) for row in rows] == [jobs[3], array, *jobs[:3]]
    pid = queue.server_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(pid), PATIENCE_S, "the server to be gone")
    queue.serve()
    dana.write(work / "go", "")
    queue.wait_for_end(jobs[2])
    assert read(work / "order").split() == [str(job) for job in (jobs[3], array, array, *jobs[:3])]
    assert "put to the front of its user's jobs by" in queue.wq(dana, "info", str(array)).stdout
