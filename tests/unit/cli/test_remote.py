"""`server: HEAD`: the command runs there, through ssh. The ssh here is a script that stays on this host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import wq
from tests.e2e.users import wait_for
from wq.cli import carried, remote
from wq.cli.errors import WqError

SOURCES = str(Path(wq.__path__[0]).parent)
PROGRAM = f"import sys; sys.path.insert(0, {SOURCES!r}); from wq.cli.main import main; sys.exit(main(sys.argv[1:]))"
WQ = f"{sys.executable} -I -c '{PROGRAM}'"
# What ssh does with its arguments, but for going anywhere: the words behind the host are for a shell.
SSH = """#!/bin/sh
printf '%s\\n' "$@" >>"$HOME/argv"
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "exec $*"
"""
# A wq on the other side that tells what it was asked.
TELL = f"""#!/bin/sh
exec {sys.executable} -I -c '
import json, os, sys
sys.path.insert(0, "{SOURCES}")
from wq.cli import carried, main
def told(verb, words, afar):
    found = None if carried.files is None else {{path: data.decode() for path, data in carried.files.items()}}
    stdin = "" if os.isatty(0) else sys.stdin.read()
    facts = {{"verb": verb, "words": words, "cwd": os.getcwd(), "files": found, "stdin": stdin}}
    print(json.dumps(facts))
    return int(os.environ.get("STATUS", "0"))
main.guarded = told
sys.exit(main.dispatch("afar", sys.argv[2:]))
' "$@"
"""


class Laptop:
    """A home whose configuration names another host."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name, text in (("ssh", SSH), ("tell", TELL), ("cut", "#!/bin/sh\nexit 255\n")):
            (home / name).write_text(text)
            (home / name).chmod(0o755)
        self.env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "WQ_SERVER": "head.example.org",
            "WQ_SSH": f"{home}/ssh",
        }
        self.answers_there(f"{home}/tell")

    def answers_there(self, command: str) -> None:
        (self.home / ".wqrc").write_text(f"remote_command: {command}\n")

    def run(
        self, *words: str, status: int = 0, stdin: str = "", cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM, *words],
            env={**self.env, **env},
            cwd=cwd or self.home,
            text=True,
            capture_output=True,
            timeout=60,
            input=stdin,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == status, done.stderr
        return done

    def told(self, *words: str, stdin: str = "", cwd: Path | None = None, **env: str) -> dict[str, object]:
        """What arrived there."""
        facts: dict[str, object] = json.loads(self.run(*words, status=0, stdin=stdin, cwd=cwd, **env).stdout)
        return facts

    def argv(self) -> list[str]:
        """All arguments that ssh was called with."""
        path = self.home / "argv"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    return Laptop(tmp_path)


def test_it_is_called_by_its_name_behind_dashes_with_nothing_forwarded(laptop: Laptop) -> None:
    facts = laptop.told("ls", "-f")
    assert (facts["verb"], facts["words"]) == ("ls", ["-f"])
    argv = laptop.argv()
    at = argv.index("--")
    assert argv[at + 1] == "head.example.org"
    assert {"-a", "-x"} <= set(argv[:at])


@pytest.mark.parametrize("words", [["-p", "6000"], ["-p6000"], ["--port", "6000"], ["--port=6000"]], ids=str)
def test_the_port_that_was_given_wins_there_too(laptop: Laptop, words: list[str]) -> None:
    assert laptop.told(*words, "ls", WQ_PORT="7000")["words"] == words


def test_the_environments_port_goes_along(laptop: Laptop) -> None:
    assert laptop.told("ls", WQ_PORT="7000")["words"] == ["-p", "7000"]


def test_every_word_arrives_as_it_was(laptop: Laptop) -> None:
    tail = ["./fit", "a b", "$(touch X)", "'", "-p", "--", "two\nlines", "!!", "\udcff", "%h"]
    facts = laptop.told("sub", "-b", "--", *tail)
    assert facts["words"] == ["-b", "--", *tail]
    assert not (laptop.home / "X").exists()


def test_a_submission_goes_to_the_same_directory_or_is_refused(laptop: Laptop) -> None:
    place = laptop.home / "it's $HOME"
    place.mkdir()
    assert laptop.told("sub", "-b", "-c", "pwd", cwd=place)["cwd"] == str(place)
    gone = carried.word_of({"words": ["sub"], "directory": "/no/such"})
    done = subprocess.run([f"{laptop.home}/tell", "afar", gone], env=laptop.env, capture_output=True, text=True)
    assert "/no/such is not there on " in done.stderr


def test_contents_of_files_go_along_never_on_a_command_line(laptop: Laptop) -> None:
    (laptop.home / "a.yaml").write_text("command: canary-7\n")
    (laptop.home / "rows").write_text("r1\nr2\n")
    files = {"a.yaml": "command: canary-7\n"}
    assert laptop.told("sub", "-b", "a.yaml", "a.yaml")["files"] == files
    assert laptop.told("sub", "a.yaml", stdin="for the job") == {
        "verb": "sub",
        "words": ["a.yaml"],
        "cwd": str(laptop.home),
        "files": files,
        "stdin": "for the job",
    }
    facts = laptop.told("sub", "-b", "--each-line", "rows", "-", stdin="command: true")
    assert (facts["files"], facts["stdin"]) == ({"rows": "r1\nr2\n"}, "command: true")
    assert not [word for word in laptop.argv() if "canary" in word]
    assert not list(laptop.home.glob(".local/state/wq/*/afar/*"))  # what was kept for a moment is gone


def test_a_batch_submission_leaves_standard_input_alone(laptop: Laptop) -> None:
    assert laptop.told("sub", "-b", "-c", "x", stdin="of the loop around it")["stdin"] == ""


def test_a_file_that_is_not_here_is_said_here(laptop: Laptop) -> None:
    done = laptop.run("sub", "-b", "nosuch.yaml", status=2)
    assert done.stderr == "wq: nosuch.yaml: No such file or directory\n"
    assert laptop.argv() == []


def test_a_status_of_255_is_told_from_a_connection_that_was_lost(laptop: Laptop) -> None:
    laptop.run("sub", "-c", "x", status=255, STATUS="255")
    laptop.run("sub", "-c", "x", status=7, STATUS="7")
    laptop.answers_there(f"{laptop.home}/cut")
    said = laptop.run("sub", "-c", "x", status=75).stderr
    assert said == "wq: the server's host head.example.org cannot be reached (what ssh said stands above)\n"
    assert laptop.run("ls", status=75).stderr == said


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b", "user@host", "$(x)", "a;b"])
def test_an_evil_name_is_never_called(laptop: Laptop, name: str) -> None:
    assert "is not the name of a host" in laptop.run("ls", status=2, WQ_SERVER=name).stderr
    assert laptop.argv() == []


@pytest.mark.parametrize("name", ["localhost", os.uname().nodename])
def test_this_host_is_no_other(laptop: Laptop, name: str) -> None:
    laptop.run("ls", status=75, WQ_SERVER=name, WQ_PORT="64999")
    assert laptop.argv() == []


def test_a_server_is_served_here(laptop: Laptop) -> None:
    assert "nosuch.txt" in laptop.run("serve", "nosuch.txt", "-s", str(laptop.home / "spool"), status=2).stderr


def test_whoever_is_killed_takes_the_command_there_along(laptop: Laptop) -> None:
    (laptop.home / "slow").write_text("#!/bin/sh\necho $$ >pid.new; mv pid.new pid; exec sleep 1000\n")
    (laptop.home / "slow").chmod(0o755)
    laptop.answers_there(f"{laptop.home}/slow")
    for number in (signal.SIGTERM, signal.SIGKILL):
        argv = [sys.executable, "-I", "-c", PROGRAM, "sub", "-c", "x"]
        process = subprocess.Popen(argv, env=laptop.env, cwd=laptop.home, stdin=subprocess.DEVNULL)
        pid = laptop.home / "pid"
        wait_for(pid.exists, 30, "the command there to run")
        there = int(pid.read_text())
        pid.unlink()
        process.send_signal(number)
        assert process.wait(timeout=30) in (-number, 128 + number)
        wait_for(lambda there=there: not Path(f"/proc/{there}").exists(), 30, "it to be gone")  # type: ignore[misc]


@pytest.mark.parametrize("word", ["", "x", "é", "AAAA", "bnVsbA", "W10", "x" * 10000], ids=lambda word: word[:5])
def test_a_word_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(WqError, match="another host"):
        carried.facts_of(word)


@pytest.mark.parametrize("token", ["", "../../x", "0" * 31, "0" * 33, "/" * 32, "G" * 32])
def test_a_token_is_no_path(token: str) -> None:
    with pytest.raises(WqError, match="token"):
        carried.parked(token)


def test_files_come_whole_or_not_at_all(tmp_path: Path) -> None:
    import io

    (tmp_path / "a").write_bytes(b"\x00\xff\r\n")
    (tmp_path / "b").write_bytes(b"")
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    stream = carried.pack(names)
    assert carried.unpack(io.BytesIO(stream)) == {names[0]: b"\x00\xff\r\n", names[1]: b""}
    for cut in range(len(stream)):
        with pytest.raises(WqError, match="whole"):
            carried.unpack(io.BytesIO(stream[:cut]))


def test_names_of_this_machine() -> None:
    assert remote.is_here("localhost")
    assert not remote.is_here("head.example.org")


class TestATerminalThere:
    """What draws on the terminal gets one on the other side; the rest is told how wide the window is."""

    class Head:
        def __init__(self, status: int | WqError = 0) -> None:
            self.status = status
            self.facts: dict[str, object] = {}
            self.terminal = False

        def status_of(self, facts: dict[str, object], data: bytes | None = b"", *, terminal: bool = False) -> int:
            self.facts, self.terminal = facts, terminal
            if isinstance(self.status, WqError):
                raise self.status
            return self.status

    def ask(self, patch: pytest.MonkeyPatch, *words: str, isatty: bool = True, head: Head | None = None) -> Head:
        from wq.cli import options
        from wq.cli.commands import ls, rm, stat

        def size(fd: int) -> os.terminal_size:
            if not isatty:
                raise OSError
            return os.terminal_size((97, 24))

        patch.setattr(os, "get_terminal_size", size)
        patch.setattr(os, "isatty", lambda fd: isatty)
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        command = {"ls": ls, "rm": rm, "stat": stat}[words[0]]
        head = head or self.Head()
        remote.ask(head, {"words": list(words)}, options.read(words[0], command, list(words[1:])))  # type: ignore[arg-type]
        return head

    @pytest.mark.parametrize("words", [["ls", "-w"], ["ls", "-w", "5", "-u", "anze"], ["stat", "--watch"]], ids=str)
    def test_is_there_for_a_listing_that_goes_on(self, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
        head = self.ask(monkeypatch, *words)
        assert (head.terminal, head.facts.get("columns"), head.facts["colour"]) == (True, None, True)

    @pytest.mark.parametrize("words", [["ls"], ["stat"], ["rm", "1"], ["ls", "-w", "--json"]], ids=str)
    def test_is_not_for_others(self, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
        head = self.ask(monkeypatch, *words)
        assert (head.terminal, head.facts["columns"], head.facts["colour"]) == (False, 97, True)
        assert head.facts["ends_with_us"] is ("-w" in words)

    def test_nor_where_there_is_none_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        head = self.ask(monkeypatch, "ls", "-w", isatty=False)
        assert head.terminal is False
        assert head.facts == {"words": ["ls", "-w"], "ends_with_us": True}

    def test_ours_is_put_right_when_the_connection_is_lost(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(WqError, match="lost"):
            self.ask(monkeypatch, "ls", "-w", head=self.Head(WqError("lost", 75)))
        assert capsys.readouterr().out == "\x1b[?7h\x1b[?25h\x1b[?1049l"


@pytest.mark.parametrize(
    ("facts", "environ"),
    [
        ({}, {}),
        ({"columns": 97, "colour": True}, {"COLUMNS": "97", "FORCE_COLOR": "1"}),
        ({"columns": 97, "colour": False}, {"COLUMNS": "97", "FORCE_COLOR": "1", "NO_COLOR": "1"}),
    ],
)
def test_the_window_of_the_client_is_known_there(
    facts: dict[str, object], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wq.cli.commands import afar

    names = ("COLUMNS", "FORCE_COLOR", "NO_COLOR")
    for name in names:
        monkeypatch.setenv(name, "")  # (so that it is put back)
        monkeypatch.delenv(name)
    afar.take_along(facts)
    assert {name: os.environ[name] for name in names if name in os.environ} == environ
