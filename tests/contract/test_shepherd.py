"""The shepherd alone: a start is a start, connections come and go, and no byte is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.driver import PATIENCE_S, SOURCE, Backend, Driver, Local, Ssh, spec
from tests.contract.jobs import ALL_LINES, COUNTS, let_go, mark, marks, until
from tests.e2e.rig import User, wait_for
from tests.e2e.sshnodes import Nodes

pytestmark = pytest.mark.xdist_group("shepherd")


class TestStart:
    def test_a_job_runs_and_its_end_and_output_come(self, driver: Driver, user: User) -> None:
        end = driver.run("1.1", spec(user, "echo out; echo err >&2; exit 3"))
        assert end["exit"] == 3
        assert end["cpu_s"] >= 0
        assert driver.output("1.1") == "out\nerr\n"
        assert driver["1.1"].times_started == driver["1.1"].times_ended == 1

    def test_a_start_sent_a_hundred_times_is_one_start(self, driver: Driver, user: User, work: Path) -> None:
        job = spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; exit 4")
        for _ in range(50):
            driver.start("1.1", job)
        driver.wait_for_start("1.1")
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 4
        for _ in range(50):
            driver.start("1.1", job)
        assert driver.query("1.1") == "ended"
        assert marks(work, "ran") == 1
        assert driver["1.1"].times_started == 1

    def test_a_start_repeated_after_the_shepherd_was_killed_is_one_start(
        self, driver: Driver, user: User, work: Path
    ) -> None:
        job = spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; exit 4")
        driver.start("1.1", job)
        driver.wait_for_start("1.1")
        driver.kill("wq-shepherd")
        driver.open()
        driver.start("1.1", job)
        assert driver.query("1.1") == "running"
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 4
        assert marks(work, "ran") == 1

    def test_a_query_that_finds_nothing_forbids_the_start(self, driver: Driver, user: User, work: Path) -> None:
        job = spec(user, mark(work, "ran"))
        assert driver.query("1.1") == "never"
        driver.start("1.1", job)
        assert driver.query("1.1") == "never"
        driver.kill("wq-shepherd")
        driver.open()
        driver.start("1.1", job)
        assert driver.query("1.1") == "never"
        assert driver.run("1.2", job)["exit"] == 0
        assert marks(work, "ran") == 1

    def test_many_at_once(self, driver: Driver, user: User) -> None:
        for number in range(100):
            driver.start(f"{number}.1", spec(user, f"echo {number}; exit {number}"))
        for number in range(100):
            assert driver.wait_for_end(f"{number}.1")["exit"] == number
            assert driver.output(f"{number}.1") == f"{number}\n"

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
    def test_a_signal_that_ended_it_is_named(self, local: Driver, user: User, number: signal.Signals) -> None:
        assert local.run("1.1", spec(user, f"kill -{int(number)} $$"))["signal"] == number

    def test_a_directory_that_is_not_there_is_said_and_nothing_runs(
        self, driver: Driver, user: User, work: Path
    ) -> None:
        end = driver.run("1.1", spec(user, mark(work, "ran"), cwd="/no/such/place"))
        assert end == {"error": "the directory /no/such/place is not usable here: No such file or directory"}
        assert driver["1.1"].times_started == 0
        assert marks(work, "ran") == 0

    def test_a_program_that_is_not_there_ends_as_in_a_shell(self, local: Driver, user: User) -> None:
        assert local.run("1.1", spec(user, "", argv=["/no/such/program", "x"]))["exit"] == 127
        assert local.output("1.1") == "wq: /no/such/program: No such file or directory\n"

    @pytest.mark.parametrize("io", ["file", "stream"])
    def test_a_job_has_three_descriptors_a_session_of_its_own_and_default_signals(
        self, driver: Driver, user: User, io: str
    ) -> None:
        look = "ls /proc/self/fd | tr '\\n' ' '; echo; grep -E 'Sig(Blk|Ign)' /proc/self/status; "
        look += "[ $(ps -o sid= -p $$) = $$ ] && echo own session"
        driver.start("1.1", spec(user, look, io=io))
        driver.end_input("1.1")
        assert driver.wait_for_end("1.1")["exit"] == 0
        descriptors, blocked, ignored, session = driver.output("1.1").splitlines()
        assert descriptors.split() == ["0", "1", "2", "3"]  # the last is the directory that ls reads
        assert int(blocked.split()[1], 16) == int(ignored.split()[1], 16) == 0
        assert session == "own session"


def kill_the_client(driver: Driver) -> None:
    driver.kill_client()


def kill_the_attacher(driver: Driver) -> None:
    driver.kill("attach")


def hang_up_in_order(driver: Driver) -> None:
    driver.hang_up()


class TestConnection:
    @pytest.mark.parametrize("lose", [kill_the_client, kill_the_attacher, hang_up_in_order])
    @pytest.mark.parametrize("io", ["file", "stream"])
    def test_a_job_survives_its_connection(
        self, driver: Driver, user: User, work: Path, lose: Callable[[Driver], None], io: str
    ) -> None:
        script = f"{mark(work, 'ran')}; ({COUNTS}) & {until(work / 'go')}; wait; echo err >&2; exit 5"
        driver.taking = False  # so that some of it is on its way, and not acknowledged
        driver.start("1.1", spec(user, script, io=io))
        pid = driver.wait_for_start("1.1")
        driver.wait(lambda: len(driver["1.1"].out[1]) > 1000, "some output")
        lose(driver)
        driver.taking = True
        driver.open()
        assert driver["1.1"].state == "running"
        assert driver["1.1"].pid == pid
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 5
        if io == "stream":
            assert (driver.output("1.1"), driver.output("1.1", 2)) == (ALL_LINES, "err\n")
        else:
            assert driver.output("1.1") == ALL_LINES + "err\n"
        assert marks(work, "ran") == 1

    def test_an_end_without_a_connection_is_told_on_the_next(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; {COUNTS}; exit 6"))
        pid = driver.wait_for_start("1.1")
        driver.kill_client()
        let_go(user, work / "go")
        driver.wait_for_pids(pid)
        driver.open()
        assert driver.wait_for_end("1.1")["exit"] == 6
        assert driver.output("1.1") == ALL_LINES

    def test_an_end_is_told_again_until_it_is_acknowledged(self, driver: Driver, user: User) -> None:
        driver.run("1.1", spec(user, "exit 7"))
        for _ in range(3):
            driver.hang_up()
            driver.open()
            assert driver["1.1"].state == "ended"
            assert driver.wait_for_end("1.1")["exit"] == 7
        driver.ack("1.1")
        driver.query("2.1")  # or it would go
        driver.hang_up()
        driver.open()
        assert [view["att"] for view in driver.here["attempts"]] == ["2.1"]

    def test_the_newest_connection_counts(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 8"))
        driver.wait_for_start("1.1")
        older = driver.process
        assert older is not None
        driver.process = None
        driver.open()
        older.wait(PATIENCE_S)
        older.communicate()
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 8

    def test_the_node_keeps_what_the_launcher_lost(self, driver: Driver, user: User) -> None:
        """A launcher whose disk forgot what it had acknowledged gets it again."""
        driver.run("1.1", spec(user, COUNTS))
        assert driver.output("1.1") == ALL_LINES
        driver.hang_up()
        del driver["1.1"].out[1][100:]
        driver["1.1"].eof.clear()
        driver.open()
        driver.wait_for_end("1.1")
        assert driver.output("1.1") == ALL_LINES

    def test_a_login_may_print_what_it_likes_first(self, user: User, key: str, nodes: Nodes) -> None:
        with Driver(Ssh(user=user, nodes=nodes, host="node2"), key) as driver:
            driver.open()
            assert len(driver.noise) > 10_000
            assert driver.run("1.1", spec(user, "echo hello; exit 9"))["exit"] == 9
            assert driver.output("1.1") == "hello\n"

    def test_what_is_no_frame_closes_the_connection_and_harms_no_job(
        self, local: Driver, user: User, work: Path
    ) -> None:
        local.start("1.1", spec(user, f"{until(work / 'go')}; exit 3"))
        local.wait_for_start("1.1")
        shepherd = local.pid("wq-shepherd")
        frames = [b"[]", b"{}", b"\x01ab", b"\xff\xff\xff\xff", b'{"do":"stop","att":"1.1"}', b'{"do":"start","att":7}']
        for rubbish in [b"\xff" * 100, *(len(body).to_bytes(4, "big") + body for body in frames)]:
            local.write(rubbish)
            with pytest.raises(ConnectionError):
                local.wait(lambda: False, f"the connection to be closed after {rubbish!r}")
            local.open()
            assert local["1.1"].state == "running"
        assert local.pid("wq-shepherd") == shepherd
        let_go(user, work / "go")
        assert local.wait_for_end("1.1")["exit"] == 3

    def test_a_shepherd_whose_attacher_was_killed_before_it_came_goes_again(self, backend: Backend, key: str) -> None:
        with Driver(backend, key, source=SOURCE.replace(b"ALONE_S = 10.0", b"ALONE_S = 0.3")) as driver:
            for _ in range(5):
                process = driver.connect()
                wait_for(lambda: driver.pids("wq-keeper"), PATIENCE_S, "the keeper")
                process.kill()
                driver.hang_up()
                driver.wait_until_gone()

    def test_many_attach_at_once_and_there_is_one_shepherd(self, user: User, key: str, local: Driver) -> None:
        local.leave()
        for _ in range(5):
            others = [Driver(Local(user=user), key) for _ in range(6)]
            for other in others:
                other.connect()
            for other in others:
                with contextlib.suppress(ConnectionError):
                    other.wait(lambda o=other: o.here, "a greeting")  # type: ignore[misc]
                assert other.here, "no shepherd answered"
            assert len(local.pids("wq-shepherd")) == len(local.pids("wq-keeper")) == 1
            for other in others:
                other.hang_up()
            local.wait_until_gone()

    def test_one_can_attach_while_it_leaves(self, user: User, local: Driver) -> None:
        """Each turn ends with a shepherd that has nothing to do and goes: the next finds it, or starts another."""
        for number in range(20):
            assert local.run(f"{number}.1", spec(user, f"exit {number}"))["exit"] == number
            local.ack(f"{number}.1")
            local.kill_client()
            local.open()


class TestStreams:
    def test_output_file_that_the_node_sees_is_written_there(self, driver: Driver, user: User, work: Path) -> None:
        out = user.write(work / "out", "wq 0123")
        driver.start("1.1", spec(user, "echo shared; pwd; exit 1", out=str(out), probe="wq 0123", cwd=str(work)))
        assert driver.wait_for_end("1.1")["exit"] == 1
        assert driver["1.1"].shared is True
        assert driver["1.1"].channels == []
        assert out.read_text() == f"shared\n{work}\n"

    def test_another_file_of_that_name_is_left_alone(self, driver: Driver, user: User, work: Path) -> None:
        out = user.write(work / "out", "mine")
        driver.start("1.1", spec(user, "echo not shared", out=str(out), probe="wq 0123"))
        driver.wait_for_end("1.1")
        assert driver["1.1"].shared is False
        assert driver.output("1.1") == "not shared\n"
        assert out.read_text() == "mine"

    def test_input_reaches_the_job_and_ends(self, driver: Driver, user: User) -> None:
        driver.start("1.1", spec(user, "sort -n; exit 2", io="stream"))
        text = b"".join(b"%d\n" % number for number in reversed(range(20_000)))
        for at in range(0, len(text), 50_000):
            driver.wait(lambda at=at: at - driver["1.1"].stdin_at < 200_000, "the job to read")  # type: ignore[misc]
            driver.feed("1.1", at, text[at : at + 50_000])
        driver.end_input("1.1")
        assert driver.wait_for_end("1.1")["exit"] == 2
        assert driver.output("1.1") == "".join(f"{number}\n" for number in range(20_000))

    def test_input_goes_on_after_a_lost_connection(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; cat", io="stream"))
        text = b"".join(b"%d\n" % number for number in range(20_000))
        driver.feed("1.1", 0, text[:60_000])
        driver.wait(lambda: driver["1.1"].stdin_at == 60_000, "some of it to be taken")
        driver.kill_client()
        driver["1.1"].stdin_at = 0
        driver.open()
        driver.wait(lambda: driver["1.1"].stdin_at == 60_000, "word of how much was taken")
        let_go(user, work / "go")
        driver.feed("1.1", 0, text[:70_000])  # what it has already is cut off
        driver.feed("1.1", 70_000, text[70_000:])
        driver.end_input("1.1")
        assert driver.wait_for_end("1.1")["exit"] == 0
        assert driver["1.1"].out[1] == text

    def test_a_job_that_never_reads_delays_nobody(self, driver: Driver, user: User, work: Path) -> None:
        driver.start("1.1", spec(user, f"{until(work / 'go')}; exit 2", io="stream"))
        driver.wait_for_start("1.1")
        for number in range(4):
            driver.feed("1.1", number << 16, bytes(1 << 16))
        driver.end_input("1.1")
        assert driver.run("2.1", spec(user, "echo through"))["exit"] == 0
        assert driver["1.1"].stdin_at <= 1 << 16  # what fits into the pipe
        let_go(user, work / "go")
        assert driver.wait_for_end("1.1")["exit"] == 2

    @pytest.mark.parametrize("io", ["file", "stream"])
    def test_a_job_that_prints_without_end_needs_no_memory(self, driver: Driver, user: User, io: str) -> None:
        driver.taking = False
        driver.start("1.1", spec(user, "yes | head -c 50000000; exit 1" if io == "file" else "yes", io=io))
        if io == "file":
            driver.wait(lambda: driver["1.1"].end, "the end")
        driver.wait(lambda: len(driver["1.1"].out[1]) >= 256 << 10, "a window full")
        driver.start("2.1", spec(user, "exit 1"))
        driver.wait(lambda: driver["2.1"].end, "the end of another")
        assert len(driver["1.1"].out[1]) < 512 << 10
        pages = int(Path(f"/proc/{driver.pid('wq-shepherd')}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 60 << 20
        if io == "stream":
            driver.stop("1.1", 0.0)
        driver.taking = True
        driver.take("1.1", 1)
        driver.wait_for_end("1.1")
        assert driver["1.1"].out[1] == b"y\n" * (len(driver["1.1"].out[1]) // 2)
        if io == "file":
            assert len(driver["1.1"].out[1]) == 50_000_000
