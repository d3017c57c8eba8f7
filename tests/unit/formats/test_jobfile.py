"""Job files and -r texts: what is read, as which type, and what is refused with which line."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from wq.core.job import Mode, Priority, Requirement
from wq.formats import MAX_TEXT_BYTES, FormatError
from wq.formats.jobfile import (
    JobDescription,
    JobFields,
    Value,
    command_fields,
    describe,
    merge,
    parse_job_file,
    parse_requirement,
)

T = TypeVar("T")

SEED_EXAMPLE = """\
# this is the command to be run.
command: mycommand

# this is the type of node/host selection. bynode means select entire nodes.
mode: bynode

# Since the mode is bynode, this means 5 full nodes
N: 5

# Select from this group(s)
group: gen1

# Do not select from this set of groups
notgroup: [slow,crappy]

# require at least this many cores
min_cores: 8
"""

OLD_MPI_JOB = """\
command: |
    source ~/.bashrc
    cd $HOME/runs   # this comment is the shell's
    mpirun -hostfile %hostfile% ./program --config="a: b; c"

mode: bycore
N: 132
group:
    - gen4
    - gen5
threads: 4
hostfile: auto
job_name: dosim
priority: med
"""


def values(fields: JobFields) -> dict[str, Value]:
    return {key: found.value for key, found in fields.given.items()}


def read(text: str) -> dict[str, Value]:
    [fields] = parse_job_file(text, source="job.yaml")
    return values(fields)


def required(text: str) -> dict[str, Value]:
    return values(parse_requirement(text))


def described(text: str) -> JobDescription:
    return describe(parse_requirement(text))


def outcome(act: Callable[[], T]) -> T | FormatError:
    try:
        return act()
    except FormatError as error:
        return error


def refusal_of_file(text: str) -> str:
    with pytest.raises(FormatError) as caught:
        parse_job_file(text, source="job.yaml")
    return str(caught.value)


def refusal_of_requirement(text: str) -> str:
    with pytest.raises(FormatError) as caught:
        parse_requirement(text)
    return str(caught.value)


def refusal_of_description(text: str) -> str:
    with pytest.raises(FormatError) as caught:
        described(text)
    return str(caught.value)


@pytest.fixture(params=["C loader", "pure loader"])
def either_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure loader":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)


# ---- job files


def test_the_example_of_the_seed_is_read() -> None:
    assert read(SEED_EXAMPLE) == {
        "command": "mycommand",
        "mode": Mode.BYNODE,
        "N": 5,
        "group": ("gen1",),
        "notgroup": ("slow", "crappy"),
        "min_cores": 8,
    }


@pytest.mark.usefixtures("either_loader")
def test_a_block_of_an_old_mpi_job_comes_through_untouched() -> None:
    job = read(OLD_MPI_JOB)
    assert job["command"] == (
        "source ~/.bashrc\n"
        "cd $HOME/runs   # this comment is the shell's\n"
        'mpirun -hostfile %hostfile% ./program --config="a: b; c"\n'
    )
    assert (job["N"], job["group"], job["threads"], job["hostfile"]) == (132, ("gen4", "gen5"), 4, "auto")


def test_each_document_that_is_not_empty_is_a_job() -> None:
    jobs = parse_job_file("---\ncommand: a\n---\n# nothing\n---\ncommand: b\n---\n", source="job.yaml")
    assert [values(job) for job in jobs] == [{"command": "a"}, {"command": "b"}]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n---\n"])
def test_a_file_without_a_job_is_refused(text: str) -> None:
    assert refusal_of_file(text) == "job.yaml:1: there is no job here; at least 'command: ...' is needed"


def test_fields_remember_where_they_were_given() -> None:
    [fields] = parse_job_file("command: |\n  a\n  b\n\nN: 3\n", source="job.yaml")
    assert fields.given["N"] == (3, "job.yaml", 5)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    assert read("\ufeffN: 3\r\njob_name: a\r\n") == {"N": 3, "job_name": "a"}


# ---- each key reads the text as its own type


@pytest.mark.usefixtures("either_loader")
@pytest.mark.parametrize("text", ["010", "no", "1:30:00", "1e3", "2024-01-01", "0x1F", ".inf", "=", "True"])
def test_a_name_is_the_text_that_was_written(text: str) -> None:
    assert read(f"job_name: {text}") == {"job_name": text}
    assert read(f"command: {text}") == {"command": text}
    assert required(f"job_name:{text}") == {"job_name": text}


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("010", 10), ("'4'", 4), ("1000000", 1_000_000)])
def test_a_count_is_decimal_always(text: str, count: int) -> None:
    assert read(f"N: {text}") == {"N": count}


@pytest.mark.parametrize(
    "text", ["0", "-1", "+4", "4.0", "1e3", "1_000", "0x10", "1:30", "four", "1000001", "9" * 5000]
)
def test_what_is_no_count_is_refused_with_the_range(text: str) -> None:
    message = refusal_of_file(f"command: a\nN: {text}")
    assert message.startswith("job.yaml:2: N is '")
    assert message.endswith("; allowed: a whole number from 1 to 1000000")


def test_groups_are_names_in_whatever_form_they_come() -> None:
    same = ["[a, b]", "a,b", "a, b", "\n- a\n- b", "[a, b, a]", "['a', \"b\"]"]
    assert [read(f"group: {text}") for text in same] == [{"group": ("a", "b")}] * len(same)
    assert read("group: [1, no, 010]") == {"group": ("1", "no", "010")}
    assert read("group: gen1") == {"group": ("gen1",)}


def test_an_empty_list_of_groups_takes_back_those_of_the_file() -> None:
    [base] = parse_job_file("group: gen1", source="job.yaml")
    assert describe(merge(base, parse_requirement("group: []"))).requirement.groups == ()


@pytest.mark.parametrize("text", ["a,,b", "a b", "-a", "'a\nb'", "[a, 'b,c']", "é", "[ok, ../x]"])
def test_what_cannot_be_a_group_is_refused(text: str) -> None:
    assert "cannot be a group; allowed: letters" in refusal_of_file(f"group: {text}")


@pytest.mark.parametrize("key", ["not_group", "notgroups", "notgroup"])
def test_notgroup_has_its_older_names(key: str) -> None:
    assert read(f"{key}: [slow]") == {"notgroup": ("slow",)}


@pytest.mark.parametrize(
    ("text", "on"), [("true", 1), ("1", 1), ("YES", 1), ("On", 1), ("false", 0), ("0", 0), ("no", 0)]
)
def test_x_is_true_or_false(text: str, on: int) -> None:
    assert read(f"X: {text}") == {"X": bool(on)}


@pytest.mark.parametrize("mode", Mode)
def test_modes_are_written_with_or_without_underscore_in_any_case(mode: Mode) -> None:
    with_underscore = mode.replace("by", "by_")
    for text in (mode.value, mode.upper(), with_underscore, with_underscore.title()):
        assert read(f"mode: {text}") == {"mode": mode}


def test_a_misspelt_mode_is_told_the_nearest() -> None:
    assert refusal_of_file("mode: bynodes") == (
        "job.yaml:1: mode is 'bynodes' (did you mean bynode?); allowed: bycore, bycore1, bynode, byhost, bygroup"
    )


def test_medium_is_med() -> None:
    assert read("priority: Medium") == {"priority": Priority.MED}


@pytest.mark.parametrize(
    ("text", "mem_gb"),
    [("32", 32), ("48.5", 48.5), ("32GB", 32), ("1.5 gb", 1.5), ("512M", 0.5), ("2TiB", 2048), ("0", 0)],
)
def test_memory_is_in_gigabytes_unless_it_says_otherwise(text: str, mem_gb: float) -> None:
    assert read(f"min_mem: {text}") == {"min_mem": mem_gb}


@pytest.mark.parametrize("text", ["nan", ".inf", "-1", "1e3", "32B", "9999999999", "1:30"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    assert "allowed: a number of gigabytes" in refusal_of_file(f"min_mem: {text}")


@pytest.mark.parametrize("text", ["-oProxyCommand=x", "a b", "a@b", "[a, b]", "%h", "a/b"])
def test_a_host_is_one_plain_name(text: str) -> None:
    assert refusal_of_file(f"host: '{text}'").startswith("job.yaml:1: host '")


def test_a_job_name_has_a_length_and_no_control_characters() -> None:
    assert read(f"job_name: {'x' * 200}") == {"job_name": "x" * 200}
    assert read("job_name: Müller läuft 7") == {"job_name": "Müller läuft 7"}
    for text in ("x" * 201, r'"a\nb"', r'"a\eb"', r'"a\0b"', r'"a\u202eb"', r'"a\u2028b"'):
        assert refusal_of_file(f"job_name: {text}").endswith("; allowed: at most 200 characters, no control characters")


def test_a_nul_in_a_command_is_refused() -> None:
    assert refusal_of_file(r'command: "a\0b"').endswith("; allowed: UTF-8 without NUL")


def test_a_hostfile_is_a_path_or_auto() -> None:
    assert read("hostfile: Auto") == {"hostfile": "auto"}
    assert read("hostfile: ~/my hosts.txt") == {"hostfile": "~/my hosts.txt"}


@pytest.mark.parametrize("text", ["", "~", "null", "NULL", "''", "' '", "# 4"])
@pytest.mark.parametrize("key", ["command", "N", "group", "X", "job_name", "hostfile", "host"])
def test_a_key_without_a_value_is_refused(key: str, text: str) -> None:
    assert refusal_of_file(f"{key}: {text}") == f"job.yaml:1: {key} has no value; give it one, or leave it out"


def test_a_quoted_null_is_a_text() -> None:
    assert read("job_name: 'null'") == {"job_name": "null"}


def test_a_list_is_refused_where_one_value_is_meant() -> None:
    assert refusal_of_file("N: [1, 2]") == "job.yaml:1: N is a list; allowed: one value"
    assert refusal_of_file("command: [ls, -l]").startswith("job.yaml:1: command is a list; allowed: one text")


# ---- what a job file must not contain


def test_an_unknown_key_is_told_the_nearest_and_all_allowed() -> None:
    assert refusal_of_file("command: a\nprioritty: low") == (
        "job.yaml:2: unknown key 'prioritty' (did you mean priority?); allowed: command, mode, N, group, notgroup, "
        "host, min_cores, min_mem, X, priority, job_name, hostfile, threads, env, private, requeue, array, "
        "after, after_any, after_notok, after_each, begin, hold, max_fails, retries, retry_wait, retry_on, "
        "notify, notify_on, time, signal, output, error, keep_output"
    )
    assert "(did you mean N?)" in refusal_of_file("n: 4")


@pytest.mark.parametrize("second", ["N: 4", "'N': 4"])
def test_a_key_given_twice_is_refused(second: str) -> None:
    message = refusal_of_file(f"N: 3\ncommand: a\n{second}")
    assert message == "job.yaml:3: N is given twice, first at job.yaml:1; give it once"


def test_a_key_given_under_two_of_its_names_is_given_twice() -> None:
    assert "group is given twice" in refusal_of_file("group: a\ngroups: b")


@pytest.mark.usefixtures("either_loader")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N: &n 4", "job.yaml:1: YAML's anchors (&) and aliases (*) are not allowed"),
        ("command: a\nN: *n", "job.yaml:2: YAML's anchors (&) and aliases (*) are not allowed"),
        ("job_name: !!str 010", "job.yaml:1: YAML's tags (!) are not allowed"),
        ("!!map {N: 1}", "job.yaml:1: YAML's tags (!) are not allowed"),
        ("command: !x/y z", "job.yaml:1: YAML's tags (!) are not allowed"),
        ("N: {a: 1}", "job.yaml:1: a value cannot be a map"),
        ("group:\n  - a\n  - b: c", "job.yaml:3: a list or a map cannot be inside a list"),
        ("? [a]\n: 1", "job.yaml:1: a list or a map cannot be a key"),
        ("- a\n- b", "job.yaml:1: this is not a job file"),
        ("./run", "job.yaml:1: this is not a job file"),
        ("#!/bin/sh\n./run", "job.yaml:2: this is not a job file, which has a key on each line; a script is submitted"),
        ("command: echo a: b", "job.yaml:1: YAML cannot read this: mapping values are not allowed"),
        ("N: 1\ncommand: %x", "job.yaml:2: YAML cannot read this: found character"),
        ("N: 1\ncommand: 'x\nmode: bynode\n", "job.yaml:2: YAML cannot read this: found unexpected end of stream"),
        ("N: 1\ngroup: [a\n", "job.yaml:2: YAML cannot read this: "),
        ("N: 1\n  X: 1", "job.yaml:2: YAML cannot read this: "),
        ('command: "\\UFFFFFFFF"', "job.yaml:1: YAML cannot read this: "),
        ('command: "\\ud800"', "job.yaml:1: "),
        ("N: 1\nX: \x07", "job.yaml:2: the character '\\x07' is not allowed"),
        ("command: ls \udcff", "job.yaml:1: the character '\\udcff' is not allowed"),
    ],
)
def test_what_is_not_plain_keys_and_values_is_refused_in_one_line(text: str, message: str) -> None:
    found = refusal_of_file(text)
    assert found.startswith(message)
    assert "\n" not in found


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert refusal_of_file(bomb).startswith("job.yaml:1: YAML's anchors")


@pytest.mark.parametrize("deep", ["[", "{", "- ", "? ", "N: [", "'", '"', "&a "])
def test_depth_costs_nothing(deep: str) -> None:
    assert refusal_of_file(deep * 200_000).startswith("job.yaml:1: ")


def test_a_text_has_a_greatest_size() -> None:
    text = "command: "
    assert read(text + "x" * (MAX_TEXT_BYTES - len(text)))
    assert "too large" in refusal_of_file(text + "x" * MAX_TEXT_BYTES)
    assert "too large" in refusal_of_file(text + "ä" * (MAX_TEXT_BYTES // 2))


def test_an_error_has_its_place_as_attributes() -> None:
    with pytest.raises(FormatError) as caught:
        parse_job_file("command: a\nN:  x\n", source="job.yaml")
    assert (caught.value.source, caught.value.line, caught.value.column) == ("job.yaml", 2, 5)


def test_an_error_is_one_line_even_where_the_file_has_an_odd_name() -> None:
    with pytest.raises(FormatError) as caught:
        parse_job_file("", source="a\nb\x1b.yaml")
    assert str(caught.value).startswith(r"a\nb\x1b.yaml:1: there is no job here")


# ---- -r


def test_requirements_from_old_scripts_work() -> None:
    assert required("mode:bycore;N:4;hostfile: auto;job_name:mpi_test;priority:med;group:[a,b]") == {
        "mode": Mode.BYCORE,
        "N": 4,
        "hostfile": "auto",
        "job_name": "mpi_test",
        "priority": Priority.MED,
        "group": ("a", "b"),
    }
    assert required("job_name:x") == {"job_name": "x"}
    assert required("mode: bynode; N: 1; min_cores:2; group:[new,new2]") == {
        "mode": Mode.BYNODE,
        "N": 1,
        "min_cores": 2,
        "group": ("new", "new2"),
    }
    assert required("X:1") == {"X": True}


@pytest.mark.parametrize("text", ["", " ", ";", ";\n;; "])
def test_a_requirement_may_be_empty(text: str) -> None:
    assert required(text) == {}


def test_items_end_at_semicolons_and_newlines_but_not_in_quotes_or_brackets() -> None:
    assert required("N:2;\n job_name: x ;") == {"N": 2, "job_name": "x"}
    assert required("""job_name:"a;b: c"; N:2""") == {"job_name": "a;b: c", "N": 2}
    assert required("group:[a,\n b]; N:2") == {"group": ("a", "b"), "N": 2}
    assert required("""command: sh -c "a; b" 'c;d'; N:2""") == {"command": """sh -c "a; b" 'c;d'""", "N": 2}
    assert required(r"""command: echo "\";" ; N:2""") == {"command": r'echo "\";"', "N": 2}


def test_an_apostrophe_within_a_word_is_no_quote() -> None:
    assert required("job_name: don't; N: 2") == {"job_name": "don't", "N": 2}


def test_only_the_first_colon_of_an_item_separates() -> None:
    assert required("job_name:1:30:00;command: echo a: b") == {"job_name": "1:30:00", "command": "echo a: b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("X:1; N:x", "-r:2: in 'N:x': N is 'x'; allowed: a whole number from 1 to 1000000"),
        ("#'", "-r:1: in \"#'\": ' is never closed; close it"),
        ("N 4", "-r:1: in 'N 4': there is no colon; write 'key: value'"),
        ("N:", "-r:1: in 'N:': N has no value; give it one, or leave it out"),
        ("N:1;N:2", "-r:2: in 'N:2': N is given twice, first at -r:1; give it once"),
        ("X:1;group:[a", "-r:2: in 'group:[a': [ is never closed; close it"),
        ("job_name: 'a; N:2", "-r:1: in \"job_name: 'a; N:2\": ' is never closed; close it"),
    ],
)
def test_an_error_names_r_and_the_item(text: str, message: str) -> None:
    assert refusal_of_requirement(text) == message


@pytest.mark.parametrize(
    "text", ["group:[a,[b]]", "group:[*a]", "group:[&a b]", "group:[!!str a]", "group:[a: b]", "N:{a: b}"]
)
def test_lists_within_a_requirement_are_as_strict_as_in_a_file(text: str) -> None:
    assert refusal_of_requirement(text).startswith(f"-r:1: in '{text}': ")


def test_an_item_cannot_smuggle_in_a_second_key() -> None:
    assert "more than one value" in refusal_of_requirement("group:[a]\x85value: [b]")


# ---- -c, merge and describe


def test_a_command_of_the_command_line_is_one_key_untouched() -> None:
    assert values(command_fields("  echo a: [b; *c\n")) == {"command": "  echo a: [b; *c\n"}
    for bad in ("", "  ", "a\0b"):
        with pytest.raises(FormatError, match=r"^-c:1: command "):
            command_fields(bad)


def test_a_requirement_overrides_the_file_key_by_key() -> None:
    [base] = parse_job_file("command: a\nN: 3\ngroup: [x, y]\nnot_group: z", source="job.yaml")
    both = merge(base, parse_requirement("N:5;groups:w;notgroup:v"))
    assert values(both) == {"command": "a", "N": 5, "group": ("w",), "notgroup": ("v",)}
    assert values(base)["N"] == 3


def test_nothing_given_is_one_core_anywhere() -> None:
    assert described("") == JobDescription(
        command=None,
        job_name=None,
        hostfile=None,
        x=False,
        env="submit",
        private=False,
        requeue=True,
        requirement=Requirement(),
    )


def test_everything_given_arrives() -> None:
    text = (
        "command: ./a; mode:by_host; N:8; group:g; notgroup:h; host:n1; min_cores:2; min_mem:3.5; X:yes; "
        "priority:block; job_name:j; hostfile:auto; threads:4; env:Clean; private:on; requeue:Off"
    )
    assert described(text) == JobDescription(
        command="./a",
        job_name="j",
        hostfile="auto",
        x=True,
        env="clean",
        private=True,
        requeue=False,
        requirement=Requirement(
            mode=Mode.BYHOST,
            n=8,
            groups=("g",),
            notgroups=("h",),
            host="n1",
            min_cores=2,
            min_mem_gb=3.5,
            threads=4,
            priority=Priority.BLOCK,
        ),
    )


def test_byhost_needs_a_host_and_bygroup_a_group() -> None:
    assert refusal_of_description("N:2;mode:byhost").startswith("-r:2: mode byhost needs the key host")
    assert refusal_of_description("mode:bygroup;group:[]").startswith("-r:1: mode bygroup needs the key group")


def test_a_host_with_another_mode_means_that_node_only() -> None:
    assert described("mode:bycore;host:n1").requirement.host == "n1"


def test_bygroup_takes_no_n() -> None:
    assert refusal_of_description("mode:bygroup;group:a;N:2").startswith("-r:3: N is not used by mode bygroup")
    assert described("mode:bygroup;group:a;N:1;threads:4").requirement.n == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N:10;threads:4", "-r:1: N is 10 and threads is 4; N must be a multiple of threads, the nearest: 8 or 12"),
        (
            "mode:bycore1;N:3;threads:4",
            "-r:2: N is 3 and threads is 4; N must be a multiple of threads, the nearest: 4",
        ),
        ("threads:2", "-r:1: N is 1 and threads is 2; N must be a multiple of threads, the nearest: 2"),
        (
            "N:1000000;threads:3",
            "-r:1: N is 1000000 and threads is 3; N must be a multiple of threads, the nearest: 999999",
        ),
    ],
)
def test_threads_must_divide_the_cores(text: str, message: str) -> None:
    assert refusal_of_description(text) == message


def test_threads_need_not_divide_a_number_of_nodes() -> None:
    assert described("mode:bynode;N:5;threads:4").requirement.threads == 4


def test_an_env_is_one_of_three() -> None:
    assert refusal_of_requirement("env:none").endswith("env is 'none'; allowed: submit, login, clean")


# ---- whatever is written

KEYS = ["command", "mode", "N", "group", "host", "min_mem", "X", "job_name", "hostfile", "threads", "bogus"]
SIGNS = [
    "\n",
    ";",
    ":",
    ": ",
    " ",
    "  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "'",
    '"',
    "&a ",
    "*a",
    "!",
    "|\n",
    "---\n",
    "#",
    "\\",
]
YAMLISH = st.lists(st.sampled_from([*KEYS, *SIGNS, "1", "no", "a", "\x85", "\udc80"]), max_size=30).map("".join)


@settings(deadline=None)
@given(st.one_of(st.text(st.characters()), YAMLISH))
def test_no_text_makes_a_job_file_fail_in_another_way(text: str) -> None:
    found = outcome(lambda: [describe(job) for job in parse_job_file(text, source="job.yaml")])
    if isinstance(found, FormatError):
        assert str(found).startswith(f"job.yaml:{found.line}: ")
        assert 1 <= found.line <= len(text.splitlines()) + 1
        assert str(found).isprintable()


@settings(deadline=None)
@given(st.one_of(st.text(st.characters()), YAMLISH))
def test_no_text_makes_a_requirement_fail_in_another_way(text: str) -> None:
    found = outcome(lambda: described(text))
    if isinstance(found, FormatError):
        assert str(found).startswith(f"-r:{found.line}: ")
        assert str(found).isprintable()


@settings(deadline=None)
@given(
    st.sampled_from([mode for mode in Mode if mode is not Mode.BYGROUP]),
    st.integers(1, 1000),
    st.integers(1, 64),
    st.lists(st.from_regex(r"[a-z0-9_]{1,9}", fullmatch=True), unique=True),
    st.floats(0, 1e6).map(lambda mem_gb: round(mem_gb, 6)),
)
def test_what_is_written_is_what_is_described(
    mode: Mode, ranks: int, threads: int, groups: list[str], mem_gb: float
) -> None:
    listed = ",".join(map(repr, groups))
    text = f"mode:{mode};N:{ranks * threads};threads:{threads};group:[{listed}];host:n;min_mem:{mem_gb:f}"
    found = described(text).requirement
    assert (found.mode, found.n, found.threads, found.groups) == (mode, ranks * threads, threads, tuple(groups))
    assert math.isclose(found.min_mem_gb, mem_gb)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=200))
def test_any_quoted_name_comes_through(name: str) -> None:
    single_quoted = "'" + name.replace("'", "''") + "'"
    found = outcome(lambda: required(f"job_name:{single_quoted}"))
    if isinstance(found, FormatError):
        assert not name.strip() or any(sign in name for sign in "\u2028\u2029")
    else:
        assert str(found["job_name"]).split() == name.split()
