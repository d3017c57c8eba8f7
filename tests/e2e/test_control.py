"""Jobs while they run and what is known of them afterwards, over a real sshd: time limits, suspension, signals, use."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.queues import PATIENCE_S, Queue, Row, read, until
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-control")

FOR_EVER = "while :; do sleep 0.05; done"


class TestTimeLimits:
    def test_in_the_foreground_it_says_why_and_has_the_status_of_timeout(self, queue: Queue, dana: User) -> None:
        command = f"trap 'echo saved; exit 0' TERM; echo on; {FOR_EVER}"
        done = queue.wq(dana, "sub", "-r", "time: 1s", "-c", command, status=124)
        assert done.stdout == "on\nsaved\n"
        assert done.stderr.endswith("time limit 1s reached\n")

    def test_a_batch_job_is_warned_and_its_outcome_says_so(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = f"trap 'echo soon' USR1; {FOR_EVER}"
        job = queue.batch(dana, command, "time: 3s; signal: USR1@2s; job_name: long", cwd=work)
        outcome = queue.wait_for_end(job)
        assert (outcome["kind"], outcome["signal"]) == ("time_limit", signal.SIGTERM)
        assert (outcome["message"], queue.job(job)["time_limit"]) == ("time limit 3s reached", 3.0)
        assert "soon" in read(work / f"long-{job}.wqlog")

    def test_each_task_of_an_array_has_its_own_time_and_those_that_are_fed_too(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = "if [ $WQ_TASK_ID = 5 ]; then sleep 600; fi; sleep 0.1"
        words = ("sub", "-b", "-q", "--array", "0-29", "-r", "time: 4s", "-c", command)
        job = int(queue.wq(dana, *words, cwd=work).stdout)
        row = wait_for(lambda: array_row(queue, job), PATIENCE_S, "the array to be over") or {}
        assert (row["array"]["done"], row["array"]["failed"]) == (30, 1)
        [failed] = [task for task in queue.ls(str(job)) if task["task"] is not None]
        assert (failed["task"], failed["outcome"]["kind"]) == (5, "time_limit")

    def test_it_can_be_changed_while_the_job_waits_and_while_it_runs(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        running = queue.batch(dana, f"trap 'exit 9' TERM; {until(work / 'go')}", "time: 600s", cwd=work)
        queue.wait_for_state(running, "running")
        done = queue.wq(dana, "edit", str(running), "time=none")
        assert done.stdout == f"job {running}: no time limit\n"
        assert queue.job(running)["time_limit"] is None
        other = queue.batch(dana, FOR_EVER, "time: 1d", cwd=work)
        queue.wait_for_state(other, "running")
        facts = json.loads(queue.wq(dana, "edit", "--json", str(other), "time=0:00:01").stdout)
        assert facts == {"id": other, "time_limit": 1.0}
        assert queue.wait_for_end(other)["kind"] == "time_limit"
        dana.write(work / "go", "")
        assert queue.wait_for_end(running)["exit_status"] == 0

    def test_it_is_kept_while_server_and_launcher_are_dead(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = queue.batch(dana, f"trap 'echo over >{work}/over; exit 2' TERM; {FOR_EVER}", "time: 4s", cwd=work)
        queue.wait_for_state(job, "running")
        queue.power_cut_on_the_head()
        wait_for(lambda: read(work / "over"), PATIENCE_S, "its end")
        queue.serve()
        queue.wq(dana, "ls")  # brings the launcher back
        outcome = queue.wait_for_end(job)
        assert (outcome["kind"], outcome["exit_status"]) == ("time_limit", 2)


class TestSuspension:
    def test_it_stops_keeps_its_cores_and_goes_on(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = queue.batch(dana, f"{until(work / 'go')}; exit 3", "N: 2", cwd=work)
        queue.wait_for_state(job, "running")
        assert queue.wq(dana, "suspend", str(job)).stdout == f"suspended: {job}\n"
        line = queue.wq(dana, "ls", str(job)).stdout.splitlines()[1].split()
        assert line[2:6:2] == ["S", "2"]
        wait_for(lambda: stopped(queue), PATIENCE_S, "its processes to be stopped")
        dana.write(work / "go", "")
        queue.power_cut_on_the_head()
        queue.serve()
        queue.wq(dana, "ls")
        assert queue.state(job) == "suspended"
        again = queue.wq(dana, "suspend", str(job), status=1)
        assert again.stderr == f"wq: job {job}: it is suspended already\n"
        assert queue.wq(dana, "resume", "all").stdout == f"goes on: {job}\n"
        assert queue.wait_for_end(job)["exit_status"] == 3

    def test_one_that_is_removed_can_still_tidy_up(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = f"trap 'echo tidied >{work}/tidied; exit' TERM; echo x >{work}/ready; {FOR_EVER}"
        job = queue.batch(dana, command, cwd=work)
        wait_for(lambda: read(work / "ready"), PATIENCE_S, "it to be ready")
        queue.wait_for_state(job, "running")
        queue.wq(dana, "suspend", str(job))
        wait_for(lambda: stopped(queue), PATIENCE_S, "its processes to be stopped")
        queue.wq(dana, "rm", str(job))
        assert queue.wait_for_end(job)["kind"] == "removed"
        assert read(work / "tidied") == "tidied\n"

    def test_others_jobs_are_not_for_us(self, queue: Queue, dana: User, erin: User) -> None:
        job = queue.batch(dana, FOR_EVER)
        queue.wait_for_state(job, "running")
        for words in (["suspend", str(job)], ["resume", str(job)], ["signal", str(job), "KILL"]):
            done = queue.wq(erin, *words, status=1)
            assert f"wq: job {job}: it belongs to {dana.name}" in done.stderr
        assert queue.state(job) == "running"
        queue.remove(job)


class TestSignals:
    def test_a_program_has_it_and_its_shell_lives(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        program = (
            f"import signal, sys; signal.signal(10, lambda *_: sys.exit(7)); open('{work}/ready', 'w').write('x'); "
        )
        command = f'python3 -c "{program} signal.pause()"; echo "it ended with $?"; exit 4'
        job = queue.batch(dana, command, "job_name: fit", cwd=work)
        wait_for(lambda: read(work / "ready"), PATIENCE_S, "it to be ready")
        queue.wait_for_state(job, "running")
        assert queue.wq(dana, "signal", str(job), "SIGUSR1").stdout == f"USR1 sent: {job}\n"
        assert queue.wait_for_end(job)["exit_status"] == 4
        assert read(work / f"fit-{job}.wqlog") == "it ended with 7\n"

    def test_what_is_no_signal_or_has_its_own_command(self, queue: Queue, dana: User) -> None:
        assert "is no signal" in queue.wq(dana, "signal", "1", "NONE", status=2).stderr
        assert "there is `wq suspend`" in queue.wq(dana, "signal", "1", "STOP", status=2).stderr
        assert "ids and a signal are wanted" in queue.wq(dana, "signal", "USR1", status=2).stderr
        assert queue.wq(dana, "signal", "999", "USR1", status=1).stderr == "wq: no job 999 is in the queue\n"


def stopped(queue: Queue) -> bool:
    """Whether all processes of jobs are."""
    found = [Path(f"/proc/{pid}/stat") for pid in queue.job_processes()]
    return bool(found) and {stat.read_text().rpartition(")")[2].split()[0] for stat in found} <= {"T", "D", "Z"}


class TestUse:
    def test_asked_against_used_with_advice(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        hungry = "python3 -c 'import time; kept = bytearray(80 << 20); time.sleep(2)'"
        job = queue.batch(dana, f"timeout 3 sh -c 'while :; do :; done'; {hungry}", "N: 4; job_name: fit", cwd=work)
        array = int(queue.wq(dana, "sub", "-b", "-q", "--array", "0-9", "-c", "true", cwd=work).stdout)
        outcome = queue.wait_for_end(job)
        assert 80 << 20 <= outcome["peak_mem_bytes"] < 400 << 20
        assert outcome["cpu_s"] > 0
        assert outcome["wall_s"] >= 5.0
        assert outcome["io_read_bytes"] >= 0
        wait_for(lambda: array_row(queue, array), PATIENCE_S, "the array to be over")
        one, many = json.loads(queue.wq(dana, "eff", "--json", str(job), str(array)).stdout)
        assert (one["id"], one["ncores"], one["tasks"]) == (job, 4, None)
        assert one["cores_used"] == pytest.approx(outcome["cpu_s"] / outcome["wall_s"])
        assert one["advice"].startswith(f"asked for 4 cores, used {one['cores_used']:.1f} of them: N: ")
        assert (many["tasks"], many["ncores"]) == (10, 1)
        assert min(one["node_mem_gb"], many["node_mem_gb"]) > 0
        mine = queue.wq(dana, "eff", "--since", "1h").stdout
        assert f"job {job}: {one['advice']}\n" in mine
        assert queue.wq(dana, "eff", f"{array}.3").stdout.splitlines()[1].split()[0] == f"{array}.3"

    def test_what_is_not_over_is_not_listed(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "eff", "9999", status=1)
        assert done.stderr == "wq: none of these is over, and known\n"
        done = queue.wq(dana, "eff", "--since", "soon", status=2)
        assert done.stderr.startswith("wq: eff: --since: 'soon' is no time")


def array_row(queue: Queue, job: int) -> Row | None:
    row = next(row for row in queue.ls(str(job)) if row["task"] is None)
    return row if row["state"] == "done" else None
