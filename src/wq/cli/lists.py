"""Listings as they are wanted: chosen columns, an order, and which jobs are left out. What is wrong is said first."""

from __future__ import annotations

import os
import sys
import time

from wq.cli import select
from wq.cli.errors import BAD_INPUT, WqError
from wq.cli.ids import asked, check_ids
from wq.cli.render import columns, jobs
from wq.cli.render.colour import style_for, window_for
from wq.cli.render.columns import COLUMNS, USUAL, Facts
from wq.cli.render.outcome import succeeded
from wq.cli.render.sanitise import printable

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from wq.cli.watch import Picture

BRIEF = jobs.FIELDS[1:-1]
OVER = ("done", "failed", "succeeded", "removed", "lost")  # of --state: those that ended are asked for, too
BY_OUTCOME = ("failed", "succeeded", "removed", "lost")
COUNTED = {name: jobs.PARTS.index(name) for name in ("waiting", "running", "failed")}  # places in counts of arrays
STATES: dict[str, tuple[str, ...]] = {**select.STATES, **dict.fromkeys(BY_OUTCOME, ("done",))}
LETTERS = {"W": "waiting", "R": "running", "E": "stopping", "S": "suspended", "H": "held", "D": "done", "F": "failed"}


class Wanted:
    """What the options of a listing say. chosen: the columns, if they were chosen. Raises WqError for bad ones."""

    def __init__(self, args: argparse.Namespace) -> None:
        if args.columns is not None and args.full:
            raise WqError("ls: -f shows everything; -o chooses: take one of them", BAD_INPUT)
        self.chosen = None if args.columns is None else columns_in(args.columns)
        self.sort = [] if args.sort is None else sort_in(args.sort)
        self.states = [] if args.state is None else states_in(args.state)
        self.pattern: str | None = args.name
        self.json: bool = args.json
        self.whole = args.full or (args.json and self.chosen is None)  # rows as the server has them
        self.shown: Sequence[str] = self.chosen or USUAL
        needed = {*self.shown, *(name for name, _ in self.sort)}
        fields = dict.fromkeys(field for name in needed for field in COLUMNS[name].fields if field != "id")
        if set(self.states) & set(BY_OUTCOME):
            fields["outcome"] = None
        self.is_brief = not self.whole and set(fields) <= {*BRIEF}
        self.fields = BRIEF if self.is_brief else (*columns.ALWAYS, *(fields.keys() - {*columns.ALWAYS}))
        if self.pattern is not None and "name" not in self.fields:
            self.fields = (*self.fields, "name")

    def request(self) -> dict[str, Any]:
        """What the server is asked for, beside the ids and the users."""
        finished = {"finished": True} if set(self.states) & set(OVER) else {}
        if self.whole:
            return {"why": True, **finished}
        if self.is_brief:
            return {"why": False, "brief": True, **finished}
        return {"why": "reason" in self.fields, "fields": list(self.fields), **finished}

    def places(self, facts: Facts) -> list[int]:
        """Where those are that are wanted, of rows as they come."""
        places = list(range(len(facts)))
        if self.states:
            places = list(filter(in_states(facts, self.states), places))
        if self.pattern is not None:
            from fnmatch import fnmatchcase

            names = facts["name"]
            known = {name: fnmatchcase(str(name), self.pattern) for name in set(names)}
            places = [at for at in places if known[names[at]]]
        return places

    def shows(self, rows: Sequence[Any], now_s: float) -> Facts:
        """The jobs that are wanted, in their order."""
        facts = Facts(rows, self.fields, now_s)
        facts = facts.at(self.places(facts)).spread()  # in this order: a row may stand for very many jobs
        return facts.at(columns.in_order(facts, range(len(facts)), self.sort))

    def text(self, rows: Sequence[Any], *, indent: int | None = 1) -> tuple[str, list[str]]:
        """(what is printed, what is remarked)"""
        now_s = time.time()
        if self.whole:
            facts = Facts(rows, (), now_s)
            chosen = [rows[at] for at in columns.in_order(facts, self.places(facts), self.sort)]
            return in_json(chosen, indent) if self.json else jobs.full(chosen), []
        facts = self.shows(rows, now_s)
        if self.json:
            return in_json(columns.rows_for_programs(facts, self.shown), indent), []
        style, window = style_for(sys.stdout, os.environ), window_for(sys.stdout, os.environ)
        lines = [*columns.lines(facts, self.shown, style, window), facts.footer()]
        return "\n".join(lines) + "\n", remarks(facts)

    def picture(self, rows: Sequence[Any], window: int, nlines: int) -> Picture:
        """What is drawn on a terminal of so many columns and lines."""
        from wq.cli.watch import Picture

        if self.whole:
            lines = self.text(rows)[0].splitlines()
            return Picture([], lines[:nlines], [], max(len(lines) - nlines, 0))
        facts = self.shows(rows, time.time())
        style = style_for(sys.stdout, os.environ)
        head, *body = columns.lines(facts, self.shown, style, window, nlines)
        return Picture([head], body, [facts.footer(), *map(printable, remarks(facts))], len(facts) - len(body))

    def printed(self) -> tuple[Callable[[Any], str], str]:
        """How looks are printed one after another, and what stands between two."""
        if self.json:
            return (lambda rows: self.text(rows, indent=None)[0]), ""
        return (lambda rows: self.text(rows)[0]), "---\n" if self.whole else "\n"


def run(args: argparse.Namespace, connect: Callable[..., Any]) -> int:
    """`wq ls` with any of these options, and -w."""
    from wq.cli import watch
    from wq.cli.commands import ls

    wanted = Wanted(args)
    every_s = None if args.watch is None else watch.seconds_in(args.watch, "ls")
    check_ids(args.ids)
    fields = {"finished": args.all, **wanted.request()}
    server = connect(args.port, recall=bool(args.ids) or fields["finished"])
    ids, users = ls.ids_of(server, args.ids), ls.users_in(args)

    def look(server: Any) -> Any:
        return server.ask("ls", users=users, **asked(ids), **fields)["jobs"]

    if every_s is not None:
        view = watch.View(look, wanted.picture, *wanted.printed())
        return watch.watch(server, every_s, view, in_place=not args.json)
    rows = look(server)
    text, beside = wanted.text(rows)
    sys.stdout.write(text)
    for sentence in beside:
        from wq.cli.link import remark

        remark(sentence)
    return ls.told_missing(ids, rows)


def in_json(value: Any, indent: int | None) -> str:
    import json

    return json.dumps(value, indent=indent) + "\n"


def remarks(facts: Facts) -> list[str]:
    """What is to be said beside the table: who is out of sight."""
    from wq.cli.render import sight

    dark = {number: seen for number, seen in zip(facts["id"], facts["out_of_sight"], strict=True) if seen}
    return sight.remarks([{"id": number, "out_of_sight": seen} for number, seen in dark.items()], facts.now_s)


def words_of(option: str, text: str) -> list[str]:
    words = [word for word in text.replace(",", " ").split() if word]
    if not words:
        raise WqError(f"ls: {option} is empty", BAD_INPUT)
    return words


def columns_in(text: str) -> list[str]:
    """`id,name`; `+reason` stands for the usual columns with this one more."""
    added = text.lstrip().startswith("+")
    words = words_of("-o", text.lstrip().removeprefix("+"))
    names = [known("column", word.lower().removeprefix("+"), COLUMNS) for word in words]
    return [*USUAL, *names] if added else names


def sort_in(text: str) -> list[tuple[str, bool]]:
    """(column, descending) for each."""
    found = []
    for word in words_of("--sort", text):
        found.append((known("column", word.lower().removeprefix("-"), COLUMNS), word.startswith("-")))
    return found


def states_in(text: str) -> list[str]:
    words = words_of("--state", text)
    return [LETTERS.get(word) or known("state", word.lower(), STATES) for word in words]


def known(what: str, word: str, words: Iterable[str]) -> str:
    """The word, if it is one of these. Raises WqError that names them all, the nearest first."""
    if word in words:
        return word
    from difflib import SequenceMatcher

    near = sorted(words, key=lambda one: -SequenceMatcher(None, word, one).ratio())
    raise WqError(f"ls: there is no {what} {word[:60]!r}; there are: {', '.join(near)}", BAD_INPUT)


def in_states(facts: Facts, names: Sequence[str]) -> Callable[[int], bool]:
    """Whether the job at a place is in one of these states."""
    states, counts, outcomes, arrays = facts["state"], facts["counts"], facts["outcome"], facts["array"]
    surely = {state for name in names if name not in BY_OUTCOME for state in STATES[name]}

    def test(at: int) -> bool:
        if counts[at] is not None:
            return any(array_is(name, states[at], counts[at], arrays[at]) for name in names)
        return states[at] in surely or (states[at] == "done" and any(ended_so(outcomes[at], name) for name in names))

    return test


def array_is(name: str, state: str, counts: Sequence[int], array: Any) -> bool:
    """An array is so as soon as some of its tasks wait, run, have failed, were removed; the other words are for all."""
    if name in COUNTED:
        return bool(counts[COUNTED[name]])
    if name == "removed":
        return bool(array and array["removed"])
    if name in BY_OUTCOME:
        return name == "succeeded" and state == "done" and not counts[COUNTED["failed"]]
    return state in STATES[name]


def ended_so(outcome: Any, name: str) -> bool:
    """failed: in any way but exit status 0, as it is counted for arrays."""
    if name in ("failed", "succeeded"):
        return succeeded(outcome) is (name == "succeeded")
    return outcome is not None and bool(outcome["kind"] == name)
