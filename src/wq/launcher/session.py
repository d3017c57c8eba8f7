"""The launcher's session with the server: asks and reports over one connection, and comes back when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from wq.core.requests import AttemptEnded, AttemptStarted, AttemptTakenBack, Request
from wq.launcher.orders import nonsense
from wq.protocol import messages, places
from wq.protocol.wire import PROTOCOL, Frames, Message, WireError

AGAIN_FIRST_S = 0.1
AGAIN_MOST_S = 5.0
ANSWER_S = 120.0  # who has not answered by then is left, and asked again on another connection
QUEUE_NAME = re.compile(r"[A-Za-z0-9]{1,64}")  # it becomes part of a file's name
LONGEST_SENTENCE = 1000  # of a server
STATUSES = (1, 2, 75)  # that a refusal may have


class ServerAway(Exception):
    """The server cannot be asked just now."""


class Refused(Exception):
    """The server says no; its text is the sentence. status: the exit status for it. for_now: it may say yes later."""

    def __init__(self, sentence: str, status: int, *, for_now: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.for_now = status, for_now


class Session:
    """One connection to the server after the other. on_up(welcome) comes first; then on_order for each order."""

    def __init__(
        self,
        path: str,
        uid: int,
        *,
        on_up: Callable[[Message], None],
        on_order: Callable[[Any], None],
        on_down: Callable[[], None],
    ) -> None:
        self.path, self.uid = path, uid
        self.on_up, self.on_order, self.on_down = on_up, on_order, on_down
        self.writer: asyncio.StreamWriter | None = None
        self.seq = 0
        self.asked: dict[int, Question] = {}
        self.connected = asyncio.Event()
        self.trouble = "the server is away"
        self.refuses = False  # it is there, and does not talk to us
        self.retry = asyncio.Event()

    async def run(self) -> None:
        """Connect, again and again, until cancelled."""
        wait_s = AGAIN_FIRST_S
        while True:
            try:
                await self.one_connection()
                wait_s = AGAIN_FIRST_S
            except WireError as error:
                self.trouble = f"the server is not understood: {error}"[:LONGEST_SENTENCE]
            except (OSError, places.PlaceError, ServerAway):
                pass
            self.writer = None
            self.connected.clear()
            for question in self.asked.values():
                if not question.answer.done():
                    question.answer.set_exception(ServerAway("the server went away before it answered"))
            self.asked = {}
            self.on_down()
            self.retry.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.retry.wait(), wait_s * random.uniform(0.7, 1.3))
            wait_s = min(wait_s * 2, AGAIN_MOST_S)

    async def one_connection(self) -> None:
        """From hello to the end of one connection."""
        places.check_meeting_dir(self.uid, int(os.path.dirname(self.path).rsplit("-", 1)[1]))
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            sock: socket.socket = writer.get_extra_info("socket")
            if places.peer_uid(sock) != self.uid:
                raise places.PlaceError("somebody else answers on the server's socket")
            writer.write(messages.encode_message({"type": "hello", "version": PROTOCOL, "role": "launcher"}))
            frames = Frames()
            welcomed = False
            while data := await reader.read(1 << 16):
                for body in frames.feed(data):
                    if welcomed:
                        self.take(body)
                        continue
                    message = decoded(body)
                    self.refuses = "ok" not in message
                    if self.refuses:
                        self.trouble = str(message.get("error", "the server refuses"))[:LONGEST_SENTENCE]
                        raise ServerAway(self.trouble)
                    facts = facts_of(message)
                    queue = facts.get("queue")
                    if not isinstance(queue, str) or not QUEUE_NAME.fullmatch(queue):
                        raise WireError("a welcome without the name of a queue")
                    welcomed, self.trouble = True, "the server is away"
                    self.writer = writer
                    self.on_up(facts)
                    self.connected.set()
                await writer.drain()  # who does not read our answers is not listened to
        finally:
            writer.close()

    def take(self, body: bytes) -> None:
        """An order, or the answer to a question. Raises WireError for what is neither."""
        if head_of(body).type:
            word, _ = messages.decode_word(body, messages.TO_LAUNCHERS)
            wrong = nonsense(word)
            if wrong is not None:
                raise WireError(f"an order that makes no sense ({wrong})")
            self.on_order(word)
            return
        message = decoded(body)
        seq = message.get("seq")
        question = self.asked.get(seq) if isinstance(seq, int) else None
        if question is None:
            return
        if "ok" in message and question.at_once is not None:
            question.at_once(facts_of(message))
        self.asked.pop(question.seq, None)
        if not question.answer.done():
            question.answer.set_result(message)

    def report(self, request: Request) -> None:
        """Say something that needs no answer. Lost if the server is away: it is said again after the next hello."""
        if self.writer is not None and not self.writer.is_closing():
            self.writer.write(messages.encode_word(request))

    def report_many(self, news: list[AttemptStarted | AttemptEnded | AttemptTakenBack]) -> None:
        """Say many things of attempts, as few words."""
        for at in range(0, len(news), messages.MOST_GROUPED):
            if self.writer is not None and not self.writer.is_closing():
                self.writer.write(messages.encode_word(messages.attempts_of(news[at : at + messages.MOST_GROUPED])))

    async def ask(
        self, request: Request | messages.Ls, at_once: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """The facts of the answer. Raises ServerAway, Refused.

        at_once(facts) is called before any order that the server sent after its answer is looked at.
        """
        if self.writer is None:
            raise ServerAway(self.trouble)
        self.seq += 1
        question = Question(seq=self.seq, answer=asyncio.get_running_loop().create_future(), at_once=at_once)
        self.asked[self.seq] = question
        self.writer.write(messages.encode_word(request, self.seq))
        writer = self.writer
        try:
            answer = await asyncio.wait_for(question.answer, ANSWER_S)
        except TimeoutError:
            writer.transport.abort()  # on the next connection it is asked again
            raise ServerAway("the server does not answer") from None
        if "ok" in answer:
            return facts_of(answer)
        status = answer.get("status")
        for_now = answer.get("for_now") is True
        sentence = str(answer.get("error"))[:LONGEST_SENTENCE]
        raise Refused(sentence, status if status in STATUSES else 1, for_now=for_now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request on its way."""

    seq: int
    answer: asyncio.Future[Message]
    at_once: Callable[[dict[str, Any]], None] | None


def decoded(body: bytes) -> Message:
    """A message as it came. Raises WireError."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(str(error)) from None


def head_of(body: bytes) -> messages.Head:
    """What every message has. Raises WireError."""
    try:
        return messages.read_head(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(str(error)) from None


def facts_of(message: Message) -> dict[str, Any]:
    facts = message["ok"]
    if not isinstance(facts, dict):
        raise WireError("an answer without facts")
    return facts
