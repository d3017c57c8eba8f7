"""The configuration: which files, whose they are, and what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.cli import config
from wq.cli.errors import BAD_INPUT, WqError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, in which only what the test writes is read."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    files = config.files
    monkeypatch.setattr(config, "files", lambda: [str(tmp_path / "etc-wq.yaml"), *files()[1:]])
    return tmp_path


def write(path: Path, text: str | bytes, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


class TestWhichFiles:
    def test_are_read_in_which_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/anze")
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        assert config.files() == ["/etc/wq/config.yaml", "/home/anze/.config/wq/config.yaml", "/home/anze/.wqrc"]
        monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
        assert config.files()[1] == "/c/wq/config.yaml"

    def test_none_are_needed(self, home: Path) -> None:
        assert config.load() == {}

    def test_the_later_ones_win_key_by_key(self, home: Path) -> None:
        write(home / "etc-wq.yaml", "server: a\nssh_command: ssh1\nnodes: any\n")
        write(home / ".config/wq/config.yaml", "server: b\nssh_command: ssh2\n")
        write(home / ".wqrc", "server: c\n")
        assert config.load() == {"server": "c", "ssh_command": "ssh2", "nodes": "any"}

    @pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o622])
    def test_one_that_others_can_write_is_refused(self, home: Path, mode: int) -> None:
        write(home / ".wqrc", "ssh_command: ./evil\n", mode)
        with pytest.raises(WqError, match="can be written by others than you and root") as error:
            config.load()
        assert error.value.status == BAD_INPUT

    def test_one_of_a_third_user_is_refused(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(home / ".wqrc", "server: a\n")
        if os.getuid() == 0:
            os.chown(path, 61000, -1)
        else:
            monkeypatch.setattr(os, "getuid", lambda: 61000)
        with pytest.raises(WqError, match="can be written by others than you and root"):
            config.load()

    def test_one_that_is_no_text_is_refused(self, home: Path) -> None:
        write(home / ".wqrc", b"server: \xff\n")
        with pytest.raises(WqError, match="cannot be read"):
            config.load()

    def test_a_directory_in_its_place_is_refused(self, home: Path) -> None:
        (home / ".wqrc").mkdir()
        with pytest.raises(WqError, match=r"\.wqrc cannot be read"):
            config.load()


class TestWhatTheySay:
    @pytest.mark.parametrize(
        ("text", "settings"),
        [
            ("", {}),
            ("# nothing\n\n   # at all\n", {}),
            ("server: head.example.org\n", {"server": "head.example.org"}),
            ("server:head\n", {"server": "head"}),
            ("ssh_command: ssh -F /home/a/cfg\nserver: h\n", {"ssh_command": "ssh -F /home/a/cfg", "server": "h"}),
            ("remote_command: /opt/wq:x\n", {"remote_command": "/opt/wq:x"}),
            ("server: h   \r\nnodes: any\r\n", {"server": "h", "nodes": "any"}),
            ("server: 'h'\n", {"server": "h"}),
            ('server: "h" # the head\n', {"server": "h"}),
            ("server: h # the head\n", {"server": "h"}),
            ("ssh_command: >\n  ssh\n  -v\n", {"ssh_command": "ssh -v\n"}),
            ("private: yes\nnodes: no\n", {"private": "yes", "nodes": "no"}),
            ("---\nserver: h\n", {"server": "h"}),
            ("{server: h, nodes: any}\n", {"server": "h", "nodes": "any"}),
        ],
    )
    def test_is_read_as_text(self, home: Path, text: str, settings: dict[str, str]) -> None:
        write(home / ".wqrc", text)
        assert config.load() == settings

    def test_a_key_that_nobody_knows_is_refused_with_those_there_are(self, home: Path) -> None:
        write(home / ".wqrc", "sever: h\n")
        with pytest.raises(WqError, match="nobody knows the key 'sever'; there are: server, ") as error:
            config.load()
        assert error.value.status == BAD_INPUT

    @pytest.mark.parametrize(
        "text", ["- a\n- b\n", "server\n", "server: [a]\n", "server: {a: b}\n", "'server\n", "a: b: {\n"]
    )
    def test_what_is_no_list_of_keys_and_values_is_refused_in_one_line(self, home: Path, text: str) -> None:
        path = write(home / ".wqrc", text)
        with pytest.raises(WqError) as error:
            config.load()
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)

    @given(st.text(alphabet=st.sampled_from("server:nodes any#'\"[]{}-&*!|>%@`\n\t \\"), max_size=60))
    def test_any_text_is_understood_or_refused(self, text: str) -> None:
        found, refusal = {}, ""
        try:
            found = config.parse(text, "x")
        except WqError as error:
            refusal = str(error)
        assert all(isinstance(value, str) for value in found.values())
        assert "\n" not in refusal


def test_plain_lines_are_read_without_the_yaml_library() -> None:
    sources = str(Path(config.__file__).parents[2])
    script = f"import sys; sys.path.insert(0, {sources!r}); from wq.cli import config; "
    script += "config.parse('server: h\\nnodes: any\\n', 'x'); print('yaml' in sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize("text", ["server: a\nnodes: any\nserver: b\n", '"server": a\n"server": b\n'])
def test_a_key_that_is_given_twice_is_refused(text: str) -> None:
    with pytest.raises(WqError, match="'server' is given twice"):
        config.parse(text, "rc")
