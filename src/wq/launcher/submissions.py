"""Submissions on their way: stored here, accepted by the server, answered; all jobs of one, or none."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from wq.core.requests import Remove, Submit
from wq.formats.outputs import NOWHERE, WQLOG
from wq.launcher.book import Book
from wq.launcher.clients import Sub
from wq.launcher.ledger import Action, Entry, Ledger, Phase
from wq.launcher.orders import MOST_ID
from wq.launcher.outputs import paths_of
from wq.launcher.session import Refused, ServerAway, Session
from wq.launcher.task import ALWAYS, ID_MARK, LISTED_COMMAND, TASK_MARK, Task, listed
from wq.protocol.wire import WireError
from wq.store.database import NoRoom

JOBS_PER_MESSAGE = 2000
ASKED_AT_ONCE = 4  # messages on their way
BYTES_PER_MESSAGE = 900_000
FOR_NOW_S = 5.0  # what was kept is offered again after that, if the server had no room for it
NUMBERED = re.compile(r"s([0-9a-f]{8})-")  # a token here; the rest of it is its name at the server
GIVEN = re.compile(r"[0-9a-f]{16,64}")


class Submissions:
    """What one launcher's clients submit. on_id(entry): the server has just given it its id.

    save(): store the ledger, now or as soon as there is room. on_refused(entries, sentence): what was kept until the
    server was back, it refused.
    """

    def __init__(
        self,
        ledger: Ledger,
        book: Book,
        session: Session,
        *,
        save: Callable[[], bool],
        act: Callable[[list[Action]], None],
        on_id: Callable[[Entry], None],
        on_refused: Callable[[list[Entry], str], None],
    ) -> None:
        self.ledger, self.book, self.session = ledger, book, session
        self.save, self.act, self.on_id, self.on_refused = save, act, on_id, on_refused
        self.by_token: dict[str, list[Entry]] = {}

    def store(self, sub: Sub) -> list[Entry]:
        """New entries, on disk, without ids. Raises NoRoom, Refused; then there are none."""
        token = self.next_token(sub.token)
        there = [entry for entry in self.ledger.entries.values() if entry.number is None]
        taken = names_taken([entry for entry in there if is_to_be_written(entry)])
        entries: list[Entry] = []
        part: list[Entry] = []
        number, size_bytes, name = 0, BYTES_PER_MESSAGE, token
        for task, stem in zip(sub.tasks, sub.stems, strict=True):
            cost = most_bytes(task)
            if size_bytes + cost > BYTES_PER_MESSAGE or len(part) >= JOBS_PER_MESSAGE:
                name = f"{token}.{number}"
                if number and any(after.job < 0 for task in sub.tasks for after in task.after):
                    self.take_back(entries)
                    raise Refused(
                        f"jobs that wait for others of the same submission: at most {JOBS_PER_MESSAGE} jobs", 2
                    )
                number, size_bytes = number + 1, len(sub.setting.cwd)
                part = self.by_token[name] = []
                self.book.keep_setting(name, sub.setting)
            size_bytes += cost + len(sub.setting.cwd)
            entry = Entry(token=name, index=len(part), task=with_output(task, stem, taken))
            taken.update((entry.task.output, entry.task.error))
            part.append(entry)
            self.ledger.add(entry)
            entries.append(entry)
        try:
            self.book.commit(self.ledger, urgent=False)
        except NoRoom:
            self.take_back(entries)
            raise
        return entries

    def next_token(self, given: str) -> str:
        """Tokens sort in the order of submission, as far as they are still here: so they are repeated."""
        numbered = (NUMBERED.match(token) for token in self.ledger.per_token)
        last = max((int(found[1], 16) for found in numbered if found), default=0)
        return f"s{last + 1:08x}-{given if GIVEN.fullmatch(given) else secrets.token_hex(8)}"

    def known(self, given: str) -> list[Entry]:
        """The entries of a submission that is sent again: its first answer was lost with a launcher."""
        if not given:
            return []
        tokens = {token for token in self.ledger.per_token if servers_name(token).partition(".")[0] == given}
        entries = [e for e in self.ledger.entries.values() if e.token in tokens and e.number is None]
        entries.sort(key=lambda entry: (len(entry.token), entry.token, entry.index))
        for entry in entries:
            if entry.id is None:
                self.by_token.setdefault(entry.token, [])
        for token, waiting in self.by_token.items():
            if token in tokens and not waiting:
                waiting += [entry for entry in entries if entry.token == token]
        return entries

    async def submit(self, entries: list[Entry], *, keep: bool, progress: Callable[[int], None]) -> None:
        """Have stored entries accepted. Raises Refused, ServerAway; then none is queued, here or there.

        keep: while the server is away they wait here for it, without ids. progress(n): so many have theirs.
        """
        tokens = list(dict.fromkeys(entry.token for entry in entries if entry.id is None))
        try:
            for at in range(0, len(tokens), ASKED_AT_ONCE):
                await self.ask_all(tokens[at : at + ASKED_AT_ONCE])
                progress(sum(entry.id is not None for entry in entries))
        except ServerAway:
            if not keep:
                self.take_back(entries)
                raise
            for entry in entries:  # to be repeated when the server is back
                self.by_token.pop(entry.token, None)
        except Refused:
            self.take_back(entries)
            raise
        if any(entry.id is None and entry.key not in self.ledger.entries for entry in entries):
            raise Refused("the server has just refused it; the next command says why", 1)

    async def ask_all(self, tokens: list[str]) -> None:
        """Some at once, in their order: the server need not wait for us."""
        answers = await asyncio.gather(*map(self.ask, tokens), return_exceptions=True)
        for trouble in answers:
            if trouble is not None:
                raise trouble

    async def ask(self, token: str) -> None:
        """The entries of one token. Asked again with the same token, the server gives the same ids."""
        if token not in self.by_token:
            return  # a client has sent it again while it was repeated, and the other one has its answer
        setting = self.book.setting(token)
        jobs = tuple(listed(entry.task, setting) for entry in self.by_token[token])
        submit = Submit(token=servers_name(token), jobs=jobs)
        await self.session.ask(submit, at_once=lambda facts: self.accepted(token, self.ids_in(facts, token, len(jobs))))
        self.by_token.pop(token, None)

    def ids_in(self, facts: dict[str, Any], token: str, njobs: int) -> list[int]:
        """The ids that the server gives to a submission. Raises WireError if they cannot be: it counts as no answer."""
        ids = facts.get("ids")
        if not isinstance(ids, list) or len(ids) != njobs:
            raise WireError("a submission is not answered with its ids")
        if not all(type(number) is int and 1 <= number < MOST_ID for number in ids) or len(set(ids)) < len(ids):
            raise WireError("ids that cannot be")
        if not self.ledger.may_have(token, ids):
            raise WireError("a submission is given ids of another one")
        return ids

    def accepted(self, token: str, ids: list[int]) -> None:
        """The server has given ids. They get to our disk with the orders that follow, and before these are obeyed.

        (Asked again, the server gives the same ones.)
        """
        self.ledger.accepted(token, ids)
        self.act([])
        for entry in self.by_token.get(token, []):
            self.on_id(entry)

    async def repeat(self, token: str) -> None:
        """A submission that was kept while the server was away, or whose answer never came."""
        entries = [entry for entry in self.ledger.entries.values() if entry.token == token]
        self.by_token[token] = sorted(entries, key=lambda entry: entry.index)
        try:
            await self.ask_until_there_is_room(token)
        except ServerAway:
            self.by_token.pop(token, None)  # to be repeated when the server is back
        except Refused as error:
            self.on_refused(entries, str(error))
            self.take_back(entries)

    async def ask_until_there_is_room(self, token: str) -> None:
        """The server may have no room on its disk just now: what was kept for it can wait."""
        while True:
            try:
                await self.ask(token)
                return
            except Refused as error:
                if not error.for_now:
                    raise
            await asyncio.sleep(FOR_NOW_S)

    def take_back(self, entries: list[Entry]) -> None:
        """All or none: what was accepted of a submission that failed goes again."""
        for entry in entries:
            self.by_token.pop(entry.token, None)
            if entry.id is not None:
                entry.cancelled = True  # if the server is away, it hears of it when it is back
                self.ledger.change(entry)
                self.session.report(Remove(ids=((entry.id, entry.id),)))
            else:
                self.ledger.drop(entry)
        self.save()


def most_bytes(task: Task) -> int:
    """How long the server's copy of a task may be, at most, in a message."""
    text = task.command if task.command is not None else " ".join(task.argv or ())
    need = task.requirement
    names = sum(map(len, (*need.groups, *need.notgroups, need.host or "", task.name)))
    pieces = len(task.array.tasks) if task.array is not None else 0
    return 600 + 6 * (min(len(text), LISTED_COMMAND) + names) + 40 * pieces + 60 * len(task.after)


def servers_name(token: str) -> str:
    """Of a submission: without the number that it has here."""
    found = NUMBERED.match(token)
    return token[found.end() :] if found else token


def is_to_be_written(entry: Entry) -> bool:
    """Whether its files are no others' yet: it is not over, or they are to go when the server has its end."""
    return entry.phase is not Phase.ENDED or entry.task.keep_output != ALWAYS


def names_taken(entries: list[Entry]) -> set[str | None]:
    """The files that these jobs write to; where the node is in the name, whatever the node."""
    taken: set[str | None] = set()
    for entry in entries:
        taken.update(paths_of(entry).values())
        if entry.node_in_output:
            taken.update((entry.task.output, entry.task.error))
    return taken


def with_output(task: Task, stem: str | None, taken: set[str | None]) -> Task:
    """A batch job without a name for its output, or whose output another job is still to write, has its id in it.

    ID_MARK is where the id goes, TASK_MARK where the number of an array's task goes.
    """
    if task.foreground:
        return task
    if task.error is not None:
        task = replace(task, error=own_name(task.error, taken, array=task.array is not None))
    if task.output is not None:
        output = own_name(task.output, taken, array=task.array is not None)
    else:
        output = f"{stem}-{ID_MARK}{f'_{TASK_MARK}' if task.array is not None else ''}{WQLOG}"
    if output == task.output and task.error != output:
        return task
    return replace(task, output=output, error=None if task.error == output else task.error)


def own_name(path: str, taken: set[str | None], *, array: bool) -> str:
    """A name that its user has given, or that of a job file; with the id in it, if another job is still to write there.

    The tasks of an array never write to one file, nor do two arrays.
    """
    whose = array and TASK_MARK not in path
    if path == NOWHERE or not (whose or (path in taken and ID_MARK not in path)):
        return path
    ending = WQLOG if path.endswith(WQLOG) else ""
    return f"{path.removesuffix(WQLOG)}-{ID_MARK}{f'_{TASK_MARK}' if whose else ''}{ending}"
