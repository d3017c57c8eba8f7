"""wq edit: other requirements, another command, in words and in an editor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import Queue, blocker, read
from tests.e2e.rig import User
from tests.e2e.terminal import PROMPT, Terminal
from tests.e2e.test_waits import sub

pytestmark = pytest.mark.xdist_group("e2e-edit")


@pytest.fixture
def waiting(queue: Queue, dana: User) -> int:
    """A job of dana's that waits behind one that has everything."""
    queue.wait_for_state(queue.batch(dana, *blocker()), "running")
    return sub(queue, dana, "-r", "N: 2; job_name: fit", "-c", "echo first >>ran")


def test_a_job_that_waits(queue: Queue, dana: User, erin: User, waiting: int) -> None:
    said = queue.wq(dana, "edit", "fit", "N=4", "group=b", "name=later", "command=echo second >>ran; exit 3").stdout
    assert said.splitlines()[0] == f"job {waiting}: N: 4"
    row = queue.job(waiting)
    assert (row["n"], row["requirement"]["group"], row["name"]) == (4, ["b"], "later")
    assert row["command"] == "echo second >>ran; exit 3"
    queue.wq(dana, "edit", str(waiting), "group=none")
    assert queue.job(waiting)["requirement"]["group"] == []
    assert "belongs to" in queue.wq(erin, "edit", str(waiting), "N=1", status=1).stderr
    assert "only your own" in queue.wq(erin, "edit", str(waiting), "command=id", status=1).stderr
    queue.wq(dana, "rm", "--grace", "0", "blocker")
    assert queue.wait_for_end(waiting)["exit_status"] == 3
    assert sum(queue.cores_of(waiting).values()) == 4
    work = queue.job(waiting)["submit_dir"]
    assert read(Path(work) / "ran") == "second\n"
    assert "no job" in queue.wq(dana, "edit", str(waiting), "N=1", status=1).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["N=x"], "N is 'x'; allowed: a whole number"),
        (["nn=3"], "is not understood; these keys can be changed: time, at_most, mode, N"),
        (["N=2", "N=3"], "N is given twice"),
        (["begin=soon"], "begin is 'soon'; allowed: a time of day"),
        (["mode=byhost"], "mode byhost needs the key host"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_makes_no_sense(queue: Queue, dana: User, waiting: int, words: list[str], said: str) -> None:
    err = queue.wq(dana, "edit", str(waiting), *words, status=2).stderr
    assert said in err
    assert err.count("\n") == 1


def test_what_can_never_run_is_refused(queue: Queue, dana: User, waiting: int) -> None:
    err = queue.wq(dana, "edit", str(waiting), "mode=bycore1", "N=99", status=2).stderr
    assert "99 cores on one node" in err
    assert queue.job(waiting)["n"] == 2


def test_in_an_editor(queue: Queue, dana: User, waiting: int) -> None:
    if reason := rig.missing_program("tmux"):
        pytest.skip(reason)
    editor = dana.write(
        dana.home / "editor", "#!/bin/sh\nsed -i 's/^N: 2/N: 3/; s/^priority: .*/priority: high/' \"$1\"\n", 0o755
    )
    with Terminal(dana, env=queue.env({"EDITOR": str(editor)}), cwd=dana.home) as window:
        window.type(f"clear; wq edit {waiting}; echo rc=$?")
        window.wait_for("rc=0")
        assert f"job {waiting}: N: 3" in window.lines
        assert f"job {waiting}: priority: high" in window.lines
        window.type(f"clear; EDITOR=true wq edit {waiting}; echo rc=$?")
        window.wait_for(f"job {waiting}: nothing was changed")
        window.wait_for_line(PROMPT)
    row = queue.job(waiting)
    assert (row["n"], row["priority"]) == (3, "high")
