"""What a job asks for and what it gets: modes, groups, hostfiles, priorities, limits. Four nodes of four cores:

node1 8 GB a,g1 · node2 16 GB a,g2 · node3 24 GB a,b,g3 · node4 32 GB b,g4
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.e2e.queues import PATIENCE_S, Queue, blocker, read, until
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-modes")

HOLD = "sleep 1000"


def hostfile(queue: Queue, user: User, require: str) -> list[tuple[str, int]]:
    """What a job with this requirement finds in its hostfile: (node, lines) in their order."""
    lines = queue.wq(user, "sub", "-r", require, "-c", "cat $WQ_HOSTFILE").stdout.split()
    return [(host, len(list(same))) for host, same in itertools.groupby(lines)]


def held(queue: Queue, user: User, require: str) -> dict[str, int]:
    """The cores that a job with this requirement gets, by node; it goes on to hold them."""
    job = queue.batch(user, HOLD, require)
    queue.wait_for_state(job, "running")
    return queue.cores_of(job)


def waits(queue: Queue, user: User, require: str) -> int:
    """A job with this requirement, which cannot start now."""
    job = queue.batch(user, HOLD, require)
    assert queue.state(job) == "queued"
    return job


def refused(queue: Queue, user: User, require: str) -> str:
    """Why a job with this requirement will never run here."""
    done = queue.wq(user, "sub", "-b", "-r", require, "-c", "true", status=2)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


class TestCores:
    def test_one_core_on_the_first_node_is_the_default(self, queue: Queue, dana: User) -> None:
        job = queue.batch(dana, HOLD)
        assert queue.wait_for_state(job, "running")["hosts"] == [{"host": "node1", "cores": [0]}]

    def test_six_cores_lie_on_two_nodes_and_the_hostfile_says_so(self, queue: Queue, dana: User) -> None:
        assert hostfile(queue, dana, "N: 6") == [("node1", 4), ("node2", 2)]

    def test_nodes_are_filled_in_the_order_of_the_cluster_file(self, queue: Queue, dana: User) -> None:
        assert held(queue, dana, "N: 3") == {"node1": 3}
        assert held(queue, dana, "N: 3") == {"node1": 1, "node2": 2}
        assert held(queue, dana, "N: 2") == {"node2": 2}
        assert held(queue, dana, "N: 8") == {"node3": 4, "node4": 4}
        assert queue.used() == {"node1": 4, "node2": 4, "node3": 4, "node4": 4}

    def test_no_core_is_given_twice(self, queue: Queue, dana: User, erin: User) -> None:
        for user, require in ((dana, "N: 3"), (erin, "N: 3"), (dana, "mode: bycore1; N: 3"), (erin, "N: 5")):
            held(queue, user, require)
        cores = [(part["host"], core) for row in queue.ls() for part in row["hosts"] for core in part["cores"]]
        assert len(cores) == len(set(cores)) == 14

    def test_cores_that_become_free_are_used_again(self, queue: Queue, dana: User) -> None:
        first = queue.batch(dana, HOLD, "N: 2")
        queue.wait_for_state(first, "running")
        assert held(queue, dana, "N: 1") == {"node1": 1}
        queue.remove(first)
        queue.wait_for_end(first)
        job = queue.batch(dana, HOLD, "N: 3")
        assert queue.wait_for_state(job, "running")["hosts"] == [{"host": "node1", "cores": [0, 1, 3]}]

    def test_more_than_there_are(self, queue: Queue, dana: User) -> None:
        line = refused(queue, dana, "N: 17")
        assert "N: 17" in line
        assert "16" in line


class TestOneNode:
    def test_all_on_one_node(self, queue: Queue, dana: User) -> None:
        assert held(queue, dana, "N: 2") == {"node1": 2}
        assert held(queue, dana, "mode: bycore1; N: 3") == {"node2": 3}
        assert held(queue, dana, "mode: bycore1; N: 2") == {"node1": 2}

    def test_five_cores_are_on_no_node(self, queue: Queue, dana: User) -> None:
        line = refused(queue, dana, "mode: bycore1; N: 5")
        assert "bycore1" in line
        assert "4" in line

    def test_by_the_name_of_the_host(self, queue: Queue, dana: User) -> None:
        assert hostfile(queue, dana, "mode: byhost; host: node3; N: 2") == [("node3", 2)]

    def test_a_host_that_is_busy_is_waited_for(self, queue: Queue, dana: User) -> None:
        first = queue.batch(dana, HOLD, "mode: byhost; host: node3; N: 3")
        queue.wait_for_state(first, "running")
        second = waits(queue, dana, "mode: byhost; host: node3; N: 2")
        assert "node3" in queue.why(second)["text"]
        queue.remove(first)
        queue.wait_for_state(second, "running")
        assert queue.cores_of(second) == {"node3": 2}

    def test_impossible_hosts(self, queue: Queue, dana: User) -> None:
        assert "host" in refused(queue, dana, "mode: byhost")
        assert "node9" in refused(queue, dana, "mode: byhost; host: node9")
        assert "byhost" in refused(queue, dana, "mode: byhost; host: node3; N: 5")


class TestWholeNodes:
    def test_whole_nodes(self, queue: Queue, dana: User) -> None:
        assert hostfile(queue, dana, "mode: bynode; N: 2") == [("node1", 4), ("node2", 4)]

    def test_a_node_in_use_is_not_whole(self, queue: Queue, dana: User) -> None:
        held(queue, dana, "mode: byhost; host: node2")
        assert held(queue, dana, "mode: bynode; N: 2") == {"node1": 4, "node3": 4}
        last = waits(queue, dana, "mode: bynode; N: 2")
        assert "node" in queue.why(last)["text"]

    def test_more_nodes_than_there_are(self, queue: Queue, dana: User) -> None:
        assert "bynode" in refused(queue, dana, "mode: bynode; N: 5")

    def test_a_whole_group_waits_until_all_of_it_is_free(self, queue: Queue, dana: User) -> None:
        small = [queue.batch(dana, HOLD, f"mode: byhost; host: {host}") for host in ("node1", "node3")]
        for job in small:
            queue.wait_for_state(job, "running")
        whole = waits(queue, dana, "mode: bygroup; group: a")
        queue.remove(small[0])
        queue.wait_for_end(small[0])
        assert queue.state(whole) == "queued"
        queue.remove(small[1])
        queue.wait_for_state(whole, "running")
        assert queue.cores_of(whole) == {"node1": 4, "node2": 4, "node3": 4}

    def test_all_nodes_of_several_groups(self, queue: Queue, dana: User) -> None:
        assert hostfile(queue, dana, "mode: bygroup; group: [g2, b]") == [("node2", 4), ("node3", 4), ("node4", 4)]

    def test_a_group_without_its_offline_nodes(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wq(cene, "node", "node2", "offline")
        assert hostfile(queue, dana, "mode: bygroup; group: a") == [("node1", 4), ("node3", 4)]

    def test_no_such_group(self, queue: Queue, dana: User) -> None:
        assert "group" in refused(queue, dana, "mode: bygroup")
        assert "nosuch" in refused(queue, dana, "mode: bygroup; group: nosuch")


class TestWhichNodes:
    @pytest.mark.parametrize(
        ("require", "hosts"),
        [
            ("group: b", [("node3", 1)]),
            ("group: [g4, g2]", [("node2", 1)]),
            ("group: [g4, g2]; N: 5", [("node2", 4), ("node4", 1)]),
            ("notgroup: a", [("node4", 1)]),
            ("notgroup: [g1, g2]; N: 5", [("node3", 4), ("node4", 1)]),
            ("group: a; notgroup: [g1, b]", [("node2", 1)]),
            ("min_cores: 4; N: 1", [("node1", 1)]),
            ("min_mem: 20", [("node3", 1)]),
            ("min_mem: 24.5; mode: bynode", [("node4", 4)]),
            ("mode: bycore1; group: b; N: 4", [("node3", 4)]),
        ],
    )
    def test_only_those(self, queue: Queue, dana: User, require: str, hosts: list[tuple[str, int]]) -> None:
        assert hostfile(queue, dana, require) == hosts

    @pytest.mark.parametrize(
        ("require", "telling"),
        [
            ("min_cores: 5", "min_cores"),
            ("min_mem: 33", "min_mem"),
            ("group: nosuch", "nosuch"),
            ("notgroup: [a, b]", "notgroup"),
            ("group: a; N: 13", "N: 13"),
            ("group: g1; min_mem: 16", "min_mem"),
        ],
    )
    def test_a_requirement_that_no_node_meets(self, queue: Queue, dana: User, require: str, telling: str) -> None:
        assert telling in refused(queue, dana, require)

    @pytest.mark.parametrize(
        ("require", "hosts"),
        [
            ("mode:by_core1;N:4;not_group:[g1]", [("node2", 4)]),
            ("mode: by_node; N: 1", [("node1", 4)]),
            ("mode: by_host; host: node4", [("node4", 1)]),
            ("mode: by_group; group: g3", [("node3", 4)]),
            ("mode: by_core; N: 5", [("node1", 4), ("node2", 1)]),
        ],
    )
    def test_old_spellings(self, queue: Queue, dana: User, require: str, hosts: list[tuple[str, int]]) -> None:
        assert hostfile(queue, dana, require) == hosts

    def test_lists_in_a_job_file(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        text = "command: cat $WQ_HOSTFILE\ngroup:\n    - g3\n    - g4\nnotgroup: [g3]\nmode: bynode\nN: 1\n"
        dana.write(work / "job.yaml", text)
        assert queue.wq(dana, "sub", "job.yaml", cwd=work).stdout == "node4\n" * 4


class TestHostfiles:
    def test_threads_a_rank(self, queue: Queue, dana: User) -> None:
        shown = "cat $WQ_HOSTFILE; echo %threads% $OMP_NUM_THREADS $WQ_NCORES"
        done = queue.wq(dana, "sub", "-r", "N: 6; threads: 2", "-c", shown)
        assert done.stdout == "node1\nnode1\nnode2\n2 2 6\n"

    def test_cores_come_in_multiples_of_threads_on_each_node(self, queue: Queue, dana: User) -> None:
        held(queue, dana, "mode: byhost; host: node1; N: 1")
        assert held(queue, dana, "N: 6; threads: 3") == {"node1": 3, "node2": 3}
        assert "threads" in refused(queue, dana, "N: 4; threads: 3")
        assert "threads" in refused(queue, dana, "N: 5; threads: 5")

    def test_without_threads(self, queue: Queue, dana: User) -> None:
        assert queue.wq(dana, "sub", "-r", "N: 3", "-c", "echo %threads% $OMP_NUM_THREADS").stdout == "1 3\n"

    def test_a_file_of_ones_own(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        done = queue.wq(
            dana, "sub", "-r", "N: 5; hostfile: my.hosts", "-c", "echo %hostfile%; cat %hostfile%", cwd=work
        )
        path, *hosts = done.stdout.split()
        assert Path(work, path) == work / "my.hosts"
        assert hosts == ["node1"] * 4 + ["node2"]
        assert read(work / "my.hosts").split() == hosts

    def test_a_file_that_goes_away_with_the_job(self, queue: Queue, dana: User) -> None:
        command = "echo %hostfile%; cat %hostfile%; cat $WQ_HOSTFILE"
        path, *hosts = queue.wq(dana, "sub", "-r", "N: 2; hostfile: auto", "-c", command).stdout.split()
        assert hosts == ["node1"] * 4
        wait_for(lambda: not Path(path).exists(), PATIENCE_S, "the hostfile to go")

    def test_a_name_with_spaces(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        words = ["sub", "-r", "hostfile: my hosts", "--", "cat", "%hostfile%"]
        assert queue.wq(dana, *words, cwd=work).stdout == "node1\n"

    def test_one_that_cannot_be_written(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "sub", "-r", "hostfile: /nosuch/hosts", "-c", "echo never", status=1)
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        assert "/nosuch/hosts" in line

    def test_there_is_one_without_asking(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "sub", "-r", "N: 2", "-c", "cat %hostfile%; cat $WQ_HOSTFILE")
        assert done.stdout == "node1\n" * 4


class TestOrder:
    def ended_in_order(self, queue: Queue, jobs: list[tuple[User, str]]) -> list[int]:
        """Which of these jobs of all cores (user, requirement) ran when, by their places in the list."""
        first = queue.batch(jobs[0][0], *blocker())
        queue.wait_for_state(first, "running")
        ids = [queue.batch(user, "true", f"N: 16; {require}") for user, require in jobs]
        queue.remove(first)
        wait_for(lambda: not queue.ls(), PATIENCE_S, "all to end")
        rows = {row["id"]: row for row in queue.ls(f"{ids[0]}-{ids[-1]}")}
        return sorted(range(len(ids)), key=lambda place: float(rows[ids[place]]["started_at"]))

    def test_first_in_first_out(self, queue: Queue, dana: User, erin: User) -> None:
        assert self.ended_in_order(queue, [(dana, ""), (erin, ""), (dana, ""), (erin, "")]) == [0, 1, 2, 3]

    def test_higher_priorities_first(self, queue: Queue, dana: User, erin: User) -> None:
        given = ["low", "med", "high", "block", "low", "high"]
        jobs = [(user, f"priority: {name}") for user, name in zip(itertools.cycle([dana, erin]), given, strict=False)]
        assert self.ended_in_order(queue, jobs) == [3, 2, 5, 1, 0, 4]

    def test_whoever_fits_runs(self, queue: Queue, dana: User, erin: User) -> None:
        held(queue, dana, "N: 10")
        large = waits(queue, dana, "N: 7")
        assert held(queue, erin, "N: 4; priority: low") == {"node3": 2, "node4": 2}
        assert queue.state(large) == "queued"
        assert "7 cores" in queue.why(large)["text"]

    def test_a_block_job_holds_back_others_on_its_nodes_alone(self, queue: Queue, dana: User, erin: User) -> None:
        first = queue.batch(erin, HOLD, "mode: byhost; host: node2")
        queue.wait_for_state(first, "running")
        block = waits(queue, dana, "mode: bynode; N: 3; group: a; priority: block")
        assert held(queue, erin, "N: 1") == {"node4": 1}
        later = waits(queue, erin, "N: 1; group: a; priority: high")
        reason = queue.why(later)
        assert reason["code"] == "Block"
        assert str(block) in reason["text"]
        assert waits(queue, erin, "N: 4")
        queue.remove(first)
        queue.wait_for_state(block, "running")
        assert queue.cores_of(block) == {"node1": 4, "node2": 4, "node3": 4}
        assert queue.state(later) == "queued"
        queue.remove(block)
        queue.wait_for_state(later, "running")
        assert queue.cores_of(later) == {"node1": 1}

    def test_a_block_job_that_is_removed_lets_the_others_go(self, queue: Queue, dana: User, erin: User) -> None:
        held(queue, erin, "mode: byhost; host: node2")
        block = waits(queue, dana, "mode: bynode; N: 4; priority: block")
        later = waits(queue, erin, "N: 1")
        queue.remove(block)
        queue.wait_for_state(later, "running")

    def test_why_it_waits_is_said_in_the_full_listing(self, queue: Queue, dana: User) -> None:
        held(queue, dana, "N: 16")
        waits(queue, dana, "N: 2")
        assert "2 cores wanted, 0 are free" in queue.wq(dana, "ls", "-f").stdout


class TestLimits:
    def test_a_limit_of_jobs(self, queue: Queue, dana: User, erin: User) -> None:
        queue.wq(dana, "limit", "run: 1")
        first = queue.batch(dana, HOLD)
        queue.wait_for_state(first, "running")
        second = waits(queue, dana, "N: 1")
        reason = queue.why(second)
        assert reason["code"] == "Limit"
        assert "run: 1" in reason["text"]
        assert held(queue, erin, "N: 1") == {"node1": 1}
        queue.remove(first)
        queue.wait_for_state(second, "running")

    def test_a_limit_of_cores(self, queue: Queue, dana: User, erin: User) -> None:
        queue.wq(dana, "limit", "cores: 5")
        assert held(queue, dana, "N: 3") == {"node1": 3}
        second = waits(queue, dana, "N: 3")
        assert queue.why(second)["code"] == "Limit"
        assert held(queue, dana, "N: 2") == {"node1": 1, "node2": 1}
        assert held(queue, erin, "N: 6") == {"node2": 3, "node3": 3}
        queue.wq(dana, "limit", "cores: -1")
        queue.wait_for_state(second, "running")

    def test_lifting_a_limit_starts_what_waits(self, queue: Queue, dana: User) -> None:
        queue.wq(dana, "limit", "run: 0; cores: 100")
        job = waits(queue, dana, "N: 1")
        queue.wq(dana, "limit", "clear")
        queue.wait_for_state(job, "running")

    def test_a_foreground_job_that_waits_for_a_limit(self, queue: Queue, dana: User) -> None:
        work = queue.directory(dana)
        queue.wq(dana, "limit", "run: 1")
        first = queue.batch(dana, until(work / "go"))
        queue.wait_for_state(first, "running")
        with queue.start(dana, "sub", "-c", "echo at last") as client:
            wait_for(lambda: len(queue.ls()) == 2, PATIENCE_S, "it to wait")
            dana.write(work / "go", "")
            assert client.wait() == 0
            assert client.out == "at last\n"
