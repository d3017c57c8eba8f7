"""MPI over several nodes: exactly one rank a granted core (or `threads` of them), on the nodes and cores granted.

The nodes are machines on a network of their own. No key lets anybody log in from node to node: mpirun's daemons are
started by wq's own agent.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.conftest import skip_if

pytestmark = [pytest.mark.e2e, pytest.mark.mpi, pytest.mark.xdist_group("mpi")]

PORT = "51872"
CORES = os.cpu_count() or 1


@pytest.fixture(scope="module")
def cluster(base: rig.Base, anze: rig.User, public_wq: Path) -> Iterator[Callable[..., str]]:
    """Three nodes that have as many cores as declared, so that jobs are pinned, and a server of anze's."""
    skip_if(rig.no_namespaces())
    directory = base.directory("mpi", 0o1777)
    with rig.NetNodes(base, ["n1", "n2", "n3"], users=[anze]) as nodes:
        env = {"PATH": f"{public_wq}:{nodes.path_with_ssh(anze)}", "WQ_PORT": PORT}
        (directory / "cluster.txt").write_text("".join(f"n{i} {CORES} 8\n" for i in (1, 2, 3)))

        def wq(*words: str) -> str:
            argv = ["wq", *words]
            done = rig.run_as(anze, argv, cwd=directory, env=env, at=nodes.head, timeout_s=120, check=True)
            return done.stdout

        wq("serve", "cluster.txt", "--detach")
        yield wq
        wq("shutdown")


@pytest.fixture(params=["openmpi", "mpich"])
def mpirun(request: pytest.FixtureRequest) -> str:
    program = f"mpirun.{request.param}"
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return program


def hostfile_option(mpirun: str) -> str:
    return "-f %hostfile%" if "mpich" in mpirun else "-hostfile %hostfile%"


def ranks(output: str) -> dict[str, int]:
    return dict(Counter(output.split()))


SHAPES = [
    ("N: 1", {"n1": 1}),
    (f"N: {CORES}", {"n1": CORES}),
    (f"N: {CORES + 1}", {"n1": CORES, "n2": 1}),
    ("mode: bynode; N: 2", {"n1": CORES, "n2": CORES}),
    ("mode: bynode; N: 3", {"n1": CORES, "n2": CORES, "n3": CORES}),
    (f"mode: bynode; N: 3; threads: {CORES}", {"n1": 1, "n2": 1, "n3": 1}),
]


@pytest.mark.parametrize(("requirement", "expected"), SHAPES, ids=[shape[0] for shape in SHAPES])
class TestOneRankACore:
    def test_plain_mpirun(
        self, cluster: Callable[..., str], mpirun: str, requirement: str, expected: dict[str, int]
    ) -> None:
        assert ranks(cluster("sub", "-r", requirement, "-c", f"{mpirun} hostname")) == expected

    def test_with_the_hostfile(
        self, cluster: Callable[..., str], mpirun: str, requirement: str, expected: dict[str, int]
    ) -> None:
        command = f"{mpirun} {hostfile_option(mpirun)} hostname"
        assert ranks(cluster("sub", "-r", f"{requirement}; hostfile: auto", "-c", command)) == expected


@pytest.mark.skipif(CORES < 2, reason="a machine with one core pins nothing")
def test_ranks_run_on_the_granted_cores(cluster: Callable[..., str], mpirun: str) -> None:
    """All of n1 and one core of n2: the rank there stays on that core, the first of n2, as granted."""
    show = "sh -c 'echo $(hostname):$(sed -n s/Cpus_allowed_list:.//p /proc/self/status)'"
    seen = ranks(cluster("sub", "-r", f"N: {CORES + 1}", "-c", f"{mpirun} {show}"))
    assert seen == {f"n1:0-{CORES - 1}": CORES, "n2:0": 1}


def test_two_jobs_of_one_core_are_not_both_on_core_0(cluster: Callable[..., str], mpirun: str) -> None:
    if CORES < 2:
        pytest.skip("a machine with one core pins nothing")
    show = "sh -c 'sed -n s/Cpus_allowed_list:.//p /proc/self/status'"
    holder = cluster("sub", "-b", "-q", "-r", "mode:byhost;host:n1;N:1", "-c", "sleep 1000").strip()
    try:
        running = '"state": "running"'
        rig.wait_for(lambda: running in cluster("ls", "--json", holder), 30, "the first job to run")
        assert cluster("sub", "-r", "mode:byhost;host:n1;N:1", "-c", f"{mpirun} {show}").split() == ["1"]
    finally:
        cluster("rm", holder)


def test_ranks_see_the_variables_of_the_job(cluster: Callable[..., str], mpirun: str) -> None:
    show = "sh -c 'echo $WQ_NHOSTS/$OMP_NUM_THREADS'"
    requirement = f"mode: bynode; N: 2; threads: {CORES}"
    assert ranks(cluster("sub", "-r", requirement, "-c", f"{mpirun} {show}")) == {f"2/{CORES}": 2}


def test_a_node_that_was_not_granted_is_refused(cluster: Callable[..., str], anze: rig.User) -> None:
    """The agent starts nothing outside the allocation."""
    command = "sh -c '\"$HYDRA_LAUNCHER_EXEC\" n3 hostname; echo never' 2>&1; true"
    output = cluster("sub", "-r", "mode: bynode; N: 2", "-c", command)
    assert "n3 is not a node of job" in output
    assert "never" not in output


def test_the_daemons_on_other_nodes_end_with_the_job(cluster: Callable[..., str], mpirun: str, anze: rig.User) -> None:
    """A job that is removed leaves no rank behind on any node."""
    job = cluster("sub", "-b", "-q", "-r", "mode: bynode; N: 3", "-c", f"{mpirun} sleep 54321").strip()

    def sleepers() -> int:
        count = 0
        for pid in rig.processes_of(anze.uid):
            try:
                count += Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0054321\x00"
            except OSError:
                pass
        return count

    rig.wait_for(lambda: sleepers() == 3 * CORES, 60, "all ranks to run")
    cluster("rm", job)
    rig.wait_for(lambda: sleepers() == 0, 60, "all ranks to be gone")
    rig.wait_for(lambda: '"state": "done"' in cluster("ls", "--json", job), 60, "the job to be done")
