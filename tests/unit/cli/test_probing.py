"""Looking at machines: a real child process in the place of ssh, the true probe, and answers written by an enemy."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.cli import config, probing
from wq.node import probe, shepherd

GREETING = probe.GREETING.decode()
MARKED = probing.Markers(token="0" * 32, directory="/", home=True, here=True)
FREE = {"write": "ok", "free": 1 << 40, "files": 1 << 20, "kind": "ext4", "spool": None}
ANSWER: dict[str, Any] = {
    "python": [3, 9, 2],
    "cores": 12,
    "mem_kb": 32 << 20,
    "gpus": 0,
    "uid": 1000,
    "boot": "e449c7f1-4d30-4593-8d5a-578c1e0b90e9",
    "home": True,
    "here": "shared",
    "bases": [{"base": "/var/tmp", **FREE}, {"base": "/tmp", **FREE}],
    "keepers": 0,
    "marked": 0,
    "time_ms": 1_000_000,
}


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that does what the script named like its host does, with what it is given on its standard input."""
    monkeypatch.setattr(config, "files", list)
    monkeypatch.setenv("HOME", str(tmp_path))
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\n'
        f'for word; do [ "$host" = -- ] && break; host=$word; done; shift $(($# - 2))\nexec sh {tmp_path}/$1 "$2"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("WQ_SSH", shlex.quote(str(program)))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path


def does(place: Path, host: str, script: str) -> None:
    (place / host).write_text(script)


def says(place: Path, host: str, text: str) -> None:
    (place / f"{host}.text").write_text(text)
    does(place, host, f"cat >/dev/null & cat {place}/{host}.text\n")


def facts(clock_s: float = 0.0, marked: probing.Markers = MARKED, **other: Any) -> probing.Facts:
    line = json.dumps({**ANSWER, **other}).encode()
    found = probing.understood(line, 1000.0 - clock_s, 1000.0 - clock_s, marked)
    assert isinstance(found, probing.Facts)
    return found


def about(clock_s: float = 0.0, **other: Any) -> probing.Look:
    return probing.judged("n1", facts(clock_s, **other))


class TestTheProbe:
    def test_says_what_this_machine_is_like(self, fake_ssh: Path) -> None:
        does(fake_ssh, "n1", "exec $1")
        [look] = probing.look_at(["n1"])
        assert (look.troubles, look.facts is not None) == ((), True)
        assert look.facts is not None
        assert look.facts.ncores == len(os.sched_getaffinity(0))
        assert (look.facts.home, look.facts.here) == (True, "shared")
        assert look.facts.python[0] == 3
        assert abs(look.facts.clock_offset_s) < 1
        assert look.facts.base is not None

    def test_leaves_nothing_here_and_nothing_there(self, fake_ssh: Path) -> None:
        does(fake_ssh, "n1", "exec $1")
        probing.look_at(["n1"])
        assert not [path for place in (fake_ssh, Path.cwd(), *map(Path, probe.BASES)) for path in place.glob(".wq-p*")]

    def test_nor_when_it_is_broken_off(self, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def broken_off(*_: object) -> None:
            left.extend(os.listdir(fake_ssh))
            raise KeyboardInterrupt

        left: list[str] = []

        monkeypatch.setattr(probing, "_look_at", broken_off)
        with pytest.raises(KeyboardInterrupt):
            probing.look_at(["n1"])
        assert [name for name in left if name.startswith(".wq-probe-")]
        assert not list(fake_ssh.glob(".wq-probe-*"))

    def test_sees_a_home_and_a_directory_of_its_own(self, fake_ssh: Path) -> None:
        (fake_ssh / "other").mkdir()
        does(fake_ssh, "n1", f"HOME={fake_ssh}/other exec $1")
        [look] = probing.look_at(["n1"])
        assert look.facts is not None
        assert (look.facts.home, look.facts.here) == (False, "shared")
        assert look.remarks == ("it does not share your home directory",)

    def test_says_nothing_of_a_home_where_no_marker_could_be_left(
        self, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        does(fake_ssh, "n1", "exec $1")
        monkeypatch.setenv("HOME", str(fake_ssh / "not-there"))
        [look] = probing.look_at(["n1"])
        assert look.facts is not None
        assert look.facts.home is None
        assert look.remarks == ()

    def test_prints_much_before_its_first_word(self, fake_ssh: Path) -> None:
        does(fake_ssh, "n1", f"head -c 100000 /dev/zero | tr '\\0' x; echo; echo '{GREETING}'; exec $1")
        assert probing.look_at(["n1"])[0].facts is None  # (whose login says our greeting is asking for it)
        does(fake_ssh, "n1", "head -c 100000 /dev/zero | tr '\\0' x; echo '{\"a\": 1}'; exec $1")
        assert probing.look_at(["n1"])[0].troubles == ()

    def test_is_small_and_knows_the_same_places_and_marks_as_the_shepherd(self) -> None:
        assert len(probing.script_of(MARKED)) < 10_000
        assert (probe.BASES, probe.TAG_BASE, probe.TAGS) == (shepherd.BASES, shepherd.TAG_BASE, shepherd.TAGS)

    def test_what_only_we_should_know_is_on_no_command_line(self) -> None:
        script = probing.script_of(MARKED).decode()
        [call] = [line for line in script.splitlines() if "python3 -I" in line]
        assert call.startswith(f"WQ_PROBE='{MARKED.token} 2f' python3 -I -S -c ")
        assert script.count(MARKED.token) == 1

    def test_any_directory_reaches_it_as_it_is(self, tmp_path: Path) -> None:
        place = tmp_path / os.fsdecode(b"a'b $(touch X) \xff\n%SOURCE TOKEN")
        place.mkdir()
        (place / f".wq-probe-{MARKED.token}").touch()
        marked = probing.Markers(token=MARKED.token, directory=str(place), home=False, here=True)
        done = subprocess.run(["sh"], input=probing.script_of(marked), capture_output=True, cwd=tmp_path, check=True)
        assert json.loads(done.stdout.partition(probe.GREETING)[2])["here"] == "shared"
        assert [path.name for path in tmp_path.iterdir()] == [place.name]

    @pytest.mark.parametrize(
        ("script", "sentence"),
        [
            ("", "there is no python3 on the PATH"),
            ("exit 2", "its python3 does not do what is asked"),
            (f"printf '\\n{GREETING}{{\"python\": [3, 5, 2]}}\\n'", "it answers nonsense"),
        ],
    )
    def test_without_a_python_that_will_do_it_says_so(self, tmp_path: Path, script: str, sentence: str) -> None:
        if script:
            (tmp_path / "python3").write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "python3").chmod(0o755)
        done = subprocess.run(
            ["/bin/sh"], input=probing.script_of(MARKED), capture_output=True, env={"PATH": str(tmp_path)}, check=False
        )
        line = done.stdout.partition(probe.GREETING)[2].splitlines()[0]
        try:
            said = probing.understood(line, 0, 0, MARKED)
        except probing.Nonsense:
            said = "it answers nonsense"
        assert isinstance(said, str)
        assert said.startswith(sentence)

    def test_an_old_python_is_named(self) -> None:
        assert about(python=[3, 5, 2]).troubles == ("its python3 is 3.5.2; 3.6 or newer is needed",)
        assert about(python=[3, 6, 0]).troubles == ()


class TestAsking:
    def test_answers_come_in_the_order_of_the_hosts_and_progress_is_told(self, fake_ssh: Path) -> None:
        hosts = [f"n{number}" for number in range(5)]
        for host in hosts:
            says(fake_ssh, host, f"\n{GREETING}{json.dumps({**ANSWER, 'cores': int(host[1:]) + 1, 'boot': ''})}\n")
        told: list[tuple[int, int]] = []
        looks = probing.look_at(hosts, lambda done, of: told.append((done, of)))
        assert [look.facts.ncores for look in looks if look.facts] == [1, 2, 3, 4, 5]
        assert told == [(done, 5) for done in range(1, 6)]

    def test_no_more_logins_than_eight_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probing, "JITTER_S", 0.0)
        now, most = 0, 0

        async def look(host: str, _: object) -> probing.Look:
            nonlocal now, most
            now += 1
            most = max(most, now)
            for _turn in range(5):
                await asyncio.sleep(0)
            now -= 1
            return probing.Look(host=host)

        monkeypatch.setattr(probing, "look_once", look)
        probing.look_at([f"n{number}" for number in range(40)])
        assert most == 8

    def test_it_is_called_in_batch_mode_with_nothing_forwarded(self, fake_ssh: Path) -> None:
        does(fake_ssh, "n1", "exit 0")
        probing.look_at(["n1"])
        [call] = (fake_ssh / "calls").read_text().splitlines()
        assert call.endswith(" -- n1 sh")
        assert {"-a", "-x", "-T", "BatchMode=yes", "ClearAllForwardings=yes"} <= set(call.split())

    def test_what_is_no_name_is_not_called(self, fake_ssh: Path) -> None:
        [look] = probing.look_at(["-oProxyCommand=x"])
        assert "is not the name of a host" in look.troubles[0]
        assert not (fake_ssh / "calls").exists()

    @pytest.mark.parametrize(
        ("script", "sentence"),
        [
            ("echo 'u@n1: Permission denied (publickey).' >&2; exit 255", "refuses your key (u@n1: Permission denied"),
            ("echo 'Host key verification failed.' >&2; exit 255", "the host key of n1 is not known or has changed"),
            ("echo 'ssh: connect to host n1 port 22: Connection refused' >&2; exit 255", "does not answer ("),
            ("echo 'ssh: Could not resolve hostname n1' >&2; exit 255", "has no address ("),
            ("echo This account is not available.; exit 1", "could not be used (ssh ended with status 1)"),
            (f"printf '\\n{GREETING}%s\\n' nonsense", "it answers nonsense"),
            ("exec yes", "it prints without end"),
        ],
    )
    def test_what_goes_wrong_is_a_sentence(self, fake_ssh: Path, script: str, sentence: str) -> None:
        does(fake_ssh, "n1", script)
        [look] = probing.look_at(["n1"])
        assert look.facts is None
        assert look.troubles[0].startswith(sentence)

    def test_one_that_hangs_is_given_up(self, fake_ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wq.cli.nodes.PATIENCE_S", 0.2)
        does(fake_ssh, "n1", "exec sleep 1000")
        assert probing.look_at(["n1"])[0].troubles[0].startswith("does not answer within")


class TestWhatAnEnemyAnswers:
    @pytest.mark.parametrize(
        "change",
        [
            {"cores": 0},
            {"cores": -3},
            {"cores": 10**6},
            {"cores": "12"},
            {"cores": True},
            {"cores": 1.5},
            {"mem_kb": None},
            {"mem_kb": -1},
            {"gpus": 10**9},
            {"uid": 1 << 70},
            {"python": []},
            {"python": "3.9"},
            {"python": [3, "9", {}]},
            {"bases": []},
            {"bases": [{}, {}]},
            {"bases": None},
            {"time_ms": "now"},
            {"time_ms": 10**300},
        ],
        ids=str,
    )
    def test_is_nonsense(self, change: dict[str, Any]) -> None:
        if change == {"python": []}:
            assert about(**change).troubles  # older than any
            return
        with pytest.raises(probing.Nonsense):
            facts(**change)

    @pytest.mark.parametrize(
        "line",
        [b"", b"[]", b"null", b"{}", b'"x"', b"[" * 16000, b"1" * 5000, b"\xff", b'{"python": null' + b" " * 20000],
    )
    def test_is_no_traceback(self, line: bytes) -> None:
        with pytest.raises(probing.Nonsense):
            probing.understood(line, 0, 0, MARKED)

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5), st.data())
    def test_of_any_type_is_taken_or_nonsense(self, value: object, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(ANSWER)))
        line = json.dumps({**ANSWER, key: value}).encode()
        try:
            found = probing.understood(line, 0, 0, MARKED)
        except probing.Nonsense:
            return
        if isinstance(found, probing.Facts):
            assert 1 <= found.ncores <= 4096
            assert found.boot in ("", ANSWER["boot"])
            probing.judged("n1", found)

    def test_no_text_of_it_is_shown(self) -> None:
        evil = "\x1b[2J"
        bases = [{"base": evil, **FREE, "kind": evil, "write": evil}] * 2
        look = about(boot=evil, here=evil, bases=bases)
        assert evil not in repr(look)


class TestWhatIsWrong:
    def test_nothing(self) -> None:
        assert (about().troubles, about().remarks) == ((), ())

    @pytest.mark.parametrize(
        ("clock_s", "sentence"), [(7, "7 s ahead of"), (-7, "7 s behind"), (4.9, None), (-4.9, None)]
    )
    def test_the_clock(self, clock_s: float, sentence: str | None) -> None:
        remarks = about(clock_s=clock_s).remarks
        assert remarks == (() if sentence is None else (f"its clock is {sentence} the one here",))

    def test_a_slow_login_is_no_clock_that_is_wrong(self) -> None:
        line = json.dumps(ANSWER).encode()
        found = probing.understood(line, 999.0, 1020.0, MARKED)  # it was 1000.0 there in between
        assert isinstance(found, probing.Facts)
        assert found.clock_offset_s == 0
        assert probing.judged("n1", found).remarks == ()

    def test_home_and_directory(self) -> None:
        assert about(home=False).remarks == ("it does not share your home directory",)
        assert about(here="missing").remarks == ("the current directory is not there",)
        assert about(here="other").remarks == ("the current directory is another one there",)

    @pytest.mark.parametrize(
        ("first", "second", "troubles", "remarks"),
        [
            ({"write": "EACCES"}, {}, [], ["/var/tmp cannot be used (no permission), /tmp is"]),
            ({"write": "ENOENT"}, {"write": "EROFS"}, ["there is no place for spools"], []),
            ({"write": "ENOSPC", "free": 0}, {}, ["/var/tmp is full (0 MB"], []),
            ({"free": 1 << 20}, {}, ["/var/tmp is full (1 MB"], []),
            ({"files": 3}, {}, ["/var/tmp is full ("], []),
            ({"files": None}, {}, [], []),
            ({"kind": "nfs4"}, {}, [], ["there is no local disk for spools of jobs: /var/tmp is on nfs4"]),
            ({"spool": [1000, 0o700, True]}, {}, [], []),
            ({"spool": [1000, 0o777, True]}, {}, ["/var/tmp/wq-1000 is no directory that is yours alone"], []),
            ({"spool": [1000, 0o777, False]}, {}, ["/var/tmp/wq-1000 is no directory that is yours alone"], []),
            ({"spool": [7, 0o700, True]}, {}, [], ["/var/tmp/wq-1000 belongs to somebody else and is stepped around"]),
            (
                {"spool": [7, 0o700, True]},
                {"spool": [7, 0o777, False]},
                ["there is no place for spools of jobs (/var/tmp: taken by somebody else, /tmp: taken by"],
                [],
            ),
        ],
    )
    def test_the_disks(
        self, first: dict[str, Any], second: dict[str, Any], troubles: list[str], remarks: list[str]
    ) -> None:
        look = about(bases=[{**FREE, **first}, {**FREE, **second}])
        assert len(look.troubles) == len(troubles)
        assert all(map(str.startswith, look.troubles, troubles))
        assert list(look.remarks) == remarks

    def test_a_machine_of_two_names(self) -> None:
        other = probing.judged("n3", facts(boot="f449c7f1-4d30-4593-8d5a-578c1e0b90e9"))
        found = probing.with_twins([about(), probing.judged("n2", facts()), other, probing.Look(host="n4")])
        assert [look.remarks for look in found] == [
            (),
            ("it seems to be the same machine as n1, whose cores would count twice",),
            (),
            (),
        ]

    @pytest.mark.parametrize(
        ("kilobytes", "gb"), [(32 << 20, 32), ((32 << 20) - 1, 31), (int(3.79 * 2**20), 3.7), (1, 0.1)]
    )
    def test_memory_is_never_more_than_there_is(self, kilobytes: int, gb: float) -> None:
        assert probing.gigabytes(kilobytes) == gb


def test_the_probe_itself_is_old_python() -> None:
    import ast

    source = Path(probe.__file__).read_text()
    ast.parse(source, feature_version=(3, 4))
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)]
    named = {alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names}
    assert named <= set(sys.stdlib_module_names)


def test_the_probe_counts_what_bears_a_mark() -> None:
    unlimited = "Max realtime timeout      unlimited            unlimited            us        \n"
    marked = f"Max realtime timeout      {probe.TAG_BASE + 5}     unlimited            us        \n"
    assert not probe.is_marked(unlimited.encode())  # type: ignore[no-untyped-call]
    assert probe.is_marked(b"Limit\n" + marked.encode())  # type: ignore[no-untyped-call]
