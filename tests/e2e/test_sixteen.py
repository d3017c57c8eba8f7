"""Sixteen things that a queue of this kind was seen to do: this one does none of them.

Served by cene, who is not root; dana uses it; erin means no good, and speaks to the server without the client.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue
from tests.e2e.rig import User, run_as, wait_for
from wq.protocol import places

pytestmark = pytest.mark.xdist_group("e2e-sixteen")

HOLD = "sleep 1000"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
TALK = r"""
import json, socket, sys, time
path, role, pieces = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
wait_s, answers = float(sys.argv[4]), int(sys.argv[5])
def frame(word):
    body = json.dumps(word).encode()
    return len(body).to_bytes(4, "big") + body
s = socket.socket(socket.AF_UNIX); s.connect(path); s.settimeout(10)
s.sendall(frame({"type": "hello", "version": 2, "role": role}))
for piece in pieces:
    if isinstance(piece, dict): s.sendall(frame(piece))
    elif isinstance(piece, str): s.sendall(bytes.fromhex(piece))
    else: print("here", file=sys.stderr, flush=True); time.sleep(piece)
buffer, heard = b"", []
deadline = time.monotonic() + wait_s
while time.monotonic() < deadline and len(heard) < 1 + answers:
    s.settimeout(max(0.01, deadline - time.monotonic()))
    try: data = s.recv(65536)
    except (TimeoutError, socket.timeout): break
    except ConnectionError: data = b""
    if not data:
        heard.append("closed"); break
    buffer += data
    while len(buffer) >= 4 and len(buffer) >= 4 + (n := int.from_bytes(buffer[:4], "big")):
        heard.append(json.loads(buffer[4:4 + n])); buffer = buffer[4 + n:]
print(json.dumps(heard))
"""
CROWD = r"""
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
socks = []
for _ in range(1035):
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); socks.append(s)
print("here", flush=True)
time.sleep(600)
"""


def talk(queue: Queue, user: User, *pieces: object, role: str = "client", answers: int = 1) -> list[Any]:
    """What the server answers to these words (or bytes in hexadecimal, or pauses), after its welcome.

    answers: so many are waited for; with 0, whatever comes within a while is heard, or nothing.
    """
    path = places.server_socket(queue.owner.uid, queue.port)
    how = [str(PATIENCE_S), str(answers)] if answers else ["0.3", "1000"]
    argv = ["python3", "-I", "-S", "-c", TALK, path, role, json.dumps(pieces), *how]
    heard: list[Any] = json.loads(run_as(user, argv, check=True).stdout)
    return heard[1:]


def still_serves(queue: Queue, pid: int | None, user: User) -> None:
    began = time.monotonic()
    queue.wq(user, "ls")
    assert time.monotonic() - began < PATIENCE_S
    assert queue.server_pid == pid


def is_refused(queue: Queue, user: User, requirement: object) -> None:
    """A job with this requirement, as no client would send it."""
    job = {"uid": -1, "user": "", "name": "x", "command": "x", "requirement": requirement}
    said = talk(queue, user, {"type": "submit", "seq": 1, "token": "", "jobs": [job]}, role="launcher")
    assert "error" in said[0]


def killed(queue: Queue, pid: int) -> None:
    """kill -9 of the server, and the next one."""
    rig.signal_all([pid])
    wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "the server to die")
    queue.serve()


def test_1_it_listens_on_no_network(queue: Queue, dana: User) -> None:
    queue.wait_for_state(queue.batch(dana, HOLD), "running")
    ours = {queue.server_pid, queue.launcher_pid(dana)}
    assert None not in ours
    inodes: set[str] = set()
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] in ("0A", "07"):  # listening, or (of UDP) open
                inodes.add(fields[9])
    for pid in ours:
        fds = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]
        assert not [fd for fd in fds if fd.removeprefix("socket:[").rstrip("]") in inodes]


def test_2_nobody_reports_the_job_of_another_done(queue: Queue, dana: User, erin: User) -> None:
    job = queue.batch(dana, HOLD)
    queue.wait_for_state(job, "running")
    end = {"type": "attempt_ended", "id": job, "attempt": 1, "outcome": {"kind": "exited", "exit_status": 0}}
    many = {"type": "attempts", "ended": [[job, -1, 1, "exited", 0, None, None, None, None, False]]}
    talk(queue, erin, {"type": "launcher_here"}, end, many, role="launcher", answers=0)
    assert queue.state(job) == "running"
    assert sum(queue.used().values()) == 1


def test_3_nobody_limits_another(queue: Queue, dana: User, erin: User) -> None:
    queue.wq(erin, "limit", "-u", dana.name, "run: 0", status=1)
    queue.wait_for_state(queue.batch(dana, HOLD), "running")


def test_4_nobody_takes_a_node_away(queue: Queue, erin: User) -> None:
    queue.wq(erin, "node", "node1", "offline", status=1)
    assert queue.nodes()["node1"]["state"] == "online"


def test_5_nobody_removes_as_somebody_else(queue: Queue, dana: User, erin: User) -> None:
    job = queue.batch(dana, HOLD)
    queue.wait_for_state(job, "running")
    forged = {"uid": 0, "user": "root", "who": {"uid": 0, "user": "root"}, "is_self": True}
    said = talk(queue, erin, {"type": "remove", "seq": 1, "ids": [[job, job]], **forged})
    assert said[0]["ok"]["refused"][0]["id"] == job
    assert queue.state(job) == "running"


@pytest.mark.parametrize(
    "word", ["self", "../victim/file", [1], {"a": 1}, 1.5, None, 1 << 80, -(1 << 70)], ids=lambda word: str(word)[:16]
)
def test_6_and_7_ids_are_numbers(queue: Queue, dana: User, erin: User, word: object) -> None:
    pid, victim = queue.server_pid, dana.write(queue.directory(dana) / "file", "precious")
    for pieces in (
        {"type": "ls", "seq": 1, "ids": [[word, word]]},
        {"type": "remove", "seq": 2, "ids": [[word, word]]},
        {"type": "at_most", "seq": 3, "id": word},
    ):
        talk(queue, erin, pieces, answers=0)
    talk(queue, erin, {"type": "launcher_here", "tokens": [str(word)]}, role="launcher", answers=0)
    still_serves(queue, pid, dana)
    assert victim.read_text() == "precious"


def test_8_nothing_but_text_is_listed(queue: Queue, dana: User, erin: User) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202e\u2066x\x7f"
    job = {"uid": -1, "user": "root", "name": f"a{evil}", "command": f"c{evil}", "submit_dir": f"/d{evil}"}
    word = {"type": "submit", "seq": 1, "token": "evil", "jobs": [{**job, "requirement": {"n": 16}}]}
    said = talk(queue, erin, word, role="launcher")
    (number,) = said[0]["ok"]["ids"]
    for words in (["ls"], ["ls", "-f"], ["ls", str(number)], ["stat"], ["user"], ["ls", "--json"]):
        shown = queue.wq(dana, *words).stdout
        bad = [char for char in shown if (ord(char) < 32 and char != "\n") or 0x7F <= ord(char) < 0xA0]
        assert not bad, (words, bad)
        assert not {"\u202e", "\u2066"} & set(shown)
    assert erin.name in queue.wq(dana, "ls").stdout  # whatever the word says of its user
    queue.wq(erin, "rm", str(number))


def test_9_fewer_than_no_cores(queue: Queue, dana: User, erin: User) -> None:
    pid = queue.server_pid
    assert "-3" in queue.wq(dana, "sub", "-b", "-r", "N: -3", "-c", "true", status=2).stderr
    for n in (-3, 0, 1 << 70, "4", 1e400, float("nan")):
        is_refused(queue, erin, {"n": n})
    still_serves(queue, pid, dana)


def test_10_half_a_message_and_silence(queue: Queue, dana: User, erin: User) -> None:
    pid = queue.server_pid
    path = places.server_socket(queue.owner.uid, queue.port)
    half = json.dumps(["000fffff" + "20" * 4092, 600])
    process = rig.popen_as(erin, ["python3", "-I", "-S", "-c", TALK, path, "client", half, "0", "0"])
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == b"here\n"
        for _ in range(3):
            still_serves(queue, pid, dana)
    finally:
        process.kill()
        process.communicate()


def test_11_a_message_in_pieces(queue: Queue, erin: User) -> None:
    body = b'{"type":"stat","seq":7}'
    whole = (len(body).to_bytes(4, "big") + body).hex()
    said = talk(queue, erin, whole[:4], 0.2, whole[4:20], 0.2, whole[20:] + whole, answers=2)
    assert [answer["seq"] for answer in said] == [7, 7]


def test_12_an_alias_bomb(queue: Queue, dana: User) -> None:
    work = queue.directory(dana)
    dana.write(work / "bomb.yaml", f"{BOMB}command: true\n")
    began = time.monotonic()
    said = queue.wq(dana, "sub", "-b", "bomb.yaml", cwd=work, status=2).stderr
    assert said.count("\n") == 1
    assert time.monotonic() - began < PATIENCE_S


def test_13_a_requirement_that_is_none(queue: Queue, dana: User, erin: User) -> None:
    pid, work = queue.server_pid, queue.directory(dana)
    dana.write(work / "five.yaml", "require: 5\ncommand: true\n")
    queue.wq(dana, "sub", "-b", "five.yaml", cwd=work, status=2)
    wrong: list[object] = [5, "N: 5", [], None, {"n": {}}]
    for requirement in wrong:
        is_refused(queue, erin, requirement)
    still_serves(queue, pid, dana)


def test_14_a_thousand_idle_connections(queue: Queue, dana: User, erin: User) -> None:
    pid = queue.server_pid
    path = places.server_socket(queue.owner.uid, queue.port)
    process = rig.popen_as(erin, ["python3", "-I", "-S", "-c", CROWD, path])
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        still_serves(queue, pid, dana)
        queue.wait_for_end(queue.batch(dana, "true"))
    finally:
        process.kill()
        process.communicate()
    still_serves(queue, pid, dana)


def test_15_what_was_accepted_outlives_kill_9(queue: Queue, dana: User) -> None:
    for _ in range(3):
        job, pid = queue.batch(dana, HOLD, "N: 16"), queue.server_pid
        assert pid is not None
        killed(queue, pid)
        assert queue.job(job)["id"] == job
        queue.remove(job)


def test_16_cores_in_use_are_not_given_out_again(queue: Queue, dana: User, erin: User) -> None:
    job, pid = queue.batch(dana, HOLD, "N: 16"), queue.server_pid
    queue.wait_for_state(job, "running")
    assert pid is not None
    killed(queue, pid)
    other = queue.batch(erin, HOLD)
    assert queue.why(other)["code"] == "Resources"
    assert (queue.state(job), queue.state(other)) == ("running", "queued")
    assert sum(queue.used().values()) == 16
