"""Ids of jobs as people write them: 12, 3-9, and tasks of an array: 12.5, 12.100-200."""

from __future__ import annotations

from wq.cli.errors import BAD_INPUT, WqError

LARGEST = 1 << 62
MOST_RANGES = 200
LONGEST = 200  # characters of one word
HELP_OF_IDS = "ids, ranges (3-9), tasks of an array (12.5), `last`, the name of a job of your own"


def is_id(word: str) -> bool:
    """Whether this is meant as an id: what begins with a digit is, all else is a name, or `last`."""
    return word[:1].isdigit() or word[:1] in (",", "-") or not word


def check_ids(words: list[str]) -> None:
    """Refuse what is meant as an id and is none, before anybody is asked what the names mean. Raises WqError."""
    id_ranges([word for word in words if is_id(word)])


def id_ranges(words: list[str]) -> list[list[int]]:
    """[first, last] for each word, or [id, id, first task, last task]. Raises WqError for what is no id.

    Commas separate too.
    """
    ranges = [id_range(word) for given in words for word in given.split(",") if word]
    if len(ranges) > MOST_RANGES:
        raise WqError(f"{len(ranges)} ids and ranges are too many at once; at most {MOST_RANGES}", BAD_INPUT)
    return ranges


def id_range(word: str) -> list[int]:
    """One of them."""
    array, dot, numbers = word.rpartition(".")
    low, dash, high = numbers.partition("-")
    digits = [low, *([high] if dash else []), *([array] if dot else [])]
    if not all(map(str.isdecimal, digits)) or len(word) > LONGEST:
        shown = word[:60]
        allowed = "an id is a number (12), a range is two (3-9), a task of an array has a dot (12.5, 12.100-200)"
        raise WqError(f"{shown!r} is not the id of a job; {allowed}", BAD_INPUT)
    first, last = int(low), int(high if dash else low)
    if not dot:
        check(word, first, last, least=1)
        return [first, last]
    job = int(array)
    check(word, job, job, least=1)
    check(word, first, last, least=0)
    return [job, job, first, last]


def check(word: str, first: int, last: int, *, least: int) -> None:
    if not least <= first <= last <= LARGEST:
        sentence = f"{word!r} is no range of ids: the first is at least {least} and not above the last"
        raise WqError(sentence, BAD_INPUT)


def asked(words: list[str]) -> dict[str, list[list[int]]]:
    """What they are in a request: "ids" [first, last], and "tasks" [id, first, last] where there are any."""
    return as_fields(id_ranges(words))


def as_fields(ranges: list[list[int]]) -> dict[str, list[list[int]]]:
    """The same for ranges as id_ranges makes them."""
    fields = {"ids": [found for found in ranges if len(found) == 2]}
    tasks = [found[1:] for found in ranges if len(found) == 4]
    return {**fields, "tasks": tasks} if tasks else fields
