"""Arrays with real processes: every task once, its own output, and what is fed ahead breaks no promise."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.queues import PATIENCE_S, Queue, Row, read, until
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-arrays")


def submit(queue: Queue, user: User, work: Path, *words: str, stdin: str = "") -> int:
    return int(queue.wq(user, "sub", "-b", "-q", *words, cwd=work, stdin=stdin).stdout)


def array_of(queue: Queue, job: int) -> Row:
    """The row of an array, and its counts."""
    return next(row for row in queue.ls(str(job)) if row["task"] is None)


def wait_for_all(queue: Queue, job: int) -> Row:
    def over() -> Row | None:
        row = array_of(queue, job)
        return row if row["state"] == "done" else None

    counts: Row = (wait_for(over, PATIENCE_S, f"array {job} to be over") or {})["array"]
    return counts


def wait_for_done(queue: Queue, job: int, least: int) -> None:
    wait_for(lambda: array_of(queue, job)["array"]["done"] >= least, PATIENCE_S, f"{least} tasks of {job} to end")


class TestTasks:
    def test_each_has_its_number_its_output_and_its_status(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = 'echo "task $WQ_TASK_ID of $WQ_JOB_ID, attempt $WQ_ATTEMPT"; exit $((WQ_TASK_ID == 7 ? 3 : 0))'
        done = queue.wq(dana, "sub", "-b", "--array", "0-20,30-40:5", "-r", "job_name: fit", "-c", command, cwd=work)
        job = int(done.stdout.split()[1])
        assert done.stdout == f"job {job} queued: fit, 24 tasks, output in fit-{job}_%task%.wqlog\n"
        counts = wait_for_all(queue, job)
        assert (counts["done"], counts["failed"], counts["waiting"], counts["running"]) == (24, 1, 0, 0)
        for task in [*range(21), 30, 35, 40]:
            said = read(work / f"fit-{job}_{task}.wqlog")
            assert said.startswith(f"task {task} of {job}, attempt ")
        [failed] = [row for row in queue.ls(str(job)) if row["task"] is not None]
        assert (failed["task"], failed["outcome"]["exit_status"]) == (7, 3)
        line = queue.wq(dana, "ls", str(job), cwd=work).stdout.splitlines()[1]
        assert line.split()[:3] == [str(job), dana.name, "D24/F1"]
        [one] = queue.ls(f"{job}.35")[-1:]
        assert (one["task"], one["outcome"]["exit_status"]) == (35, 0)

    def test_values_from_lines_stay_one_word(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        lines = ["plain", "two words", "it's", '"quoted"', "$(touch evil)", "a;b|c", "č ž", "%task%"]
        dana.write(work / "points.txt", "".join(f"{line}\n" for line in lines))
        job = submit(queue, dana, work, "--each-line", "points.txt", "-c", "printf '%s|%s' %line% \"$WQ_LINE\"")
        words = submit(queue, dana, work, "--each-line", "points.txt", "--", "printf", "%s", "%line%")
        wait_for_all(queue, job)
        wait_for_all(queue, words)
        for number, line in enumerate(lines, 1):
            assert read(work / f"printf-{job}_{number}.wqlog") == f"{line}|{line}"
            assert read(work / f"printf-{words}_{number}.wqlog") == line
        assert not (work / "evil").exists()

    def test_products_and_columns(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = submit(
            queue, dana, work, "--param", "lr=0.1,0.01", "--param", "seed=1-3", "-c", "echo %lr% $WQ_PARAM_seed"
        )
        dana.write(work / "runs.csv", 'name,size\nsmall,1\n"a, b",2\n')
        table = submit(queue, dana, work, "--each-csv", "runs.csv", "-c", "echo %size% %name%")
        wait_for_all(queue, job)
        wait_for_all(queue, table)
        said = [read(work / f"echo-{job}_{number}.wqlog").strip() for number in range(1, 7)]
        assert said == ["0.1 1", "0.1 2", "0.1 3", "0.01 1", "0.01 2", "0.01 3"]
        assert [read(work / f"echo-{table}_{number}.wqlog") for number in (1, 2)] == ["1 small\n", "2 a, b\n"]

    def test_from_a_job_file(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "fit.yaml", "command: echo $WQ_TASK_ID %task%\narray: 1-3\n")
        job = submit(queue, dana, work, "fit.yaml")
        wait_for_all(queue, job)
        assert [read(work / f"fit.yaml-{job}_{n}.wqlog") for n in (1, 2, 3)] == [f"{n} {n}\n" for n in (1, 2, 3)]

    def test_not_in_the_foreground(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "sub", "--array", "0-3", "-c", "true", status=2)
        assert "-b" in done.stderr

    def test_a_program_without_a_shell_and_one_that_is_not_there(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        plain = submit(queue, dana, work, "--array", "0-3", "-c", "/bin/echo hello")
        missing = submit(queue, dana, work, "--array", "0-3", "-c", "no-such-program-anywhere")
        assert wait_for_all(queue, plain)["failed"] == 0
        assert wait_for_all(queue, missing)["failed"] == 4
        assert read(work / f"echo-{plain}_2.wqlog") == "hello\n"
        assert "no-such-program-anywhere" in read(work / f"no-such-program-anywhere-{missing}_2.wqlog")
        rows = queue.ls(f"{missing}.0-3")
        assert {row["outcome"]["exit_status"] for row in rows if row["task"] is not None} == {127}


class TestControl:
    def test_at_most_so_many_and_changed_while_it_runs(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = submit(queue, dana, work, "--array", "0-9%1", "-c", until(work / "go"))
        wait_for(lambda: array_of(queue, job)["array"]["running"] == 1, PATIENCE_S, "one task to run")
        assert array_of(queue, job)["ncores"] == 1
        said = queue.wq(dana, "edit", str(job), "at_most=3", cwd=work).stdout
        assert said == f"job {job}: at most 3 tasks at one time\n"
        wait_for(lambda: array_of(queue, job)["array"]["running"] == 3, PATIENCE_S, "three tasks to run")
        dana.write(work / "go", "")
        assert wait_for_all(queue, job)["failed"] == 0

    def test_tasks_are_removed_and_the_rest_goes_on(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = submit(queue, dana, work, "--array", "0-99%1", "-c", until(work / "go"))
        wait_for(lambda: array_of(queue, job)["array"]["running"] == 1, PATIENCE_S, "one task to run")
        said = queue.wq(dana, "rm", "--grace", "0", f"{job}.0", f"{job}.50-99", cwd=work).stdout
        assert said == f"of array {job}: 50 tasks removed, 1 being ended\n"
        dana.write(work / "go", "")
        counts = wait_for_all(queue, job)
        assert (counts["done"], counts["removed"], counts["failed"]) == (100, 50, 1)
        assert sorted(work.glob("*.wqlog")) == sorted(work / f"{name_of(work)}-{job}_{n}.wqlog" for n in range(50))

    def test_a_whole_array_is_removed(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = submit(queue, dana, work, "--array", "0-999999", "-c", "sleep 1000")
        wait_for(lambda: array_of(queue, job)["array"]["running"] > 0, PATIENCE_S, "tasks to run")
        assert queue.wq(dana, "rm", "--grace", "0", str(job), cwd=work).stdout == f"being ended: {job}\n"
        counts = wait_for_all(queue, job)
        assert counts["done"] == 1_000_000
        assert counts["removed"] + counts["failed"] == 1_000_000
        queue.wait_until_free()

    def test_others_may_not(self, queue: Queue, dana: User, erin: User) -> None:
        work = queue.directory(dana)
        job = submit(queue, dana, work, "--array", "0-9%1", "-c", until(work / "go"))
        for words in (["rm", f"{job}.3"], ["edit", str(job), "at_most=9"]):
            assert "belongs to" in queue.wq(erin, *words, status=1).stderr
        queue.remove(job)
        wait_for_all(queue, job)


def name_of(work: Path) -> str:
    return next(path.name.rpartition("-")[0] for path in work.glob("*.wqlog"))


class TestFedAhead:
    def test_short_tasks_behind_a_long_one_do_not_wait_for_it(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = f"if [ $WQ_TASK_ID = 40 ]; then {until(work / 'go')}; fi"
        job = submit(queue, dana, work, "--array", "0-199", "-c", command)
        wait_for_done(queue, job, 199)
        assert array_of(queue, job)["array"]["running"] == 1
        dana.write(work / "go", "")
        assert wait_for_all(queue, job)["failed"] == 0
        queue.wait_until_free()

    def test_separate_jobs_that_are_alike_too(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        documents = [f"command: echo {n} >>all.txt\n" for n in range(300)]
        dana.write(work / "all.yaml", "---\n".join(documents))
        ids = list(map(int, queue.wq(dana, "sub", "-b", "-q", "all.yaml", cwd=work).stdout.split()))
        assert ids == list(range(ids[0], ids[0] + 300))
        wait_for(lambda: len(read(work / "all.txt").splitlines()) == 300, PATIENCE_S, "300 jobs to run")
        for job in (ids[0], ids[150], ids[-1]):
            assert queue.wait_for_end(job)["exit_status"] == 0
        assert Counter(map(int, read(work / "all.txt").split())) == Counter(range(300))

    def test_nothing_of_them_is_left_on_the_node(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = submit(queue, dana, work, "--array", "0-49", "-c", "sleep 1000 & exit 0")
        assert wait_for_all(queue, job)["failed"] == 0
        queue.wait_until_acknowledged()
        assert not [title for title in queue.processes().values() if "sleep 1000" in title]


class TestKilledInTheMiddle:
    @pytest.mark.parametrize("victim", ["server", "launcher", "shepherd"])
    def test_every_task_runs_once(self, queue: Queue, dana: User, victim: str) -> None:
        work = queue.directory(dana)
        ntasks = 400
        job = submit(queue, dana, work, "--array", f"0-{ntasks - 1}", "-c", "echo $WQ_TASK_ID >>all.txt; sleep 0.01")
        wait_for_done(queue, job, 50)
        for pid in victims(queue, dana, victim):
            os.kill(pid, signal.SIGKILL)
        if victim == "server":
            wait_for(lambda: queue.server_pid is None, PATIENCE_S, "the server to be gone")
            queue.serve()
        queue.wq(dana, "ls")  # which starts a launcher that is missed
        counts = wait_for_all(queue, job)
        assert (counts["done"], counts["failed"]) == (ntasks, 0), json.dumps(counts)
        assert Counter(map(int, read(work / "all.txt").split())) == Counter(range(ntasks))
        queue.wait_until_free()


def victims(queue: Queue, user: User, what: str) -> list[int]:
    if what == "server":
        pid = queue.server_pid
    elif what == "launcher":
        pid = queue.launcher_pid(user)
    else:
        return [pid for pid, title in queue.processes().items() if title.startswith("wq-shepherd")]
    assert pid is not None
    return [pid]
