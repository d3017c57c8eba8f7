"""wq simulate: what it replays, prints and writes, and what it refuses in one line."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.formats.test_swf import line
from tests.unit.simulate import reference
from wq.cli import main, past, schedules
from wq.simulate.measure import bounded_slowdown

HEAD = b"; MaxProcs: 4\n"
JOBS = [(1, 0, 100, 2, 1), (2, 10, 100, 4, 1), (3, 20, 50, 2, 2), (4, 30, 90, 2, 2)]
FOUR_JOBS = HEAD + b"".join(
    line(f1=number, f2=submit, f4=run, f5=cores, f8=cores, f9=run, f12=7, f15=queue, f16=-1)
    for number, submit, run, cores, queue in JOBS
)
# fifo: 1 at 0, 3 at 20 beside it, 4 at 70, 2 when 4 has ended; easy: 4 would delay 2, which was promised 100
NODES = "a 2 8 1\nb 4 8 1,2\n"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own directory, with a trace in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WQ_SERVER", "")
    monkeypatch.setenv("WQ_PORT", "1")  # nobody serves there
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    directory = tmp_path / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    (directory / "four.swf").write_bytes(FOUR_JOBS)
    (directory / "cluster.txt").write_text(NODES)
    return directory


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """run(words...): (what it prints, what it says on stderr), of a call that succeeds."""

    def called(*words: str, status: int = 0) -> tuple[str, str]:
        assert main.main(["simulate", *words]) == status
        shown = capsys.readouterr()
        return shown.out, shown.err

    return called


def starts_in(path: str) -> list[tuple[str, float]]:
    data = Path(path).read_bytes()
    text = (gzip.decompress(data) if path.endswith(".gz") else data).decode()
    return [(name, float(start)) for name, start in map(str.split, text.splitlines())]


class TestATrace:
    def test_policies_stand_side_by_side(self, run: Any) -> None:
        out, err = run("four.swf", "--policy", "fifo,easy")
        assert err == ""
        assert out == (
            "Policy Slowdown Largest Wait Median Longest   Use User Theirs\n"
            "fifo   1.486111     2.5 47.5     20     150 84.6% -         -\n"
            "easy   1.697222    2.89   65     45     170 75.9% -         -\n"
            "Jobs: 4 Users: 1 Cores: 4 Nodes: 1 Days: 0.0\n"
        )

    def test_the_beginning_of_a_real_trace_has_the_starts_and_the_average_of_the_reference(self, run: Any) -> None:
        numbers, jobs = reference.excerpt()
        expected = reference.schedule(jobs, 100, "easy")
        path = str(reference.EXCERPT)
        out, _ = run(path, "--procs", "100", "--cores", "requested", "--policy", "easy", "--starts", "out.start")
        assert Path("out.start").read_text().splitlines() == [
            f"{number} {start_s:.0f}" for number, start_s in sorted(zip(numbers, expected, strict=True))
        ]
        slowdowns = [
            bounded_slowdown(start_s - job.submit, job.run) for start_s, job in zip(expected, jobs, strict=True)
        ]
        average = f"{sum(slowdowns) / len(jobs):.6f}"
        longest = max(start_s - job.submit for start_s, job in zip(expected, jobs, strict=True))
        policy, slowdown, *_, longest_wait, _, _, _ = out.splitlines()[1].split()
        assert (policy, slowdown, longest_wait) == ("easy", average, f"{longest:.0f}")
        assert average == "61.722667"

    @pytest.mark.parametrize("name", ["four.swf.gz", "packed"])
    def test_gzip_is_known_by_name_or_bytes(self, run: Any, name: str) -> None:
        Path(name).write_bytes(gzip.compress(FOUR_JOBS))
        assert run(name) == run("four.swf")

    def test_standard_input_is_one_too(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = run("four.swf")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(FOUR_JOBS))))
        assert run("-") == expected

    def test_cores_are_those_of_the_header_unless_they_are_given(self, run: Any) -> None:
        assert "Cores: 4 " in run("four.swf")[0]
        assert "Cores: 6 " in run("four.swf", "--procs", "6")[0]
        Path("nodes.swf").write_bytes(FOUR_JOBS.replace(b"MaxProcs", b"MaxNodes"))
        assert "Cores: 4 " in run("nodes.swf")[0]

    def test_what_is_left_out_is_counted_and_named(self, run: Any) -> None:
        more = line(f1=5, f4=-1) + line(f1=6, f5=-1, f8=-1) + line(f1=7, f8=9) + line(f1=7, f11=3)
        Path("more.swf").write_bytes(FOUR_JOBS + more)
        out, err = run("more.swf")
        assert "Jobs: 4 " in out
        assert err.splitlines() == [
            "wq: 1 job has no run time and is left out: 5",
            "wq: 1 job has no such number of processors and is left out: 6",
            "wq: 1 job has a line for a part of it beside that of the whole; that is left out",
            "wq: 1 job has no chance to run here and is left out: 7 (N: 9 cores, but the cluster has 4)",
        ]

    def test_many_that_are_left_out_are_not_all_named(self, run: Any) -> None:
        _, err = run("four.swf", "--procs", "3")
        assert err == "wq: 1 job has no chance to run here and is left out: 2 (N: 4 cores, but the cluster has 3)\n"
        Path("more.swf").write_bytes(FOUR_JOBS + b"".join(line(f1=number, f4=0) for number in range(10, 20)))
        assert run("more.swf")[1] == "wq: 10 jobs have no run time and are left out: 10, 11, 12 and 7 more\n"

    def test_groups_of_a_cluster_file_are_queues_or_partitions(self, run: Any) -> None:
        words = ("four.swf", "--cluster", "cluster.txt", "--policy", "fcfs", "--starts", "out")
        run(*words)
        assert starts_in("out") == [("1", 0), ("2", 10), ("3", 100), ("4", 110)]
        run(*words, "--groups", "queue")  # 3 and 4 want the second node alone
        assert starts_in("out") == [("1", 0), ("2", 10), ("3", 110), ("4", 110)]
        run(*words, "--groups", "partition")  # which none of them has
        assert starts_in("out") == [("1", 0), ("2", 10), ("3", 100), ("4", 110)]

    def test_nodes_may_be_added(self, run: Any) -> None:
        out, _ = run("four.swf", "--add", "1x2", "--add", "2x1:gen5", "--starts", "out")
        assert "Cores: 8 Nodes: 4" in out
        assert starts_in("out") == [("1", 0), ("2", 10), ("3", 20), ("4", 70)]

    def test_a_limit_holds_for_every_user(self, run: Any) -> None:
        _, err = run("four.swf", "--limit", "cores: 2; run: 5", "--starts", "out")
        assert starts_in("out") == [("1", 0), ("3", 100), ("4", 150)]
        assert "left out: 2 (more than limit cores: 2)" in err

    def test_starts_of_several_policies_go_to_a_file_each(self, run: Any, work: Path) -> None:
        run("four.swf", "--policy", "fifo,cons", "--starts", "x.1.start.gz")
        assert {path.name for path in work.glob("x*")} == {"x.1.fifo.start.gz", "x.1.cons.start.gz"}
        assert starts_in("x.1.fifo.start.gz") == [("1", 0), ("2", 160), ("3", 20), ("4", 70)]
        assert schedules.starts_paths("dir.d/x", ["a", "b"]) == {"a": "dir.d/x.a", "b": "dir.d/x.b"}
        assert schedules.starts_paths("x.start", ["a"]) == {"a": "x.start"}

    def test_starts_have_a_point_only_where_they_need_one(self, run: Any) -> None:
        Path("half.swf").write_bytes(HEAD + line(f1=2, f2=0.5) + line(f1=1, f2=3))
        run("half.swf", "--starts", "out")
        assert Path("out").read_text() == "1 60.5\n2 0.5\n"

    def test_json_has_the_same_facts(self, run: Any) -> None:
        facts = json.loads(run("four.swf", "--procs", "3", "--policy", "easy", "--starts", "out", "--json")[0])
        (policy,) = facts.pop("policies")
        because = "N: 4 cores, but the cluster has 3"
        assert facts == {
            "jobs": 3,
            "users": 1,
            "cores": 3,
            "nodes": 1,
            "left_out": [{"why": "never_fits", "jobs": 1, "named": [{"job": "2", "because": because}]}],
        }
        assert policy["policy"] == "easy"
        assert policy["starts"] == "out"
        assert policy["wait_max_s"] == 120
        assert policy["worst_user"] is None

    def test_the_worst_off_user_is_named(self, run: Any) -> None:
        Path("many.swf").write_bytes(HEAD + b"".join(line(f1=at, f2=0, f12=at % 2, f8=4) for at in range(1, 21)))
        out, _ = run("many.swf")
        assert out.splitlines()[1].split()[-2:] == ["0", "11.00"]


NEEDS: dict[str, Any] = dict.fromkeys(("host", "threads"), None) | dict.fromkeys(("min_cores", "min_mem"), 0)
JOB: dict[str, Any] = {
    "id": 1,
    "task": None,
    "array": None,
    "state": "done",
    "user": "anze",
    "uid": 1001,
    "mode": "bycore",
    "n": 1,
    "priority": "med",
    "time_limit": None,
    "ncores": 1,
    "submitted_at": 1000,
    "started_at": 1000,
    "ended_at": 1030,
    "requirement": {**NEEDS, "group": [], "notgroup": [], "X": False},
}
NODE = {"host": "a", "ncores": 2, "mem_gb": 8, "groups": ["gen5"], "state": "offline"}


class TestAHistory:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
        """What a server was asked for that has two jobs, and an array of which two tasks are over."""
        found: list[tuple[str, dict[str, Any]]] = []
        array = {**JOB, "id": 3, "array": {"tasks": 3, "pieces": [[0, 4, 2]]}, "ncores": None}

        class Server:
            def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
                found.append((kind, fields))
                if kind == "stat":
                    return {"nodes": [NODE]}
                if kind == "ls":
                    return {"jobs": [{**JOB, "id": 3, "task": task} for task in (0, 4)]}
                return {"jobs": [array, {**JOB, "id": 2, "started_at": None}, JOB], "more": 5}

        monkeypatch.setattr(past, "connect", lambda port, recall: Server())
        return found

    def test_jobs_and_tasks_of_arrays_are_replayed_on_the_nodes_of_the_queue(self, run: Any, asked: Any) -> None:
        out, err = run("--history", "--starts", "out")
        assert "Jobs: 3 Users: 1 Cores: 2 Nodes: 1" in out
        assert starts_in("out") == [("1", 1000), ("3.0", 1000), ("3.4", 1030)]
        assert err.splitlines() == [
            "wq: only the newest 100000 jobs are asked for; 5 older ones are left out",
            "wq: 1 job has never run and is left out: 2",
        ]
        assert [kind for kind, _ in asked] == ["stat", "hist", "ls"]
        assert asked[1][1] == {"most": 100_000, "failed": False, "everybody": True, "since_s": None}
        assert asked[2][1] == {"tasks": [[3, 0, 4]]}

    def test_on_other_nodes_if_they_are_given(self, run: Any, asked: Any) -> None:
        assert "Cores: 6 Nodes: 2" in run("--history", "--cluster", "cluster.txt")[0]
        assert "Cores: 1 Nodes: 1" in run("--history", "--procs", "1", "--since", "2d")[0]
        assert "stat" not in {kind for kind, _ in asked}

    def test_without_a_server_the_status_is_75(self, run: Any) -> None:
        assert "no queue is running" in run("--history", status=75)[1]

    def test_answers_that_make_no_sense_are_one_line(
        self, run: Any, asked: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(JOB, "mode", "sideways")
        assert "makes no sense" in run("--history", status=1)[1]

    def test_a_server_afar_is_asked_by_the_commands_of_that_host(self) -> None:
        class Head:
            words: list[Any] = []  # noqa: RUF012

            def answer_to(self, facts: dict[str, Any], _: bytes) -> bytes:
                self.words.append(facts["words"])
                return b'{"jobs": [], "more": 0, "nodes": []}'

        afar = past.Afar(Head(), 7)  # type: ignore[arg-type]
        assert afar.jobs("2d") == ([], 0)
        assert afar.nodes() == []
        afar.tasks(3, 0, 9)
        assert Head.words == [
            ["hist", "-p", "7", "--json", "-a", "-n", "100000", "--since", "2d"],
            ["stat", "-p", "7", "--json"],
            ["ls", "-p", "7", "--json", "3.0-9"],
        ]

    def test_tasks_of_large_arrays_are_asked_for_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(past, "TASKS_AT_ONCE", 2)
        monkeypatch.setattr(past, "MOST_TASKS", 9)
        parts: list[tuple[int, int, int]] = []

        class Source:
            def jobs(self, since: str | None) -> tuple[list[past.Row], int]:
                pieces = {"array": {"tasks": 6, "pieces": [[0, 4, 1], [10, 10, 1]]}}
                return [{"id": 1, **pieces}, {"id": 2, **pieces}], 0

            def tasks(self, array: int, first: int, last: int) -> list[past.Row]:
                parts.append((array, first, last))
                return [{"state": "done"}, {"state": "queued"}]

            def nodes(self) -> list[past.Row]:
                return []

        history = past.History(Source(), None)
        assert len(list(history.rows())) == 4
        assert parts == [(1, 0, 1), (1, 2, 3), (1, 4, 4), (1, 10, 10)]
        assert history.too_many == 6


class TestThePicture:
    def test_is_written(self, run: Any) -> None:
        pytest.importorskip("matplotlib")
        run("four.swf", "--policy", "fifo,easy", "--png", "out.png")
        assert Path("out.png").read_bytes().startswith(b"\x89PNG\r\n")

    def test_without_matplotlib_one_line_says_what_to_install(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        out, err = run("four.swf", "--png", "out.png", status=1)
        assert (out, err.count("\n")) == ("", 1)
        assert "pip install 'wq[plot]'" in err
        assert not Path("out.png").exists()

    def test_nothing_else_needs_it(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        run("four.swf")


@pytest.mark.parametrize(
    ("words", "telling"),
    [
        ([], "either a trace or --history"),
        (["four.swf", "--history"], "either a trace or --history"),
        (["four.swf", "--since", "2d"], "--since goes with --history"),
        (["--history", "--since", "soon"], "'soon' is no time"),
        (["--history", "--cores", "requested"], "--cores and --groups are about traces"),
        (["four.swf", "--procs", "4", "--cluster", "cluster.txt"], "either --procs or --cluster"),
        (["four.swf", "--groups", "queue"], "--groups goes with --cluster"),
        (["four.swf", "--cores", "most"], "'most'"),
        (["four.swf", "--policy", "lifo"], "there is no policy 'lifo'; there are: fifo, fcfs, easy, sjbf, conser"),
        (["four.swf", "--policy", "cons,conservative"], "conservative is named twice"),
        (["four.swf", "--policy", ","], "from 1 to 12 names are wanted"),
        (["four.swf", "--procs", "0"], "'0' is not a number from 1 to 1000000"),
        (["four.swf", "--procs", "²"], "is not a number"),
        (["four.swf", "--procs", "1"], "there is no job left that could run"),
        (["four.swf", "--add", "2"], "--add: '2' is not understood; allowed: NODESxCORES"),
        (["four.swf", "--limit", "cores"], "'cores' is not understood"),
        (["four.swf", "--limit", "run: 0"], "nobody runs anything"),
        (["four.swf", "--cluster", "nosuch.txt"], "nosuch.txt: No such file"),
        (["four.swf", "--cluster", "four.swf"], "four.swf:2: "),
        (["nosuch.swf"], "nosuch.swf: No such file"),
        (["."], ".: Is a directory"),
        (["cluster.txt"], "cluster.txt:1: 4 fields in 'a 2 8 1'; allowed: 18 numbers"),
        (["nan.swf"], "nan.swf:2: run time (field 4) is 'nan'"),
        (["nohead.swf"], "nohead.swf: it does not say how many processors there were; --procs N does"),
        (["huge.swf"], "huge.swf: MaxProcs is 999999999; allowed: at most 1000000"),
        (["cut.gz"], "cut.gz: it cannot be unpacked"),
        (["plain.gz"], "plain.gz: it cannot be unpacked"),
        (["endless"], "endless:1: the line is too long"),
        (["four.swf", "--starts", "no/such"], "there is no directory no"),
        (["four.swf", "--starts", "."], ".: a file is wanted"),
        (["four.swf", "--png", ""], "a file is wanted"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_in_one_line(words: list[str], telling: str, run: Any, work: Path) -> None:
    (work / "nan.swf").write_bytes(HEAD + line(f4="nan"))
    (work / "nohead.swf").write_bytes(line())
    (work / "huge.swf").write_bytes(b"; MaxProcs: 999999999\n" + line())
    (work / "cut.gz").write_bytes(gzip.compress(FOUR_JOBS)[:-20])
    (work / "plain.gz").write_bytes(FOUR_JOBS)
    (work / "endless").write_bytes(gzip.compress(b"1 " * 10_000_000))
    out, err = run(*words, status=2)
    assert out == ""
    assert telling in err
    assert err.splitlines()[-1].startswith("wq: ")
    assert "--procs" in words or err.count("\n") == 1  # else what is left out is told before


def test_what_never_starts_is_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wq.simulate.replay.Replay.play", lambda _: iter(()))
    assert run("four.swf", "--policy", "easy", status=1) == ("", "wq: simulate: under easy no job ever starts\n")
