"""`wq sub` on a terminal: a shell on a node as if one sat there, over ssh and on this machine alike."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, blocker, read
from tests.e2e.rig import User, wait_for
from tests.e2e.terminal import PROMPT, Terminal
from tests.e2e.users import title_of

pytestmark = [
    pytest.mark.xdist_group("e2e-terminal"),
    pytest.mark.skipif(rig.missing_program("tmux") is not None, reason="not installed: tmux"),
]

THERE = "there$"  # the prompt of a shell that is a job
SHELL = f"PS1='{THERE} ' bash --norc --noprofile"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose terminal it is, and where the jobs run."""

    queue: Queue
    user: User
    env: dict[str, str] = dataclasses.field(default_factory=dict)

    def terminal(self, columns: int = 80, rows: int = 24) -> Terminal:
        cwd = self.queue.directory(self.user)
        return Terminal(self.user, env=self.queue.env(self.env), cwd=cwd, columns=columns, rows=rows)

    def jobs(self) -> list[int]:
        """What is not over."""
        return [int(row["id"]) for row in self.queue.ls(user=self.user)]

    def wait_until_over(self) -> None:
        wait_for(lambda: not self.jobs(), PATIENCE_S, "the job to be over")
        wait_for(lambda: not self.queue.job_processes(), PATIENCE_S, "its processes to be gone")


@pytest.fixture(scope="module")
def ivo(accounts: rig.Users) -> User:
    """Who works alone on one machine."""
    return accounts.create()


@pytest.fixture(scope="module")
def private_queue(base: rig.Base, public_wq: Path, ivo: User) -> Iterator[Queue]:
    cluster = ivo.write(base.directory("queue") / "unused.txt", "")
    with Queue(wq=public_wq, owner=ivo, users=[], cluster=cluster, serve=False) as made:
        made.wq(ivo, "sub", "-c", "true")
        yield made
        made.wq(ivo, "shutdown")


@pytest.fixture
def alone(private_queue: Queue, ivo: User) -> Iterator[Place]:
    yield Place(queue=private_queue, user=ivo)
    private_queue.wq(ivo, "rm", "--grace", "0", "all", status=None)


@pytest.fixture(params=["ssh", "localhost"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "localhost":
        made: Place = request.getfixturevalue("alone")
        return made
    return Place(queue=request.getfixturevalue("queue"), user=request.getfixturevalue("dana"))


@pytest.fixture
def terminal(place: Place) -> Iterator[Terminal]:
    with place.terminal() as made:
        yield made


@pytest.fixture
def shell(terminal: Terminal) -> Terminal:
    """The terminal, with a job in it that is a shell."""
    terminal.type(f'wq sub -c "{SHELL}"; echo status $?')
    terminal.wait_for_line(THERE)
    return terminal


class TestShell:
    def test_it_has_a_terminal_of_the_right_size(self, shell: Terminal) -> None:
        shell.type("tty; stty size; echo $TERM; test -t 0 -a -t 1 -a -t 2 && echo three")
        shell.wait_for("/dev/pts/")
        shell.wait_for("24 80")
        shell.wait_for("three")
        assert any(line.startswith(("screen", "tmux")) for line in shell.lines)

    def test_its_size_follows_the_window(self, shell: Terminal) -> None:
        for columns, rows in ((100, 30), (60, 20)):
            shell.resize(columns, rows)
            shell.type(f'until [ "$(stty size)" = "{rows} {columns}" ]; do sleep 0.02; done; echo fits {columns}')
            shell.wait_for(f"fits {columns}")

    def test_a_program_that_runs_is_told_of_a_new_size(self, shell: Terminal) -> None:
        shell.type("sh -c \"trap 'stty size' WINCH; echo trapped; while :; do sleep 0.02; done\"")
        shell.wait_for("trapped")
        shell.resize(90, 33)
        shell.wait_for("33 90")

    def test_an_editor_edits(self, shell: Terminal, place: Place) -> None:
        if reason := rig.missing_program("vi"):
            pytest.skip(reason)
        path = place.user.home / "edited"
        shell.type(f"vi {path}")
        shell.wait_for("~")
        shell.press("i")
        shell.type("ena dva")
        shell._tmux("send-keys", "-l", "tri")
        shell.press("Escape")
        shell.wait_for("ena dva")
        shell.resize(70, 18)
        shell.type(":x")
        shell.wait_for_line(THERE)
        assert read(path) == "ena dva\ntri\n"

    def test_a_pager_pages(self, shell: Terminal) -> None:
        if reason := rig.missing_program("less"):
            pytest.skip(reason)
        shell.type("seq 1000 | less")
        shell.wait_for_line(":")
        assert shell.lines[0] == "1"
        shell.press("G")
        shell.wait_for("1000")
        shell.press("q")
        shell.wait_for_line(THERE)

    def test_ctrl_c_is_for_what_runs_in_it(self, shell: Terminal) -> None:
        shell.type("sleep 4321; echo then $?")
        shell.type("echo typed ahead")  # waits for its turn
        wait_for(lambda: sleeps(shell.user), PATIENCE_S, "it to run")
        shell.press("C-c")
        wait_for(lambda: not sleeps(shell.user), PATIENCE_S, "it to end")
        shell.wait_for_line(THERE)
        shell.type("echo $((40 + 2))")
        shell.wait_for("42")

    def test_ctrl_z_and_fg_work_in_it(self, shell: Terminal) -> None:
        shell.type("sleep 4321")
        [pid] = wait_for(lambda: sleeps(shell.user), PATIENCE_S, "it to run")
        shell.press("C-z")
        shell.wait_for("[1]+")
        wait_for(lambda: state_of(pid) == "T", PATIENCE_S, "it to be stopped")
        shell.type("fg")
        wait_for(lambda: state_of(pid) == "S", PATIENCE_S, "it to go on")
        shell.press("C-c")
        wait_for(lambda: not sleeps(shell.user), PATIENCE_S, "it to end")
        shell.wait_for_line(THERE)

    def test_ctrl_d_ends_it(self, shell: Terminal, place: Place) -> None:
        shell.press("C-d")
        shell.wait_for("status 0")
        place.wait_until_over()

    def test_its_exit_status_is_ours_and_the_terminal_is_as_before(self, terminal: Terminal, place: Place) -> None:
        before = terminal.settings()
        terminal.type(f'wq sub -c "{SHELL}"; echo status $?')
        terminal.wait_for_line(THERE)
        assert terminal.settings() != before
        terminal.type("stty -echo -icanon; exit 7")
        terminal.wait_for("status 7")
        terminal.wait_for_line(PROMPT)
        assert terminal.settings() == before
        place.wait_until_over()

    def test_all_of_its_output_comes_before_its_end(self, terminal: Terminal) -> None:
        terminal.type("clear; wq sub -c 'seq 20000; exit 5'; echo status $?")
        terminal.wait_for("status 5")
        assert terminal.lines[-3:] == ["20000", "status 5", PROMPT]

    def test_a_job_that_is_removed_gives_the_terminal_back(self, shell: Terminal, place: Place) -> None:
        [job] = place.jobs()
        place.queue.wq(place.user, "rm", "--grace", "0", str(job))
        shell.wait_for("status 1")  # 143 or 137, as the signal came first that the shell minds
        shell.wait_for_line(PROMPT)
        assert any(f"job {job} was removed by {place.user.name}" in line for line in shell.lines)


def sleeps(user: User) -> list[int]:
    return [pid for pid in rig.processes_of(user.uid) if title_of(pid) == "sleep 4321"]


def state_of(pid: int) -> str:
    return read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[0]


class TestEnd:
    """Whatever ends the terminal ends the job; nothing of it stays."""

    def test_a_window_that_is_closed(self, shell: Terminal, place: Place) -> None:
        shell.close_window()
        place.wait_until_over()

    def test_a_terminal_that_is_killed(self, shell: Terminal, place: Place) -> None:
        shell.kill()
        place.wait_until_over()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
    def test_a_client_that_is_killed(self, shell: Terminal, place: Place, number: signal.Signals) -> None:
        [client] = [pid for pid in rig.children_of(shell.shell) if "sub" in title_of(pid)]
        rig.signal_all([client], number)
        place.wait_until_over()
        shell.wait_for(f"status {128 + number}")
        shell.wait_for_line(PROMPT)

    def test_a_side_connection_that_is_killed(self, shell: Terminal, place: Place) -> None:
        [client] = [pid for pid in rig.children_of(shell.shell) if "sub" in title_of(pid)]
        rig.signal_all(rig.children_of(client))
        place.wait_until_over()
        shell.wait_for_line(PROMPT)
        assert "status 129" in shell.lines[-2]


class TestWaiting:
    def test_one_line_says_why_and_how_many_are_ahead(self, queue: Queue, dana: User, erin: User) -> None:
        place = Place(queue=queue, user=dana)
        command, require = blocker()
        running = queue.batch(erin, command, require)
        queue.wait_for_state(running, "running")
        ahead = [queue.batch(erin, "true", require) for _ in range(2)]
        with place.terminal() as terminal:
            terminal.type("clear; wq sub -r N:4 -c 'echo started; exit 3'; echo status $?")
            terminal.wait_for("job ")
            [job] = [int(row["id"]) for row in queue.ls(user=dana) if row["foreground"]]
            terminal.wait_for(f"job {job} waits: ")
            wait_for(lambda: terminal.lines[0].endswith("; 2 ahead"), PATIENCE_S, "the number ahead")
            assert len(terminal.lines) == 1
            queue.remove(ahead[0])
            wait_for(lambda: terminal.lines[0].endswith("; 1 ahead"), PATIENCE_S, "one less")
            queue.remove(ahead[1])
            wait_for(lambda: terminal.lines[0].endswith("; you are next"), PATIENCE_S, "none")
            assert len(terminal.lines) == 1
            queue.remove(running)
            terminal.wait_for_line(PROMPT)
            assert terminal.lines == ["started", "status 3", PROMPT]

    def test_it_fits_into_one_line_of_any_width(self, queue: Queue, dana: User, erin: User) -> None:
        place = Place(queue=queue, user=dana)
        queue.wait_for_state(queue.batch(erin, *blocker()), "running")
        with place.terminal(columns=30) as terminal:
            terminal.type("clear; wq sub -c true")
            terminal.wait_for("job ")
            wait_for(lambda: "waits" in terminal.lines[0], PATIENCE_S, "the reason")
            assert len(terminal.lines) == 1

    def test_ctrl_c_while_it_waits_takes_the_job_back(self, queue: Queue, dana: User, erin: User) -> None:
        place = Place(queue=queue, user=dana)
        queue.wait_for_state(queue.batch(erin, *blocker()), "running")
        with place.terminal() as terminal:
            terminal.type("clear; wq sub -c true; echo status $?")
            terminal.wait_for("job ")
            terminal.press("C-c")
            terminal.wait_for("status 130")
            wait_for(lambda: not [row for row in queue.ls() if row["user"] == dana.name], PATIENCE_S, "it to be gone")
            assert not any("waits" in line for line in terminal.lines)

    def test_a_job_that_goes_to_a_pipe_has_no_terminal(self, queue: Queue, dana: User) -> None:
        place = Place(queue=queue, user=dana)
        with place.terminal() as terminal:
            terminal.type("clear; wq sub -c 'tty; test -t 1 || echo no terminal' | cat")
            terminal.wait_for("no terminal")
            assert terminal.lines[0] == "not a tty"
            terminal.wait_for_line(PROMPT)

    def test_two_shells_at_once(self, queue: Queue, dana: User) -> None:
        place = Place(queue=queue, user=dana)
        with place.terminal() as one, place.terminal(100, 40) as two:
            for terminal in (one, two):
                terminal.type(f'wq sub -c "{SHELL}"; echo status $?')
                terminal.wait_for_line(THERE)
            one.type("stty size; exit 1")
            two.type("stty size; exit 2")
            one.wait_for("status 1")
            two.wait_for("status 2")
            assert "24 80" in one.lines
            assert "40 100" in two.lines


def test_an_odd_ssh_configuration_gives_a_terminal_too(queue: Queue, dana: User, four: rig.Nodes) -> None:
    """RemoteCommand and RequestTTY of the user's own configuration are not in the way."""
    lines = "Host *\n    RemoteCommand sleep 1000\n    RequestTTY no\n    ClearAllForwardings no\n"
    config = dana.write(dana.home / "terminal-config", lines + four.ssh_config(dana).read_text())
    place = Place(queue=queue, user=dana, env={"WQ_SSH": f"ssh -F {config}"})
    with place.terminal() as terminal:
        terminal.type("clear; wq sub -c 'stty size; exit 4'; echo status $?")
        terminal.wait_for("status 4")
        assert "24 80" in terminal.lines
    queue.wq(dana, "sub", "-c", "true", env={"WQ_SSH": "ssh"})
