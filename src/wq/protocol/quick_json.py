"""JSON by the C half of Python's own library alone: importing `json` pulls in `re`, and costs each command 10 ms.

What this does not read or write at the first try is given to `json`, which decides: so both always agree.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import Any

    encode_basestring: Any
    make_encoder: Any
    make_scanner: Any
else:
    try:
        from _json import encode_basestring, make_encoder, make_scanner
    except ImportError:  # a Python that is made in another way
        make_encoder = make_scanner = None


class _Reading:
    """How the scanner is to read; as `json.loads` without options does."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__
    memo: dict[str, str] = {}  # noqa: RUF012  only the scanner that is written in Python looks at it


_scan = make_scanner(_Reading) if make_scanner is not None else None


def loads(body: bytes) -> object:
    """What `json.loads` makes of it, and its errors: ValueError, RecursionError."""
    if _scan is not None:
        try:
            text = body.decode()
            value: object
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except (ValueError, StopIteration):
            pass
    import json

    return json.loads(body)


def dumps(value: object) -> str:
    """What `json.dumps` makes of it without blanks and escapes, and its errors: ValueError, TypeError, ..."""
    if make_encoder is not None:
        try:
            encode = make_encoder({}, _refuse, encode_basestring, None, ":", ",", False, False, True)
            return "".join(encode(value, 0))
        except (ValueError, TypeError):
            pass
    import json

    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _refuse(value: object) -> None:
    raise TypeError
