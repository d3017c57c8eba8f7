"""Names of nodes as people write them: astro0010, astro[0010-0019]."""

from __future__ import annotations

from wq.cli.errors import BAD_INPUT, WqError


def expand(word: str) -> list[str]:
    """One word as node names; brackets are a range."""
    if "[" not in word and "," not in word:
        return [word]
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    if not all(c.isalnum() or c in "[]-._," for c in word):
        raise WqError(f"{word!r} is not the name of nodes", BAD_INPUT)
    try:
        return list(NodeSet(word))
    except NodeSetException as error:
        raise WqError(f"{word!r}: {error}", BAD_INPUT) from None
