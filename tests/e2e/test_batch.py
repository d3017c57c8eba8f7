"""`wq sub -b`: queued at once, output in files, and nobody waits in the foreground."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, blocker, read, until
from tests.e2e.rig import NetNodes, User, wait_for
from tests.e2e.users import title_of

pytestmark = pytest.mark.xdist_group("e2e-batch")


class TestSubmission:
    def test_files_are_queued_at_once_and_log_beside_themselves(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        for name in ("a", "b"):
            dana.write(work / f"{name}.yaml", f"command: echo {name}; echo aside >&2; {until(work / 'go')}; echo end\n")
        done = queue.wq(dana, "sub", "-b", "a.yaml", "b.yaml", cwd=work)
        assert done.stderr == ""
        first, second = done.stdout.splitlines()
        jobs = [int(re.findall(r"\d+", line)[0]) for line in (first, second)]
        assert jobs[0] < jobs[1]
        assert "a.yaml.wqlog" in first
        assert "b.yaml.wqlog" in second
        for job, name in zip(jobs, ("a", "b"), strict=True):
            queue.wait_for_state(job, "running")
            wait_for(lambda name=name: read(work / f"{name}.yaml.wqlog") == f"{name}\naside\n", PATIENCE_S, "output")  # type: ignore[misc]
        dana.write(work / "go", "")
        for job, name in zip(jobs, ("a", "b"), strict=True):
            assert queue.wait_for_end(job)["exit_status"] == 0
            assert read(work / f"{name}.yaml.wqlog") == f"{name}\naside\nend\n"

    def test_the_log_is_beside_the_job_file_not_where_one_stands(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        (work / "jobs").mkdir()
        dana.own(work / "jobs", 0o755)
        dana.write(work / "jobs" / "a.yaml", "command: pwd\n")
        job = int(queue.wq(dana, "sub", "-b", "-q", "jobs/a.yaml", cwd=work).stdout)
        queue.wait_for_end(job)
        assert read(work / "jobs" / "a.yaml.wqlog") == f"{work}\n"

    def test_commands_log_under_their_name_and_id(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        plain = queue.batch(dana, "echo plain", cwd=work)
        named = queue.batch(dana, "echo named", "job_name: my fit", cwd=work)
        path = queue.batch(dana, "/bin/echo path", cwd=work)
        words = int(queue.wq(dana, "sub", "-b", "-q", "--", "printf", "%s", "a b", cwd=work).stdout)
        typed = int(queue.wq(dana, "sub", "-b", "-q", "-", cwd=work, stdin="command: echo typed\n").stdout)
        for job in (plain, named, path, words, typed):
            assert queue.wait_for_end(job)["exit_status"] == 0
        logs = {name.name: read(name) for name in work.iterdir()}
        assert logs == {
            f"echo-{plain}.wqlog": "plain\n",
            f"my_fit-{named}.wqlog": "named\n",
            f"echo-{path}.wqlog": "path\n",
            f"printf-{words}.wqlog": "a b",
            f"echo-{typed}.wqlog": "typed\n",
        }

    def test_several_documents_in_one_file(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "all.yaml", "command: echo one\n---\ncommand: echo two\nN: 2\n---\ncommand: echo three\n")
        jobs = json.loads(queue.wq(dana, "sub", "-b", "--json", "all.yaml", cwd=work).stdout)
        assert [job["id"] for job in jobs] == list(range(jobs[0]["id"], jobs[0]["id"] + 3))
        for job, text in zip(jobs, ("one\n", "two\n", "three\n"), strict=True):
            assert queue.wait_for_end(job["id"])["exit_status"] == 0
            assert Path(job["output"]).parent == work
            assert Path(job["output"]).name.startswith("all.yaml")
            assert read(Path(job["output"])) == text
        assert sum(queue.cores_of(jobs[1]["id"]).values()) == 2

    def test_quiet_says_only_the_ids(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "a.yaml", "command: 'true'\n")
        dana.write(work / "b.yaml", "command: 'true'\n")
        done = queue.wq(dana, "sub", "-b", "-q", "a.yaml", "b.yaml", cwd=work)
        first, second = map(int, done.stdout.splitlines())
        assert second == first + 1
        assert done.stderr == ""

    def test_the_schema_of_json(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        done = queue.wq(dana, "sub", "-b", "--json", "-r", "job_name: a b", "-c", "true", cwd=work)
        [job] = json.loads(done.stdout)
        output = str(work / f"a_b-{job['id']}.wqlog")
        assert job == {"id": job["id"], "name": "a b", "output": output, "error": None, "tasks": None, "away": False}

    def test_the_same_file_twice_does_not_mix_its_output(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "a.yaml", f"command: echo $WQ_JOB_ID; {until(work / 'go')}; echo $WQ_JOB_ID\n")
        jobs = [json.loads(queue.wq(dana, "sub", "-b", "--json", "a.yaml", cwd=work).stdout)[0] for _ in range(2)]
        for job in jobs:
            queue.wait_for_state(job["id"], "running")
        dana.write(work / "go", "")
        for job in jobs:
            queue.wait_for_end(job["id"])
            assert read(Path(job["output"])) == f"{job['id']}\n" * 2
        assert jobs[0]["output"] == str(work / "a.yaml.wqlog")

    def test_a_later_run_of_a_file_writes_its_log_anew(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        for text in ("a long first text", "short"):
            dana.write(work / "a.yaml", f"command: echo {text}\n")
            queue.wait_for_end(int(queue.wq(dana, "sub", "-b", "-q", "a.yaml", cwd=work).stdout))
        assert read(work / "a.yaml.wqlog") == "short\n"

    def test_standard_input_is_empty(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        queue.wait_for_end(queue.batch(dana, "cat; echo end", "job_name: x", cwd=work))
        [log] = work.iterdir()
        assert read(log) == "end\n"

    def test_a_user_who_logs_out_leaves_his_jobs_running(self, queue: Queue, dana: User) -> None:
        """All of the session's processes get HUP, and are gone; launcher and job are in sessions of their own."""
        work = queue.directory(dana)
        script = f"wq sub -b -q -r 'job_name: j' -c {json.dumps(until(work / 'go') + '; exit 3')}; kill -HUP 0"
        done = queue.run(dana, ["setsid", "--wait", "sh", "-c", script], cwd=work, status=None)
        job = int(done.stdout)
        queue.wait_for_state(job, "running")
        dana.write(work / "go", "")
        assert queue.wait_for_end(job)["exit_status"] == 3


class TestRefusals:
    """Nothing is queued, and one line says why."""

    def refused(self, queue: Queue, user: User, *words: str, cwd: Path, stdin: str = "") -> str:
        before = queue.ls("-a")
        done = queue.wq(user, "sub", "-b", *words, cwd=cwd, stdin=stdin, status=2)
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        assert line.startswith("wq: ")
        assert [row["id"] for row in queue.ls("-a")] == [row["id"] for row in before]
        return line

    def test_a_directory_that_cannot_be_written(self, queue: Queue, dana: User, base: rig.Base) -> None:
        closed = base.directory("closed")
        assert str(closed) in self.refused(queue, dana, "-c", "true", cwd=closed)
        (closed / "job.yaml").write_text("command: 'true'\n")
        assert str(closed) in self.refused(queue, dana, "job.yaml", cwd=closed)
        assert str(closed) in self.refused(queue, dana, str(closed / "job.yaml"), cwd=queue.directory(dana))

    def test_a_bad_document_among_many(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        good = "command: 'true'\n"
        dana.write(work / "good.yaml", good)
        dana.write(work / "bad.yaml", f"{good}---\n{good}---\n{good}prority: high\n---\n{good}")
        line = self.refused(queue, dana, "good.yaml", "bad.yaml", "good.yaml", cwd=work)
        for telling in ("bad.yaml:6", "prority", "priority"):
            assert telling in line
        assert sorted(path.name for path in work.iterdir()) == ["bad.yaml", "good.yaml"]

    def test_an_impossible_document_among_many(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "all.yaml", "command: 'true'\n---\ncommand: 'true'\nN: 17\n---\ncommand: 'true'\n")
        assert "N: 17" in self.refused(queue, dana, "all.yaml", cwd=work)

    @pytest.mark.parametrize(
        ("text", "tellings"),
        [
            ("command: [\n", [":1", "YAML"]),
            ("command: 'true'\nN: many\n", [":2", "N", "whole number"]),
            ("command: 'true'\nmode: bycores\n", [":2", "mode", "bycore"]),
            ("command: 'true'\nN: 1\nN: 2\n", [":3", "N", "twice"]),
            ("N: 2\n", ["command"]),
            ("", ["command"]),
            ("command: 'true'\nX: maybe\n", [":2", "X", "true"]),
        ],
    )
    def test_bad_job_files(self, queue: Queue, dana: User, text: str, tellings: list[str]) -> None:
        work = queue.directory(dana)
        dana.write(work / "job.yaml", text)
        line = self.refused(queue, dana, "job.yaml", cwd=work)
        for telling in ["job.yaml", *tellings]:
            assert telling in line
        from_input = self.refused(queue, dana, "-", cwd=work, stdin=text)
        assert "standard input" in from_input

    def test_quiet_without_batch(self, queue: Queue, dana: User) -> None:
        assert "-b" in queue.wq(dana, "sub", "-q", "-c", "true", status=2).stderr


class TestAfterwards:
    @pytest.mark.parametrize(
        ("command", "expected"),
        [
            ("exit 0", {"kind": "exited", "exit_status": 0, "signal": None, "by": None}),
            ("exit 3", {"kind": "exited", "exit_status": 3, "signal": None, "by": None}),
            ("kill -SEGV $$", {"kind": "signalled", "exit_status": None, "signal": 11, "by": None}),
        ],
    )
    def test_the_outcome_is_known(self, queue: Queue, dana: User, command: str, expected: dict[str, object]) -> None:
        job = queue.batch(dana, command, "N: 2; priority: high; job_name: x")
        outcome = queue.wait_for_end(job)
        assert {key: outcome[key] for key in expected} == expected
        row = queue.job(job)
        assert row["submitted_at"] <= row["started_at"] <= row["ended_at"]
        shown = {key: row[key] for key in ("id", "user", "name", "command", "state", "priority", "mode", "n", "ncores")}
        assert shown == {
            "id": job,
            "user": dana.name,
            "name": "x",
            "command": command,
            "state": "done",
            "priority": "high",
            "mode": "bycore",
            "n": 2,
            "ncores": 2,
        }
        assert row["hosts"] == [{"host": "node1", "cores": [0, 1]}]
        assert job not in [row["id"] for row in queue.ls()]
        assert job in [row["id"] for row in queue.ls("-a")]

    def test_a_removed_one(self, queue: Queue, dana: User) -> None:
        job = queue.batch(dana, "echo before; sleep 1000")
        log = Path(dana.home, *queue.job(job)["submit_dir"].split("/")[-1:]) / f"echo-{job}.wqlog"
        wait_for(lambda: read(log) == "before\n", PATIENCE_S, "its output")
        assert queue.wq(dana, "rm", str(job)).stdout == f"being ended: {job}\n"
        outcome = queue.wait_for_end(job)
        assert (outcome["kind"], outcome["by"], outcome["signal"]) == ("removed", dana.name, 15)
        assert read(log) == "before\n"

    def test_a_removed_one_may_clean_up(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = "trap 'echo cleaning up; exit 0' TERM; echo ready; while :; do sleep 0.05; done; echo never"
        job = queue.batch(dana, command, "job_name: j", cwd=work)
        log = work / f"j-{job}.wqlog"
        wait_for(lambda: read(log) == "ready\n", PATIENCE_S, "it to be ready")
        queue.wq(dana, "rm", str(job))
        assert queue.wait_for_end(job)["kind"] == "removed"
        assert read(log).endswith("cleaning up\n")
        assert "never" not in read(log)

    def test_one_that_will_not_go_is_killed_with_all_below_it(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = "trap '' TERM; sleep 1000 & (sleep 1001 & wait) & echo ready; wait"
        job = queue.batch(dana, command, "job_name: j", cwd=work)
        wait_for(lambda: read(work / f"j-{job}.wqlog") == "ready\n", PATIENCE_S, "it to be ready")
        queue.wq(dana, "rm", "--grace", "0.2", str(job))
        outcome = queue.wait_for_end(job)
        assert (outcome["kind"], outcome["signal"]) == ("removed", 9)
        assert not queue.job_processes()

    def test_the_lines_after_the_one_that_is_ended_do_not_run(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        for _ in range(5):
            job = queue.batch(dana, "echo ready; sleep 1000; echo after", "job_name: j", cwd=work)
            log = work / f"j-{job}.wqlog"
            wait_for(lambda log=log: read(log) == "ready\n", PATIENCE_S, "it to be ready")  # type: ignore[misc]
            queue.wq(dana, "rm", str(job))
            assert queue.wait_for_end(job)["signal"] == 15
            assert read(log) == "ready\n"

    def test_a_range_of_ids(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "all.yaml", "\n---\n".join(f"command: exit {n}" for n in range(5)))
        jobs = [int(line) for line in queue.wq(dana, "sub", "-b", "-q", "all.yaml", cwd=work).stdout.split()]
        for job in jobs:
            queue.wait_for_end(job)
        rows = queue.ls(f"{jobs[1]}-{jobs[3]}")
        assert [(row["id"], row["outcome"]["exit_status"]) for row in rows] == list(
            zip(jobs[1:4], (1, 2, 3), strict=True)
        )

    def test_an_id_that_nobody_knows(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "ls", "--json", "999999", status=1)
        assert json.loads(done.stdout) == []
        assert "999999" in done.stderr

    def test_no_process_waits_with_a_waiting_job(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        queue.wait_for_state(queue.batch(dana, *blocker()), "running")

        def mine() -> list[str]:
            titles = [title_of(pid) for pid in rig.processes_of(dana.uid)]
            return sorted(title.split(" -c ")[0] for title in titles)

        before = mine()
        dana.write(work / "many.yaml", "\n---\n".join(["command: 'true'"] * 200))
        assert len(queue.wq(dana, "sub", "-b", "-q", "many.yaml", cwd=work).stdout.splitlines()) == 200
        assert len(queue.ls("-u", dana.name)) == 201
        assert mine() == before

    def test_a_hundred_jobs_run_and_each_has_its_output(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "many.yaml", "\n---\n".join(f"command: echo number {n}" for n in range(100)))
        jobs = json.loads(queue.wq(dana, "sub", "-b", "--json", "many.yaml", cwd=work).stdout)
        wait_for(lambda: not queue.ls(), PATIENCE_S, "all to end")
        ended = queue.ls(f"{jobs[0]['id']}-{jobs[-1]['id']}")
        assert [row["outcome"]["exit_status"] for row in ended] == [0] * 100
        assert [read(Path(job["output"])) for job in jobs] == [f"number {n}\n" for n in range(100)]
        assert {part["host"] for row in ended for part in row["hosts"]} == {"node1", "node2", "node3", "node4"}


class TestOutputFile:
    def test_what_the_node_writes_is_seen_while_it_runs(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = queue.batch(dana, f"echo first; {until(work / 'go')}; echo second", cwd=work)
        log = work / f"echo-{job}.wqlog"
        wait_for(lambda: read(log) == "first\n", PATIENCE_S, "the first line")
        dana.write(work / "go", "")
        queue.wait_for_end(job)
        assert read(log) == "first\nsecond\n"

    def test_it_has_the_users_umask(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        for mask in ("077", "002"):
            script = f"umask {mask}; wq sub -b -q -r 'job_name: m{mask}' -c 'echo x'"
            job = int(queue.run(dana, ["sh", "-c", script], cwd=work).stdout)
            queue.wait_for_end(job)
            found = (work / f"m{mask}-{job}.wqlog").stat()
            assert (found.st_mode & 0o777, found.st_uid) == (0o666 & ~int(mask, 8), dana.uid)

    def test_a_link_in_its_place_is_not_followed(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        dana.write(work / "precious", "precious\n")
        dana.write(work / "a.yaml", "command: echo overwritten\n")
        (work / "a.yaml.wqlog").symlink_to(work / "precious")
        done = queue.wq(dana, "sub", "-b", "-q", "a.yaml", cwd=work, status=None)
        if done.returncode == 0:
            assert queue.wait_for_end(int(done.stdout))["kind"] == "failed"
        assert read(work / "precious") == "precious\n"


@pytest.fixture(scope="module")
def private(base: rig.Base) -> Path:
    """Another directory here than on the node."""
    return base.directory("private", 0o1777)


@pytest.fixture(scope="module")
def far_user(accounts: rig.Users) -> User:
    """Who has the far node to himself."""
    return accounts.create()


@pytest.fixture(scope="module")
def far(base: rig.Base, public_wq: Path, far_user: User, private: Path) -> Iterator[Queue]:
    """The queue of a node that does not share everything with us."""
    if reason := rig.no_namespaces():
        pytest.skip(reason)
    with NetNodes(base, ["n1"], users=[far_user], private=[private]) as net:
        cluster = far_user.write(base.directory("queue") / "cluster.txt", "n1 4 8\n")
        with Queue(wq=public_wq, owner=far_user, users=[far_user], cluster=cluster, at=net.head) as queue:
            yield queue
            queue.wait_until_acknowledged()


class TestFarNode:
    """A node that has its own copy of the directory of submission, or none: output is brought back."""

    def both(self, far: Queue, far_user: User, path: Path) -> Path:
        """Makes a directory here, and another one of the same name on the node."""
        far.run(far_user, ["mkdir", path])
        far.run(far_user, ["ssh", "n1", f"mkdir {path}"])
        return path

    def test_several_megabytes_come_back_while_they_grow(self, far: Queue, far_user: User, private: Path) -> None:
        work = self.both(far, far_user, private / "work")
        go = far_user.home / "go-on"
        job = far.batch(
            far_user,
            f"pwd; echo there > mark; {until(go)}; seq 700000; echo aside >&2; exit 3",
            "job_name: j",
            cwd=work,
        )
        log = work / f"j-{job}.wqlog"
        wait_for(lambda: read(log) == f"{work}\n", PATIENCE_S, "the first line")
        assert not (work / "mark").exists()
        assert far.run(far_user, ["ssh", "n1", f"cat {work}/mark"]).stdout == "there\n"
        assert far.state(job) == "running"
        far_user.write(go, "")
        assert far.wait_for_end(job)["exit_status"] == 3
        expected = f"{work}\n" + "".join(f"{n}\n" for n in range(1, 700_001)) + "aside\n"
        wait_for(lambda: log.stat().st_size >= len(expected), PATIENCE_S, "all of the output")
        assert read(log) == expected
        assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (far_user.uid, 0o644)
        assert far.run(far_user, ["ssh", "n1", f"ls {work}"]).stdout == "mark\n"

    def test_a_second_run_of_a_job_file(self, far: Queue, far_user: User, private: Path) -> None:
        work = self.both(far, far_user, private / "again")
        for text in ("a long first text", "short"):
            far_user.write(work / "a.yaml", f"command: echo {text}\n")
            job = int(far.wq(far_user, "sub", "-b", "-q", "a.yaml", cwd=work).stdout)
            assert far.wait_for_end(job)["exit_status"] == 0
            wait_for(lambda text=text: read(work / "a.yaml.wqlog") == f"{text}\n", PATIENCE_S, "the output")  # type: ignore[misc]

    def test_silence_comes_back_too(self, far: Queue, far_user: User, private: Path) -> None:
        work = self.both(far, far_user, private / "silent")
        job = far.batch(far_user, "exit 4", cwd=work)
        assert far.wait_for_end(job)["exit_status"] == 4
        assert read(work / f"exit-{job}.wqlog") == ""

    def test_a_directory_that_the_node_does_not_have(self, far: Queue, far_user: User, private: Path) -> None:
        work = private / "here-only"
        far.run(far_user, ["mkdir", work])
        job = far.batch(far_user, "touch /tmp/ran-somewhere", cwd=work)
        outcome = far.wait_for_end(job)
        assert outcome["kind"] == "failed"
        assert not re.search("[0-9a-f]{16}", read(work / f"touch-{job}.wqlog"))  # what wq itself wrote there is gone
        assert str(work) in outcome["message"]
        done = far.wq(far_user, "sub", "-c", "touch /tmp/ran-somewhere", cwd=work, status=1)
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        assert str(work) in line
        assert far.run(far_user, ["ssh", "n1", "ls /tmp/ran-somewhere"], status=None).returncode != 0

    def test_nothing_of_wq_stays_on_the_node(self, far: Queue, far_user: User, private: Path) -> None:
        """What a job leaves in the spool goes when its end and its output are acknowledged."""
        work = self.both(far, far_user, private / "clean")
        job = far.batch(far_user, "seq 1000", cwd=work)
        far.wait_for_end(job)

        def left() -> str:
            return far.run(
                far_user, ["ssh", "n1", "cd /var/tmp/wq-* && find . -name '*.out' -o -name '*.sh' -o -name '*.hosts'"]
            ).stdout

        wait_for(lambda: not left(), PATIENCE_S, "the files of the job to go")
        assert os.path.getsize(work / f"seq-{job}.wqlog") == 3893
