"""Bytes and messages: however the bytes are cut, and whatever garbage they are."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wq.protocol.wire import (
    MAX_FRAME_BYTES,
    Frames,
    Message,
    WireError,
    decode,
    encode,
    encode_chunk,
    frame,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
MESSAGES = st.dictionaries(st.text(), JSON, max_size=4)
BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes, cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]


class TestFrames:
    @given(BODIES, st.lists(st.integers(min_value=0)))
    def test_any_cut_of_the_bytes_gives_the_same_frames(self, bodies: list[bytes], cuts: list[int]) -> None:
        frames = Frames()
        got = [body for piece in in_pieces(b"".join(map(frame, bodies)), cuts) for body in frames.feed(piece)]
        assert got == bodies
        assert not frames.buffer

    @given(BODIES)
    def test_byte_by_byte(self, bodies: list[bytes]) -> None:
        frames = Frames()
        data = b"".join(map(frame, bodies))
        assert [body for at in range(len(data)) for body in frames.feed(data[at : at + 1])] == bodies

    def test_half_a_frame_is_kept_for_later(self) -> None:
        frames = Frames()
        assert frames.feed(frame(b"whole") + frame(b"half")[:6]) == [b"whole"]
        assert frames.feed(frame(b"half")[6:]) == [b"half"]

    def test_what_was_handed_out_is_not_kept(self) -> None:
        frames = Frames()
        for _ in range(100):
            frames.feed(frame(b"x" * 1000))
        assert len(frames.buffer) == 0

    def test_the_largest_frame_is_allowed_and_nothing_beyond(self) -> None:
        assert len(Frames(10).feed(frame(b"x" * 10))[0]) == 10
        with pytest.raises(WireError, match="a frame of 11 bytes; from 1 to 10 are allowed"):
            Frames(10).feed(frame(b"x" * 11))

    def test_too_large_is_known_before_it_has_come(self) -> None:
        with pytest.raises(WireError, match="a frame of 4294967295 bytes"):
            Frames().feed(b"\xff\xff\xff\xff")

    def test_an_empty_frame_is_none(self) -> None:
        with pytest.raises(WireError, match="a frame of 0 bytes"):
            Frames().feed(b"\0\0\0\0")

    @given(st.lists(st.binary(max_size=20), max_size=10))
    def test_garbage_is_frames_or_a_wire_error(self, pieces: list[bytes]) -> None:
        frames = Frames()
        try:
            for piece in pieces:
                assert all(0 < len(body) <= MAX_FRAME_BYTES for body in frames.feed(piece))
        except WireError:
            pass


class TestMessages:
    @given(MESSAGES)
    def test_what_is_sent_is_what_comes(self, message: Message) -> None:
        (body,) = Frames().feed(encode(message))
        assert decode(body) == json.loads(json.dumps(message).encode("utf-8", "replace").decode())

    def test_what_is_no_unicode_is_replaced_never_sent(self) -> None:
        (body,) = Frames().feed(encode({"text": "a\udcffb\ud800"}))
        assert decode(body) == {"text": "a?b?"}

    @given(st.sampled_from([0, 1, 2]), st.binary())
    def test_a_chunk_is_its_channel_and_its_bytes(self, channel: int, payload: bytes) -> None:
        (body,) = Frames().feed(encode_chunk(channel, payload))
        assert decode(body) == (channel, payload)

    @pytest.mark.parametrize("body", [b"\x01", b"\x01\x03x", b"\x01\xff"], ids=["cut", "channel 3", "channel 255"])
    def test_a_chunk_of_no_stream_is_refused(self, body: bytes) -> None:
        with pytest.raises(WireError, match="a chunk of no stream"):
            decode(body)

    @pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b"true", b"\xef\xbb\xbf1"])
    def test_what_is_no_object_is_refused(self, body: bytes) -> None:
        with pytest.raises(WireError):
            decode(body)

    @given(st.binary(min_size=1, max_size=200))
    @example(b"{" * 100_000)
    @example(b'{"a":' * 100_000)
    @example(b'{"a":1' + b"0" * 5000 + b"}")
    @example(b'{"a":"\xff"}')
    @example(b"\xff\xfe{\0}\0")
    @example(b"\0")
    def test_garbage_is_a_wire_error_and_nothing_else(self, body: bytes) -> None:
        try:
            assert isinstance(decode(body), dict | tuple)
        except WireError:
            pass

    def test_the_length_is_big_endian_and_comes_first(self) -> None:
        assert encode({}) == struct.pack(">I", 2) + b"{}"
