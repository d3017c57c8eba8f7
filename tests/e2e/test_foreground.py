"""`wq sub` in the foreground: its output comes here, its exit status is the job's, and it ends with its client."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, Running, blocker, read, until
from tests.e2e.rig import User, popen_as, wait_for

pytestmark = pytest.mark.xdist_group("e2e-foreground")


def pid_in(path: Path) -> int:
    """The pid that a job has written there."""
    return int(wait_for(lambda: read(path).strip(), PATIENCE_S, f"a pid in {path}"))


def wait_until_gone(*pids: int) -> None:
    wait_for(lambda: not any(map(rig.is_alive, pids)), PATIENCE_S, f"processes {pids} to be gone")


def raw(queue: Queue, user: User, argv: list[str], given: bytes = b"", cwd: Path | None = None) -> tuple[int, bytes]:
    """(exit status, stdout) of a command that is given bytes and gives bytes."""
    process = popen_as(user, argv, cwd=cwd, env=queue.env(), stdin=subprocess.PIPE)
    out, err = process.communicate(given, timeout=60)
    assert err == b""
    return process.returncode, out


class TestStreams:
    def test_output_comes_while_the_job_runs(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = f"echo first; echo aside >&2; {until(work / 'go')}; echo second"
        with queue.start(dana, "sub", "-c", command) as client:
            wait_for(lambda: client.out == "first\n" and client.err == "aside\n", PATIENCE_S, "the first lines")
            dana.write(work / "go", "")
            assert client.wait() == 0
            assert (client.out, client.err) == ("first\nsecond\n", "aside\n")

    def test_stdout_and_stderr_stay_apart(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "sub", "-c", "echo out; echo err >&2; printf 'no newline'")
        assert (done.stdout, done.stderr) == ("out\nno newline", "err\n")

    def test_input_reaches_the_job_while_it_runs(self, queue: Queue, dana: User) -> None:
        with queue.start(
            dana, "sub", "-c", "while read line; do echo got $line; done", stdin=subprocess.PIPE
        ) as client:
            client.feed("one\n")
            wait_for(lambda: client.out == "got one\n", PATIENCE_S, "the answer to one line")
            client.feed("two\n")
            wait_for(lambda: client.out == "got one\ngot two\n", PATIENCE_S, "the answer to the other")
            assert client.process.stdin is not None
            client.process.stdin.close()
            assert client.wait() == 0

    def test_five_megabytes_both_ways(self, queue: Queue, dana: User) -> None:
        given = random.Random(1).randbytes(5_000_000)
        status, out = raw(queue, dana, ["wq", "sub", "-c", "cat"], given)
        assert status == 0
        assert out == given

    def test_a_job_need_not_read_its_input(self, queue: Queue, dana: User) -> None:
        status, out = raw(queue, dana, ["wq", "sub", "-c", "echo done; exit 3"], b"x" * 5_000_000)
        assert (status, out) == (3, b"done\n")

    def test_a_job_that_closes_its_input_goes_on(self, queue: Queue, dana: User) -> None:
        status, out = raw(queue, dana, ["wq", "sub", "-c", "head -c 3; exec <&-; seq 100000"], b"abc" * 1_000_000)
        assert status == 0
        assert out == b"abc" + "".join(f"{n}\n" for n in range(1, 100_001)).encode()

    def test_a_closed_input_is_an_end(self, queue: Queue, dana: User) -> None:
        assert queue.wq(dana, "sub", "-c", "cat; echo end").stdout == "end\n"
        assert queue.run(dana, ["sh", "-c", "wq sub -c 'cat; echo end' <&-"]).stdout == "end\n"

    def test_two_long_streams_at_once(self, queue: Queue, dana: User) -> None:
        process = popen_as(dana, ["wq", "sub", "-c", "seq 300000 >&2 & seq 400000; wait"], env=queue.env())
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out == "".join(f"{n}\n" for n in range(1, 400_001)).encode()
        assert err == "".join(f"{n}\n" for n in range(1, 300_001)).encode()

    def test_a_slow_reader_loses_nothing_and_holds_up_nobody_else(self, queue: Queue, dana: User, erin: User) -> None:
        last = 1_000_000
        process = popen_as(dana, ["wq", "sub", "-c", f"seq {last}"], env=queue.env())
        with Running(process):
            assert process.stdout
            os.set_blocking(process.stdout.fileno(), True)
            seen = process.stdout.read(5)
            job = queue.foreground()
            assert queue.wq(dana, "sub", "-c", "seq 100000 | tail -1").stdout == "100000\n"
            assert queue.wq(erin, "sub", "-c", "echo here").stdout == "here\n"
            assert queue.state(job) == "running"
            seen += process.stdout.read()
            assert process.wait() == 0
        assert seen == "".join(f"{n}\n" for n in range(1, last + 1)).encode()

    def test_what_is_not_read_yet_when_the_job_ends_is_not_lost(self, queue: Queue, dana: User) -> None:
        process = popen_as(dana, ["wq", "sub", "-c", "seq 40000; echo last >&2; exit 4"], env=queue.env())
        with Running(process):
            assert process.stdout
            os.set_blocking(process.stdout.fileno(), True)
            assert process.stdout.read(2) == b"1\n"
            queue.wait_until_free()
            rest = process.stdout.read()
            assert process.wait() == 4
        assert rest == "".join(f"{n}\n" for n in range(2, 40_001)).encode()

    def test_a_reader_that_leaves_ends_the_job_at_once(self, queue: Queue, dana: User) -> None:
        assert queue.run(dana, ["sh", "-c", "wq sub -c yes | head -1"]).stdout == "y\n"
        queue.wait_until_free()
        assert not queue.job_processes()

    def test_a_pipe_within_the_job_works_as_anywhere(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "sub", "-c", "yes | head -1")
        assert (done.stdout, done.stderr) == ("y\n", "")


class TestEnds:
    @pytest.mark.parametrize(
        ("command", "status"),
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -TERM $$", 143)],
    )
    def test_the_exit_status_is_the_jobs(self, queue: Queue, dana: User, command: str, status: int) -> None:
        done = queue.wq(dana, "sub", "-c", command, status=status)
        assert (done.stdout, done.stderr) == ("", "")

    def test_a_command_that_does_not_exist(self, queue: Queue, dana: User) -> None:
        assert "nosuchthing" in queue.wq(dana, "sub", "-c", "nosuchthing", status=127).stderr
        assert "nosuchthing" in queue.wq(dana, "sub", "--", "nosuchthing", status=127).stderr

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_to_the_client_ends_the_job(self, queue: Queue, dana: User, number: signal.Signals) -> None:
        work = queue.directory(dana)
        command = f"sleep 1000 & echo $! > {work}/child; echo $$ > {work}/pid; wait"
        with queue.start(dana, "sub", "-r", "N: 2", "-c", command) as client:
            pids = pid_in(work / "pid"), pid_in(work / "child")
            job = queue.foreground()
            assert sum(queue.used().values()) == 2
            client.signal(number)
            assert client.wait() == 128 + number
            assert client.err == ""
        wait_until_gone(*pids)
        assert queue.wait_for_end(job)["kind"] == "removed"
        queue.wait_until_free()

    def test_a_job_that_will_not_hear_is_killed(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = f"trap '' INT TERM HUP; echo $$ > {work}/pid; while :; do sleep 1; done"
        with queue.start(dana, "sub", "-c", command) as client:
            pid = pid_in(work / "pid")
            client.signal(signal.SIGINT)
            assert client.wait() == 130
        wait_until_gone(pid)
        queue.wait_until_free()

    def test_what_escapes_from_its_session_ends_too(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        escape = f"setsid sh -c 'echo $$ > {work}/child; exec sleep 1000' > /dev/null 2>&1 < /dev/null"
        with queue.start(dana, "sub", "-c", f"({escape} &); echo $$ > {work}/pid; sleep 1000") as client:
            pids = pid_in(work / "pid"), pid_in(work / "child")
            client.signal(signal.SIGINT)
            assert client.wait() == 130
        wait_until_gone(*pids)
        queue.wait_until_free()

    def test_nothing_stays_behind_after_an_ordinary_end(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        queue.wq(dana, "sub", "-c", f"(setsid sleep 1000 > /dev/null 2>&1 & echo $! > {work}/child)")
        wait_until_gone(pid_in(work / "child"))

    def test_ctrl_c_while_it_waits(self, queue: Queue, dana: User, erin: User) -> None:
        queue.wait_for_state(queue.batch(erin, *blocker()), "running")
        with queue.start(dana, "sub", "-c", "echo never") as client:
            [job] = wait_for(lambda: [row["id"] for row in queue.ls() if row["foreground"]], PATIENCE_S, "it to wait")
            client.signal(signal.SIGINT)
            assert client.wait() == 130
            assert client.out == ""
        assert queue.wait_for_end(job)["kind"] == "removed"

    def test_kill_9_of_the_client_ends_the_job(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        with queue.start(dana, "sub", "-c", f"echo $$ > {work}/pid; sleep 1000") as client:
            pid = pid_in(work / "pid")
            job = queue.foreground()
            client.signal(signal.SIGKILL)
            assert client.wait() == 137
        wait_until_gone(pid)
        assert queue.wait_for_end(job)["kind"] == "removed"
        queue.wait_until_free()

    def test_removed_by_somebody_else(self, queue: Queue, cene: User, dana: User) -> None:
        with queue.start(dana, "sub", "-c", "sleep 1000") as client:
            job = queue.foreground()
            queue.wq(cene, "rm", str(job))
            assert client.wait() == 143
            assert client.err == f"wq: job {job} was removed by {cene.name}\n"
        assert queue.wait_for_end(job)["by"] == cene.name

    def test_removed_by_somebody_else_while_it_waits(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wait_for_state(queue.batch(cene, *blocker()), "running")
        with queue.start(dana, "sub", "-c", "echo never") as client:
            [job] = wait_for(lambda: [row["id"] for row in queue.ls() if row["foreground"]], PATIENCE_S, "it to wait")
            queue.wq(cene, "rm", str(job))
            assert client.wait() == 1
            assert (client.out, client.err) == ("", f"wq: job {job} was removed by {cene.name}\n")

    def test_a_directory_that_the_node_does_not_have(self, queue: Queue, cene: User, dana: User) -> None:
        job = queue.batch(cene, *blocker())
        work = queue.directory(dana)
        with queue.start(dana, "sub", "-c", "pwd", cwd=work) as client:
            wait_for(lambda: len(queue.ls()) == 2, PATIENCE_S, "it to wait")
            work.rmdir()
            queue.remove(job)
            assert client.wait() == 1
            assert client.out == ""
            [line] = client.err.splitlines()
            assert str(work) in line


class TestBehindTheScenes:
    """Without a terminal, in scripts, and in the background."""

    def test_nohup_outlives_the_hangup_of_its_terminal(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = f"echo one; echo aside >&2; {until(work / 'go')}; echo two; exit 5"
        line = f"nohup wq sub -c {shlex.quote(command)} > log 2> err < /dev/null &\n"
        main, terminal = os.openpty()
        argv = ["setsid", "--ctty", "bash", "--norc", "-i"]
        shell = popen_as(dana, argv, cwd=work, env=queue.env(), stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        os.write(main, line.encode())
        wait_for(lambda: read(work / "log") == "one\n", PATIENCE_S, "the job to run")
        os.close(main)  # as when its window is closed: the kernel hangs up
        shell.wait()
        job = queue.foreground()
        dana.write(work / "go", "")
        assert queue.wait_for_end(job)["exit_status"] == 5
        wait_for(lambda: read(work / "log") == "one\ntwo\n", PATIENCE_S, "its output")
        assert read(work / "err").splitlines()[-1] == "aside"

    def test_nohup_outlives_its_shell_and_a_hangup_of_the_group(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = f"echo one; {until(work / 'go')}; echo two"
        line = f"nohup wq sub -c {shlex.quote(command)} > log 2> err & echo $!"
        argv = ["sh", "-c", line]
        shell = popen_as(dana, argv, cwd=work, env=queue.env(), start_new_session=True)
        client = int(shell.communicate()[0])
        wait_for(lambda: read(work / "log") == "one\n", PATIENCE_S, "the job to run")
        os.killpg(shell.pid, signal.SIGHUP)
        job = queue.foreground()
        dana.write(work / "go", "")
        assert queue.wait_for_end(job)["exit_status"] == 0
        wait_until_gone(client)
        assert (read(work / "log"), read(work / "err")) == ("one\ntwo\n", "")

    def test_a_job_in_a_scripts_background_hears_ctrl_c_itself(self, queue: Queue, dana: User) -> None:
        """A shell without job control starts `wq sub &` with SIGINT ignored; the job must not inherit that."""
        command = "kill -INT $$; echo survived"
        script = f"wq sub -c {shlex.quote(command)} & wait $!; echo status $?"
        assert queue.run(dana, ["sh", "-c", script]).stdout == "status 130\n"

    def test_its_turn_comes(self, queue: Queue, dana: User, erin: User) -> None:
        job = queue.batch(erin, *blocker())
        with queue.start(dana, "sub", "-c", "echo my turn") as client:
            wait_for(lambda: len(queue.ls()) == 2, PATIENCE_S, "it to wait")
            assert client.process.poll() is None
            queue.remove(job)
            assert client.wait() == 0
            assert (client.out, client.err) == ("my turn\n", "")


class TestForms:
    def test_word_by_word(self, queue: Queue, dana: User) -> None:
        words = ["a b", "$HOME", "*", "", "it's", '"', "-r", "--", "č\n2"]
        done = queue.wq(dana, "sub", "-r", "N: 2", "--", "printf", "<%s>", *words)
        assert done.stdout == "".join(f"<{word}>" for word in words)

    def test_a_program_by_its_path(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "my prog", '#!/bin/sh\necho "$# $1"\n', 0o755)
        assert queue.wq(dana, "sub", "--", "./my prog", "a b", cwd=work).stdout == "1 a b\n"

    def test_a_job_file(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "job.yaml", "command: cat $WQ_HOSTFILE\nN: 3\n")
        assert queue.wq(dana, "sub", "job.yaml", cwd=work).stdout == "node1\n" * 3
        overridden = queue.wq(dana, "sub", "-r", "N: 1; host: node4", "job.yaml", cwd=work)
        assert overridden.stdout == "node4\n"

    def test_a_job_file_from_standard_input_is_all_of_the_input(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "sub", "-r", "N: 2", "-", stdin="command: echo $WQ_NCORES; cat; echo end\n")
        assert (done.stdout, done.stderr) == ("2\nend\n", "")

    def test_a_block_of_several_lines(self, queue: Queue, dana: User) -> None:
        text = textwrap.dedent("""\
            command: |
                # bash, since that is this user's shell
                words=(one "two three")
                for word in "${words[@]}"; do
                    echo "$word"
                done
                cat <<END
                  here: it is
                END
                false
            N: 1
            """)
        done = queue.wq(dana, "sub", "-", stdin=text, status=1)
        assert done.stdout == "one\ntwo three\n  here: it is\n"

    def test_several_files_run_one_after_the_other(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "a.yaml", "command: echo a; exit 3\n")
        dana.write(work / "b.yaml", "command: echo b\n")
        assert queue.wq(dana, "sub", "a.yaml", "b.yaml", cwd=work, status=3).stdout == "a\nb\n"

    def test_options_before_and_after_the_command(self, queue: Queue, dana: User) -> None:
        for words in (["-p", str(queue.port), "sub", "-c", "echo hi"], ["sub", "-c", "echo hi", "-p", str(queue.port)]):
            assert queue.wq(dana, *words, env={"WQ_PORT": "1"}).stdout == "hi\n"

    @pytest.mark.parametrize(
        ("words", "telling"),
        [
            (["sub"], "JOBFILE"),
            (["sub", "-c", ""], "empty"),
            (["sub", "-c", "true", "job.yaml"], "JOBFILE"),
            (["sub", "nosuch.yaml"], "nosuch.yaml"),
            (["sub", "-r", "modee: bycore", "-c", "true"], "mode"),
            (["sub", "-r", "N: -3", "-c", "true"], "N"),
            (["sub", "-r", "mode: byhost", "-c", "true"], "host"),
            (["sub", "--nosuch"], "--nosuch"),
            (["sbu", "-c", "true"], "sub"),
            (["-p", "many", "sub", "-c", "true"], "port"),
        ],
    )
    def test_bad_input_is_one_clear_line(self, queue: Queue, dana: User, words: list[str], telling: str) -> None:
        done = queue.wq(dana, *words, status=2)
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        assert line.startswith("wq: ")
        assert telling in line


class TestWhatTheJobSees:
    def test_its_variables(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        require = "N: 6; job_name: my fit"
        env = {"MINE": "a b\n c", "SSH_CONNECTION": "not its own", "DISPLAY": ":77", "WQ_JOB_ID": "wrong"}
        done = queue.wq(dana, "sub", "-r", require, "-c", "env -0; pwd; umask", cwd=work, env=env)
        *pairs, rest = done.stdout.split("\0")
        seen = dict(pair.split("=", 1) for pair in pairs)
        finished = [row for row in queue.ls("-a") if row["name"] == "my fit"]
        assert int(seen["WQ_JOB_ID"]) == finished[-1]["id"]
        expected = {
            "WQ_JOB_NAME": "my fit",
            "WQ_USER": dana.name,
            "WQ_ATTEMPT": "1",
            "WQ_SUBMIT_DIR": str(work),
            "WQ_NCORES": "6",
            "WQ_NHOSTS": "2",
            "WQ_HOSTS": "node1 node2",
            "OMP_NUM_THREADS": "4",
            "MINE": "a b\n c",
            "HOME": str(dana.home),
            "PWD": str(work),
        }
        assert {name: seen.get(name) for name in expected} == expected
        assert seen.get("SSH_CONNECTION") != "not its own"
        assert "DISPLAY" not in seen
        assert rest == f"{work}\n0022\n"

    def test_its_own_number_of_threads_wins(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "sub", "-r", "N: 2", "-c", "echo $OMP_NUM_THREADS", env={"OMP_NUM_THREADS": "9"})
        assert done.stdout == "9\n"

    def test_other_environments(self, queue: Queue, dana: User) -> None:
        dana.write(dana.home / ".profile", "export FROM_PROFILE=yes\n")
        shown = 'echo "${MINE-no} ${FROM_PROFILE-no} $WQ_NCORES"'
        env = {"MINE": "mine"}
        seen = {}
        for kind in ("submit", "login", "clean"):
            seen[kind] = queue.wq(dana, "sub", "-r", f"env: {kind}", "-c", shown, env=env).stdout
        (dana.home / ".profile").unlink()
        assert seen == {"submit": "mine no 1\n", "login": "no yes 1\n", "clean": "no no 1\n"}

    def test_umask_and_limits_come_along(self, queue: Queue, dana: User) -> None:
        script = "umask 027; ulimit -S -n 99; ulimit -S -c 0; wq sub -c 'umask; ulimit -n; ulimit -c'"
        assert queue.run(dana, ["sh", "-c", script]).stdout == "0027\n99\n0\n"

    def test_the_queue_is_the_same_within_a_job(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        outer = queue.wq(dana, "sub", "-c", "wq sub -b -q -r 'job_name: inner' -c 'echo inner'", cwd=work)
        inner = int(outer.stdout)
        assert queue.wait_for_end(inner)["exit_status"] == 0
        assert read(work / f"inner-{inner}.wqlog") == "inner\n"

    def test_the_users_own_shell(self, queue: Queue, dana: User) -> None:
        assert queue.wq(dana, "sub", "-c", "echo $0", env={"SHELL": "/bin/sh"}).stdout.strip().endswith(".sh")
        assert queue.wq(dana, "sub", "-c", "echo ${BASH_VERSION:+bash}", env={"SHELL": "/bin/bash"}).stdout == "bash\n"
        assert queue.wq(dana, "sub", "-c", "echo ${BASH_VERSION:-other}", env={"SHELL": "/bin/sh"}).stdout == "other\n"
