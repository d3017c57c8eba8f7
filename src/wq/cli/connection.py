"""Finding the server and talking to it: whose it is is checked before anything is said."""

from __future__ import annotations

import os
import sys

from wq.cli import config
from wq.cli.errors import AWAY, ServerDown, WqError, failure
from wq.cli.link import look_after, send
from wq.protocol import places, sockets
from wq.protocol.wire import PROTOCOL, Frames, WireError, decode

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import Any

    Place = tuple[sockets.socket, int, bool]  # a connection to a server, whose it is, whether it is private

ANSWER_TIMEOUT_S = 60.0
ANSWERS_SOON_S = 5.0
MOST_LISTING_BYTES = 1 << 30  # of all pages of one answer
LONGEST_SENTENCE = 4000  # of a server


class Server:
    """A connection to a server. uid: whose it is; private: of one's own, started when needed."""

    heard = False  # something of any server, which may be nonsense

    def __init__(self, sock: sockets.socket, uid: int, port: int, *, private: bool, looks_after: bool = True) -> None:
        self.sock, self.uid, self.port, self.private = sock, uid, port, private
        self.frames = Frames(64 << 20)
        self.bodies: list[bytes] = []
        self.heard_bytes = 0
        self.asked = 0  # questions with a number
        sock.settimeout(ANSWER_TIMEOUT_S)
        send(sock, {"type": "hello", "version": PROTOCOL, "role": "client"})
        self.welcome: dict[str, Any] = {}
        if looks_after:
            look_after(self)

    def receive(self) -> dict[str, Any]:
        """The next message. Raises WqError if none comes, or if the server refuses."""
        while not self.bodies:
            try:
                data = self.sock.recv(1 << 18)
            except TimeoutError:
                raise WqError("the server does not answer", AWAY) from None
            if not data:
                raise WqError("the server closed the connection", AWAY)
            self.bodies = self.frames.feed(data)
        Server.heard = True
        body = self.bodies.pop(0)
        self.heard_bytes += len(body)
        message = decode(body)
        if not isinstance(message, dict):
            raise WireError("a chunk of a stream")
        if "error" in message:
            theirs = message.get("version")
            if isinstance(theirs, int) and theirs != PROTOCOL:
                raise WqError(self.of_another_version(theirs))
            raise WqError(str(message["error"])[:LONGEST_SENTENCE], failure(message.get("status")))
        return message

    def facts_in(self, message: dict[str, Any]) -> dict[str, Any]:
        """Raises WireError if there are none."""
        facts = message.get("ok")
        if not isinstance(facts, dict):
            raise WireError("an answer without facts")
        return facts

    def of_another_version(self, theirs: int) -> str:
        from wq import __version__

        whose = "your server" if self.uid == os.getuid() else f"the server of {user_name(self.uid)}"
        sentence = f"{whose} on port {self.port} speaks protocol {theirs}, this wq ({__version__}) {PROTOCOL}"
        if theirs > PROTOCOL:
            return f"{sentence}: use the newer wq, with which it was started"
        how = "`wq shutdown`, then `wq serve`; running jobs go on"
        return f"{sentence}: it must be started again with this wq ({how}), or use the older wq meanwhile"

    def ask(self, kind: str, **fields: object) -> dict[str, Any]:
        """The facts of the answer to one request. Raises WqError with what the server says against it."""
        send(self.sock, {"type": kind, **fields})
        if not self.welcome:
            self.welcomed(self.facts_in(self.receive()))
        pages: list[Any] = []
        self.heard_bytes = 0
        while True:
            message = self.receive()
            if "page" in message:
                if self.heard_bytes > MOST_LISTING_BYTES:
                    raise WqError(f"the server's answer is longer than {MOST_LISTING_BYTES >> 20} MiB; ask for less")
                pages += message["page"]
                continue
            facts = self.facts_in(message)
            if pages:
                facts["jobs"] = pages + facts["jobs"]
            return facts

    def welcomed(self, welcome: dict[str, Any]) -> None:
        """Remember a server that is not one's own, with its nodes, at the first contact."""
        self.welcome = welcome
        if not self.is_known():
            from wq.protocol import known

            nodes = [str(node) for node in welcome["nodes"]]
            known.remember(self.port, self.uid, user_name(self.uid), nodes)
            print(
                f"wq: first contact with the queue of {user_name(self.uid)} (uid {self.uid}) on port {self.port}: "
                f"remembered in {known.path()}, with its {len(nodes)} nodes: {shown(nodes)}",
                file=sys.stderr,
            )

    def is_own(self) -> bool:
        return self.private or self.uid == os.getuid()

    def is_known(self) -> bool:
        """It is one's own, or has been met before."""
        if self.is_own():
            return True
        from wq.protocol import known

        entry = known.server_of(self.port)
        return entry is not None and entry.get("uid") == self.uid

    def hello_only(self) -> dict[str, Any]:
        """The server's welcome, when nothing else is asked."""
        if not self.welcome:
            self.welcomed(self.facts_in(self.receive()))
        return self.welcome


def shown(nodes: list[str]) -> str:
    from wq.cli.render.sanitise import printable

    text = ", ".join(nodes[:20]) + (", ..." if len(nodes) > 20 else "")
    return printable(text)


def user_name(uid: int) -> str:
    """The name of a user."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def try_connect(uid: int, port: int, *, private: bool = False) -> sockets.socket | None:
    """A connection to the server of this user, if there is one. Raises WqError if somebody else sits there."""
    path = places.server_socket(uid, port, private=private)
    sock = sockets.socket(sockets.AF_UNIX)
    try:
        places.check_meeting_dir(uid, port)
        sock.connect(path)
        answers = places.peer_uid(sock)
    except (FileNotFoundError, ConnectionError, NotADirectoryError):
        sock.close()
        return None
    except BlockingIOError:
        sock.close()
        raise WqError(f"the server at {path} is too busy to answer", AWAY) from None
    except (places.PlaceError, PermissionError) as error:
        sock.close()
        raise WqError(f"the server is not to be trusted: {error}") from None
    if answers != uid:
        sock.close()
        raise WqError(f"the server is not to be trusted: uid {answers} answers at {path}")
    return sock


def others_here(port: int) -> list[int]:
    """The uids, other than one's own, that seem to serve this port."""
    uids = []
    ending = f"-{port}"
    for name in os.listdir("/tmp"):
        if name.startswith("wq-") and name.endswith(ending):
            text = name[3 : -len(ending)]
            if text.isdecimal() and int(text) != os.getuid() and os.path.lexists(places.server_socket(int(text), port)):
                uids.append(int(text))
    return sorted(uids)


def connect(port: int, *, start_private: bool = False, recall: bool = False) -> Server:
    """The server to talk to on this port: see spec section 4. Raises WqError, status 75 if there is none.

    start_private: start one's own if no other is configured, remembered or running. Without it, one that was there
    before is started again only if it has unfinished work, or (recall) if its past is asked about.
    Raises ServerDown for a server that is known and does not answer; what runs is looked after all the same.
    """
    try:
        return find(port, start_private=start_private, recall=recall)
    except ServerDown as down:
        look_after(down)
        raise


def find(port: int, *, start_private: bool, recall: bool) -> Server:
    found = locate(port)
    if found is None:
        if not start_private and not private_work_is_left(port) and not (recall and private_state_exists(port)):
            hint = "`wq sub` starts a private one, `wq serve` a shared one"
            raise WqError(f"no queue is running on port {port}; {hint}", AWAY)
        start_private_server(port)
        sock = try_connect(os.getuid(), port, private=True)
        if sock is None:
            raise WqError("the private queue does not answer", AWAY)
        found = sock, os.getuid(), True
    return Server(found[0], found[1], port, private=found[2])


def locate(port: int) -> Place | None:
    """The server that runs and is the one to talk to; None if there is none, and nobody expects one."""
    settings = config.load()
    named = settings.get("server_user")
    if named is not None:
        return connect_named(named, port)
    me = os.getuid()
    sock = try_connect(me, port)
    if sock is not None:
        return sock, me, False
    found = connect_known(port) or connect_other(port)
    if found is not None:
        return found
    sock = try_connect(me, port, private=True)
    return None if sock is None else (sock, me, True)


def connect_named(name: str, port: int) -> Place:
    """The server of the user whom the configuration names."""
    import pwd

    try:
        uid = int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise WqError(f"server_user: no user is called {name!r}", 2) from None
    sock = try_connect(uid, port)
    if sock is None:
        sentence = f"the server of {name} on port {port} does not answer (server_user in the configuration)"
        raise ServerDown(sentence, uid, port)
    return sock, uid, False


def connect_known(port: int) -> Place | None:
    """The server that was met on this port; None if none was. A change is refused."""
    from wq.protocol import known

    try:
        entry = known.server_of(port)
    except ValueError as error:
        raise WqError(str(error)) from None
    if entry is None:
        return None
    uid = int(entry["uid"])
    sock = try_connect(uid, port)
    if sock is not None:
        return sock, uid, False
    others = [other for other in others_here(port) if other != uid and alive(other, port)]
    usurpers = [f"{user_name(other)} (uid {other})" for other in others]
    who = f"{entry.get('user')} (uid {uid})"
    if usurpers:
        raise WqError(
            f"the server on port {port} has changed: you know that of {who}, which does not answer, "
            f"and now {' and '.join(usurpers)} serves there; if that is right, remove {port} from {known.path()}"
        )
    own = "; `wq serve` starts it" if uid == os.getuid() else ""
    hint = f"(for another queue, remove {port} from {known.path()})"
    raise ServerDown(f"the server of {who} on port {port} does not answer{own} {hint}", uid, port)


def alive(uid: int, port: int) -> bool:
    try:
        sock = try_connect(uid, port)
    except WqError:
        return False
    if sock is not None:
        sock.close()
    return sock is not None


def connect_other(port: int) -> Place | None:
    """A server of somebody else that was not met yet: root's, or the only one; with several, the user is asked."""
    uids = [uid for uid in others_here(port) if alive(uid, port)]
    if not uids:
        return None
    uid = uids[0] if len(uids) == 1 or 0 in uids else ask_which(uids, port)
    sock = try_connect(uid, port)
    return (sock, uid, False) if sock is not None else None


def ask_which(uids: list[int], port: int) -> int:
    from wq.cli import stdin

    names = {user_name(uid): uid for uid in uids}
    listed = ", ".join(f"{name} (uid {uid})" for name, uid in names.items())
    hint = "choose one with `server_user: NAME` in ~/.config/wq/config.yaml"
    if not stdin.can_be_asked():
        raise WqError(f"several users serve port {port}: {listed}; {hint}", 2)
    answer = stdin.answer_to(f"wq: several users serve port {port}: {listed}.\nWhose queue is yours?")
    if answer not in names:
        raise WqError(f"{answer!r} is none of them; {hint}", 2)
    return names[answer]


def private_spool(port: int) -> str:
    """The spool of one's own private queue on this machine."""
    return places.state_dir(f"private-{port}")[0]


def private_work_is_left(port: int) -> bool:
    """The launcher of the private queue has unfinished work."""
    state = places.state_dir(places.launcher_state_name(port, os.getuid(), private=True))[0]
    return os.path.exists(os.path.join(state, places.UNFINISHED))


def private_state_exists(port: int) -> bool:
    return os.path.exists(os.path.join(private_spool(port), "queue.db"))


def start_private_server(port: int, *, silent: bool = False) -> None:
    from wq.cli import daemon

    spool = private_spool(port)
    if not silent:
        which = f"a private queue for this machine ({os.cpu_count()} cores)"
        print(f"wq: no server here: started {which}; `wq shutdown` ends it", file=sys.stderr)
    words = ["serve", "--private", "-p", str(port), "-s", spool]
    trouble = daemon.start(words, os.path.join(spool, "server.log"))
    if trouble and not ("another server" in trouble and answers_soon(port)):
        raise WqError(f"the private queue did not start: {trouble}")


def answers_soon(port: int) -> bool:
    """Whether one's private queue answers within a few seconds: another command was quicker to start it."""
    from time import monotonic, sleep

    until_s = monotonic() + ANSWERS_SOON_S
    while monotonic() < until_s:
        sock = try_connect(os.getuid(), port, private=True)
        if sock is not None:
            sock.close()
            return True
        sleep(0.05)
    return False
