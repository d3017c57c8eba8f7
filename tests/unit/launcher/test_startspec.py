"""What a shepherd is told to start: the user's own task, on the granted cores."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.core.worlds import grant
from wq.core.job import AttemptNo, JobId, Requirement
from wq.launcher.ledger import Entry
from wq.launcher.startspec import (
    MPI_SETTINGS,
    NOT_TAKEN_ALONG,
    OutputTrouble,
    hostfile,
    make_output,
    own_session,
    rank_spec,
    start_spec,
    taken_along,
)
from wq.launcher.task import Setting, Task

ENV = {"PATH": "/bin", "SHELL": "/bin/zsh", "LANG": "sl_SI", "SSH_CLIENT": "1.2.3.4", "DISPLAY": ":0"}
SETTING = Setting(cwd="/home/anze/fit", umask=0o027, env=ENV, limits={"nofile": 1024})
QUEUE = {"WQ_PORT": "51093"}
LISTED = "/home/anze/fit/out.wqlog"


def entry(cores: str = "a:0,1 b:3", **task: object) -> Entry:
    plain = Task(command="./fit", name="fit", output=LISTED)
    return Entry(
        token="t",
        index=0,
        task=replace(plain, **task),
        id=JobId(12),
        attempt=AttemptNo(2),
        allocation=grant(cores),
        declared=(8, 4),
    )


def spec(one: Entry | None = None, setting: Setting = SETTING) -> dict[str, object]:
    return start_spec(one if one is not None else entry(), setting, user="anze", queue_env=QUEUE, probe="wq 1\n")


def ours(one: Entry | None = None, setting: Setting = SETTING) -> dict[str, str]:
    found = spec(one, setting)["set"]
    assert isinstance(found, dict)
    return found


class TestTheCommand:
    def test_is_text_for_the_users_shell(self) -> None:
        found = spec()
        assert (found["script"], found["shell"]) == ("./fit", "/bin/zsh")
        assert "argv" not in found

    def test_or_a_program_word_by_word(self) -> None:
        found = spec(entry(command=None, argv=("./fit", "a b", "$(touch X)")))
        assert found["argv"] == ["./fit", "a b", "$(touch X)"]
        assert "script" not in found

    def test_has_the_threads_filled_in(self) -> None:
        requirement = Requirement(n=4, threads=2)
        assert spec(entry(command="x -t %threads%", requirement=requirement))["script"] == "x -t 2"
        assert spec(entry(command=None, argv=("x", "%threads%")))["argv"] == ["x", "1"]

    def test_runs_where_and_as_it_was_submitted(self) -> None:
        found = spec()
        assert (found["cwd"], found["umask"], found["limits"]) == ("/home/anze/fit", 0o027, {"nofile": 1024})


class TestItsEnvironment:
    def test_is_that_of_the_submission_less_what_belongs_to_a_session(self) -> None:
        assert spec()["env"] == {"PATH": "/bin", "SHELL": "/bin/zsh", "LANG": "sl_SI"}

    @pytest.mark.parametrize("name", ["SSH_AUTH_SOCK", "SSH_TTY", "SLURM_JOB_ID", "PBS_NODEFILE", "WQ_JOB_ID", "PWD"])
    def test_without_those_of_hosts_sessions_and_other_systems(self, name: str) -> None:
        assert taken_along({name: "x", "PATH": "/bin"}) == {"PATH": "/bin"}

    def test_with_a_users_own_settings_for_mpi(self) -> None:
        assert taken_along({"OMPI_MCA_btl": "self"}) == {"OMPI_MCA_btl": "self"}

    @pytest.mark.parametrize("mark", ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"])
    def test_without_what_mpirun_gave_to_a_rank_that_submits(self, mark: str) -> None:
        rank = {mark: "0", "OMPI_MCA_btl": "self", "PMIX_NAMESPACE": "x", "PMI_SIZE": "2", "HOME": "/h"}
        assert taken_along(rank) == {"HOME": "/h"}

    def test_nothing_that_is_left_out_is_there_under_another_rule(self) -> None:
        assert taken_along(dict.fromkeys(NOT_TAKEN_ALONG, "x")) == {}

    def test_tells_the_job_what_it_is_and_has(self) -> None:
        found = ours()
        expected = {
            "WQ_JOB_ID": "12",
            "WQ_JOB_NAME": "fit",
            "WQ_USER": "anze",
            "WQ_ATTEMPT": "2",
            "WQ_SUBMIT_DIR": "/home/anze/fit",
            "WQ_NCORES": "3",
            "WQ_NHOSTS": "2",
            "WQ_HOSTS": "a b",
            "WQ_PORT": "51093",
        }
        assert {name: found[name] for name in expected} == expected
        assert found.items() >= MPI_SETTINGS.items()

    def test_has_threads_for_the_cores_on_its_node(self) -> None:
        assert ours()["OMP_NUM_THREADS"] == "2"
        assert ours(entry(requirement=Requirement(n=4, threads=4)))["OMP_NUM_THREADS"] == "4"

    def test_but_never_over_what_the_user_set(self) -> None:
        with_own = replace(SETTING, env={**ENV, "OMP_NUM_THREADS": "7"})
        assert "OMP_NUM_THREADS" not in ours(setting=with_own)

    @pytest.mark.parametrize("mode", ["login", "clean"])
    def test_unless_it_does_not_come_along(self, mode: str) -> None:
        with_own = replace(SETTING, env={**ENV, "OMP_NUM_THREADS": "7"})
        assert ours(entry(env_mode=mode), with_own)["OMP_NUM_THREADS"] == "2"

    def test_every_value_is_text(self) -> None:
        assert all(isinstance(value, str) for value in ours().values())

    def test_of_this_machines_shepherd_is_that_of_a_login(self) -> None:
        env = {"HOME": "/h", "USER": "anze", "SSH_AUTH_SOCK": "/s", "KRB5CCNAME": "k", "DISPLAY": ":0", "TMUX": "1"}
        assert own_session(env) == {"HOME": "/h", "USER": "anze"}


class TestItsPlace:
    def test_is_the_granted_cores_of_the_first_node(self) -> None:
        found = spec()
        assert (found["cores"], found["declared"]) == ([0, 1], 8)

    def test_a_rank_has_those_of_its_own_node_and_a_login_shell_at_home(self) -> None:
        found = rank_spec(entry(), SETTING, user="anze", queue_env=QUEUE, place=1, command="orted x")
        assert (found["cores"], found["declared"]) == ([3], 4)
        assert (found["script"], found["shell"], found["cwd"], found["io"]) == ("orted x", "login", None, "stream")
        assert found["set"]["OMP_NUM_THREADS"] == "1"

    def test_a_declaration_that_is_missing_pins_nothing(self) -> None:
        one = entry()
        one.declared = ()
        assert spec(one)["declared"] == 0


class TestItsStreams:
    def test_a_batch_job_writes_a_file_which_the_node_may_see(self) -> None:
        found = spec()
        assert (found["io"], found["out"], found["probe"]) == ("file", LISTED, "wq 1\n")

    def test_a_later_attempt_does_not_write_over_an_earlier_one(self) -> None:
        one = entry()
        one.ran_before = True
        assert spec(one)["out"] == "/home/anze/fit/out.2.wqlog"

    def test_a_foreground_job_streams(self) -> None:
        found = spec(entry(foreground=True, output=None))
        assert (found["io"], "out" in found) == ("stream", False)

    def test_one_on_a_terminal_gets_a_terminal(self) -> None:
        assert spec(entry(foreground=True, tty=True, x=True))["io"] == "tty"


class TestTheHostfile:
    def test_has_a_line_a_core(self) -> None:
        assert hostfile(grant("a:0,1 b:3"), None) == "a\na\nb\n"

    def test_or_a_line_for_each_rank(self) -> None:
        assert hostfile(grant("a:0,1,2,3 b:0,1"), 2) == "a\na\nb\n"

    def test_this_machine_has_its_own_name_where_others_must_reach_it(self) -> None:
        name = socket.gethostname()
        assert hostfile(grant("localhost:0 b:0"), None) == f"{name}\nb\n"
        assert hostfile(grant("localhost:0,1"), None) == "localhost\nlocalhost\n"


class TestTheOutputFile:
    def test_is_made_with_the_umask_of_the_submission(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        make_output(str(path), "wq 1\n", 0o027)
        assert path.read_text() == "wq 1\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_and_leaves_the_launchers_own_umask_alone(self, tmp_path: Path) -> None:
        before = os.umask(0o022)
        try:
            make_output(str(tmp_path / "out"), "x", 0o077)
            assert os.umask(0o022) == 0o022
        finally:
            os.umask(before)

    def test_is_emptied_if_it_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        path.write_text("much that was there before")
        make_output(str(path), "wq\n", 0o022)
        assert path.read_text() == "wq\n"

    def test_is_never_written_through_a_link(self, tmp_path: Path) -> None:
        target = tmp_path / "precious"
        target.write_text("precious")
        (tmp_path / "out").symlink_to(target)
        with pytest.raises(OutputTrouble, match="cannot write the output file"):
            make_output(str(tmp_path / "out"), "x", 0o022)
        assert target.read_text() == "precious"

    def test_nor_to_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "out")
        reader = os.open(tmp_path / "out", os.O_RDONLY | os.O_NONBLOCK)
        try:
            with pytest.raises(OutputTrouble, match="is not a regular file of yours"):
                make_output(str(tmp_path / "out"), "x", 0o022)
        finally:
            os.close(reader)
        with pytest.raises(OutputTrouble, match="Is a directory"):
            make_output(str(tmp_path), "x", 0o022)
