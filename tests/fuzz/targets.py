"""What is fuzzed: each target takes any bytes, and may refuse them by the errors that it documents, and by no others.

A target is opened once, and then called with one input after the other; what must hold of what it accepts, it asserts.
"""

from __future__ import annotations

import asyncio
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from tests.fuzz.mutate import Change, mutated, mutated_frames, mutated_words
from tests.unit.launcher import house as houses
from tests.unit.server.desk import ANZE, BINE, Wire, an_office, job
from wq.cli import config, ids
from wq.cli.errors import WqError
from wq.core.job import HostName, Uid
from wq.core.requests import Gones
from wq.formats import FormatError, fill, rows
from wq.formats.array import ArrayError, parse_array
from wq.formats.clusterfile import parse_cluster_file
from wq.formats.jobfile import describe, merge, parse_job_file, parse_requirement
from wq.formats.swf import parse_swf
from wq.launcher import link, session
from wq.launcher.clients import Client
from wq.node import shepherd
from wq.protocol import messages, places, quick_json
from wq.protocol.messages import FROM_CLIENTS, FROM_LAUNCHERS, TO_LAUNCHERS, decode_word, encode_word
from wq.protocol.wire import Frames, WireError, decode
from wq.server.caps import parse_caps
from wq.simulate.workload import Cores, Groups, of_trace

CORPUS = Path(__file__).parent / "corpus"
CPU_S = 2.0
MEMORY_BYTES = 64 << 20

Call = Callable[[bytes], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """refuses: the errors that are allowed. cpu_s, memory_bytes: what one input of 64 KiB may cost at most.

    changed: how inputs are made of others.
    """

    opened: Callable[[], AbstractContextManager[Call]]
    changed: Change = mutated
    refuses: tuple[type[Exception], ...] = ()
    cpu_s: float = CPU_S
    memory_bytes: int = MEMORY_BYTES


def corpus(name: str) -> dict[str, bytes]:
    """The inputs for a target that are checked in, by what they are."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / name).iterdir())}


def tried(target: Target, call: Call, data: bytes, slower: float = 1.0) -> bool:
    """True if it takes this input, False if it refuses it in order. Raises whatever else it raises.

    Memory is measured where tracemalloc is on. slower: by what runs along with it, so many times.
    """
    if tracemalloc.is_tracing():
        tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    began = process_time()
    try:
        call(data)
        taken, sentence = True, "taken"
    except target.refuses as error:
        taken, sentence = False, str(error)
    spent_s = process_time() - began
    assert spent_s < target.cpu_s * slower, f"{spent_s:.1f} s of processor time"
    peak = tracemalloc.get_traced_memory()[1] - before
    assert peak < target.memory_bytes, f"{peak >> 20} MiB"
    assert sentence.strip(), "refused without a word"
    return taken


def text_of(data: bytes) -> str:
    """Any text, lone surrogates too, as a terminal's arguments may have them."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


# ---- the protocol


def frames(data: bytes) -> None:
    """A stream, in one piece and in many: the same frames, and of them messages."""
    bodies = feed(Frames(), [data])
    step = 1 + len(data) // 50
    assert feed(Frames(), [data[at : at + step] for at in range(0, len(data), step)]) == bodies
    for body in bodies:
        decode(body)


def feed(into: Any, pieces: list[bytes]) -> list[Any]:
    """What comes out until it is refused."""
    found = []
    with suppress(WireError, ValueError):
        for piece in pieces:
            into.add(piece) if isinstance(into, Frames) else found.extend(into.feed(piece))
            while isinstance(into, Frames) and (body := into.next()) is not None:
                found.append(body)
    return found


def words(data: bytes) -> None:
    """A typed word. What is understood can be said again: nothing gets in that could not get out."""
    word, seq = decode_word(data, FROM_LAUNCHERS | TO_LAUNCHERS)
    (body,) = Frames(64 << 20).feed(encode_word(word, seq))
    assert decode_word(body, FROM_LAUNCHERS | TO_LAUNCHERS) == (word, seq)
    if isinstance(word, messages.Attempts):
        messages.reports_of(word)


def quick(data: bytes) -> None:
    """The client's own JSON is that of `json`."""
    assert repr(quick_json.loads(data)) == repr(json.loads(data))


@contextmanager
def a_server() -> Iterator[Call]:
    """A server without sockets: somebody says this on a connection, and the next one is served all the same."""
    with pytest.MonkeyPatch.context() as patch, an_office(patch) as office:

        def call(data: bytes) -> None:
            visitor = office.visitor(role=None)
            for at in range(0, len(data), 5000):
                visitor.send(data[at : at + 5000])
            for _ in range(3):
                office.turn()
            visitor.leave()
            other = office.visitor(BINE)
            assert "ok" in other.ask(type="stat", seq=1)
            other.leave()
            again = office.visitor(role="launcher")
            again.say({"type": "launcher_here"}, {"type": "remove", "all": True, "lost": True})
            office.turn()
            again.leave()
            office.turn()

        office.launcher().ask(type="submit", token="t", jobs=[job(), job(requirement={"n": 9})], seq=1)
        assert ANZE in office.server.launchers
        yield call


# ---- the launcher: its clients, its server, the shepherds


@contextmanager
def a_house(patch: pytest.MonkeyPatch) -> Iterator[houses.House]:
    """A launcher without wires, with a job that runs on node a."""
    with houses.a_house(patch) as house:
        house.job("a:0")
        house.says_started()
        yield house


@contextmanager
def bugs_of(house: houses.House) -> Iterator[None]:
    """What would end the launcher is raised, once."""
    try:
        yield
        house.turn()
    except AssertionError:
        if house.bugs and isinstance(bug := house.bugs[0], BaseException):
            raise bug from None
        raise
    finally:
        house.bugs.clear()
        house.forget_what_was_said()


@contextmanager
def clients() -> Iterator[Call]:
    """What a command says to its launcher."""
    with pytest.MonkeyPatch.context() as patch, a_house(patch) as house:
        patch.setattr(places, "peer_uid", lambda _: os.getuid())

        def call(data: bytes) -> None:
            client = Client(house.launcher)
            wire = Wire(os.getuid())
            client.connection_made(wire)
            with bugs_of(house):
                house.inside(lambda: client.data_received(data))
                house.turn(10.0)
                while house.session.asked:
                    house.accept()
                house.order(Gones(uid=Uid(0), tasks=tuple((number, -1) for number in range(2, house.next_id))))
                house.inside(lambda: client.connection_lost(None))

        yield call


@contextmanager
def orders() -> Iterator[Call]:
    """What a server says to a launcher."""
    with pytest.MonkeyPatch.context() as patch, a_house(patch) as house:
        launcher = house.launcher
        patch.setattr(places, "check_meeting_dir", lambda *_: None)
        patch.setattr(places, "peer_uid", lambda _: os.getuid())
        said = b""

        class Writer(Wire):
            def write(self, data: bytes | bytearray | memoryview) -> None:
                pass

            async def drain(self) -> None:
                pass

        async def connect(_: str) -> tuple[asyncio.StreamReader, Writer]:
            reader = asyncio.StreamReader(loop=house.loop)
            reader.feed_data(said)
            reader.feed_eof()
            return reader, Writer(os.getuid())

        patch.setattr(asyncio, "open_unix_connection", connect)

        def call(data: bytes) -> None:
            nonlocal said
            said = data
            talk = session.Session(
                "/tmp/wq-0-1/server.sock",
                os.getuid(),
                on_up=launcher.server_up,
                on_order=launcher.ordered,
                on_down=launcher.server_down,
            )
            talk.asked[1] = session.Question(seq=1, answer=house.loop.create_future(), at_once=lambda facts: None)
            with bugs_of(house):
                house.loop.run_until_complete(talk.one_connection())
            launcher.done.clear()

        yield call


@contextmanager
def nodes() -> Iterator[Call]:
    """What a shepherd says to a launcher."""
    with pytest.MonkeyPatch.context() as patch, a_house(patch) as house:

        class Pipe:
            async def read(self, _: int) -> bytes:
                return b""

        class Process:
            stdout = Pipe()

        def call(data: bytes) -> None:
            wire = link.Link(HostName("a"), "key", on_word=house.launcher.word, on_down=lambda *_: None)
            wire.process = Process()  # type: ignore[assignment]
            with bugs_of(house):
                house.loop.run_until_complete(wire.listen(data))

        yield call


def shepherds(data: bytes) -> None:
    """The frames between launcher and shepherd; what is understood can be said again."""
    frames: Any = shepherd.Frames()  # type: ignore[no-untyped-call]
    for word in frames.feed(data):
        pack: Any = shepherd.pack_data if isinstance(word, tuple) else shepherd.pack
        if not isinstance(word, tuple):
            pack(word)


# ---- what people write


def cluster_file(data: bytes) -> None:
    nodes = parse_cluster_file(data.decode(), source="cluster")
    assert nodes
    assert len({node.host.lower() for node in nodes}) == len(nodes)


def trace(data: bytes) -> None:
    found = parse_swf(data.splitlines(keepends=True), source="trace")
    for cores in Cores:
        for groups in (None, *Groups):
            of_trace(found.rows, cores=cores, groups=groups)


def job_file(data: bytes) -> None:
    for fields in parse_job_file(text_of(data), source="job.yaml"):
        describe(fields)


def requirement(data: bytes) -> None:
    fields = parse_requirement(text_of(data))
    describe(merge(fields, fields))


def array(data: bytes) -> None:
    spec = parse_array(text_of(data))
    assert parse_array(str(spec)) == spec


def filled(data: bytes) -> None:
    fill.filled(text_of(data), {"n": "a b'c", "task": "7"}, quote=True)
    list(fill.candidates(text_of(data)))


def settings(data: bytes) -> None:
    found = config.parse(data.decode(), "config.yaml")
    assert all(isinstance(text, str) for pair in found.items() for text in pair)


def plain(call: Call) -> Callable[[], AbstractContextManager[Call]]:
    return lambda: nullcontext(call)


LARGE = 512 << 20  # of what its own user asks for: an array of ten million tasks

TARGETS: dict[str, Target] = {
    "frames": Target(changed=mutated_frames, opened=plain(frames), refuses=(WireError,)),
    "words": Target(changed=mutated_words, opened=plain(words), refuses=(WireError,)),
    "json": Target(changed=mutated_words, opened=plain(quick), refuses=(ValueError, RecursionError)),
    "server": Target(changed=mutated_frames, opened=a_server, cpu_s=5.0),
    "clients": Target(changed=mutated_frames, opened=clients, cpu_s=5.0),
    "orders": Target(
        changed=mutated_frames, opened=orders, refuses=(OSError, WireError, places.PlaceError, session.ServerAway)
    ),
    "nodes": Target(changed=mutated_frames, opened=nodes, refuses=(OSError, ValueError, TimeoutError, EOFError)),
    "shepherds": Target(changed=mutated_frames, opened=plain(shepherds), refuses=(ValueError,)),
    "cluster": Target(opened=plain(cluster_file), refuses=(FormatError, UnicodeDecodeError)),
    "jobfile": Target(opened=plain(job_file), refuses=(FormatError,)),
    "require": Target(opened=plain(requirement), refuses=(FormatError,)),
    "config": Target(opened=plain(settings), refuses=(WqError, UnicodeDecodeError)),
    "array": Target(opened=plain(array), refuses=(ArrayError,), cpu_s=30.0, memory_bytes=LARGE),
    "fill": Target(opened=plain(filled)),
    "lines": Target(opened=plain(lambda data: rows.array_of_lines(data, source="lines")), refuses=(FormatError,)),
    "csv": Target(opened=plain(lambda data: rows.array_of_csv(data, source="csv")), refuses=(FormatError,)),
    "params": Target(
        opened=plain(lambda data: rows.array_of_params(text_of(data).split("\n"))),
        refuses=(ArrayError,),
        cpu_s=30.0,
        memory_bytes=LARGE,
    ),
    "ids": Target(opened=plain(lambda data: ids.asked(text_of(data).split("\n"))), refuses=(WqError,)),
    "swf": Target(opened=plain(trace), refuses=(FormatError,)),
    "caps": Target(opened=plain(lambda data: parse_caps(text_of(data))), refuses=(ValueError,)),
}
assert FROM_CLIENTS.keys() <= FROM_LAUNCHERS.keys()
