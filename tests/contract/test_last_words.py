"""A shell writes its exit status down, for the case that shepherd and keeper are killed; else it does as ever."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.contract.driver import PATIENCE_S, Driver, End, Word, spec
from tests.contract.jobs import let_go, mark, marks, until, wait_for_file
from tests.e2e.rig import User
from wq.node import shepherd

pytestmark = pytest.mark.xdist_group("last-words")

KINDS = ["dash", "bash", "bash --posix", "busybox ash", "ksh93", "mksh"]
LOST = {"lost": "the shepherd was killed, and its keeper too"}

# What a script is, and whether its status is written down (not if a signal or another program is its end).
SCRIPTS = {
    "exit": ("exit 5", True),
    "the end of the file": ("echo a\nfalse", True),
    "nothing": ("", True),
    "a comment": ("# exit 3\nexit 4", True),
    "a hash-bang": ("#!/usr/bin/python3\nexit 4", True),
    "numbered lines": ("echo $LINENO\necho $LINENO\nnosuchprogram", True),
    "set -e": ("set -e\nfalse\nexit 3", True),
    "set -u": ("set -u\nexit 3", True),
    "set -u and no such variable": ("set -u\necho $nosuch\nexit 3", True),
    "set -C": ("set -C\nexit 3", True),
    "set -x": ("set -x\nexit 3", True),
    "set -f": ("set -f; exit 3", True),
    "a here document": ("cat <<END\ntext\nEND\nexit 3", True),
    "carriage returns": ("echo a\r\necho b\r\n", True),
    "letters of the world": ("echo žabe; exit 3", True),
    "subshells": ("(exit 3); x=$(exit 4); (exit 5) & wait; echo $?; exit 6", True),
    "a function that exits": ("leave() { exit 3; }; leave", True),
    "a function with a history of its own": ("leave() { HISTFILE=h; exit 3; }; leave", True),
    "no stderr": ("exec 2>&-; exit 3", True),
    "no stdout": ("exec >&-; exit 3", True),
    "digits between fields": ("IFS=0123456789; exit 13", True),
    "a times-stamped history": ("HISTTIMEFORMAT=%s; export HISTTIMEFORMAT; exit 3", True),
    "an end that cannot be told from a program's": ("exit 143", True),
    "a status of 0": ("exit 0", True),
    "a syntax error": ("if", False),
    "a trap of its own": ("trap 'echo bye' EXIT; exit 3", False),
    "another program": ("exec sh -c 'exit 3'", False),
    "TERM": ("kill -TERM $$; exit 3", False),
    "HUP, later": ("sleep 0.01; kill -HUP $$; exit 3", False),
    "KILL": ("kill -KILL $$", False),
    "a child that TERM ends": ("sh -c 'kill -TERM $$'", True),
}


def shells() -> list[str]:
    return [kind for kind in KINDS if shutil.which(kind.split()[0])]


def run(shell: str, script: bytes, directory: Path) -> tuple[int, bytes, bytes]:
    (directory / "script").write_bytes(script + b"\n")
    argv = [*shell.split(), "script"]
    mask = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # (under nohup it would be ignored, by the shell too)
    try:
        done = subprocess.run(argv, cwd=directory, capture_output=True, timeout=PATIENCE_S, check=False, env=os.environ)
    finally:
        signal.signal(signal.SIGHUP, mask)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("what", SCRIPTS)
@pytest.mark.parametrize("shell", shells())
@pytest.mark.parametrize("common", [False, True], ids=["own", "common"])
def test_it_changes_nothing_and_says_the_truth(
    shell: str, what: str, common: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its script may have been written for it alone, or for all tasks of an array."""
    monkeypatch.setenv("WQ_SPOOL", str(tmp_path))
    monkeypatch.setenv("WQ_ATT", "1.1")
    script, is_told = SCRIPTS[what]
    as_ever, with_words = tmp_path / "ever", tmp_path / "words"
    as_ever.mkdir()
    with_words.mkdir()
    status = tmp_path / "1.1.rc"
    expected = run(shell, script.encode(), as_ever)
    words = shepherd.LAST_WORDS.format(shepherd.RC_OF_A_TASK if common else status)
    code, out, err = run(shell, (words + script).encode(), with_words)
    assert (code, out, err.replace(words.encode(), b"")) == expected
    assert sorted(os.listdir(with_words)) == sorted(os.listdir(as_ever))
    told = shepherd.last_words(status)  # type: ignore[no-untyped-call]
    if "ksh" in shell and code > 128:
        is_told = False
    assert told == (code if is_told else None)


@pytest.mark.parametrize("name", ["HISTFILE", "HISTSIZE", "HISTCONTROL"])
@pytest.mark.parametrize("shell", [shell for shell in shells() if "bash" in shell])
def test_a_shell_that_may_not_change_its_history_ends_as_ever(shell: str, name: str, tmp_path: Path) -> None:
    """Some sites forbid that to all login shells."""
    words = shepherd.LAST_WORDS.format(tmp_path / "1.1.rc")
    for script in (f"readonly {name}=9; set -e; exit 3", f"f() {{ local {name}=9; exit 3; }}; f"):
        assert run(shell, (words + script).encode(), tmp_path) == (3, b"", b"")
        assert not (tmp_path / "9").exists()


@pytest.mark.parametrize("text", ["", "5", "a\n", "5\n6\n", "256\n", "-1\n", "\0\0\n", "#1700000000\n"])
def test_what_is_torn_or_no_status_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "rc").write_text(text)
    assert shepherd.last_words(tmp_path / "rc") is None  # type: ignore[no-untyped-call]


def killed_together(driver: Driver, user: User, work: Path, job: Word, number: int = 0) -> End:
    """The end of a job that ends (or is ended by a signal) when neither shepherd nor keeper is there."""
    driver.start("1.1", job)
    pid = driver.wait_for_start("1.1")
    wait_for_file(work / "here")
    driver.kill("wq-keeper", "wq-shepherd")
    if number:
        os.kill(pid, number)
    else:
        let_go(user, work / "go")
    driver.wait_for_pids(pid)
    driver.open()
    return driver.how_it_ended("1.1")


class TestJob:
    @pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/bin/dash"])
    @pytest.mark.parametrize("mode", ["submit", "login", "clean"])
    def test_its_status_is_learnt_without_shepherd_and_keeper(
        self, local: Driver, user: User, work: Path, shell: str, mode: str
    ) -> None:
        if not os.access(shell, os.X_OK):
            pytest.skip(f"no {shell} here")
        script = f"echo out; echo x >{work}/here; {until(work / 'go')}; (exit 1) & wait; exit 5"
        job = spec(user, script, shell=shell, env_mode=mode)
        assert killed_together(local, user, work, job) == {"exit": 5}
        assert local.output("1.1") == "out\n"
        assert (local.spool / "1.1.rc").exists()
        local.ack("1.1")
        assert list(local.spool.glob("1.1*")) == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
    @pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
    def test_that_a_signal_ended_never_has_a_status(
        self, local: Driver, user: User, work: Path, shell: str, number: int
    ) -> None:
        script = f"echo x >{work}/here; sleep {local.long}; exit 5"
        job = spec(user, script, shell=shell)
        assert killed_together(local, user, work, job, number) == LOST

    def test_a_process_of_mpi_is_no_exception(self, local: Driver, user: User, work: Path) -> None:
        """It is run by the login shell."""
        script = f"echo x >{work}/here; {until(work / 'go')}; exit 5"
        job = {**spec(user, script, shell="login", io="stream"), "rank": True}
        local.start("1.1/7.1", job)
        pid = local.wait_for_start("1.1/7.1")
        wait_for_file(work / "here")
        local.kill("wq-keeper", "wq-shepherd")
        let_go(user, work / "go")
        local.wait_for_pids(pid)
        local.open()
        assert local.how_it_ended("1.1/7.1") == {"exit": 5}

    def test_a_shell_of_another_kind_gets_its_script_as_it_is(self, local: Driver, user: User, work: Path) -> None:
        other = work / "othershell"
        user.write(other, "#!/bin/sh\nexec cat $1\n", 0o755)
        local.run("1.1", spec(user, "exit 5", shell=str(other)))
        assert local.output("1.1") == "exit 5\n"

    def test_what_is_known_otherwise_counts_more(self, local: Driver, user: User, work: Path) -> None:
        local.start("1.1", spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; exec sh -c 'exit 6'"))
        local.wait_for_start("1.1")
        local.wait(lambda: marks(work, "ran"), "the job to run")
        user.write(local.spool / "1.1.rc", "5\n")
        local.kill("wq-shepherd")
        local.open()
        let_go(user, work / "go")
        assert local.how_it_ended("1.1") == {"exit": 6}
        local.ack("1.1")
        assert not (local.spool / "1.1.rc").exists()
