"""Whatever bytes come: refused in order or taken, soon, with little memory.

The long runs: `python -m tests.fuzz.grow`, `python -m bench.fuzz`.
"""

from __future__ import annotations

import ast
import json
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import bodies, framed, in_pieces
from tests.fuzz.targets import CORPUS, TARGETS, corpus, tried
from wq.protocol.messages import FROM_LAUNCHERS, NAMES, TO_LAUNCHERS, decode_word

EXAMPLES = {"server": 60, "clients": 60, "jobfile": 100, "fill": 100, "array": 50, "params": 30}
TEXTS = ["cluster", "jobfile", "require", "config", "fill", "lines", "csv", "ids", "caps", "swf"]
MOST_AS_BYTES = 1 << 30
MOST_CPU_S = 60


@pytest.fixture
def measured() -> Iterator[None]:
    """Memory is looked at."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


class TestTheCorpus:
    def test_each_target_has_one_with_valid_inputs_and_with_some_that_were_trouble(self) -> None:
        assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
        for name in TARGETS:
            troubles = [seed.startswith("trouble-") for seed in corpus(name)]
            assert len(set(troubles)) == 2, name

    def test_each_word_of_the_protocol_is_in_it(self) -> None:
        found = {type(decode_word(data, FROM_LAUNCHERS | TO_LAUNCHERS)[0]) for data in valid("words")}
        assert found == set(NAMES)

    @pytest.mark.parametrize(
        ("seed", "known"), [("a-launcher-says-everything", FROM_LAUNCHERS), ("welcome-and-every-order", TO_LAUNCHERS)]
    )
    def test_each_word_is_said_to_who_must_understand_it(self, seed: str, known: dict[str, type]) -> None:
        (path,) = CORPUS.glob(f"*/{seed}")
        said = {json.loads(body).get("type") for body in bodies(path.read_bytes())}
        assert said | {"shutdown"} >= set(known)

    def test_each_word_of_a_shepherd_is_in_it(self) -> None:
        import wq.node.shepherd

        tree = ast.parse(Path(wq.node.shepherd.__file__).read_text())
        dicts = [
            dict(zip(map(value_of, d.keys), d.values, strict=True)) for d in ast.walk(tree) if isinstance(d, ast.Dict)
        ]
        says = {value_of(d["say"]) for d in dicts if "say" in d} - {None, "pong"}
        frames = [body for data in valid("nodes") for body in bodies(data) if not body.startswith(b"\1")]
        assert says <= {json.loads(body).get("say") for body in frames}

    @pytest.mark.usefixtures("measured")
    @pytest.mark.parametrize("name", TARGETS)
    def test_is_taken_or_refused_in_order(self, name: str) -> None:
        with TARGETS[name].opened() as call:
            for seed, data in corpus(name).items():
                try:
                    tried(TARGETS[name], call, data)
                except Exception as error:
                    error.add_note(f"{name}/{seed}")
                    raise

    @pytest.mark.parametrize("name", TARGETS)
    def test_all_that_is_not_called_trouble_is_taken(self, name: str) -> None:
        with TARGETS[name].opened() as call:
            refused = [seed for seed, data in corpus(name).items() if not tried(TARGETS[name], call, data)]
        assert [seed for seed in refused if not seed.startswith(("trouble-", "refused"))] == []

    def test_needs_little_memory_and_time_in_a_process_of_its_own(self) -> None:
        """Also what tracemalloc does not see: the C half of the YAML reader."""

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (MOST_AS_BYTES, MOST_AS_BYTES))
            resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))

        program = (
            "import sys; sys.path[:0] = sys.argv[1].split(':')\n"
            "from tests.fuzz.targets import TARGETS, corpus, tried\n"
            "for name in sys.argv[2:]:\n"
            "    with TARGETS[name].opened() as call:\n"
            "        for data in corpus(name).values(): tried(TARGETS[name], call, data)\n"
        )
        argv = [sys.executable, "-c", program, ":".join(filter(None, sys.path)), *TEXTS]
        done = subprocess.run(argv, capture_output=True, text=True, preexec_fn=limited, cwd=Path(__file__).parents[2])
        assert done.returncode == 0, done.stderr[-2000:]


def value_of(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def valid(name: str) -> list[bytes]:
    return [data for seed, data in corpus(name).items() if not seed.startswith("trouble-")]


class TestTheShortRun:
    @pytest.mark.parametrize("name", TARGETS)
    def test_what_is_nearly_right_is_taken_or_refused_in_order(self, name: str) -> None:
        target, seeds = TARGETS[name], corpus(name)
        with target.opened() as call:

            @settings(
                derandomize=True,
                database=None,
                deadline=None,
                max_examples=EXAMPLES.get(name, 200),
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            @given(st.sampled_from(sorted(seeds)), st.randoms(use_true_random=False))
            def run(seed: str, rng: Random) -> None:
                tried(target, call, target.changed(seeds[seed], rng, list(seeds.values())))

            run()

    @pytest.mark.parametrize("name", TARGETS)
    def test_so_are_any_bytes(self, name: str) -> None:
        target = TARGETS[name]
        with target.opened() as call:

            @settings(
                derandomize=True,
                database=None,
                deadline=None,
                max_examples=50,
                suppress_health_check=list(HealthCheck),
            )
            @given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
            def run(data: bytes) -> None:
                tried(target, call, data)

            run()


class TestTheTools:
    """Of the fuzzing itself."""

    @given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.randoms(use_true_random=False))
    def test_frames_are_made_and_found_and_cut_without_loss(self, some: list[bytes], rng: Random) -> None:
        data = b"".join(map(framed, some))
        assert bodies(data) == some
        assert b"".join(in_pieces(data, rng)) == data
