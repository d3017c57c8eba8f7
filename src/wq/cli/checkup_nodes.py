"""What `wq doctor` sees on the nodes: with the look of `wq init`, and the server's word on them beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

from wq.cli import probing
from wq.cli.checks import OK, WARNING, WRONG, Check, Patient, hint, size
from wq.formats.clusterfile import MAX_NODES
from wq.protocol import known


def nodes(patient: Patient, tell: Callable[[int, int], None]) -> Iterator[Check]:
    if patient.afar and not patient.named:
        return
    hosts, promised = patient.named, {}
    if patient.rows is not None:
        promised = {str(row["host"]): row for row in patient.rows}
    if not hosts:
        hosts = yield from hosts_of_queue(patient)
    if not hosts:
        yield Check(about="nodes", state=OK, text="none is known here; `wq doctor HOST` looks at one")
        return
    for look in probing.look_at(hosts, tell):
        yield from node(look, promised.get(look.host, {}))


def hosts_of_queue(patient: Patient) -> Generator[Check, None, list[str]]:
    """Those of the server, as far as you have accepted them; while it is down, those that you have accepted."""
    queue = patient.queue
    if queue is None:
        return []
    accepted = known.server_of(queue.port) or {}
    own = queue.uid == os.getuid() or (patient.settings or {}).get("nodes") == "any"
    if patient.rows is None:
        return [str(host) for host in accepted.get("nodes", [])] if accepted.get("uid") == queue.uid else []
    hosts: list[str] = []
    strangers = []
    for row in patient.rows:
        host = str(row["host"])
        if not own and known.first_outside([host], queue.port, queue.uid) is not None:
            strangers.append(host)
        elif row.get("state") == "offline" and row.get("by") != "look":
            text = f"taken offline by {row.get('by')} ({row.get('reason') or 'no reason given'}); not looked at"
            yield Check(about=f"node {host}", state=OK, text=text)
        elif len(hosts) < MAX_NODES:
            hosts.append(host)
    if strangers and accepted.get("uid") == queue.uid:
        text = f"{len(strangers)} are new in this cluster, {', '.join(strangers[:3])} for one"
        yield Check(about="nodes", state=WARNING, text=text, todo="if your jobs may run there: `wq node --accept`")
    return hosts


def node(look: Any, row: dict[str, Any]) -> Iterator[Check]:
    """One line, and one more for each thing that is odd."""
    about = f"node {look.host}"
    spool_there = f"/var/tmp/wq-{look.facts.uid}" if look.facts else ""
    for text in look.troubles:
        yield Check(about=about, state=WRONG, text=text, todo=hint(text, look.host, spool_there))
    for text in [*look.remarks, *broken_promises(look, row)]:
        yield Check(about=about, state=WARNING, text=text, todo=hint(text, look.host, spool_there))
    facts = look.facts
    if facts is None or look.troubles:
        return
    if facts.marked and not facts.keepers:
        text = f"{facts.marked} processes bear the mark of a job, and no keeper of yours runs there"
        yield Check(about=about, state=WARNING, text=text, todo=f"`wq orphans {look.host}` shows them")
    python_there = ".".join(map(str, facts.python))
    gpus = f", {facts.ngpus} GPUs" if facts.ngpus else ""
    free = f", {size(facts.base.free_bytes)} free in {facts.base.path}" if facts.base else ""
    yield Check(
        about=about,
        state=OK,
        text=f"{facts.ncores} cores, {facts.mem_gb:g} GB{gpus}, Python {python_there}, "
        f"clock {facts.clock_offset_s:+.1f}s{free}",
    )


def broken_promises(look: Any, row: dict[str, Any]) -> Iterator[str]:
    """Where the cluster file says more than there is."""
    ncores = row.get("ncores")
    if look.facts is not None and isinstance(ncores, int) and ncores > look.facts.ncores:
        yield f"the cluster file says {ncores} cores, it has {look.facts.ncores}"
    if row.get("state") == "offline":
        yield f"the server calls it offline ({row.get('reason') or 'no reason given'})"
