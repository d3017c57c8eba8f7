"""Inputs that are nearly right: valid ones, changed as a careless or an evil writer might change them.

Everything is drawn from the `Random` that is given, so that a seed tells all, and hypothesis can give one of its own.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MOST_BYTES = 1 << 16  # of an input

NUMBERS = [
    *(b"0 -1 -0 1 2 3 7 007 +1 1.5 1e3 .5 0x10 1_000 1:30 NaN -Infinity Infinity 1e400 -1e400 1e-400".split()),
    *(str((1 << bits) - less).encode() for bits in (31, 32, 53, 62, 63, 64) for less in (0, 1)),
    *(str(-(1 << bits) - more).encode() for bits in (31, 63) for more in (0, 1)),
    b"1" + b"0" * 400,
    b"9" * 5000,
    "١٢".encode(),  # digits to str.isdigit, not to everybody
]  # fmt: skip
TOKENS = [
    *(b"true false null ~ no yes & * ! | > ? - : , ; # % @ ` ' \" [ ] { } --- ... << <<EOF $( ) -- \\ /".split(b" ")),
    b"\0", b"\t", b"\r", b"\r\n", b"\n\n", b"\x01\x01", b"\x1b[2J", b"\x7f", b"\xff", b"\xc0\x80", b"\xed\xa0\x80",
    "\ufeff".encode(), "\x85".encode(), "\u2028".encode(), "\u202e".encode(), "\uffff".encode(), "\U0010ffff".encode(),
    b"\\ud800", b"\\udfff\\ud800", b"\\u0000", b'"\\x00"', b'"\\UFFFFFFFF"', b"\xff\xfe", b"\x00\x00\xfe\xff",
    b"&a ", b"*a", b"!!python/object/apply:os.system [x]", b"!x ", b"!!binary ", b"%YAML 9.9\n---\n",
    b"a: &a [*a]\n", b"<<: *a\n", b"? [x]\n", b"? |\n", b"key: >-\n ", b"- ", b": ", b" #", b"x: y\n", b"%%", b"%n%",
    b"-oProxyCommand=x", b"../../x", b"$(touch x)", b"n[1-9999999]", b"n[1-9]" * 9, b"0-2147483647", b"0-9:0", b"%1",
    b'"type":"ls",', b'"seq":1,', b'"more":true,', b"x" * 5000, b" " * 5000, b"[" * 3000, b"{" * 3000, b'{"a":' * 3000,
]  # fmt: skip
NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
Change = Callable[[bytes, Random, Sequence[bytes]], bytes]


def mutated(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """This input with a few changes; others: more inputs of its kind, of which pieces may get in."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        data = rng.choice(CHANGES)(data, rng, others)[:MOST_BYTES]
    return data


def span(data: bytes, rng: Random) -> tuple[int, int]:
    """A piece of it, mostly a short one."""
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((0, 1, 1, 2, 4, 8, 16, 64, 1000)))


def flip(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)),)) + data[at + 1 :]


def cut_out(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    start, end = span(data, rng)
    return data[:start] + data[end:]


def cut_short(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def repeat(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    start, end = span(data, rng)
    return data[:start] + data[start:end] * rng.choice((2, 2, 3, 10, 100, 5000)) + data[end:]


def repeat_line(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    return b"\n".join(lines[: at + 1] + lines[at:] * rng.choice((1, 1, 500)))


def splice(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others) if others else data
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def transplant(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others) if others else data
    (start, end), (low, high) = span(data, rng), span(other, rng)
    return data[:start] + other[low:high] + data[end:]


def token(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    start, end = span(data, rng)
    return data[:start] + rng.choice(TOKENS) + data[start if rng.randrange(2) else end :]


def number(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    found = list(NUMBER.finditer(data))
    if not found:
        return token(data, rng, others)
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(NUMBERS) + data[one.end() :]


def nest(data: bytes, rng: Random, others: Sequence[bytes]) -> bytes:
    start, end = span(data, rng)
    deep, (left, right) = rng.choice((1, 2, 50, 2000)), rng.choice(((b"[", b"]"), (b"{", b"}"), (b'{"a":', b"}")))
    return data[:start] + left * deep + data[start:end] + right * deep + data[end:]


CHANGES: list[Change] = [
    flip, cut_out, cut_short, repeat, repeat_line, splice, transplant, token, token, number, number, nest
]  # fmt: skip


# ---- words: valid JSON, of the wrong kind in one place

ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 255, 1 << 31, 1 << 53, 1 << 62, (1 << 63) - 1, 1 << 63, 1 << 64, -(1 << 63),
    10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "a", "root", "-oProxyCommand=x", "../x", "\0",
    "\ud800", "\u202e", "x" * 2000, "bynode", "block", "exited", [], [[]], [[1, 1]], [[1, 1 << 62]], [[5, 1]],
    [[1, 0, 1 << 62]], [None], ["a"], ["a"] * 300, [[1, 1]] * 300, {}, {"a": "b"}, {"kind": "lost"}, {"n": 1},
    {"pieces": [[0, 9, 0]]}, {"pieces": []}, {"pieces": [[0, 1 << 40, 1]]}, {"pieces": [[9, 0, -1]]},
    {"pieces": [[0, 9, 1], [5, 20, 3]], "at_most": 1}, {"pieces": [[0, 99, 1]]},
]  # fmt: skip


def spoilt(value: Any, rng: Random, numbers: Sequence[int] = ()) -> Any:
    """The same with another value somewhere; numbers: those that mean something just now, such as ids of jobs."""
    if isinstance(value, dict) and value and rng.randrange(8):
        key = rng.choice(list(value))
        return {**value, key: spoilt(value[key], rng, numbers)}
    if isinstance(value, list) and value and rng.randrange(6):
        at = rng.randrange(len(value))
        return [*value[:at], spoilt(value[at], rng, numbers), *value[at + 1 :]]
    if isinstance(value, list) and value and rng.randrange(2):
        return value * rng.choice((2, 3, 50))
    if isinstance(value, int) and numbers and rng.randrange(2):
        return rng.choice(numbers)
    return rng.choice(ODD_VALUES)


def said(word: dict[str, Any], rng: Random, numbers: Sequence[int] = ()) -> bytes:
    """The body of a word that is spoilt in a place or two, its type mostly left as it is."""
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        kind: dict[str, Any] = {name: word[name] for name in ("type", "say", "do") if name in word}
        word = {**found, **kind} if isinstance(found := spoilt(word, rng, numbers), dict) else {"type": found, **kind}
    return json.dumps(word).encode("utf-8", "surrogatepass")


def mutated_words(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A JSON object with other values in it, or other bytes."""
    try:
        word = json.loads(data)
    except (ValueError, RecursionError):
        word = None
    if isinstance(word, dict) and rng.randrange(4):
        return said(word, rng)[:MOST_BYTES]
    return mutated(data, rng, others)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def bodies(data: bytes) -> list[bytes]:
    """The frames of a stream; what is none at its end is left out."""
    found, at = [], 0
    while at + 4 <= len(data) and (end := at + 4 + int.from_bytes(data[at : at + 4], "big")) <= len(data):
        found.append(data[at + 4 : end])
        at = end
    return found


def mutated_frames(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A stream of frames, of which some are others, or missing, or there twice; or any bytes."""
    found = bodies(data)
    if not found or not rng.randrange(6):
        return mutated(data, rng, others)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, what = rng.randrange(len(found)), rng.randrange(8)
        if what == 0:
            found.insert(rng.randrange(len(found) + 1), found[at])
        elif what == 1:
            found += bodies(rng.choice(others))[1:] if others else []
        elif what == 2 and len(found) > 1:
            del found[at]
        else:
            found[at] = mutated_words(found[at], rng)
    return b"".join(map(framed, found))[:MOST_BYTES]


def in_pieces(data: bytes, rng: Random) -> list[bytes]:
    """Cut at random places, sometimes at each byte."""
    if len(data) < 64 and not rng.randrange(8):
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted({0, len(data), *(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 2, 5))))})
    return [data[low:high] for low, high in itertools.pairwise(cuts)]
