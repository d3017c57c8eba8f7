"""Frames and typed words: any split of the bytes gives the same; garbage raises WireError and nothing else."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.core.job import Allocation, AttemptNo, HostName, JobId, Outcome, OutcomeKind, Slice, Uid
from wq.core.requests import AttemptEnded, Gone, Remove, SetNode, Start, Stop
from wq.protocol import messages, wire

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8), st.data())
def test_bodies_are_the_same_however_the_bytes_are_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(wire.frame(body) for body in bodies)
    frames, seen, at = wire.Frames(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, max(1, len(stream) - at)))
        seen += frames.feed(stream[at : at + step])
        at += step
    assert seen == bodies
    assert not frames.buffer


@pytest.mark.parametrize("size", [0, wire.MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_an_empty_or_oversized_frame_is_refused_before_it_is_read(size: int) -> None:
    with pytest.raises(wire.WireError):
        wire.Frames().feed(struct.pack(">I", size))


@given(st.binary(min_size=1, max_size=300))
def test_garbage_raises_only_wire_errors(body: bytes) -> None:
    for read in (wire.decode, lambda data: messages.decode_word(data, messages.FROM_LAUNCHERS)):
        try:
            read(body)
        except wire.WireError:
            pass


@given(st.sampled_from(sorted(messages.FROM_LAUNCHERS)), st.dictionaries(st.text(), JSON))
def test_fields_of_wrong_types_raise_only_wire_errors(kind: str, fields: dict[str, object]) -> None:
    try:
        messages.decode_word(json.dumps({**fields, "type": kind}).encode(), messages.FROM_LAUNCHERS)
    except wire.WireError:
        pass


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"remove","grace_s":NaN}',
        b'{"type":"remove","ids":[[1,"2"]]}',
        b'{"type":"remove","all":1}',
        b'{"type":"ls","users":"anze"}',
        b'{"type":"ls","users":["\\ud800"]}',
        b'{"type":"hello","version":1e400}',
        b'{"type":"cluster_read","nodes":[]}',
        b'{"type":["ls"]}',
        b'{"type":"ls","seq":"1"}',
        b"[1]",
        b"1",
    ],
)
def test_what_is_not_of_its_type_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        messages.decode_word(body, messages.FROM_CLIENTS)


def test_a_client_may_not_say_what_a_launcher_says() -> None:
    with pytest.raises(wire.WireError):
        messages.decode_word(b'{"type":"submit","token":"t","jobs":[]}', messages.FROM_CLIENTS)


ALLOCATION = Allocation(slices=(Slice(host=HostName("a"), cores=(0, 3)), Slice(host=HostName("b"), cores=(1,))))
JOB, FIRST = JobId(7), AttemptNo(1)


@pytest.mark.parametrize(
    "word",
    [
        Start(uid=Uid(1), id=JOB, attempt=FIRST, allocation=ALLOCATION, declared=(4, 4)),
        Stop(uid=Uid(1), id=JOB, attempt=FIRST, grace_s=2.5, by="anze"),
        Gone(uid=Uid(1), id=JOB, outcome=None),
        Gone(uid=Uid(1), id=JOB, outcome=Outcome(kind=OutcomeKind.EXITED, exit_status=3)),
        messages.Waiting(id=7, reason="why", code="Resources", ahead=2),
    ],
)
def test_orders_arrive_as_they_were_sent(word: Start | Stop | Gone | messages.Waiting) -> None:
    (body,) = wire.Frames().feed(messages.encode_word(word))
    assert messages.decode_word(body, messages.TO_LAUNCHERS) == (word, 0)


@pytest.mark.parametrize(
    "word",
    [
        Remove(ids=((1, 5),), all=False, lost=True, grace_s=1.0),
        SetNode(hosts=("a",), state="drain", reason="x"),
        AttemptEnded(id=JOB, attempt=FIRST, outcome=Outcome(kind=OutcomeKind.SIGNALLED, signal=9)),
    ],
)
def test_requests_arrive_as_they_were_sent(word: Remove | SetNode | AttemptEnded) -> None:
    (body,) = wire.Frames().feed(messages.encode_word(word, seq=3))
    assert messages.decode_word(body, messages.FROM_LAUNCHERS) == (word, 3)


def test_a_chunk_is_a_channel_and_bytes() -> None:
    (body,) = wire.Frames().feed(wire.encode_chunk(2, b"\x00\xff{"))
    assert wire.decode(body) == (2, b"\x00\xff{")
