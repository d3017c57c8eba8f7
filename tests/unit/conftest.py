"""A store of one's own, for the tests of those who stand on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wq.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "spool")
    store.db.execute("PRAGMA synchronous=OFF")  # a test survives no power cut
    yield store
    store.close()
