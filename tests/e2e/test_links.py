"""Links that are cut or half open, and nodes that are rebooted: what runs goes on, and what is gone runs again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, read, until
from tests.e2e.rig import User, wait_for

pytestmark = pytest.mark.xdist_group("e2e-links")

DETECTION_S = 60.0  # keep-alives take 15 to 20 s; a busy machine may take longer


@pytest.fixture(scope="module")
def net_queue(base: rig.Base, net: rig.NetNodes, public_wq: Path, anze: User, bine: User) -> Iterator[Queue]:
    """Served by anze for bine, from the head; n1 and n2 have two cores each."""
    cluster = anze.write(base.directory("queue") / "cluster.txt", "n1 2 8\nn2 2 8\n")
    with Queue(wq=public_wq, owner=anze, users=[bine], cluster=cluster, at=net.head) as made:
        yield made


class TestReboot:
    def test_a_job_whose_node_was_rebooted_runs_again(self, net_queue: Queue, net: rig.NetNodes, bine: User) -> None:
        work = net_queue.directory(bine)
        script = f"echo $WQ_ATTEMPT >>ran; echo out $WQ_ATTEMPT; {until(work / 'go')}; exit 3"
        job = net_queue.batch(bine, script, "host: n1; mode: byhost", cwd=work)
        other = net_queue.batch(bine, f"{until(work / 'go')}; exit 4", "host: n2; mode: byhost", cwd=work)
        wait_for(lambda: read(work / "ran"), PATIENCE_S, "the job to run")
        net.crash("n1")
        assert net_queue.used() == {"n1": 1, "n2": 1}  # nobody knows yet
        net.boot("n1")
        net_queue.wq(bine, "refresh")
        wait_for(lambda: read(work / "ran") == "1\n2\n", PATIENCE_S, "the second attempt to run")
        row = net_queue.job(job)
        assert (row["attempt"], row["requeued_why"]) == (2, "n1 was rebooted while it ran")
        bine.write(work / "go", "")
        assert net_queue.wait_for_end(job)["exit_status"] == 3
        assert net_queue.wait_for_end(other)["exit_status"] == 4
        net_queue.wait_until_acknowledged()
        assert sorted(read(path) for path in work.glob(f"*{job}*.wqlog")) == ["out 1\n", "out 2\n"]

    def test_unless_its_user_does_not_want_that(self, net_queue: Queue, net: rig.NetNodes, bine: User) -> None:
        work = net_queue.directory(bine)
        need = "host: n1; mode: byhost; requeue: false"
        job = net_queue.batch(bine, f"echo x >>ran; {until(work / 'go')}; exit 3", need, cwd=work)
        wait_for(lambda: read(work / "ran"), PATIENCE_S, "the job to run")
        net.crash("n1")
        net.boot("n1")
        net_queue.wq(bine, "refresh")
        outcome = net_queue.wait_for_end(job)
        assert (outcome["kind"], outcome["message"]) == ("lost", "n1 was rebooted while it ran")
        assert read(work / "ran") == "x\n"
        net_queue.wait_until_free()
        again = net_queue.batch(bine, "exit 5", "host: n1; mode: byhost", cwd=work)
        assert net_queue.wait_for_end(again)["exit_status"] == 5


class TestOutOfSight:
    @pytest.mark.parametrize("how", ["cut", "mute"])
    def test_a_job_behind_a_broken_link_runs_on_and_its_end_is_learnt_later(
        self, net_queue: Queue, net: rig.NetNodes, bine: User, how: str
    ) -> None:
        work, job = self.job_in_the_dark(net_queue, net, bine, how)
        try:
            assert net_queue.state(job) in ("starting", "running")
            assert net_queue.used()["n1"] == 1
            bine.write(work / "go", "")
        finally:
            net.heal("n1")
        net_queue.wq(bine, "refresh")
        assert net_queue.wait_for_end(job)["exit_status"] == 7
        assert out_of_sight(net_queue, job) is None
        assert read(work / "ran") == "x\n"
        net_queue.wait_until_acknowledged()

    def test_it_is_seen_again_while_it_runs(self, net_queue: Queue, net: rig.NetNodes, bine: User) -> None:
        work, job = self.job_in_the_dark(net_queue, net, bine, "deafen")
        net.heal("n1")
        wait_for(lambda: out_of_sight(net_queue, job) is None, DETECTION_S, "it to be seen again")
        assert net_queue.state(job) == "running"
        bine.write(work / "go", "")
        assert net_queue.wait_for_end(job)["exit_status"] == 7

    def job_in_the_dark(self, queue: Queue, net: rig.NetNodes, user: User, how: str) -> tuple[Path, int]:
        """A job that runs on n1, whose link has been broken, and somebody has noticed."""
        work = queue.directory(user)
        job = queue.batch(user, f"echo x >>ran; {until(work / 'go')}; exit 7", "host: n1; mode: byhost", cwd=work)
        queue.wait_for_state(job, "running")
        wait_for(lambda: read(work / "ran"), PATIENCE_S, "the job to run")
        break_it: Callable[[str], None] = getattr(net, how)
        break_it("n1")
        try:
            dark = wait_for(lambda: out_of_sight(queue, job), DETECTION_S, "somebody to notice")
            assert dark is not None
            assert dark["hosts"] == ["n1"]
        except BaseException:
            net.heal("n1")
            raise
        return work, job


def out_of_sight(queue: Queue, job: int) -> dict[str, Any] | None:
    found: dict[str, Any] | None = queue.job(job)["out_of_sight"]
    return found


class TestTheHeadIsRebooted:
    def test_what_runs_on_the_nodes_goes_on_and_what_waited_still_waits(self, net_queue: Queue, bine: User) -> None:
        """All processes there are gone at once, and so is what lay in /tmp."""
        work = net_queue.directory(bine)
        script = f"echo x >>ran; {until(work / 'go')}; echo done; exit $((WQ_JOB_ID % 4))"
        jobs = [net_queue.batch(bine, script, cwd=work) for _ in range(6)]
        wait_for(lambda: read(work / "ran") == "x\n" * 4, PATIENCE_S, "four of them to run")
        for job in jobs[:4]:
            net_queue.wait_for_state(job, "running")
        net_queue.power_cut_on_the_head()
        bine.write(work / "go", "")
        net_queue.serve()
        assert [net_queue.state(job) for job in jobs[:4]] == ["running"] * 4
        assert net_queue.job(jobs[0])["out_of_sight"]["why"].endswith("any command of " + bine.name + " brings it back")
        net_queue.wq(bine, "ls")
        for job in jobs:
            assert net_queue.wait_for_end(job)["exit_status"] == job % 4
        assert read(work / "ran") == "x\n" * 6
        net_queue.wait_until_acknowledged()
        assert sorted(read(path) for path in work.glob("*.wqlog")) == ["done\n"] * 6
