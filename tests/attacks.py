"""The attacks that wq has to meet, and the tests of each; `python -m bench.attacks` runs them as one table."""

from __future__ import annotations

import dataclasses

FENCE = "tests/unit/launcher/test_launcher.py::TestTheFence"
SIXTEEN = "tests/e2e/test_sixteen.py"
HOSTILE = "tests/e2e/test_hostile_server.py"
PLANTED = "tests/e2e/test_attacks.py"
SECRETS = "tests/e2e/test_secrets.py"
SERVER = "tests/unit/server/test_server.py"


@dataclasses.dataclass(frozen=True, slots=True)
class Attack:
    """How bad: C it breaks the promise, H lets one user hurt others, M is a nuisance. tests: ids for pytest."""

    how_bad: str
    name: str
    tests: tuple[str, ...]


ATTACKS = (
    Attack(
        "C",
        "an evil host name (`-oProxyCommand=`, `user@`, `%h`, blanks)",
        ("tests/unit/backends/test_ssh.py", FENCE, HOSTILE),
    ),
    Attack("C", "a server's words that reach a shell", (HOSTILE, "tests/unit/launcher/test_startspec.py")),
    Attack("C", "a server that names a process or a job to kill", (HOSTILE,)),
    Attack("C", "invented or repeated orders", (HOSTILE, f"{FENCE}::test_a_replayed_grant_starts_nothing")),
    Attack(
        "C",
        "forged identity",
        (
            "tests/unit/core/test_engine.py::TestAuthorisation",
            f"{SERVER}::TestLaunchers::test_nobody_says_who_he_is",
            f"{PLANTED}::test_root_of_a_namespace_of_ones_own_is_nobody_special",
            f"{PLANTED}::test_a_server_in_a_namespace_takes_nobody_for_somebody",
        ),
    ),
    Attack(
        "C",
        "a program or a configuration that another user can write",
        (
            f"{PLANTED}::test_a_program_that_another_user_can_write",
            "tests/unit/cli/test_config.py::TestWhichFiles",
        ),
    ),
    Attack("C", "a server that sends your job to a host of its choice", (FENCE, HOSTILE)),
    Attack("C", "agent and X forwarding by default", ("tests/unit/backends/test_ssh.py",)),
    Attack(
        "H",
        "somebody else binds the socket first, or plants links, pipes, files",
        (
            f"{PLANTED}::test_somebody_else_serves_where_the_known_server_was",
            f"{PLANTED}::test_the_directory_of_the_socket_is_there_before",
            f"{PLANTED}::test_what_is_planted_where_files_will_be_made",
        ),
    ),
    Attack("H", "path traversal by ids or names", (f"{SIXTEEN}::test_6_and_7_ids_are_numbers",)),
    Attack("H", "YAML: alias bombs, tags, duplicate keys, `no`, `1:30`", ("tests/unit/formats/test_jobfile.py",)),
    Attack("H", "wrong types, NaN, 10^400, lone surrogates, negative N", ("tests/unit/protocol", "tests/fuzz")),
    Attack("H", "half frames, readers that never read, idle connections", (SERVER, "tests/unit/server/test_door.py")),
    Attack(
        "H", "floods of submissions, huge arrays, huge listings", ("tests/unit/core/test_engine.py::TestCaps", SERVER)
    ),
    Attack(
        "M",
        "escape sequences, newlines, bidi controls in names and reasons",
        ("tests/unit/cli/test_render_sanitise.py", f"{SIXTEEN}::test_8_nothing_but_text_is_listed", HOSTILE),
    ),
    Attack("M", "secrets in `ps`, in the server's database, in logs", (SECRETS,)),
    Attack(
        "M",
        "a machine that answers nonsense to wq init, a server that does so to wq doctor",
        ("tests/unit/cli/test_probing.py::TestWhatAnEnemyAnswers", "tests/unit/cli/test_doctor.py::TestTheServer"),
    ),
    Attack("M", "logins that print before the protocol", (f"{PLANTED}::test_a_login_that_prints_before_the_protocol",)),
    Attack(
        "M",
        "logs overwritten by the next attempt",
        ("tests/e2e/test_links.py::TestReboot::test_a_job_whose_node_was_rebooted_runs_again",),
    ),
)
