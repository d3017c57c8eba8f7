"""The listing is for people and for awk; the full form is for everything else."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

import wq.cli
from wq.cli.render.colour import Style
from wq.cli.render.jobs import FIELDS, PARTS, brief, full, in_the_dark, listing, turned
from wq.cli.render.sanitise import WIDEST, printable

ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()))
TEXT = st.text(alphabet=st.characters(codec="utf-8"))
NOW_S = 1000.0 + 12 * 3600 + 50 * 60 + 27


def job(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": 2530,
        "user": "anze",
        "uid": 1001,
        "name": "source",
        "command": "source setup.sh\n./run --all\n",
        "state": "queued",
        "priority": "med",
        "mode": "bycore",
        "n": 132,
        "ncores": None,
        "nhosts": None,
        "hosts": [],
        "attempt": 0,
        "foreground": True,
        "submit_dir": "/home/anze",
        "requirement": {"group": ["gen4"]},
        "submitted_at": 1000.0,
        "started_at": None,
        "ended_at": None,
        "reason": None,
        "outcome": None,
    }
    assert changes.keys() <= row.keys()
    return row | changes


def running(**changes: Any) -> dict[str, Any]:
    return job(**{"state": "running", "ncores": 132, "nhosts": 11, "started_at": 1000.0} | changes)


def test_the_example_of_the_specification_character_by_character() -> None:
    rows = [running(), job(id=18743, submitted_at=NOW_S - 29 * 60 - 52)]
    assert listing(rows, NOW_S) == [
        "Id    User Status Priority Ncores Nhosts Command t_in      t_run",
        "2530  anze R      med      132    11     source  12h50m27s 12h50m27s",
        "18743 anze W      med      -      -      source  29m52s    -",
        "Jobs: 2 Running: 1 Waiting: 1",
    ]


def test_an_empty_queue_has_a_header_and_a_footer() -> None:
    assert listing([], NOW_S) == [
        "Id User Status Priority Ncores Nhosts Command t_in t_run",
        "Jobs: 0 Running: 0 Waiting: 0",
    ]


@pytest.mark.parametrize(
    ("state", "letter"),
    [*zip(("queued", "starting", "running", "stopping", "held", "done", "new"), "WRREHD?", strict=True)],
)
def test_each_state_has_a_letter(state: str, letter: str) -> None:
    assert listing([job(state=state)], NOW_S)[1].split()[2] == letter


def test_the_footer_counts_each_job_once() -> None:
    states = ["queued", "queued", "starting", "running", "stopping", "held", "done", "done"]
    assert listing([job(state=state) for state in states], NOW_S)[-1] == "Jobs: 8 Running: 3 Waiting: 2 Held: 1 Done: 2"


def test_the_clocks_of_a_finished_job_stand_still() -> None:
    row = running(state="done", submitted_at=1000.0, started_at=1005.0, ended_at=1010.0)
    assert listing([row], NOW_S)[1].split()[-2:] == ["10s", "5s"]


def test_a_job_removed_before_its_start_never_ran() -> None:
    assert listing([job(state="done", ended_at=1010.0)], NOW_S)[1].split()[-2:] == ["10s", "-"]


def test_a_job_that_waits_for_another_attempt_does_not_run_meanwhile() -> None:
    assert listing([job(attempt=1, started_at=1005.0)], NOW_S)[1].split()[-1] == "-"


def test_a_clock_that_went_backwards_is_no_matter() -> None:
    assert listing([running()], 0.0)[1].split()[-2:] == ["0s", "0s"]


@given(user=ANY_TEXT, name=ANY_TEXT, priority=ANY_TEXT, started=st.none() | st.floats())
def test_nine_columns_whatever_is_in_names(user: str, name: str, priority: str, started: float | None) -> None:
    rows = [job(user=user, name=name, priority=priority), running(user=name, name=user, started_at=started)]
    for line in listing(rows, NOW_S)[:-1]:
        assert len(line.split()) == 9
        assert printable(line) == line


def test_wide_letters_and_marks_do_not_disturb_the_columns() -> None:
    lines = listing([job(name="日本"), job(name="e\u0301"), job(name="abcdefghij")], NOW_S)
    assert [line.split("12h50m27s")[0].rstrip(" ") for line in lines[1:4]] == [
        "2530 anze W      med      -      -      日本",
        "2530 anze W      med      -      -      e\u0301",
        "2530 anze W      med      -      -      abcdefghij",
    ]
    assert [line.index("12h50m27s") for line in lines[1:4]] == [51 - 2, 51 + 1, 51]


def test_one_absurd_name_is_shown_whole_and_widens_no_other_line() -> None:
    lines = listing([job(name="x" * 10_000), job()], NOW_S)
    assert "x" * 10_000 in lines[1]
    assert len(lines[2]) < 80 + WIDEST


def test_colour_changes_nothing_but_the_colour() -> None:
    rows = [running(), job(), job(state="held"), job(state="new")]
    painted = listing(rows, NOW_S, Style(enabled=True))
    assert "\x1b" in painted[1]
    assert [re.sub(r"\x1b\[[0-9]*m", "", line) for line in painted] == listing(rows, NOW_S)


class TestTheBriefForm:
    """Rows as lists, in the order of FIELDS."""

    def row(self, **changes: Any) -> list[Any]:
        names = (
            "id task user state priority ncores nhosts name submitted_at started_at ended_at counts dark last".split()
        )
        usual = [12, None, "anze", "queued", "med", None, None, "fit", NOW_S - 60, None, None, None, None, None]
        row = dict(zip(names, usual, strict=True))
        assert changes.keys() <= row.keys()
        return list((row | changes).values())

    def line(self, **changes: Any) -> list[str]:
        return listing([self.row(**changes)], NOW_S)[1].split()

    @given(
        st.lists(
            st.builds(
                job,
                id=st.integers(1, 10**6),
                user=TEXT,
                name=TEXT,
                state=st.sampled_from(["queued", "starting", "running", "stopping", "held", "done", "new"]),
                ncores=st.none() | st.integers(0, 5000),
                submitted_at=st.floats(0, 1e6),
                started_at=st.none() | st.floats(0, 1e6),
                ended_at=st.none() | st.floats(0, 1e6),
            ),
            max_size=5,
        )
    )
    def test_is_listed_as_the_long_one(self, rows: list[dict[str, Any]]) -> None:
        assert listing(list(map(brief, rows)), NOW_S) == listing(rows, NOW_S)

    def test_one_row_may_stand_for_many_jobs(self) -> None:
        alike = [self.row(id=number) for number in range(8, 12)]
        assert listing([self.row(id=8, last=11)], NOW_S) == listing(alike, NOW_S)
        mixed = [self.row(id=7, state="held"), self.row(id=8, last=11), self.row(id=999, user="erin")]
        assert listing(mixed, NOW_S) == listing([mixed[0], *alike, mixed[2]], NOW_S)

    def test_a_percent_sign_is_one(self) -> None:
        assert listing([self.row(id=8, last=9, name="50%d")], NOW_S)[2].split()[6] == "50%d"

    @pytest.mark.parametrize(
        ("counts", "status"),
        [
            ([8120, 48, 1832, 0], "W8120/R48/D1832"),
            ([0, 0, 10000, 0], "D10000"),
            ([0, 0, 9997, 3], "D9997/F3"),
            ([5, 0, 0, 0], "W5"),
            ([0, 2, 0, 1], "R2/F1"),
            ([0, 0, 0, 0], "W0"),
        ],
    )
    def test_the_status_of_an_array_is_one_word_of_counts(self, counts: list[int], status: str) -> None:
        line = self.line(counts=counts, state="running", ncores=48, nhosts=4, started_at=NOW_S - 30)
        assert line == ["12", "anze", status, "med", "48", "4", "fit", "1m00s", "30s"]

    def test_the_counts_of_a_row_with_names_are_in_its_array(self) -> None:
        array = {"waiting": 8120, "running": 48, "done": 1832, "failed": 0, "tasks": 10_000}
        assert listing([running() | {"array": array}], NOW_S)[1].split()[2] == "W8120/R48/D1832"

    def test_an_array_runs_since_its_first_start_also_while_it_waits(self) -> None:
        assert self.line(counts=[5, 0, 1, 0], started_at=NOW_S - 30)[3:] == ["med", "-", "-", "fit", "1m00s", "30s"]
        assert self.line(counts=[5, 0, 0, 0])[-1] == "-"

    def test_a_task_is_named_by_its_number(self) -> None:
        rows = [self.row(counts=[0, 1, 1, 0], started_at=NOW_S), self.row(task=5, state="running", started_at=NOW_S)]
        rows += [self.row(task=100, state="done", ended_at=NOW_S, started_at=NOW_S - 5)]
        assert [line.split()[0] for line in listing(rows, NOW_S)[1:4]] == ["12", "12.5", "12.100"]
        assert [line.index("anze") for line in listing(rows, NOW_S)[1:4]] == [7, 7, 7]

    @pytest.mark.parametrize(
        ("counts", "footer"),
        [
            ([5, 1, 4, 0], "Jobs: 1 Running: 1 Waiting: 0"),
            ([5, 0, 4, 0], "Jobs: 1 Running: 0 Waiting: 1"),
            ([0, 0, 4, 1], "Jobs: 1 Running: 0 Waiting: 0 Done: 1"),
        ],
    )
    def test_an_array_is_one_job_in_the_footer(self, counts: list[int], footer: str) -> None:
        row = self.row(counts=counts)
        assert listing([row], NOW_S)[-1] == footer
        assert listing([row, self.row(task=5, state="done"), self.row(task=6)], NOW_S)[-1][:7] == footer[:7]

    def test_so_are_its_tasks_without_it(self) -> None:
        rows = [self.row(task=5, state="running"), self.row(task=6), self.row(id=13, task=1, state="done")]
        assert listing(rows, NOW_S)[-1] == "Jobs: 2 Running: 1 Waiting: 0 Done: 1"

    def test_the_footer_counts_all_that_a_row_stands_for(self) -> None:
        rows = [self.row(id=1, last=100), self.row(id=101, state="running", started_at=NOW_S)]
        assert listing(rows, NOW_S)[-1] == "Jobs: 101 Running: 1 Waiting: 100"

    def test_colour_changes_nothing_but_the_colour(self) -> None:
        rows = [self.row(counts=[5, 1, 4, 2]), self.row(id=13, last=15), self.row(id=16, task=3, state="running")]
        painted = listing(rows, NOW_S, Style(enabled=True))
        assert "\x1b[32mW5/R1/D4/F2\x1b[0m" in painted[1]
        assert [re.sub(r"\x1b\[[0-9]*m", "", line) for line in painted] == listing(rows, NOW_S)

    def test_what_nobody_can_hear_of_is_found_with_each_id_once(self) -> None:
        dark = {"since": 1.0, "hosts": ["a"], "why": "x"}
        rows = [self.row(id=1), self.row(id=2, last=3, dark=dark), self.row(id=4, task=1, dark=dark)]
        rows += [self.row(id=4, task=2, dark=dark)]
        assert [row["id"] for row in in_the_dark(rows)] == [2, 3, 4]
        assert in_the_dark([job() | {"out_of_sight": dark}]) == [{"id": 2530, "out_of_sight": dark}]

    def test_a_hundred_thousand_lines_are_made_one_by_one_only_where_they_differ(self) -> None:
        lines = listing([self.row(id=1, last=100_000)], NOW_S)
        assert len(lines) == 100_002
        assert lines[-2].split()[0] == "100000"


def test_the_full_form_is_one_document_that_a_person_can_read() -> None:
    hosts = [{"host": "astro0001", "cores": [0, 1]}]
    assert (
        full([running(hosts=hosts, ncores=2, nhosts=1), job(command="awk '{print $1}' a:b", name="no")])
        == """\
- id: 2530
  user: anze
  uid: 1001
  name: source
  command: |
    source setup.sh
    ./run --all
  state: running
  priority: med
  mode: bycore
  "n": 132
  ncores: 2
  nhosts: 1
  hosts:
    - host: astro0001
      cores: [0, 1]
  attempt: 0
  foreground: true
  submit_dir: /home/anze
  requirement:
    group:
      - gen4
  submitted_at: 1000.0
  started_at: 1000.0
  ended_at: null
  reason: null
  outcome: null
- id: 2530
  user: anze
  uid: 1001
  name: "no"
  command: "awk '{print $1}' a:b"
  state: queued
  priority: med
  mode: bycore
  "n": 132
  ncores: null
  nhosts: null
  hosts: []
  attempt: 0
  foreground: true
  submit_dir: /home/anze
  requirement:
    group:
      - gen4
  submitted_at: 1000.0
  started_at: null
  ended_at: null
  reason: null
  outcome: null
"""
    )


def test_no_jobs_are_an_empty_list() -> None:
    assert full([]) == "[]\n"


def loads(text: str) -> list[Any]:
    """By both parsers of PyYAML, which must agree."""
    pure = yaml.load(text, yaml.SafeLoader)
    assert yaml.load(text, yaml.CSafeLoader) == pure
    assert isinstance(pure, list)
    return pure


@given(TEXT)
@example("a\n\n b\n")
@example("a\nb\n\n")
@example("\n")
@example("a\n ")
@example("---\n...\n# no")
@example("\\\u202e\\")
@example('"\\')
def test_the_full_form_loads_to_the_rows_for_any_text(text: str) -> None:
    rows = [job(name=text, command=text, requirement={"host": text, "group": [text, [text]]}, submit_dir=text)]
    rows.append(job(reason={"code": "x", "text": text}, hosts=[{"host": text, "cores": []}]))
    assert loads(full(rows)) == rows


TRICKY = """
1e3 0o17 0x1F 010 1:30:00 08:00:00 0b1 1_000 .5 5. +1 -1 -.inf .nan nan inf ~ null Null y Y n No on OFF
true = << - -- --- ...
2024-01-01 ? : # & * ! | > ' " % @ ` [ ] { } , a: :a a:b a,b -a - a /etc _1 _ e5 NaN true: {a} !!str *x &x
"""


@pytest.mark.parametrize("text", [*TRICKY.split(), "a #b", "a: b", "- a", " a", "a ", "? a", "true ", "no"])
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert loads(full([{"a": text}])) == [{"a": text}]
    assert loads(full([{text: text}])) == [{text: text}]


@pytest.mark.parametrize("text", ["1e3", "0o17", "1_000", "012", "1:30", "+1", ".5", "no", "Y", "=", "~", "<<"])
def test_what_some_version_of_yaml_takes_for_more_than_text_is_quoted(text: str) -> None:
    assert full([{"a": text}]) == f'- a: "{text}"\n'


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("nab ", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(TEXT.filter(lambda key: len(key) < 100), VALUES, max_size=3), max_size=3))
def test_any_values_of_json_load_to_themselves(rows: list[dict[str, Any]]) -> None:
    assert loads(full(rows)) == rows


@given(ANY_TEXT)
def test_the_full_form_is_harmless_on_a_terminal(text: str) -> None:
    shown = full([job(name=text, command=text + "\n" + text, requirement={text: text})])
    assert printable(shown.replace("\n", "")) == shown.replace("\n", "")
    loads(shown)


def test_no_code_point_comes_out_of_the_full_form_as_a_control() -> None:
    shown = full([{"a": "x".join(map(chr, range(0x110000)))}])
    assert printable(shown.replace("\n", "")) == shown.replace("\n", "")
    assert not set(shown.encode()) & ({*range(0x20), 0x7F} - {0x0A})


def test_half_a_character_is_shown_and_breaks_nothing() -> None:
    assert loads(full([{"a": "x\udc80"}])) == [{"a": "x\\udc80"}]


def test_numbers_that_json_does_not_know_but_python_reads() -> None:
    loaded = loads(full([{"a": math.inf, "b": -math.inf, "c": math.nan, "d": 1e300, "e": 1e-7}]))
    assert math.isnan(loaded[0].pop("c"))
    assert loaded == [{"a": math.inf, "b": -math.inf, "d": 1e300, "e": 1e-7}]


def test_a_value_that_is_none_of_json_is_a_bug() -> None:
    with pytest.raises(TypeError, match="bytes"):
        full([{"a": b""}])


def test_the_columns_of_very_many_rows_are_theirs() -> None:
    rows = [[number, -number, "x"] for number in range(1000)]
    assert turned(rows, 3) == [[*range(1000)], [-number for number in range(1000)], ["x"] * 1000]
    assert turned([], 2) == [[], []]


def test_the_parts_of_an_array_are_named_in_one_place_in_the_order_of_the_server() -> None:
    counted = dict(zip(PARTS, (8120, 48, 1832, 7), strict=True))
    row = brief({"array": {"tasks": 10_000, **counted}})
    assert row[FIELDS.index("counts")] == [8120, 48, 1832, 7]
    text = ", ".join(f'"{part}"' for part in PARTS)
    sources = Path(wq.cli.__path__[0]).rglob("*.py")
    assert [path.name for path in sources if text in path.read_text()] == ["jobs.py"]
