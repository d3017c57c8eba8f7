"""What `wq simulate` replays, and on what: files that are opened here, or the past of a queue."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from wq.cli import past, stdin
from wq.cli.errors import BAD_INPUT, FAILED, WqError
from wq.cli.link import remark
from wq.core.cluster import Node
from wq.core.job import HostName
from wq.core.plan import Limit
from wq.formats import MAX_TEXT_BYTES, FormatError
from wq.formats.clusterfile import MAX_NCORES, parse_cluster_file
from wq.formats.swf import MAX_LINE_BYTES, MOST_CORES, Trace, parse_swf
from wq.simulate import cluster
from wq.simulate.workload import Cores, Groups, Why, Workload, leave_out_what_never_fits, of_history, of_trace

if TYPE_CHECKING:
    import argparse

GZIP = b"\x1f\x8b"
STDIN = "-"
MOST_BYTES = 2 << 30  # of a trace, unpacked
SHOWN = 3  # of the jobs left out
SAID = {
    Why.NO_RUNTIME: "{jobs} no run time and {are} left out",
    Why.NO_CORES: "{jobs} no such number of processors and {are} left out",
    Why.NEVER_RAN: "{jobs} never run and {are} left out",
    Why.NEVER_FITS: "{jobs} no chance to run here and {are} left out",
    Why.TOO_MANY: "{jobs} to be left out: that many tasks of arrays are not asked for",
    Why.PART: "{jobs} a line for a part of it beside that of the whole; that is left out",
}

Nodes = tuple[Node, ...]


def workload_of(args: argparse.Namespace, limit: Limit) -> tuple[Workload, Nodes]:
    """The tasks that can run, and the nodes; what is left out is said on stderr. Raises WqError."""
    workload, nodes = history(args) if args.history else trace(args)
    nodes = with_added(nodes, args.add or ())
    leave_out_what_never_fits(workload, nodes, limit)
    for sentence in remarks(workload):
        remark(sentence)
    if not workload.tasks:
        raise WqError("simulate: there is no job left that could run", FAILED if args.history else BAD_INPUT)
    return workload, nodes


def remarks(workload: Workload) -> list[str]:
    """What was left out, a sentence for each reason."""
    sentences = []
    for why, left in workload.left_out.items():
        one = left.njobs == 1
        sentence = SAID[why].format(jobs="1 job has" if one else f"{left.njobs} jobs have", are="is" if one else "are")
        shown = [f"{name} ({because})" if because else name for name, because in left.named[:SHOWN]]
        more = left.njobs - len(shown)
        listed = ", ".join(shown) + (f" and {more} more" if more else "")
        sentences.append(f"{sentence}: {listed}" if shown else sentence)
    return sentences


# ---- traces


def trace(args: argparse.Namespace) -> tuple[Workload, Nodes]:
    """The jobs of a file, and the nodes that it is to run on."""
    nodes = given_nodes(args)
    found = read_trace(args.trace)
    if nodes is None:
        nodes = cluster.pool(cores_said_by(found, args.trace))
    cores = Cores.USUAL if args.cores is None else Cores(args.cores)
    workload = of_trace(found.rows, cores=cores, groups=None if args.groups is None else Groups(args.groups))
    if found.nparts:
        workload.leave_out(Why.PART, "", njobs=found.nparts)
    return workload, nodes


def cores_said_by(found: Trace, path: str) -> int:
    """How many cores the machine of a trace had."""
    ncores = found.max_procs or found.max_nodes
    if ncores is None:
        raise WqError(f"{path}: it does not say how many processors there were; --procs N does", BAD_INPUT)
    if ncores > MOST_CORES:
        raise WqError(f"{path}: MaxProcs is {ncores}; allowed: at most {MOST_CORES}, or --procs N", BAD_INPUT)
    return ncores


def read_trace(path: str) -> Trace:
    with opened(path) as file:
        try:
            return parse_swf(lines_of(file, path), source="standard input" if path == STDIN else path)
        except FormatError as error:
            raise WqError(str(error), BAD_INPUT) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise WqError(f"{path}: it cannot be unpacked: {error}", BAD_INPUT) from None
        except OSError as error:
            raise WqError(f"{path}: {error.strerror or error}", BAD_INPUT) from None


def lines_of(file: BinaryIO, path: str) -> Iterator[bytes]:
    """Lines that end: of one that is too long, as much as shows that it is."""
    nbytes = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        nbytes += len(line)
        if nbytes > MOST_BYTES:
            raise WqError(f"{path}: too large; at most {MOST_BYTES >> 30} GiB, unpacked", BAD_INPUT)
        yield line


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file (`-`: standard input), unpacked if its name or they say that they are gzip's."""
    try:
        raw = stdin.opened().buffer if path == STDIN else os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise WqError(f"{path}: {error.strerror}", BAD_INPUT) from None
    with raw:
        packed = path.endswith(".gz") or cast(io.BufferedReader, raw).peek(2).startswith(GZIP)
        yield cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=raw))) if packed else raw


# ---- the past of a queue


def history(args: argparse.Namespace) -> tuple[Workload, Nodes]:
    """The jobs of a queue that are over, and its nodes, or others."""
    nodes = given_nodes(args)
    asked = past.source(args.port)
    found = past.History(asked, args.since)
    try:
        if nodes is None:
            nodes = tuple(map(node_of, asked.nodes()))
        workload = of_history(found.rows(), pooled=args.procs is not None)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WqError(f"what the server says of its past makes no sense: {type(error).__name__}: {error}") from None
    if found.more:
        remark(f"only the newest {past.MOST_JOBS} jobs are asked for; {found.more} older ones are left out")
    if found.too_many:
        workload.leave_out(Why.TOO_MANY, "", njobs=found.too_many)
    return workload, nodes


def node_of(row: past.Row) -> Node:
    """A node as if all was well with it."""
    ncores = int(row["ncores"])
    if not 1 <= ncores <= MAX_NCORES:
        raise ValueError(f"a node with {ncores} cores")
    return Node(
        host=HostName(str(row["host"])),
        ncores=ncores,
        mem_gb=float(row["mem_gb"]),
        groups=tuple(map(str, row["groups"])),
    )


# ---- clusters


def given_nodes(args: argparse.Namespace) -> Nodes | None:
    """What --procs or --cluster says."""
    if args.procs is not None:
        return cluster.pool(number_of_cores(args.procs))
    return cluster_file(args.cluster) if args.cluster is not None else None


def number_of_cores(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= MOST_CORES:
        return int(text)
    raise WqError(f"simulate: --procs: {text[:20]!r} is not a number from 1 to {MOST_CORES}", BAD_INPUT)


def cluster_file(path: str) -> Nodes:
    try:
        with open(path, "rb") as file:
            return parse_cluster_file(file.read(MAX_TEXT_BYTES + 1).decode("utf-8"), source=path)
    except UnicodeDecodeError:
        raise WqError(f"{path}: not UTF-8", BAD_INPUT) from None
    except FormatError as error:
        raise WqError(str(error), BAD_INPUT) from None
    except OSError as error:
        raise WqError(f"{path}: {error.strerror}", BAD_INPUT) from None


def with_added(nodes: Nodes, texts: list[str] | tuple[str, ...]) -> Nodes:
    for text in texts:
        try:
            nodes = cluster.with_added(nodes, text)
        except ValueError as error:
            raise WqError(f"simulate: --add: {error}", BAD_INPUT) from None
    return nodes
