"""Ids of jobs as people write them: 12, 3-9."""

from __future__ import annotations

from wq.cli.errors import BAD_INPUT, WqError

LARGEST = 1 << 62
MOST_RANGES = 200
LONGEST = 200  # characters of one word


def id_ranges(words: list[str]) -> list[list[int]]:
    """[first, last] for each word; commas separate too. Raises WqError for what is no id."""
    ranges = []
    for word in (part for given in words for part in given.split(",") if part):
        low, dash, high = word.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or len(word) > LONGEST:
            shown = word[:LONGEST]
            raise WqError(f"{shown!r} is not the id of a job; an id is a number (12), a range is two (3-9)", BAD_INPUT)
        first, last = int(low), int(high if dash else low)
        if not 1 <= first <= last <= LARGEST:
            raise WqError(f"{word!r} is no range of ids: the first is at least 1 and not above the last", BAD_INPUT)
        ranges.append([first, last])
    if len(ranges) > MOST_RANGES:
        raise WqError(f"{len(ranges)} ids and ranges are too many at once; at most {MOST_RANGES}", BAD_INPUT)
    return ranges
