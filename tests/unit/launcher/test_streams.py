"""Where output goes on the submitting host."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wq.launcher.streams import FileSink


def test_what_one_file_does_not_take_costs_the_other_nothing(tmp_path: Path) -> None:
    sink = FileSink({1: str(tmp_path / "out"), 2: str(tmp_path / "gone" / "err")}, resume=False)
    assert sink.lost == [f"{tmp_path}/gone/err: No such file or directory"]
    assert sink.take(1, b"precious")
    assert sink.take(2, b"let go")
    assert sink.have == {1: 8, 2: 6}
    sink.sync()
    sink.close()
    assert (tmp_path / "out").read_bytes() == b"precious"


def test_a_file_is_let_go_while_the_other_goes_on(tmp_path: Path) -> None:
    sink = FileSink({1: str(tmp_path / "out"), 2: str(tmp_path / "err")}, resume=False)
    sink.take(2, b"first")
    sink.let_go(2)
    sink.take(2, b"second")
    sink.take(1, b"goes on")
    assert sink.have == {1: 7, 2: 11}
    sink.close()
    assert ((tmp_path / "out").read_bytes(), (tmp_path / "err").read_bytes()) == (b"goes on", b"first")


def test_without_room_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def full(path: str, *args: int) -> int:
        if path.endswith("err"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space"):
        FileSink({1: str(tmp_path / "out"), 2: str(tmp_path / "err")}, resume=True)
