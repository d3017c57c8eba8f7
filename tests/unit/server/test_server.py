"""The server's loop and its connections: what any user may say, and what it does to the others."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.desk import ANZE, BINE, ME, Office, Visitor, Word, an_office, job
from wq.core.cluster import NodeState
from wq.protocol.messages import FROM_LAUNCHERS
from wq.protocol.wire import MAX_FRAME_BYTES, PROTOCOL, frame
from wq.server.connections import FRAME_TIMEOUT_S, HELLO_TIMEOUT_S, Peer
from wq.server.server import MOST_TASKS_SHOWN, TURN_COST, WORDS_A_TURN
from wq.store.database import DiskFailed, NoRoom
from wq.store.store import Store

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
HUGE = [1 << 31, 1 << 63, 1 << 64, -(1 << 63) - 1, 10**400, 1e308]


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    with an_office(monkeypatch) as office:
        yield office


def submitted(launcher: Visitor, *jobs: Word, token: str = "t") -> typing.Any:
    return launcher.ask(type="submit", token=token, jobs=[*jobs], seq=1)


class TestHello:
    def test_is_answered_with_who_is_there(self, office: Office) -> None:
        visitor = office.visitor(role=None)
        visitor.say({"type": "hello", "version": PROTOCOL})
        (answer,) = visitor.heard()
        assert (answer["ok"]["owner"], answer["ok"]["nodes"]) == (ME, ["a", "b"])

    @pytest.mark.parametrize(
        ("hello", "error"),
        [
            ({"type": "hello", "version": PROTOCOL, "role": "king"}, "the role is client or launcher"),
            ({"type": "stat"}, "not understood: a message of no known type"),
        ],
    )
    def test_one_that_is_none_ends_the_connection_with_a_sentence(
        self, office: Office, hello: Word, error: str
    ) -> None:
        visitor = office.visitor(role=None)
        visitor.say(hello)
        assert visitor.heard() == [{"error": error, "status": 2}]
        assert visitor.wire.closed

    def test_one_of_another_version_is_told_which_this_is(self, office: Office) -> None:
        visitor = office.visitor(role=None)
        visitor.say({"type": "hello", "version": 3})
        error = "this server speaks version 2 of the protocol, you speak 3"
        assert visitor.heard() == [{"error": error, "status": 2, "version": PROTOCOL}]
        assert visitor.wire.closed

    def test_one_is_enough(self, office: Office) -> None:
        visitor = office.visitor()
        visitor.say({"type": "hello", "version": PROTOCOL})
        assert visitor.heard() == [{"error": "one hello is enough", "status": 2}]

    def test_whoever_says_nothing_is_let_go(self, office: Office) -> None:
        visitor = office.visitor(role=None)
        office.turn(HELLO_TIMEOUT_S + 0.1)
        assert visitor.wire.closed

    def test_whoever_has_said_it_may_be_silent_for_ever(self, office: Office) -> None:
        visitor = office.visitor()
        office.turn(1e6)
        assert not visitor.wire.closed


class TestWhatAnybodyMaySay:
    """The server survives it, and the next one is served."""

    @pytest.fixture(autouse=True)
    def _still_there(self, office: Office) -> Iterator[None]:
        yield
        assert "ok" in office.visitor(BINE).ask(type="stat", seq=1)

    @pytest.mark.parametrize("huge", HUGE, ids=str)
    @pytest.mark.parametrize("role", ["client", "launcher"])
    def test_numbers_of_any_size(self, office: Office, role: str, huge: float) -> None:
        visitor = office.visitor(ANZE, role)
        words: list[Word] = [
            {"type": "ls", "ids": [[huge, huge]]},
            {"type": "ls", "ids": [[-huge, huge]]},
            {"type": "remove", "ids": [[-huge, huge]]},
            {"type": "remove", "all": True, "grace_s": huge},
            {"type": "limit", "run": huge, "cores": huge},
            {"type": "limit", "run": -huge},
            {"type": "attempt_started", "id": huge, "attempt": huge},
            {"type": "attempt_taken_back", "id": huge, "attempt": huge},
            {"type": "attempt_ended", "id": 1, "attempt": 1, "outcome": {"kind": "exited", "exit_status": huge}},
            {"type": "launcher_here", "jobs": [{"id": huge, "attempt": huge}]},
            {"type": "submit", "token": "t", "jobs": [job(requirement={"n": huge, "min_mem_gb": huge})]},
            {"type": "stat", "seq": huge},
        ]
        for word in words:
            again = visitor if not visitor.wire.closed else office.visitor(ANZE, role)
            again.say(word)
            office.turn()

    @pytest.mark.parametrize("huge", [1 << 63, 10**400], ids=str)
    def test_an_end_of_ones_own_job_with_such_a_number(self, office: Office, huge: int) -> None:
        launcher = office.launcher()
        submitted(launcher, job())
        outcome = {"kind": "exited", "exit_status": huge, "signal": huge}
        launcher.say({"type": "attempt_ended", "id": 1, "attempt": 1, "outcome": outcome})
        office.turn()
        (row,) = office.visitor().ask(type="ls", ids=[[1, 1]], seq=1)["ok"]["jobs"]
        assert row["state"] == "done"

    @pytest.mark.parametrize("text", ["", "\0", "a\0b", "\x1b[2J", "../../x", "$(touch X)", "'; DROP TABLE jobs; --"])
    def test_texts_of_any_kind(self, office: Office, text: str) -> None:
        launcher = office.launcher()
        for word in (
            {"type": "limit", "user": text, "run": 1},
            {"type": "users", "user": text},
            {"type": "ls", "users": [text]},
            {"type": "node", "hosts": [text], "state": text},
            {"type": "launcher_here", "tokens": [text]},
            {"type": "submit", "token": text, "jobs": [job(name=text, command=text, submit_dir=text)]},
            {"type": "submit", "token": "x", "jobs": [job(requirement={"host": text})]},
        ):
            launcher.say(word)
            office.turn()
        assert not launcher.wire.closed

    def test_the_owner_too_may_say_nonsense(self, office: Office) -> None:
        owner = office.visitor(ME)
        assert "error" in owner.ask(type="node", hosts=["a"], state="splendid", seq=1)
        assert "error" in owner.ask(type="node", hosts=[], state="splendid", seq=1)

    @pytest.mark.parametrize(
        "data",
        [
            b"\0\0\0\0",
            b"\xff\xff\xff\xff",
            struct.pack(">I", MAX_FRAME_BYTES + 1),
            frame(b"{"),
            frame(b"[" * 100_000),
            frame(b'{"type":"ls","users":["\xff"]}'),
            frame(b'{"type":"ls","users":["\\ud800"]}'),
            frame(b'{"type":"limit","run":NaN}'),
            frame(b"\x01\x01chunk"),
            b"GET / HTTP/1.1\r\n\r\n",
        ],
        ids=repr,
    )
    def test_garbage_ends_the_connection_with_a_sentence(self, office: Office, data: bytes) -> None:
        visitor = office.visitor()
        visitor.send(data)
        (error,) = visitor.heard()
        assert error["error"].startswith("not understood: ")
        assert visitor.wire.closed

    def test_a_word_that_is_cut_anywhere_is_understood(self, office: Office) -> None:
        visitor = office.visitor()
        whole = frame(b'{"type":"stat","seq":1}')
        for at in range(len(whole)):
            visitor.send(whole[at : at + 1])
        office.turn()
        assert visitor.heard()[0]["seq"] == 1

    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.tuples(st.sampled_from(sorted(FROM_LAUNCHERS)), st.dictionaries(st.text(), ANYTHING, max_size=3)))
    )
    def test_any_words_in_any_order(self, office: Office, words: list[tuple[str, dict[str, object]]]) -> None:
        visitor = office.visitor(ANZE, "launcher")
        for kind, fields in words:
            visitor.say({**fields, "type": kind})
        office.turn()
        visitor.leave()

    @settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_words_that_are_almost_right(self, office: Office, data: st.DataObject) -> None:
        ids = st.integers(-1, 12) | st.sampled_from([value for value in HUGE if isinstance(value, int)])
        number = ids | st.none()
        modes = st.sampled_from(["bycore", "bynode"])
        need = st.fixed_dictionaries({}, optional={"n": ids, "mode": modes, "threads": number})
        jobs = st.builds(lambda need, name: job(requirement=need, name=name), need, st.text(max_size=5))
        held = st.fixed_dictionaries({"id": ids, "attempt": ids})
        end = st.fixed_dictionaries({"kind": st.sampled_from(["exited", "lost", "removed"]), "exit_status": number})
        words = st.one_of(
            st.fixed_dictionaries({"type": st.just("submit"), "token": st.text(max_size=2), "jobs": st.lists(jobs)}),
            st.fixed_dictionaries({"type": st.just("launcher_here"), "jobs": st.lists(held)}),
            st.fixed_dictionaries({"type": st.just("attempt_started"), "id": ids, "attempt": ids}),
            st.fixed_dictionaries({"type": st.just("attempt_ended"), "id": ids, "attempt": ids, "outcome": end}),
            st.fixed_dictionaries({"type": st.just("attempt_taken_back"), "id": ids, "attempt": ids}),
            st.fixed_dictionaries({"type": st.just("remove"), "ids": st.lists(st.tuples(ids, ids), max_size=3)}),
            st.fixed_dictionaries({"type": st.just("limit"), "run": number, "cores": number}),
            st.fixed_dictionaries({"type": st.just("ls"), "ids": st.lists(st.tuples(ids, ids), max_size=3)}),
            st.just({"type": "refresh"}),
        )
        visitor = office.visitor(ANZE, "launcher")
        for word in data.draw(st.lists(words, max_size=12)):
            visitor.say(word)
            office.turn()
        visitor.leave()
        office.turn()


class TestFairness:
    def test_what_has_arrived_is_let_in_before_the_next_turn(self, office: Office) -> None:
        arrived: list[str] = []

        async def turns_without_a_pause() -> None:
            office.server.something.set()
            office.loop.call_soon(arrived.append, "a connection")
            await office.server.wait(None)
            assert arrived == ["a connection"]

        office.loop.run_until_complete(turns_without_a_pause())

    def test_each_user_gets_one_answer_a_turn(self, office: Office) -> None:
        eager, patient = [office.visitor(ANZE) for _ in range(20)], office.visitor(BINE)
        for visitor in eager:
            visitor.say(*[{"type": "stat", "seq": number} for number in range(1, 51)])
        patient.say({"type": "stat", "seq": 1})
        office.turn()
        assert (sum(len(visitor.heard()) for visitor in eager), len(patient.heard())) == (1, 1)

    def test_a_long_listing_goes_out_a_page_a_turn_and_others_in_between(self, office: Office) -> None:
        launcher = office.launcher()
        for number in range(5):
            submitted(launcher, *[job(command="x" * 4000)] * 100, token=f"t{number}")
        eager, patient = office.visitor(ANZE), office.visitor(BINE)
        eager.say({"type": "ls", "seq": 1})
        office.turn()
        patient.say({"type": "stat", "seq": 1})
        office.turn()
        assert len(patient.heard()) == 1
        said = eager.heard()
        assert [list(message) for message in said] == [["page", "seq"]] * 2
        while office.server.something.is_set():
            office.turn()
        said += eager.heard()
        assert sum(len(message["page"]) for message in said[:-1]) + len(said[-1]["ok"]["jobs"]) == 500

    def test_whoever_reads_slowly_has_no_more_made_for_him_meanwhile(self, office: Office) -> None:
        slow = office.visitor()
        slow.peer.pause_writing()
        slow.say({"type": "ls", "seq": 1}, {"type": "stat", "seq": 2})
        office.turn()
        office.turn()
        assert (slow.heard(), office.server.something.is_set()) == ([], False)
        slow.peer.resume_writing()
        office.turn()
        office.turn()
        assert [message["seq"] for message in slow.heard()] == [1, 2]

    def in_parts(self, office: Office, wish: Word) -> Word:
        """The facts of the one answer to a wish about very many; another user is answered before."""
        eager, patient = office.visitor(ANZE), office.visitor(BINE)
        eager.say({"seq": 1, **wish})
        office.turn()
        patient.say({"type": "stat", "seq": 1})
        office.turn()
        assert (eager.heard(), len(patient.heard())) == ([], 1)
        while office.server.something.is_set():
            office.turn()
        (answer,) = eager.heard()
        facts: Word = answer["ok"]
        assert (facts["missing"], facts["refused"], office.server.partly) == ([], [], {})
        return facts

    def test_a_removal_of_very_many_is_done_in_parts_and_answered_once(self, office: Office) -> None:
        launcher = office.launcher()
        for number in range(3):
            submitted(launcher, *[job() for _ in range(2000)], token=f"t{number}")
        facts = self.in_parts(office, {"type": "remove", "ids": [[1, 6000]]})
        assert sorted([*facts["removed"], *facts["ending"]]) == list(range(1, 6001))

    def test_so_are_other_wishes_about_very_many(self, office: Office) -> None:
        launcher = office.launcher()
        submitted(launcher, *[job() for _ in range(1000)], token="a")
        submitted(launcher, *[job(hold=True) for _ in range(2000)], token="b")
        assert self.in_parts(office, {"type": "top", "ids": [[999, 1000]]})["changed"] == [999, 1000]
        held = self.in_parts(office, {"type": "hold", "held": True, "ids": [[1001, 3000]]})
        assert held["changed"] == list(range(1001, 3001))

    def test_they_do_not_add_up(self, office: Office) -> None:
        """One of each user in a turn, and what is left of it before the next."""
        submitted(office.launcher(), *[job() for _ in range(1000)])
        eager = office.visitor(ANZE)
        for number in range(900, 930):
            eager.say({"type": "top", "seq": number, "ids": [[number, number]]})
        office.turn()
        assert len(office.server.partly) <= 1
        while office.server.something.is_set():
            office.turn()
            assert len(office.server.partly) <= 1
        answers = eager.heard()
        assert [answer["seq"] for answer in answers] == list(range(900, 930))
        assert all(answer["ok"]["changed"] == [answer["seq"]] for answer in answers)

    @pytest.mark.parametrize("lie", [{"exit_status": 2**70}, {"exit_status": -1}, {"signal": 2**64}], ids=str)
    @pytest.mark.parametrize("of", [{}, {"array": {"pieces": [[0, 3, 1]]}}], ids=["a job", "a task"])
    def test_nobody_says_how_his_job_ended_so_that_the_server_ends(self, office: Office, lie: Word, of: Word) -> None:
        launcher = office.launcher()
        submitted(launcher, job(**of))
        outcome = {"kind": "exited", "exit_status": 0, **lie}
        launcher.say(
            {"type": "attempt_ended", "id": 1, "attempt": 1, "outcome": outcome, **({"task": 0} if of else {})}
        )
        launcher.say({"type": "ls", "seq": 9, "ids": [[1, 1]], "tasks": [[1, 0, 0]], "finished": True})
        while office.server.something.is_set():
            office.turn()
        rows = next(word["ok"]["jobs"] for word in launcher.heard() if word.get("seq") == 9)
        (row,) = [row for row in rows if row["state"] == "done"]
        assert (row["outcome"]["exit_status"], row["outcome"]["signal"]) == (None, None)

    def test_nor_is_everybody_kept_waiting_by_a_launcher_that_has_lost_all(self, office: Office) -> None:
        launcher = office.launcher()
        for number in range(3):
            submitted(launcher, *[job() for _ in range(2000)], token=f"t{number}")
        launcher.leave()
        office.turn()
        again, patient = office.visitor(ANZE, "launcher"), office.visitor(BINE)
        again.say({"type": "launcher_here", "seq": 1})
        office.turn()
        patient.say({"type": "stat", "seq": 1})
        office.turn()
        assert len(patient.heard()) == 1
        assert 4000 < len(office.server.queue.queued) + len(office.server.queue.active) < 6000
        while office.server.something.is_set():
            office.turn()
        assert len(office.server.queue.queued) + len(office.server.queue.active) == 0

    def test_nor_is_what_he_says_on_a_new_connection(self, office: Office) -> None:
        launcher = office.launcher()
        for number in range(office.server.caps.requests // 2000 + 1):
            launcher.say({"type": "submit", "seq": 1, "token": f"t{number}", "jobs": [job()] * 2000})
        late = office.visitor(ANZE)
        late.say({"type": "stat", "seq": 1})
        assert late.heard() == []
        while office.server.something.is_set():
            office.turn()
        assert [message.get("seq") for message in late.heard()] == [None, 1]

    def test_who_leaves_with_much_unsaid_leaves_nothing_behind(self, office: Office) -> None:
        eager = office.visitor()
        eager.say(*[{"type": "stat"}] * 3 * WORDS_A_TURN)
        eager.leave()
        while office.server.something.is_set():
            office.turn()
        assert not +Peer.unfinished

    def test_large_requests_of_one_user_are_taken_in_one_after_the_other(self, office: Office) -> None:
        eager, patient = office.launcher(ANZE), office.launcher(BINE)
        for number in range(4):
            eager.say({"type": "submit", "seq": number + 1, "token": f"t{number}", "jobs": [job()] * TURN_COST})
        patient.say({"type": "submit", "seq": 1, "token": "t", "jobs": [job()]})
        office.turn()
        answered = [[message["seq"] for message in one.heard() if "seq" in message] for one in (eager, patient)]
        assert answered == [[1], [1]]

    def test_and_all_of_them_in_the_end_and_in_order(self, office: Office) -> None:
        eager = office.visitor()
        eager.say(*[{"type": "stat", "seq": number} for number in range(1, 31)])
        seen = []
        for _ in range(30):
            assert office.server.something.is_set()
            office.turn()
            seen += [answer["seq"] for answer in eager.heard()]
        assert seen == list(range(1, 31))
        assert not office.server.something.is_set()

    def test_whoever_asks_too_much_is_not_listened_to_until_he_has_his_answers(self, office: Office) -> None:
        eager, neighbour = office.visitor(), office.visitor(BINE)
        eager.say(*[{"type": "stat"}] * 3 * WORDS_A_TURN)
        neighbour.say({"type": "stat"})
        assert (eager.wire.paused, neighbour.wire.paused) == (True, False)
        while office.server.something.is_set():
            office.turn()
        assert not eager.wire.paused
        assert len(eager.heard()) == 3 * WORDS_A_TURN

    def test_nor_are_his_other_connections_while_much_of_his_waits(self, office: Office) -> None:
        launcher, other, neighbour = office.launcher(), office.visitor(), office.visitor(BINE)
        for number in range(office.server.caps.requests // 2000 + 1):
            launcher.say({"type": "submit", "seq": 1, "token": f"t{number}", "jobs": [job()] * 2000})
        assert (launcher.wire.paused, other.wire.paused, neighbour.wire.paused) == (True, True, False)
        while office.server.something.is_set():
            office.turn()
        assert (launcher.wire.paused, other.wire.paused) == (False, False)

    def test_what_was_asked_by_whoever_has_left_is_forgotten(self, office: Office) -> None:
        eager = office.visitor()
        eager.say(*[{"type": "stat"}] * 50)
        eager.leave()
        for _ in range(50):
            office.turn()
        assert not office.server.questions

    def test_the_cluster_file_is_read_once_however_many_ask(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        visitor = office.visitor()
        read = []
        nodes = office.server.cluster_nodes()

        def cluster_nodes() -> object:
            read.append("once")
            return nodes

        monkeypatch.setattr(office.server, "cluster_nodes", cluster_nodes)
        visitor.say(*[{"type": "refresh", "seq": 1}] * 20)
        office.turn()
        assert (len(read), len(visitor.heard())) == (1, 20)

    def test_a_user_has_so_many_connections_and_no_more(self, office: Office) -> None:
        visitors = [office.visitor(ANZE) for _ in range(office.server.caps.connections)]
        one_more = office.visitor(ANZE, None)
        assert one_more.wire.closed
        assert "more than 200 connections" in one_more.heard()[0]["error"]
        assert not office.visitor(BINE).wire.closed
        one_more.leave()
        visitors[0].leave()
        assert not office.visitor(ANZE).wire.closed

    def test_half_a_frame_is_not_waited_for(self, office: Office) -> None:
        visitor = office.visitor()
        visitor.send(frame(b'{"type":"stat"}')[:7])
        office.turn(FRAME_TIMEOUT_S + 0.1)
        assert visitor.wire.closed

    def test_nor_a_byte_now_and_then(self, office: Office) -> None:
        visitor = office.visitor()
        for byte in frame(b'{"type":"stat"}')[:7]:
            visitor.send(bytes([byte]))
            office.turn(2.0)
        assert visitor.wire.closed

    def test_but_whoever_is_busy_sending_is_heard_out(self, office: Office) -> None:
        visitor = office.visitor()
        whole = frame(b'{"type":"stat","seq":1}')
        visitor.send(whole[:5])
        for _ in range(20):  # each piece ends in the middle of a frame
            visitor.send(whole[5:] + whole[:5])
            office.turn(2.0)
        assert not visitor.wire.closed
        assert len(visitor.heard()) == 20

    def test_a_reader_that_never_reads_is_dropped(self, office: Office) -> None:
        visitor = office.visitor()
        visitor.wire.unread_bytes = office.server.caps.bytes + 1
        visitor.say({"type": "stat"})
        office.turn()
        assert visitor.wire.closed

    def test_so_is_a_user_with_many_of_them(self, office: Office) -> None:
        visitors = [office.visitor() for _ in range(20)]
        for visitor in visitors:
            visitor.wire.unread_bytes = office.server.caps.bytes // 19
        visitors[-1].say({"type": "stat"})
        office.turn()
        assert visitors[-1].wire.closed

    def test_and_one_who_begins_many_long_messages(self, office: Office) -> None:
        begun = (1 << 20).to_bytes(4, "big") + b"x" * 1_000_000
        visitors = [office.visitor() for _ in range(office.server.caps.bytes // len(begun) + 1)]
        while office.server.something.is_set():
            office.turn()
        for visitor in visitors:
            visitor.send(begun)
        assert [visitor.wire.closed for visitor in visitors] == [False] * (len(visitors) - 1) + [True]
        assert "(cap bytes)" in visitors[-1].heard()[-1]["error"]
        for visitor in visitors:
            visitor.leave()
        assert not +Peer.unfinished


class TestMemory:
    def test_reports_leave_nothing_behind(self, office: Office) -> None:
        launcher = office.launcher()
        for number in range(300):
            launcher.say({"type": "attempt_started", "id": number, "attempt": 1})
            office.turn()
        assert office.server.waiting_for_answer == {}

    def test_nor_do_connections_that_come_and_go(self, office: Office) -> None:
        for _ in range(50):
            visitor = office.visitor(ANZE, "launcher")
            visitor.say({"type": "launcher_here"}, {"type": "ls"})
            visitor.leave()
            office.turn()
        server = office.server
        while server.something.is_set():
            office.turn()
        assert (server.peers, server.launchers, server.waiting_for_answer) == (set(), {}, {})
        assert [bool(left) for left in (server.questions, server.intake, +Peer.counts, +Peer.unfinished)] == [False] * 4

    def test_a_long_listing_comes_in_pages_below_the_size_of_a_frame(self, office: Office) -> None:
        launcher = office.launcher()
        long = job(command="x" * 4000, submit_dir="/d" * 2000, requirement={"groups": [], "n": 1})
        for number in range(10):
            submitted(launcher, *[long] * 40, token=f"t{number}")
        visitor = office.visitor()
        visitor.say({"type": "ls", "seq": 1, "why": True})
        while office.server.something.is_set():
            office.turn()
        assert sum(len(answer["page"]) for answer in visitor_pages(visitor)) > 300

    def test_tasks_that_are_named_again_and_again_are_shown_once(self, office: Office) -> None:
        """(Two hundred times ten thousand of them kept everybody waiting for fourteen seconds.)"""
        launcher = office.launcher()
        many = job(array={"pieces": [[0, 99_999, 1]]}, requirement={"n": 4})
        submitted(launcher, many, many)
        spans = [[1 + n % 2, n % 7, 1 << 70] for n in range(200)]
        visitor = office.visitor(BINE)
        visitor.say({"type": "ls", "seq": 1, "tasks": [*spans, [1, 5, 2], [1, -(1 << 70), 9], [9, 0, 9]]})
        office.turn()
        while office.server.something.is_set():
            office.turn()
        rows = [row for answer in visitor.heard() for row in answer.get("page") or answer["ok"]["jobs"]]
        named = [(row["id"], row["task"]) for row in rows]
        assert len(named) == len(set(named))
        assert MOST_TASKS_SHOWN <= len(named) < MOST_TASKS_SHOWN + 10

    def test_told_of_a_waiting_job_once_until_it_changes(self, office: Office) -> None:
        launcher = office.launcher()
        submitted(launcher, job(requirement={"n": 8}), job(requirement={"n": 8}, foreground=True))
        assert [order["type"] for order in launcher.orders] == ["start", "waiting"]
        for _ in range(5):
            office.turn()
        assert launcher.heard() == []


def visitor_pages(visitor: Visitor) -> list[typing.Any]:
    data = visitor.wire.sent
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        assert size <= MAX_FRAME_BYTES
        at += 4 + size
    return [answer for answer in visitor.heard() if "page" in answer]


class TestLaunchers:
    def test_answers_come_before_the_orders_that_name_their_ids(self, office: Office) -> None:
        launcher = office.launcher()
        launcher.say({"type": "submit", "token": "t", "jobs": [job()], "seq": 7})
        office.turn()
        answer, order = launcher.heard()
        assert (answer["ok"], answer["seq"]) == ({"ids": [1]}, 7)
        assert (order["type"], order["id"]) == ("start", 1)

    def test_the_newest_is_the_one_that_counts(self, office: Office) -> None:
        first = office.launcher()
        second = office.launcher()
        assert first.wire.closed
        first.leave()
        office.turn()
        assert submitted(second, job())["ok"] == {"ids": [1]}
        assert [order["type"] for order in second.orders] == ["start"]

    def test_one_that_leaves_gets_no_orders(self, office: Office) -> None:
        launcher = office.launcher()
        launcher.leave()
        office.turn()
        assert office.server.queue.present == frozenset()

    def test_a_client_cannot_submit(self, office: Office) -> None:
        client = office.visitor()
        client.say({"type": "submit", "token": "t", "jobs": [job()]})
        assert client.heard() == [{"error": "not understood: a message of no known type", "status": 2}]

    def test_nobody_says_who_he_is(self, office: Office) -> None:
        launcher = office.launcher(ANZE)
        launcher.say({"type": "submit", "token": "t", "jobs": [job(uid=0, user="root")], "seq": 1})
        office.turn()
        (found,) = office.server.queue.active.values()
        assert (found.spec.uid, found.spec.user) == (ANZE, f"uid {ANZE}")


class TestTheOwner:
    @pytest.mark.parametrize(("uid", "may"), [(ANZE, False), (ME, True), (0, True)])
    def test_alone_and_root_may_stop_it(self, office: Office, uid: int, may: bool) -> None:
        answer = office.visitor(uid).ask(type="shutdown", seq=1)
        assert ("ok" in answer) == may == office.server.stopping

    def test_alone_and_root_may_take_nodes_away(self, office: Office) -> None:
        assert "error" in office.visitor(ANZE).ask(type="node", hosts=["a"], state="offline", seq=1)
        assert "ok" in office.visitor(ME).ask(type="node", hosts=["a"], state="offline", seq=1)
        assert office.server.queue.nodes[0].state is NodeState.OFFLINE

    def test_a_cluster_file_with_an_error_changes_nothing_and_is_answered(self, office: Office) -> None:
        office.cluster.write_text("a 4 8\nb four 8\n")
        answer = office.visitor(ME).ask(type="refresh", seq=1)
        assert "cluster:2:" in answer["error"]
        assert [node.host for node in office.server.queue.nodes] == ["a", "b"]

    @pytest.mark.parametrize("text", [b"\xff\xfe", b"a 4 8\n\xff"])
    def test_nor_does_one_that_is_no_text(self, office: Office, text: bytes) -> None:
        office.cluster.write_bytes(text)
        assert "error" in office.visitor(ME).ask(type="refresh", seq=1)
        assert [node.host for node in office.server.queue.nodes] == ["a", "b"]

    def test_nor_one_that_is_gone(self, office: Office) -> None:
        office.cluster.unlink()
        assert "No such file" in office.visitor(ME).ask(type="refresh", seq=1)["error"]


class TestAFullDisk:
    def test_new_work_is_refused_with_a_sentence(self, office: Office) -> None:
        launcher = office.launcher()
        with full(office.server.store):
            answer = submitted(launcher, job())
        assert answer["error"].startswith("the server has no room on its disk (No space left on device)")
        assert answer["for_now"] is True  # a launcher that keeps it may ask again
        assert office.server.queue.next_id == 1

    def test_and_taken_again_when_there_is_room_again(self, office: Office) -> None:
        launcher = office.launcher()
        with full(office.server.store):
            submitted(launcher, job())
        office.server.look_again_s = 0.0
        assert submitted(launcher, job())["ok"] == {"ids": [1]}

    def test_questions_are_answered(self, office: Office) -> None:
        launcher = office.launcher()
        with full(office.server.store):
            launcher.say({"type": "submit", "token": "t", "jobs": [job()], "seq": 1})
            assert "ok" in office.visitor(BINE).ask(type="stat", seq=1)

    def test_ends_are_stored_in_what_was_kept_in_reserve(self, office: Office) -> None:
        launcher = office.launcher()
        submitted(launcher, job())
        with full(office.server.store, but_for_what_must_be=True):
            launcher.say(ENDED)
            office.turn()
            assert list(office.server.queue.active) == []

    def test_nothing_is_started_on_it(self, office: Office) -> None:
        launcher = office.launcher()
        for token in "abc":
            submitted(launcher, job(requirement={"mode": "bynode", "n": 2}), token=token)
        with full(office.server.store, but_for_what_must_be=True):
            launcher.say(ENDED)
            office.turn()
            assert (len(office.server.queue.active), len(office.server.queue.queued)) == (0, 2)
        office.server.look_again_s = 0.0
        office.turn()
        assert len(office.server.queue.active) == 1

    def test_reports_are_kept_until_there_is_room_if_even_that_is_used_up(self, office: Office) -> None:
        launcher = office.launcher()
        submitted(launcher, job())
        with full(office.server.store):
            launcher.say(ENDED)
            office.turn()
            assert list(office.server.queue.active) == [1]
        office.turn()
        assert list(office.server.queue.active) == []

    def test_a_disk_that_fails_ends_the_server_for_it_is_the_truth(
        self, office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(draft: typing.Any, *, urgent: bool = False) -> None:
            raise DiskFailed("disk I/O error")

        launcher = office.launcher()
        launcher.say({"type": "submit", "token": "t", "jobs": [job()], "seq": 1})
        with monkeypatch.context() as patch:
            patch.setattr(office.server.store, "commit", broken)
            with pytest.raises(DiskFailed, match="disk I/O error"):
                office.turn()


class TestTheLog:
    def written(self, target: str, text: str) -> str:
        """What gets there, written by a process that must end well."""
        program = (
            "import os, sys\n"
            "from wq.server.server import log_to_stderr\n"
            "os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 2)\n"
            "log_to_stderr(sys.argv[2])\n"
        )
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", program, target, text], env=env, check=True)
        return "" if target.startswith("/dev/") else Path(target).read_text()

    def test_has_a_line_without_control_characters(self, tmp_path: Path) -> None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d a\?b é\n", self.written(f"{tmp_path}/log", "a\nb é"))

    def test_on_a_full_disk_ends_nobody(self) -> None:
        self.written("/dev/full", "x")


ENDED = {"type": "attempt_ended", "id": 1, "attempt": 1, "outcome": {"kind": "exited", "exit_status": 0}}


@contextlib.contextmanager
def full(store: Store, *, but_for_what_must_be: bool = False) -> Iterator[None]:
    """A disk that takes nothing, or only as much as the reserve makes room for."""
    commit, keep_reserve = store.commit, store.database.keep_reserve

    def no_room(draft: typing.Any, *, urgent: bool = False) -> None:
        if draft.events and not (urgent and but_for_what_must_be):
            raise NoRoom("No space left on device")
        commit(draft)

    store.commit, store.database.keep_reserve = no_room, lambda: False  # type: ignore[method-assign]
    try:
        yield
    finally:
        store.commit, store.database.keep_reserve = commit, keep_reserve  # type: ignore[method-assign]
