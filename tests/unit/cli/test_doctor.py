"""wq doctor: each finding is a line with what to do; nothing is started, and whatever is found is no traceback."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wq
from tests.unit.cli.test_probing import ANSWER, GREETING
from wq.cli import checks, checkup, config, connection, options, probing
from wq.cli.commands import doctor
from wq.cli.errors import ServerDown, WqError
from wq.protocol import known, places
from wq.protocol.wire import PROTOCOL, encode

ME = os.getuid()
SOURCES = str(Path(wq.__path__[0]).parent)
WELCOME = {"version": PROTOCOL, "queue": "q", "owner": 7, "owner_name": "erin", "private": False, "nodes": ["n1"]}
NODE = {"host": "n1", "ncores": 12, "used": [], "mem_gb": 32, "groups": [], "state": "online", "reason": "", "by": ""}
COUNTS = {"jobs": 0, "running": 0, "waiting": 0, "held": 0}


class Home:
    """A home, a port that nobody uses, an ssh that answers for n1, n2, ... (n0 refuses the key)."""

    def __init__(self, path: Path, port: int) -> None:
        self.path, self.port = path, port
        self.started: list[str] = []

    def found(self, *words: str) -> list[checks.Check]:
        return list(checkup.examine(self.port, list(words)))

    def about(self, what: str, *words: str) -> list[tuple[str, str]]:
        return [(check.state, check.text) for check in self.found(*words) if check.about == what]

    def run(self, *words: str) -> int:
        args = options.read("doctor", doctor, list(words))
        args.port = self.port
        return doctor.run(args)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    for name in ("WQ_SERVER", "WQ_PORT", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(config, "files", lambda: [str(tmp_path / "wqrc")])
    monkeypatch.setattr(connection, "others_here", lambda port: [])
    monkeypatch.setattr(probing, "MOST_CLOCK_S", 1e300)
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -V ] && {{ echo OpenSSH_9.2 >&2; exit 0; }}\necho "$*" >>{tmp_path}/calls\n'
        f'for word; do [ "$host" = -- ] && break; host=$word; done; shift $(($# - 2))\n'
        f'[ -e {tmp_path}/$1.says ] || {{ echo "Permission denied (publickey)." >&2; exit 255; }}\n'
        f"exec cat {tmp_path}/$1.says\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("WQ_SSH", shlex.quote(str(program)))
    with socket.socket() as mark:
        mark.bind(("127.0.0.1", 0))
        made = Home(tmp_path, mark.getsockname()[1])
        says(made, "n1")
        from wq.cli import daemon

        def start(words: list[str], log: str) -> str:
            made.started.append(words[0])
            return "not in this test"

        monkeypatch.setattr(daemon, "start", start)
        yield made
        shutil.rmtree(places.meeting_dir(ME, made.port), ignore_errors=True)
    assert made.started == []


def says(home: Home, host: str, **facts: Any) -> None:
    text = json.dumps({**ANSWER, "boot": "", "uid": ME, "time_ms": 10**15, **facts})
    (home.path / f"{host}.says").write_text(f"Welcome!\n\n{GREETING}{text}\n")


Serves = Callable[..., None]


@pytest.fixture
def serves(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serves]:
    """serves(uid, answers...): a server of this uid with these answers (usually a welcome, and then these nodes)."""
    with contextlib.ExitStack() as stack:

        def serve(uid: int, *answers: object, nodes: list[Any] | None = None) -> None:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)
            stat = {"ok": {"nodes": [NODE] if nodes is None else nodes, "counts": COUNTS}}
            for answer in answers or ({"ok": WELCOME}, stat):
                assert isinstance(answer, dict)
                theirs.sendall(encode(answer))
            theirs.shutdown(socket.SHUT_WR)
            monkeypatch.setattr(connection, "locate", lambda port: (ours, uid, False))

        yield serve


class TestThisSide:
    def test_of_a_fresh_machine_is_well(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        assert home.run() == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines[:-1]] == [
            ["ok", what] for what in "python install configuration state meeting ssh server launcher nodes".split()
        ]
        assert lines[-1] == "Wrong: 0 Warnings: 0"
        assert not (home.path / "calls").exists()

    def test_has_rows_for_programs(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        assert home.run("--json", "n0") == 1
        rows = json.loads(capsys.readouterr().out)
        assert {tuple(row) for row in rows} == {("about", "state", "text", "todo")}
        assert [row["about"] for row in rows if row["state"] == "wrong"] == ["node n0"]

    @pytest.mark.parametrize(
        ("text", "mode", "sentence"),
        [
            ("nodes: any\n", 0o666, "can be written by others"),
            ("sever: head\n", 0o600, "nobody knows the key 'sever'"),
            ("- x\n", 0o600, "`key: value` is wanted"),
            ("a: [\n", 0o600, "wqrc"),
        ],
    )
    def test_a_configuration_that_is_not_read(self, home: Home, text: str, mode: int, sentence: str) -> None:
        (home.path / "wqrc").write_text(text)
        (home.path / "wqrc").chmod(mode)
        [(state, said)] = home.about("configuration")
        assert (state, sentence in said) == ("wrong", True)
        assert home.about("server") == []  # it would be looked for by that configuration

    def test_a_configuration_with_a_word_that_means_nothing(self, home: Home) -> None:
        (home.path / "wqrc").write_text("nodes: all\nssh_command: ssh 'x\n")
        states = [state for state, _ in home.about("configuration")]
        assert states == ["warning", "warning", "ok"]

    def test_a_state_directory_that_is_no_place_for_it(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        place = home.path / "x"
        place.mkdir(mode=0o755)
        assert checkup.room("state", str(place)).state == "wrong"
        place.chmod(0o700)
        assert checkup.room("state", str(place)).state == "ok"
        monkeypatch.setattr(checkup, "FEW_FREE_BYTES", 1 << 62)
        assert checkup.room("state", str(place)).state == "warning"
        monkeypatch.setattr(checkup, "LEAST_FREE_BYTES", 1 << 62)
        assert checkup.room("state", str(place)).state == "wrong"
        monkeypatch.setattr(places, "file_system_of", lambda path: "nfs4")
        assert "nfs4" in checkup.room("state", str(place)).text

    def test_a_meeting_place_that_somebody_has_planted(self, home: Home) -> None:
        path = places.meeting_dir(ME, home.port)
        os.symlink(home.path, path)
        try:
            [(state, said)] = home.about("meeting place")
        finally:
            os.unlink(path)
        assert (state, path in said) == ("wrong", True)

    def test_an_ssh_that_is_not_there_and_an_agent_that_is_gone(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home.path / "gone"))
        assert home.about("ssh")[0][0] == "warning"
        monkeypatch.setenv("WQ_SSH", str(home.path / "nosuch"))
        assert home.about("ssh") == [("wrong", f"cannot run {home.path}/nosuch: No such file or directory")]

    def test_an_install_that_everybody_can_write_to(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wq.cli.install.glances", lambda: iter([("/x", "open", 0)]))
        assert home.about("install")[0] == ("wrong", "everybody can write to /x")
        monkeypatch.setattr("wq.cli.install.glances", lambda: iter([("/x", "other", 4242)]))
        assert "whom you have not trusted" in home.about("install")[0][1]

    def test_without_its_packages_it_says_so(self, home: Home) -> None:
        program = (
            f"import sys; sys.path.insert(0, {SOURCES!r}); sys.modules['msgspec'] = None\n"
            "from wq.cli.main import main\nsys.exit(main(['doctor', 'n1']))"
        )
        argv = [sys.executable, "-I", "-c", program]
        done = subprocess.run(argv, capture_output=True, text=True, env=dict(os.environ), timeout=60, check=False)
        assert (done.returncode, done.stderr) == (1, "")
        first, *_, last = done.stdout.splitlines()
        assert first.startswith("wrong   python        msgspec cannot be loaded: ")
        assert first.endswith(": install wq anew (`pip install .`, or remove .venv and call ./wq)")
        assert last == "Wrong: 1 Warnings: 0"


class TestTheServer:
    def test_that_answers_is_well_and_its_nodes_are_looked_at(self, home: Home, serves: Serves) -> None:
        serves(ME)
        found = home.found()
        [server] = [check for check in found if check.about == "server"]
        assert (server.state, server.text) == ("ok", f"of you, on port {home.port}; it answers, and has 1 node")
        [node] = [check for check in found if check.about == "node n1"]
        assert node.state == "ok"
        assert node.text.startswith("12 cores, 32 GB, Python 3.9.2, clock ")

    def test_that_was_not_met_is_not_met_by_this(self, home: Home, serves: Serves) -> None:
        serves(4242)
        said = home.about("server")
        assert said[0][0] == "ok"
        assert "you have not met it yet" in said[0][1]
        assert known.load() == {}
        assert not (home.path / "calls").exists()  # nor does it say where we log in

    def test_that_names_nodes_which_were_not_accepted(self, home: Home, serves: Serves) -> None:
        known.remember(home.port, 4242, "erin", ["n1"])
        serves(4242, nodes=[NODE, {**NODE, "host": "prod-db"}, {**NODE, "host": "-oProxyCommand=x"}])
        assert home.about("nodes") == [("warning", "2 are new in this cluster, prod-db, -oProxyCommand=x for one")]
        assert "prod-db" not in (home.path / "calls").read_text()

    def test_that_names_what_is_no_host(self, home: Home, serves: Serves) -> None:
        serves(ME, nodes=[{**NODE, "host": "-oProxyCommand=x"}, {"host": 5}, "x", {"host": "\x1b[2J"}])
        assert len([check for check in home.found() if check.about.startswith("node ")]) == 2
        assert not (home.path / "calls").exists()

    def test_gives_nobody_a_command_to_paste(self, home: Home, serves: Serves) -> None:
        serves(ME, nodes=[{**NODE, "host": "x; touch X # host key, python3, does not answer"}])
        [check] = [check for check in home.found() if check.about.startswith("node ")]
        assert (check.state, check.todo) == ("wrong", None)

    def test_whose_node_the_owner_has_taken_offline(self, home: Home, serves: Serves) -> None:
        serves(ME, nodes=[{**NODE, "state": "offline", "by": "erin", "reason": "new disk"}])
        assert home.about("node n1") == [("ok", "taken offline by erin (new disk); not looked at")]

    def test_that_promises_more_than_there_is(self, home: Home, serves: Serves) -> None:
        serves(ME, nodes=[{**NODE, "ncores": 16}])
        assert ("warning", "the cluster file says 16 cores, it has 12") in home.about("node n1")

    def test_that_is_down(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        known.remember(home.port, 4242, "erin", ["n1"])

        def down(port: int) -> None:
            raise ServerDown("the server of erin does not answer", 4242, port)

        monkeypatch.setattr(connection, "locate", down)
        assert home.about("server") == [("wrong", "the server of erin does not answer")]
        assert home.about("node n1")[0][0] == "ok"
        assert home.about("launcher")[0][0] == "ok"

    @pytest.mark.parametrize(
        "answers",
        [
            [{"error": "go away", "status": 0}],
            [{"error": "x", "version": PROTOCOL + 1}],
            [{"ok": 5}],
            [{"ok": WELCOME}, {"ok": {}}],
            [{"ok": WELCOME}, {"ok": {"nodes": 7}}],
            [{"ok": WELCOME}],
        ],
        ids=str,
    )
    def test_that_says_nonsense_is_a_line(self, home: Home, serves: Serves, answers: list[dict[str, Any]]) -> None:
        serves(ME, *answers)
        [(state, _)] = home.about("server")
        assert state == "wrong"

    def test_that_is_not_to_be_trusted(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(port: int) -> None:
            raise WqError("the server is not to be trusted: uid 7 answers")

        monkeypatch.setattr(connection, "locate", refused)
        assert home.about("server") == [("wrong", "the server is not to be trusted: uid 7 answers")]

    @pytest.mark.parametrize(
        ("there", "state", "words"),
        [
            ("wq 0.0.1", "warning", "is reached, with wq 0.0.1"),
            ("wq-shell: not found", "wrong", "there is no wq on the PATH"),
            (None, "wrong", "refuses your key"),
        ],
    )
    def test_on_another_host(
        self, home: Home, monkeypatch: pytest.MonkeyPatch, there: str | None, state: str, words: str
    ) -> None:
        monkeypatch.setenv("WQ_SERVER", "head.example.org")
        if there is not None:
            (home.path / "head.example.org.says").write_text(f"Welcome!\n{there}\n")
        [(found, said)] = home.about("server")
        assert (found, words in said) == (state, True)
        assert (home.path / "calls").read_text().endswith(" -- head.example.org wq --version\n")
        assert home.about("nodes") == []


class TestTheLauncher:
    @pytest.fixture
    def unfinished(self, home: Home) -> str:
        name = places.launcher_state_name(home.port, 4242)
        state = places.state_dir(name)[0]
        Path(state, places.UNFINISHED).touch()
        return name

    def test_that_has_died_with_work_is_wrong(self, home: Home, unfinished: str) -> None:
        [(state, said)] = home.about("launcher")
        assert (state, "it is not running, and has unfinished work" in said) == ("wrong", True)

    @pytest.mark.parametrize(
        ("answer", "state", "words"),
        [
            ({"error": "x", "version": PROTOCOL}, "ok", "unfinished work"),
            ({"error": "x", "version": PROTOCOL + 1}, "wrong", "it is of another version of wq"),
            ({"error": "x"}, "wrong", "it does not answer"),
        ],
        ids=str,
    )
    def test_that_runs_says_its_version(
        self, home: Home, unfinished: str, answer: dict[str, Any], state: str, words: str
    ) -> None:
        import threading

        places.make_meeting_dir(home.port)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(places.launcher_socket(ME, home.port, 4242))
            door.listen()

            def serve() -> None:
                sock, _ = door.accept()
                with contextlib.closing(sock):
                    sock.recv(4096)
                    sock.sendall(encode(answer))

            thread = threading.Thread(target=serve)
            thread.start()
            [(found, said)] = home.about("launcher")
            thread.join()
        assert (found, words in said, f"process {os.getpid()}" in said) == (state, True, True)


class TestTheNodes:
    def test_that_refuse_the_key_are_wrong(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        assert home.run("n[0-1]") == 1
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith("wrong")] == [
            "wrong   node n0       refuses your key (Permission denied (publickey).): "
            "try `ssh n0 true`; is the agent there (`ssh-add -l`)?"
        ]
        assert lines[-1] == "Wrong: 1 Warnings: 0"

    def test_with_what_jobs_left_behind(self, home: Home) -> None:
        says(home, "n1", marked=3)
        [warning, _] = [check for check in home.found("n1") if check.about == "node n1"]
        assert (warning.state, warning.todo) == ("warning", "`wq orphans n1` shows them")
        says(home, "n1", marked=3, keepers=1)
        assert [state for state, _ in home.about("node n1", "n1")] == ["ok"]

    def test_with_a_spool_that_is_no_longer_private(self, home: Home) -> None:
        base = {**ANSWER["bases"][0], "spool": [ME, 0o777, True]}
        says(home, "n1", bases=[base, ANSWER["bases"][1]])
        [check] = [check for check in home.found("n1") if check.about == "node n1"]
        assert check.state == "wrong"
        assert check.todo == f"look at it with `ssh n1 ls -ld /var/tmp/wq-{ME}`"

    @pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b", "$(x)", "n[1-"])
    def test_whose_names_are_none_are_refused(self, home: Home, name: str) -> None:
        args = options.read("doctor", doctor, [])
        args.port, args.hosts = home.port, [name]
        with pytest.raises(WqError, match="cannot be a name") as refused:
            doctor.run(args)
        assert refused.value.status == 2

    def test_nothing_of_what_they_say_reaches_the_terminal_raw(self) -> None:
        line = doctor.line(checks.Check(about="node \x1b", state="ok", text="a\nb\u202e", todo="\r"))
        assert line == "ok      node \\x1b     a\\nb\\u202e: \\r"
        assert len(doctor.line(checks.Check(about="x" * 10**6, state="wrong", text="y" * 10**6))) < 3000
