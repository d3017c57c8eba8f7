"""What is over, once more: wq redo. And being told of an end."""

from __future__ import annotations

import pytest

from tests.e2e.queues import PATIENCE_S, Queue, read
from tests.e2e.rig import User, wait_for
from tests.e2e.test_waits import over, sub

pytestmark = pytest.mark.xdist_group("e2e-again")


def redo(queue: Queue, user: User, *words: str, status: int = 0) -> list[int]:
    return [int(word) for word in queue.wq(user, "redo", "-q", *words, status=status).stdout.split()]


def test_a_job_is_run_again_as_it_was(queue: Queue, dana: User, erin: User) -> None:
    work = queue.directory(dana)
    dana.write(
        work / "job.yaml", "job_name: fit\nN: 2\ncommand: echo $WORD $WQ_NCORES in $PWD >>ran; cat data; exit 3\n"
    )
    dana.write(work / "data", "first\n")
    env = {"WORD": "canary"}
    job = int(queue.wq(dana, "sub", "-b", "-q", "job.yaml", cwd=work, env=env).stdout)
    queue.wait_for_end(job)
    queue.wait_until_acknowledged()
    assert read(work / "job.yaml.wqlog") == "first\n"
    dana.write(work / "data", "second\n")
    (other,) = redo(queue, dana, str(job))
    assert queue.wait_for_end(other)["exit_status"] == 3
    row = queue.job(other)
    assert (row["name"], row["n"], row["submit_dir"]) == ("fit", 2, str(work))
    queue.wait_until_acknowledged()
    assert read(work / "ran") == f"canary 2 in {work}\n" * 2
    assert (read(work / "job.yaml.wqlog"), read(work / f"job.yaml-{other}.wqlog")) == ("first\n", "second\n")
    assert "only your own" in queue.wq(erin, "redo", str(job), status=1).stderr


def test_only_what_has_failed(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    script = "echo %task%:%line% >>ran; [ -e fixed ] || [ %task% -gt 2 ]"
    dana.write(work / "rows", "r0\nr1\nr2\nr3\nr4\n")
    array = sub(queue, dana, "--each-line", "rows", "-c", script, cwd=work)
    row = wait_for(lambda: over(queue, array), PATIENCE_S, "the array to be over")
    assert row["array"]["failed"] == 2  # (those of lines count from 1)
    dana.write(work / "fixed", "")
    (other,) = redo(queue, dana, "--failed", str(array))
    row = wait_for(lambda: over(queue, other), PATIENCE_S, "the other to be over")
    assert (row["array"]["tasks"], row["array"]["failed"]) == (2, 0)
    lines = read(work / "ran").split()
    assert len(lines) == 5 + 2
    assert sorted(lines[5:]) == sorted(line for line in lines[:5] if int(line.split(":")[0]) <= 2)
    said = queue.wq(dana, "redo", "--failed", str(other)).stderr
    assert said == f"wq: nothing of job {other} has failed, so it is not run again\n"
    (two,) = redo(queue, dana, f"{array}.3-4")
    wait_for(lambda: over(queue, two), PATIENCE_S, "the two tasks to be over")


def test_a_job_that_is_not_there(queue: Queue, dana: User) -> None:
    assert "job 9999 is not known here" in queue.wq(dana, "redo", "9999", status=1).stderr


def test_a_command_is_told_of_the_end(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    tell = 'cat >told; echo "$WQ_JOB_ID $WQ_JOB_NAME $WQ_EVENT $WQ_STATUS $WQ_OUTCOME" >>told; mv told is-told'
    job = sub(queue, dana, "-r", "job_name: fit", "--notify", tell, "-c", "echo the last line; exit 3", cwd=work)
    wait_for(lambda: read(work / "is-told"), PATIENCE_S, "the command to run")
    assert read(work / "is-told") == f"the last line\n{job} fit end 3 exit status 3\n"


def test_once_for_an_array_and_only_of_failure(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    tell = 'echo "$WQ_JOB_ID $WQ_EVENT $WQ_OUTCOME" >>told'
    words = ("--notify", tell, "-r", "notify_on: failure", "--array", "1-4")
    good = sub(queue, dana, *words, "-c", "true", cwd=work)
    wait_for(lambda: over(queue, good), PATIENCE_S, "the good one to be over")
    bad = sub(queue, dana, *words, "-c", "exit $((%task% / 3))", cwd=work)
    wait_for(lambda: read(work / "told"), PATIENCE_S, "the command to run")
    assert read(work / "told") == f"{bad} failure 2 of 4 tasks successful, 2 failed\n"


def test_of_the_start(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    job = sub(
        queue,
        dana,
        "--notify",
        'echo "$WQ_JOB_ID $WQ_EVENT" >>told',
        "-r",
        "notify_on: [start, end]",
        "-c",
        "true",
        cwd=work,
    )
    wait_for(lambda: read(work / "told").count("\n") == 2, PATIENCE_S, "both to be told")
    assert sorted(read(work / "told").splitlines()) == [f"{job} end", f"{job} start"]
