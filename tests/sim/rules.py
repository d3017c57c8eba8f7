"""The ten rules of the protocol, and how each is left out: so that it can be shown that the worlds notice.

Each function here leaves out the rule that its docstring says. Nothing of this is in the code: it is patched in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.sim import node
from tests.sim.processes import OWNER, ServerProcess
from wq.core import commands, news
from wq.core.job import HostName, Job, Key, Outcome, OutcomeKind
from wq.core.lifecycle import Ended
from wq.core.queue import Draft
from wq.core.requests import Answer, AttemptEnded, Gones, LauncherHere, Order, Remove, Starts, Unfinished, Who
from wq.launcher.launcher import Launcher
from wq.launcher.ledger import Action, Ledger, Phase
from wq.launcher.session import Session
from wq.protocol import messages
from wq.server.server import Server, as_message
from wq.store.store import Store

Patch = pytest.MonkeyPatch


def server_now() -> Server:
    process = OWNER.get()
    assert isinstance(process, ServerProcess)
    assert process.server is not None
    return process.server


def before_the_commit(patch: Patch, do: Callable[[Server, Draft], None]) -> None:
    commit: Callable[..., None] = Store.commit

    def too_late(self: Store, draft: Draft, **how: Any) -> None:
        do(server_now(), draft)
        commit(self, draft, **how)

    patch.setattr(Store, "commit", too_late)


def answers_before_the_commit(patch: Patch) -> None:
    """P1: a submission is answered when it is on disk."""

    def tell(server: Server, draft: Draft) -> None:
        answers, draft.answers = draft.answers, []
        for mark, answer in answers:
            peer, seq = server.waiting_for_answer[mark]  # (which may be answered again: there may be no room for it)
            peer.answer(seq, as_message(answer))

    before_the_commit(patch, tell)


def jobs_of(order: Order) -> set[int]:
    return {job for job, *_ in order.tasks} if isinstance(order, Starts | Gones) else {order.id}


def orders_before_the_commit(patch: Patch) -> None:
    """P2: a grant is on disk before it is sent."""

    def tell(server: Server, draft: Draft) -> None:
        # Where ids are answered, also again, launchers must know them first.
        answered = [answer.facts.get("ids", []) for _, answer in draft.answers if isinstance(answer, Answer)]
        new = {number for ids in answered if isinstance(ids, list) for number in ids}
        early = [order for order in draft.orders if not jobs_of(order) & new]
        draft.orders = [order for order in draft.orders if jobs_of(order) & new]
        for order in early:
            if order.uid in server.launchers:
                server.launchers[order.uid].send(messages.encode_word(order))

    before_the_commit(patch, tell)


def starts_before_the_intent(patch: Patch) -> None:
    """P3: the launcher's intent is on its disk before the start is sent."""

    def flush(self: Launcher) -> None:
        self.flushing = False
        pending, self.pending = self.pending, []
        for action in pending:
            self.perform(action)
        if self.book is not None:
            self.batches.flush(self.book)
        told, self.news = self.news, []
        self.session.report_many(told)
        self.save()

    patch.setattr(Launcher, "flush", flush)


def in_the_shepherd(patch: Patch, change: Callable[[node.Space], None]) -> None:
    patch.setattr(node, "changes", [change])


def starts_again(patch: Patch) -> None:
    """P4: a start that comes again starts nothing."""

    def change(space: node.Space) -> None:
        start, take_batch = space["Shepherd"].start, space["Shepherd"].take_batch

        def start_anyway(self: Any, att: str, spec: Any) -> None:
            self.attempts.pop(att, None)
            start(self, att, spec)

        def take_anyway(self: Any, message: Any) -> None:
            for task in message["tasks"]:
                self.attempts.pop(task["att"], None)
            take_batch(self, message)

        space["Shepherd"].start, space["Shepherd"].take_batch = start_anyway, take_anyway

    in_the_shepherd(patch, change)


def no_tombstones(patch: Patch) -> None:
    """P5: a question about an attempt that a node does not know is the end of it: no start may follow."""

    def change(space: node.Space) -> None:
        query = space["Shepherd"].query

        def only_look(self: Any, att: str, attempt: Any) -> None:
            if attempt is None:
                self.report({"say": "state", "att": att, "state": "never", "pid": 0, "shared": None, "chs": []})
            else:
                query(self, att, attempt)

        space["Shepherd"].query = only_look

    in_the_shepherd(patch, change)


def a_lost_connection_is_a_failure(patch: Patch) -> None:
    """P6: a lost connection means that nobody knows, and never that it failed."""

    def node_failed(self: Ledger, host: HostName, why: str) -> list[Action]:
        self.up.discard(host)
        gone = [entry for entry in self.on_host(host) if entry.phase is Phase.INTENDED]
        return [action for entry in gone for action in self.taken_back(entry, host, why)]

    patch.setattr(Ledger, "node_failed", node_failed)


def cores_are_free_before_the_end(patch: Patch) -> None:
    """P7: cores become free on evidence alone."""

    def too_early(draft: Draft, who: Who, job: Job, request: Remove) -> str:
        outcome = Outcome(kind=OutcomeKind.REMOVED, by=who.user)
        draft.apply(Ended(id=job.id, task=job.task, outcome=outcome, at_s=draft.now.wall_s))
        return "removed"

    patch.setattr(commands, "remove_one", too_early)


def old_news_is_obeyed(patch: Patch) -> None:
    """P8: each message names its attempt, and news of an earlier one changes nothing."""
    report = news.report

    def believe(draft: Draft, who: Any, said: Any) -> None:
        key: Key = said.id if said.task is None else (said.id, said.task)
        job = draft.active.get(key)
        report(draft, who, said if job is None else replace(said, attempt=job.attempt))

    patch.setattr(news, "report", believe)


def an_end_is_told_once(patch: Patch) -> None:
    """P9: an end is told again until it is acknowledged."""
    report_many = Session.report_many

    def once(self: Session, told: list[Any]) -> None:
        before: set[object] = OWNER.get().world.__dict__.setdefault("told_once", set())
        new = []
        for one in told:
            name = (one.id, one.task, one.attempt)
            if not isinstance(one, AttemptEnded) or name not in before:
                new.append(one)
            if isinstance(one, AttemptEnded):
                before.add(name)
        report_many(self, new)

    patch.setattr(Session, "report_many", once)


def a_hello_is_only_greeted(patch: Patch) -> None:
    """P10: whoever comes back is told what is due, and what is over."""
    launcher_here = news.launcher_here

    def greet(draft: Draft, who: Who, request: LauncherHere) -> Answer | Unfinished:
        before = len(draft.orders)
        answer = launcher_here(draft, who, request)
        del draft.orders[before:]
        return answer

    patch.setattr(news, "launcher_here", greet)


def a_repeated_submission_is_only_accepted(patch: Patch) -> None:
    """P10: a repeated submission is answered with what has become of it."""
    patch.setattr(commands, "remind", lambda draft, uid, job: None)


LEFT_OUT: dict[str, Callable[[Patch], None]] = {
    "P1": answers_before_the_commit,
    "P2": orders_before_the_commit,
    "P3": starts_before_the_intent,
    "P4": starts_again,
    "P5": no_tombstones,
    "P6": a_lost_connection_is_a_failure,
    "P7": cores_are_free_before_the_end,
    "P8": old_news_is_obeyed,
    "P9": an_end_is_told_once,
    "P10 hello": a_hello_is_only_greeted,
    "P10 submit": a_repeated_submission_is_only_accepted,
}
