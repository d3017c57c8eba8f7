"""The server's operator is an attacker, too: what he can do to dana is to waste her time.

In each test dana has a job running when cene's server is replaced by hostile.py. Afterwards cene serves as he should
again, and the job must have run on, once, and end as it ended.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.e2e import hostile as hostile_module
from tests.e2e import rig
from tests.e2e.queues import PATIENCE_S, Queue, read, until
from tests.e2e.rig import User, wait_for
from wq.protocol import places

pytestmark = pytest.mark.xdist_group("e2e-hostile")

Word = dict[str, Any]
EVIL = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202e\u2066x\x7f"
RECORDING_SSH = '#!/bin/sh\nprintf "%s|" "$@" >> {log}\necho >> {log}\nexec ssh "$@"\n'
SIGNS = "-@%$`;&|<>()\\'\"*?~!#=+,:/ \t\n\r\x01\x7f\u202e\u00e9\u2024\u3002\uff0e"
EVIL_NAMES = [
    *["-oProxyCommand=touch${IFS}X", "-F/tmp/x", "--", "-", "user@node1", "@", "%h", "%%", "$(touch X)", "`touch X`"],
    *["", " ", "..", ".", ".node1", "node1.", "node1-", "-node1", "_node1", "../node1", "/etc/passwd", "ssh://node1"],
    *["::1", "[::1]", "fe80::1%lo", "node1:22", "node1\x00", "a" * 254, "a" * 4096, "n\u043ede1", "NODE1", "prod-db"],
    *["127.0.0.1", "localhost", "0", "0x7f000001", "node5", "node1.", "n*", "node[1-4]", "node1,node2", "node1 node2"],
    *[f"{sign}node1" for sign in SIGNS],
    *[f"node1{sign}" for sign in SIGNS],
    *[f"no{sign}de1" for sign in SIGNS],
    *[f"node1{sign}touch{sign}X" for sign in SIGNS],
    *[f"{sign}{other}" for sign in "-@%$`" for other in "-@%$`;| "],
]


class Siege:
    """The hostile server of one test, in place of the good one."""

    def __init__(self, queue: Queue, user: User, script: Path) -> None:
        self.queue, self.user, self.script = queue, user, script
        self.work = queue.directory(user)
        self.name = read(next(user.home.glob(f".local/state/wq/*/launcher-{queue.owner.uid}-{queue.port}/queue")))
        self.process: subprocess.Popen[bytes] | None = None
        self.heard_all: list[tuple[str, Word]] = []
        self.nothing = 9_000_000  # an id that no job has
        self.victim: Victim | None = None
        self.same_launcher = True  # lives through all of it

    # the two servers

    def begin(self) -> None:
        """cene's server goes, and this one is there."""
        self.queue.shutdown()
        where = places.meeting_dir(self.queue.owner.uid, self.queue.port)
        argv = ["python3", "-I", str(self.script), where, self.name]
        self.process = rig.popen_as(self.queue.owner, argv, stdin=subprocess.PIPE, stderr=None)
        assert self.answer() == "here"

    def end(self) -> None:
        """cene serves as he should."""
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
            self.process.kill()
            self.process.wait()
            self.process = None
        self.queue.serve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    # what it is told

    def answer(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def command(self, **order: Any) -> Any:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        return self.answer()

    def plan(self, **pieces: Any) -> None:
        """What is said to words of these types; to a role alone where it is named: hello_launcher."""
        roles = re.compile(r"_(client|launcher)$")
        self.command(plan={roles.sub(r" \1", kind): said for kind, said in pieces.items()})

    def say(self, *pieces: Any, times: int = 1) -> None:
        """Say this to dana's launcher, as soon as it is there."""
        wait_for(lambda: self.command(say=list(pieces), times=times) == "done", PATIENCE_S, "the launcher to listen")

    def heard(self, kind: str) -> list[Word]:
        """All words of this type that the launcher has said."""
        self.heard_all += [(role, word) for role, word in self.command(heard=True)]
        return [word for role, word in self.heard_all if role == "launcher" and word["type"] == kind]

    def heard_of_clients(self, kind: str) -> list[Word]:
        self.heard("")
        return [word for role, word in self.heard_all if role == "client" and word["type"] == kind]

    def wait_for_words(self, kind: str, number: int = 1) -> list[Word]:
        wait_for(lambda: len(self.heard(kind)) >= number, PATIENCE_S, f"{number} words {kind!r}")
        return self.heard(kind)

    def forget(self) -> None:
        self.heard("")
        self.heard_all = []

    def meet(self) -> None:
        """dana's launcher is connected, and heeds what it is told."""
        self.forget()
        self.wq("ls")
        self.launcher_comes()

    def launcher_comes(self) -> None:
        """It has been told to: any command of its user lets it try again at once."""

        def here() -> bool:
            self.wq("ls", status=None)
            return bool(self.heard("launcher_here"))

        wait_for(here, PATIENCE_S, "the launcher to come back")

    def ends_of(self, job: int) -> list[list[Any]]:
        """What the launcher has said of the ends of a job."""
        return [end for word in self.heard("attempts") for end in word["ended"] if end[0] == job]

    def wait_for_end_of(self, job: int) -> list[Any]:
        """(kind, exit status) of the first."""
        wait_for(lambda: self.ends_of(job), PATIENCE_S, f"the end of job {job}")
        return self.ends_of(job)[0][3:5]

    def settled(self) -> None:
        """All that was said to the launcher has been heeded: it answers to what comes after that."""
        self.nothing += 1
        self.say(start(self.nothing))
        assert self.wait_for_end_of(self.nothing) == ["lost", None]

    # what dana does

    def wq(self, *words: str, status: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = self.queue.wq(self.user, *words, cwd=self.work, status=status, env={"WQ_SSH": "ssh", **env})
        assert printable(done.stdout + done.stderr), (words, done.stdout, done.stderr)
        return done

    def batch(self, command: str, *, ssh: str = "ssh") -> int:
        """A submission that this server accepts; its id, which the server has made up."""
        return int(self.wq("sub", "-b", "-q", "-c", command, WQ_SSH=ssh).stdout)

    @property
    def launcher_pid(self) -> int | None:
        return self.queue.launcher_pid(self.user)


class Victim:
    """A job of dana's that runs while cene does what he does."""

    def __init__(self, siege: Siege) -> None:
        self.siege, self.queue = siege, siege.queue
        self.starts, self.go = siege.work / "starts", siege.work / "go"
        self.id = self.queue.batch(siege.user, f"echo $$ >> {self.starts}; {until(self.go)}; exit 7", cwd=siege.work)
        self.queue.wait_for_state(self.id, "running")
        self.pid = int(wait_for(lambda: read(self.starts).strip(), PATIENCE_S, "the job to start"))

    def runs(self) -> bool:
        return rig.is_alive(self.pid) and read(self.starts).split() == [str(self.pid)]

    def row(self) -> Word:
        """As dana sees it: her command brings her launcher back, should it be gone."""
        (row,) = self.queue.ls(str(self.id), user=self.siege.user)
        return row

    def ends(self) -> None:
        """The good server is back."""
        assert self.runs()
        self.siege.user.write(self.go, "")
        wait_for(lambda: self.row()["state"] == "done", PATIENCE_S, "the end of the job")
        outcome = self.row()["outcome"]
        assert (outcome["kind"], outcome["exit_status"]) == ("exited", 7)
        assert len(read(self.starts).split()) == 1


@pytest.fixture(scope="module")
def script(base: rig.Base) -> Path:
    """Where cene can read it."""
    path = base.directory("hostile") / "hostile.py"
    shutil.copy(hostile_module.__file__, path)
    return path


@pytest.fixture
def siege(queue: Queue, dana: User, script: Path) -> Iterator[Siege]:
    """dana's job runs, and the server is another one; at the end all must be well."""
    queue.wait_for_end(queue.batch(dana, "true"))
    with Siege(queue, dana, script) as made:
        made.victim = Victim(made)
        made.begin()
        made.meet()
        pid = made.launcher_pid
        yield made
        assert victim_of(made).runs()
        if made.same_launcher:
            assert made.launcher_pid == pid
        made.end()
        victim_of(made).ends()


def victim_of(siege: Siege) -> Victim:
    assert siege.victim is not None
    return siege.victim


def printable(text: str) -> bool:
    """Whether a terminal shows this as it is."""
    return all(char.isprintable() or char == "\n" for char in text) and "Traceback" not in text


def start(job: int, host: str = "node1", attempt: int = 1, **more: Any) -> Word:
    """A grant of one core."""
    place = {"slices": [{"host": host, "cores": [0]}]}
    return {"type": "start", "uid": 0, "id": job, "attempt": attempt, "allocation": place, "declared": [4], **more}


def test_no_evil_name_is_called(siege: Siege) -> None:
    log, ssh = siege.work / "argv", siege.work / "ssh"
    siege.user.write(ssh, RECORDING_SSH.format(log=log), 0o755)
    ran = siege.work / "ran"
    job = siege.batch(f"echo ran >> {ran}", ssh=str(ssh))
    names = list(dict.fromkeys(EVIL_NAMES))
    assert len(names) >= 200
    siege.say(*[start(job, name, number) for number, name in enumerate(names, 1)])
    refused = siege.wait_for_words("attempt_taken_back", len(names))
    assert {word["host"] for word in refused} == set(names)
    assert not log.exists()
    siege.say(start(job, "node2", 1000))  # which shows that a call would have been seen
    wait_for(lambda: read(ran), PATIENCE_S, "the job to run")
    assert {line.split("|--|")[1].split("|")[0] for line in read(log).splitlines()} == {"node2"}


def test_a_node_that_was_not_accepted_is_not_called(siege: Siege) -> None:
    job = siege.batch("true")
    siege.say(start(job, "prod-db"))
    (word,) = siege.wait_for_words("attempt_taken_back")
    assert word["why"] == "prod-db is new in this cluster; accept it with: wq node --accept"
    avoided = {"host": word["host"], "why": word["why"]}
    siege.plan(users=[{"ok": {"users": [{**USER, "avoided": [avoided]}]}}])
    assert "accept it with: wq node --accept" in siege.wq("user").stdout


def test_nothing_that_is_said_is_run(siege: Siege) -> None:
    x = siege.work / "X"
    evil = f"$(touch {x})`touch {x}`;touch {x}\n{EVIL}"
    job = siege.batch("true")
    waits = siege.queue.start(siege.user, "sub", "-c", "true", cwd=siege.work, env={"WQ_SSH": "ssh"})
    with waits:
        siege.wait_for_words("submit", 2)
        place = {"slices": [{"host": evil, "cores": [0]}]}
        outcome = {"kind": "removed", "by": evil, "message": evil}
        number = job + 1
        for word in (
            start(job, evil),
            start(job, lane=evil, patience_s=1.0),
            {**start(job), "allocation": place, "lane": f"{job}.1", "patience_s": 1.0},
            {"type": "waiting", "id": number, "reason": evil, "code": "NodeDown", "ahead": 1},
            {"type": "stop", "uid": 0, "id": job, "attempt": 1, "grace_s": 1.0, "by": evil},
            {"type": evil, "id": job},
            {evil: evil, "type": "start"},
            {"ok": evil, "seq": 1},
            {"error": evil, "seq": evil},
            {"type": "gone", "uid": 0, "id": number, "outcome": outcome},
        ):
            siege.say(word)
            siege.wq("ls")
        assert waits.wait() in (1, 75)
        assert printable(waits.err)
    welcome = {"version": 2, "queue": siege.name, "owner": evil, "owner_name": evil, "nodes": [evil, "node1"]}
    siege.plan(hello=[{"ok": welcome}], ls=[{"error": evil}], submit=[{"error": evil, "seq": "$seq"}])
    siege.wq("ls", status=1)
    siege.wq("sub", "-b", "-c", "true", status=1)
    assert not x.exists()
    assert not list(siege.work.glob("*touch*"))


def test_a_replayed_grant_starts_nothing(siege: Siege) -> None:
    siege.same_launcher = False
    starts, go, victim = siege.work / "again", siege.work / "go2", victim_of(siege)
    job = siege.batch(f"echo in >> {starts}; {until(go)}")
    grants = [start(job), start(job, "node2"), start(victim.id), start(victim.id, "node3")]
    siege.say(*grants, times=100)
    wait_for(lambda: read(starts), PATIENCE_S, "the job to start")
    siege.say({"type": "starts", "uid": 0, "lane": f"{job}.1", "allocation": start(job)["allocation"], "declared": [4],
               "patience_s": 5.0, "tasks": [[job, -1, 1], [victim.id, -1, 1]] * 100})  # fmt: skip
    pid = siege.launcher_pid
    assert pid is not None
    rig.signal_all([pid])
    wait_for(lambda: not rig.is_alive(pid), PATIENCE_S, "the launcher to die")
    siege.meet()
    siege.say(*grants, times=100)
    siege.user.write(go, "")
    assert siege.wait_for_end_of(job) == ["exited", 0]
    siege.say(*grants, times=100)
    siege.settled()
    assert read(starts) == "in\n"


def test_grants_that_make_no_sense(siege: Siege) -> None:
    victim = victim_of(siege)
    waits = siege.batch("echo must not run")
    evil = siege.work / "evil"
    once = siege.wq("sub", "-b", "-q", "-r", "requeue: no", "-c", f"echo in >> {evil}; {until(siege.work / 'go3')}")
    job = int(once.stdout)
    siege.say(start(job))
    wait_for(lambda: read(evil), PATIENCE_S, "the job to start")
    wrong: list[Word] = [  # all kinds of it are in the unit test of orders.py
        start(1 << 70),
        start(waits, attempt=1 << 70),
        start(waits, lane="x", patience_s=1.0),
        {**start(waits), "allocation": {"slices": []}},
        {**start(waits), "allocation": {"slices": [{"host": "node1", "cores": [-1, 1 << 70]}]}},
        {**start(waits), "id": "x", "attempt": [1]},
    ]
    for word in wrong:
        siege.forget()
        siege.say(word)
        siege.launcher_comes()  # again: it has hung up
    unknown = [start(number) for number in range(5_000_000, 5_000_100)]
    siege.say(*unknown, start(5, task=7), *[start(job, attempt=attempt) for attempt in range(2, 50)])
    assert siege.wait_for_end_of(job) == ["lost", None]
    siege.say(*[start(victim.id, "prod-db", attempt) for attempt in range(2, 50)])
    siege.wait_for_words("attempt_taken_back", 48)
    assert read(evil) == "in\n"
    siege.user.write(siege.work / "go3", "")


def test_nothing_is_ended_but_what_is_named(siege: Siege) -> None:
    victim = victim_of(siege)
    job = siege.batch("echo $$; sleep 1000")
    siege.say(start(job))
    siege.wait_for_words("attempts")
    stop = {"type": "stop", "uid": 0, "attempt": 1, "grace_s": 0.0, "by": "x"}
    pids = [pid for pid in range(1, 32769) if pid not in (victim.id, job)]
    siege.say(*[{**stop, "id": pid} for pid in pids])
    siege.say(*[{**stop, "id": victim.id, "attempt": attempt} for attempt in (2, 3, 100)])
    siege.say(*[{"type": "gones", "uid": 0, "tasks": [[pid, -1] for pid in pids]}])
    for word in ({**stop, "id": victim.id, "attempt": 0}, {**stop, "id": -1}, {**stop, "id": job, "grace_s": -1.0}):
        siege.forget()
        siege.say(word)
        siege.launcher_comes()
    siege.say({**stop, "id": job})  # which may be named
    siege.wait_for_end_of(job)


BRIEF = [5, None, "x", "running", "med", 1, 1, "name", 1.0, 2.0, None, None, None, None]
FULL = {"id": 5, "task": None, "user": "x", "state": "running", "name": "name", "array": None}
NODE = {"host": "a", "state": "online", "ncores": 4, "used": [], "mem_gb": 4.0, "groups": ["a"], "since": None,
        "by": "x", "reason": "why"}  # fmt: skip
NO_LIMITS = {"run": None, "cores": None}
USER = {"user": "x", "uid": 5, "jobs": 1, "running": 1, "waiting": 0, "held": 0, "cores": 1, "limits": NO_LIMITS,
        "limits_own": NO_LIMITS, "limits_owner": NO_LIMITS, "avoided": [{"host": "a", "why": "b"}]}  # fmt: skip
REMOVED = {"removed": [5], "ending": [6], "tasks": [{"id": 7, "removed": 1, "ending": 1}], "missing": [8],
           "refused": [{"id": 9, "why": "why"}]}  # fmt: skip
ASKED: dict[tuple[str, ...], tuple[str, Word]] = {
    ("ls",): ("ls", {"jobs": [BRIEF]}),
    ("ls", "-f"): ("ls", {"jobs": [FULL]}),
    ("stat",): ("stat", {"nodes": [NODE]}),
    ("node",): ("stat", {"nodes": [NODE]}),
    ("user",): ("users", {"users": [USER]}),
    ("users",): ("users", {"users": [USER]}),
    ("rm", "5"): ("remove", REMOVED),
    ("limit", "run: 1"): ("limit", {"user": "x", "run": 1, "cores": 2}),
}


def with_text(value: Any, text: str) -> Any:
    """The same, with this in place of all texts but those that say what a thing is."""
    if isinstance(value, dict):
        return {key: with_text(one, text) for key, one in value.items()}
    if isinstance(value, list):
        return [with_text(one, text) for one in value]
    return text if isinstance(value, str) else value


def test_a_terminal_shows_what_is_said_and_does_nothing(siege: Siege) -> None:
    for words, (kind, facts) in ASKED.items():
        siege.plan(**{kind: [{"ok": facts}]})
        assert siege.wq(*words, status=None).returncode == (1 if words[0] == "rm" else 0)
        for said in evil_answers(facts):
            siege.plan(**{kind: said})
            done = siege.wq(*words, status=None)
            assert 0 <= done.returncode <= 75, (words, said)
            if "error" in str(said[0]):
                assert done.returncode, (words, said)
                assert len(done.stderr) < 10_000


def evil_answers(facts: Word) -> list[list[Any]]:
    """What may be said instead of these."""
    deep = hostile_module.frame(b'{"ok":' + b"[" * 200_000 + b"}").hex()
    return [
        [{"ok": with_text(facts, EVIL)}],
        [{"ok": with_text(facts, "")}],
        [{"ok": with_text(facts, "x" * 100_000)}],
        [{"error": EVIL, "status": 0}],
        [{"error": EVIL, "status": 1 << 70}],
        [{"error": {"a": EVIL}, "status": [EVIL]}],
        [{"error": "x", "version": 1 << 70}],
        [{"ok": EVIL}],
        [{"ok": {}}],
        [{"ok": dict.fromkeys(facts, EVIL)}],
        [{"ok": {key: [EVIL] for key in facts}}],
        [{"ok": {key: [[EVIL]] for key in facts}}],
        [{"ok": {key: [1e308, -1, 1 << 70] for key in facts}}],
        [{"page": 5}],
        [{"page": [[EVIL]]}, {"ok": {"jobs": []}}],
        [{"type": EVIL}],
        [deep],
        ["00000000"],
        ["ffffffff"],
        ["00000002", "0100"],
        ["00000005", 5],
        ["00000009", 5, "close"],
        ["close"],
    ]


def test_who_waits_can_go(siege: Siege) -> None:
    """Silence, and answers without end."""
    page = {"page": [BRIEF] * 100}
    for said in ([], ["00000064", 5], ["endless", {"page": []}], ["endless", page], ["00ffffff", "endless", 1]):
        siege.plan(ls=said)
        siege.forget()
        with siege.queue.start(siege.user, "ls", cwd=siege.work, env={"WQ_SSH": "ssh"}) as running:
            wait_for(lambda: siege.heard_of_clients("ls"), PATIENCE_S, "the question")
            assert running.process.poll() is None
            running.signal(signal.SIGINT)
            assert running.wait() == 130
            assert printable(running.out + running.err)


def test_a_submission_is_neither_lost_nor_doubled(siege: Siege) -> None:
    """Whatever is said to it: when there is a server again, it is run once."""
    victim, done = victim_of(siege), siege.work / "done"
    ids: list[list[Any]] = [
        *[[number] for number in (0, -1, 1 << 62, 1 << 70, 1.5, True, None, EVIL, [5], victim.id)],
        *[[], [2_000_000, 2_000_001]],
    ]
    answers: list[Any] = [{"ids": given} for given in ids]
    answers += [{}, [], EVIL, None, 5, {"ids": EVIL}, {"ids": None}]
    plans: list[Word] = [{"submit": [{"ok": answer, "seq": "$seq"}]} for answer in answers]
    plans += [{kind: ["close"]} for kind in ("hello_launcher", "launcher_here", "submit")]
    welcomes: list[Any] = [{"ok": EVIL}, {"ok": {}}, {"ok": {"queue": "../../x"}}, {"error": EVIL}, "ffffffff"]
    for welcome in welcomes:
        plans.append({"hello_launcher": [welcome]})
    njobs = 0
    for plan in plans:
        siege.plan(**plan)
        siege.command(close=True)
        kept = siege.wq("sub", "-b", "-c", f"echo {njobs} >> {done}", status=None)
        njobs += kept.returncode == 0
        assert kept.returncode in (0, 75), (plan, kept.stderr)
    siege.plan(submit=[])
    siege.end()
    siege.queue.wq(siege.user, "ls")
    wait_for(lambda: len(read(done).split()) >= njobs, PATIENCE_S, "all that was kept to run")
    siege.queue.wait_for_end(siege.queue.batch(siege.user, f"echo {njobs} >> {done}"))
    assert sorted(map(int, read(done).split())) == list(range(njobs + 1))


def test_the_end_of_a_job_is_the_jobs_own(siege: Siege) -> None:
    """A server says that a job is over which is not: it may end it, but what it came to is not its word."""
    with siege.queue.start(siege.user, "sub", "-c", "true", cwd=siege.work, env={"WQ_SSH": "ssh"}) as waits:
        job = wait_for(lambda: siege.heard("submit"), PATIENCE_S, "the submission") and 1_000_000
        siege.say({"type": "gone", "uid": 0, "id": job, "outcome": {"kind": "exited", "exit_status": 0}})
        assert waits.wait() == 1
        assert "no longer knows it" in waits.err


def test_another_queue_on_the_port_makes_nothing_forgotten(siege: Siege) -> None:
    siege.same_launcher = False
    for name in ("other1", "other2"):
        welcome: Word = {"version": 2, "queue": name, "owner": 0, "owner_name": "x", "nodes": []}
        siege.plan(hello=[{"ok": welcome, "seq": "$seq"}])
        siege.command(close=True)
        wait_for(lambda: siege.launcher_pid is None, PATIENCE_S, "the launcher to go")
        siege.forget()
        siege.launcher_comes()


def test_a_flood(siege: Siege) -> None:
    """100,000 words, and none of the answers is read: the launcher grows no larger, and goes on."""
    pid = siege.launcher_pid
    assert pid is not None
    siege.plan(hello_launcher=[{"ok": "$welcome", "seq": "$seq"}])
    tasks = [[number, -1, 1] for number in range(3_000_000, 3_020_000)]
    place = start(1)["allocation"]
    many = {"type": "starts", "uid": 0, "lane": "1.1", "allocation": place, "declared": [4], "patience_s": 1.0}
    siege.say(*[{**many, "tasks": tasks[:1000]}] * 20)
    siege.say(start(3_000_000), {"type": "waiting", "id": 1, "reason": "x", "code": "x", "ahead": 1}, times=50_000)
    siege.wq("ls")
    assert resident_mb(pid) < 200
    siege.command(deaf=True)
    siege.command(shout=[{**many, "tasks": tasks}], times=30)
    for _ in range(3):
        siege.wq("ls")
    assert resident_mb(pid) < 200
    siege.command(close=True)
    siege.meet()


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024
