"""Which jobs are meant: ids, `last`, names, and options that choose among one's own."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wq.cli import commands, ids, select
from wq.cli.connection import user_name
from wq.cli.errors import BAD_INPUT, WqError


def row(number: int, name: str, state: str = "queued", *, last: int | None = None, counts: Any = None) -> list[Any]:
    return [number, None, "me", state, "med", None, None, name, 0.0, None, None, counts, None, last]


QUEUE = [
    row(3, "fit", "running"),
    row(4, "plot", last=6),
    row(9, "many", "running", counts=[1, 1, 5, 2]),
    row(12, "held*", "held"),
]
PAST = [{"id": 2, "name": "old"}, {"id": 1, "name": "twice"}, {"id": 0, "name": "twice"}]


class Server:
    """With these jobs in its queue and its history."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, kind: str, **fields: Any) -> Any:
        self.asked.append(kind)
        if kind == "newest":
            return {"id": 12}
        if kind == "hist":
            found = [one for one in PAST if fnmatchcase(str(one["name"]), fields["name"] or "*")]
            return {"jobs": found, "more": 0}
        assert (kind, fields) == ("ls", {"users": [user_name(os.getuid())], "brief": True})
        return {"jobs": QUEUE}


def args(*words: str, **options: Any) -> Any:
    plain = {"mine": False, "failed": False, "name": None, "state": None}
    return SimpleNamespace(ids=list(words), **{**plain, **options})


def chosen(*words: str, over: bool = False, **options: Any) -> list[list[int]]:
    found = args(*words, **options)
    select.check(found, "rm", over=over)
    return select.chosen(Server(), found, over=over)  # type: ignore[arg-type]


def test_ids_are_what_they_always_were_and_nobody_is_asked() -> None:
    server = Server()
    found = select.chosen(server, args("12", "3-9,1", "5.1-2"))  # type: ignore[arg-type]
    assert found == ids.id_ranges(["12", "3-9,1", "5.1-2"])
    assert server.asked == []
    assert ids.as_fields(found) == ids.asked(["12", "3-9,1", "5.1-2"])


def test_last_is_ones_newest_job() -> None:
    assert chosen("last", "3") == [[12, 12], [3, 3]]


def test_a_name_is_the_one_job_that_is_called_so() -> None:
    assert chosen("fit") == [[3, 3]]
    assert chosen("held*") == [[12, 12]]


def test_a_name_of_several_is_refused_with_their_ids() -> None:
    with pytest.raises(WqError, match="3 jobs of yours are called 'plot': 4, 5, 6; take an id") as refused:
        chosen("plot")
    assert refused.value.status == BAD_INPUT


def test_a_name_of_none_is_said_to_be_that() -> None:
    with pytest.raises(WqError, match="no job of yours that is in the queue is called 'old'"):
        chosen("old")


def test_finished_jobs_have_names_too_where_they_are_meant() -> None:
    assert chosen("old", over=True) == [[2, 2]]
    with pytest.raises(WqError, match="2 jobs of yours are called 'twice': 0, 1"):
        chosen("twice", over=True)
    with pytest.raises(WqError, match="no job of yours that is known is called 'never'"):
        chosen("never", over=True)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"mine": True}, [[3, 6], [9, 9], [12, 12]]),
        ({"name": "[fp]*"}, [[3, 6]]),
        ({"state": "running"}, [[3, 3], [9, 9]]),
        ({"state": "waiting,held"}, [[4, 6], [12, 12]]),
        ({"state": "running", "name": "fit"}, [[3, 3]]),
        ({"failed": True}, [[9, 9]]),
        ({"name": "nothing"}, []),
    ],
    ids=str,
)
def test_options_choose_among_ones_own(options: dict[str, Any], found: list[list[int]]) -> None:
    assert chosen(**options) == found


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"failed": True}, [[0, 2], [9, 9]]),
        ({"state": "done"}, [[0, 2]]),
        ({"state": "running", "failed": True}, [[9, 9]]),
        ({"name": "old*"}, [[2, 2]]),
        ({"mine": True}, [[3, 6], [9, 9], [12, 12]]),
    ],
    ids=str,
)
def test_and_among_finished_ones_where_they_are_meant(options: dict[str, Any], found: list[list[int]]) -> None:
    assert chosen(over=True, **options) == found


@pytest.mark.parametrize(
    ("words", "options", "telling"),
    [
        ((), {}, "which jobs"),
        (("1",), {"mine": True}, "either ids"),
        ((), {"name": ""}, "--name"),
        ((), {"name": "x" * 201}, "--name"),
        ((), {"state": "done"}, "--state: 'done'"),
        ((), {"state": "walking"}, "there are waiting, running"),
        ((), {"state": ""}, "--state: ''"),
        (("12x",), {}, "'12x' is not the id"),
        (("9-3",), {}, "no range"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(
    words: tuple[str, ...], options: dict[str, Any], telling: str
) -> None:
    with pytest.raises(WqError, match=telling) as refused:
        select.check(args(*words, **options), "rm")
    assert refused.value.status == BAD_INPUT


def test_the_pattern_of_a_name_fits_it_alone() -> None:
    for name in ("fit", "a*b", "[x]", "?", "a[!b]*"):
        assert fnmatchcase(name, select.as_pattern(name))
        assert not fnmatchcase(name + "x", select.as_pattern(name))


def test_very_many_are_several_requests() -> None:
    ranges = [[number, number] for number in range(450)]
    assert [len(part) for part in select.by_parts(ranges)] == [200, 200, 50]


def test_the_example_is_what_that_command_does() -> None:
    example = str(select.__doc__).partition("has it:")[2].partition("Commands")[0]
    (verb,) = re.findall(r'select\.check\(args, "(\w+)"', example)
    source = (Path(commands.__path__[0]) / f"{verb}.py").read_text()
    called = re.findall(r"\S+\(.*\)(?!:)", example)
    assert len(called) == 4
    assert [call for call in called if call not in source] == []
