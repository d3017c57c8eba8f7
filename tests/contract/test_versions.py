"""Shepherds of released versions: one that lives is used by today's launcher, and what one has left is taken up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.driver import Driver, spec
from tests.contract.jobs import ALL_LINES, COUNTS, let_go, mark, marks, until
from tests.e2e.rig import User
from wq.node import shepherd

pytestmark = pytest.mark.xdist_group("shepherd-versions")

RELEASED = Path(__file__).parents[1] / "released"
VERSIONS = sorted(path.parent.name for path in RELEASED.glob("*/shepherd.txt"))
SOURCE = Path(shepherd.__file__).read_bytes()


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, local: Driver) -> Driver:
    """Connected to a shepherd of that version."""
    local.leave()
    local.source = (RELEASED / request.param / "shepherd.txt").read_bytes()
    local.open()
    return local


def test_a_job_of_an_older_shepherd_is_followed_to_its_end(old: Driver, user: User, work: Path) -> None:
    old.start("1.1", spec(user, f"{mark(work, 'ran')}; echo a; {until(work / 'go')}; {COUNTS}; exit 5"))
    pid = old.wait_for_start("1.1")
    old.source = SOURCE
    old.open()
    assert (old["1.1"].state, old["1.1"].pid) == ("running", pid)
    let_go(user, work / "go")
    assert old.wait_for_end("1.1")["exit"] == 5
    assert old.output("1.1") == "a\n" + ALL_LINES
    assert marks(work, "ran") == 1


def test_what_an_older_one_has_left_is_taken_up_by_todays(old: Driver, user: User, work: Path) -> None:
    old.start("1.1", spec(user, "echo over; exit 3"))
    old.wait_for_end("1.1")
    old.start("2.1", spec(user, f"{mark(work, 'ran')}; {until(work / 'go')}; exit 6"))
    old.wait_for_start("2.1")
    old.kill("wq-keeper")
    old.kill("wq-shepherd")
    older, old.source = old.source, SOURCE
    old.open()
    assert (old["1.1"].state, old["1.1"].end is not None and old["1.1"].end["exit"]) == ("ended", 3)
    assert old["2.1"].state == "running"
    let_go(user, work / "go")
    if b"LAST_WORDS" in older:
        assert old.wait_for_end("2.1")["exit"] == 6
    else:  # the shells of that version wrote no status down
        assert "lost" in old.wait_for_end("2.1")
    assert marks(work, "ran") == 1
