"""Names of output files: their placeholders, and what can be none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.formats.jobfile import describe, parse_job_file, parse_requirement
from wq.formats.outputs import PLACEHOLDERS, OutputError, check_template, filled, has, safe

VALUES = {"j": "12", "a": "3", "x": "fit", "u": "anze", "N": "n1", "%": "%"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("fit.log", "fit.log"),
        ("logs/%x-%j_%a.log", "logs/fit-12_3.log"),
        ("%u/%x/%N", "anze/fit/n1"),
        ("100%%%%j", "100%%j"),
        ("%%%j", "%12"),
    ],
)
def test_placeholders_stand_for_what_they_say(text: str, name: str) -> None:
    check_template(text)
    assert filled(text, VALUES) == name


@pytest.mark.parametrize("text", ["%", "x%", "%q", "%J", "% j", "%5j", "%\u017e"])
def test_what_is_no_placeholder_is_told_with_all_that_are(text: str) -> None:
    with pytest.raises(OutputError) as error:
        check_template(text)
    assert all(f"%{letter} (" in str(error.value) for letter in PLACEHOLDERS)


@pytest.mark.parametrize("text", ["%j/out", "logs/%a/%x", "a%N/b", "logs/", "/"])
def test_a_directory_must_be_known_when_the_job_is_submitted(text: str) -> None:
    with pytest.raises(OutputError):
        check_template(text)


def test_whether_a_placeholder_is_in_it() -> None:
    assert has("x-%a", "a")
    assert not has("x-%%a", "a")


@given(st.text())
def test_a_name_never_leads_out_of_its_directory(name: str) -> None:
    part = safe(name)
    assert part not in ("", ".", "..")
    assert not set(part) & {"/", "\0", "\n", "%"}
    assert len(part.encode()) <= 200


def test_the_keys_of_job_files() -> None:
    [fields] = parse_job_file("command: a\noutput: o-%j\nerror: /e\nkeep_output: failed\n", source="job.yaml")
    found = describe(fields)
    assert (found.output, found.error, found.keep_output) == ("o-%j", "/e", "failed")


@pytest.mark.parametrize(
    "text", ["output: %q", "error: '%'", "keep_output: no", "output: [a, b]", "output:", "error: a/"]
)
def test_a_bad_value_is_refused_with_its_place_and_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"^-r:1: in ") as error:
        parse_requirement(text)
    assert "\n" not in str(error.value)
