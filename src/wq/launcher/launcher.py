"""The launcher's loop: clients on one side, the server on the other, the user's own nodes below.

News becomes entries in the ledger, the ledger is stored, and only then is anything done: `act` collects
actions, `flush` stores and carries them out, once for all that arrived in a turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from msgspec.structs import replace

from wq.backends import ssh
from wq.core import ranges
from wq.core.cluster import HOST_PATTERN, LOCALHOST
from wq.core.job import HostName, JobId, Key, Outcome, OutcomeKind
from wq.core.requests import (
    AttemptEnded,
    AttemptStarted,
    AttemptTakenBack,
    Gone,
    Gones,
    LauncherHere,
    Remove,
    SetSuspended,
    Sight,
    Signal,
    Start,
    Starts,
    Steer,
    Stop,
)
from wq.formats.outputs import NOWHERE
from wq.launcher.batches import KNOWN, Batches
from wq.launcher.book import KEPT_S, Book
from wq.launcher.clients import STDIN_WINDOW_BYTES, Client, Hello, OutputAsked, Recommand, RedoAsked, Sub
from wq.launcher.ledger import (
    Action,
    Entry,
    Finished,
    Ledger,
    NeedLinks,
    Phase,
    Send,
    SendStart,
    Tell,
    back,
    ended,
    start_of,
    started,
)
from wq.launcher.link import surface
from wq.launcher.links import Links
from wq.launcher.links import Session as UserSession
from wq.launcher.logs import Logs
from wq.launcher.notices import Notices
from wq.launcher.outputs import Outputs
from wq.launcher.ranks import Ranks
from wq.launcher.session import Refused, ServerAway, Session
from wq.launcher.startspec import OutputTrouble, make_output, make_outputs, rank_spec, start_spec
from wq.launcher.submissions import JOBS_PER_MESSAGE, Submissions, servers_name
from wq.launcher.task import ALWAYS, NODE_MARK, TASK_MARK, again
from wq.protocol import known, messages, places
from wq.protocol.wire import Message
from wq.store.database import DiskFailed, NoRoom

LINGER_S = 600.0  # without work, launcher and warm links stay so long
PRIVATE_LINGER_S = 1.0  # after a private server has gone
OUTPUT_HOME_S = 2.0  # an end is told when the output is back, but not later than this
CONNECT_PATIENCE_S = 5.0  # a new launcher's, for its server
KEEPING_PATIENCE_S = 1.0  # if it can keep a submission until the server is back
NO_ROOM_AGAIN_S = 1.0
LATER_S = 0.5
LIMITS = "limit"  # the feature of a shepherd that ends what runs for too long
CONTROL = "control"  # of one that suspends and signals
NEW_WORDS = {"limit": LIMITS, "suspend": CONTROL, "continue": CONTROL, "signal": CONTROL}
WORDS = {
    "limit": "the time limit",
    "suspend": "a suspension",
    "continue": "the end of a suspension",
    "signal": "a signal",
}
TOO_OLD = "the shepherd there is of an older wq and does not know {}; it goes when your jobs there are over"
MOST_IN_WORD = 10_000  # ranges and names, in one word to the server
STRANGE = frozenset({"rebooted", "error"})  # in the end of a task: more is to be done about it
News: TypeAlias = AttemptStarted | AttemptEnded | AttemptTakenBack


class LedgerTrouble(Exception):
    """The ledger cannot be used; its text is the sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """For which queue this launcher is. state: its private directory."""

    port: int
    server_uid: int
    private: bool
    state: Path
    user: str


class Launcher:
    """One user's launcher for one queue."""

    def __init__(self, settings: Settings, log: Callable[[str], None]) -> None:
        self.settings, self.log = settings, log
        self.ledger = Ledger()
        self.ledger.server_away = True
        self.book: Book | None = None
        self.submissions: Submissions | None = None
        self.queue = ""
        self.clients: set[Client] = set()
        self.foreground: dict[tuple[str, int], Client] = {}
        self.server_host = socket.gethostname()
        self.session_of_user = UserSession(ssh_command=os.environ.get("WQ_SSH") or "ssh", env=dict(os.environ))
        kind = "p" if settings.private else "q"
        self.links = Links(
            f"{kind}{settings.server_uid}-{settings.port}-{self.server_host}",
            self.session_of_user,
            on_word=self.word,
            on_down=self.link_down,
            wanted=lambda host: host in self.ledger.hosts or bool(self.ledger.on_host(host)),
        )
        self.outputs = Outputs(self.ledger, send=self.links.send, home=self.deliver, log=log)
        self.logs = Logs(self.ledger, self.outputs, lambda: self.book)
        self.batches = Batches(self.ledger, self.links, user=settings.user, act=self.act, queue_env=self.queue_env)
        self.news: list[News] = []  # for the server, at the end of a turn
        self.ranks = Ranks(self.ledger, act=self.act, send=self.links.send, spec=self.spec_of_rank)
        self.tasks: set[asyncio.Task[None]] = set()
        self.pending: list[Action] = []
        self.flushing = False
        self.no_room = False
        self.later: asyncio.TimerHandle | None = None
        self.idle_timer: asyncio.TimerHandle | None = None
        self.done = asyncio.Event()
        self.crashed = False
        self.any_node = False
        self.unseen: dict[HostName, str] = {}  # nodes where attempts may run, and no connection is
        self.marked = (settings.state / places.UNFINISHED).exists()
        path = places.server_socket(settings.server_uid, settings.port, private=settings.private)
        self.session = Session(
            path, settings.server_uid, on_up=self.server_up, on_order=self.ordered, on_down=self.server_down
        )
        self.notices = Notices(settings.user, self.session, spawn=self.spawn, log=log)

    # --- store, then act

    def act(self, actions: list[Action]) -> None:
        """Carry these out as soon as what they follow from is on disk."""
        self.pending += actions
        if not self.flushing:
            self.flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self.flushing = False
        if not self.save():
            return
        pending, self.pending = self.pending, []
        for action in pending:
            self.perform(action)
        if self.book is not None:
            self.batches.flush(self.book)
        if self.news:
            news, self.news = self.news, []
            self.session.report_many(news)
        if self.logs.followers:
            self.logs.look()
        self.work_seen()

    def save(self) -> bool:
        """Store what has changed. False if there is no room: nothing is done then, and it is tried again soon."""
        if self.book is None or not self.urgent():
            return True
        try:
            self.book.commit(self.ledger)
        except NoRoom as error:
            if not self.no_room:
                self.log(f"no room for the ledger in {self.settings.state}: {error}; what runs goes on")
            self.no_room = True
            if not self.flushing:
                self.flushing = True
                asyncio.get_running_loop().call_later(NO_ROOM_AGAIN_S, self.flush)
            return False
        self.mark_unfinished()
        if self.no_room and self.book.database.keep_reserve():
            self.no_room = False
            self.log("there is room for the ledger again")
        return True

    def urgent(self) -> bool:
        """Whether it must be stored before anything else is done; what can wait a little is stored a little later."""
        if self.ledger.urgent:
            return True
        if (self.ledger.dirty or self.ledger.dirty_chunks) and self.later is None:
            self.later = asyncio.get_running_loop().call_later(LATER_S, self.save_later)
        return False

    def save_later(self) -> None:
        self.later = None
        self.ledger.urgent = True
        self.act([])

    def mark_unfinished(self) -> None:
        """A file that tells any later command of this user to bring the launcher back, should it die."""
        if bool(self.ledger.entries) != self.marked:
            mark = self.settings.state / places.UNFINISHED
            with contextlib.suppress(OSError):  # tried again at the next change
                if self.marked:
                    mark.unlink(missing_ok=True)
                else:
                    mark.touch()
                self.marked = not self.marked

    def perform(self, action: Action) -> None:
        match action:
            case NeedLinks():
                for host in action.hosts:
                    self.links.need(host)
            case SendStart() if not self.knows(action.entry.main_host, LIMITS) and action.entry.limit_s is not None:
                self.act(self.ledger.taken_back(action.entry, action.entry.main_host, TOO_OLD.format("time limits")))
            case SendStart():
                if self.batches.takes(action.entry):
                    self.batches.starts.append(action.entry)
                elif action.entry.fed:  # the shepherd there knows no lanes
                    self.act(self.ledger.taken_back(action.entry, None, ""))
                else:
                    self.send_start(action.entry)
            case Send() if not self.knows(action.host, NEW_WORDS.get(action.word["do"])):
                self.cannot(action.host, action.word)
            case Send():
                if self.batches.starts and self.book is not None:  # it may be about one of these
                    self.batches.flush(self.book)
                self.links.send(action.host, action.word)
            case Tell():
                self.tell(action.report)
            case Finished():
                self.finish(action.entry)

    def knows(self, host: HostName, feature: str | None) -> bool:
        """Whether the shepherd of a node has this feature. (What is said to one that is not there is lost anyway.)"""
        return feature is None or host not in self.ledger.up or feature in self.links.features(host)

    def cannot(self, host: HostName, word: dict[str, Any]) -> None:
        """A shepherd of an older version does not know this word: the user hears of it, and the server too."""
        att, what = str(word["att"]), WORDS[word["do"]]
        self.tell_next(f"{what} of {att.partition('.')[0].replace('_', '.')} on {host}: {TOO_OLD.format('that')}")
        entry = self.ledger.find(att)
        if word["do"] == "suspend" and entry is not None and entry.id is not None:
            entry.suspended = None
            tasks = () if entry.number is None else ((entry.id, entry.number, entry.number),)
            ids = () if tasks else ((entry.id, entry.id),)
            self.session.report(SetSuspended(ids=ids, tasks=tasks, suspended=False))

    def tell_next(self, line: str) -> None:
        """The user's next command says it; so does the log."""
        self.log(line)
        with contextlib.suppress(OSError), (self.settings.state / places.NEWS).open("a", encoding="utf-8") as news:
            news.write(line.replace("\n", " ") + "\n")

    def spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(surface)

    # --- the server

    def server_up(self, welcome: Message) -> None:
        """Say what the ledger has, and repeat what the server may have missed."""
        queue = str(welcome["queue"])
        if self.queue and queue != self.queue:
            remember_queue(self.settings.state, queue)
            self.log("this port serves another queue now; this launcher goes, the next one has its ledger")
            with contextlib.suppress(OSError):  # which may have work to do: the next command brings it
                (self.settings.state / places.UNFINISHED).touch()
            self.done.set()
            return
        if self.book is None:
            self.open_book(queue)
        self.ledger.server_away = False
        entries = list(self.ledger.entries.values())
        tokens = tuple(sorted({e.token for e in entries if e.id is None}))
        for word in here(entries, tokens):
            self.session.report(word)
        if self.unseen:
            self.tell_sight()
        assert self.submissions is not None
        for token in tokens:
            if token not in self.submissions.by_token:
                self.spawn(self.submissions.repeat(token))
        news: list[News] = []
        for entry in entries:
            if entry.id is None:
                continue
            if entry.phase is Phase.ENDED and not entry.server_knows and entry.outcome is not None:
                news.append(ended(entry))
            elif entry.phase is Phase.WAITING and entry.attempt:
                news.append(back(entry))
            elif entry.started:
                news.append(started(entry))
            if entry.cancelled and entry.phase is not Phase.ENDED:
                self.session.report(Remove(ids=((entry.id, entry.id),), grace_s=2.0))
        self.session.report_many(news)

    def open_book(self, queue: str) -> None:
        """Take up the ledger for this queue."""
        try:
            self.book = Book(self.settings.state, queue)
        except OSError as error:
            raise LedgerTrouble(str(error)) from None
        self.queue = queue
        remember_queue(self.settings.state, queue)
        self.book.load(self.ledger)
        self.submissions = Submissions(
            self.ledger,
            self.book,
            self.session,
            save=self.save,
            act=self.act,
            on_id=self.got_id,
            on_refused=self.refused_later,
        )
        self.after_restart()

    def refused_later(self, entries: list[Entry], sentence: str) -> None:
        """What was kept while the server was away, it does not want: the next command says so, and the log."""
        names = ", ".join(sorted({entry.task.name for entry in entries})[:5])
        line = f"a submission of {len(entries)} jobs ({names}), kept while the server was away, was refused: {sentence}"
        self.tell_next(line)

    def after_restart(self) -> None:
        """Foreground jobs belonged to clients of an earlier launcher: they end. The rest is looked for.

        An acknowledgement may have died with it: each node is asked where something of ours may be.
        """
        if self.ledger.hosts:
            self.act([NeedLinks(hosts=tuple(sorted(self.ledger.hosts)))])
        for entry in list(self.ledger.entries.values()):
            if entry.id is None and entry.task.foreground:
                self.ledger.drop(entry)
            elif entry.task.foreground and entry.phase is not Phase.ENDED:
                entry.cancelled = True
                self.ledger.change(entry)
            if entry.phase is Phase.INTENDED:
                self.ranks.of_earlier.add(entry.att)
            if entry.allocation is not None and (entry.phase is not Phase.ENDED or not entry.node_done):
                self.act([NeedLinks(hosts=entry.allocation.hosts)])

    def server_down(self) -> None:
        self.act(self.ledger.server_gone())
        if self.settings.private and not self.busy():
            asyncio.get_running_loop().call_later(PRIVATE_LINGER_S, self.leave_if_alone)
        for client in self.clients:
            if client.entry is not None and client.entry.phase is Phase.WAITING:
                client.say({"type": "waiting", "reason": "the server is away", "code": "ServerAway", "ahead": None})

    def ordered(self, order: Any) -> None:
        """An order of the server. It names a job and cores; what is run is our own copy."""
        match order:
            case Start():
                self.ordered_start(order)
            case Stop():
                entry = self.ledger.by_id.get(order.id) if order.task is None else None
                client = self.client_of(entry)
                if client is not None and not order.unsent:
                    client.mention({"type": "stopping", "by": order.by})
                self.act(self.ledger.ordered_stop(order))
            case Starts():
                self.ordered_starts(order)
            case Steer():
                self.act(self.ledger.ordered_steer(order))
            case Signal():
                self.act(self.ledger.ordered_signal(order))
            case Gone():
                self.told_gone(order.id if order.task is None else (order.id, order.task), order.outcome)
            case Gones():
                self.told_gones(order)
            case messages.Waiting():
                client = self.client_of(self.ledger.by_id.get(JobId(order.id)))
                if client is not None:
                    told = {"reason": order.reason, "code": order.code, "ahead": order.ahead}
                    client.mention({"type": "waiting", **told})

    def fence(self, hosts: tuple[HostName, ...]) -> tuple[HostName, str] | None:
        """The first of these hosts to which no connection is made, and why."""
        refused = None
        if not self.any_node and self.settings.server_uid != os.getuid():
            refused = known.first_outside(hosts, self.settings.port, self.settings.server_uid)
        evil = next((host for host in hosts if not HOST_PATTERN.fullmatch(host)), None)
        if refused is not None:
            return HostName(refused), f"{refused} is new in this cluster; accept it with: wq node --accept"
        return (HostName(evil), "no host name") if evil is not None else None

    def ordered_starts(self, order: Starts) -> None:
        """Many at once, as far as nothing stands against it."""
        hosts = order.allocation.hosts
        if len(hosts) == 1 and KNOWN in self.links.features(hosts[0]) and self.fence(hosts) is None:
            self.act(self.ledger.ordered_starts(order))
            return
        for number, task, attempt in order.tasks:
            self.ordered_start(start_of(order, number, task, attempt))

    def ordered_start(self, order: Start) -> None:
        hosts = order.allocation.hosts
        fence = self.fence(hosts)
        if fence is not None:
            self.act(self.ledger.refused_start(order, *fence))
            return
        entry = self.entry_of(order)
        before = entry.att if entry is not None else ""
        actions = self.ledger.ordered_start(order)
        entry = self.entry_of(order)
        self.act(actions)
        if entry is not None and before and entry.att != before:
            self.outputs.done(before)
        client = self.client_of(entry)
        if client is not None:
            client.mention({"type": "starting", "hosts": list(hosts)})

    def entry_of(self, order: Start) -> Entry | None:
        return self.ledger.by_id.get(order.id if order.task is None else (order.id, order.task))

    def told_gone(self, key: Key, outcome: Outcome | None) -> None:
        entry = self.ledger.gone(key)
        if entry is None:
            return
        if entry.phase is Phase.INTENDED:  # its cores are another's now: what still runs of it ends
            self.act(self.ledger.stop(entry, 2.0))
        client = self.client_of(entry)
        if client is not None and entry.outcome is None:
            self.end_client(client, believed(outcome))
        if entry.phase is not Phase.INTENDED and entry.att not in self.outputs.expected:
            if entry.number is not None:
                self.task_over(entry)
            elif not entry.task.foreground:  # whose end is acknowledged when its client has it
                self.acknowledge(entry)
        self.forget_if_over(entry)
        self.act([])

    def told_gones(self, order: Gones) -> None:
        """Many at once; what has ended as most do, and whose output is here, costs little."""
        over: dict[JobId, list[int]] = {}
        odd: list[Entry] = []
        arrays: set[JobId] = set()
        expected, by_id = self.outputs.expected, self.ledger.by_id
        for number, task in order.tasks:
            key: Key = JobId(number) if task < 0 else (JobId(number), task)
            entry = by_id.get(key)
            if entry is not None and entry.plain and entry.phase is Phase.ENDED and entry.att not in expected:
                entry.server_knows = True
                if task >= 0:
                    over.setdefault(JobId(number), []).append(task)
                    if entry.odd:
                        odd.append(entry)
                if entry.task.keep_output != ALWAYS:
                    self.outputs.let_go(entry)
                if not entry.node_done:
                    self.batches.acknowledge(entry)
                self.ledger.drop(entry)
            else:
                if number in over:  # the array itself, it may be: what is remembered of it has these in it
                    self.ledger.tasks_over({JobId(number): over.pop(JobId(number))}, odd)
                    odd = []
                    arrays.add(JobId(number))
                self.told_gone(key, None)
        self.ledger.tasks_over(over, odd)
        for job in arrays.union(over):
            array = by_id.get(job)
            if array is not None:
                self.forget_if_over(array)
        self.act([])

    def task_over(self, entry: Entry) -> None:
        """A task of an array has ended, and the server knows."""
        assert entry.id is not None
        assert entry.number is not None
        self.ledger.tasks_over({entry.id: [entry.number]}, [entry] if entry.odd else ())
        self.acknowledge(entry)

    def acknowledge(self, entry: Entry) -> None:
        """All is known of an attempt, and kept here or at the server: its node may forget it."""
        if entry.node_done or entry.unheard or entry.att in self.outputs.expected:
            return
        if self.batches.takes(entry):
            self.batches.acknowledge(entry)
            entry.node_done = True
            self.ledger.change(entry)
            self.act([])
        else:
            self.links.send(entry.main_host, {"do": "ack", "att": entry.att})

    def forget_if_over(self, entry: Entry) -> None:
        if entry.over and entry.att not in self.outputs.expected:
            if entry.task.notify is not None and self.book is not None:
                self.notices.over(entry, self.book.setting(entry.token))
            if entry.task.keep_output != ALWAYS:
                self.outputs.let_go(entry)
            self.ledger.drop(entry)
            array = self.ledger.array_of(entry)
            if array is not None and array.over:  # it waited for its last task
                self.ledger.drop(array)
            self.act([])

    def tell(self, report: Any) -> None:
        if isinstance(report, AttemptTakenBack) and report.host is not None:
            self.session.report(report)
        else:
            self.news.append(report)
        if isinstance(report, AttemptStarted):
            client = self.client_of(self.ledger.by_id.get(report.id)) if report.task is None else None
            if client is not None:
                client.say({"type": "running"})

    # --- clients

    def client_here(self, client: Client, hello: Hello) -> None:
        """A command of our user: its session's credentials are the newest, and are used for connections."""
        self.clients.add(client)
        self.session_of_user.env.update(hello.env)
        self.any_node = hello.any_node
        if hello.ssh_command is not None:
            self.session_of_user.ssh_command = hello.ssh_command
        self.session.retry.set()
        self.work_seen()

    def client_of(self, entry: Entry | None) -> Client | None:
        if entry is None or not self.foreground or not entry.task.foreground:
            return None
        return self.foreground.get((entry.token, entry.index))

    def submitted(self, client: Client, sub: Sub) -> None:
        self.spawn(self.submit(client, sub))

    def recommanded(self, client: Client, word: Recommand) -> None:
        """`wq edit ID command=...`: what waits runs this instead. What is run is the user's alone to say."""
        entry = self.ledger.by_id.get(JobId(word.id))
        if entry is None or self.book is None:
            client.say({"error": f"job {word.id} is not known here; only your own jobs have a command", "status": 1})
            return
        if entry.phase is not Phase.WAITING or entry.attempt or entry.ntasks or entry.over_tasks:
            client.say({"error": f"job {word.id} does not wait any more; its command stays as it is", "status": 1})
            return
        try:
            self.book.retask(entry, replace(entry.task, command=word.command, argv=None))
        except NoRoom as error:
            client.say({"error": f"no room in {self.settings.state} ({error}); nothing was changed", "status": 1})
            return
        client.say({"ok": {"id": word.id}})

    def redo_asked(self, client: Client, asked: RedoAsked) -> None:
        """`wq redo`: what ran, once more, as it was submitted."""
        self.spawn(self.redo(client, asked))

    async def redo(self, client: Client, asked: RedoAsked) -> None:
        if self.book is None and not await self.server_is_here(CONNECT_PATIENCE_S):
            client.say({"error": self.session.trouble, "status": 75})
            return
        assert self.book is not None
        entry = self.ledger.by_id.get(JobId(asked.id))
        found = (entry.task, self.book.setting(entry.token)) if entry is not None else self.book.past(asked.id)
        if found is None or found[0].foreground:
            known_for = f"only your own batch jobs that ran are, for {KEPT_S / 86400:.0f} days"
            why = f"job {asked.id} is not known here, or no more: {known_for}"
            client.say({"error": why, "status": 1})
            return
        try:
            task = again(found[0], None if asked.tasks is None else ranges.union((), tuple(asked.tasks)))
        except ValueError as error:
            client.say({"error": f"job {asked.id}: {error}", "status": 1})
            return
        await self.submit(client, Sub(tasks=[task], stems=[None], setting=found[1], keep=True, token=asked.token))

    async def submit(self, client: Client, sub: Sub) -> None:
        """Store it here, have it accepted there, store the ids here, answer."""
        here = await self.server_is_here(KEEPING_PATIENCE_S if sub.keep else CONNECT_PATIENCE_S)
        keep = sub.keep and not self.session.refuses
        if self.submissions is None or not (here or keep):
            if self.submissions is not None:  # of an earlier launcher, which died before it could answer
                self.submissions.take_back([entry for entry in self.submissions.known(sub.token) if entry.id is None])
            client.say({"error": self.session.trouble, "status": 75})
            return
        if client.gone or not sub.tasks:
            return
        try:
            entries = self.submissions.known(sub.token) or self.submissions.store(sub)
        except NoRoom as error:
            why = f"no room for your jobs in {self.settings.state} ({error}); nothing was accepted"
            client.say({"error": why, "status": 1})
            return
        except Refused as error:
            client.say({"error": str(error), "status": error.status})
            return
        self.mark_unfinished()
        if entries[0].task.foreground:
            client.entry = entries[0]
            self.foreground[(client.entry.token, client.entry.index)] = client
        try:
            many = len(entries) > JOBS_PER_MESSAGE
            tell = partial(say_progress, client, len(entries)) if many else lambda done: None
            await self.submissions.submit(entries, keep=keep, progress=tell)
        except (ServerAway, Refused) as error:
            self.mark_unfinished()
            client.entry = None
            self.foreground.pop((entries[0].token, entries[0].index), None)
            client.say({"error": str(error), "status": error.status if isinstance(error, Refused) else 75})
            return
        if not entries[0].task.foreground:
            facts: dict[str, Any] = {"jobs": [facts_of(entry) for entry in entries]}
            if len(entries) < len(sub.tasks):  # it was sent again, and the rest is over and forgotten
                facts["over"] = len(sub.tasks) - len(entries)
            if any(entry.id is None for entry in entries):
                facts["away"] = self.session.trouble
            client.say({"ok": facts})

    def output_asked(self, client: Client, asked: OutputAsked) -> None:
        """`wq log`. A new launcher learns from the server which ledger is the one, if it was never here before."""
        if self.book is None:
            self.spawn(self.answer_about_output(client, asked))
        else:
            self.logs.answer(client, asked)

    async def answer_about_output(self, client: Client, asked: OutputAsked) -> None:
        if self.book is None and not await self.server_is_here(CONNECT_PATIENCE_S):
            client.say({"error": self.session.trouble, "status": 75})
            return
        if not client.gone:
            self.logs.answer(client, asked)

    async def server_is_here(self, patience_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.session.connected.wait(), patience_s)
        return self.session.connected.is_set()

    def got_id(self, entry: Entry) -> None:
        """A foreground client hears of its id before anything else about the job."""
        client = self.client_of(entry)
        if client is not None:
            client.say({"ok": {"jobs": [facts_of(entry)]}})
        if entry.cancelled and entry.id is not None:
            self.session.report(Remove(ids=((entry.id, entry.id),), grace_s=2.0))

    def client_left(self, client: Client) -> None:
        self.clients.discard(client)
        self.logs.followers.pop(client, None)
        self.cancel(client, 2.0)
        if client.entry is not None:
            self.foreground.pop((client.entry.token, client.entry.index), None)
            self.outputs.to_nobody(client.entry.att)
        self.work_seen()

    def cancel(self, client: Client, grace_s: float) -> None:
        """The client of a foreground job wants it ended, or is gone: here at once, and at the server."""
        entry = client.entry
        if entry is None or entry.cancelled or entry.phase is Phase.ENDED:
            return
        entry.cancelled = True
        self.ledger.change(entry)
        if entry.id is not None:
            self.session.report(Remove(ids=((entry.id, entry.id),), grace_s=grace_s))
        self.act(self.ledger.stop(entry, grace_s) if entry.maybe_sent else [])

    def stdin(self, client: Client, payload: bytes | None) -> None:
        """Input for a foreground job; None: its end."""
        if payload is None:
            client.stdin_eof = True
        else:
            client.stdin_kept += payload
        if client.entry is not None and client.entry.started:
            self.send_stdin(client, payload or b"")

    def send_stdin(self, client: Client, payload: bytes) -> None:
        entry = client.entry
        assert entry is not None
        if payload:
            end = client.stdin_at + len(client.stdin_kept)
            self.links.send_data(entry.main_host, entry.att, end - len(payload), payload)
        if client.stdin_eof:
            self.links.send(entry.main_host, {"do": "eof", "att": entry.att})

    def end_client(self, client: Client, outcome: Outcome, *, torn: bool = False) -> None:
        """Tell a waiting client how its job ended; it goes after that."""
        facts = {
            "kind": outcome.kind.value,
            "exit_status": outcome.exit_status,
            "signal": outcome.signal,
            "by": outcome.by,
            "message": outcome.message,
            "torn": torn,
        }
        client.say({"type": "ended", "outcome": facts})

    def room_again(self, client: Client) -> None:
        if client.entry is not None:
            self.outputs.room_again(client.entry.att)
        if client in self.logs.followers:
            self.logs.look()

    # --- nodes

    def link_down(self, host: HostName, why: str) -> None:
        """A connection is over. What may run there is unknown, not failed (P6)."""
        self.log(f"link to {host}: {why}")
        if host not in self.unseen and any(entry.maybe_sent for entry in self.ledger.on_host(host)):
            self.unseen[host] = why
            self.tell_sight()
        self.act(self.ledger.node_failed(host, why))

    def tell_sight(self) -> None:
        """Which nodes cannot be seen, for listings."""
        self.session.report(Sight(unseen=dict(self.unseen)))

    def word(self, host: HostName, word: Any) -> None:
        """A message of a shepherd."""
        if isinstance(word, tuple):
            (self.ranks if "/" in word[0] else self.outputs).chunk(*word)
            return
        said = word.get("say")
        if said == "here":
            self.node_here(host, word)
        elif said == "rank":
            self.ranks.wanted(host, word)
        elif said == "rank_gone":
            self.ranks.given_up(str(word["rank"]))
        elif said == "tasks":
            self.tasks_said(host, word)
        elif said == "acked":
            self.node_done(word["att"])
        elif said == "unknown":
            asked = self.ledger.find(str(word["att"]))
            if asked is not None and asked.phase is Phase.INTENDED:  # else it was acknowledged meanwhile
                self.links.send(host, {"do": "query", "att": word["att"]})
        elif "att" in word:
            self.about_attempt(host, said, word)

    def node_here(self, host: HostName, word: dict[str, Any]) -> None:
        self.links.came_up(host)
        self.batches.link_is_new(host)
        self.links[host].features = frozenset(map(str, word.get("features", ())))
        if self.unseen.pop(host, None) is not None:
            self.tell_sight()
        self.links[host].spool = word["spool"]
        if not word["attempts"]:
            self.ledger.nothing_there(host)
        self.act(self.ledger.node_up(host, word["attempts"], str(word["boot"])))
        for over in [e for e in self.ledger.entries.values() if e.phase is Phase.ENDED and e.node_done]:
            if over.att in self.outputs.expected and over.main_host == host:
                self.log(f"the rest of the output of {over.att} is lost: {host} no longer has it")
                self.deliver(over)
            self.forget_if_over(over)  # its acknowledgement had come through, the answer to it had not
        for view in word["attempts"]:
            att = str(view["att"])
            entry = self.ledger.find(att)
            if entry is not None and "/" not in att and not entry.node_done:
                self.outputs.open(entry, view, resume=True)
                if view["state"] == "ended":
                    self.outputs.expect(entry, view)
            elif "/" in att:
                self.ranks.word(host, "state", view)
            got = self.ranks.have(att) if "/" in att else self.outputs.have(att)
            have = {str(channel): at for channel, at in got.items()}
            self.links.send(host, {"do": "resume", "att": att, "have": have})
        if "agents" in word:
            self.ranks.agents_wait(host, word["agents"])

    def about_attempt(self, host: HostName, said: str, word: dict[str, Any]) -> None:
        att = str(word["att"])
        entry = self.ledger.find(att)
        if "/" in att:
            self.ranks.word(host, said, word)
        elif entry is None:
            if said == "ended" or (said == "state" and word["state"] in ("ended", "never")):
                self.links.send(host, {"do": "ack", "att": att})
        elif said in ("ended", "state") and entry.phase is not Phase.INTENDED:
            if word["state"] == "never":  # else told again, after a second stop: it is known
                self.links.send(host, {"do": "ack", "att": att})
        elif said == "started":
            self.main_started(entry, word)
        elif said == "side":
            self.side_wanted(entry, host)
        elif said == "ended":
            entry.shared = word.get("shared")
            self.outputs.open(entry, word, resume=False)
            self.outputs.expect(entry, word)
            self.act(self.ledger.main_ended(entry, word["end"]))
        elif said == "state":
            self.outputs.open(entry, word, resume=False)
            if word["state"] == "ended":
                self.outputs.expect(entry, word)
            self.act(self.ledger.state_said(entry, word))
        elif said == "eof":
            self.outputs.eof(att, int(word["ch"]), int(word["off"]))
        elif said == "stdin_at":
            self.stdin_taken(entry, int(word["off"]))

    def tasks_said(self, host: HostName, word: dict[str, Any]) -> None:
        """News of many batch attempts."""
        apart = word.get("shared") or {}
        actions: list[Action] = []
        for att, _, chs in word.get("started", ()):
            entry = self.ledger.find(att)
            if entry is not None and entry.phase is Phase.INTENDED and entry.main_host == host:
                entry.shared = apart.get(att, True)
                if chs:
                    self.outputs.open(entry, {"chs": chs}, resume=False)
                actions += self.ledger.was_started(entry)
                self.notice_start(entry)
        for att, end, chs, run_s in word.get("ended", ()):
            entry = self.ledger.find(att)
            if entry is None or entry.main_host != host:
                self.links.send(host, {"do": "ack", "att": att})
            elif self.ledger.passes_through(entry) and not (chs or att in apart or STRANGE & end.keys()):
                entry.run_s = run_s
                self.notice_start(entry)
                self.news.append(self.ledger.task_ended(entry, end))
            elif entry.phase is Phase.INTENDED:
                entry.shared = apart.get(att, True)
                entry.run_s = run_s
                view = {"chs": chs}
                if chs:
                    self.outputs.open(entry, view, resume=False)
                self.outputs.expect(entry, view)
                self.notice_start(entry)  # (of one that was quick nobody has heard that)
                actions += self.ledger.main_ended(entry, end)
        for att, why in word.get("never", ()):
            entry = self.ledger.find(att)
            if entry is None or entry.main_host != host:
                self.links.send(host, {"do": "ack", "att": att})
            elif entry.phase is Phase.INTENDED:
                actions += self.ledger.state_said(entry, {"att": att, "state": "never", "why": why})
            else:
                self.links.send(host, {"do": "ack", "att": att})
        self.act(actions)

    def notice_start(self, entry: Entry) -> None:
        if entry.task.notify is not None and self.book is not None:
            self.notices.started(entry, self.book.setting(entry.token))

    def send_start(self, entry: Entry) -> None:
        """Send the start of an attempt, once; its intent is on disk."""
        assert self.book is not None
        setting = self.book.setting(entry.token)
        probe = f"wq {secrets.token_hex(16)}\n"
        try:
            if not entry.task.foreground:
                make_outputs(entry, probe, setting.umask, self.links.features(entry.main_host))
        except OutputTrouble as error:
            if error.no_room:  # the job is not to blame: it waits until there is room
                self.act(self.ledger.taken_back(entry, entry.main_host, str(error)))
                return
            entry.main_end = {"error": str(error)}
            entry.node_done = True
            self.act(self.ledger.check_ranks(entry))
            return
        spec = start_spec(
            entry, setting, user=self.settings.user, queue_env=self.queue_env(entry.main_host), probe=probe
        )
        self.links.send(entry.main_host, {"do": "start", "att": entry.att, "spec": spec})
        client = self.client_of(entry)
        if client is not None and not entry.task.tty:
            self.outputs.to_client(entry, client)

    def queue_env(self, host: HostName) -> dict[str, str]:
        """So that `wq sub` inside a job reaches the same queue."""
        env = {"WQ_PORT": str(self.settings.port)}
        if host != LOCALHOST and not self.settings.private:
            env["WQ_SERVER"] = self.server_host
        return env

    def main_started(self, entry: Entry, word: dict[str, Any]) -> None:
        entry.shared = word.get("shared")
        self.outputs.open(entry, word, resume=False)
        self.act(self.ledger.was_started(entry))
        self.notice_start(entry)
        client = self.client_of(entry)
        if client is not None and (client.stdin_kept or client.stdin_eof):
            self.send_stdin(client, bytes(client.stdin_kept))

    def side_wanted(self, entry: Entry, host: HostName) -> None:
        """A job with a terminal gets it from its client's own ssh; one with X alone, from an ssh of ours."""
        client = self.client_of(entry)
        link = self.links[host]
        words = ["python3", "-I", "-S", f"{link.spool}/shepherd.py", "side", entry.att]
        if host == LOCALHOST:
            argv = [sys.executable, *words[1:]]
        else:
            x = "-X" if entry.task.x else "-x"
            options = [x, "-tt" if entry.task.tty else "-T", "-o", "LogLevel=ERROR"]
            line = [" ".join(["exec", *map(shlex.quote, words)])]
            program = self.session_of_user.ssh_command
            argv = ssh.command(program, host, words=line, options=options, batch=not entry.task.tty)
        if entry.task.tty and client is not None:
            client.say({"type": "side", "argv": argv})
        elif entry.task.x:
            self.spawn(self.hold_side(argv, entry))

    async def hold_side(self, argv: list[str], entry: Entry) -> None:
        """Keep a connection with X forwarding open as long as the job lives."""
        assert self.book is not None
        theirs = self.book.setting(entry.token).env
        env = dict(self.session_of_user.env)
        for name in ("DISPLAY", "XAUTHORITY"):  # both of them of the job's own display, or none
            env.pop(name, None)
            if name in theirs:
                env[name] = theirs[name]
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=null, stdout=null, stderr=null, env=env, start_new_session=True, cwd="/"
        )
        await process.wait()

    # --- ends

    def finish(self, entry: Entry) -> None:
        """It is over: tell the server when the output is home (foreground: at once, the cores are free)."""
        if entry.outcome is not None and entry.outcome.kind is OutcomeKind.FAILED:
            self.say_in_output(entry, entry.outcome.message or "it could not be started")
        self.outputs.expected.setdefault(entry.att, ())
        if self.outputs.check(entry.att):
            return
        if entry.task.foreground:
            self.tell_end(entry)
        else:
            asyncio.get_running_loop().call_later(OUTPUT_HOME_S, self.tell_end, entry)

    def say_in_output(self, entry: Entry, sentence: str) -> None:
        """A batch job that could not be started has the reason in its output file, where its user will look."""
        assert self.book is not None
        path = entry.error if entry.output == NOWHERE else entry.output
        if path is not None and not entry.task.foreground:
            with contextlib.suppress(OutputTrouble):
                make_output(path, f"wq: {sentence}\n", self.book.setting(entry.token).umask)

    def tell_end(self, entry: Entry) -> None:
        if entry.phase is Phase.ENDED and not entry.server_knows and entry.id is not None:
            self.news.append(ended(entry))
            self.act([])

    def deliver(self, entry: Entry) -> None:
        """All of its output is here: the server, the client and the node may know that it is over."""
        if entry.phase is not Phase.ENDED:
            return
        torn = entry.att in self.outputs.torn
        self.outputs.done(entry.att)
        self.ranks.over(entry.att)
        self.tell_end(entry)
        client = self.client_of(entry)
        if client is not None and entry.outcome is not None:
            self.end_client(client, entry.outcome, torn=torn)
        if entry.server_knows and entry.number is not None:
            self.task_over(entry)
        elif entry.server_knows or not entry.plain:  # else the end is nowhere but on the node
            self.acknowledge(entry)
        self.forget_if_over(entry)

    def node_done(self, att: str) -> None:
        entry = self.ledger.find(att)
        if entry is not None and "/" not in att and entry.phase is Phase.ENDED:
            entry.node_done = True
            self.ledger.change(entry)
            self.forget_if_over(entry)
            self.act([])

    def stdin_taken(self, entry: Entry, offset: int) -> None:
        """The node has this much of the input: the client may send more."""
        client = self.client_of(entry)
        if client is None:
            return
        taken = offset - client.stdin_at
        if taken > 0:
            del client.stdin_kept[:taken]
            client.stdin_at = offset
            client.say({"type": "stdin_at", "off": offset})
        elif taken == 0 and client.stdin_kept and len(client.stdin_kept) <= STDIN_WINDOW_BYTES:
            self.send_stdin(client, bytes(client.stdin_kept))

    def spec_of_rank(self, entry: Entry, place: int, command: str) -> dict[str, Any]:
        assert self.book is not None
        assert entry.allocation is not None
        env = self.queue_env(entry.allocation.hosts[place])
        setting = self.book.setting(entry.token)
        return rank_spec(entry, setting, user=self.settings.user, queue_env=env, place=place, command=command)

    # --- its own life

    async def run(self) -> None:
        """Until there is nothing to do for a while."""
        session = asyncio.create_task(self.session.run())
        session.add_done_callback(surface)
        self.work_seen()
        try:
            await self.done.wait()
        finally:
            session.cancel()
            self.links.close()
            await asyncio.sleep(0.1)

    def crash(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A bug: say so and go. Nothing is lost by that: the ledger is on disk, and the jobs run on."""
        error = context.get("exception")
        if isinstance(error, DiskFailed | LedgerTrouble):
            self.log(f"this launcher ends, and jobs run on: {error}")
        else:
            loop.default_exception_handler(context)
        self.crashed = True
        self.done.set()

    def busy(self) -> bool:
        return bool(self.clients or self.ledger.entries)

    def work_seen(self) -> None:
        """Without work for a while from now on, the warm links are let go, and the launcher goes too."""
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        self.idle_timer = asyncio.get_running_loop().call_later(LINGER_S, self.leave_if_idle)

    def leave_if_idle(self) -> None:
        if self.busy():
            self.work_seen()
        else:
            self.done.set()

    def leave_if_alone(self) -> None:
        """The private server was shut down, and there is no work."""
        if not self.busy() and not self.session.connected.is_set():
            self.done.set()


def remembered_queue(state: Path) -> str:
    """The name of the queue that was served when a launcher was last here; empty if none is known."""
    try:
        queue = (state / "queue").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return queue if queue.isalnum() and (state / f"ledger-{queue}.db").exists() else ""


def remember_queue(state: Path, queue: str) -> None:
    """So that the next launcher can go on before the server is back."""
    if remembered_queue(state) != queue:
        new = state / "queue.new"
        with contextlib.suppress(OSError):
            new.write_text(queue, "utf-8")
            new.replace(state / "queue")


def believed(outcome: Outcome | None) -> Outcome:
    """Of a job that is not over here a server may say that it is removed or lost, but not how it exited."""
    if outcome is None or outcome.kind in (OutcomeKind.EXITED, OutcomeKind.SIGNALLED, OutcomeKind.TIME_LIMIT):
        return Outcome(kind=OutcomeKind.LOST, message="the server no longer knows it")
    return Outcome(kind=outcome.kind, by=outcome.by, message=outcome.message)


def say_progress(client: Client, most: int, done: int) -> None:
    client.say({"type": "progress", "done": done, "of": most})


def facts_of(entry: Entry) -> dict[str, Any]:
    """What a client is told of a job that was accepted."""
    array = entry.task.array
    files = {"output": entry.output, "error": entry.error}
    for name, path in files.items():
        if path is not None:
            files[name] = path.replace(TASK_MARK, "%task%").replace(NODE_MARK, "%N")
    return {"id": entry.id, "name": entry.task.name, **files, "tasks": array and array.spec.size}


def here(entries: list[Entry], tokens: tuple[str, ...]) -> Iterator[LauncherHere]:
    """All that a ledger has, in words of a size that is allowed."""
    ids = ranges.of(entry.id for entry in entries if entry.id is not None and entry.number is None)
    numbers: dict[int, list[int]] = {}
    for entry in entries:
        if entry.id is not None and entry.number is not None:
            numbers.setdefault(entry.id, []).append(entry.number)
    tasks = [(number, *pair) for number, those in numbers.items() for pair in ranges.of(those)]
    names = tuple(servers_name(token) for token in tokens)
    nparts = max(-(-len(part) // MOST_IN_WORD) for part in (ids, tasks, names))
    for part in range(max(nparts, 1)):
        some = slice(part * MOST_IN_WORD, (part + 1) * MOST_IN_WORD)
        yield LauncherHere(ids=ids[some], tasks=tuple(tasks[some]), tokens=names[some], more=part + 1 < nparts)


async def launch(settings: Settings, ready: Callable[[], None], log: Callable[[str], None]) -> None:
    """Run the launcher of one user and queue. Raises OSError, PlaceError, LedgerTrouble if it cannot start."""
    places.make_meeting_dir(settings.port)
    path = places.launcher_socket(os.getuid(), settings.port, settings.server_uid, private=settings.private)
    launcher = Launcher(settings, log)
    queue = remembered_queue(settings.state)
    if queue:
        launcher.open_book(queue)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    old = os.umask(0o177)
    loop = asyncio.get_running_loop()
    listening = await loop.create_unix_server(lambda: Client(launcher), path, backlog=128)
    os.umask(old)
    loop.set_exception_handler(launcher.crash)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, launcher.done.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ready()
    try:
        await launcher.run()
    finally:
        listening.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if launcher.crashed:
        raise LedgerTrouble("ended by what is said above")
