"""The server's own life: stopped and started again, its cluster file, its port, and whom a client trusts."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e import rig
from tests.e2e.queues import FOUR_NODES, PATIENCE_S, Queue, blocker, read, until
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-server")

HOLD = "sleep 1000"


@pytest.fixture
def other(base: rig.Base, four: rig.Nodes, public_wq: Path, cene: User, dana: User, erin: User) -> Iterator[Queue]:
    """A port without a server; cene may start one there, and so may others."""
    cluster = cene.write(base.directory("queue") / "cluster.txt", FOUR_NODES)
    with Queue(wq=public_wq, owner=cene, users=[dana, erin], cluster=cluster, serve=False) as made:
        yield made
        made.wait_until_acknowledged()


def gone(pid: int | None) -> bool:
    return pid is None or not rig.is_alive(pid)


class TestStoppedAndStarted:
    def test_what_runs_goes_on_and_what_waits_waits(self, queue: Queue, dana: User, erin: User) -> None:
        work = queue.directory(dana)
        running = queue.batch(dana, f"echo one; {until(work / 'go')}; echo two; exit 5", "job_name: j", cwd=work)
        waiting = queue.batch(erin, "exit 6", "N: 16; priority: high")
        log = work / f"j-{running}.wqlog"
        wait_for(lambda: read(log) == "one\n", PATIENCE_S, "its output")
        queue.wait_for_state(running, "running")
        held = queue.job(running)["hosts"]
        queue.shutdown()
        assert len(queue.job_processes()) >= 1
        queue.wq(dana, "ls", status=75)
        queue.serve()
        row = queue.wait_for_state(running, "running")
        assert (row["hosts"], row["attempt"]) == (held, 1)
        assert queue.state(waiting) == "queued"
        later = queue.batch(dana, HOLD)
        assert later > waiting
        queue.remove(later)
        dana.write(work / "go", "")
        assert queue.wait_for_end(running)["exit_status"] == 5
        assert queue.wait_for_end(waiting)["exit_status"] == 6
        assert read(log) == "one\ntwo\n"

    def test_what_ends_meanwhile_is_learnt_afterwards(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        job = queue.batch(dana, f"echo $$ > pid; {until(work / 'go')}; echo out; exit 7", "job_name: j", cwd=work)
        pid = int(wait_for(lambda: read(work / "pid").strip(), PATIENCE_S, "it to run"))
        queue.wait_for_state(job, "running")
        queue.shutdown()
        dana.write(work / "go", "")
        wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "it to end")
        queue.serve()
        assert queue.wait_for_end(job)["exit_status"] == 7
        assert read(work / f"j-{job}.wqlog") == "out\n"

    def test_a_foreground_job_goes_on_too(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        with queue.start(dana, "sub", "-c", f"echo one; {until(work / 'go')}; echo two; exit 8") as client:
            wait_for(lambda: client.out == "one\n", PATIENCE_S, "its output")
            queue.shutdown()
            queue.serve()
            dana.write(work / "go", "")
            assert client.wait() == 8
            assert client.out == "one\ntwo\n"
        wait_for(lambda: not queue.ls(), PATIENCE_S, "the server to know")

    def test_a_foreground_job_that_waits_keeps_its_place(self, queue: Queue, dana: User, erin: User) -> None:
        first = queue.batch(erin, *blocker())
        queue.wait_for_state(first, "running")
        with queue.start(dana, "sub", "-c", "echo my turn") as client:
            [job] = wait_for(lambda: [row["id"] for row in queue.ls() if row["foreground"]], PATIENCE_S, "it to wait")
            queue.shutdown()
            queue.serve()
            assert queue.state(job) == "queued"
            queue.remove(first)
            assert client.wait() == 0
            assert client.out == "my turn\n"
        assert queue.job(job)["outcome"]["exit_status"] == 0

    def test_kill_9_of_the_server_loses_nothing(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        running = queue.batch(dana, f"{until(work / 'go')}; exit 9", "N: 16")
        queue.wait_for_state(running, "running")
        waiting = queue.batch(dana, "exit 10")
        pid = queue.server_pid
        assert pid
        rig.signal_all([pid])
        wait_for(lambda: gone(pid), PATIENCE_S, "the server to die")
        queue.serve()
        assert queue.wait_for_state(running, "running")["attempt"] == 1
        assert queue.state(waiting) == "queued"
        dana.write(work / "go", "")
        assert queue.wait_for_end(running)["exit_status"] == 9
        assert queue.wait_for_end(waiting)["exit_status"] == 10

    def test_kill_9_of_a_launcher_loses_nothing(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        command = f"echo one; {until(work / 'go')}; seq 1000; exit 11"
        running = queue.batch(dana, command, "N: 16; job_name: j", cwd=work)
        queue.wait_for_state(running, "running")
        waiting = queue.batch(dana, "exit 12")
        pid = queue.launcher_pid(dana)
        assert pid
        rig.signal_all([pid])
        wait_for(lambda: gone(pid), PATIENCE_S, "the launcher to die")
        queue.wq(dana, "ls")  # any command of its user brings it back
        assert queue.wait_for_state(running, "running")["attempt"] == 1
        dana.write(work / "go", "")
        assert queue.wait_for_end(running)["exit_status"] == 11
        assert queue.wait_for_end(waiting)["exit_status"] == 12
        assert read(work / f"j-{running}.wqlog") == "one\n" + "".join(f"{n}\n" for n in range(1, 1001))

    def test_ids_are_never_used_twice(self, queue: Queue, dana: User) -> None:
        first = queue.batch(dana, "true")
        queue.wait_for_end(first)
        queue.shutdown()
        queue.serve()
        assert queue.batch(dana, "true") == first + 1
        assert queue.job(first)["outcome"]["exit_status"] == 0

    def test_only_the_owner_stops_it(self, queue: Queue, cene: User, dana: User) -> None:
        assert cene.name in queue.wq(dana, "shutdown", status=1).stderr
        assert queue.server_pid

    def test_shutdown_says_what_goes_on(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wait_for_state(queue.batch(dana, HOLD), "running")
        assert queue.wq(cene, "shutdown").stdout.startswith("1 running")
        wait_for(lambda: queue.server_pid is None, PATIENCE_S, "the server to end")
        queue.serve()

    def test_in_the_foreground_it_logs_to_stderr_and_ctrl_c_ends_it(self, other: Queue, cene: User) -> None:
        with other.start(cene, "serve", other.cluster) as server:
            wait_for(lambda: "serving 4 nodes, 16 cores" in server.err, PATIENCE_S, "its first word")
            other.wq(cene, "ls")
            server.signal(signal.SIGINT)
            assert server.wait() == 0
            assert server.out == ""
            assert "Traceback" not in server.err


class TestPorts:
    def test_two_queues_side_by_side(self, queue: Queue, other: Queue, cene: User, dana: User) -> None:
        other.serve()
        first, second = str(queue.port), str(other.port)
        done = other.wq(dana, "sub", "-b", "-q", "-p", second, "-c", HOLD, cwd=other.directory(dana))
        job = int(done.stdout)
        other.wait_for_state(job, "running")
        assert queue.ls() == []
        both = [json.loads(queue.wq(dana, "-p", port, "ls", "--json").stdout) for port in (first, second)]
        assert [len(rows) for rows in both] == [0, 1]
        assert queue.wq(dana, "sub", "-p", first, "-c", "echo $WQ_PORT").stdout == f"{first}\n"
        assert queue.wq(dana, "sub", "-p", second, "-c", "echo $WQ_PORT").stdout == f"{second}\n"
        other.shutdown()
        queue.wq(dana, "ls")
        queue.wq(dana, "-p", second, "ls", status=75)
        other.serve()
        other.remove(job)
        other.wait_for_end(job)

    def test_a_second_server_on_one_port(self, queue: Queue, base: rig.Base, cene: User) -> None:
        spool = queue.directory(cene)
        for words in ([], ["-s", str(spool)], ["--detach", "-s", str(spool)]):
            done = queue.wq(cene, "serve", queue.cluster, *words, status=1)
            assert done.stdout == ""
            assert len(done.stderr.splitlines()) == 1, done.stderr
            assert done.stderr.startswith("wq: ")
            queue.wq(cene, "ls")

    def test_a_server_that_runs_is_not_started_again(self, queue: Queue, cene: User) -> None:
        pid = queue.server_pid
        done = queue.wq(cene, "serve", queue.cluster, "--detach")
        assert done.stdout.startswith(f"already serving on port {queue.port}; log in /")
        assert done.stderr == ""
        assert queue.server_pid == pid

    def test_no_server(self, other: Queue, dana: User) -> None:
        for words in (["ls"], ["stat"], ["rm", "all"], ["users"], ["limit", "run: 1"], ["node"], ["refresh"]):
            done = other.wq(dana, *words, status=75)
            assert done.stdout == ""
            [line] = done.stderr.splitlines()
            assert str(other.port) in line

    def test_a_server_that_is_down_is_not_replaced(self, queue: Queue, dana: User) -> None:
        queue.shutdown()
        for words in (["sub", "-c", "echo never"], ["sub", "-b", "-q", "-c", "echo never"], ["ls"]):
            done = queue.wq(dana, *words, cwd=queue.directory(dana), status=75)
            assert done.stdout == ""
            assert len(done.stderr.splitlines()) == 1, done.stderr
        titles = queue.run(dana, ["ps", "-u", dana.name, "-o", "args="]).stdout.splitlines()
        assert not [title for title in titles if title.startswith("wq serve")]
        queue.serve()
        assert queue.ls("-u", dana.name) == []  # where no id was printed, nothing is kept

    def test_a_closed_standard_output(self, queue: Queue, dana: User) -> None:
        done = queue.run(dana, ["sh", "-c", "wq ls >&-; wq ls 2>&- | head -1; wq ls <&- | tail -1"])
        assert done.stdout.splitlines()[1:] == ["Jobs: 0 Running: 0 Waiting: 0"]
        assert done.stderr == ""


class TestTrust:
    def test_the_first_contact_is_shown_and_remembered(self, other: Queue, cene: User, dana: User) -> None:
        other.serve()
        done = other.wq(dana, "ls")
        [line] = done.stderr.splitlines()
        for telling in (cene.name, str(other.port), "node1", "node4"):
            assert telling in line
        assert other.wq(dana, "ls").stderr == ""
        assert other.wq(dana, "sub", "-c", "echo trusted").stdout == "trusted\n"

    def test_another_user_on_the_port_is_refused(self, other: Queue, cene: User, dana: User, erin: User) -> None:
        other.serve()
        other.greet()
        other.shutdown()
        usurper = erin.write(other.directory(erin) / "mine.txt", FOUR_NODES)
        other.wq(erin, "serve", usurper, "--detach")
        try:
            for words in (["ls"], ["sub", "-c", "echo never"], ["rm", "all"]):
                done = other.wq(dana, *words, status=1)
                assert done.stdout == ""
                [line] = done.stderr.splitlines()
                assert cene.name in line
                assert erin.name in line
            other.serve()  # beside the usurper: the one that was met first is the one that counts
            assert "never" not in json.dumps(other.ls(user=dana))
            assert other.wq(dana, "ls").stderr == ""
        finally:
            other.wq(erin, "shutdown")

    def test_several_that_nobody_knows_are_listed(self, other: Queue, cene: User, dana: User, erin: User) -> None:
        other.serve()
        usurper = erin.write(other.directory(erin) / "mine.txt", FOUR_NODES)
        other.wq(erin, "serve", usurper, "--detach")
        try:
            done = other.wq(dana, "ls", status=2)
            [line] = done.stderr.splitlines()
            assert cene.name in line
            assert erin.name in line
            config = dana.home / ".config" / "wq" / "config.yaml"
            config.parent.mkdir(parents=True, exist_ok=True)
            dana.write(config, f"server_user: {erin.name}\n")
            try:
                assert erin.name in other.wq(dana, "ls").stderr
            finally:
                config.unlink()
        finally:
            other.wq(erin, "shutdown")

    def test_a_new_node_is_used_when_it_is_accepted(self, queue: Queue, cene: User, dana: User) -> None:
        queue.write_cluster("localhost 1 1 new\n" + FOUR_NODES)
        queue.wq(cene, "refresh")
        job = queue.batch(dana, HOLD, "host: localhost")
        wait_for(
            lambda: "accept" in ((queue.job(job)["reason"] or {}).get("text") or ""), PATIENCE_S, "it to be refused"
        )
        assert "localhost" in queue.why(job)["text"]
        queue.wq(dana, "node", "--accept")
        queue.wait_for_state(job, "running")
        assert queue.cores_of(job) == {"localhost": 1}


class TestClusterFile:
    @pytest.mark.parametrize(
        ("text", "telling"),
        [
            ("node1 4 8\nnode2 four 8\n", ":2"),
            ("node1 4\n", ":1"),
            ("# only a comment\n", "node"),
            ("node1 4 8\nnode1 4 8\n", ":2"),
            ("node1 4 8\n\n-oProxyCommand=x 4 8\n", ":3"),
            ("node[1-3 4 8\n", ":1"),
        ],
    )
    def test_an_error_names_file_and_line(self, other: Queue, cene: User, text: str, telling: str) -> None:
        other.write_cluster(text)
        for words in ([], ["--detach"]):
            done = other.wq(cene, "serve", other.cluster, *words, status=2)
            assert done.stdout == ""
            [line] = done.stderr.splitlines()
            assert f"{other.cluster}:" in line
            assert telling in line
        other.wq(cene, "ls", status=75)

    def test_one_that_is_not_there(self, other: Queue, cene: User) -> None:
        for words in ([], ["--detach"]):
            assert "/nosuch/file" in other.wq(cene, "serve", "/nosuch/file", *words, status=2).stderr

    def test_on_refresh_the_server_goes_on_with_what_it_had(self, queue: Queue, cene: User, dana: User) -> None:
        job = queue.batch(dana, HOLD)
        queue.wait_for_state(job, "running")
        queue.write_cluster("node1 4 8\nnode2 four 8\n")
        done = queue.wq(cene, "refresh", status=None)
        assert f"{queue.cluster}:2" in done.stderr
        assert list(queue.nodes()) == ["node1", "node2", "node3", "node4"]
        assert queue.state(job) == "running"

    def test_it_is_read_again_on_refresh(self, queue: Queue, cene: User, dana: User) -> None:
        waiting = queue.batch(dana, HOLD, "mode: byhost; host: node3; N: 3")
        queue.remove(waiting)
        queue.write_cluster("node3 2 24 c\nnode1 4 8.5 a\n")
        queue.wq(cene, "refresh")
        rows = queue.nodes()
        assert list(rows) == ["node3", "node1"]
        assert (rows["node3"]["ncores"], rows["node3"]["groups"], rows["node1"]["mem_gb"]) == (2, ["c"], 8.5)
        job = queue.batch(dana, HOLD, "N: 3")
        queue.wait_for_state(job, "running")
        assert queue.cores_of(job) == {"node3": 2, "node1": 1}

    def test_it_is_read_again_on_sighup(self, queue: Queue) -> None:
        pid = queue.server_pid
        assert pid
        queue.write_cluster("node1 4 8\n")
        rig.signal_all([pid], signal.SIGHUP)
        wait_for(lambda: list(queue.nodes()) == ["node1"], PATIENCE_S, "the server to read it")
        queue.write_cluster(FOUR_NODES)
        rig.signal_all([pid], signal.SIGHUP)
        wait_for(lambda: len(queue.nodes()) == 4, PATIENCE_S, "the server to read it again")
        assert queue.server_pid == pid

    def test_a_removed_node_with_jobs_drains(self, queue: Queue, cene: User, dana: User) -> None:
        running = queue.batch(dana, HOLD, "mode: byhost; host: node2; N: 2")
        queue.wait_for_state(running, "running")
        queue.write_cluster("".join(line + "\n" for line in FOUR_NODES.splitlines() if "node2" not in line))
        queue.wq(cene, "refresh")
        rows = queue.nodes()
        assert set(rows) == {"node1", "node2", "node3", "node4"}
        assert (rows["node2"]["state"], len(rows["node2"]["used"])) == ("drain", 2)
        assert queue.state(running) == "running"
        later = queue.batch(dana, HOLD, "N: 12")
        queue.wait_for_state(later, "running")
        assert "node2" not in queue.cores_of(later)
        refused = queue.wq(dana, "sub", "-b", "-r", "host: node2", "-c", "true", status=2)
        assert "node2" in refused.stderr
        queue.remove(running)
        wait_for(lambda: "node2" not in queue.nodes(), PATIENCE_S, "the node to go")

    def test_ranges_and_comments(self, other: Queue, cene: User) -> None:
        other.write_cluster("# ours\nnode[1-2,4] 4 8 a  # three\n\nnode3 2 8.25\n")
        other.serve()
        rows = json.loads(other.wq(cene, "stat", "--json").stdout)["nodes"]
        assert [(row["host"], row["ncores"], row["mem_gb"]) for row in rows] == [
            ("node1", 4, 8),
            ("node2", 4, 8),
            ("node4", 4, 8),
            ("node3", 2, 8.25),
        ]


class TestListings:
    def test_columns_for_awk(self, queue: Queue, dana: User) -> None:
        first = queue.batch(dana, HOLD, "N: 6; job_name: a name with  spaces; priority: high")
        queue.wait_for_state(first, "running")
        second = queue.batch(dana, HOLD, "N: 16; job_name: '$(x) \"q\" #'")
        third = queue.batch(dana, "/bin/sleep 1000", "N: 16; priority: low")
        listed = queue.run(dana, ["sh", "-c", "wq ls | awk '{print NF, $1, $3, $4, $5, $6}'"]).stdout.splitlines()
        assert listed == [
            "9 Id Status Priority Ncores Nhosts",
            f"9 {first} R high 6 2",
            f"9 {second} W med - -",
            f"9 {third} W low - -",
            "6 Jobs: Running: 1 Waiting: 2",
        ]
        lines = queue.wq(dana, "ls").stdout.splitlines()
        assert lines[0].split() == ["Id", "User", "Status", "Priority", "Ncores", "Nhosts", "Command", "t_in", "t_run"]
        assert [line.split()[6] for line in lines[1:-1]] == ["a-name-with-spaces", '$(x)-"q"-#', "/bin/sleep"]
        assert lines[-1] == "Jobs: 3 Running: 1 Waiting: 2"
        for line in lines[1:-1]:
            assert re.fullmatch(r"(\d+[dhms])+", line.split()[7])

    def test_the_full_listing_is_yaml(self, queue: Queue, dana: User) -> None:
        assert yaml.safe_load(queue.wq(dana, "ls", "-f").stdout) == []
        nasty = "echo 'yes: [no' \\\n\t\"č\" # \x1b[31m\n\n"
        work = queue.directory(dana)
        dana.write(work / "job.yaml", "command: " + json.dumps(nasty + "sleep 1000") + "\nN: 5\njob_name: 'no'\n")
        queue.wq(dana, "sub", "-b", "job.yaml", cwd=work)
        job = int(queue.ls()[0]["id"])
        queue.wait_for_state(job, "running")
        queue.batch(dana, HOLD, "N: 16")
        text = queue.wq(dana, "ls", "-f").stdout
        assert "\x1b" not in text
        documents = list(yaml.safe_load_all(text))
        assert documents == [queue.ls()]
        [running, waiting] = documents[0]
        assert (running["name"], running["command"]) == ("no", nasty + "sleep 1000")
        assert [part["host"] for part in running["hosts"]] == ["node1", "node2"]
        assert waiting["reason"]["text"] == "16 cores wanted, 11 are free"

    def test_the_usage_bars(self, queue: Queue, dana: User) -> None:
        queue.wait_for_state(queue.batch(dana, HOLD, "N: 6"), "running")
        assert queue.wq(dana, "stat").stdout == (
            "usage   host  mem groups\n"
            "[****]  node1   8 a,g1\n"
            "[**..]  node2  16 a,g2\n"
            "[....]  node3  24 a,b,g3\n"
            "[....]  node4  32 b,g4\n"
            "Used/avail/active cores: 6/10/16 (37.5% load)\n"
        )

    def test_no_colour_into_a_pipe(self, queue: Queue, dana: User) -> None:
        queue.wait_for_state(queue.batch(dana, HOLD), "running")
        for verb in (["ls"], ["ls", "-f"], ["stat"], ["node"], ["users"], ["user"]):
            assert "\x1b" not in queue.wq(dana, *verb).stdout

    @pytest.mark.parametrize("verb", "sub ls stat rm refresh users user limit node serve shutdown".split())
    def test_help_with_examples(self, queue: Queue, dana: User, verb: str) -> None:
        text = queue.wq(dana, verb, "-h").stdout
        assert f"wq {verb}" in text
        assert "examples:" in text
