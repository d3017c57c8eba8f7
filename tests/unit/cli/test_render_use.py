"""Asked against used: the table, and what to ask for the next time."""

from __future__ import annotations

from typing import Any

import pytest

from wq.cli.render.use import advice, table_of

GB = 1 << 30


def row(**changes: Any) -> dict[str, Any]:
    """A job that had 16 cores of one node for an hour, and used them all."""
    made = {
        "id": 12, "task": None, "user": "anze", "name": "fit", "mode": "bycore", "n": 16, "tasks": None, "ncores": 16,
        "nhosts": 1, "node_mem_gb": 32.0, "wall_s": 3600.0, "cpu_s": 57600.0, "cores_used": 16.0,
        "peak_mem_bytes": 4 * GB, "io_read_bytes": 0, "io_write_bytes": 2 * GB,
    }  # fmt: skip
    assert changes.keys() <= made.keys()
    return {**made, **changes}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "asked for 16 cores, used 16.0 of them: well used"),
        ({"cores_used": 12.5}, "asked for 16 cores, used 12.5 of them: well used"),
        ({"cores_used": 1.1}, "asked for 16 cores, used 1.1 of them: N: 2 would do"),
        ({"cores_used": 0.95}, "asked for 16 cores, used 0.9 of them: N: 1 would do"),
        ({"ncores": 1, "cores_used": 0.1}, "asked for 1 core, used 0.1 of it: it mostly waited for something"),
        ({"ncores": 2, "cores_used": 5.0}, "asked for 2 cores, used 5.0, more than it was given: N: 6"),
        ({"mode": "bynode", "ncores": 24, "nhosts": 2, "cores_used": 1.1},
         "asked for 24 cores, used 1.1 of them: mode: bycore1; N: 2 would do, on one node"),
        ({"mode": "bynode", "ncores": 12, "cores_used": 3.0},
         "asked for 12 cores, used 3.0 of them: mode: bycore; N: 4 would do"),
        ({"wall_s": 0.5}, "ran for 0.5s, which is too short to say"),
        ({"cores_used": None}, ""),
        ({"ncores": None}, ""),
        ({"peak_mem_bytes": 30 * GB},
         "asked for 16 cores, used 16.0 of them: well used; "
         "its memory was at least 30.0 of 32.0 GB, nearly all that there is"),
        ({"peak_mem_bytes": None, "cores_used": None}, ""),
    ],
)  # fmt: skip
def test_advice(changes: dict[str, Any], sentence: str) -> None:
    assert advice(row(**changes)) == sentence


def test_the_table_has_a_line_a_job_and_then_a_sentence_a_job() -> None:
    rows = [row(cores_used=1.1), row(id=13, tasks=100, cores_used=None, wall_s=None, peak_mem_bytes=None)]
    lines = table_of([*rows, row(id=14, task=5, peak_mem_bytes=300 << 20)])
    assert [line.split() for line in lines[:4]] == [
        ["Id", "User", "Command", "Tasks", "Wall", "Cores", "Used", "Mem", "Of", "Read", "Written"],
        ["12", "anze", "fit", "-", "1h00m00s", "16", "1.1", "4.0G", "32G", "0B", "2.0G"],
        ["13", "anze", "fit", "100", "-", "16", "-", "-", "32G", "0B", "2.0G"],
        ["14.5", "anze", "fit", "-", "1h00m00s", "16", "16.0", "300M", "32G", "0B", "2.0G"],
    ]
    assert lines[4:] == [
        "job 12: asked for 16 cores, used 1.1 of them: N: 2 would do",
        "job 14.5: asked for 16 cores, used 16.0 of them: well used",
    ]


def test_names_cannot_do_anything_to_the_terminal() -> None:
    assert "\x1b" not in "\n".join(table_of([row(name="\x1b[31m", user="a\nb")]))
