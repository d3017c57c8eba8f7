"""wq init: what it finds becomes a table, and a cluster file that the parser reads as it was meant."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.test_probing import ANSWER, GREETING, MARKED
from wq.cli import config, options, probing, suggest
from wq.cli.commands import init
from wq.cli.errors import WqError
from wq.cli.probing import Facts, Look
from wq.formats import FormatError
from wq.formats.clusterfile import parse_cluster_file

Says = Callable[..., None]


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """says(host, facts that differ from the usual): what an ssh of ours answers for it; all others refuse the key."""
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\nfor word; do [ "$host" = -- ] && break; host=$word; done; shift $(($# - 2))\n'
        f'[ -e {tmp_path}/$1.says ] || {{ echo "Permission denied (publickey)." >&2; exit 255; }}\n'
        f"exec cat {tmp_path}/$1.says\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(config, "files", list)
    monkeypatch.setenv("WQ_SSH", shlex.quote(str(program)))
    monkeypatch.setenv("HOME", str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def say(host: str, **facts: Any) -> None:
        text = json.dumps({**ANSWER, "boot": "", "time_ms": 10**15, **facts})
        (tmp_path / f"{host}.says").write_text(f"Welcome!\n\n{GREETING}{text}\n")

    return say


@pytest.fixture(autouse=True)
def _any_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "MOST_CLOCK_S", 1e300)


def run(*words: str) -> int:
    args = options.read("init", init, list(words))
    return init.run(args)


def usable(host: str, ncores: int = 12, mem_gb: float = 32.0, ngpus: int = 0, remarks: tuple[str, ...] = ()) -> Look:
    line = json.dumps({**ANSWER, "cores": ncores, "mem_kb": int(mem_gb * 2**20), "gpus": ngpus}).encode()
    facts = probing.understood(line, 1000, 1000, MARKED)
    assert isinstance(facts, Facts)
    return Look(host=host, facts=facts, remarks=remarks)


def lines(*looks: Look) -> list[str]:
    return suggest.cluster_text(looks).removeprefix(suggest.HEAD).splitlines()


class TestTheFile:
    def test_folds_what_is_alike_and_stands_together(self) -> None:
        looks = [usable(f"astro{number:04}") for number in (1, 2, 3, 7)]
        assert lines(*looks) == ["astro[0001-0003,0007] 12 32"]
        assert lines(usable("n1"), usable("n2", 4), usable("n3")) == [
            "n1 12 32 c12",
            "n2  4 32 c4",
            "n3 12 32 c12",
        ]

    def test_keeps_the_order_that_was_given(self) -> None:
        assert lines(usable("n3"), usable("n1"), usable("n2")) == ["n3 12 32", "n1 12 32", "n2 12 32"]

    def test_suggests_groups_only_where_they_tell_nodes_apart(self) -> None:
        looks = [usable("astro0001", 12), usable("astro0002", 4), usable("gpu-01", 4, ngpus=2), usable("gpu-02", 4)]
        assert lines(*looks) == [
            "astro0001 12 32 astro,c12",
            "astro0002  4 32 astro,c4",
            "gpu-01     4 32 gpu,c4     # 2 GPUs",
            "gpu-02     4 32 gpu,c4",
        ]
        assert lines(usable("a1"), usable("b1")) == ["a1 12 32", "b1 12 32"]

    def test_what_cannot_be_used_is_a_comment_with_the_reason(self) -> None:
        bad = Look(host="n2", troubles=("refuses your key (\x1b[2J\n n9 1 1)",))
        assert lines(usable("n1"), bad, usable("n3", remarks=("its clock is off",))) == [
            "n1 12 32",
            "# n2: refuses your key (\\x1b[2J\\n n9 1 1)",
            "n3 12 32  # its clock is off",
        ]

    def test_there_is_none_without_a_node(self) -> None:
        with pytest.raises(FormatError):
            suggest.cluster_text([Look(host="n1", troubles=("x",))])

    def test_thousands_in_trouble_leave_room_for_the_rest(self) -> None:
        looks = [Look(host=f"node{number}", troubles=("why " * 200,)) for number in range(9000)]
        assert [node.host for node in parse_cluster_file(suggest.cluster_text([*looks, usable("n1")]), source="x")] == [
            "n1"
        ]

    @given(
        st.lists(
            st.tuples(
                st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,9}[A-Za-z0-9])?", fullmatch=True),
                st.integers(1, 4096),
                st.floats(0.1, 5000),
                st.integers(0, 2),
                st.booleans(),
            ),
            min_size=1,
            unique_by=lambda row: row[0].lower(),
        )
    )
    def test_whatever_was_found_is_read_as_it_was_meant(self, rows: list[tuple[str, int, float, int, bool]]) -> None:
        looks = [
            usable(host, ncores, mem_gb, ngpus) if good else Look(host=host, troubles=("x # y",))
            for host, ncores, mem_gb, ngpus, good in rows
        ]
        good = [row for row in rows if row[-1]]
        if good:  # cluster_text itself compares what is read with what was meant
            assert len(parse_cluster_file(suggest.cluster_text(looks), source="x")) == len(good)


class TestTheCommand:
    def test_writes_the_file_and_shows_the_table(self, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
        says("n1", gpus=4)
        says("n2", home=False)
        assert run("n[1-2]", "n3") == 1
        out, err = capsys.readouterr()
        rows = [line.split(None, 8) for line in out.splitlines()]
        assert rows[0] == ["Node", "Cores", "Mem", "GPUs", "Python", "Clock", "Home", "Here", "Trouble"]
        assert [[*row[:5], *row[6:]] for row in rows[1:]] == [
            ["n1", "12", "32", "4", "3.9.2", "shared", "shared", "-"],
            ["n2", "12", "32", "0", "3.9.2", "own", "shared", "it does not share your home directory"],
            ["n3", *"------", "refuses your key (Permission denied (publickey).)"],
        ]
        assert err == "wq: written to cluster.txt: 2 of 3 machines; look it over, then `wq serve cluster.txt`\n"
        nodes = parse_cluster_file(Path("cluster.txt").read_text(), source="x")
        assert [(node.host, node.ncores, node.mem_gb, node.groups) for node in nodes] == [
            ("n1", 12, 32, ("gpu",)),
            ("n2", 12, 32, ()),
        ]
        assert "# n3: refuses your key (Permission denied (publickey).)\n" in Path("cluster.txt").read_text()

    def test_writes_over_a_file_only_by_force(self, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
        says("n1")
        Path("mine").write_text("precious")
        Path("link").symlink_to("mine")
        for name in ("mine", "link"):
            with pytest.raises(WqError, match=f"{name} is there already; --force writes over it") as refused:
                run("n1", "-o", name)
            assert refused.value.status == 2
        assert Path("mine").read_text() == "precious"
        assert run("n1", "-o", "link", "--force") == 0
        assert Path("mine").read_text() == "precious"  # the name was taken, not what it led to
        assert run("n1", "-o", "mine", "--force") == 0
        assert "n1 12 32" in Path("mine").read_text()
        assert sorted(path.name for path in Path().iterdir()) == ["link", "mine"]

    def test_one_that_has_come_meanwhile_is_kept(self, says: Says) -> None:
        Path("new").write_text("precious")
        with pytest.raises(WqError, match="there already"):
            init.write("new", "n1 1 1\n", force=False)
        assert Path("new").read_text() == "precious"

    def test_shows_the_file_alone_on_standard_output(self, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
        says("n1")
        assert run("n1", "-o", "-") == 0
        out, err = capsys.readouterr()
        assert parse_cluster_file(out, source="x")
        assert err.startswith("Node ")
        assert list(Path().iterdir()) == []

    def test_writes_nothing_where_no_machine_can_be_used(self, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("n1") == 1
        assert capsys.readouterr().err == "wq: none of these machines can be used; nothing was written\n"
        assert list(Path().iterdir()) == []

    def test_has_rows_for_programs(self, says: Says, capsys: pytest.CaptureFixture[str]) -> None:
        says("n1", cores=4)
        assert run("n1", "n2", "--json", "-o", "new") == 1
        found = json.loads(capsys.readouterr().out)
        assert (found["file"], found["text"]) == ("new", Path("new").read_text())
        first, second = found["nodes"]
        assert (first["host"], first["cores"], first["python"], first["troubles"]) == ("n1", 4, "3.9.2", [])
        assert (second["cores"], second["home_shared"], len(second["troubles"])) == (None, None, 1)
        assert first.keys() == second.keys()

    def test_takes_names_from_a_file_each_once(self, says: Says, tmp_path: Path) -> None:
        for host in ("n1", "n2", "n3", "n4"):
            says(host)
        Path("names").write_text("# ours\nn[2-3]  12 32  gen4\n\nN1\nn4 # the new one\n")
        assert run("n1", "-f", "names") == 0
        assert [node.host for node in parse_cluster_file(Path("cluster.txt").read_text(), source="x")] == [
            "n1",
            "n2",
            "n3",
            "n4",
        ]

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ([], "init: no machine is named"),
            (["-oProxyCommand=x"], "init: no machine is named"),
            (["a b"], "HOST:1: host 'a b' cannot be a name"),
            (["n1", "$(x)"], "HOST:2: host '$(x)' cannot be a name"),
            (["n[1-"], "HOST:1: host 'n[1-' cannot be a name"),
            (["n[1-99999]"], "too many nodes"),
            (["-f", "nosuch"], "nosuch: No such file or directory"),
            (["-f", "bad"], "bad:2: host 'user@n1' cannot be a name"),
            (["-f", "latin"], "latin: not UTF-8"),
            (["-f", "empty"], "init: no machine is named"),
        ],
        ids=str,
    )
    def test_what_is_no_name_is_refused(self, says: Says, words: list[str], sentence: str) -> None:
        Path("bad").write_text("n1\nuser@n1\n")
        Path("latin").write_bytes(b"\xe9")
        Path("empty").write_text("# n1\n")
        with pytest.raises(WqError) as refused:
            run(*words)
        assert sentence in str(refused.value)
        assert refused.value.status == 2
