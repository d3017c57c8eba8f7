"""The rig does what the other tests take for granted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.rig import NetNodes, Nodes, chatty, popen_as, run_as, wait_for, without_python
from tests.e2e.users import title_of


def test_wait_for_gives_the_value_and_says_what_it_waited_for() -> None:
    assert wait_for(lambda: "value", 1, "nothing") == "value"
    with pytest.raises(AssertionError, match="in vain: the moon"):
        wait_for(lambda: None, 0.05, "the moon")


def test_a_command_runs_as_the_user_with_a_clean_environment(somebody: rig.User) -> None:
    os.environ["WQ_RIG_CANARY"] = "tweet"
    try:
        done = run_as(somebody, ["sh", "-c", "id -u; pwd -P; env; cat"], env={"EXTRA": "1"}, stdin="heard", check=True)
    finally:
        del os.environ["WQ_RIG_CANARY"]
    uid, cwd, *environment, heard = done.stdout.splitlines()
    assert (int(uid), cwd, heard) == (somebody.uid, str(somebody.home.resolve()), "heard")
    assert {"EXTRA=1", f"HOME={somebody.home}", f"USER={somebody.name}"} <= set(environment)
    assert "tweet" not in done.stdout


def test_a_process_left_running_is_the_users_and_has_the_pid_of_the_command(somebody: rig.User) -> None:
    process = popen_as(somebody, ["sleep", "60"])
    try:
        wait_for(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", 5, "sleep to run")
        assert process.pid in rig.processes_of(somebody.uid)
    finally:
        process.kill()
        process.communicate()


def test_an_account_goes_with_its_processes_and_its_files(base: rig.Base, accounts: rig.Users) -> None:
    with rig.Users(base) as mine:
        mine._letters = iter("z")  # the session's users have the first ones
        user = mine.create()
        left = popen_as(user, ["sh", "-c", "setsid sleep 60 & mktemp; echo; wait"])
        assert left.stdout
        made = Path(left.stdout.readline().decode().strip())
        assert made.exists()
        assert rig.processes_of(user.uid)
    left.communicate()
    assert not rig.processes_of(user.uid)
    assert not made.exists()
    assert not user.home.exists()
    assert subprocess.run(["id", user.name], capture_output=True).returncode != 0


def test_any_user_can_run_this_checkouts_wq(public_wq: Path, somebody: rig.User) -> None:
    done = run_as(somebody, ["wq", "-h"], env={"PATH": f"{public_wq}:{rig.SYSTEM_PATH}"}, check=True)
    assert "wq" in done.stdout


class TestPlainNodes:
    def test_two_users_log_in_to_two_nodes(self, nodes: Nodes, anze: rig.User, bine: rig.User) -> None:
        for user in (anze, bine):
            for name in ("node1", "node2"):
                done = run_as(user, ["ssh", name, "id -un; echo $SSH_CONNECTION"], check=True)
                who, connection = done.stdout.splitlines()
                assert who == user.name
                assert connection.split()[2:] == [nodes[name].address, str(nodes[name].port)]

    def test_without_accounts_the_configuration_is_named(self, nodes: Nodes, somebody: rig.User) -> None:
        for argv, path in (
            (["ssh", "-F", str(nodes.ssh_config(somebody)), "node1", "echo hello"], rig.SYSTEM_PATH),
            (["ssh", "node1", "echo hello"], nodes.path_with_ssh(somebody)),
        ):
            assert run_as(somebody, argv, env={"PATH": path}, check=True).stdout == "hello\n"

    def test_a_stopped_node_refuses_but_open_sessions_go_on(self, nodes: Nodes, somebody: rig.User) -> None:
        path = {"PATH": nodes.path_with_ssh(somebody)}
        session = popen_as(somebody, ["ssh", "node1", "cat"], env=path, stdin=subprocess.PIPE)
        assert session.stdin
        assert session.stdout
        session.stdin.write(b"before\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"before\n"
        nodes["node1"].stop()
        refused = run_as(somebody, ["ssh", "node1", "true"], env=path)
        assert refused.returncode == 255
        assert "Connection refused" in refused.stderr
        session.stdin.write(b"after\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"after\n"
        nodes["node1"].kill_sessions()
        session.communicate()
        assert session.returncode == 255
        nodes["node1"].start()
        run_as(somebody, ["ssh", "node1", "true"], env=path, check=True)

    def test_a_user_is_refused_and_admitted_again(self, nodes: Nodes, somebody: rig.User) -> None:
        path = {"PATH": nodes.path_with_ssh(somebody)}
        nodes["node2"].refuse(somebody)
        assert "Permission denied" in run_as(somebody, ["ssh", "node2", "true"], env=path).stderr
        run_as(somebody, ["ssh", "node1", "true"], env=path, check=True)
        nodes.admit(nodes["node2"], somebody)
        run_as(somebody, ["ssh", "node2", "true"], env=path, check=True)

    def test_nodes_with_options(self, base: rig.Base, somebody: rig.User) -> None:
        if reason := rig.missing_program("sshd", "ssh", "ssh-keygen"):
            pytest.skip(reason)
        options = {"node1": [chatty(base)], "node2": [without_python(base)]}
        with Nodes(base, 3, users=[somebody], options=options) as odd:
            path = {"PATH": odd.path_with_ssh(somebody)}
            greeted = run_as(somebody, ["ssh", "node1", "echo at last"], env=path, check=True).stdout
            assert len(greeted) > 10_000
            assert greeted.endswith("\nat last\n")
            look = "command -v python3 || echo none; command -v ls"
            bare = run_as(somebody, ["ssh", "node2", look], env=path, check=True).stdout
            assert bare.startswith("none\n")
            assert bare.endswith("/ls\n")
            odd["node3"].stop()
            odd["node3"].configure(["ForceCommand sleep 60"])
            odd["node3"].start()
            with pytest.raises(subprocess.TimeoutExpired):
                run_as(somebody, ["ssh", "node3", "true"], env=path, timeout_s=1)


class TestNetNodes:
    def test_each_node_has_its_own_name_processes_and_boot_id(self, net: NetNodes, anze: rig.User) -> None:
        look = "hostname; ps -e | wc -l; cat /proc/sys/kernel/random/boot_id"
        seen = [run_as(anze, ["ssh", name, look], at=net.head, check=True).stdout.split() for name in ("n1", "n2")]
        assert [name for name, _, _ in seen] == ["n1", "n2"]
        assert all(int(processes) < 20 for _, processes, _ in seen)
        assert seen[0][2] != seen[1][2]
        assert run_as(anze, ["hostname"], at=net.head, check=True).stdout == "head\n"

    def test_nodes_find_each_other_by_name(self, net: NetNodes, anze: rig.User) -> None:
        assert run_as(anze, ["ssh", "n1", "ssh n2 hostname"], at=net.head, check=True).stdout == "n2\n"

    def test_private_directories_are_not_shared_and_homes_are(self, net: NetNodes, anze: rig.User) -> None:
        for directory, shared in (("/srv", False), ("/tmp", False), ("/var/tmp", False), (anze.home, True)):
            mark = f"{directory}/mark-{os.getpid()}"
            run_as(anze, ["ssh", "n1", f"touch {mark}"], at=net.head, check=True)
            look = run_as(anze, ["ssh", "n2", f"test -e {mark}"], at=net.head)
            assert (look.returncode == 0) is shared
            assert Path(mark).exists() is shared

    def test_a_cut_link_is_silent_and_heals(self, net: NetNodes, anze: rig.User) -> None:
        session = popen_as(anze, ["ssh", "n1", "cat"], at=net.head, stdin=subprocess.PIPE)
        assert session.stdin
        assert session.stdout
        try:
            session.stdin.write(b"before\n")
            session.stdin.flush()
            assert session.stdout.readline() == b"before\n"
            net.cut("n1")
            session.stdin.write(b"meanwhile\n")
            session.stdin.flush()
            lost = run_as(anze, ["ssh", "-o", "ConnectTimeout=1", "n1", "true"], at=net.head)
            assert lost.returncode == 255
            assert "timed out" in lost.stderr
            assert session.poll() is None
            run_as(anze, ["ssh", "n2", "true"], at=net.head, check=True)
            net.heal("n1")
            assert session.stdout.readline() == b"meanwhile\n"
        finally:
            net.heal("n1")
            session.kill()
            session.communicate()

    def test_a_crashed_node_comes_back_as_another_boot(self, net: NetNodes, anze: rig.User) -> None:
        look = ["ssh", "-o", "ConnectTimeout=1", "n2", "cat /proc/sys/kernel/random/boot_id"]
        before = run_as(anze, look, at=net.head, check=True).stdout
        run_as(anze, ["ssh", "n2", "setsid sleep 777 >/dev/null 2>&1 </dev/null & touch /srv/here"], at=net.head)
        [sleeper] = [pid for pid in rig.processes_of(anze.uid) if "sleep 777" in title_of(pid)]
        net.crash("n2")
        wait_for(lambda: not rig.is_alive(sleeper), 5, "the node's processes to be gone")
        assert run_as(anze, look, at=net.head).returncode == 255
        net.boot("n2")
        assert run_as(anze, look, at=net.head, check=True).stdout != before
        assert run_as(anze, ["ssh", "n2", "ls /srv"], at=net.head, check=True).stdout == ""

    def test_processes_on_the_head_have_real_pids(self, net: NetNodes, anze: rig.User) -> None:
        process = popen_as(anze, ["sh", "-c", "echo $$; exec sleep 60"], at=net.head)
        assert process.stdout
        assert int(process.stdout.readline()) == process.pid
        with rig.stopped(process.pid):
            time.sleep(0)
        process.send_signal(signal.SIGTERM)
        process.communicate()
        assert process.returncode == -signal.SIGTERM
