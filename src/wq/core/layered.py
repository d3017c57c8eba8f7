"""A mapping on top of another: changes lie in a layer of their own until they are settled or dropped."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_GONE: Any = object()
_UNCHANGED: Any = object()


class Layered(MutableMapping[K, V]):
    """Reads through to `base`; writes stay in the layer. `settle` makes them the base's own, at their cost."""

    __slots__ = ("base", "changes", "size")

    def __init__(self, base: dict[K, V]) -> None:
        self.base = base
        self.changes: dict[K, V] = {}
        self.size = len(base)

    def __getitem__(self, key: K) -> V:
        if key not in self.changes:
            return self.base[key]
        value = self.changes[key]
        if value is _GONE:
            raise KeyError(key)
        return value

    def get(self, key: K, default: Any = None) -> Any:  # the mixin raises and catches
        value = self.changes.get(key, _UNCHANGED)
        if value is _UNCHANGED:
            return self.base.get(key, default)
        return default if value is _GONE else value

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            self.size += 1
        self.changes[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self.size -= 1
        self.changes[key] = _GONE

    def __contains__(self, key: object) -> bool:
        changes: dict[object, Any] = self.changes  # type: ignore[assignment]
        return changes[key] is not _GONE if key in changes else key in self.base

    def __iter__(self) -> Iterator[K]:
        changes = self.changes
        if not changes:
            yield from self.base
            return
        for key in self.base:
            if changes.get(key) is not _GONE:
                yield key
        for key, value in changes.items():
            if value is not _GONE and key not in self.base:
                yield key

    def __len__(self) -> int:
        return self.size

    def settle(self) -> None:
        """Make the changes the base's own."""
        for key, value in self.changes.items():
            if value is _GONE:
                self.base.pop(key, None)
            else:
                self.base[key] = value
        self.changes = {}
