"""The typed words: what the client and the launchers say is understood, and nothing else is."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.core.engines import array, spec
from tests.unit.core.worlds import grant, need
from wq.core import ranges
from wq.core import requests as core
from wq.core.job import AttemptNo, HostName, JobId, Outcome, OutcomeKind, Uid
from wq.core.queue import joined
from wq.core.requests import Start
from wq.launcher.launcher import here
from wq.launcher.ledger import Entry
from wq.launcher.task import Task
from wq.protocol import messages
from wq.protocol.messages import FROM_CLIENTS, FROM_LAUNCHERS, NAMES, TO_LAUNCHERS, decode_word, encode_word
from wq.protocol.wire import MAX_FRAME_BYTES, Frames, WireError, encode
from wq.server.caps import Caps

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)

FULL: list[typing.Any] = [
    core.Submit(token="t", jobs=(spec(need("bynode", 2, group="g", notgroup="h", host="a", threads=2)),)),
    core.Remove(ids=((1, 1), (3, 9)), lost=True, grace_s=1.5),
    core.Remove(all=True, reason="wrong catalogue"),
    messages.Hist(users=("anze",), since_s=1.5, until_s=2.5, failed=True, name="fit*", most=5),
    messages.Info(id=1, task=5),
    messages.Newest(),
    messages.Wait(ids=((1, 3),), tasks=((5, 0, 9),), seen=4),
    core.SetNode(hosts=("a", "b"), state="offline", reason="new disk"),
    core.Refresh(),
    core.LauncherHere(ids=((1, 3), (5, 5)), tasks=((7, 0, 9),), tokens=("t",), more=True),
    core.Remove(tasks=((7, 0, 9),)),
    core.SetAtMost(id=JobId(7), at_most=3),
    core.SetHold(held=True, ids=((1, 3),)),
    core.Edit(id=JobId(7), name="x", requirement=need("bycore", 2), begin_s=1.5, max_fails=3),
    core.Top(ids=((7, 7), (2, 4))),
    core.SetTime(id=JobId(7), time_s=3600.0),
    core.SetSuspended(ids=((3, 9),), tasks=((12, 1, 5),), suspended=True),
    core.SendSignal(ids=((3, 9),), tasks=((12, 1, 5),), number=10),
    core.Signal(uid=Uid(1), id=JobId(7), task=2, attempt=AttemptNo(1), number=10),
    core.Steer(uid=Uid(1), id=JobId(7), task=2, attempt=AttemptNo(1), time_s=60.0, suspended=True),
    core.Submit(token="t", jobs=(array(10, at_most=2),)),
    core.AttemptEnded(
        id=JobId(7), task=3, attempt=AttemptNo(2), outcome=Outcome(kind=OutcomeKind.LOST), again=True, run_s=0.5
    ),
    core.Starts(
        uid=Uid(1),
        lane="7_1.1",
        allocation=grant("a:0"),
        declared=(4,),
        patience_s=0.3,
        tasks=((7, 2, 1), (9, -1, 4)),
    ),
    core.Gones(uid=Uid(1), tasks=((7, 2), (9, -1))),
    messages.Attempts(
        started=(messages.TaskGrant(7, 2, 1),),
        ended=(messages.AttemptEnd(7, 2, 1, OutcomeKind.EXITED, 3, None, None, 0.5, 0.25, False),),
        back=(messages.TaskGrant(7, 3, 1),),
    ),
    core.AttemptStarted(id=JobId(1), attempt=AttemptNo(2)),
    core.AttemptEnded(
        id=JobId(1), attempt=AttemptNo(2), outcome=Outcome(kind=OutcomeKind.EXITED, exit_status=3, cpu_s=0.5)
    ),
    core.AttemptTakenBack(id=JobId(1), attempt=AttemptNo(2), host=HostName("a"), why="no"),
    core.Sight(unseen={HostName("a"): "no answer"}),
    messages.Ls(users=("anze",), ids=((1, 2),), finished=True, why=True),
    messages.Ls(fields=("name", "state")),
    messages.Eff(users=("anze",), ids=((1, 2),), tasks=((7, 0, 3),), since_s=60.0),
    messages.Stat(),
    messages.Users(user="anze"),
    messages.Shutdown(),
    messages.Limit(user="anze", run=1, cores=-1),
    messages.Waiting(id=3, reason="no cores", code="Resources", ahead=2),
    core.Start(uid=Uid(1), id=JobId(1), attempt=AttemptNo(1), allocation=grant("a:0,1 b:2"), declared=(4, 8)),
    core.Stop(uid=Uid(1), id=JobId(1), attempt=AttemptNo(1), grace_s=5.0, by="bine"),
    core.Gone(uid=Uid(1), id=JobId(1), outcome=None),
]


def body_of(frame: bytes) -> bytes:
    (body,) = Frames(64 << 20).feed(frame)
    return body


def decoded(message: object, known: dict[str, type] = FROM_LAUNCHERS) -> typing.Any:
    return decode_word(json.dumps(message).encode("utf-8", "surrogatepass"), known)[0]


class TestTheWords:
    @pytest.mark.parametrize("word", FULL, ids=lambda word: type(word).__name__)
    def test_what_is_said_is_what_is_heard(self, word: typing.Any) -> None:
        known = FROM_LAUNCHERS | TO_LAUNCHERS
        assert decode_word(body_of(encode_word(word, 7)), known) == (word, 7)

    def test_every_word_has_a_name_and_is_tried_here(self) -> None:
        assert {type(word) for word in FULL} | {messages.Hello} == set(NAMES)
        assert len(NAMES) == len({**FROM_LAUNCHERS, **TO_LAUNCHERS})

    def test_what_only_the_server_itself_says_cannot_be_said_by_others(self) -> None:
        ours = {
            core.ClusterRead,
            core.NodeLooked,
            core.LauncherGone,
            core.Named,
            core.RemoveRest,
            core.TopRest,
            core.HoldRest,
            core.LostRest,
            core.SetLimit,
            core.Reports,
        }
        assert not ours & set(FROM_LAUNCHERS.values())
        assert set(typing.get_args(core.Request)) - ours <= set(FROM_LAUNCHERS.values())

    def test_a_client_cannot_speak_for_a_launcher(self) -> None:
        attempts = {core.AttemptStarted, core.AttemptEnded, core.AttemptTakenBack}
        only = {core.Submit, core.LauncherHere, core.Sight, messages.Attempts} | attempts
        assert set(FROM_LAUNCHERS.values()) - set(FROM_CLIENTS.values()) == only
        with pytest.raises(WireError, match="a message of no known type"):
            decoded({"type": "attempt_ended", "id": 1, "attempt": 1}, FROM_CLIENTS)

    def test_without_seq_none_comes_back(self) -> None:
        assert decode_word(b'{"type":"stat"}', FROM_CLIENTS) == (messages.Stat(), 0)


class TestWhatTheClientSays:
    """The dicts that the commands send, letter by letter."""

    @pytest.mark.parametrize(
        ("message", "word"),
        [
            ({"type": "hello", "version": 1, "role": "client"}, messages.Hello(version=1)),
            (
                {"type": "ls", "users": ["anze"], "ids": [[1, 1], [3, 9]], "finished": False, "why": True},
                messages.Ls(users=("anze",), ids=((1, 1), (3, 9)), why=True),
            ),
            ({"type": "stat"}, messages.Stat()),
            ({"type": "users"}, messages.Users()),
            ({"type": "users", "user": "anze"}, messages.Users(user="anze")),
            (
                {"type": "remove", "ids": [[1, 1]], "all": False, "lost": False, "grace_s": 5.0},
                core.Remove(ids=((1, 1),)),
            ),
            ({"type": "remove", "ids": [], "all": True, "lost": False, "grace_s": 5}, core.Remove(all=True)),
            ({"type": "limit", "user": None, "run": 25, "cores": 100}, messages.Limit(run=25, cores=100)),
            ({"type": "limit", "user": "bine", "clear": True}, messages.Limit(user="bine", clear=True)),
            (
                {"type": "node", "hosts": ["a"], "state": "offline", "reason": ""},
                core.SetNode(hosts=("a",), state="offline"),
            ),
            ({"type": "refresh"}, core.Refresh()),
            ({"type": "at_most", "id": 12, "at_most": None}, core.SetAtMost(id=JobId(12))),
            ({"type": "hold", "held": False, "all": True}, core.SetHold(held=False, all=True)),
            ({"type": "edit", "id": 12, "name": "x"}, core.Edit(id=JobId(12), name="x")),
            ({"type": "top", "ids": [[12, 12]]}, core.Top(ids=((12, 12),))),
            (
                {"type": "suspend", "ids": [[3, 9]], "tasks": [[12, 1, 5]], "all": False, "suspended": True},
                core.SetSuspended(ids=((3, 9),), tasks=((12, 1, 5),), suspended=True),
            ),
            ({"type": "signal", "ids": [], "all": True, "number": 10}, core.SendSignal(all=True, number=10)),
            ({"type": "time", "id": 12, "time_s": 60.0}, core.SetTime(id=JobId(12), time_s=60.0)),
            ({"type": "time", "id": 12, "time_s": None}, core.SetTime(id=JobId(12))),
            (
                {"type": "ls", "users": [], "ids": [], "tasks": [[12, 5, 5]], "finished": False, "brief": True},
                messages.Ls(tasks=((12, 5, 5),), brief=True),
            ),
            (
                {"type": "remove", "ids": [], "tasks": [[12, 5, 9]], "all": False, "lost": False, "grace_s": 5.0},
                core.Remove(tasks=((12, 5, 9),)),
            ),
            ({"type": "hist", "most": 50, "failed": False, "everybody": True}, messages.Hist(everybody=True)),
            ({"type": "info", "id": 12, "task": 5}, messages.Info(id=12, task=5)),
            ({"type": "shutdown"}, messages.Shutdown()),
        ],
        ids=lambda value: value["type"] if isinstance(value, dict) else "",
    )
    def test_is_understood(self, message: dict[str, object], word: object) -> None:
        body = body_of(encode(message))
        assert decode_word(body, FROM_CLIENTS) == (word, 0)

    def test_every_request_in_the_sources_of_the_commands_is_tried_here(self) -> None:
        asked = set(requests_of_the_commands())
        assert asked == {
            "ls",
            "stat",
            "users",
            "remove",
            "limit",
            "node",
            "refresh",
            "shutdown",
            "at_most",
            "time",
            "eff",
            "hold",
            "edit",
            "hist",
            "info",
            "suspend",
            "signal",
            "top",
        }


def requests_of_the_commands() -> Iterator[str]:
    """The first words of all calls `X.ask("word", ...)` in wq.cli.commands."""
    import ast

    import wq.cli.commands

    for path in Path(wq.cli.commands.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "ask":
                (word, *_) = node.args
                assert isinstance(word, ast.Constant), f"{path}: not a plain word"
                yield str(word.value)


class TestSizes:
    def test_a_launcher_with_all_the_jobs_that_it_may_have_can_say_so_in_one_message(self) -> None:
        """(In several, if none of its jobs has a neighbour.)"""
        entries = [
            Entry(token=f"s{n:08x}-{n:032x}", index=0, task=Task(), id=JobId(10**8 + 2 * n) if n % 2 else None)
            for n in range(0, Caps().jobs, 5)
        ]
        words = list(here(entries, tuple(entry.token for entry in entries if entry.id is None)))
        assert all(len(encode_word(word)) < MAX_FRAME_BYTES for word in words)
        assert [word.more for word in words] == [True] * (len(words) - 1) + [False]
        assert sum(ranges.count(word.ids) for word in words) == len(entries) // 2

    def test_a_word_of_many_starts_ends_or_news_has_its_size(self) -> None:
        grants = [Start(uid=Uid(1), id=JobId(10**9), task=10**9 + n, attempt=AttemptNo(10**6), lane="x",
                        allocation=grant("a:0"), declared=(4,)) for n in range(12_000)]  # fmt: skip
        words = messages.grouped(
            [*joined(grants), *[core.Gone(uid=Uid(1), id=o.id, task=o.task, outcome=None) for o in grants]]
        )
        assert all(len(encode_word(word)) < MAX_FRAME_BYTES for word in words)
        assert [len(word.tasks) for word in words if isinstance(word, core.Starts | core.Gones)] == [
            5000, 5000, 2000, 5000, 5000, 2000
        ]  # fmt: skip


class TestGarbage:
    @pytest.mark.parametrize(
        "message",
        [
            {"type": "remove", "ids": "all"},
            {"type": "remove", "ids": [[1]]},
            {"type": "remove", "ids": [[1, 2, 3]]},
            {"type": "remove", "ids": [["1", "2"]]},
            {"type": "remove", "ids": [[1.5, 2]]},
            {"type": "remove", "all": 1},
            {"type": "remove", "grace_s": "5"},
            {"type": "limit", "run": 1.5},
            {"type": "limit", "run": True},
            {"type": "limit", "run": "1"},
            {"type": "ls", "users": "anze"},
            {"type": "ls", "users": [None]},
            {"type": "submit", "jobs": []},
            {"type": "submit", "token": "t", "jobs": [{}]},
            {"type": "submit", "token": "t", "jobs": [{"uid": 0, "user": "", "name": "", "command": ""}]},
            {"type": "attempt_ended", "id": 1, "attempt": 1},
            {"type": "attempt_ended", "id": 1, "attempt": 1, "outcome": {"kind": "splendid"}},
            {"type": "attempt_started", "id": None, "attempt": 1},
            {"type": "node", "hosts": ["a"]},
            {"type": "launcher_here", "ids": [1]},
        ],
    )
    def test_wrong_types_are_refused(self, message: dict[str, object]) -> None:
        with pytest.raises(WireError):
            decoded(message)

    @pytest.mark.parametrize("mode", ["bycores", "", "BYCORE", 1, None])
    def test_so_is_a_mode_that_nobody_knows(self, mode: object) -> None:
        job = {"uid": 0, "user": "", "name": "n", "command": "", "requirement": {"mode": mode}}
        with pytest.raises(WireError):
            decoded({"type": "submit", "token": "t", "jobs": [job]})

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"1",
            b"null",
            b"{}",
            b'{"type":"nosuch"}',
            b'{"type":null}',
            b'{"type":["ls"]}',
            b'{"type":"limit","run":NaN}',
            b'{"type":"limit","run":Infinity}',
            b'{"type":"remove","grace_s":1e400}',
            b'{"type":"remove","grace_s":-1e400}',
            b'{"type":"remove","grace_s":1' + b"0" * 400 + b"}",
            b'{"type":"remove","ids":[[1,1' + b"0" * 5000 + b"]]}",
            b'{"type":"ls","users":["\\ud800"]}',
            b'{"type":"ls","users":["\\udfff\\ud800"]}',
            b'{"type":"ls","users":["\xff"]}',
            b'{"type":"ls","users":["\xed\xa0\x80"]}',
            b'{"type":"stat","seq":"1"}',
            b'{"type":"stat","seq":1.5}',
            b'{"type":"stat","seq":null}',
            b'{"a":' * 100_000,
            b"[" * 100_000,
            b"\x01\x01x",
        ],
        ids=lambda body: body[:30].decode("latin-1"),
    )
    def test_garbage_is_refused_with_a_sentence(self, body: bytes) -> None:
        with pytest.raises(WireError) as error:
            decode_word(body, FROM_LAUNCHERS)
        assert str(error.value)

    @given(st.binary(max_size=300))
    def test_bytes_are_a_word_or_a_wire_error(self, body: bytes) -> None:
        try:
            decode_word(body, FROM_LAUNCHERS)
        except WireError:
            pass

    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(sorted(FROM_LAUNCHERS)), st.dictionaries(st.text(), ANYTHING, max_size=4))
    def test_any_fields_are_a_word_or_a_wire_error(self, kind: str, fields: dict[str, object]) -> None:
        body = json.dumps({**fields, "type": kind}).encode("utf-8", "surrogatepass")
        try:
            word, seq = decode_word(body, FROM_LAUNCHERS)
        except WireError:
            return
        assert isinstance(word, FROM_LAUNCHERS[kind])
        assert isinstance(seq, int)

    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(FULL), st.data())
    def test_a_word_with_one_field_spoilt_is_one_or_an_error(self, word: typing.Any, data: st.DataObject) -> None:
        """What is understood can be said again: nothing gets in that could not get out."""
        message = json.loads(body_of(encode_word(word)))
        spoilt = data.draw(st.sampled_from(sorted(message)))
        message[spoilt] = data.draw(ANYTHING)
        try:
            known = FROM_LAUNCHERS | TO_LAUNCHERS
            found, _ = decode_word(json.dumps(message).encode("utf-8", "surrogatepass"), known)
        except WireError:
            return
        if not isinstance(found, messages.Hello):
            assert decode_word(body_of(encode_word(found)), known)[0] == found
