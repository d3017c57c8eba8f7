"""The server's loop: drain the mailbox, tick, commit, send. One writer, no locks, nothing polls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from wq.core import dependencies, listing, news, ranges
from wq.core.array import Array
from wq.core.cluster import LOCALHOST, Node
from wq.core.engine import planned, tick
from wq.core.job import HostName, Job, JobId, Key, Uid
from wq.core.plan import Plan
from wq.core.policies import Policy
from wq.core.policies.fifo import FIFO
from wq.core.queue import Draft, Now, Queue
from wq.core.ranges import Ranges
from wq.core.requests import (
    Answer,
    ClusterRead,
    Edit,
    HoldRest,
    Incoming,
    LauncherGone,
    LauncherHere,
    LostRest,
    Named,
    NodeLooked,
    Order,
    Refresh,
    Refusal,
    Remove,
    RemoveRest,
    Reports,
    Request,
    SendSignal,
    SetHold,
    SetLimit,
    SetNode,
    SetSuspended,
    SetTime,
    Submit,
    Top,
    TopRest,
    Who,
)
from wq.formats import FormatError
from wq.formats.clusterfile import parse_cluster_file
from wq.protocol import messages, places
from wq.protocol.wire import PROTOCOL
from wq.server import usage
from wq.server.caps import Caps
from wq.server.connections import BACKLOG, Door, Peer, user_name
from wq.server.forerunners import Forerunners
from wq.server.history import History, an_array, info
from wq.server.intake import Intake
from wq.server.keep import Keep
from wq.server.looks import Looks
from wq.server.watches import Watches, standing
from wq.store.database import DiskFailed, NoRoom
from wq.store.past import FOR_EVER_S, Wanted
from wq.store.store import KEEP_TOKENS_S, SpoolInUse, Store, storable

PRUNE_EVERY_S = 3600.0
PAGE_BYTES = 400_000  # of a listing
LONGEST_PAST_S = 1e9
FEW_NAMED = 1000  # jobs, that are looked up one by one
FINISHED_SHOWN_S = 86400.0
INTERNAL = -1  # the line of what the server tells itself
TURN_COST = 2000  # of what is taken in in one turn, about as many jobs
SLICE_S = 0.03  # of making a long listing, in one turn
WORDS_A_TURN = 32  # of one user
STRANGERS_AT_ONCE = 2000  # jobs and tasks that a launcher names
NEWS_COST = 4  # so many news of attempts cost as much as one job
LAUNCHER_COST = 1000
FEW_HELD = 10_000  # so many are looked at for those in the foreground
MOST_NAMED = 200  # ids and ranges in one question
MOST_HISTORY = 100_000  # jobs, in one answer
MOST_WAITED = 20_000  # ids and ranges in one question
LONGEST_PATTERN = 200
MOST_TASKS_SHOWN = 10_000  # that wait, in one answer
MOST_PARTS = 1000  # of what a launcher has
PRIVATE_IDLE_S = 1800.0
FULL_DISK_S = 1.0  # between two looks at a full disk


HELD: dict[str, object] = {}  # in the place of an answer: it follows when something has changed


class ServeError(Exception):
    """The server cannot start; its text is the sentence. status: 2 for bad input, 1 else."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server is started."""

    port: int
    cluster: Path | None = None
    spool: Path
    private: bool = False
    ssh_command: str = "ssh"
    block_allowed: bool = True
    policy: Policy = FIFO
    caps: Caps = field(default_factory=Caps)
    look: bool = True
    keep: Keep = field(default_factory=Keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What somebody has asked, or the pages of an answer that are still to be sent."""

    peer: Peer
    word: Any
    seq: int


def clock() -> Now:
    return Now(wall_s=time.time(), boot_s=time.clock_gettime(time.CLOCK_BOOTTIME))


def line_of(who: Who) -> int:
    """In whose line a request waits."""
    return INTERNAL if who.is_self else int(who.uid)


def cost_of(request: Request) -> int:
    """What a request costs in a turn: about as much as so many jobs."""
    match request:
        case Submit():
            return len(request.jobs)
        case Reports():
            return 1 + len(request.news) // NEWS_COST
        case LauncherHere() | Named():
            return LAUNCHER_COST
        case _:
            return 1


def merged(one: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    """The facts of two parts of an answer."""
    if not one or not other:
        return one or other
    facts = {key: one.get(key, []) + other.get(key, []) for key in {**one, **other}}
    if "removed" not in facts:
        return facts
    tasks: dict[int, dict[str, int]] = {}
    for row in facts.pop("tasks", []):
        known = tasks.setdefault(row["id"], {"id": row["id"], "removed": 0, "ending": 0})
        known["removed"] += row["removed"]
        known["ending"] += row["ending"]
    return {**facts, "removed": sorted(set(facts["removed"])), "tasks": list(tasks.values())}


def this_machine() -> tuple[Node, ...]:
    """All of this machine as a cluster of one node."""
    mem_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (Node(host=LOCALHOST, ncores=os.cpu_count() or 1, mem_gb=round(mem_gb, 1)),)


class Server:
    """One queue."""

    def __init__(self, settings: Settings, store: Store, log: Callable[[str], None]) -> None:
        self.settings, self.store, self.log = settings, store, log
        self.queue_name = store.queue_name
        self.uid = Uid(os.getuid())
        self.caps = settings.caps
        self.queue = Queue(
            owner=self.uid, block_allowed=settings.block_allowed, most_jobs=self.caps.jobs, policy=settings.policy
        )
        self.queue.users[self.uid] = user_name(self.uid)
        self.myself = Who(uid=self.uid, user=user_name(self.uid), is_self=True)
        self.intake: Intake[Incoming] = Intake()
        self.questions: Intake[Question] = Intake()
        self.talkers: Intake[Peer] = Intake()  # whose next words wait for a turn
        self.spoken: Counter[int] = Counter()  # words of each user since the last turn
        self.held: set[int] = set()  # users of whom enough is waiting
        self.kept_back: dict[int, list[Peer]] = {}  # theirs who have more to say
        self.has_read_cluster = False  # since the last turn
        self.waiting_for_answer: dict[int, tuple[Peer, int]] = {}
        self.partly: dict[int, dict[str, object]] = {}  # answers of which a part is known
        self.forerunners: dict[int, Forerunners] = {}  # of submissions that are not let in yet
        self.next_mark = 0
        self.peers: set[Peer] = set()
        self.launchers: dict[Uid, Peer] = {}
        self.told: dict[JobId, tuple[str, int | None]] = {}
        self.something = asyncio.Event()
        self.stopping = False
        self.wake_s: float | None = 0.0  # when something is to be decided, though nothing arrives
        self.idle_since = time.monotonic()
        self.no_room: str | None = None  # why the disk takes nothing just now
        self.look_again_s = 0.0
        self.failed: DiskFailed | None = None
        self.looks = Looks(settings.ssh_command, self.looked)
        self.watches: Watches[Peer] = Watches()
        self.tokens_since_s = time.time() - KEEP_TOKENS_S

    # what arrives

    def welcome(self, peer: Peer) -> dict[str, object]:
        self.peers.add(peer)
        return {
            "version": PROTOCOL,
            "features": ["sight"],  # words that version 0.1.0 did not know
            "queue": self.queue_name,
            "owner": self.uid,
            "owner_name": user_name(self.uid),
            "private": self.settings.private,
            "nodes": [node.host for node in self.queue.nodes],
        }

    def arrived(self, peer: Peer, word: Any, seq: int) -> None:
        if isinstance(word, messages.Limit):
            self.limit(peer, word, seq)
        elif isinstance(word, QUESTIONS):
            self.asked(peer, word, seq)
        elif isinstance(word, messages.Hello):
            peer.refuse("one hello is enough")
        elif isinstance(word, messages.Attempts):
            self.put(Incoming(who=peer.who, request=messages.reports_of(word)))
        else:
            if isinstance(word, LauncherHere):
                peer.here.append(word)
                if word.more and len(peer.here) < MOST_PARTS:
                    return
                word = whole(peer.here)
                peer.here = []
                if peer.greeted:
                    peer.answer(seq, {"error": "a launcher says once what it has", "status": 2})
                    return
                peer.greeted = True
                self.new_launcher(peer)
            if isinstance(word, Refresh) and not self.has_read_cluster:
                self.has_read_cluster = True
                trouble = self.read_cluster(look=peer.who.uid in (self.uid, 0))
                if trouble is not None:
                    peer.answer(seq, {"error": f"{trouble}; the server goes on with what it had", "status": 2})
                    self.put(Incoming(who=peer.who, request=word))
                    self.something.set()
                    return
            self.enqueue(peer, word, seq)
        self.something.set()

    def asked(self, peer: Peer, word: Any, seq: int) -> None:
        """A question; each user gets one answer, or a page of it, in each turn."""
        question = Question(peer=peer, word=word, seq=seq)
        if peer.stalled:
            peer.stalled.append(question)
        else:
            self.questions.put(peer.who.uid, question)
        self.hold_if_enough(peer.who.uid)

    def may_speak(self, peer: Peer) -> bool:
        """So many words of each user are taken between two turns; of those who say more, one is heard in each turn."""
        uid = peer.who.uid
        if uid in self.held:  # also on a connection that is new
            if not peer.speaks:
                peer.speaks = True
                self.kept_back.setdefault(uid, []).append(peer)
            return False
        self.spoken[uid] += 1
        if self.spoken[uid] > WORDS_A_TURN:
            self.hear_later(peer)
            return False
        return True

    def hear_later(self, peer: Peer) -> None:
        if not peer.speaks:
            peer.speaks = True
            self.talkers.put(peer.who.uid, peer)
            self.something.set()

    def listen(self) -> None:
        """The next words of those who have said much."""
        self.spoken.clear()
        for peer in self.talkers.take(0):
            peer.speaks = False
            peer.take_words()

    def put(self, item: Incoming) -> None:
        self.intake.put(line_of(item.who), item, cost_of(item.request))
        self.hold_if_enough(line_of(item.who))

    def hold_if_enough(self, uid: int) -> None:
        """Nothing more is read of a user while enough of his is waiting: that is the cap of requests."""
        if uid not in self.held and self.intake.waiting(uid) + self.questions.waiting(uid) > self.caps.requests:
            self.held.add(uid)
            for peer in self.peers:
                if peer.who.uid == uid:
                    peer.hold("requests")

    def let_go_again(self) -> None:
        """Read on where less is waiting now."""
        for uid in list(self.held):
            if self.intake.waiting(uid) + self.questions.waiting(uid) <= self.caps.requests // 2:
                self.held.discard(uid)
                for peer in self.peers:
                    if peer.who.uid == uid:
                        peer.let_go("requests")
                for peer in self.kept_back.pop(uid, []):
                    peer.speaks = False
                    self.hear_later(peer)

    def read_on(self, peer: Peer) -> None:
        """A reader has read: the rest of his answers follows."""
        for question in peer.stalled:
            self.questions.put(peer.who.uid, question)
        peer.stalled = []
        self.something.set()

    def unread_bytes(self, uid: int) -> int:
        """What waits to be read by all connections of a user."""
        return sum(peer.unread_bytes for peer in self.peers if peer.who.uid == uid)

    def enqueue(self, peer: Peer, request: Any, seq: int) -> None:
        self.next_mark += 1
        self.waiting_for_answer[self.next_mark] = (peer, seq)
        named: list[Named] = []
        if isinstance(request, LauncherHere):
            request, named = news.apart(request, STRANGERS_AT_ONCE)
        self.put(Incoming(who=peer.who, request=request, reply_to=self.next_mark))
        for some in named:
            self.put(Incoming(who=peer.who, request=some))

    def limit(self, peer: Peer, word: messages.Limit, seq: int) -> None:
        target = None
        if word.user is not None:
            try:
                target = Uid(pwd.getpwnam(word.user).pw_uid)
            except (KeyError, ValueError):
                peer.answer(seq, {"error": f"no user is called {word.user!r}", "status": 2})
                return
        request = SetLimit(target=target, target_name=word.user or "", run=word.run, cores=word.cores, clear=word.clear)
        self.enqueue(peer, request, seq)

    def new_launcher(self, peer: Peer) -> None:
        old = self.launchers.get(peer.who.uid)
        if old is not None and old is not peer:
            old.close()
        self.launchers[peer.who.uid] = peer

    def left(self, peer: Peer) -> None:
        self.peers.discard(peer)
        peer.stalled = []
        self.watches.forget(peer)
        if self.launchers.get(peer.who.uid) is peer:
            del self.launchers[peer.who.uid]
            self.put(Incoming(who=peer.who, request=LauncherGone()))
            self.something.set()

    def looked(self, host: HostName, ok: bool, why: str) -> None:
        if not ok or host in self.queue.unseen:
            self.log(f"node {host} {'answers again' if ok else f'is offline: {why}'}")
        self.put(Incoming(who=self.myself, request=NodeLooked(host=host, ok=ok, why=why)))
        self.something.set()

    # the cluster

    def read_cluster(self, *, look: bool = True) -> str | None:
        """Read the cluster file again, and look at the nodes; an error in it is answered, and changes nothing."""
        try:
            nodes = self.cluster_nodes()
        except (FormatError, UnicodeDecodeError) as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"{self.settings.cluster}: {error.strerror}"
        else:
            self.put(Incoming(who=self.myself, request=ClusterRead(nodes=nodes)))
            if look:
                self.look_at(nodes)
            self.something.set()
            return None
        self.log(f"{trouble}; going on with the nodes as they were")
        return trouble

    def cluster_nodes(self) -> tuple[Node, ...]:
        if self.settings.cluster is None:
            return this_machine()
        return parse_cluster_file(self.settings.cluster.read_text("utf-8"), source=str(self.settings.cluster))

    def look_at(self, nodes: tuple[Node, ...]) -> None:
        if self.settings.look:
            self.looks.forget_others({node.host for node in nodes})
            for node in nodes:
                self.looks.look(node.host)

    # the loop

    async def run(self) -> None:
        """Until somebody says shutdown."""
        wake_s: float | None = None
        while not self.stopping:
            await self.wait(wake_s)
            wake_s = self.turn()
        self.looks.close()
        for peer in list(self.peers):
            peer.close()

    async def wait(self, wake_s: float | None) -> None:
        """Until something has arrived, or the time has come; what has arrived meanwhile is let in first."""
        await asyncio.sleep(0)
        if wake_s is None:
            await self.something.wait()
            return
        delay_s = wake_s - time.clock_gettime(time.CLOCK_BOOTTIME)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.something.wait(), max(delay_s, 0.0))

    def turn(self) -> float | None:
        """One turn: what has arrived becomes events, on disk, and then everybody is told. Says when to wake."""
        self.something.clear()
        self.listen()
        inbox = self.let_in()
        questions = self.questions.take(0)
        self.has_read_cluster = False
        draft = self.on_disk(inbox) if inbox or self.is_due() else None
        if draft is not None:
            self.wake_s = draft.wake_s
            draft.settle()
            for forerunners in self.forerunners.values():
                forerunners.note(draft)
            self.go_on_later(draft)
            self.tell(draft)
            for peer, waiter in self.watches.due(draft):
                self.questions.put(peer.who.uid, waiter)
            for item in inbox:  # reports have no answer
                if item.reply_to not in self.partly:
                    self.waiting_for_answer.pop(item.reply_to, None)
        for question in questions:
            self.answer(question)
        self.let_go_again()
        if self.questions or self.talkers or (self.intake and self.no_room is None):
            self.something.set()
        return self.wake_s if self.no_room is None else clock().boot_s + FULL_DISK_S

    def let_in(self) -> list[Incoming]:
        """What is dealt with in this turn; what is not ready waits, with all that the same user has said after it."""
        ready: list[Incoming] = []
        later: list[Incoming] = []
        until_s: dict[int, float] = {}  # each user's submissions are made ready for so long
        kept_up: set[int] = set()  # users
        for item in self.intake.take(TURN_COST):
            line = line_of(item.who)
            until_s.setdefault(line, time.monotonic() + SLICE_S)
            known = self.with_past(item, until_s[line]) if line not in kept_up else None
            if known is not None:
                ready.append(known)
                if isinstance(item.request, BULKY):  # one of each user in a turn; what is left of it comes first again
                    kept_up.add(line)
            else:
                kept_up.add(line)
                later.append(item)
        for item in reversed(later):
            self.intake.put_back(line_of(item.who), item, cost_of(item.request))
        return ready

    def with_past(self, item: Incoming, until_s: float) -> Incoming | None:
        """A submission with what is known of it and of the jobs that it names, whatever its sender says of them.

        None: to find that out takes longer.
        """
        request = item.request
        if not isinstance(request, Submit):
            return item
        forerunners = self.forerunners.pop(item.reply_to, None) or Forerunners(self.store.past, request)
        for _ in forerunners.parts:
            if time.monotonic() >= until_s:
                self.forerunners[item.reply_to] = forerunners
                return None
        uid = item.who.uid
        known = not request.token or (uid, request.token) in self.queue.tokens
        accepted = () if known else self.store.past.accepted(uid, request.token)
        return replace(item, request=replace(request, past=forerunners.past, accepted=accepted))

    def is_due(self) -> bool:
        """Is there something to be decided though nothing has arrived?"""
        return self.no_room is not None or (self.wake_s is not None and self.wake_s <= clock().boot_s)

    def on_disk(self, inbox: list[Incoming]) -> Draft | None:
        """What follows from all that has arrived, stored; without room, of that which must be. None: not even that.

        Raises DiskFailed: what is on disk is not known, and this process must end.
        """
        if self.has_room():
            draft = tick(self.queue, inbox, clock())
            try:
                self.store.commit(draft)
            except NoRoom as error:
                self.no_room = str(error)
                self.log(f"no room for the queue in {self.settings.spool}: {error}; nothing new is accepted")
            else:
                return draft
        inbox = self.refuse_wishes(inbox)
        draft = tick(self.queue, inbox, clock(), start=False)
        try:
            self.store.commit(draft, urgent=True)
        except NoRoom:
            for item in reversed(inbox):
                self.intake.put_back(line_of(item.who), item)
            return None
        return draft

    def has_room(self) -> bool:
        """False while the disk was full when last looked at; that is now and then."""
        if self.no_room is not None and self.look_again_s <= clock().boot_s:
            self.look_again_s = clock().boot_s + FULL_DISK_S
            if self.store.database.keep_reserve():
                self.no_room = None
                self.log("there is room for the queue again")
        return self.no_room is None

    def refuse_wishes(self, inbox: list[Incoming]) -> list[Incoming]:
        """Refuse what can wait; the rest: ends of jobs, removals, who comes and goes."""
        rest = []
        for item in inbox:
            if isinstance(item.request, WISHES):
                peer, seq = self.waiting_for_answer.pop(item.reply_to)
                why = f"the server has no room on its disk ({self.no_room}); nothing was accepted, try again later"
                peer.answer(seq, {"error": why, "status": 1, "for_now": True})
            else:
                rest.append(item)
        return rest

    def go_on_later(self, draft: Draft) -> None:
        """What is not finished is its sender's next request."""
        for item, done in draft.unfinished:
            self.partly[item.reply_to] = merged(self.partly.get(item.reply_to), done.facts)
            self.intake.put_back(line_of(item.who), Incoming(who=item.who, request=done.rest, reply_to=item.reply_to))

    def tell(self, draft: Draft) -> None:
        """After the commit: answers, orders, and why foreground jobs wait."""
        for mark, answer in draft.answers:  # before the orders: a launcher must know the ids that they name
            peer, seq = self.waiting_for_answer.pop(mark)
            if isinstance(answer, Answer) and mark in self.partly:
                answer = Answer(facts=merged(self.partly.pop(mark), answer.facts))
            peer.answer(seq, as_message(answer))
        orders: dict[Uid, list[Order]] = {}
        for order in draft.orders:
            orders.setdefault(order.uid, []).append(order)
        for uid, theirs in orders.items():
            launcher = self.launchers.get(uid)
            if launcher is not None:
                launcher.send(b"".join(map(messages.encode_word, messages.grouped(theirs))))
        self.tell_waiting()

    def tell_waiting(self) -> None:
        """Tell launchers why their foreground jobs wait, where that has changed."""
        line = self.queue.line
        waiting = [job for place in line.foreground if isinstance(job := self.queue.at(place), Job)]
        jobs = [job for job in waiting if job.spec.uid in self.launchers]
        plan = self.plan() if jobs else None
        told: dict[JobId, tuple[str, int | None]] = {}
        for job in jobs:
            assert plan is not None
            news = (plan.why(job).text, line.ahead(job))
            told[job.id] = news
            if self.told.get(job.id) != news:
                code = plan.why(job).code.value
                word = messages.Waiting(id=job.id, reason=news[0], code=code, ahead=news[1])
                self.launchers[job.spec.uid].send(messages.encode_word(word))
        if len(self.queue.held) <= FEW_HELD:
            told |= self.tell_held()
        self.told = told

    def tell_held(self) -> dict[JobId, tuple[str, int | None]]:
        """The same for those that are not in the line."""
        told: dict[JobId, tuple[str, int | None]] = {}
        for job in self.queue.held.values():
            reason = dependencies.reason(job) if job.spec.foreground and job.spec.uid in self.launchers else None
            if reason is not None:
                told[job.id] = (reason.text, None)
                if self.told.get(job.id) != told[job.id]:
                    word = messages.Waiting(id=job.id, reason=reason.text, code=reason.code.value, ahead=None)
                    self.launchers[job.spec.uid].send(messages.encode_word(word))
        return told

    def plan(self) -> Plan:
        return planned(self.queue, clock(), fully=True)

    # questions

    def answer(self, question: Question) -> None:
        """Answer a question, or send the next page of its answer."""
        peer, word, seq = question.peer, question.word, question.seq
        if peer.gone:
            return
        if peer.full or peer.stalled:
            peer.stalled.append(question)
            return
        match word:
            case messages.Ls() | messages.Eff():
                pages = self.pages_of(word) if isinstance(word, messages.Ls) else self.used_pages(word)
                self.answer(Question(peer=peer, word=pages, seq=seq))
            case messages.Stat():
                nodes, counts = listing.node_rows(self.queue), listing.counts(self.queue)
                facts = {"nodes": nodes, "counts": counts, "policy": self.queue.policy.name}
                peer.answer(seq, {"ok": facts})
            case messages.Users():
                peer.answer(seq, {"ok": {"users": self.user_rows(word.user)}})
            case messages.Shutdown():
                self.shutdown(peer, seq)
            case messages.Hist() | messages.Info() | messages.Wait():
                self.answer(Question(peer=peer, word=self.looked_up(question), seq=seq))
            case messages.Newest():
                peer.answer(seq, {"ok": {"id": self.newest(peer.who.uid)}})
            case _:
                began = time.monotonic()
                while (page := next(word)) is None and time.monotonic() - began < SLICE_S:
                    pass
                if page is not None and page is not HELD:
                    peer.answer(seq, page)
                if page is None or "page" in page:
                    self.questions.put_back(peer.who.uid, question)

    def user_rows(self, only: str | None) -> list[dict[str, object]]:
        """Users who have jobs or limits; or the one who is asked for, who may be anybody on this host."""
        rows = listing.user_rows(self.queue, only)
        if only is not None and not rows:
            with contextlib.suppress(KeyError, ValueError):
                rows = [listing.user_row(self.queue, Uid(pwd.getpwnam(only).pw_uid), only)]
        return rows

    def pages_of(self, query: messages.Ls) -> Iterator[dict[str, object] | None]:
        """A listing in pages below the size of a frame; the last one has the counts. None: a pause, for others."""
        users = frozenset(query.users)  # there may be very many
        found: dict[Key, listing.Listed] = {}  # (what ends meanwhile is found once more, as it is then)
        for one in self.named(query) if query.ids or query.tasks else self.everything(query):
            if one is None:
                yield None
            elif not users or one.spec.user in users:
                found[one.id if isinstance(one, Array) else one.key] = one
        chosen = found.values()
        why = self.plan().why if query.why else None
        if query.brief:
            yield from self.listed(listing.brief_rows(self.queue, chosen))
        elif query.fields:
            yield from self.listed(listing.picked(listing.stretches(self.queue, chosen, why), query.fields))
        else:
            yield from self.listed(listing.rows(self.queue, chosen, why))

    def everything(self, query: messages.Ls) -> Iterator[listing.Listed | None]:
        """All that is live; and what has ended lately, where that is asked for. None: a pause, for others."""
        yield from listing.live(self.queue)
        if query.finished:
            past = self.store.past
            for entry in usage.ended_since(past, self.whose(query.users), time.time() - FINISHED_SHOWN_S):
                yield None if entry is None else past.get(entry)

    def listed(self, rows: Iterable[object]) -> Iterator[dict[str, object] | None]:
        return self.paged(rows, lambda: {"counts": listing.counts(self.queue)})

    def used_pages(self, query: messages.Eff) -> Iterator[dict[str, object] | None]:
        """What jobs that are over had and used, as pages."""
        past = self.store.past
        if query.ids or query.tasks:
            entries = usage.over_of(past, query.ids[:MOST_NAMED])
        else:
            since_s = time.time() - min(max(query.since_s, 0.0), LONGEST_PAST_S)
            entries = usage.ended_since(past, self.whose(query.users), since_s)
        tasks = usage.by_array(query.tasks[:MOST_NAMED])
        return self.listed(usage.used(self.queue, self.store, entries, tasks, frozenset(query.users)))

    def looked_up(self, question: Question) -> Iterator[dict[str, object] | None]:
        """The answer to a question about the past, or about what becomes of jobs; in parts."""
        match question.word:
            case messages.Hist():
                return self.history(question.peer, question.word)
            case messages.Info(id=job_id, task=task):
                return info(self.queue, self.store, job_id, task, lambda waiting: self.plan().why(waiting))
            case _:
                return self.how_they_stand(question)

    def history(self, peer: Peer, query: messages.Hist) -> Iterator[dict[str, object] | None]:
        uids, strangers = self.uids_of(query.users)
        if strangers:
            yield {"error": f"no user is called {strangers[0][:100]!r}", "status": 2}
            return
        if len(query.name) > LONGEST_PATTERN:
            yield {"error": f"a pattern has at most {LONGEST_PATTERN} characters", "status": 2}
            return
        wanted = Wanted(
            uids=self.store.past.uids() if query.everybody else uids or (peer.who.uid,),
            since_s=query.since_s or 0.0,
            until_s=FOR_EVER_S if query.until_s is None else query.until_s,
            failed=query.failed,
        )
        found = History(self.store.past, wanted, query.name, max(0, min(query.most, MOST_HISTORY)))
        yield from self.paged(found.rows(), lambda: {"more": found.more})

    def uids_of(self, names: tuple[str, ...]) -> tuple[tuple[Uid, ...], list[str]]:
        """(the users of these names, on this host or in the queue; names that are nobody's)."""
        known = {name: uid for uid, name in self.queue.users.items()}
        uids: list[Uid] = []
        strangers = []
        for name in names[:MOST_NAMED]:
            with contextlib.suppress(KeyError, ValueError):
                known[name] = known[name] if name in known else Uid(pwd.getpwnam(name).pw_uid)
            if name in known:
                uids.append(known[name])
            else:
                strangers.append(name)
        return tuple(dict.fromkeys(uids)), strangers

    def whose(self, users: tuple[str, ...]) -> tuple[Uid, ...]:
        """The users of whom something may be over that is asked for."""
        uids, strangers = self.uids_of(users)
        return uids if 0 < len(users) <= MOST_NAMED and not strangers else self.store.past.uids()

    def newest(self, uid: Uid) -> int | None:
        return self.store.past.newest_id(uid)

    def how_they_stand(self, question: Question) -> Iterator[dict[str, object] | None]:
        """The answer to one who waits. If nothing has changed since he last asked, he is told when it has."""
        query: messages.Wait = question.word
        self.watches.forget(question.peer)
        if len(query.ids) + len(query.tasks) > MOST_WAITED:
            yield {"error": f"these are too many at once; at most {MOST_WAITED} ids and ranges", "status": 2}
            return
        while True:
            for found in standing(self.queue, self.store, query.ids, query.tasks[:MOST_NAMED]):
                if found is None:
                    yield None
                    continue
                if found.too_many:
                    yield {"error": "so many jobs are over that they are not counted; name fewer", "status": 2}
                    return
                if found.over != query.seen or not found.waits:
                    yield {"ok": found.facts()}
                    return
                if found.is_still_so(self.queue):
                    self.watches.hold(question.peer, question, found)
                    yield HELD
                    return
            yield None  # something has changed while others had their turns: again

    def named(self, query: messages.Ls) -> Iterator[listing.Listed | None]:
        """The jobs that are named by their ids, arrays with their tasks; and tasks that are named themselves.

        None: a pause, for others. What ends in one is found again among those that are over.
        """
        ids, past = query.ids[:MOST_NAMED], self.store.past
        asked = usage.by_array(query.tasks[:MOST_NAMED])
        known = [an_array(self.queue, self.store, number) for number in asked]
        wanted = [(array, asked[array.id]) for array in known if array is not None]
        live = self.live_named(ids, wanted)
        yield from live
        arrays = [one for one in live if isinstance(one, Array)]
        for entry in usage.over_of(past, ids):
            found = None if entry is None else past.get(entry)
            if isinstance(found, Array):
                arrays.append(found)
            yield found
        for array in arrays:
            yield from past.tasks_over(array, 0, ranges.MOST, failed=not query.finished)
        for array, spans in wanted:
            for low, high in spans:
                yield from past.tasks_over(array, storable(low), storable(high))

    def live_named(self, ids: tuple[tuple[int, int], ...], wanted: list[tuple[Array, Ranges]]) -> list[listing.Listed]:
        """Of those that are named, what is not over: jobs, arrays and their tasks, and these tasks of arrays."""
        meant = ranges.merged(ids)
        arrays = [array for array in self.queue.arrays.values() if ranges.contains(meant, array.id)]
        if not arrays and not wanted and ranges.count(meant) <= FEW_NAMED:
            return [job for number in ranges.numbers(meant) if (job := self.queue.find(JobId(number))) is not None]
        live = listing.live_jobs(self.queue)
        named = [job for job in live if ranges.contains(meant, job.id)]
        return [*listing.not_fed(named), *arrays, *tasks_of(wanted, live)]

    def paged(
        self, rows: Iterable[object], last_words: Callable[[], dict[str, object]]
    ) -> Iterator[dict[str, object] | None]:
        """Rows in pages below the size of a frame. last_words: facts of the last one, when all rows were made."""
        page: list[bytes] = []
        size_bytes = 0
        for row in rows:
            if row is None:
                yield None
                continue
            page.append(msgspec.json.encode(row))
            size_bytes += len(page[-1])
            if size_bytes > PAGE_BYTES:
                yield {"page": msgspec.Raw(b"[" + b",".join(page) + b"]")}
                page, size_bytes = [], 0
        last = msgspec.Raw(b"[" + b",".join(page) + b"]")
        yield {"ok": {"jobs": last, **last_words()}}

    def shutdown(self, peer: Peer, seq: int) -> None:
        if peer.who.uid not in (self.uid, 0):
            owner = user_name(self.uid)
            peer.answer(seq, {"error": f"only the server's owner ({owner}) and root may stop it", "status": 1})
            return
        running = listing.counts(self.queue)["running"]
        peer.answer(seq, {"ok": {"running": running}})
        self.log(f"shutdown asked for by {peer.who.user}; {running} running jobs go on")
        self.stop()

    def stop(self) -> None:
        self.stopping = True
        self.something.set()

    # housekeeping

    async def tidy(self) -> None:
        """Forget old jobs; of submissions that are hardly repeated any more the disk alone knows.

        Others have their turns in between.
        """
        now_s, keep = time.time(), self.settings.keep
        for gone in self.store.past.prune(now_s - keep.age_s, keep.count):
            self.forget_tokens(gone)
            await asyncio.sleep(0)
        old_s = now_s - KEEP_TOKENS_S
        for some in self.store.past.tokens_between(self.tokens_since_s, old_s):
            self.forget_tokens(some)
            await asyncio.sleep(0)
        self.tokens_since_s = max(old_s, self.tokens_since_s)

    def forget_tokens(self, gone: Iterable[tuple[Uid, str, JobId]]) -> None:
        """A submission of which a part is forgotten is refused when it is repeated; one that is forgotten is new."""
        for uid, token, job_id in gone:
            known = self.queue.tokens.get((uid, token))
            if known is not None and job_id in known:
                left = tuple(one for one in known if one != job_id)
                if left:
                    self.queue.tokens[(uid, token)] = left
                else:
                    del self.queue.tokens[(uid, token)]

    async def keep_house(self) -> None:
        """Prune old rows now and then; a private server without work goes away."""
        while True:
            try:
                user_name.cache_clear()
                await self.tidy()
            except NoRoom as error:
                self.log(f"old jobs cannot be forgotten now: {error}")
            except DiskFailed as error:
                self.failed = error
                self.stop()
                return
            await asyncio.sleep(PRIVATE_IDLE_S / 2 if self.settings.private else PRUNE_EVERY_S)
            busy = bool(listing.live(self.queue)) or any(p.role == "client" for p in self.peers)
            if busy:
                self.idle_since = time.monotonic()
            elif self.settings.private and time.monotonic() - self.idle_since > PRIVATE_IDLE_S:
                self.log("no work for a while; this private server goes")
                self.stop()


def tasks_of(wanted: Iterable[tuple[Array, Ranges]], live: Iterable[Job]) -> Iterator[Job]:
    """Tasks of arrays, by ranges of their numbers, that are not over; of those that wait so many in all."""
    by_id = {array.id: spans for array, spans in wanted}
    yield from (job for job in live if job.id in by_id and ranges.contains(by_id[job.id], job.task or 0))
    room = MOST_TASKS_SHOWN
    for array, spans in wanted:
        for low, high in spans:
            new = listing.new_tasks(array, low, high, room)
            room -= len(new)
            yield from new


WISHES = (Submit, SetLimit, SetNode, SetHold, Edit, Top, SetTime, SetSuspended)  # these can wait for a disk with room
BULKY = (Remove, RemoveRest, SetHold, HoldRest, Top, TopRest, SetSuspended, SendSignal, LauncherHere, LostRest)
QUESTIONS = (
    messages.Ls,
    messages.Eff,
    messages.Stat,
    messages.Users,
    messages.Hist,
    messages.Info,
    messages.Newest,
    messages.Wait,
    messages.Shutdown,
)


def whole(parts: list[LauncherHere]) -> LauncherHere:
    """What a launcher has, from all its words about it."""
    return LauncherHere(
        ids=tuple(pair for part in parts for pair in part.ids),
        tasks=tuple(some for part in parts for some in part.tasks),
        tokens=tuple(token for part in parts for token in part.tokens),
    )


def as_message(answer: Answer | Refusal) -> dict[str, object]:
    if isinstance(answer, Refusal):
        return {"error": answer.error, "status": answer.status}
    return {"ok": answer.facts}


async def serve(settings: Settings, ready: Callable[[], None], log: Callable[[str], None]) -> None:
    """Run a server until it is told to stop. Calls ready() when it listens. Raises ServeError."""
    try:
        meeting = places.make_meeting_dir(settings.port)
        store = Store(settings.spool)
    except (SpoolInUse, places.PlaceError, OSError) as error:
        raise ServeError(f"the server cannot start: {error}") from None
    server = Server(settings, store, log)
    try:
        nodes = server.cluster_nodes()
    except (FormatError, UnicodeDecodeError) as error:
        raise ServeError(str(error), 2) from None
    except OSError as error:
        raise ServeError(f"{settings.cluster}: {error.strerror}", 2) from None
    store.load(server.queue, server.tokens_since_s)
    server.queue.absent = {lane.uid: time.time() for lane in server.queue.lanes.values()}
    marked = store.marked_nodes()
    server.queue.nodes = tuple(marked.get(node.host, node) for node in nodes)
    path = places.server_socket(server.uid, settings.port, private=settings.private)
    listening = await listen(server, path, meeting, private=settings.private)
    server.read_cluster()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    loop.add_signal_handler(signal.SIGHUP, server.read_cluster)
    house = asyncio.create_task(server.keep_house())
    ready()
    log(f"serving {len(nodes)} nodes, {sum(n.ncores for n in nodes)} cores, on port {settings.port} ({path})")
    try:
        await server.run()
        if server.failed is not None:
            raise server.failed
    except DiskFailed as error:
        raise ServeError(f"the disk has failed, so this server ends, and jobs run on: {error}") from None
    finally:
        house.cancel()
        listening.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        await asyncio.sleep(0)
        store.close()


async def listen(server: Server, path: str, meeting: str, *, private: bool) -> Door:
    """The socket: open to all users of this host, a private queue's to its owner alone."""
    if await somebody_answers(path):
        raise ServeError(f"another server already serves this port ({path}); choose another one with -p")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    old = os.umask(0o177 if private else 0o111)
    try:
        listening.bind(path)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ServeError(f"cannot make the socket in {meeting}: {error.strerror}") from None
    finally:
        os.umask(old)
    return Door(server, listening)


async def somebody_answers(path: str) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


def log_to_stderr(text: str) -> None:
    """One line, with the time; whatever it is about, no control character gets to the terminal.

    What finds no room is lost: the log lies on the disk that may be full, and that must end nobody.
    """
    clean = "".join(c if c.isprintable() else "?" for c in text)
    with contextlib.suppress(OSError):
        os.write(2, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {clean}\n".encode("utf-8", "replace"))
