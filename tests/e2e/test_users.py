"""Who may see what, who may change what: two users, the server's owner, and root."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, Row
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-users")

HOLD = "sleep 1000"


def lines(text: str) -> list[str]:
    return text.splitlines()


def as_root(queue: Queue, base: rig.Base, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """`wq WORDS` as root, whose own home is left alone."""
    env = {"HOME": str(base.path), "XDG_STATE_HOME": str(base.path / "state-of-root"), "XDG_CONFIG_HOME": "/nosuch"}
    return queue.wq(rig.current_user(), *words, env=env, status=status)


def node(queue: Queue, user: User, host: str) -> Row:
    [row] = json.loads(queue.wq(user, "node", host, "--json").stdout)
    found: Row = row
    return found


class TestJobs:
    def test_each_sees_all(self, queue: Queue, cene: User, dana: User, erin: User) -> None:
        jobs = {user.name: queue.batch(user, HOLD) for user in (dana, erin, cene)}
        for user in (dana, erin, cene):
            assert {row["user"]: row["id"] for row in queue.ls(user=user)} == jobs
            shown = [line.split()[:2] for line in lines(queue.wq(user, "ls").stdout)[1:-1]]
            assert shown == [[str(job), name] for name, job in jobs.items()]
        assert [row["id"] for row in queue.ls("-u", erin.name, user=dana)] == [jobs[erin.name]]
        both = queue.ls("-u", f"{erin.name},{dana.name}")
        assert {row["user"] for row in both} == {erin.name, dana.name}

    def test_only_ones_own_can_be_removed(self, queue: Queue, cene: User, dana: User, erin: User) -> None:
        job = queue.batch(dana, HOLD)
        queue.wait_for_state(job, "running")
        done = queue.wq(erin, "rm", str(job), status=1)
        assert done.stdout == ""
        [line] = lines(done.stderr)
        assert line.startswith(f"wq: job {job} was not removed: it belongs to {dana.name}")
        assert cene.name in line
        assert queue.state(job) == "running"

    def test_all_means_all_of_ones_own(self, queue: Queue, dana: User, erin: User) -> None:
        mine = [queue.batch(dana, HOLD) for _ in range(2)]
        theirs = queue.batch(erin, HOLD)
        mine.append(queue.batch(dana, HOLD, "N: 16"))
        queue.wait_for_state(theirs, "running")
        done = queue.wq(dana, "rm", "all")
        assert done.stderr == ""
        for job in mine:
            outcome = queue.wait_for_end(job)
            assert (outcome["kind"], outcome["by"]) == ("removed", dana.name)
        assert queue.state(theirs) == "running"
        assert queue.wq(dana, "rm", "all").stdout == "there is nothing to remove\n"

    def test_a_range_leaves_those_of_others_alone(self, queue: Queue, dana: User, erin: User) -> None:
        jobs = [queue.batch(user, HOLD, "N: 16") for user in (dana, erin, dana)]
        facts = json.loads(queue.wq(dana, "rm", "--json", f"{jobs[0]}-{jobs[2]}", status=1).stdout)
        assert sorted(facts["removed"] + facts["ending"]) == [jobs[0], jobs[2]]
        assert [refusal["id"] for refusal in facts["refused"]] == [jobs[1]]
        assert erin.name in facts["refused"][0]["why"]
        queue.wait_for_state(jobs[1], "running")

    def test_the_owner_may_remove_any(self, queue: Queue, cene: User, dana: User) -> None:
        running, waiting = queue.batch(dana, HOLD, "N: 16"), queue.batch(dana, HOLD)
        queue.wait_for_state(running, "running")
        queue.wq(cene, "rm", str(waiting), str(running))
        assert queue.wait_for_end(waiting)["by"] == cene.name
        assert queue.wait_for_end(running)["by"] == cene.name
        assert queue.job(waiting)["attempt"] == 0

    def test_root_may_remove_any(self, queue: Queue, base: rig.Base, dana: User) -> None:
        job = queue.batch(dana, HOLD)
        queue.wait_for_state(job, "running")
        as_root(queue, base, "rm", str(job))
        assert queue.wait_for_end(job)["by"] == "root"

    def test_one_that_is_not_there(self, queue: Queue, dana: User) -> None:
        done = queue.wq(dana, "rm", "999999", status=1)
        assert "999999" in done.stderr
        for word in ("0", "-1", "9-3", "1e3"):
            assert len(lines(queue.wq(dana, "rm", "--", word, status=2).stderr)) == 1
        for word in ("self", "../x"):  # (these might be names)
            assert len(lines(queue.wq(dana, "rm", "--", word, status=1).stderr)) == 1

    def test_what_runs_of_others_is_not_to_be_read(self, queue: Queue, dana: User, erin: User) -> None:
        """The text of the command is on no command line, and the environment is nowhere but with its user."""
        work = queue.directory(dana)
        env = {"SECRET": "canary-of-the-environment"}
        require = "private: true; job_name: quiet"
        words = ["sub", "-b", "-q", "-r", require, "-c", ": canary-of-the-command; sleep 1000"]
        job = int(queue.wq(dana, *words, cwd=work, env=env).stdout)
        queue.wait_for_state(job, "running")
        assert "canary" not in json.dumps(queue.ls(user=erin))
        assert "canary" not in queue.run(erin, ["ps", "-ewwo", "args"]).stdout
        spool = queue.run(queue.owner, ["grep", "-rla", "canary-of-the", str(queue.owner.home)], status=None)
        assert spool.stdout == ""


class TestFacts:
    def test_users(self, queue: Queue, dana: User, erin: User) -> None:
        queue.wait_for_state(queue.batch(dana, HOLD, "N: 3"), "running")
        queue.wait_for_state(queue.batch(erin, HOLD, "N: 2"), "running")
        queue.batch(erin, HOLD, "N: 16")
        rows = {row["user"]: row for row in json.loads(queue.wq(dana, "users", "--json").stdout)}
        assert set(rows) == {dana.name, erin.name}
        counted = ("jobs", "running", "waiting", "cores")
        assert [rows[dana.name][key] for key in counted] == [1, 1, 0, 3]
        assert [rows[erin.name][key] for key in counted] == [2, 1, 1, 2]
        table = {line.split()[0]: line.split()[1:] for line in lines(queue.wq(dana, "users").stdout)[1:]}
        assert table[erin.name] == ["2", "1", "1", "2", "-"]

    def test_a_user(self, queue: Queue, dana: User, erin: User) -> None:
        queue.wait_for_state(queue.batch(erin, HOLD, "N: 2"), "running")
        queue.wq(erin, "limit", "run: 25; cores: 100")
        text = queue.wq(dana, "user", erin.name).stdout
        for telling in (erin.name, "Running: 1", "Cores: 2", "run: 25; cores: 100"):
            assert telling in text
        row = json.loads(queue.wq(dana, "user", erin.name, "--json").stdout)
        assert (row["user"], row["cores"], row["limits"]) == (erin.name, 2, {"run": 25, "cores": 100})
        assert dana.name in queue.wq(dana, "user").stdout  # who has nothing here
        assert json.loads(queue.wq(erin, "user", dana.name, "--json").stdout)["jobs"] == 0
        assert "nobody-here" in queue.wq(dana, "user", "nobody-here", status=1).stderr


class TestLimits:
    def limits(self, queue: Queue, user: User) -> Row:
        row: Row = json.loads(queue.wq(user, "user", user.name, "--json").stdout)
        return row

    def test_ones_own(self, queue: Queue, dana: User) -> None:
        assert queue.wq(dana, "limit", "run: 25; cores: 100").stdout == f"{dana.name}: run: 25; cores: 100\n"
        assert queue.wq(dana, "limit", "cores:-1").stdout == f"{dana.name}: run: 25\n"
        assert self.limits(queue, dana)["limits"] == {"run": 25, "cores": None}
        assert queue.wq(dana, "limit", "clear").stdout == f"{dana.name}: no limit\n"
        assert self.limits(queue, dana)["limits"] == {"run": None, "cores": None}

    def test_the_owners_holds_beside_ones_own(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wq(cene, "limit", "-u", dana.name, "run: 1; cores: 8")
        queue.wq(dana, "limit", "run: 5; cores: 2")
        assert self.limits(queue, dana)["limits"] == {"run": 1, "cores": 2}
        queue.wait_for_state(queue.batch(dana, HOLD), "running")
        second = queue.batch(dana, HOLD)
        assert queue.why(second)["code"] == "Limit"
        queue.wq(dana, "limit", "clear")
        assert self.limits(queue, dana)["limits"] == {"run": 1, "cores": 8}
        assert queue.state(second) == "queued"
        queue.wq(cene, "limit", "-u", dana.name, "clear")
        queue.wait_for_state(second, "running")

    def test_others_may_not(self, queue: Queue, base: rig.Base, cene: User, dana: User, erin: User) -> None:
        done = queue.wq(erin, "limit", "-u", dana.name, "run: 0", status=1)
        [line] = lines(done.stderr)
        assert cene.name in line
        assert self.limits(queue, dana)["limits"] == {"run": None, "cores": None}
        as_root(queue, base, "limit", "-u", dana.name, "run: 7")
        assert self.limits(queue, dana)["limits"]["run"] == 7

    def test_they_outlive_the_server(self, queue: Queue, dana: User) -> None:
        queue.wq(dana, "limit", "run: 3")
        queue.shutdown()
        queue.serve()
        assert self.limits(queue, dana)["limits"]["run"] == 3

    @pytest.mark.parametrize("text", ["run", "runs: 3", "run: many", "run: -2", "run: 1; run: 2", "", "cores: 1.5"])
    def test_bad_ones(self, queue: Queue, dana: User, text: str) -> None:
        assert len(lines(queue.wq(dana, "limit", text, status=2).stderr)) == 1
        assert self.limits(queue, dana)["limits"] == {"run": None, "cores": None}

    def test_nobody_of_that_name(self, queue: Queue, cene: User) -> None:
        assert "nobody-here" in queue.wq(cene, "limit", "-u", "nobody-here", "run: 1", status=2).stderr


class TestNodes:
    def test_offline_with_a_reason(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wq(cene, "node", "node2", "offline", "--reason", "new disk")
        row = node(queue, dana, "node2")
        assert (row["state"], row["reason"], row["by"]) == ("offline", "new disk", cene.name)
        assert row["since"] > 0
        [shown] = [line for line in lines(queue.wq(dana, "node").stdout) if line.startswith("node2 ")]
        assert shown.split()[1] == "offline"
        assert shown.endswith(f"{cene.name} new disk")
        bars = queue.wq(dana, "stat").stdout
        assert "[XXXX]  node2  16 a,g2\n" in bars
        assert lines(bars)[-1] == "Used/avail/active cores: 0/12/12 (0.0% load, 4 are offline)"
        job = queue.batch(dana, HOLD, "host: node2")
        assert "node2" in queue.why(job)["text"]
        assert "new disk" in queue.why(job)["text"]
        elsewhere = queue.batch(dana, HOLD, "N: 6")
        queue.wait_for_state(elsewhere, "running")
        assert queue.cores_of(elsewhere) == {"node1": 4, "node3": 2}
        queue.wq(cene, "node", "node2", "online")
        queue.wait_for_state(job, "running")

    def test_the_older_form(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wq(cene, "node", "node2", "status:offline")
        assert node(queue, dana, "node2")["state"] == "offline"
        queue.wq(cene, "node", "node2", "status: online")
        assert node(queue, dana, "node2")["state"] == "online"

    def test_several_at_once(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wq(cene, "node", "node[1-2]", "node4", "offline")
        states = {host: row["state"] for host, row in queue.nodes().items()}
        assert states == {"node1": "offline", "node2": "offline", "node3": "online", "node4": "offline"}

    def test_drain_lets_what_runs_go_on(self, queue: Queue, cene: User, dana: User) -> None:
        running = queue.batch(dana, HOLD, "N: 2")
        queue.wait_for_state(running, "running")
        queue.wq(cene, "node", "node1", "drain", "--reason", "soon")
        later = queue.batch(dana, HOLD)
        queue.wait_for_state(later, "running")
        assert queue.cores_of(later) == {"node2": 1}
        assert queue.state(running) == "running"
        assert "[**XX]  node1 " in queue.wq(dana, "stat").stdout

    def test_offline_leaves_what_runs_alone(self, queue: Queue, cene: User, dana: User) -> None:
        running = queue.batch(dana, HOLD, "N: 2")
        queue.wait_for_state(running, "running")
        queue.wq(cene, "node", "node1", "offline")
        assert queue.state(running) == "running"
        assert queue.job_processes()

    def test_all_offline(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wq(cene, "node", "node[1-4]", "offline")
        job = queue.batch(dana, HOLD)
        assert queue.state(job) == "queued"
        assert "offline" in queue.why(job)["text"]
        queue.wq(cene, "node", "node4", "online")
        queue.wait_for_state(job, "running")
        assert queue.cores_of(job) == {"node4": 1}

    def test_only_the_owner_may(self, queue: Queue, base: rig.Base, cene: User, dana: User) -> None:
        for words in (["node2", "offline"], ["node2", "status:offline"], ["node2", "drain"], ["node2", "lost"]):
            [line] = lines(queue.wq(dana, "node", *words, status=1).stderr)
            assert cene.name in line
        assert node(queue, dana, "node2")["state"] == "online"
        as_root(queue, base, "node", "node2", "offline")
        assert node(queue, dana, "node2")["by"] == "root"

    def test_the_owners_word_outlives_the_server(self, queue: Queue, cene: User, dana: User) -> None:
        queue.wq(cene, "node", "node3", "drain", "--reason", "later")
        queue.shutdown()
        queue.serve()
        row = node(queue, dana, "node3")
        assert (row["state"], row["reason"], row["by"]) == ("drain", "later", cene.name)

    def test_unknown_names_and_states(self, queue: Queue, cene: User) -> None:
        assert "node9" in queue.wq(cene, "node", "node9", "offline", status=2).stderr
        assert "node9" in queue.wq(cene, "node", "node9", status=2).stderr
        assert "status:broken" in queue.wq(cene, "node", "node1", "status:broken", status=2).stderr
        assert "node" in queue.wq(cene, "node", "offline", status=2).stderr

    def test_a_refused_key_is_a_matter_of_that_user(
        self, queue: Queue, four: rig.Nodes, cene: User, dana: User, erin: User
    ) -> None:
        """It pauses that user's starts there, gives the cores back, and says so; the node stays online."""
        accounts_lost = [four[name] for name in ("node1", "node2")]
        for each in accounts_lost:
            each.refuse(erin)
        pid = queue.launcher_pid(erin)
        if pid is not None:
            rig.signal_all([pid])
            wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "erin's launcher to go")
        try:
            job = queue.batch(erin, HOLD)
            queue.wait_for_state(job, "running")
            assert queue.cores_of(job) == {"node3": 1}
            avoided = json.loads(queue.wq(erin, "user", erin.name, "--json").stdout)["avoided"]
            assert [entry["host"] for entry in avoided] == ["node1", "node2"]
            assert "node1" in avoided[0]["why"]
            assert {row["state"] for row in queue.nodes().values()} == {"online"}
            other = queue.batch(dana, HOLD)
            queue.wait_for_state(other, "running")
            assert queue.cores_of(other) == {"node1": 1}
        finally:
            for each in accounts_lost:
                four.admit(each, erin)
        queue.wq(erin, "refresh")
        job = queue.batch(erin, HOLD)
        queue.wait_for_state(job, "running")
        assert queue.cores_of(job) == {"node1": 1}
