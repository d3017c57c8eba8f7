"""Batches: tasks that wait in lanes for their turn, made from a template, told of in groups."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

import pytest

from tests.contract.driver import PATIENCE_S, SOURCE, Driver, Local, Word, spec, task
from tests.contract.jobs import let_go, mark, marks, strangers, until, wait_for_file
from tests.e2e import rig
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("shepherd-batches")

# Shepherds that start their tasks in one way alone: the fast one, or that of older Pythons.
WAYS = {"fast": SOURCE, "slow": SOURCE.replace(b'FAST = hasattr(os, "posix_spawn")', b"FAST = False")}


@pytest.fixture(params=list(WAYS))
def each(request: pytest.FixtureRequest, user: User, key: str) -> Driver:
    """A driver for shepherds of both ways."""
    return Driver(Local(user=user), key, source=WAYS[request.param])


def names(count: int, job: int = 1) -> list[str]:
    return [f"{job}_{number}.1" for number in range(count)]


def shared(user: User, work: Path, atts: list[str]) -> tuple[list[Word], list[str]]:
    """(tasks that write to files which the node sees too, what the launcher has written to the first)"""
    user.write(work / atts[0], "wq token")
    return [task(att, out=str(work / att), set={"TASK": att}) for att in atts], [str(work / atts[0]), "wq token"]


class TestLane:
    def test_tasks_run_in_order_one_at_a_time(self, driver: Driver, user: User, work: Path) -> None:
        script = f"mkdir {work}/alone || exit 9; echo $TASK >>{work}/order; echo out $TASK; rmdir {work}/alone"
        assert "batch" in driver.here["features"]
        driver.template("t", spec(user, script))
        atts = names(30)
        driver.batch(1, "t", [task(att, set={"TASK": att}) for att in atts])
        for att in atts:
            assert driver.wait_for_end(att)["exit"] == 0
            assert driver.output(att) == f"out {att}\n"
            assert driver[att].shared is False
            assert driver[att].run_s is not None
        assert (work / "order").read_text().split() == atts
        assert driver.order == atts

    def test_two_lanes_run_at_the_same_time(self, local: Driver, user: User, work: Path) -> None:
        script = f"touch {work}/$TASK; until [ -e {work}/$OTHER ]; do sleep 0.02; done"
        local.template("t", spec(user, script))
        local.batch(1, "t", [task("1_1.1", set={"TASK": "a", "OTHER": "b"})])
        local.batch(2, "t", [task("1_2.1", set={"TASK": "b", "OTHER": "a"})])
        for att in ("1_1.1", "1_2.1"):
            assert local.wait_for_end(att)["exit"] == 0

    def test_a_second_batch_of_a_lane_comes_after_the_first(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, f"{until(work / 'go')}; echo $TASK >>{work}/order"))
        atts = names(6)
        for part in (atts[:3], atts[3:]):
            local.batch(1, "t", [task(att, set={"TASK": att}) for att in part])
        local.wait_for_start(atts[0])
        let_go(user, work / "go")
        for att in atts:
            assert local.wait_for_end(att)["exit"] == 0
        assert (work / "order").read_text().split() == atts

    def test_the_next_waits_until_nothing_is_left_of_the_one_before(
        self, local: Driver, user: User, work: Path
    ) -> None:
        """Its child takes some time to go when it is told to."""
        child = "trap 'sleep 0.3; echo gone >>ORDER; exit' TERM; echo x >READY; while :; do sleep 0.02; done"
        child = child.replace("ORDER", f"{work}/order").replace("READY", f"{work}/ready")
        script = f'setsid sh -c "{child}" & {until(work / "ready")}'
        local.template("t", spec(user, "echo none"))
        local.batch(1, "t", [task("1_1.1", script=script), task("1_2.1", script=f"echo next >>{work}/order")])
        assert local.wait_for_end("1_2.1")["exit"] == 0
        assert (work / "order").read_text().split() == ["gone", "next"]

    def test_what_a_task_has_of_its_own_counts_more_than_its_template(self, local: Driver, user: User) -> None:
        local.template("t", spec(user, "echo $A $B; exit 1", set={"A": "a", "B": "b"}))
        tasks = [
            task("1_1.1"),
            task("1_2.1", set={"B": "own"}),
            task("1_3.1", script="echo mine $A; exit 3"),
            task("1_4.1", argv=["printenv", "A", "WQ_ATT", "WQ_SPOOL"]),
        ]
        local.batch(1, "t", tasks)
        assert [local.wait_for_end(f"1_{number}.1")["exit"] for number in (1, 2, 3, 4)] == [1, 1, 3, 0]
        outputs = [local.output(f"1_{number}.1") for number in (1, 2, 3, 4)]
        assert outputs == ["a b\n", "a own\n", "mine a\n", f"a\n1_4.1\n{local.spool}\n"]

    def test_an_attempt_that_is_known_is_told_of_and_not_started(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, f"echo $TASK >>{work}/order"))
        assert local.query("1_1.1") == "never"
        local.batch(1, "t", [task(att, set={"TASK": att}) for att in names(3)])
        local.batch(1, "t", [task(att, set={"TASK": att}) for att in names(4)])
        for att in ("1_0.1", "1_2.1", "1_3.1"):
            assert local.wait_for_end(att)["exit"] == 0
        local.batch(2, "t", [task(att, set={"TASK": att}) for att in names(4)])
        assert local.query("1_1.1") == "never"
        assert local.query("1_3.1") == "ended"
        assert (work / "order").read_text().split() == ["1_0.1", "1_2.1", "1_3.1"]

    def test_one_that_waits_can_be_stopped(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, f"echo $TASK >>{work}/order; {until(work / 'go')}"))
        atts = names(4)
        local.batch(1, "t", [task(att, set={"TASK": att}) for att in atts])
        local.wait_for_start(atts[0])
        local.stop(atts[1], 60.0)
        assert local.how_it_ended(atts[1]) == {"error": "removed before it started"}
        local.stop(atts[0], 60.0)
        assert local.wait_for_end(atts[0])["signal"] == signal.SIGTERM
        local.wait_for_start(atts[2])
        let_go(user, work / "go")
        assert local.wait_for_end(atts[3])["exit"] == 0
        assert (work / "order").read_text().split() == [atts[0], *atts[2:]]

    def test_what_has_lost_its_patience_is_given_back(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, f"echo $TASK >>{work}/order; {until(work / 'go')}"))
        atts = names(6)
        tasks = [task(att, set={"TASK": att}) for att in atts]
        local.batch(1, "t", tasks[:1])
        local.batch(1, "t", tasks[1:3], patience_s=0.1)
        local.batch(1, "t", tasks[3:4], patience_s=3600.0)
        local.batch(1, "t", tasks[4:5], patience_s=0.05)
        local.batch(1, "t", tasks[5:])
        for att in (atts[1], atts[2], atts[4]):
            local.wait(lambda att=att: local[att].state == "never", f"{att} to be given back")  # type: ignore[misc]
            assert local[att].why == ""
        local.batch(1, "t", tasks[1:2])
        assert local.query(atts[1]) == "never"
        assert [local.query(att) for att in (atts[0], atts[3], atts[5])] == ["running", "intent", "intent"]
        let_go(user, work / "go")
        for att in (atts[0], atts[3], atts[5]):
            assert local.wait_for_end(att)["exit"] == 0
        assert (work / "order").read_text().split() == [atts[0], atts[3], atts[5]]

    def test_a_batch_that_nobody_understands_closes_the_link_and_none_of_it_starts(
        self, local: Driver, user: User, work: Path
    ) -> None:
        good = task("1_1.1", script=mark(work, "ran"))
        rubbish: list[Word] = [
            {"att": "../1"},
            {"att": ".1"},
            {"att": ""},
            {"att": "1_2.1", "set": {"A": 1}},
            {"out": 1},
            {},
        ]
        for bad in [*rubbish, {"argv": "x y"}, {"argv": [1]}, {"script": 5}]:
            local.template("t", {"env": {}, **spec(user, "")})
            local.send({"do": "template", "name": "empty", "spec": {**spec(user, ""), "script": None}})
            word: Word = {"do": "batch", "lane": 1, "template": "empty", "cores": [0], "declared": 0}
            tasks = [good, {**task("1_9.1"), **bad}]
            local.send({**word, "patience_s": None, "probe": None, "tasks": tasks})
            with pytest.raises(ConnectionError):
                local.wait(lambda: False, f"the connection to be closed after {bad}")
            local.open()
            assert local.here["attempts"] == []
        assert marks(work, "ran") == 0


class TestReport:
    def test_tasks_that_are_over_soon_are_told_once_and_in_groups(self, local: Driver, user: User) -> None:
        local.template("t", spec(user, "true"))
        atts = names(400)
        local.batch(1, "t", [task(att) for att in atts[:200]])
        local.batch(2, "t", [task(att) for att in atts[200:]])
        for att in atts:
            local.wait_for_end(att)
            assert local[att].times_ended == 1
        words = [word for word in local.log if "'say': 'tasks'" in word]
        assert len(words) < len(atts) / 4

    def test_acks_leave_nothing_behind(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, "echo $TASK; exit 3"))
        local.template("u", spec(user, "true"))
        atts, others = names(20), names(20, job=2)
        local.batch(1, "t", [task(att, set={"TASK": att}) for att in atts])
        tasks, probe = shared(user, work, others)
        local.batch(2, "u", tasks, probe=probe)
        for att in [*atts, *others]:
            local.wait_for_end(att)
        local.acks([*atts, *others])
        local.query("3.1")  # or it would go
        local.seen.clear()
        local.open()
        assert [view["att"] for view in local.here["attempts"]] == ["3.1"]
        own = {"agent", "journal", "lock", "log", "notes", "reserve", "shepherd.py", "sock"}
        wait_for(lambda: {path.name for path in local.spool.iterdir()} == own, PATIENCE_S, "the files to go")

    def test_ends_without_a_connection_are_told_on_the_next(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, f"{until(work / 'go')}; echo $TASK; exit 4"))
        atts = names(20)
        local.batch(1, "t", [task(att, set={"TASK": att}) for att in atts])
        local.wait_for_start(atts[0])
        local.kill_client()
        let_go(user, work / "go")
        local.open()
        for att in atts:
            if local[att].end is None:
                local.wait(lambda att=att: local[att].end, f"the end of {att}")  # type: ignore[misc]
            assert local.wait_for_end(att)["exit"] == 4
            assert local.output(att) == f"{att}\n"

    def test_a_new_link_brings_its_templates_again(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, f"{until(work / 'go')}; cat $WQ_SPOOL/template-*.sh >{work}/$TASK"))
        local.batch(1, "t", [task(att, set={"TASK": att}) for att in names(3)])
        local.open()
        local.template("t", spec(user, "echo new"))
        local.batch(1, "t", [task("1_9.1")])
        let_go(user, work / "go")
        for att in [*names(3), "1_9.1"]:
            assert local.wait_for_end(att)["exit"] == 0
        assert (work / "1_2.1").read_text()
        assert local.output("1_9.1") == "new\n"


class TestOutput:
    def test_files_that_the_node_sees_are_written_there(self, each: Driver, user: User, work: Path) -> None:
        with each:
            each.open()
            each.template("t", spec(user, "echo $TASK; pwd; umask", cwd=str(work), umask=0o027))
            atts = names(5)
            tasks, probe = shared(user, work, atts)
            user.write(work / atts[1], "there was something else before\n" * 99)
            each.batch(1, "t", tasks, probe=probe)
            for att in atts:
                assert each.wait_for_end(att)["exit"] == 0
                assert (each[att].shared, each[att].channels) == (True, [])
                assert (work / att).read_text() == f"{att}\n{work}\n0027\n"
            assert (work / atts[3]).stat().st_mode & 0o777 == 0o640

    def test_errors_may_have_files_of_their_own(self, each: Driver, user: User, work: Path) -> None:
        with each:
            each.open()
            assert "errors" in each.here["features"]
            each.template("t", spec(user, "echo $TASK; echo err $TASK >&2"))
            atts = names(3)
            tasks, probe = shared(user, work, atts)
            for one in tasks:
                one["err"] = f"{one['out']}.err"
            user.write(work / f"{atts[0]}.err", "wq token")
            each.batch(1, "t", tasks, probes=[probe, [f"{probe[0]}.err", "wq token"]])
            for att in atts:
                assert each.wait_for_end(att)["exit"] == 0
                assert (each[att].shared, each[att].channels) == (True, [])
                assert (work / att).read_text() == f"{att}\n"
                assert (work / f"{att}.err").read_text() == f"err {att}\n"

    def test_of_a_node_that_sees_only_one_of_the_files_both_come_over_the_link(
        self, each: Driver, user: User, work: Path
    ) -> None:
        with each:
            each.open()
            each.template("t", spec(user, "echo $TASK; echo err $TASK >&2"))
            tasks, probe = shared(user, work, names(3))
            for one in tasks:
                one["err"] = "/nowhere/err"
            each.batch(1, "t", tasks, probes=[probe, ["/nowhere/err", "wq token"]])
            for att in names(3):
                assert each.wait_for_end(att)["exit"] == 0
                assert (each[att].shared, each[att].channels) == (False, [1, 2])
                assert (each.output(att), each.output(att, 2)) == (f"{att}\n", f"err {att}\n")

    def test_what_nobody_wants_goes_nowhere(self, each: Driver, user: User, work: Path) -> None:
        with each:
            each.open()
            each.template("t", spec(user, "echo x; echo err >&2"))
            each.batch(1, "t", [task("1_1.1", out="/dev/null")], probes=[])
            each.batch(2, "t", [task("1_2.1", out="/dev/null", err="/nowhere/err")], probes=[["/nowhere/err", "t"]])
            for att, channels in (("1_1.1", []), ("1_2.1", [2])):
                assert each.wait_for_end(att)["exit"] == 0
                assert each[att].channels == channels
            assert each.output("1_2.1", 2) == "err\n"

    def test_both_come_after_a_kill_of_the_shepherd(self, local: Driver, user: User, work: Path) -> None:
        local.template("t", spec(user, f"echo out; echo err >&2; {until(work / 'go')}; echo more >&2"))
        local.batch(1, "t", [task("1_1.1", err="/nowhere/err")], probes=[["/nowhere/out", "t"], ["/nowhere/err", "t"]])
        local.wait_for_start("1_1.1")
        local.kill("wq-shepherd")
        local.open(tries=3)
        let_go(user, work / "go")
        assert local.wait_for_end("1_1.1")["exit"] == 0
        assert (local.output("1_1.1"), local.output("1_1.1", 2)) == ("out\n", "err\nmore\n")

    def test_a_single_job_may_have_them_apart_too(self, local: Driver, user: User, work: Path) -> None:
        for name in ("o", "e"):
            user.write(work / name, "token")
        script = "echo out; echo err >&2"
        assert (
            local.run("1.1", spec(user, script, out=str(work / "o"), err=str(work / "e"), probe="token"))["exit"] == 0
        )
        assert [(work / name).read_text() for name in ("o", "e")] == ["out\n", "err\n"]
        assert local.run("2.1", spec(user, script, out="/dev/null", err="/nowhere/e", probe="token"))["exit"] == 0
        assert (local["2.1"].channels, local.output("2.1", 2)) == ([2], "err\n")

    def test_other_files_of_that_name_are_left_alone(self, local: Driver, user: User, work: Path) -> None:
        atts = names(3)
        tasks, (path, _) = shared(user, work, atts)
        local.template("t", spec(user, "echo not shared"))
        local.batch(1, "t", tasks, probe=[path, "wq another"])
        for att in atts:
            local.wait_for_end(att)
            assert local.output(att) == "not shared\n"
        assert (work / atts[0]).read_text() == "wq token"
        assert not (work / atts[1]).exists()

    @pytest.mark.parametrize("what", ["a link", "a link to nothing", "a pipe", "a directory", "somebody else's"])
    def test_a_file_that_is_none_of_the_users_is_not_written_to(
        self, each: Driver, user: User, work: Path, what: str
    ) -> None:
        atts, victim = names(3), user.write(work / "victim", "precious")
        bad = work / atts[1]
        sentence = f"cannot write the output file {bad}: "
        if what == "a link":
            bad.symlink_to(victim)
            sentence += "Too many levels of symbolic links"
        elif what == "a link to nothing":
            bad.symlink_to(work / "nothing")
            sentence += "Too many levels of symbolic links"
        elif what == "a pipe":
            os.mkfifo(bad)
            user.own(bad, 0o644)
            sentence += "No such device or address"
        elif what == "a directory":
            bad.mkdir()
            sentence += "Is a directory"
        elif user.uid == os.getuid():
            pytest.skip("only root can make a file of somebody else's")
        else:
            bad.write_text("theirs")
            bad.chmod(0o666)
            sentence = f"the output file {bad} is not a regular file of yours"
        tasks, probe = shared(user, work, atts)
        with each:
            each.open()
            each.template("t", spec(user, "echo $TASK"))
            each.batch(1, "t", tasks, probe=probe)
            assert each.how_it_ended(atts[1]) == {"error": sentence}
            for att in (atts[0], atts[2]):
                assert each.wait_for_end(att)["exit"] == 0
                assert (work / att).read_text() == f"{att}\n"
        assert victim.read_text() == "precious"
        assert not (work / "nothing").exists()


OF_THE_C_LIBRARY = 3 << 31  # signals 32 and 33: its posix_spawn leaves them ignored, and it sets them when it uses them
STATUS = "grep -E '^Sig(Blk|Ign)|^Cpus_allowed_list' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '"


class TestProcess:
    def test_it_has_what_a_job_has(self, each: Driver, user: User, work: Path) -> None:
        """Descriptors, a session, signals, limits, an umask, and its hosts."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        script = f"{STATUS}; echo; ulimit -Sn; ulimit -Sc; ulimit -Ss; umask; cat $WQ_HOSTFILE; cat <&0; "
        script += "[ $(ps -o sid= -p $$) = $$ ] && echo own session; exit 3"
        hosts: Word = {"text": "node1\nnode2\n", "path": None, "mpi_hostfile": ["HOSTS"], "mpi_agent": {"A": "{agent}"}}
        limits = {"nofile": 77, "core": 0, "stack": -1}
        with each:
            each.open()
            each.template("t", spec(user, script, umask=0o037, limits=limits, hostfile=hosts))
            each.batch(1, "t", [task(att) for att in names(2)])
            for att in names(2):
                assert each.wait_for_end(att)["exit"] == 3
                blocked, ignored, cpus, descriptors, nofile, core, stack, umask, *hosts_, session = each.output(
                    att
                ).splitlines()
                assert int(blocked.split()[1], 16) == int(ignored.split()[1], 16) & ~OF_THE_C_LIBRARY == 0
                assert descriptors.split() == ["0", "1", "2", "3"]  # the last is the directory that ls reads
                assert stack == "unlimited" or resource.getrlimit(resource.RLIMIT_STACK)[1] != -1
                assert (nofile, core, umask, hosts_, session) == ("77", "0", "0037", ["node1", "node2"], "own session")
                assert cpus
            shepherd = f"/proc/{each.pid('wq-shepherd')}"
            limits_now = Path(shepherd, "limits").read_text().splitlines()
            (line,) = [line for line in limits_now if line.startswith("Max open files")]
            assert line.split()[3:5] == [str(soft), str(hard)]
            (line,) = [line for line in limits_now if line.startswith("Max realtime timeout")]
            assert line.split()[3] == "unlimited"
            assert os.readlink(f"{shepherd}/cwd") == str(each.spool)

    def test_its_hostfile_may_be_one_of_the_users(self, local: Driver, user: User, work: Path) -> None:
        hosts: Word = {"text": "node1\n", "path": "my hosts", "mpi_hostfile": [], "mpi_agent": {}}
        local.template("t", spec(user, "cat %hostfile%; cat $WQ_HOSTFILE", cwd=str(work), hostfile=hosts))
        local.template("u", spec(user, "cat %hostfile%", hostfile={**hosts, "path": "auto"}))
        local.batch(1, "t", [task("1_1.1", script="cat '%hostfile%'; cat $WQ_HOSTFILE"), task("1_2.1", argv=["true"])])
        local.batch(1, "u", [task("2_1.1"), task("2_2.1", argv=["cat", "%hostfile%"])])
        for att, out in {"1_1.1": "node1\nnode1\n", "1_2.1": "", "2_1.1": "node1\n", "2_2.1": "node1\n"}.items():
            assert local.wait_for_end(att)["exit"] == 0
            assert local.output(att) == out
        assert (work / "my hosts").read_text() == "node1\n"

    def test_it_is_bound_to_its_cores(self, local: Driver, user: User) -> None:
        have = sorted(os.sched_getaffinity(local.pid("wq-shepherd")))
        if len(have) < 2:
            pytest.skip("there is one processor here")
        program = "import os, time\nwhile len(os.sched_getaffinity(0)) > 1: time.sleep(0.01)\n"
        program += "print(*os.sched_getaffinity(0))"
        local.template("t", spec(user, "", argv=["python3", "-c", program]))
        local.batch(1, "t", [task("1_1.1")], cores=[1], declared=len(have))
        assert local.wait_for_end("1_1.1")["exit"] == 0
        assert local.output("1_1.1") == f"{have[1]}\n"

    def test_a_directory_that_is_not_there_is_said(self, each: Driver, user: User, work: Path) -> None:
        with each:
            each.open()
            each.template("t", spec(user, mark(work, "ran"), cwd="/no/such/place"))
            each.batch(1, "t", [task(att) for att in names(300)])
            sentence = "the directory /no/such/place is not usable here: No such file or directory"
            for att in names(300):
                assert each.how_it_ended(att) == {"error": sentence}
                assert each[att].times_started == 0
        assert marks(work, "ran") == 0

    def test_what_can_be_no_name_is_said(self, each: Driver, user: User, work: Path) -> None:
        atts = names(2)
        tasks, probe = shared(user, work, atts)
        tasks[1]["out"] += "\0"
        with each:
            each.open()
            each.template("t", spec(user, "true"))
            each.batch(1, "t", tasks, probe=probe)
            each.template("u", spec(user, "true", cwd="/\0"))
            each.batch(2, "u", [task("2_1.1")])
            each.start("3.1", spec(user, "true", cwd="/\0"))
            for att in (atts[1], "2_1.1", "3.1"):
                assert each.wait_for_end(att)["error"].startswith("cannot start it here: ")
            assert each.wait_for_end(atts[0])["exit"] == 0

    @pytest.mark.parametrize(
        ("argv", "status", "output"),
        [
            (["/no/such/program", "x"], 127, "wq: /no/such/program: No such file or directory\n"),
            (["nosuchprogram"], 127, "wq: nosuchprogram: No such file or directory\n"),
            (["/etc/passwd"], 126, "wq: /etc/passwd: Permission denied\n"),
            (["/"], 126, "wq: /: Permission denied\n"),
            (["./script"], 126, "wq: ./script: Exec format error\n"),
            (["./lost"], 127, "wq: ./lost: No such file or directory\n"),
            (["./found", "a", "b c"], 5, "./found 2\n"),
            (["false"], 1, ""),
        ],
    )
    def test_a_program_ends_as_with_start(
        self, local: Driver, user: User, work: Path, argv: list[str], status: int, output: str
    ) -> None:
        user.write(work / "script", "echo no shell reads this\n", 0o755)
        user.write(work / "lost", "#!/no/such/interpreter\n", 0o755)
        user.write(work / "found", "#!/bin/sh\necho $0 $#; exit 5\n", 0o755)
        assert local.run("1.1", spec(user, "", argv=argv, cwd=str(work)))["exit"] == status
        assert local.output("1.1") == output
        local.template("t", spec(user, "", argv=argv, cwd=str(work)))
        local.batch(1, "t", [task("1_1.1"), task("1_2.1", argv=argv)])
        for att in ("1_1.1", "1_2.1"):
            assert local.wait_for_end(att)["exit"] == status
            assert local.output(att) == output


PARENT = "python3 parent.py"
SHELL_ENDS = {
    # what: (script, is a shell needed, exit, output)
    "a program": (PARENT, False, 0, "alone\n"),
    "a program by its path": ("./parent", False, 0, "alone\n"),
    "blanks around it": (f" \t{PARENT}  \n", False, 0, "alone\n"),
    "true": ("true", False, 0, ""),
    "a status": ("exit 3", True, 3, ""),
    "two commands": (f"{PARENT}; exit 4", True, 4, "shell\n"),
    "a variable": (f"X=1 {PARENT}", True, 0, "shell\n"),
    "quotes": ("echo 'a  b'", True, 0, "a  b\n"),
    "two lines": (f"{PARENT}\n{PARENT}", True, 0, "shell\nshell\n"),
    "a builtin": ("echo a b", True, 0, "a b\n"),
    "a keyword": ("time", True, None, None),
    "a job of a shell": ("%1", True, None, None),
    "a program that is not there": ("nosuchprogram x", True, 127, None),
    "a program without #!": ("./plain a", True, 7, "plain a\n"),
}


class TestShell:
    """A shell is not started where none is needed, and nobody can tell."""

    @pytest.fixture
    def place(self, user: User, work: Path) -> Path:
        program = "import os\nname = open(f'/proc/{os.getppid()}/comm').read()\n"
        program += "print('alone' if name.startswith('wq-') else 'shell')\n"
        user.write(work / "parent.py", program)
        user.write(work / "parent", "#!/usr/bin/env python3\n" + program, 0o755)
        user.write(work / "plain", "echo plain $1; exit 7\n", 0o755)
        return work

    @pytest.mark.parametrize("what", SHELL_ENDS)
    def test_the_end_and_the_output_are_those_of_the_shell(
        self, local: Driver, user: User, place: Path, what: str
    ) -> None:
        script, needed, status, output = SHELL_ENDS[what]
        job = spec(user, script, cwd=str(place))
        local.run("1.1", job)
        local.template("t", job)
        local.batch(1, "t", [task("1_1.1"), task("1_2.1", script=script)])
        for att in ("1_1.1", "1_2.1"):
            end = local.wait_for_end(att)
            if status is not None:
                assert end["exit"] == status
            assert (local.spool / f"{att}.rc").exists() == needed
            if output is not None:
                assert local.output(att) == output
            else:
                names_of_files = (f"{local.spool}/1.1.sh", f"{local.spool}/{att}.sh")
                said = local.output("1.1").replace(names_of_files[0], "FILE")
                template = next(iter(local.spool.glob("template-*.sh")), Path("none"))
                assert local.output(att).replace(names_of_files[1], "FILE").replace(str(template), "FILE") == said

    @pytest.mark.parametrize(
        "changes",
        [
            {"env": {"BASH_ENV": "/dev/null"}},
            {"env": {"ENV": "/dev/null"}},
            {"env": {"BASH_FUNC_python3%%": '() { command python3 "$@"; }'}, "shell": "/bin/bash"},
            {"env_mode": "login"},
        ],
        ids=["BASH_ENV", "ENV", "a function", "login"],
    )
    def test_where_the_shell_may_do_more_it_is_asked(
        self, local: Driver, user: User, place: Path, changes: dict[str, object]
    ) -> None:
        local.template("t", spec(user, PARENT, cwd=str(place), **changes))
        local.batch(1, "t", [task("1_1.1")])
        assert local.wait_for_end("1_1.1")["exit"] == 0
        assert local.output("1_1.1") == "shell\n"

    def test_the_path_of_the_task_is_searched(self, local: Driver, user: User, place: Path) -> None:
        user.write(place / "thing", "#!/bin/sh\necho thing of $0\n", 0o755)
        local.template("t", spec(user, "thing", cwd=str(place)))
        path = f"/nowhere:{place}:/usr/bin:/bin"
        local.batch(1, "t", [task("1_1.1"), task("1_2.1", set={"PATH": path}), task("1_3.1", set={"PATH": ".:/bin"})])
        assert [local.wait_for_end(f"1_{number}.1")["exit"] for number in (1, 2, 3)] == [127, 0, 0]
        assert local.output("1_2.1") == f"thing of {place}/thing\n"
        assert local.output("1_3.1") == "thing of ./thing\n"

    @pytest.mark.parametrize("own", [False, True])
    @pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
    def test_its_last_words_are_those_of_the_task(
        self, local: Driver, user: User, work: Path, shell: str, own: bool
    ) -> None:
        """Though one file serves all tasks of a template."""
        script = f"WQ_ATT=x; unset WQ_SPOOL; echo x >{work}/$TASK; {until(work / 'go')}; exit $STATUS"
        local.template("t", spec(user, "exit 1" if own else script, shell=shell))
        more = {"script": script} if own else {}
        for lane in (5, 6):
            tasks = [task(f"1_{lane}.1", set={"TASK": f"here{lane}", "STATUS": str(lane)}, **more)]
            local.batch(lane, "t", tasks)
            wait_for_file(work / f"here{lane}")
        pids = [local.wait_for_start(f"1_{lane}.1") for lane in (5, 6)]
        local.kill("wq-keeper", "wq-shepherd")
        let_go(user, work / "go")
        local.wait_for_pids(*pids)
        local.open()
        for lane in (5, 6):
            assert local.how_it_ended(f"1_{lane}.1") == {"exit": lane}

    def test_programs_see_nothing_of_it(self, local: Driver, user: User) -> None:
        local.template("t", spec(user, "env; exit 0", set={"A": "a"}))
        local.run("1.1", spec(user, "env; exit 0", set={"A": "a"}))
        local.batch(1, "t", [task("1_1.1")])
        local.wait_for_end("1_1.1")
        ours = {"WQ_ATT=1_1.1", f"WQ_SPOOL={local.spool}"}
        assert set(local.output("1_1.1").splitlines()) == set(local.output("1.1").splitlines()) | ours


COUNT = 120


class TestKilled:
    @pytest.mark.parametrize("own_files", [False, True], ids=["files of the user", "files of the spool"])
    @pytest.mark.parametrize("script", ["./leave", "./leave; exit 0"], ids=["no shell", "a shell"])
    @pytest.mark.parametrize("roles", [("wq-shepherd",), ("wq-keeper", "wq-shepherd")], ids=["shepherd", "both"])
    def test_in_the_middle_of_a_batch_each_runs_at_most_once_and_ends_are_true(
        self, each: Driver, user: User, work: Path, roles: tuple[str, ...], script: str, own_files: bool
    ) -> None:
        user.write(work / "leave", f"#!/bin/sh\necho $TASK >>{work}/ran\n", 0o755)
        ran = user.write(work / "ran", "")
        job = spec(user, script, cwd=str(work))
        with each:
            each.open()
            rounds = 6
            for number in range(rounds):
                each.template("t", job)
                sent: list[str] = []
                for lane in (1, 2):
                    atts = [f"{number}_{lane}{index:03}.1" for index in range(COUNT)]
                    tasks, probe = shared(user, work, atts)
                    tasks[-1]["script"] = f"{until(work / f'go{number}')}; ./leave; exit 0"  # so that some are left
                    each.batch(lane, "t", tasks, probe=None if own_files else probe)
                    sent += atts
                before = len(ran.read_text().split())
                wait_for(lambda b=before, n=number: len(ran.read_text().split()) > b + 7 * n, PATIENCE_S, "some")  # type: ignore[misc]
                each.kill(*roles)
                let_go(user, work / f"go{number}")
                each.open(tries=3)
                for att in sent:
                    if each.query(att) != "never":
                        each.wait_for_end(att)
                starts = ran.read_text().split()
                for att in sent:
                    end, times = each[att].end, starts.count(att)
                    if each[att].state == "never":
                        assert times == 0
                    elif end is not None and "lost" in end:
                        assert times <= 1
                        assert len(roles) == 2
                    else:
                        assert (end is not None and end["exit"], times) == (0, 1)
                each.acks(sent)
                each.seen.clear()
                each.order.clear()
                each.query("99.1")

    def test_a_journal_that_has_been_made_shorter_says_the_same(self, user: User, key: str, work: Path) -> None:
        source = SOURCE.replace(b"COMPACT_BYTES = 1 << 20", b"COMPACT_BYTES = 2000")
        with Driver(Local(user=user), key, source=source) as driver:
            driver.open()
            driver.template("t", spec(user, f"{until(work / 'go')}; echo $TASK; exit 5"))
            driver.batch(3, "t", [task(att, set={"TASK": att}) for att in names(4)])
            driver.template("u", spec(user, "echo $TASK; exit 6"))
            for number in range(10):
                atts = names(20, job=10 + number)
                driver.batch(4, "u", [task(att, set={"TASK": att}) for att in atts])
                for att in atts:
                    assert driver.wait_for_end(att)["exit"] == 6
                driver.acks(atts[1:])
                for att in atts[1:]:
                    del driver.seen[att]
            lines = (driver.spool / "journal").read_text().splitlines()
            assert len([line for line in lines if '"r":"intent"' in line and '"lane":3' in line]) == 4  # one by one now
            driver.kill("wq-shepherd")
            driver.open()
            assert [driver[att].state for att in names(4)] == ["running", "never", "never", "never"]
            for number in range(10):
                assert driver[f"{10 + number}_0.1"].state == "ended"
            let_go(user, work / "go")
            assert driver.wait_for_end("1_0.1")["exit"] == 5
            assert driver.output("1_0.1") == "1_0.1\n"

    def test_one_that_runs_is_followed_and_its_lane_goes_on_after_it(
        self, local: Driver, user: User, work: Path
    ) -> None:
        local.template("t", spec(user, f"echo $TASK >>{work}/order; {until(work / 'go')}; exit 5"))
        atts = names(3)
        local.batch(7, "t", [task(att, set={"TASK": att}) for att in atts])
        pid = local.wait_for_start(atts[0])
        local.kill("wq-shepherd")
        local.open()
        assert [local[att].state for att in atts] == ["running", "never", "never"]
        assert local[atts[0]].pid == pid
        local.template("t", spec(user, f"echo $TASK >>{work}/order; exit 6"))
        local.batch(7, "t", [task("2_1.1", set={"TASK": "2_1.1"})])
        assert local.query("2_1.1") == "intent"
        let_go(user, work / "go")
        assert local.wait_for_end(atts[0])["exit"] == 5
        assert local.wait_for_end("2_1.1")["exit"] == 6
        assert (work / "order").read_text().split() == [atts[0], "2_1.1"]

    @pytest.mark.parametrize("ended", [False, True])
    def test_a_start_that_was_not_written_down_is_found_by_its_tag(
        self, local: Driver, user: User, work: Path, ended: bool
    ) -> None:
        """As if it had been killed just after it had started the process."""
        escapes = f"setsid sleep {local.long} & "
        local.template("t", spec(user, f"{escapes} echo $$ >>{work}/pids; {until(work / 'go')}; exec sh -c 'exit 5'"))
        local.batch(1, "t", [task("1_1.1"), task("1_2.1")])
        pid = local.wait_for_start("1_1.1")
        wait_for_file(work / "pids")
        with rig.stopped(local.pid("wq-keeper")):
            local.kill("wq-shepherd")
            journal = (local.spool / "journal").read_text().splitlines(keepends=True)
            assert any('"r":"start"' in line for line in journal)
            kept = [line for line in journal if '"r":"start"' not in line]
            user.write(local.spool / "journal", "".join(kept), 0o600)
            if ended:
                let_go(user, work / "go")
                local.wait_for_pids(pid)
        local.open()
        assert local["1_2.1"].state == "never"
        assert ended or (local["1_1.1"].state, local["1_1.1"].pid) == ("running", pid)
        let_go(user, work / "go")
        assert local.wait_for_end("1_1.1")["exit"] == 5
        assert (work / "pids").read_text().split() == [str(pid)]
        assert strangers(local) == []

    @pytest.mark.parametrize("role", ["wq-shepherd", "wq-keeper"])
    def test_a_turn_that_led_to_nothing_is_none_if_the_keeper_was_there(
        self, local: Driver, user: User, work: Path, role: str
    ) -> None:
        local.template("t", spec(user, until(work / "go")))
        local.batch(1, "t", [task("1_1.1"), task("1_2.1")])
        local.wait_for_start("1_1.1")
        if role == "wq-keeper":
            local.kill("wq-keeper", "wq-shepherd")
        with contextlib.ExitStack() as stack:
            if role == "wq-shepherd":
                stack.enter_context(rig.stopped(local.pid("wq-keeper")))
                local.kill("wq-shepherd")
            with (local.spool / "journal").open("a") as journal:
                journal.write('{"r":"go","att":"1_2.1"}\n')
        local.open()
        if role == "wq-shepherd":
            assert local["1_2.1"].state == "never"
        else:
            assert local.how_it_ended("1_2.1") == {"lost": "the shepherd was killed, and its keeper too"}
        let_go(user, work / "go")
        assert "exit" in local.wait_for_end("1_1.1")
