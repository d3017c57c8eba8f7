"""`wq ls -w` and `wq stat -w` on a terminal: drawn in place, and gone without a trace."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, blocker
from tests.e2e.rig import User, wait_for
from tests.e2e.terminal import PROMPT, Terminal
from tests.e2e.users import title_of

pytestmark = [
    pytest.mark.xdist_group("e2e-terminal"),
    pytest.mark.skipif(rig.missing_program("tmux") is not None, reason="not installed: tmux"),
]


@pytest.fixture
def terminal(queue: Queue, dana: User) -> Iterator[Terminal]:
    with Terminal(dana, env=queue.env(), cwd=queue.directory(dana), columns=80, rows=12) as made:
        yield made


def shows(terminal: Terminal, *lines: str) -> None:
    """Waits until the last lines on the screen begin so."""

    def there() -> bool:
        last = terminal.lines[-len(lines) :]
        return len(last) == len(lines) and all(map(str.startswith, last, lines))

    terminal._wait(there, f"the last lines to be {lines}")


def client_in(terminal: Terminal) -> int:
    [pid] = [pid for pid in rig.children_of(terminal.shell) if "wq" in title_of(pid)]
    return pid


def test_a_listing_follows_the_queue_the_window_and_the_server(terminal: Terminal, queue: Queue, dana: User) -> None:
    before = terminal.settings()
    terminal.type("echo here before")
    terminal.wait_for("here before")
    running = queue.batch(dana, *blocker())
    queue.wait_for_state(running, "running")
    terminal.type("wq ls -w 0.2; echo status $?")
    shows(terminal, "Id ", f"{running} ", "Jobs: 1 Running: 1 Waiting: 0")
    client = client_in(terminal)

    work = queue.directory(dana)
    name = "a_long_name_" * 8
    (work / "many.yaml").write_text("---\n".join(f"command: 'true'\nN: 16\njob_name: {name}{n}\n" for n in range(20)))
    queue.wq(dana, "sub", "-b", "-q", "many.yaml", cwd=work)
    shows(terminal, "Jobs: 21 Running: 1 Waiting: 20", "… 12 more")
    assert len(terminal.lines) == 12
    assert all(len(line) <= 80 for line in terminal.lines)
    assert "…" in terminal.lines[2]
    assert terminal.lines[0].endswith("t_run")  # (its last letter stands in the last column)
    terminal.resize(160, 30)
    shows(terminal, "Jobs: 21 Running: 1 Waiting: 20")
    wait_for(lambda: len(terminal.lines) == 23, PATIENCE_S, "all of them to have room")
    assert name in terminal.lines[2]

    queue.shutdown()
    shows(terminal, "Jobs: 21 Running: 1 Waiting: 20", "the server is away (since ")
    queue.serve()
    shows(terminal, f"{running + 20} ", "Jobs: 21 Running: 1 Waiting: 20")
    queue.remove(*range(running + 1, running + 21))
    shows(terminal, "Id ", f"{running} ", "Jobs: 1 Running: 1 Waiting: 0")
    assert client_in(terminal) == client  # and no other process for each picture

    terminal.press("q")
    shows(terminal, "status 0", PROMPT)
    assert "here before" in terminal.lines
    assert not any(line.startswith("Id ") for line in terminal.lines)
    assert terminal.settings() == before


@pytest.mark.parametrize(("number", "keys"), [(signal.SIGINT, "C-c"), (signal.SIGTERM, None), (signal.SIGHUP, None)])
def test_whatever_ends_it_leaves_the_terminal_as_it_was(
    terminal: Terminal, queue: Queue, number: signal.Signals, keys: str | None
) -> None:
    before = terminal.settings()
    terminal.type("wq stat -w 0.2; echo status $?")
    shows(terminal, "Used/avail/active cores: 0/16/16")
    if keys is not None:
        terminal.press(keys)
    else:
        rig.signal_all([client_in(terminal)], number)
    shows(terminal, f"status {128 + number}", PROMPT)
    assert terminal.settings() == before


def test_it_can_be_left_while_the_server_says_nothing(terminal: Terminal, queue: Queue) -> None:
    terminal.type("wq ls -w 0.2; echo status $?")
    shows(terminal, "Id ", "Jobs: 0 ")
    assert queue.server_pid is not None
    rig.signal_all([queue.server_pid], signal.SIGSTOP)
    try:
        terminal.resize(60, 10)  # it is drawn anew all the same
        terminal.press("q")
        shows(terminal, "status 0", PROMPT)
    finally:
        rig.signal_all([queue.server_pid], signal.SIGCONT)


def test_ctrl_z_and_fg(terminal: Terminal, queue: Queue) -> None:
    before = terminal.settings()
    terminal.type("wq ls -w 0.2 --state waiting; echo status $?")
    shows(terminal, "Id ", "Jobs: 0 ")
    terminal.press("C-z")
    terminal.wait_for("[1]+")
    wait_for(lambda: terminal.settings() == before, PATIENCE_S, "the terminal to be as before")
    terminal.type("clear; fg")
    shows(terminal, "Id ", "Jobs: 0 ")
    terminal.press("q")
    terminal.wait_for_line(PROMPT)
    assert terminal.settings() == before


def test_without_a_terminal_there_is_a_new_listing_each_time(queue: Queue, dana: User) -> None:
    with queue.start(dana, "ls", "-w", "0.1") as client:
        wait_for(lambda: client.out.count("Jobs: 0") > 2, PATIENCE_S, "three of them")
        client.signal(signal.SIGINT)
        assert client.wait() == 130
        assert "\x1b" not in client.out
        assert client.err == ""


def test_a_window_is_as_wide_as_it_is_and_a_pipe_is_not(terminal: Terminal, queue: Queue, dana: User) -> None:
    name = "another_long_name_" * 6
    job = queue.batch(dana, "sleep 1000", f"N: 16; job_name: {name}")
    queue.wait_for_state(job, "running")
    terminal.type("clear; wq ls")
    shows(terminal, "Id ", f"{job} ", "Jobs: 1 ", PROMPT)
    assert all(len(line) <= 80 for line in terminal.lines)
    assert name in queue.wq(dana, "ls").stdout
    terminal.type("clear; wq ls | wc -L")
    terminal.wait_for_line(PROMPT)
    assert int(terminal.lines[-2]) > 120
    forced = queue.wq(dana, "ls", env={"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "70"}).stdout
    assert max(map(len, forced.splitlines())) == 70
    assert queue.ls("-o", "id,state,reason,start") == [
        {"id": job, "state": "running", "reason": None, "start": None},
    ]
