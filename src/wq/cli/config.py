"""The configuration: /etc/wq/config.yaml, ~/.config/wq/config.yaml, ~/.wqrc; the later ones win.

Files are read only if root or the user owns them and nobody else can write to them. A file of plain
`key: value` lines is read without the YAML library, whose import costs more than the rest of a command.
"""

from __future__ import annotations

import os
import stat

from wq.cli.errors import BAD_INPUT, WqError

KEYS = {
    "server": "the host where the server is; commands run there through ssh",
    "server_user": "whose server to trust on this host",
    "install_owner": "whose wq to run, if it belongs neither to you nor to root",
    "remote_command": "how to call wq on the server's host (default: wq)",
    "ssh_command": "how to call ssh (default: ssh; WQ_SSH wins)",
    "nodes": "any: use whatever nodes the server names",
    "private": "true: keep the text of commands from the server",
}


def files() -> list[str]:
    home = os.path.expanduser("~")
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return ["/etc/wq/config.yaml", os.path.join(base, "wq", "config.yaml"), os.path.join(home, ".wqrc")]


def load() -> dict[str, str]:
    """All settings as text. Raises WqError for a file that cannot be trusted or understood."""
    settings: dict[str, str] = {}
    for path in files():
        try:
            with open(path, encoding="utf-8") as f:
                check_owner(path, os.fstat(f.fileno()))
                text = f.read(1 << 20)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise WqError(f"{path} cannot be read: {error}", BAD_INPUT) from None
        for key, value in parse(text, path).items():
            if key not in KEYS:
                raise WqError(f"{path}: nobody knows the key {key!r}; there are: {', '.join(KEYS)}", BAD_INPUT)
            settings[key] = value
    return settings


def server_host() -> str | None:
    """The host where the server is (WQ_SERVER, or `server:`); None for this one, as for an empty WQ_SERVER."""
    host = os.environ.get("WQ_SERVER")
    return (load().get("server") if host is None else host) or None


def check_owner(path: str, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.getuid()) or stat.S_IMODE(found.st_mode) & 0o022:
        raise WqError(f"{path} can be written by others than you and root, so it is not read (chmod go-w)", BAD_INPUT)


def parse(text: str, path: str) -> dict[str, str]:
    """The keys and values of one file."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        value = value.strip()
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not colon or key != key.strip() or not key.isidentifier() or value[:1] in "\"'[{&*!|>%@`" or " #" in value:
            return parse_yaml(text, path)
        if key in settings:
            raise given_twice(path, key)
        settings[key] = value
    return settings


def given_twice(path: str, key: str) -> WqError:
    return WqError(f"{path}: the key {key!r} is given twice", BAD_INPUT)


def parse_yaml(text: str, path: str) -> dict[str, str]:
    """The same where YAML must be asked, event by event: what is nested or an alias is refused before it costs much."""
    import yaml

    strange = (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.AliasEvent)
    words: list[str] = []
    maps = 0
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            maps += isinstance(event, yaml.MappingStartEvent)
            if isinstance(event, yaml.ScalarEvent) and maps:
                words.append(event.value)
            elif maps > 1 or isinstance(event, strange) or (maps and isinstance(event, yaml.DocumentStartEvent)):
                break
        else:
            if maps:
                twice = [key for at, key in enumerate(words[::2]) if key in words[: 2 * at : 2]]
                if twice:
                    raise given_twice(path, twice[0])
                return dict(zip(words[::2], words[1::2], strict=True))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise WqError(f"{path}: not YAML: {' '.join(str(error).split())}", BAD_INPUT) from None
    raise WqError(f"{path}: a list of `key: value` is wanted", BAD_INPUT)
