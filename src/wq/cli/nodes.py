"""Asking nodes without a launcher: the shepherd's source goes down an ssh, looks round there, answers and is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wq.backends import ssh
from wq.cli import config
from wq.node import shepherd

AT_ONCE = 8
PATIENCE_S = 40.0
LAST_WORDS_S = 5.0
MOST_ANSWER_BYTES = 8 << 20
KEPT_ERRORS = 8192
LOCALHOST = "localhost"
SOURCE = Path(shepherd.__file__).read_bytes()
BOOT = (
    "import sys;s=sys.stdin.buffer.read({size});"
    'sys.version_info<(3,6) and sys.exit("python 3.6 or newer is needed");'
    'WQ_BOOT={{"orphans":"{what}","source":s}};exec(s)'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one node says. found: each orphan, and whether it was ended (None: it was only looked at).

    trouble: why nothing is known of this node.
    """

    host: str
    found: list[tuple[dict[str, Any], bool | None]] = field(default_factory=list)
    trouble: str | None = None


def ask_all(hosts: list[str], what: str) -> list[Answer]:
    """The answers of all hosts, in their order. what: `list` or `kill`."""
    return asyncio.run(_ask_all(hosts, what))


async def _ask_all(hosts: list[str], what: str) -> list[Answer]:
    places = asyncio.Semaphore(AT_ONCE)

    async def in_turn(host: str) -> Answer:
        async with places:
            try:
                return await ask(host, what)
            except (OSError, ValueError, KeyError) as error:
                return Answer(host=host, trouble=str(error))

    return list(await asyncio.gather(*map(in_turn, hosts)))


async def ask(host: str, what: str) -> Answer:
    """Look at one host. Raises OSError, ValueError for what is no answer."""
    boot = BOOT.format(size=len(SOURCE), what=what)
    words = [f"python3 -I -S -c '{boot}'"]
    here = [sys.executable, "-I", "-S", "-c", boot]
    said, _ = await exchange(host, words, here, SOURCE, shepherd.GREETING, shepherd.COMPLAINT)
    return understood(host, said)


async def exchange(
    host: str, words: list[str], here: list[str], data: bytes, greeting: bytes, complaint: bytes | None = None
) -> tuple[bytes, float]:
    """(the line behind the greeting, when it came) of a program on a host that reads data. Raises OSError, EvilName.

    words: for the login shell there; here: argv, where the host is this one.
    """
    if host == LOCALHOST:
        argv = here
    else:
        program = os.environ.get("WQ_SSH") or config.load().get("ssh_command", "ssh")
        argv = ssh.command(program, host, words=words)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(last_of(process.stderr))
    try:
        process.stdin.write(data)
        said = await asyncio.wait_for(answer_of(process.stdout, greeting, complaint), PATIENCE_S)
        heard_s = time.time()
        if not said:  # then what ssh says counts
            await asyncio.wait_for(asyncio.gather(asyncio.shield(errors), process.wait()), LAST_WORDS_S)
    except TimeoutError:
        raise OSError(f"{host} does not answer within {PATIENCE_S:.0f} s") from None
    finally:
        process.stdin.close()
        if process.returncode is None:
            ssh.kill(process.pid)
        with contextlib.suppress(TimeoutError):  # (it is only over for asyncio when all that it said is read)
            rest = (all_of(process.stdout), errors, closed(process.stdin), process.wait())
            await asyncio.wait_for(asyncio.gather(*rest), LAST_WORDS_S)
    if not said:
        raise OSError(ssh.sentence(host, process.returncode, errors.result().decode("utf-8", "replace")))
    return said, heard_s


async def answer_of(stream: asyncio.StreamReader, greeting: bytes, complaint: bytes | None) -> bytes:
    """The line that follows the greeting, whatever the login prints before it; empty if there is none."""
    said = bytearray()
    while data := await stream.read(1 << 16):
        said += data
        if complaint is not None:
            _, found, sentence = said.partition(b"\n" + complaint)
            if found and b"\n" in sentence:
                raise OSError(sentence.split(b"\n")[0].decode("utf-8", "replace").strip())
        _, _, line = said.partition(b"\n" + greeting)
        if b"\n" in line:
            return bytes(line.split(b"\n")[0])
        if len(said) > MOST_ANSWER_BYTES:
            raise OSError("it prints without end")
    return b""


async def closed(stream: asyncio.StreamWriter) -> None:
    """What could not be written is no news: the connection is over."""
    with contextlib.suppress(ConnectionError):
        await stream.wait_closed()


async def all_of(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 16):
        pass


async def last_of(stream: asyncio.StreamReader) -> bytes:
    """The end of what is said on stderr."""
    kept = b""
    while data := await stream.read(4096):
        kept = (kept + data)[-KEPT_ERRORS:]
    return kept


def understood(host: str, line: bytes) -> Answer:
    answer = json.loads(line)
    found: list[tuple[dict[str, Any], bool | None]] = [(row, None) for row in answer.get("orphans", [])]
    found += [(row, True) for row in answer.get("ended", [])]
    found += [(row, False) for row in answer.get("left", [])]
    return Answer(host=host, found=found)
