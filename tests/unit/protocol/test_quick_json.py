"""The quick reader and writer of JSON and those of `json` agree on everything, errors included."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wq.protocol import quick_json

ANY_TEXT = st.text(alphabet=st.characters(codec=None, exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(ANY_TEXT, inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"a"',
        b'"\\u00e9"',
        b'"\\ud800"',
        b'"\xc3\xa9"',
        b'"\xff"',
        b"1",
        b"-",
        b"1e5",
        b".5",
        b"01",
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b" ",
        b"\n",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"'",
        b"//",
    ]
)


def read(loads: object, body: bytes) -> object:
    try:
        return repr(loads(body))  # type: ignore[operator]
    except ValueError as error:
        return type(error).__name__, str(error)


@given(st.binary(max_size=40) | st.lists(PIECES, max_size=12).map(b"".join))
@example(b"")
@example(b'{"a": 1} ')
@example(b' {"a": 1}')
@example(b'{"a": 1, "a": 2}')
@example('{"a": "\u017e"}'.encode("utf-16"))
@example(b'\xef\xbb\xbf{"a": 1}')
@example(b"1" * 5000)
def test_both_read_any_bytes_alike(body: bytes) -> None:
    assert read(quick_json.loads, body) == read(json.loads, body)


@given(VALUES)
def test_both_write_any_value_alike(value: object) -> None:
    written = quick_json.dumps(value)
    assert written == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    body = written.encode("utf-8", "replace")
    assert repr(quick_json.loads(body)) == repr(json.loads(body))


@pytest.mark.parametrize("key", [1, 1.5, True, None, math.inf])
def test_keys_that_are_no_text_become_text(key: object) -> None:
    assert quick_json.dumps({key: 1}) == json.dumps({key: 1}, separators=(",", ":"))


@pytest.mark.parametrize("value", [b"x", {1, 2}, {(1, 2): 3}, [object()]], ids=["bytes", "set", "tuple", "object"])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        quick_json.dumps(value)


def test_nor_is_what_holds_itself() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        quick_json.dumps(loop)
    assert quick_json.dumps([1]) == "[1]"


def test_a_body_that_is_too_deep_is_an_error_and_no_crash() -> None:
    with pytest.raises(RecursionError):
        quick_json.loads(b"[" * 500_000)


def test_without_the_c_half_json_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_json, "_scan", None)
    monkeypatch.setattr(quick_json, "make_encoder", None)
    assert quick_json.loads(b'{"a":[1,"\xc5\xbe"]}') == {"a": [1, "\u017e"]}
    assert quick_json.dumps({"a": [1, "\u017e"]}) == '{"a":[1,"\u017e"]}'
