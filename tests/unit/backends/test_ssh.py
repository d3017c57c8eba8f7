"""How ssh is called: what is never forwarded, and which names are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wq.backends import ssh

EVIL = """-oProxyCommand=x -p user@host %h %% $(x) `x` ;x a/b ../x .x x. -x x- [::1] fe80::1%eth0 a:22 a,b *
    a\tb a\nb a\0b é xn--é a\u202eb ' " \\ ~x {a,b} a=b"""


@pytest.mark.parametrize("batch", [True, False])
def test_nothing_is_forwarded_and_the_name_stands_behind_dashes(batch: bool) -> None:
    argv = ssh.command("ssh -F conf", "node1", words=["exec sh"], batch=batch)
    at = argv.index("--")
    assert argv[:4] == ["ssh", "-F", "conf", "-a"]
    assert argv[at:] == ["--", "node1", "exec sh"]
    assert {"-x", "-T"} <= set(argv[:at])
    assert {"ClearAllForwardings=yes", "RemoteCommand=none", "PermitLocalCommand=no"} <= set(argv[:at])
    assert ("BatchMode=yes" in argv) == batch
    assert not [word for word in argv if "StrictHostKeyChecking" in word]


@pytest.mark.parametrize("name", [*EVIL.split(" "), "", " ", "a b", "a" * 300, "a\n"])
def test_what_is_no_name_is_not_called(name: str) -> None:
    with pytest.raises(ssh.EvilName):
        ssh.command("ssh", name, words=["true"])


@given(st.text(max_size=30))
def test_any_text_is_a_plain_name_or_refused(name: str) -> None:
    try:
        argv = ssh.command("ssh", name, words=["true"])
    except ssh.EvilName:
        return
    assert argv[-2] == name
    assert name.isascii()
    assert name[0].isalnum()
    assert all(char.isalnum() or char in "._-" for char in name)
