"""Files that a command names: of this host, or those that a client on another host has sent along with it.

On the way they are one stream: a line of JSON, [[path, bytes], ...], then the contents one after another.
"""

from __future__ import annotations

import os

from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    from typing import IO, Any

MOST_BYTES = 256 << 20  # of all files of one command

files: dict[str, bytes] | None = None  # by the paths that they were named by; None: those of this host


def contents(path: str, most: int) -> bytes:
    """The file, or a little more than `most` bytes of it. Raises OSError."""
    if files is None:
        with open(path, "rb") as f:
            return f.read(most + 1)
    try:
        return files[path]
    except KeyError:
        raise FileNotFoundError(2, "it was not sent along", path) from None


def pack(paths: list[str]) -> bytes:
    """The stream of these files. Raises WqError for what cannot be read."""
    import json

    heads: list[tuple[str, int]] = []
    parts: list[bytes] = []
    left = MOST_BYTES
    for path in paths:
        try:
            data = contents(path, left)
        except OSError as error:
            raise WqError(f"{path}: {error.strerror}", BAD_INPUT) from None
        left -= len(data)
        if left < 0:
            raise WqError(f"{path}: more than {MOST_BYTES >> 20} MiB of files in one command", BAD_INPUT)
        heads.append((path, len(data)))
        parts.append(data)
    return b"".join([json.dumps(heads).encode(), b"\n", *parts])


def unpack(stream: IO[bytes]) -> dict[str, bytes]:
    """The files of a stream. Raises WqError for one that is not whole."""
    import json

    try:
        heads = json.loads(stream.readline(MOST_BYTES))
        found = {str(path): stream.read(min(int(size), MOST_BYTES)) for path, size in heads}
        if all(len(found[str(path)]) == size for path, size in heads):
            return found
    except (ValueError, TypeError):
        pass
    raise WqError("the files did not arrive whole", BAD_INPUT)


def word_of(facts: dict[str, Any]) -> str:
    """Facts as one word that no shell touches."""
    import base64
    import json

    text = json.dumps({name: value for name, value in facts.items() if value is not None})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def facts_of(word: str) -> dict[str, Any]:
    """What word_of was given. Raises WqError for what is none of its words."""
    import base64
    import json

    try:
        facts = json.loads(base64.urlsafe_b64decode(word.encode() + b"=" * (-len(word) % 4)))
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise WqError("afar: this is what a wq on another host calls", BAD_INPUT)
    return facts


def parking() -> str:
    """One's own private directory for what waits here for the next command of a client on another host."""
    from wq.protocol import places

    return places.state_dir("afar")[0]


def parked(token: str) -> str:
    """The file of this token there. Raises WqError for what is no token."""
    if len(token) != 32 or not all(char in "0123456789abcdef" for char in token):
        raise WqError("afar: that is no token", BAD_INPUT)
    return os.path.join(parking(), token)
